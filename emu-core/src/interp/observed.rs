//! Running under observation: the loop for who embeds a CPU and decides, between instructions, about what
//! happens to it. (A machine lets [`Cpu::run`] decide.)
//!
//! | wish | how | cost |
//! |---|---|---|
//! | none | chained blocks | none |
//! | instructions in a range | blocks of pages in the range are decoded anew, with a pause before each such instruction | the pause; other pages none |
//! | data accesses in a range | their pages have no direct access in the TLB | slow accesses to these pages |
//! | interrupts and exceptions | held back where all deliveries pass | none to instructions |
//! | permissions of physical pages | looked up when the TLB is filled | none after that |
//! | a number of instructions | the last ones one by one | about 48 single steps; with a translator as many as its longest region has instructions |

use super::{
    build::{Found, MAX_INSNS},
    handlers,
    jumps::JumpEntry,
    run::{Ended, Stop},
};
use crate::{
    arch::{Exception, Seg},
    cpu::{Cpu, ObservedAccess},
    engine::request,
    microcode::interrupt::Held,
    mmu::Denied,
    state::Activity,
};
use std::sync::atomic::Ordering;

/// Why [`Cpu::run_observed`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The instructions asked for have been executed.
    Limit,
    /// Before an instruction in an observed range; RIP is its.
    Code,
    /// Behind an instruction that accessed an observed range: see [`Cpu::take_accesses`].
    Accesses,
    /// An interrupt or exception is about to be delivered. [`Cpu::deliver_held`] does it; to swallow it,
    /// nothing need be done. RIP is where it would return to.
    Event(Held),
    /// An access that the permissions of physical memory do not allow. The instruction has done nothing (or
    /// whole iterations), and RIP is its.
    Denied(Denied),
    /// Not executing: HLT, shutdown, waiting for a start-up IPI.
    Inactive(Activity),
    /// [`request::STOP`](crate::engine::request::STOP) was raised.
    Requested,
}

impl Cpu {
    /// Executes at most `limit` instructions, until there is something for the caller to look at. With
    /// `resumed` the first instruction is executed even if it is in an observed range: the caller has seen it.
    ///
    /// A repeated string instruction counts as one, when it is done; what raises an exception does not count.
    pub fn run_observed(&mut self, limit: u64, resumed: bool) -> Pause {
        self.observe.passing = resumed.then(|| self.code_address());
        self.enter_mxcsr();
        let pause = self.run_until_pause(limit);
        self.sync_mxcsr();
        self.observe.passing = None;
        pause
    }

    /// Executes until the engine looks at the budget after `budget` instructions, but at most `limit`: for finding the place
    /// where two engines part. With no budget that is a block, or a way through a region as far as its next jump back. Near
    /// the limit it is one instruction by itself.
    pub fn run_piece(&mut self, budget: u64, limit: u64) -> Pause {
        self.enter_mxcsr();
        let pause = self.run_piece_until_pause(budget, limit);
        self.sync_mxcsr();
        pause
    }

    fn run_piece_until_pause(&mut self, budget: u64, limit: u64) -> Pause {
        // Events that are due come first.
        let pause = self.run_until_pause(0);
        if pause != Pause::Limit {
            return pause;
        }
        let before = self.executed;
        let one_go = budget.saturating_add(self.unlooked()) < limit;
        if one_go && self.run_some(budget as i64) == Ended::Between {
            return self.run_until_pause(0);
        }
        // Of an instruction that raises an exception only the state before is the same for whoever counts instructions: so
        // one more comes, by itself.
        let left = limit - (self.executed - before);
        self.run_until_pause(left.min(1))
    }

    fn run_until_pause(&mut self, limit: u64) -> Pause {
        let end = self.executed.saturating_add(limit);
        loop {
            if let Some(pause) = self.take_pause() {
                return pause;
            }
            if self.signal.attention().load(Ordering::Acquire) != 0 {
                if self.serve_requests().is_some() {
                    return Pause::Requested;
                }
                continue;
            }
            if self.events.activity != Activity::Active {
                return Pause::Inactive(self.events.activity);
            }
            let left = end.saturating_sub(self.executed);
            if left == 0 {
                return Pause::Limit;
            }
            if self.run_within(left) {
                return Pause::Code;
            }
            self.observe.passing = None;
        }
    }

    /// Executes at most `limit` instructions. Returns whether it has paused at an observed one.
    fn run_within(&mut self, limit: u64) -> bool {
        match limit.checked_sub(self.unlooked()) {
            Some(budget) => self.run_some(budget.min(super::run::SLICE as u64) as i64) == Ended::Paused,
            None => self.run_one() == Ended::Paused,
        }
    }

    /// Instructions executed at most without a look at the budget: the block or the way through a region that uses it up
    /// is executed to its end.
    fn unlooked(&self) -> u64 {
        self.hot.longest().max(MAX_INSNS as u64)
    }

    fn take_pause(&mut self) -> Option<Pause> {
        if let Some(denied) = self.mmu.denied.take() {
            self.observe.accesses.clear();
            return Some(Pause::Denied(denied));
        }
        if !self.observe.accesses.is_empty() {
            return Some(Pause::Accesses);
        }
        self.observe.held.take().map(|held| Pause::Event(held.after(self.observe.last)))
    }

    /// Takes the access that was denied on the way of [`deliver_held`](Cpu::deliver_held), if one was.
    pub fn take_denied(&mut self) -> Option<Denied> {
        self.mmu.denied.take()
    }

    /// Executes one instruction, or one repetition of a string instruction, observed or not, and delivers what it
    /// raises. Interrupts wait until the CPU runs again: they would lead away from what is being looked at. But one that is
    /// inactive waits for what makes it active, and that is the step.
    pub fn step_observed(&mut self) -> Option<Stop> {
        loop {
            if let Some(stop) = self.serve_machine(self.signal.requests()) {
                return Some(stop);
            }
            if self.events.activity == Activity::Active {
                self.observe.passing = Some(self.code_address());
                self.step();
                self.observe.passing = None;
                return None;
            }
            self.sleep();
            if let Some(stop) = self.serve_requests() {
                return Some(stop);
            }
            if self.events.activity == Activity::Active {
                return None;
            }
        }
    }

    /// Executes nothing until asked to stop. Meanwhile it serves what other CPUs and the translator need of it.
    pub fn stand(&mut self) -> Stop {
        loop {
            self.signal.wait(request::STOP | request::MEMORY | request::TRANSLATED, None);
            if let Some(stop) = self.serve_machine(self.signal.requests()) {
                return stop;
            }
        }
    }

    /// The block at RIP. After a pause it has just been found: then the cache of jumps knows it.
    pub(super) fn look_up_resumed(&mut self) -> Result<Found, Exception> {
        if self.observe.passing.is_some() {
            let JumpEntry { rip, rip_base, entry, mode, stamp, .. } = *self.blocks.jumps.entry(self.rip);
            let known = rip == self.rip && mode == self.mode.bits() && self.mmu.is_current(stamp);
            if known && handlers::is_usable(entry) {
                return Ok(Found { entry, rip_base, stamp, second_page: None });
            }
        }
        self.look_up()
    }

    /// What the last instruction read and wrote in observed ranges, in order, and its RIP. What an instruction
    /// accessed that then raised an exception is not told: it will access it again.
    pub fn take_accesses(&mut self) -> (u64, Vec<ObservedAccess>) {
        (self.observe.last, std::mem::take(&mut self.observe.accesses))
    }

    /// `exception` is raised: what its instruction accessed, it will access again.
    pub(super) fn forget_accesses(&mut self, exception: Exception) {
        if exception != Exception::Restart {
            self.observe.accesses.clear();
        }
    }

    /// Linear address of the instruction at RIP.
    pub fn code_address(&self) -> u64 {
        let base = if self.mode.is_64bit() { 0 } else { self.seg(Seg::Cs).base };
        base.wrapping_add(self.rip) & self.linear_mask
    }

    /// Whether to pause before the instruction at RIP.
    pub(super) fn pauses_here(&mut self) -> bool {
        if self.observe.code.is_empty() {
            return false;
        }
        let linear = self.code_address();
        self.observe.passing.take() != Some(linear) && self.observe.wants(linear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arch::{Flags, vector},
        cpu::slot,
        memory::PageRights,
        microcode::{interrupt::EventKind, testing::*},
        mmu::Access,
    };

    /// Three times INC EAX, then `rest`, at 1000h in 32-bit protected mode.
    fn counting(rest: &[u8]) -> Box<Cpu> {
        let cpu = protected(0);
        put_code(&cpu, 0x1000, &[&[0x40, 0x40, 0x40][..], rest].concat());
        cpu
    }

    #[test]
    fn a_block_left_in_the_middle_counts_what_was_executed() {
        // INC EAX; MOV [6000h], EAX; INC EAX
        let mut cpu = counting(&[0x40, 0xA3, 0, 0x60, 0, 0, 0x40]);
        cpu.observe_accesses(vec![(0x6000, 0x6000)]);
        assert_eq!(cpu.run_observed(1000, false), Pause::Accesses);
        let (rip, accesses) = cpu.take_accesses();
        assert_eq!((cpu.executed, cpu.rip, rip), (5, 0x1009, 0x1004));
        assert_eq!((accesses.len(), accesses[0].linear, accesses[0].access), (1, 0x6000, Access::Write));
        assert_eq!(accesses[0].value(), 4);
    }

    #[test]
    fn a_pause_comes_before_its_instruction_and_once() {
        let mut cpu = counting(&[0x0F, 0x0B]);
        cpu.observe.events = true;
        cpu.observe.code = vec![(0x1001, 0x1001)];
        cpu.observation_changed();
        assert_eq!(cpu.run_observed(1000, false), Pause::Code);
        assert_eq!((cpu.rip, cpu.executed, cpu.regs[slot::RAX]), (0x1001, 1, 1));
        assert_eq!(cpu.run_observed(0, false), Pause::Limit);
        assert_eq!(cpu.run_observed(1, false), Pause::Code, "it has not been seen by this caller");
        let Pause::Event(held) = cpu.run_observed(1000, true) else { panic!("UD2 raises an exception") };
        assert_eq!((held.vector(), held.kind(), cpu.executed), (vector::UD, EventKind::Fault, 3));
    }

    #[test]
    fn a_software_interrupt_that_may_not_be_faults_at_its_instruction() {
        // INT 80h, for which there is no gate.
        let mut cpu = counting(&[0xCD, 0x80]);
        cpu.observe.events = true;
        let Pause::Event(held) = cpu.run_observed(1000, false) else { panic!("INT is an event") };
        assert_eq!((held.vector(), held.kind(), cpu.rip), (0x80, EventKind::Software, 0x1005));
        cpu.deliver_held(&held);
        let Pause::Event(held) = cpu.run_observed(1000, false) else { panic!("so is what comes of it") };
        assert_eq!(
            (held.kind(), held.error_code(), cpu.rip),
            (EventKind::Fault, Some(0x80 << 3 | 2), 0x1003)
        );
    }

    #[test]
    fn what_is_denied_can_be_done_again() {
        let mut cpu = counting(&[0xA3, 0, 0x60, 0, 0]);
        cpu.memory.restrict().set(0x1000..0x2000, PageRights::all());
        let denied = Denied { linear: 0x6000, physical: 0x6000, access: Access::Write };
        assert_eq!(cpu.run_observed(4, false), Pause::Denied(denied));
        assert_eq!((cpu.executed, cpu.rip), (3, 0x1003));
        cpu.memory.restrict().set(0x6000..0x7000, PageRights::WRITE);
        assert_eq!(cpu.run_observed(1, false), Pause::Limit);
        assert_eq!(get_u32(&cpu, 0x6000), 3);
    }

    #[test]
    fn a_limit_is_exact_in_a_chain_of_blocks() {
        // JMP back to the first.
        let mut cpu = counting(&[0xEB, 0xFB]);
        for limit in [1, 3, 47, 48, 49, 1001] {
            let before = cpu.executed;
            assert_eq!(cpu.run_observed(limit, false), Pause::Limit);
            assert_eq!(cpu.executed - before, limit);
        }
    }

    #[test]
    fn a_step_executes_one_observed_instruction_and_no_interrupt() {
        let mut cpu = counting(&[0xF4]);
        cpu.observe.code = vec![(0x1000, 0x1FFF)];
        cpu.observation_changed();
        cpu.set_rflags(Flags::IF);
        cpu.signal.raise(request::INTERRUPT);
        for rip in [0x1001, 0x1002, 0x1003, 0x1004] {
            assert_eq!(cpu.step_observed(), None);
            assert_eq!(cpu.rip, rip);
        }
        assert_eq!(cpu.events.activity, Activity::Halted);
        cpu.signal.raise(request::STOP);
        assert_eq!(cpu.step_observed(), Some(Stop::Requested));
        assert_eq!((cpu.rip, cpu.signal.requests()), (0x1004, request::INTERRUPT));
    }

    #[test]
    fn a_cpu_that_stands_forgets_code_that_others_have_written() {
        let mut cpu = counting(&[]);
        assert_eq!(cpu.run_observed(3, false), Pause::Limit);
        // DEC EAX
        cpu.memory.ram().write(0x1000, &[0x48]).unwrap();
        cpu.memory.code().written(usize::MAX, 0x1000, 1);
        cpu.signal.raise(request::STOP);
        assert_eq!(cpu.stand(), Stop::Requested);
        assert_eq!((cpu.executed, cpu.signal.requests()), (3, 0));
        cpu.rip = 0x1000;
        assert_eq!(cpu.step_observed(), None);
        assert_eq!(cpu.regs[slot::RAX], 2);
    }

    #[test]
    fn a_piece_ends_where_the_budget_is_looked_at() {
        // JMP back to the first.
        let mut cpu = counting(&[0xEB, 0xFB]);
        for (budget, limit, executed, rip) in
            [(0, 1000, 4, 0x1000), (6, 1000, 12, 0x1000), (0, 48, 13, 0x1001), (u64::MAX, 9, 14, 0x1002)]
        {
            assert_eq!(cpu.run_piece(budget, limit), Pause::Limit);
            assert_eq!((cpu.executed, cpu.rip), (executed, rip));
        }
    }

    #[test]
    fn a_piece_that_raises_an_exception_ends_behind_the_first_instruction_of_its_handler() {
        // UD2; the handler: INC EAX
        let mut cpu = counting(&[0x0F, 0x0B]);
        put_u64(&cpu, IDT + 8 * u64::from(vector::UD), 0x0000_8E00_0000_3000 | u64::from(KERNEL_CS) << 16);
        put_code(&cpu, 0x3000, &[0x40, 0x40]);
        assert_eq!(cpu.run_piece(0, 1000), Pause::Limit);
        assert_eq!((cpu.executed, cpu.rip), (4, 0x3001));
    }

    #[test]
    fn single_steps_of_the_guest_pause_too() {
        let mut cpu = counting(&[]);
        cpu.observe.code = vec![(0x1000, 0x1FFF)];
        cpu.observation_changed();
        cpu.set_rflags(Flags::TF);
        assert_eq!(cpu.run_observed(1000, false), Pause::Code);
        assert_eq!(cpu.executed, 0);
    }
}
