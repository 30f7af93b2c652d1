//! The host's monotonic clock, at the cost of reading its time-stamp counter.
//!
//! To ask the host takes 20 to 25 ns, which guests that ask for the time all the time pay in full. Where the host
//! itself keeps time by the time-stamp counter, time is interpolated: an *anchor* says which time it was at which
//! count, and how fast the one runs by the other. The host is asked again 20 times in a second; the error that shows
//! (a few ns, as the host's rate is adjusted) is made up for by the rate, so that time neither jumps nor goes back.
//!
//! Elsewhere the host is asked every time.

use std::{sync::OnceLock, time::Instant};

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn ask() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    Instant::now().saturating_duration_since(start).as_nanos() as u64
}

/// Nanoseconds since some time when this process began.
#[inline]
pub fn nanos() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        counter::nanos()
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    {
        ask()
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod counter {
    use super::ask;
    use parking_lot::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

    /// Ticks after which the host is asked again: some 50 ms.
    const REACH: u64 = 1 << 27;
    /// Nanoseconds for which the first rate is measured.
    const FIRST: u64 = 10_000_000;
    /// Nanoseconds in which an error is made up for.
    const CATCH_UP: i64 = 100_000_000;
    /// The most that the rate is bent for that, in parts of a million.
    const BEND: i64 = 500;
    /// An error that is not made up for: the host has slept.
    const JUMP: i64 = 5_000_000;

    /// What time it was at which count.
    #[derive(Clone, Copy, Default)]
    struct Anchor {
        ticks: u64,
        nanos: u64,
        /// Nanoseconds in 2^32 ticks; zero as long as it is not known.
        rate: u64,
    }

    impl Anchor {
        fn after(&self, ticks: u64) -> u64 {
            self.nanos + ((ticks * self.rate) >> 32)
        }
    }

    /// The anchor, behind a count that is odd while it changes.
    struct Published {
        version: AtomicU32,
        ticks: AtomicU64,
        nanos: AtomicU64,
        rate: AtomicU64,
    }

    static PUBLISHED: Published = Published {
        version: AtomicU32::new(0),
        ticks: AtomicU64::new(0),
        nanos: AtomicU64::new(0),
        rate: AtomicU64::new(0),
    };
    /// Count and time when the host was asked last; zero before.
    static MEASURED: Mutex<(u64, u64)> = Mutex::new((0, 0));
    /// The counter is no clock on this host.
    static UNUSABLE: AtomicBool = AtomicBool::new(false);

    fn count() -> u64 {
        // SAFETY: every x86-64 processor has it.
        unsafe { std::arch::x86_64::_rdtsc() }
    }

    impl Published {
        #[inline]
        fn read(&self) -> Option<Anchor> {
            let before = self.version.load(Ordering::Acquire);
            let anchor = Anchor {
                ticks: self.ticks.load(Ordering::Relaxed),
                nanos: self.nanos.load(Ordering::Relaxed),
                rate: self.rate.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            (before & 1 == 0 && self.version.load(Ordering::Relaxed) == before).then_some(anchor)
        }

        /// Only one at a time.
        fn write(&self, anchor: Anchor) {
            let version = self.version.load(Ordering::Relaxed);
            self.version.store(version.wrapping_add(1), Ordering::Relaxed);
            fence(Ordering::Release);
            self.ticks.store(anchor.ticks, Ordering::Relaxed);
            self.nanos.store(anchor.nanos, Ordering::Relaxed);
            self.rate.store(anchor.rate, Ordering::Relaxed);
            self.version.store(version.wrapping_add(2), Ordering::Release);
        }
    }

    #[inline]
    pub fn nanos() -> u64 {
        if let Some(anchor) = PUBLISHED.read() {
            let ticks = count().wrapping_sub(anchor.ticks);
            if anchor.rate != 0 && ticks < REACH {
                return anchor.after(ticks);
            }
        }
        look()
    }

    #[cold]
    fn look() -> u64 {
        if UNUSABLE.load(Ordering::Relaxed) {
            return ask();
        }
        let mut measured = MEASURED.lock();
        let Some(anchor) = PUBLISHED.read() else { return ask() };
        let (ticks, nanos) = measure();
        if *measured == (0, 0) {
            *measured = (ticks, nanos);
            UNUSABLE.store(!host_trusts_it(), Ordering::Relaxed);
            return nanos;
        }
        let ran = (ticks.wrapping_sub(measured.0), nanos.wrapping_sub(measured.1));
        if anchor.rate == 0 && ran.1 < FIRST {
            return nanos;
        }
        let passed = ticks.wrapping_sub(anchor.ticks);
        if anchor.rate != 0 && passed < REACH {
            // Somebody else has just been here.
            return anchor.after(passed);
        }
        let next = next(&anchor, (ticks, nanos), ran);
        *measured = (ticks, nanos);
        PUBLISHED.write(next);
        next.nanos
    }

    /// The anchor for `now`, count and time, when `ran`, ticks and nanoseconds, have passed since the last.
    fn next(anchor: &Anchor, now: (u64, u64), ran: (u64, u64)) -> Anchor {
        let rate = ((u128::from(ran.1) << 32) / u128::from(ran.0.max(1))) as u64;
        let passed = now.0.wrapping_sub(anchor.ticks);
        if passed as i64 <= 0 {
            // Another processor's counter is a few ticks behind.
            return *anchor;
        }
        // Nobody has been told a later time than this.
        let told = if anchor.rate == 0 { 0 } else { anchor.after(passed.min(REACH)) };
        let expected = ((u128::from(passed) * u128::from(anchor.rate)) >> 32) as u64 + anchor.nanos;
        let error = now.1.wrapping_sub(expected) as i64;
        if anchor.rate == 0 || !(-JUMP..JUMP).contains(&error) {
            // While the host slept, perhaps only one of the two ran.
            let rate = if anchor.rate == 0 { rate } else { anchor.rate };
            return Anchor { ticks: now.0, nanos: now.1.max(told), rate };
        }
        let bend = (error * 1_000_000 / CATCH_UP).clamp(-BEND, BEND);
        let bent = i128::from(rate) * i128::from(1_000_000 + bend) / 1_000_000;
        Anchor { ticks: now.0, nanos: expected, rate: bent as u64 }
    }

    /// Count and time at the same moment, as well as that can be told.
    fn measure() -> (u64, u64) {
        let attempt = || {
            let before = count();
            let nanos = ask();
            let after = count();
            (after.wrapping_sub(before), before, nanos)
        };
        let (width, before, nanos) = (0..4).map(|_| attempt()).min().unwrap_or_default();
        (before.wrapping_add(width / 2), nanos)
    }

    /// Whether the host itself keeps time by the counter: then it is steady, and the same on all processors.
    fn host_trusts_it() -> bool {
        let source =
            std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        source.is_ok_and(|source| source.trim() == "tsc")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const ANCHOR: Anchor = Anchor { ticks: 1000, nanos: 500, rate: 1 << 31 };

        #[test]
        fn an_error_is_made_up_for_without_a_jump() {
            let now = (1000 + 2 * REACH, 500 + REACH + 1000);
            let next = next(&ANCHOR, now, (2 * REACH, REACH + 1000));
            assert_eq!((next.ticks, next.nanos), (now.0, 500 + REACH));
            let measured = (u128::from(REACH + 1000) << 32) / u128::from(2 * REACH);
            assert!(u128::from(next.rate) > measured && u128::from(next.rate) < measured + measured / 1000);
        }

        #[test]
        fn after_the_host_has_slept_time_goes_on_but_not_back() {
            let told = ANCHOR.after(REACH);
            let ahead = next(&ANCHOR, (1000 + 2 * REACH, 1 << 40), (2 * REACH, 1 << 40));
            assert_eq!(ahead.nanos, 1 << 40);
            let behind = next(&ANCHOR, (1000 + (1 << 40), 600), (1 << 40, 100));
            assert_eq!(behind.nanos, told);
        }

        #[test]
        fn time_follows_the_host_and_never_goes_back() {
            let begin = ask();
            let (mut last, mut steps) = (0, 0);
            while ask() - begin < 200_000_000 {
                // The host is asked on both sides: this thread may have to wait in between.
                let (before, now, after) = (ask(), nanos(), ask());
                assert!(now >= last, "{now} after {last}");
                last = now;
                assert!(now <= after + 1_000_000 && before <= now + 20_000_000, "{before} {now} {after}");
                steps += 1;
            }
            assert!(steps > 100);
        }
    }
}
