//! Debug registers, breakpoints and single-stepping. SDM vol. 3, ch. 17.2 and 17.3.
//!
//! Data breakpoints are found by the MMU, which is told the watched ranges and notes hits in
//! `events.pending_debug`. Instruction breakpoints and RF need the run loop to execute one instruction per
//! block (see [`Mode::STEP`](crate::cpu::Mode::STEP)): it calls [`instruction_breakpoint`] before each and
//! [`debug_trap_after`] after it. Left out: IA32_DEBUGCTL's branch records and RTM debugging.

use crate::{
    arch::{Cr4, Exception, Flags, Seg, Width},
    cpu::Cpu,
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode_form},
};
use iced_x86::Code;

/// Bits of DR6.
pub mod dr6 {
    /// A debug register was accessed while DR7.GD was set.
    pub const BD: u64 = 1 << 13;
    /// Single step.
    pub const BS: u64 = 1 << 14;
    /// Task switch with the T bit.
    pub const BT: u64 = 1 << 15;
    /// Bits that are one.
    pub const FIXED: u64 = 0xFFFF_0FF0;
    /// Bits that software can write.
    pub const WRITABLE: u64 = BD | BS | BT | 0xF;
}

/// Bits of DR7.
pub mod dr7 {
    /// Breakpoint enable bits, local and global.
    pub const ENABLES: u64 = 0xFF;
    /// L0..L3 and LE, which a task switch clears.
    pub const LOCAL: u64 = 0x155;
    /// General detect.
    pub const GD: u64 = 1 << 13;
    /// The bit that is one.
    pub const FIXED: u64 = 1 << 10;
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0xFFFF_23FF;
}

/// Condition that a breakpoint register waits for: DR7.R/W.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Execution,
    Write,
    Port,
    Access,
}

/// One enabled breakpoint.
#[derive(Debug, Clone, Copy)]
struct Breakpoint {
    condition: Condition,
    /// First address, aligned to the length.
    first: u64,
    /// Last address.
    last: u64,
    /// Its bit in DR6.
    bit: u64,
}

fn enabled(cpu: &Cpu) -> impl Iterator<Item = Breakpoint> {
    let (dr, dr7, io) = (cpu.control.dr, cpu.control.dr7, cpu.control.cr4.contains(Cr4::DE));
    (0..4).filter(move |number| dr7 >> (2 * number) & 3 != 0).filter_map(move |number| {
        let field = dr7 >> (16 + 4 * number);
        let condition = match field & 3 {
            0 => Condition::Execution,
            1 => Condition::Write,
            2 if io => Condition::Port,
            // Undefined without CR4.DE.
            2 => return None,
            _ => Condition::Access,
        };
        let len: u64 = [1, 2, 8, 4][(field >> 2 & 3) as usize];
        let first = dr[number as usize] & !(len - 1);
        Some(Breakpoint { condition, first, last: first.wrapping_add(len - 1), bit: 1 << number })
    })
}

impl Cpu {
    /// Whether an instruction breakpoint is enabled: instructions must be executed one by one.
    pub fn has_execution_breakpoints(&self) -> bool {
        self.control.dr7 & dr7::ENABLES != 0
            && enabled(self).any(|breakpoint| breakpoint.condition == Condition::Execution)
    }
}

/// Debug registers or CR4.DE have changed: tells the MMU what to watch, and brings the mode up to date.
pub fn breakpoints_changed(cpu: &mut Cpu) {
    let watch: Vec<_> = enabled(cpu)
        .filter_map(|Breakpoint { condition, first, last, bit }| match condition {
            Condition::Write => Some((first, last, bit, false)),
            Condition::Access => Some((first, last, bit, true)),
            Condition::Execution | Condition::Port => None,
        })
        .collect();
    if watch != cpu.mmu.watch {
        cpu.mmu.watch = watch;
        // Translations decide whether a page is looked at.
        cpu.mmu.flush_all();
    }
    cpu.mode_changed();
}

/// To be called before every single-stepped instruction: the fault, if there is a breakpoint at it. RF holds
/// it back for one instruction, and is used up by this call.
pub fn instruction_breakpoint(cpu: &mut Cpu) -> Option<Exception> {
    cpu.events.no_single_step = false;
    if cpu.eflags.contains(Flags::RF) {
        cpu.eflags.remove(Flags::RF);
        cpu.mode_changed();
        return None;
    }
    // MOV SS holds back debug exceptions until after the next instruction.
    if cpu.events.shadow && cpu.events.shadow_from_mov_ss {
        return None;
    }
    if cpu.control.dr7 & dr7::ENABLES == 0 {
        return None;
    }
    let base = if cpu.mode.is_64bit() { 0 } else { cpu.seg(Seg::Cs).base };
    let linear = base.wrapping_add(cpu.rip) & cpu.linear_mask;
    let hits = enabled(cpu)
        .filter(|breakpoint| breakpoint.condition == Condition::Execution)
        .filter(|breakpoint| (breakpoint.first..=breakpoint.last).contains(&linear))
        .fold(0, |hits, breakpoint| hits | breakpoint.bit);
    (hits != 0).then_some(Exception::Debug(hits))
}

/// To be called when an instruction has ended with [`Exception::Restart`]: its breakpoint is not reported again
/// for the iterations left.
pub fn instruction_restarted(cpu: &mut Cpu) {
    if cpu.has_execution_breakpoints() {
        cpu.eflags.insert(Flags::RF);
    }
}

/// To be called after every completed instruction that was single-stepped, or that left
/// `events.pending_debug` set. `tf_was_set`: TF before the instruction. Delivers the debug trap that is due.
pub fn debug_trap_after(cpu: &mut Cpu, tf_was_set: bool) {
    let no_single_step = std::mem::take(&mut cpu.events.no_single_step);
    if cpu.events.shadow && cpu.events.shadow_from_mov_ss {
        return;
    }
    let mut hits = std::mem::take(&mut cpu.events.pending_debug);
    if tf_was_set && !no_single_step {
        hits |= dr6::BS;
    }
    if hits != 0 {
        super::interrupt::deliver_exception(cpu, Exception::Debug(hits));
    }
}

/// A #DB is delivered: DR6 tells why, and debug registers can be accessed by its handler.
pub(super) fn note_exception(cpu: &mut Cpu, bits: u64) {
    cpu.control.dr6 |= bits;
    cpu.control.dr7 &= !dr7::GD;
}

/// Notes an access to ports for I/O breakpoints.
pub(super) fn note_port_access(cpu: &mut Cpu, port: u16, len: u64) {
    if cpu.control.dr7 & dr7::ENABLES == 0 {
        return;
    }
    let (first, last) = (u64::from(port), u64::from(port) + len - 1);
    let hits = enabled(cpu)
        .filter(|breakpoint| breakpoint.condition == Condition::Port)
        .filter(|breakpoint| breakpoint.first <= last && first <= breakpoint.last)
        .fold(0, |hits, breakpoint| hits | breakpoint.bit);
    cpu.events.pending_debug |= hits;
}

/// A task switch clears local breakpoints.
pub(super) fn forget_local_breakpoints(cpu: &mut Cpu) {
    if cpu.control.dr7 & dr7::LOCAL != 0 {
        cpu.control.dr7 &= !dr7::LOCAL;
        breakpoints_changed(cpu);
    }
}

/// The register meant by operand `number`: DR4 and DR5 are DR6 and DR7 unless CR4.DE. Then #DB if DR7.GD.
fn register(cpu: &Cpu, number: u8) -> Result<usize, Exception> {
    let number = usize::from(number);
    if number > 7 || matches!(number, 4 | 5) && cpu.control.cr4.contains(Cr4::DE) {
        return Err(Exception::UD);
    }
    if cpu.cpl != 0 {
        return Err(Exception::GP0);
    }
    if cpu.control.dr7 & dr7::GD != 0 {
        return Err(Exception::Debug(dr6::BD));
    }
    Ok(if number < 4 { number } else { number | 2 })
}

fn read(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = match register(cpu, i.reg[1])? {
        6 => cpu.control.dr6,
        7 => cpu.control.dr7,
        number => cpu.control.dr[number],
    };
    cpu.set_reg(w, i.reg[0], value & w.mask());
    Ok(())
}

fn write(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let number = register(cpu, i.reg[0])?;
    let value = cpu.reg(w, i.reg[1]);
    if number >= 6 && value >> 32 != 0 {
        return Err(Exception::GP0);
    }
    match number {
        6 => cpu.control.dr6 = value & dr6::WRITABLE | dr6::FIXED,
        7 => cpu.control.dr7 = value & dr7::WRITABLE | dr7::FIXED,
        number => cpu.control.dr[number] = value,
    }
    breakpoints_changed(cpu);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode_form(Code::Mov_r32_dr, |cpu, i| read(cpu, i, Width::W32)),
        microcode_form(Code::Mov_r64_dr, |cpu, i| read(cpu, i, Width::W64)),
        microcode_form(Code::Mov_dr_r32, |cpu, i| write(cpu, i, Width::W32)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Mov_dr_r64, |cpu, i| write(cpu, i, Width::W64)).with(Attr::ENDS_BLOCK),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arch::vector, cpu::slot, microcode::testing::*};
    use rstest::rstest;

    fn set_dr(cpu: &mut Cpu, number: u8, value: u64) -> Result<(), Exception> {
        cpu.regs[slot::RAX] = value;
        write(cpu, &Insn { reg: [number, 0, 0, 0], ..insn() }, Width::W64)
    }

    #[test]
    fn reserved_bits_read_as_they_must() {
        let mut cpu = long(0);
        set_dr(&mut cpu, 6, 0xFFFF_FFFF).unwrap();
        set_dr(&mut cpu, 7, 0xFFFF_DFFF).unwrap();
        assert_eq!((cpu.control.dr6, cpu.control.dr7), (0xFFFF_EFFF, 0xFFFF_07FF));
        assert_eq!(set_dr(&mut cpu, 7, 1 << 32), Err(Exception::GP0));
    }

    #[rstest]
    #[case::alias(false, 4, Ok(()))]
    #[case::undefined(true, 5, Err(Exception::UD))]
    fn dr4_and_dr5_depend_on_cr4(
        #[case] de: bool,
        #[case] number: u8,
        #[case] expected: Result<(), Exception>,
    ) {
        let mut cpu = protected(0);
        cpu.control.cr4.set(Cr4::DE, de);
        assert_eq!(set_dr(&mut cpu, number, 0), expected);
    }

    #[test]
    fn general_detect_faults_once_and_opens_the_registers_to_the_handler() {
        let mut cpu = long(0);
        set_long_gate(&cpu, vector::DB, 14, 0, 0, 0x5000);
        set_dr(&mut cpu, 7, dr7::GD).unwrap();
        let fault = set_dr(&mut cpu, 0, 1).unwrap_err();
        assert_eq!(fault, Exception::Debug(dr6::BD));
        crate::microcode::interrupt::deliver_exception(&mut cpu, fault);
        assert_eq!(cpu.control.dr6 & dr6::BD, dr6::BD);
        assert_eq!(set_dr(&mut cpu, 0, 1), Ok(()));
    }

    #[test]
    fn a_watched_store_is_trapped_after_the_instruction() {
        let mut cpu = long(0);
        set_long_gate(&cpu, vector::DB, 14, 0, 0, 0x5000);
        set_dr(&mut cpu, 1, 0x6004).unwrap();
        // G1, write, 4 bytes.
        set_dr(&mut cpu, 7, 0x8 | 0xD << 20).unwrap();
        cpu.read_seg(Seg::Ds, 0x6004, Width::W32).unwrap();
        cpu.write_seg(Seg::Ds, 0x6008, Width::W32, 0).unwrap();
        assert_eq!(cpu.events.pending_debug, 0);
        cpu.write_seg(Seg::Ds, 0x6007, Width::W8, 0).unwrap();
        debug_trap_after(&mut cpu, false);
        assert_eq!((cpu.control.dr6 & 0xF, cpu.rip), (2, 0x5000));
    }

    #[test]
    fn a_restored_state_watches_what_the_saved_one_did() {
        let mut cpu = long(0);
        set_dr(&mut cpu, 1, 0x6004).unwrap();
        set_dr(&mut cpu, 7, 0x8 | 0xD << 20).unwrap();
        let state = cpu.save_state();
        let mut other = after_reset(0);
        other.load_state(&state);
        other.write_seg(Seg::Ds, 0x6004, Width::W8, 0).unwrap();
        assert_eq!(other.events.pending_debug, 2);
    }

    #[test]
    fn rf_holds_an_instruction_breakpoint_back_once() {
        let mut cpu = protected(0);
        cpu.rip = 0x1234;
        set_dr(&mut cpu, 0, 0x1234).unwrap();
        set_dr(&mut cpu, 7, 1).unwrap();
        assert!(cpu.has_execution_breakpoints() && cpu.mode.is_stepping());
        cpu.set_rflags(Flags::RF);
        assert_eq!(instruction_breakpoint(&mut cpu), None);
        assert_eq!(instruction_breakpoint(&mut cpu), Some(Exception::Debug(1)));
    }

    #[test]
    fn single_step_traps_after_the_instruction_but_not_after_one_that_entered_a_handler() {
        let mut cpu = long(0);
        set_long_gate(&cpu, vector::DB, 14, 0, 0, 0x5000);
        cpu.set_rflags(Flags::TF);
        cpu.events.no_single_step = true;
        debug_trap_after(&mut cpu, true);
        assert_ne!(cpu.rip, 0x5000);
        debug_trap_after(&mut cpu, true);
        assert_eq!((cpu.rip, cpu.control.dr6 & dr6::BS), (0x5000, dr6::BS));
        assert!(!cpu.rflags().contains(Flags::TF) && !cpu.mode.is_stepping());
    }

    #[test]
    fn mov_ss_holds_the_trap_back() {
        let mut cpu = long(0);
        set_long_gate(&cpu, vector::DB, 14, 0, 0, 0x5000);
        cpu.events.pending_debug = 1;
        (cpu.events.shadow, cpu.events.shadow_from_mov_ss) = (true, true);
        debug_trap_after(&mut cpu, true);
        assert_eq!((cpu.rip, cpu.events.pending_debug), (0x1000, 1));
        (cpu.events.shadow, cpu.events.shadow_from_mov_ss) = (false, false);
        debug_trap_after(&mut cpu, false);
        assert_eq!(cpu.rip, 0x5000);
    }
}
