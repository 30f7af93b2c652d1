//! Timers on machine time. Devices arm them; whoever owns the event loop fires what is due.

use super::VmClock;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

type Callback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    /// Armed timers: (deadline, timer number).
    armed: BTreeSet<(u64, usize)>,
    /// By timer number: deadline if armed, and what to call.
    timers: Vec<(Option<u64>, Option<Callback>)>,
    /// Machine time stands still, and nothing fires.
    paused: bool,
    /// Callbacks that run now.
    running: usize,
    stopping: bool,
}

/// All timers of one machine, ordered by deadline.
pub struct TimerQueue {
    clock: VmClock,
    state: Mutex<State>,
    changed: Condvar,
    /// The last callback has returned, and somebody waits for that.
    quiet: Condvar,
}

impl TimerQueue {
    /// An empty queue on `clock`.
    pub fn new(clock: VmClock) -> Arc<Self> {
        Arc::new(TimerQueue {
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
            quiet: Condvar::new(),
        })
    }

    /// The clock deadlines are measured on.
    pub fn clock(&self) -> &VmClock {
        &self.clock
    }

    /// A new, unarmed timer, without anything to call yet: see [`Timer::on_expiry`].
    pub fn timer(self: &Arc<Self>) -> Timer {
        let mut state = self.state.lock();
        state.timers.push((None, None));
        Timer { queue: Arc::downgrade(self), number: state.timers.len() - 1 }
    }

    /// The earliest deadline, in nanoseconds of machine time.
    pub fn next_deadline(&self) -> Option<u64> {
        self.state.lock().armed.first().map(|&(deadline, _)| deadline)
    }

    /// Calls back every timer whose deadline has passed. Each is unarmed before its callback runs, so the
    /// callback may arm it again. Callbacks run without the queue's lock.
    pub fn fire_due(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        while !state.paused
            && let Some(&(deadline, number)) = state.armed.first().filter(|&&(deadline, _)| deadline <= now)
        {
            state.armed.remove(&(deadline, number));
            state.timers[number].0 = None;
            if let Some(callback) = state.timers[number].1.clone() {
                state.running += 1;
                MutexGuard::unlocked(&mut state, || callback());
                state.running -= 1;
            }
        }
        if state.paused && state.running == 0 {
            self.quiet.notify_all();
        }
    }

    /// Stops machine time. When this returns no callback runs, and none will until [`resume`](Self::resume). Not from
    /// within a callback, and not with a lock that one could wait for.
    pub fn pause(&self) {
        let mut state = self.state.lock();
        state.paused = true;
        while state.running != 0 {
            self.quiet.wait(&mut state);
        }
        self.clock.pause();
    }

    /// Lets machine time go on from where it stopped.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        self.clock.resume();
        state.paused = false;
        self.changed.notify_all();
    }

    /// The event loop for real time: fires timers as they fall due until [`stop`](Self::stop) is called.
    pub fn run(&self) {
        loop {
            self.fire_due();
            let mut state = self.state.lock();
            if state.stopping {
                return;
            }
            let deadline = state.armed.first().map(|&(deadline, _)| deadline).filter(|_| !state.paused);
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    let wait = deadline.saturating_sub(self.clock.now());
                    if wait > 0 {
                        self.changed.wait_for(&mut state, Duration::from_nanos(wait));
                    }
                }
            }
        }
    }

    /// Makes [`run`](Self::run) return.
    pub fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    fn arm(&self, number: usize, deadline: Option<u64>) {
        let mut state = self.state.lock();
        if let Some(old) = state.timers[number].0.take() {
            state.armed.remove(&(old, number));
        }
        if let Some(deadline) = deadline {
            state.timers[number].0 = Some(deadline);
            state.armed.insert((deadline, number));
            // The event loop sleeps until the earliest deadline: wake it only if that has changed.
            if state.armed.first() == Some(&(deadline, number)) {
                self.changed.notify_one();
            }
        }
    }
}

/// One timer. A device holds it and never sees the queue.
#[derive(Clone)]
pub struct Timer {
    queue: Weak<TimerQueue>,
    number: usize,
}

impl Timer {
    /// Sets what expiry calls. The machine does this once, after it has put the device behind its lock.
    pub fn on_expiry(&self, callback: impl Fn() + Send + Sync + 'static) {
        if let Some(queue) = self.queue.upgrade() {
            queue.state.lock().timers[self.number].1 = Some(Arc::new(callback));
        }
    }

    /// Expires once at machine time `deadline` (nanoseconds), instead of any earlier arming.
    pub fn arm(&self, deadline: u64) {
        if let Some(queue) = self.queue.upgrade() {
            queue.arm(self.number, Some(deadline));
        }
    }

    /// Does not expire.
    pub fn cancel(&self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.arm(self.number, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn timers_fire_once_in_order_and_can_rearm_themselves() {
        let clock = VmClock::counted(0);
        let queue = TimerQueue::new(clock.clone());
        let (periodic, cancelled) = (queue.timer(), queue.timer());
        let count = Arc::new(AtomicU32::new(0));
        let (again, counter) = (periodic.clone(), count.clone());
        periodic.on_expiry(move || {
            if counter.fetch_add(1, Ordering::Relaxed) < 2 {
                again.arm(20);
            }
        });
        cancelled.on_expiry(|| panic!("a cancelled timer must not fire"));
        periodic.arm(10);
        cancelled.arm(15);
        cancelled.cancel();
        clock.advance(9);
        queue.fire_due();
        assert_eq!(count.load(Ordering::Relaxed), 0);
        clock.advance(1);
        queue.fire_due();
        assert_eq!((count.load(Ordering::Relaxed), queue.next_deadline()), (1, Some(20)));
        clock.advance(100);
        queue.fire_due();
        assert_eq!((count.load(Ordering::Relaxed), queue.next_deadline()), (3, None));
    }

    #[test]
    fn while_time_is_paused_nothing_fires_and_then_what_was_armed_fires_once_and_not_early() {
        let queue = TimerQueue::new(VmClock::real(0));
        let timer = queue.timer();
        let fired = Arc::new(AtomicU32::new(0));
        let (counter, clock) = (fired.clone(), queue.clock().clone());
        let deadline = queue.clock().now() + 30_000_000;
        timer.on_expiry(move || {
            assert!(clock.now() >= deadline);
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let events = queue.clone();
        let thread = std::thread::spawn(move || events.run());
        timer.arm(deadline);
        queue.pause();
        let stands = queue.clock().now();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!((fired.load(Ordering::Relaxed), queue.clock().now()), (0, stands));
        queue.resume();
        while fired.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        queue.stop();
        thread.join().unwrap();
        assert_eq!(fired.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_pause_waits_for_the_callback_that_runs() {
        let queue = TimerQueue::new(VmClock::real(0));
        let timer = queue.timer();
        let (steps, began) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (inside, start) = (steps.clone(), began.clone());
        timer.on_expiry(move || {
            start.store(1, Ordering::Release);
            std::thread::sleep(Duration::from_millis(50));
            inside.store(1, Ordering::Release);
        });
        let events = queue.clone();
        let thread = std::thread::spawn(move || events.run());
        timer.arm(0);
        while began.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        queue.pause();
        assert_eq!(steps.load(Ordering::Acquire), 1);
        queue.stop();
        thread.join().unwrap();
    }
}
