//! What a debugger makes vCPUs do, and what it hears of them.
//!
//! The debugger's thread sets [`Orders`] while the machine stands, and lets it go. A vCPU that finds what it was to stop
//! at says so to the [`DebugPort`], which holds the machine: then the others stand as well, and the debugger's thread
//! is woken. A vCPU whose orders are to go on, with nothing to stop at, runs as if there were no debugger.
//!
//! Breakpoints and watchpoints are those of `emu-core`'s observation, so they leave memory and the guest's debug
//! registers alone, and there can be any number. They have linear addresses.

use super::{Machine, lifecycle::Lifecycle, run_state::Holds};
use emu_core::{
    cpu::{Cpu, ObservedAccess},
    interp::Pause,
    memory::{Dma, MemoryEvent},
    mmu::Access,
    state::CpuState,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, OnceLock},
};

/// How a vCPU goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// It runs.
    #[default]
    Continue,
    /// It executes one instruction.
    Step,
    /// It stands, while others run.
    Stand,
}

/// Who put a breakpoint there: gdb keeps the two apart, the machine does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakpointKind {
    /// `break`.
    Software,
    /// `hbreak`.
    Hardware,
}

/// Which accesses a watchpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Stores.
    Writes,
    /// Loads.
    Reads,
    /// Both.
    Accesses,
}

/// Where vCPUs stop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopPoints {
    /// Linear addresses of instructions, before which they stop.
    pub breakpoints: BTreeSet<(u64, BreakpointKind)>,
    /// Linear addresses of data, first to last, behind whose accesses they stop.
    pub watchpoints: BTreeSet<(u64, u64, Watch)>,
}

impl StopPoints {
    /// The watchpoint that `access` hits, and the first address in it that was accessed.
    fn hit(&self, access: &ObservedAccess) -> Option<(Watch, u64)> {
        let end = access.linear.saturating_add(u64::from(access.len.max(1)) - 1);
        let wants = |watch| match watch {
            Watch::Accesses => true,
            Watch::Reads => access.access == Access::Read,
            Watch::Writes => access.access == Access::Write,
        };
        let hit = |&&(first, last, watch): &&(u64, u64, Watch)| {
            first <= end && access.linear <= last && wants(watch)
        };
        self.watchpoints.iter().find(hit).map(|&(first, _, watch)| (watch, access.linear.max(first)))
    }

    fn code(&self) -> Vec<(u64, u64)> {
        let mut addresses: Vec<_> = self.breakpoints.iter().map(|&(address, _)| (address, address)).collect();
        addresses.dedup();
        addresses
    }

    fn data(&self) -> Vec<(u64, u64)> {
        self.watchpoints.iter().map(|&(first, last, _)| (first, last)).collect()
    }
}

/// Why a vCPU has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Before the instruction at a breakpoint.
    Breakpoint(BreakpointKind),
    /// Behind an instruction that accessed what is watched, at this linear address.
    Watchpoint(Watch, u64),
    /// It has done its step.
    Stepped,
}

/// A vCPU that has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Its number.
    pub vcpu: usize,
    /// Why.
    pub reason: Reason,
}

#[derive(Default)]
struct State {
    /// By vCPU.
    actions: Vec<Action>,
    points: Arc<StopPoints>,
    /// What the debugger has not heard yet.
    stopped: VecDeque<Stopped>,
}

/// The place between a machine and its debugger.
pub struct DebugPort {
    lifecycle: Arc<Lifecycle>,
    state: Mutex<State>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl DebugPort {
    /// A port of the machine with `lifecycle`, with no debugger.
    pub fn new(lifecycle: Arc<Lifecycle>) -> Arc<DebugPort> {
        Arc::new(DebugPort { lifecycle, state: Mutex::default(), wake: OnceLock::new() })
    }

    /// Has `wake` called when there is something to hear. The first one stays.
    pub fn connect(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _again = self.wake.set(Box::new(wake));
    }

    /// Holds the machine.
    pub fn hold(&self) {
        self.lifecycle.hold(Holds::DEBUGGER);
    }

    /// While the vCPUs stand: lets them go on, as `actions` says by vCPU, until one comes to one of `points`. If one has
    /// already, the machine stays held for the debugger to hear of it. Returns whether it goes on.
    pub fn go_on(&self, actions: Vec<Action>, points: &StopPoints) -> bool {
        let mut state = self.state.lock();
        state.actions = actions;
        if *state.points != *points {
            state.points = Arc::new(points.clone());
        }
        state.stopped.retain(|stopped| matches!(stopped.reason, Reason::Watchpoint(..)));
        let goes_on = state.stopped.is_empty();
        drop(state);
        if goes_on {
            self.lifecycle.release(Holds::DEBUGGER);
        }
        goes_on
    }

    /// While the vCPUs stand: forgets the debugger's wishes. With `release` the machine goes on.
    pub fn forget(&self, release: bool) {
        *self.state.lock() = State::default();
        if release {
            self.lifecycle.release(Holds::DEBUGGER);
        }
    }

    /// Whether one has stopped that was not heard of.
    pub fn has_stopped(&self) -> bool {
        !self.state.lock().stopped.is_empty()
    }

    /// The first that has stopped and was not heard of.
    pub fn take_stopped(&self) -> Option<Stopped> {
        self.state.lock().stopped.pop_front()
    }

    fn tell(&self, stopped: Stopped) {
        let mut state = self.state.lock();
        // One at a time is told. What else comes to a breakpoint meanwhile will come to it again; an access will not.
        if state.stopped.is_empty() || matches!(stopped.reason, Reason::Watchpoint(..)) {
            state.stopped.push_back(stopped);
        }
        drop(state);
        self.hold();
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

/// What one vCPU has to do.
pub struct Orders {
    port: Arc<DebugPort>,
    action: Action,
    points: Arc<StopPoints>,
}

impl Orders {
    /// For vCPU number `vcpu`; none if it runs as it would without a debugger.
    pub fn of(port: Option<&Arc<DebugPort>>, vcpu: usize) -> Option<Orders> {
        let port = port?;
        let state = port.state.lock();
        let action = state.actions.get(vcpu).copied().unwrap_or_default();
        let points = state.points.clone();
        if action == Action::Continue && *points == StopPoints::default() {
            return None;
        }
        Some(Orders { port: port.clone(), action, points })
    }

    /// Runs `cpu` until asked to stop.
    pub fn run(&self, cpu: &mut Cpu) {
        observe(cpu, &self.points);
        let reason = match self.action {
            Action::Continue => match self.run_to_stop(cpu) {
                None => return,
                Some(reason) => Some(reason),
            },
            Action::Step => match cpu.step_observed() {
                Some(_) => return,
                None => Some(self.accessed(cpu).1.unwrap_or(Reason::Stepped)),
            },
            Action::Stand => None,
        };
        if let Some(reason) = reason {
            self.port.tell(Stopped { vcpu: cpu.id, reason });
        }
        cpu.stand();
    }

    /// Runs until there is something for the debugger. `None`: until asked to stop.
    fn run_to_stop(&self, cpu: &mut Cpu) -> Option<Reason> {
        let mut resumed = false;
        loop {
            let pause = cpu.run_observed(u64::MAX, resumed);
            resumed = false;
            match pause {
                Pause::Requested => return None,
                Pause::Code => {
                    let here = cpu.code_address();
                    let software = self.points.breakpoints.contains(&(here, BreakpointKind::Software));
                    return Some(Reason::Breakpoint(match software {
                        true => BreakpointKind::Software,
                        false => BreakpointKind::Hardware,
                    }));
                }
                Pause::Accesses => {
                    let (rip, hit) = self.accessed(cpu);
                    if hit.is_some() {
                        return hit;
                    }
                    // Between two repetitions of an instruction it has been stopped at already.
                    resumed = rip == cpu.rip;
                }
                Pause::Inactive(_) => cpu.sleep(),
                // A machine neither counts nor holds anything back.
                Pause::Limit | Pause::Event(_) | Pause::Denied(_) => {}
            }
        }
    }

    /// RIP of the instruction that has accessed something observed, and the watchpoint that it has hit.
    fn accessed(&self, cpu: &mut Cpu) -> (u64, Option<Reason>) {
        let (rip, accesses) = cpu.take_accesses();
        let hit = accesses.iter().find_map(|access| self.points.hit(access));
        (rip, hit.map(|(watch, address)| Reason::Watchpoint(watch, address)))
    }
}

/// Has `cpu` see what leads to `points`.
pub fn observe(cpu: &mut Cpu, points: &StopPoints) {
    let (code, data) = (points.code(), points.data());
    if cpu.observe.code != code {
        cpu.observe.code = code;
        cpu.observation_changed();
    }
    if cpu.observed_accesses() != data {
        cpu.observe_accesses(data);
    }
}

/// What a debugger does to a machine that stands.
impl Machine {
    /// Task priority of vCPU number `vcpu`, which is CR8.
    pub fn task_priority(&self, vcpu: usize) -> u8 {
        self.board.chipset.apics.cr8(vcpu)
    }

    /// Has vCPU number `vcpu` go on from `state`, with task priority `priority`.
    pub fn change_state(&mut self, vcpu: usize, state: CpuState, priority: u8) {
        if let Some(place) = self.states.get_mut(vcpu) {
            *place = state;
            self.board.chipset.apics.set_cr8(vcpu, priority);
            self.changed.insert(vcpu);
        }
    }

    /// Writes RAM at a physical address. vCPUs hear of code and of page tables that are no longer what they were. False
    /// if there is something else than RAM.
    pub fn write_physical(&self, address: u64, bytes: &[u8]) -> bool {
        let written = Dma::new(self.board.memory.clone()).write(address, bytes).is_ok();
        self.board.memory.code().tell_all(MemoryEvent::FlushTlb);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::the_last_byte(Watch::Writes, Access::Write, 0xFF9, Some(0x1000))]
    #[case::only_before_it(Watch::Writes, Access::Write, 0xFF8, None)]
    #[case::inside(Watch::Accesses, Access::Read, 0x1002, Some(0x1002))]
    #[case::behind_it(Watch::Accesses, Access::Read, 0x1004, None)]
    #[case::a_load(Watch::Writes, Access::Read, 0x1000, None)]
    #[case::a_store(Watch::Reads, Access::Write, 0x1000, None)]
    fn a_watchpoint_is_hit_by_its_kind_of_access_to_its_bytes(
        #[case] watch: Watch,
        #[case] access: Access,
        #[case] linear: u64,
        #[case] hit: Option<u64>,
    ) {
        let points = StopPoints { watchpoints: [(0x1000, 0x1003, watch)].into(), ..StopPoints::default() };
        let access = ObservedAccess::new(linear, &[0; 8], access);
        assert_eq!(points.hit(&access), hit.map(|address| (watch, address)));
    }

    #[test]
    fn orders_are_there_only_for_who_has_something_to_do() {
        let port = DebugPort::new(Arc::new(Lifecycle::new(Vec::new())));
        assert!(Orders::of(None, 0).is_none());
        assert!(Orders::of(Some(&port), 0).is_none());
        port.go_on(vec![Action::Stand, Action::Continue], &StopPoints::default());
        assert!(Orders::of(Some(&port), 0).is_some_and(|orders| orders.action == Action::Stand));
        assert!(Orders::of(Some(&port), 1).is_none());
        let points =
            StopPoints { breakpoints: [(1, BreakpointKind::Software)].into(), ..StopPoints::default() };
        port.go_on(Vec::new(), &points);
        assert!(Orders::of(Some(&port), 1).is_some());
        port.forget(true);
        assert!(Orders::of(Some(&port), 1).is_none());
    }

    #[test]
    fn an_access_is_told_however_late_and_a_breakpoint_is_met_again() {
        let port = DebugPort::new(Arc::new(Lifecycle::new(Vec::new())));
        let stopped = |vcpu, reason| Stopped { vcpu, reason };
        let breakpoint = Reason::Breakpoint(BreakpointKind::Software);
        let watchpoint = Reason::Watchpoint(Watch::Writes, 8);
        port.tell(stopped(0, breakpoint));
        port.tell(stopped(1, watchpoint));
        port.tell(stopped(2, breakpoint));
        assert_eq!(port.take_stopped(), Some(stopped(0, breakpoint)));
        assert!(!port.go_on(Vec::new(), &StopPoints::default()), "one has to be heard of");
        assert_eq!(port.take_stopped(), Some(stopped(1, watchpoint)));
        assert!(port.go_on(Vec::new(), &StopPoints::default()));
        assert_eq!(port.take_stopped(), None);
    }
}
