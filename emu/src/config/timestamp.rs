//! Times on the command line: calendar dates to seconds, and the host's offset from UTC.

use std::str::FromStr;

/// What the real-time clock shows at power-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcSpec {
    /// The host's time, UTC.
    Utc,
    /// The host's time in the host's time zone.
    Local,
    /// This time: seconds since 1970.
    At(i64),
}

impl FromStr for RtcSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "utc" => Ok(RtcSpec::Utc),
            "local" => Ok(RtcSpec::Local),
            _ => parse_seconds(text).map(RtcSpec::At).ok_or_else(|| {
                "not a time; use utc, local, seconds since 1970, or a date from 1970 to 9999 as in \
                 2026-01-31 or 2026-01-31T23:59:59"
                    .into()
            }),
        }
    }
}

/// Seconds since 1970 of a plain number, `YYYY-MM-DD`, or `YYYY-MM-DDThh:mm:ss` with an optional Z.
fn parse_seconds(text: &str) -> Option<i64> {
    /// 9999-12-31T23:59:59: the RTC's century register holds two digits.
    const LAST: i64 = 253_402_300_799;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|&seconds| seconds <= LAST);
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    let in_range = year >= 1970 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before_year(year) - days_before_year(1970)
        + (1..month).map(|m| days_in(year, m)).sum::<i64>()
        + (day - 1);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Three numbers of exactly so many digits.
fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut values = [0; 3];
    for (value, width) in values.iter_mut().zip(widths) {
        let part = parts.next().filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit()))?;
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(values)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1 January of year 1 to 1 January of `year`.
fn days_before_year(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400
}

/// Seconds that the host's local time is ahead of UTC at `now`.
pub(super) fn local_offset(now: i64) -> i64 {
    // SAFETY: an all-zero `tm` is valid (integers and a null zone name).
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither.
    let result = unsafe { libc::localtime_r(&now, &raw mut broken_down) };
    if result.is_null() { 0 } else { broken_down.tm_gmtoff }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1970-01-01", 0)]
    #[case("2000-02-29T12:00:00", 951_825_600)]
    #[case("2006-06-17T16:01:21Z", 1_150_560_081)]
    #[case("2026-01-31 23:59:59", 1_769_903_999)]
    #[case("9999-12-31T23:59:59", 253_402_300_799)]
    #[case("1234567890", 1_234_567_890)]
    fn dates_become_seconds(#[case] text: &str, #[case] seconds: i64) {
        assert_eq!(text.parse(), Ok(RtcSpec::At(seconds)));
    }

    #[rstest]
    #[case("")]
    #[case("now")]
    #[case("1969-12-31")]
    #[case("2025-02-29")]
    #[case("2025-13-01")]
    #[case("2025-1-1")]
    #[case("2025-01-01T24:00:00")]
    #[case("2025-01-01T00:00")]
    #[case("99999999999999999999")]
    fn other_texts_are_refused(#[case] text: &str) {
        assert!(text.parse::<RtcSpec>().is_err());
    }
}
