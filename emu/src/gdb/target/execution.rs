//! Going on, and where to stop.

use super::{Ended, GdbTarget, vcpu_of};
use crate::machine::debug::{Action, BreakpointKind, Watch};
use gdbstub::{
    common::{Signal, Tid},
    target::{
        TargetResult,
        ext::{
            base::multithread::{
                MultiThreadResume, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps,
                MultiThreadSingleStep, MultiThreadSingleStepOps,
            },
            breakpoints::{
                Breakpoints, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
                SwBreakpointOps, WatchKind,
            },
        },
    },
};

impl MultiThreadResume for GdbTarget {
    fn resume(&mut self) -> Result<(), Ended> {
        let mut actions = vec![self.others; self.machine.cpus() as usize];
        for &(vcpu, action) in &self.actions {
            if let Some(place) = actions.get_mut(vcpu) {
                *place = action;
            }
        }
        self.has_run = true;
        let (port, points) = (self.port.clone(), self.points.clone());
        self.ask(move |_| {
            port.go_on(actions, &points);
        })
    }

    fn clear_resume_actions(&mut self) -> Result<(), Ended> {
        self.actions.clear();
        self.others = Action::Continue;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Ended> {
        self.actions.push((vcpu_of(tid), Action::Continue));
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for GdbTarget {
    fn set_resume_action_step(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Ended> {
        self.actions.push((vcpu_of(tid), Action::Step));
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for GdbTarget {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Ended> {
        self.others = Action::Stand;
        Ok(())
    }
}

impl Breakpoints for GdbTarget {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for GdbTarget {
    fn add_sw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.points.breakpoints.insert((addr, BreakpointKind::Software));
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.points.breakpoints.remove(&(addr, BreakpointKind::Software)))
    }
}

impl HwBreakpoint for GdbTarget {
    fn add_hw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.points.breakpoints.insert((addr, BreakpointKind::Hardware));
        Ok(true)
    }

    fn remove_hw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.points.breakpoints.remove(&(addr, BreakpointKind::Hardware)))
    }
}

impl HwWatchpoint for GdbTarget {
    fn add_hw_watchpoint(&mut self, addr: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let Some(watchpoint) = watchpoint(addr, len, kind) else { return Ok(false) };
        self.points.watchpoints.insert(watchpoint);
        Ok(true)
    }

    fn remove_hw_watchpoint(&mut self, addr: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(watchpoint(addr, len, kind).is_some_and(|watchpoint| self.points.watchpoints.remove(&watchpoint)))
    }
}

fn watchpoint(address: u64, len: u64, kind: WatchKind) -> Option<(u64, u64, Watch)> {
    let watch = match kind {
        WatchKind::Write => Watch::Writes,
        WatchKind::Read => Watch::Reads,
        WatchKind::ReadWrite => Watch::Accesses,
    };
    Some((address, address.checked_add(len.checked_sub(1)?)?, watch))
}
