//! What ends a stretch of running, and who hears of it.
//!
//! Devices, vCPUs and the user request an [`Event`], hold the machine ([`Holds`]) or submit a [`Task`], on any thread and
//! with whatever locks; the machine's thread does it. Each also asks all vCPUs to stop, so that a guest which has
//! powered off executes next to nothing more. When they stand, [`Lifecycle::next`] says what to do; the machine goes on
//! when nothing is left to do and nothing holds it.
//!
//! Whoever wants to know what becomes of the machine is an [`Observer`].

use super::{
    Machine,
    run_state::{Holds, RunState},
};
use emu_core::engine::{VcpuSignal, request};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

/// Something that no vCPU can deal with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The guest entered the soft-off state.
    PowerOff,
    /// The guest asked for a reset of the machine, by any of the ways a PC has.
    Reset,
    /// The user pressed the reset button.
    UserReset,
    /// The guest wrote this value to the debug exit port.
    DebugExit(u32),
    /// This vCPU shut down.
    TripleFault(usize),
    /// The user ends the machine.
    Quit,
}

/// What observers hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The machine stands from now on.
    Stopped,
    /// It goes on.
    Resumed,
    /// It has been reset. True: by the guest.
    Reset(bool),
    /// The power button was pressed.
    PowerDown,
    /// It has come to its end. True: by the guest.
    Shutdown(bool),
    /// A disk found no room on the host.
    NoRoom {
        /// Its number.
        disk: usize,
        /// What the host says.
        reason: String,
    },
}

/// Hears what happens to a machine. Called with locks held: it has to note it and return.
pub trait Observer: Send + Sync {
    /// This has happened.
    fn happened(&self, happening: &Happening);
}

/// Work on a machine that stands, `M`. It may be dropped undone, when the machine has ended.
pub type Task<M> = Box<dyn FnOnce(&mut M) + Send>;

/// What the machine's thread does next, when all vCPUs stand.
pub enum Next<M> {
    /// This has to be dealt with.
    Event(Event),
    /// This is to be done.
    Task(Task<M>),
    /// The vCPUs go on.
    Run,
}

struct State<M> {
    event: Option<Event>,
    holds: Holds,
    tasks: VecDeque<Task<M>>,
    ended: bool,
}

impl<M> State<M> {
    /// Whether the vCPUs have to stand.
    fn has_work(&self) -> bool {
        self.event.is_some() || !self.holds.is_empty() || !self.tasks.is_empty()
    }
}

/// The place where all this waits for the machine, `M`.
pub struct Lifecycle<M = Machine> {
    state: Mutex<State<M>>,
    requested: Condvar,
    signals: Vec<Arc<VcpuSignal>>,
    observer: OnceLock<Arc<dyn Observer>>,
}

impl<M> Lifecycle<M> {
    /// A machine of the vCPUs behind `signals`, nothing requested.
    pub fn new(signals: Vec<Arc<VcpuSignal>>) -> Self {
        let state = State { event: None, holds: Holds::empty(), tasks: VecDeque::new(), ended: false };
        Lifecycle { state: Mutex::new(state), requested: Condvar::new(), signals, observer: OnceLock::new() }
    }

    /// Tells `observer` from now on. The first one stays.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let _again = self.observer.set(observer);
    }

    /// Tells the observer.
    pub fn tell(&self, happening: &Happening) {
        if let Some(observer) = self.observer.get() {
            observer.happened(happening);
        }
    }

    /// Requests `event`. The first one counts: what vCPUs do until they have stopped is void. The user's wish
    /// comes before all.
    pub fn request(&self, event: Event) {
        let mut state = self.state.lock();
        if state.event.is_none() || event == Event::Quit {
            state.event = Some(event);
        }
        self.stop_vcpus(&state);
    }

    /// Keeps the machine from running for `reason`, until it is [released](Self::release).
    pub fn hold(&self, reason: Holds) {
        let mut state = self.state.lock();
        let ran = state.holds.is_empty();
        state.holds |= reason;
        if ran && !state.ended {
            self.tell(&Happening::Stopped);
        }
        self.stop_vcpus(&state);
    }

    /// `reason` is over. Returns whether the machine runs now.
    pub fn release(&self, reason: Holds) -> bool {
        let mut state = self.state.lock();
        let stood = !state.holds.is_empty();
        state.holds -= reason;
        let runs = state.holds.is_empty();
        if stood && runs && !state.ended {
            self.tell(&Happening::Resumed);
        }
        self.requested.notify_one();
        runs
    }

    /// Has `task` done when all vCPUs stand, which for this they do for a moment. When the machine has ended, or ends
    /// before, it is dropped.
    pub fn submit(&self, task: Task<M>) {
        let mut state = self.state.lock();
        if !state.ended {
            state.tasks.push_back(task);
            self.stop_vcpus(&state);
        }
    }

    /// With the lock, so that no vCPU is stopped for something that has been dealt with already: nobody would let it
    /// go on.
    fn stop_vcpus(&self, _locked: &MutexGuard<'_, State<M>>) {
        for signal in &self.signals {
            signal.raise(request::STOP);
        }
        self.requested.notify_one();
    }

    /// While vCPUs run: waits until they have to stand.
    pub fn wait(&self) {
        let mut state = self.state.lock();
        while !state.has_work() {
            self.requested.wait(&mut state);
        }
    }

    /// When all vCPUs stand: what to do. Waits while the machine is held.
    pub fn next(&self) -> Next<M> {
        let mut state = self.state.lock();
        loop {
            if let Some(event) = state.event.take() {
                return Next::Event(event);
            }
            if let Some(task) = state.tasks.pop_front() {
                return Next::Task(task);
            }
            if state.holds.is_empty() {
                return Next::Run;
            }
            self.requested.wait(&mut state);
        }
    }

    /// The next task, if there is one.
    pub fn next_task(&self) -> Option<Task<M>> {
        self.state.lock().tasks.pop_front()
    }

    /// Takes the user's wish to end it, if that is pending.
    pub fn take_quit(&self) -> bool {
        self.state.lock().event.take_if(|event| *event == Event::Quit).is_some()
    }

    /// Whether somebody waits for a task or for the end.
    pub fn is_urged(&self) -> bool {
        let state = self.state.lock();
        !state.tasks.is_empty() || state.event == Some(Event::Quit)
    }

    /// What the machine does.
    pub fn run_state(&self) -> RunState {
        let state = self.state.lock();
        if state.ended { RunState::Shutdown } else { state.holds.into() }
    }

    /// The machine has ended, by the guest or not; nothing is done any more.
    pub fn end(&self, by_guest: bool) {
        let mut state = self.state.lock();
        state.ended = true;
        let undone = std::mem::take(&mut state.tasks);
        self.tell(&Happening::Shutdown(by_guest));
        drop(state);
        // They tell whoever waits for them.
        drop(undone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(Mutex<Vec<Happening>>);

    impl Observer for Told {
        fn happened(&self, happening: &Happening) {
            self.0.lock().push(happening.clone());
        }
    }

    fn lifecycle() -> (Lifecycle<u32>, Arc<VcpuSignal>, Arc<Told>) {
        let signal = Arc::<VcpuSignal>::default();
        let lifecycle = Lifecycle::new(vec![signal.clone()]);
        let told = Arc::new(Told(Mutex::default()));
        lifecycle.observe(told.clone());
        (lifecycle, signal, told)
    }

    fn event(lifecycle: &Lifecycle<u32>) -> Option<Event> {
        match lifecycle.next() {
            Next::Event(event) => Some(event),
            _ => None,
        }
    }

    #[test]
    fn the_first_event_counts_but_for_the_users_wish() {
        let (lifecycle, signal, _) = lifecycle();

        lifecycle.request(Event::PowerOff);
        lifecycle.request(Event::Reset);
        lifecycle.wait();
        assert_eq!(signal.requests(), request::STOP);
        assert_eq!(event(&lifecycle), Some(Event::PowerOff));

        lifecycle.request(Event::PowerOff);
        lifecycle.request(Event::Quit);
        assert!(lifecycle.is_urged() && lifecycle.take_quit());
        lifecycle.request(Event::Reset);
        assert_eq!(event(&lifecycle), Some(Event::Reset), "what was taken is gone");
        assert!(matches!(lifecycle.next(), Next::Run));
    }

    #[test]
    fn a_machine_runs_when_no_reason_to_stand_is_left_and_says_so_once() {
        let (lifecycle, _, told) = lifecycle();
        lifecycle.hold(Holds::SPACE);
        lifecycle.hold(Holds::USER);
        lifecycle.hold(Holds::USER);
        assert_eq!(lifecycle.run_state(), RunState::IoError);
        assert!(!lifecycle.release(Holds::SPACE));
        assert_eq!(lifecycle.run_state(), RunState::Paused);
        assert!(lifecycle.release(Holds::USER));
        assert!(lifecycle.release(Holds::USER));
        assert_eq!(lifecycle.run_state(), RunState::Running);
        assert_eq!(*told.0.lock(), [Happening::Stopped, Happening::Resumed]);
    }

    #[test]
    fn a_machine_that_is_held_does_tasks_and_ends() {
        let (lifecycle, _, _) = lifecycle();
        lifecycle.hold(Holds::USER);
        lifecycle.submit(Box::new(|number| *number += 1));
        let mut number = 0;
        let Next::Task(task) = lifecycle.next() else { panic!("no task") };
        task(&mut number);
        assert_eq!(number, 1);
        lifecycle.request(Event::Quit);
        assert_eq!(event(&lifecycle), Some(Event::Quit));
    }

    #[test]
    fn who_waits_for_a_task_hears_of_the_end() {
        let (lifecycle, _, told) = lifecycle();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let late = sender.clone();
        lifecycle.submit(Box::new(move |_| sender.send(()).unwrap()));
        lifecycle.end(true);
        lifecycle.submit(Box::new(move |_| late.send(()).unwrap()));
        assert!(receiver.recv().is_err());
        assert_eq!(lifecycle.run_state(), RunState::Shutdown);
        assert_eq!(*told.0.lock(), [Happening::Shutdown(true)]);
    }
}
