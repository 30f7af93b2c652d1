//! Running: from pause to pause of the CPU, asking hooks at each.

use super::{
    Delivery, Event, Exit, MemoryAccess, Resolution, Sandbox, Unmapped, Until, Verdict, space::Translation,
};
use emu_core::{
    arch::vector,
    cpu::ObservedAccess,
    interp::Pause,
    microcode::interrupt::{EventKind, Held},
    mmu::{Access, Denied},
    state::Activity,
};

/// Addresses of [`Until::address`] that pauses are kept for: a run to one of them needs no decoding anew.
const ENDS: usize = 16;

impl Sandbox<'_> {
    /// Executes from RIP on until `until`, or until something else ends the run.
    pub fn run(&mut self, until: Until) -> Exit {
        if let Some(address) = until.address
            && !self.ends.contains(&address)
        {
            if self.ends.len() == ENDS {
                self.ends.clear();
            }
            self.ends.push(address);
            self.observe_code();
        }
        self.stopping = false;
        let end = until.count.map(|count| self.cpu.executed.saturating_add(count));
        // An address at which the run begins does not end it.
        let mut begin = Some(self.cpu.code_address());
        // What does not complete an instruction counts if it goes on so: a run with a limit ends.
        let (mut completed, mut idle) = (self.cpu.executed, 0);
        loop {
            if self.cpu.executed != completed {
                (completed, idle) = (self.cpu.executed, 0);
            }
            let left = end.map_or(u64::MAX, |end| end.saturating_sub(completed + idle));
            if left == 0 {
                let there = until.address == Some(self.cpu.code_address()) && begin.is_none();
                return if there { Exit::Reached } else { Exit::Limit };
            }
            let seen = self.seen.take();
            let pause = self.cpu.run_observed(left, seen == Some(self.cpu.code_address()));
            let exit = match pause {
                Pause::Limit => None,
                Pause::Accesses => self.after_accesses(),
                Pause::Requested => Some(Exit::Stopped),
                Pause::Inactive(Activity::Shutdown) => Some(Exit::Shutdown),
                Pause::Inactive(_) => Some(Exit::Halted),
                Pause::Code => self.before_instruction(until, begin),
                pause if self.misses_observed_code(&pause, seen) => self.before_instruction(until, begin),
                Pause::Event(held) => {
                    idle += 1;
                    self.decide(held)
                }
                Pause::Denied(denied) => {
                    idle += 1;
                    self.denied(denied)
                }
            };
            begin = None;
            if let Some(exit) = exit {
                return exit;
            }
            if std::mem::take(&mut self.stopping) {
                return Exit::Stopped;
            }
        }
    }

    /// Sets RIP to `address` (in real and 16-bit code, an offset in CS) and runs. A CPU that was halted or shut
    /// down executes again.
    pub fn run_from(&mut self, address: u64, until: Until) -> Exit {
        self.cpu.events.activity = Activity::Active;
        self.seen = None;
        self.cpu.rip = address;
        self.run(until)
    }

    /// Executes one instruction; a repeated string instruction to its end. An exception that the guest gets is
    /// delivered on the way.
    pub fn step(&mut self) -> Exit {
        self.run(Until::instructions(1))
    }

    /// Ends the run: for hooks. Elsewhere it does nothing.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Requests the external interrupt `vector`; see [`Line::interrupt`](super::Line::interrupt).
    pub fn interrupt(&mut self, vector: u8) {
        self.line().interrupt(vector);
    }

    /// Whether the CPU missed the memory of an instruction that somebody wants to see before it is executed: an
    /// end of the run, or a function that a hook stands for, need not be mapped.
    fn misses_observed_code(&self, pause: &Pause, seen: Option<u64>) -> bool {
        let missed = match pause {
            Pause::Event(held) => self.event(held).cr2,
            Pause::Denied(denied) => Some(denied.linear),
            _ => None,
        };
        let here = self.cpu.code_address();
        missed == Some(here) && seen != missed && self.cpu.observe.wants(here)
    }

    fn before_instruction(&mut self, until: Until, begin: Option<u64>) -> Option<Exit> {
        let here = self.cpu.code_address();
        if until.address == Some(here) && begin != Some(here) {
            return Some(Exit::Reached);
        }
        self.call_code_hooks(here);
        // If a hook has set RIP, the instruction there has not been seen.
        self.seen = Some(here);
        None
    }

    fn after_accesses(&mut self) -> Option<Exit> {
        let (rip, accesses) = self.cpu.take_accesses();
        let instruction = self.cpu.code_address().wrapping_sub(self.cpu.rip).wrapping_add(rip);
        if rip == self.cpu.rip {
            // Between two repetitions.
            self.seen = Some(instruction);
        }
        for access in &accesses {
            self.call_memory_hooks(&seen_by_hooks(instruction, access));
        }
        None
    }

    /// Decides about an event: hooks first.
    fn decide(&mut self, held: Held) -> Option<Exit> {
        let event = self.event(&held);
        let unmapped = self.unmapped(&held, &event);
        if let Some(unmapped) = unmapped
            && self.call_unmapped_hooks(&unmapped) == Resolution::Retry
        {
            self.seen = Some(self.cpu.code_address());
            // What was on its way when the page was missed.
            return self.undelivered.take().and_then(|held| self.deliver(held));
        }
        self.undelivered = None;
        let verdict = match (self.call_event_hooks(&event), self.delivery) {
            (Verdict::Pass, _) if event.kind == EventKind::External => Verdict::Deliver,
            (Verdict::Pass, Delivery::ToGuest) => Verdict::Deliver,
            (Verdict::Pass, Delivery::ToCaller) => match unmapped {
                Some(unmapped) => return Some(Exit::Unmapped(unmapped)),
                None => Verdict::Stop,
            },
            (verdict, _) => verdict,
        };
        match verdict {
            Verdict::Pass | Verdict::Deliver => self.deliver(held),
            Verdict::Swallow => {
                self.cpu.swallow_held(&held);
                None
            }
            Verdict::Stop => {
                self.cpu.swallow_held(&held);
                Some(event.exit())
            }
        }
    }

    fn event(&self, held: &Held) -> Event {
        let page_fault = held.vector() == vector::PF && held.kind() == EventKind::Fault;
        Event {
            vector: held.vector(),
            error_code: held.error_code(),
            cr2: page_fault.then_some(self.cpu.control.cr2),
            kind: held.kind(),
        }
    }

    /// The access that `event` is about, if it is a page fault where the sandbox's own paging has no page.
    fn unmapped(&self, held: &Held, event: &Event) -> Option<Unmapped> {
        let Translation::Own { root, .. } = self.space.translation else { return None };
        let address = event.cr2?;
        if self.cpu.control.cr3 != root || self.space.is_mapped(address) {
            return None;
        }
        let code = held.error_code().unwrap_or(0);
        let access = match () {
            () if code & 1 << 4 != 0 => Access::Fetch,
            () if code & 1 << 1 != 0 => Access::Write,
            () => Access::Read,
        };
        Some(Unmapped { address, access, protected: false })
    }

    fn deliver(&mut self, held: Held) -> Option<Exit> {
        loop {
            // A fault is raised again by its instruction; what comes from elsewhere would be lost.
            let lost = matches!(held.kind(), EventKind::External | EventKind::Trap);
            self.undelivered = lost.then_some(held);
            self.cpu.deliver_held(&held);
            let denied = self.cpu.take_denied()?;
            if let Some(exit) = self.denied(denied) {
                return Some(exit);
            }
        }
    }

    fn denied(&mut self, denied: Denied) -> Option<Exit> {
        let Denied { linear: address, physical, access } = denied;
        let unmapped = Unmapped { address, access, protected: self.space.is_mapped(physical) };
        if self.call_unmapped_hooks(&unmapped) == Resolution::Retry {
            self.seen = Some(self.cpu.code_address());
            return None;
        }
        Some(Exit::Unmapped(unmapped))
    }
}

impl Event {
    fn exit(&self) -> Exit {
        match self.kind {
            EventKind::Fault | EventKind::Trap => {
                Exit::Exception { vector: self.vector, error_code: self.error_code, cr2: self.cr2 }
            }
            EventKind::External | EventKind::Software => Exit::Interrupt { vector: self.vector },
        }
    }
}

fn seen_by_hooks(instruction: u64, access: &ObservedAccess) -> MemoryAccess {
    MemoryAccess {
        instruction,
        address: access.linear,
        size: access.len,
        access: access.access,
        value: access.value(),
    }
}
