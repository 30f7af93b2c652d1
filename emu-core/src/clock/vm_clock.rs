//! Machine time: real or counted, stoppable.

use super::host;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Nanoseconds of machine time since power-on. Cloning gives another handle to the same clock.
#[derive(Debug, Clone)]
pub struct VmClock(Arc<Inner>);

/// Set in [`Inner::time`]: machine time follows the host.
const FOLLOWING: u64 = 1 << 63;

#[derive(Debug)]
struct Inner {
    /// Host time that counts as machine time 0 while running; only meaningful in real mode.
    epoch: u64,
    /// Machine time at `epoch` and [`FOLLOWING`], or without that bit, machine time. One word, so that nobody sees
    /// half of a change. Modulo 2^63, which is 292 years.
    time: AtomicU64,
    counted: bool,
    /// Serialises pause and resume.
    switch: Mutex<()>,
}

/// The time since 1970 on the host.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970 on the host: what a real-time clock shows at power-on.
pub fn wall_clock_seconds() -> u64 {
    wall_clock().as_secs()
}

impl VmClock {
    /// A clock that follows the host, running, at `nanos`.
    pub fn real(nanos: u64) -> Self {
        Self::new(nanos, false)
    }

    /// A clock that only [`advance`](Self::advance) moves, at `nanos`.
    pub fn counted(nanos: u64) -> Self {
        Self::new(nanos, true)
    }

    fn new(nanos: u64, counted: bool) -> Self {
        let following = if counted { 0 } else { FOLLOWING };
        VmClock(Arc::new(Inner {
            epoch: host::nanos(),
            time: AtomicU64::new(nanos & !FOLLOWING | following),
            counted,
            switch: Mutex::new(()),
        }))
    }

    /// Machine time, in nanoseconds since power-on.
    #[inline]
    pub fn now(&self) -> u64 {
        loop {
            let time = self.0.time.load(Ordering::Acquire);
            if time & FOLLOWING == 0 {
                return time;
            }
            let now = time.wrapping_add(self.host_nanos()) & !FOLLOWING;
            // If the clock was stopped meanwhile, this is later than where it stands.
            if self.0.time.load(Ordering::Acquire) == time {
                return now;
            }
        }
    }

    /// Whether instructions, not the host, move this clock.
    pub fn is_counted(&self) -> bool {
        self.0.counted
    }

    /// Moves a counted clock forward. A real clock is not moved.
    pub fn advance(&self, nanos: u64) {
        if self.0.counted {
            self.0.time.fetch_add(nanos, Ordering::AcqRel);
        }
    }

    /// Stops machine time (real mode; a counted clock stands still by itself).
    pub fn pause(&self) {
        let _guard = self.0.switch.lock();
        let time = self.0.time.load(Ordering::Acquire);
        if time & FOLLOWING != 0 {
            let now = time.wrapping_add(self.host_nanos()) & !FOLLOWING;
            self.0.time.store(now, Ordering::Release);
        }
    }

    /// Lets machine time run on from where it stopped.
    pub fn resume(&self) {
        let _guard = self.0.switch.lock();
        let time = self.0.time.load(Ordering::Acquire);
        if !self.0.counted && time & FOLLOWING == 0 {
            let offset = time.wrapping_sub(self.host_nanos()) & !FOLLOWING;
            self.0.time.store(offset | FOLLOWING, Ordering::Release);
        }
    }

    #[inline]
    fn host_nanos(&self) -> u64 {
        host::nanos().wrapping_sub(self.0.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_time_moves_only_when_told() {
        let clock = VmClock::counted(5);
        clock.advance(10);
        assert_eq!(clock.now(), 15);
        clock.resume();
        assert_eq!(clock.now(), 15);
    }

    #[test]
    fn a_paused_clock_stands_still_and_resumes_without_a_jump() {
        let clock = VmClock::real(0);
        clock.pause();
        let stopped = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(clock.now(), stopped);
        clock.resume();
        assert!(clock.now() - stopped < 15_000_000, "the pause must not show in machine time");
    }

    #[test]
    fn who_looks_while_the_clock_is_stopped_and_started_never_sees_it_go_back() {
        let clock = VmClock::real(1 << 40);
        let done = Arc::new(AtomicU64::new(0));
        let (looked, over) = (clock.clone(), done.clone());
        let watcher = std::thread::spawn(move || {
            let (mut last, mut looks) = (1 << 40, 0_u64);
            while over.load(Ordering::Acquire) == 0 || looks < 1000 {
                let now = looked.now();
                assert!(now >= last && now - last < 60_000_000_000, "{now} after {last}");
                (last, looks) = (now, looks + 1);
            }
        });
        for _ in 0..20_000 {
            clock.pause();
            clock.resume();
        }
        done.store(1, Ordering::Release);
        watcher.join().unwrap();
    }
}
