//! Looking for a little longer before going to sleep.
//!
//! Waking a thread takes some 30 to 60 microseconds on a virtual host, more than what many waits last: a guest that
//! waits for the answer of a disk or of a peer on the network pays that several times in each turn. So who waits polls
//! first, for as long as that has been worth it lately. The window grows and falls as that of KVM's halt polling does
//! (Linux, Documentation/virt/kvm/halt-polling.rst): it doubles after a wait that a longer window would have caught, and
//! vanishes after one that none would have. An idle guest, which waits for its next tick, does not poll at all.

use super::host;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first window, in nanoseconds.
const FIRST: u32 = 10_000;
/// The longest window, in nanoseconds.
const LONGEST: u32 = 200_000;
/// Looks between two chances for other threads of this processor: a microsecond or so.
const LOOKS: u32 = 16;

/// How long one waiter polls. Waits come one after another; other threads may look.
#[derive(Debug, Default)]
pub struct Polling {
    /// Nanoseconds; 0: not at all.
    window: AtomicU32,
}

/// A wait that polling did not end: to be slept through.
#[must_use = "how long it took is what the next window depends on"]
pub struct Sleep<'a> {
    polling: &'a Polling,
    begin: u64,
}

impl Polling {
    /// Looks whether `ready`, as long as that seems worth it. `None` if it is; else whoever waits is to sleep now, and
    /// to say when that is [over](Sleep::over).
    pub fn poll(&self, ready: impl FnMut() -> bool) -> Option<Sleep<'_>> {
        let begin = host::nanos();
        let window = self.window.load(Ordering::Relaxed);
        let found = window != 0 && poll(begin + u64::from(window), ready);
        (!found).then_some(Sleep { polling: self, begin })
    }

    fn learn(&self, waited: u64) {
        let window = self.window.load(Ordering::Relaxed);
        let next = if waited > u64::from(LONGEST) { 0 } else { (window * 2).clamp(FIRST, LONGEST) };
        self.window.store(next, Ordering::Relaxed);
    }
}

impl Sleep<'_> {
    /// What was waited for has come.
    pub fn over(self) {
        self.polling.learn(host::nanos() - self.begin);
    }
}

fn poll(deadline: u64, mut ready: impl FnMut() -> bool) -> bool {
    loop {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if host::nanos() >= deadline {
            return false;
        }
        // What it waits for may need this very processor.
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, time::Duration};

    #[test]
    fn the_window_doubles_after_short_waits_and_vanishes_after_long_ones() {
        let polling = Polling::default();
        let windows = |waits: &[u64]| -> Vec<u32> {
            let window = |&waited| {
                polling.learn(waited);
                polling.window.load(Ordering::Relaxed)
            };
            waits.iter().map(window).collect()
        };
        assert_eq!(windows(&[50_000, 50_000, 150_000]), [FIRST, 20_000, 40_000]);
        assert_eq!(windows(&[60_000, 60_000, 60_000, 60_000]), [80_000, 160_000, LONGEST, LONGEST]);
        assert_eq!(windows(&[4_000_000, 4_000_000, 30_000]), [0, 0, FIRST]);
    }

    #[test]
    fn who_has_no_window_sleeps_at_once_and_who_has_one_looks_first() {
        let polling = Polling::default();
        assert!(polling.poll(|| panic!("it has no window")).is_some());
        polling.window.store(LONGEST, Ordering::Relaxed);
        let mut looks = 0;
        let mut tenth = || {
            looks += 1;
            looks == 10
        };
        assert!(polling.poll(&mut tenth).is_none());
        assert_eq!(looks, 10);
        assert!(polling.poll(|| false).is_some(), "the window has an end");
    }

    #[test]
    fn how_long_a_sleep_took_is_learned() {
        let polling = Polling::default();
        polling.poll(|| false).expect("there is no window yet").over();
        assert_eq!(polling.window.load(Ordering::Relaxed), FIRST, "it took no time");
        let sleep = polling.poll(|| false).expect("it was never ready");
        thread::sleep(Duration::from_millis(1));
        sleep.over();
        assert_eq!(polling.window.load(Ordering::Relaxed), 0);
    }
}
