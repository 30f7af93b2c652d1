//! Calendar arithmetic and the RTC's encodings of it: BCD or binary, 12 or 24 hours.

use serde::{Deserialize, Serialize};

/// Seconds in a day.
pub const DAY: i64 = 86_400;

/// How time registers are written: bits DM and 24/12 of register B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub binary: bool,
    pub hours_24: bool,
}

/// The registers that hold the time, as bytes in the RTC's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRegisters {
    pub seconds: u8,
    pub minutes: u8,
    pub hours: u8,
    pub weekday: u8,
    pub day: u8,
    pub month: u8,
    pub year: u8,
    pub century: u8,
}

/// PM in the hours register, in 12-hour format.
const PM: u8 = 0x80;

impl Format {
    fn encode(self, value: u8) -> u8 {
        if self.binary { value } else { (value / 10 % 10) << 4 | (value % 10) }
    }

    /// What a register means. Digits above nine count on: garbage in, some time out.
    fn decode(self, raw: u8) -> u8 {
        if self.binary { raw } else { (raw >> 4) * 10 + (raw & 0xF) }
    }

    fn encode_hours(self, hours: u8) -> u8 {
        if self.hours_24 {
            return self.encode(hours);
        }
        let twelve = if hours.is_multiple_of(12) { 12 } else { hours % 12 };
        self.encode(twelve) | if hours >= 12 { PM } else { 0 }
    }

    fn decode_hours(self, raw: u8) -> u8 {
        if self.hours_24 {
            return self.decode(raw);
        }
        self.decode(raw & !PM) % 12 + if raw & PM != 0 { 12 } else { 0 }
    }
}

impl TimeRegisters {
    /// The registers at `seconds` since 1970, with the weekday register moved on by `weekday_shift` days.
    pub fn at(seconds: i64, weekday_shift: u8, format: Format) -> Self {
        let (days, in_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let weekday = (weekday_of(days) + weekday_shift) % 7 + 1;
        TimeRegisters {
            seconds: format.encode((in_day % 60) as u8),
            minutes: format.encode((in_day / 60 % 60) as u8),
            hours: format.encode_hours((in_day / 3600) as u8),
            weekday: format.encode(weekday),
            day: format.encode(day),
            month: format.encode(month),
            year: format.encode(year.rem_euclid(100) as u8),
            century: format.encode(year.div_euclid(100).rem_euclid(100) as u8),
        }
    }

    /// Seconds since 1970 and the weekday shift that the registers mean. Anything is some time.
    pub fn meaning(&self, format: Format) -> (i64, u8) {
        let year = i64::from(format.decode(self.century)) * 100 + i64::from(format.decode(self.year));
        let month = format.decode(self.month).clamp(1, 12);
        let days = days_from_civil(year, month) + i64::from(format.decode(self.day)) - 1;
        let hours = i64::from(format.decode_hours(self.hours));
        let in_day = (hours * 60 + i64::from(format.decode(self.minutes))) * 60;
        let seconds = days * DAY + in_day + i64::from(format.decode(self.seconds));
        // Hours beyond 23 carry into the day: the shift is counted from the day that shows.
        let weekday = i64::from(format.decode(self.weekday)) - 1;
        let shift = (weekday - i64::from(weekday_of(seconds.div_euclid(DAY)))).rem_euclid(7);
        (seconds, shift as u8)
    }
}

/// The alarm: each part either one value or, with both upper bits set, any. A value that no time has never
/// matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    seconds: Option<i64>,
    minutes: Option<i64>,
    hours: Option<i64>,
}

impl Alarm {
    /// Reads the three alarm registers.
    pub fn new(seconds: u8, minutes: u8, hours: u8, format: Format) -> Self {
        let part = |raw: u8, value: u8| (raw & 0xC0 != 0xC0).then_some(i64::from(value));
        Alarm {
            seconds: part(seconds, format.decode(seconds)),
            minutes: part(minutes, format.decode(minutes)),
            hours: part(hours, format.decode_hours(hours)),
        }
    }

    /// The first second after `now` that matches.
    pub fn next_after(&self, now: i64) -> Option<i64> {
        let beyond = |part: Option<i64>, limit: i64| part.is_some_and(|value| value >= limit);
        if beyond(self.seconds, 60) || beyond(self.minutes, 60) || beyond(self.hours, 24) {
            return None;
        }
        let mismatch = |part: Option<i64>, value: i64| part.is_some_and(|wanted| wanted != value);
        let mut at = now + 1;
        // Skips whole hours, then minutes, then seconds: at most 25 + 60 + 60 steps.
        loop {
            let in_day = at.rem_euclid(DAY);
            if mismatch(self.hours, in_day / 3600) {
                at += 3600 - in_day % 3600;
            } else if mismatch(self.minutes, in_day / 60 % 60) {
                at += 60 - in_day % 60;
            } else if mismatch(self.seconds, in_day % 60) {
                at += 1;
            } else {
                return Some(at);
            }
        }
    }
}

/// 0 for Sunday.
fn weekday_of(days: i64) -> u8 {
    // 1970-01-01 was a Thursday.
    (days + 4).rem_euclid(7) as u8
}

/// Days from 1970-01-01 to the first of `month` (1 to 12) in the Gregorian `year`.
fn days_from_civil(year: i64, month: u8) -> i64 {
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on the months' lengths repeat 31 30 31 30 31: 153 days in five.
    let before_month = (153 * i64::from(month) + 2) / 5;
    // 0000-03-01 was 719468 days before 1970-01-01.
    before_year + before_month - 719_468
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil_from_days(days: i64) -> (i64, u8, u8) {
    // 146097 days are 400 years: a first guess, right or one too large.
    let mut year = (days + 719_468).div_euclid(146_097) * 400 + (days + 719_468).rem_euclid(146_097) / 365;
    while days_from_civil(year, 3) > days {
        year -= 1;
    }
    let in_year = days - days_from_civil(year, 3);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    if month < 10 { (year, month as u8 + 3, day as u8) } else { (year + 1, month as u8 - 9, day as u8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const BCD_24: Format = Format { binary: false, hours_24: true };

    #[rstest]
    #[case::epoch(0, [0, 0, 0, 5, 1, 1, 0x70, 0x19])]
    #[case::leap_day(951_827_696, [0x56, 0x34, 0x12, 3, 0x29, 2, 0, 0x20])]
    #[case::not_a_leap_century(4_107_542_399, [0x59, 0x59, 0x23, 1, 0x28, 2, 0, 0x21])]
    #[case::before_the_epoch(-1, [0x59, 0x59, 0x23, 4, 0x31, 0x12, 0x69, 0x19])]
    fn known_times(#[case] seconds: i64, #[case] r: [u8; 8]) {
        let registers = TimeRegisters::at(seconds, 0, BCD_24);
        let TimeRegisters { seconds: s, minutes, hours, weekday, day, month, year, century } = registers;
        assert_eq!([s, minutes, hours, weekday, day, month, year, century], r);
    }

    #[rstest]
    #[case(0, 0x12)]
    #[case(1, 0x01)]
    #[case(11, 0x11)]
    #[case(12, 0x92)]
    #[case(13, 0x81)]
    #[case(23, 0x91)]
    fn twelve_hours(#[case] hours: u8, #[case] raw: u8) {
        let format = Format { binary: false, hours_24: false };
        assert_eq!((format.encode_hours(hours), format.decode_hours(raw)), (raw, hours));
    }

    proptest! {
        #[test]
        fn registers_mean_the_time_they_were_made_of(
            // Years 0 to 9999: what a century register can say.
            seconds in -62_167_219_200i64..253_402_300_800,
            shift in 0u8..7,
            binary: bool,
            hours_24: bool,
        ) {
            let format = Format { binary, hours_24 };
            prop_assert_eq!(TimeRegisters::at(seconds, shift, format).meaning(format), (seconds, shift));
        }

        #[test]
        fn the_next_alarm_is_the_first_second_that_matches(now in 0i64..200_000, s: u8, m: u8, h: u8) {
            let format = Format { binary: true, hours_24: true };
            let alarm = Alarm::new(s, m, h, format);
            let part = |raw: u8, value: i64| raw & 0xC0 == 0xC0 || i64::from(raw) == value;
            let matches = |at: &i64| part(h, at % DAY / 3600) && part(m, at / 60 % 60) && part(s, at % 60);
            prop_assert_eq!(alarm.next_after(now), (now + 1..=now + DAY).find(matches));
        }
    }
}
