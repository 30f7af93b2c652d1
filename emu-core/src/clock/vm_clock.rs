//! Machine time: real or counted, stoppable.

use super::host;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Nanoseconds of machine time since power-on. Cloning gives another handle to the same clock.
#[derive(Debug, Clone)]
pub struct VmClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Host time that counts as machine time 0 while running; only meaningful in real mode.
    epoch: u64,
    /// Machine time at `epoch`, plus all counted time; wraps below zero while paused time is subtracted.
    offset: AtomicU64,
    /// True while machine time follows the host.
    following: AtomicBool,
    counted: bool,
    /// Serialises pause and resume.
    switch: Mutex<()>,
}

/// Seconds since 1970 on the host: what a real-time clock shows at power-on.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_clock_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
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
        VmClock(Arc::new(Inner {
            epoch: host::nanos(),
            offset: AtomicU64::new(nanos),
            following: AtomicBool::new(!counted),
            counted,
            switch: Mutex::new(()),
        }))
    }

    /// Machine time, in nanoseconds since power-on.
    #[inline]
    pub fn now(&self) -> u64 {
        let offset = self.0.offset.load(Ordering::Acquire);
        if self.0.following.load(Ordering::Acquire) { offset.wrapping_add(self.host_nanos()) } else { offset }
    }

    /// Whether instructions, not the host, move this clock.
    pub fn is_counted(&self) -> bool {
        self.0.counted
    }

    /// Moves a counted clock forward. A real clock is not moved.
    pub fn advance(&self, nanos: u64) {
        if self.0.counted {
            self.0.offset.fetch_add(nanos, Ordering::AcqRel);
        }
    }

    /// Stops machine time (real mode; a counted clock stands still by itself).
    pub fn pause(&self) {
        let _guard = self.0.switch.lock();
        if self.0.following.swap(false, Ordering::AcqRel) {
            self.0.offset.fetch_add(self.host_nanos(), Ordering::AcqRel);
        }
    }

    /// Lets machine time run on from where it stopped.
    pub fn resume(&self) {
        let _guard = self.0.switch.lock();
        if !self.0.counted && !self.0.following.load(Ordering::Acquire) {
            self.0.offset.fetch_sub(self.host_nanos(), Ordering::AcqRel);
            self.0.following.store(true, Ordering::Release);
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
}
