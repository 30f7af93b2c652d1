//! The register stack, and the reporting of exceptions. SDM vol. 1, 8.1.2, 8.1.7, 8.1.8, 8.5, 8.6, 8.7.

use super::soft::{
    ControlWord,
    status::{B, BEFORE, C1, CONDITIONS, ES, EXCEPTIONS, IE, SF},
};
use crate::{
    arch::{Cr0, Exception, Seg},
    cpu::Cpu,
    decode::Insn,
    mmu::Privilege,
    state::{Extended, X87},
};

/// Status of a read of an empty register.
pub const UNDERFLOW: u16 = IE | SF;
/// Status of a push onto a register in use.
pub const OVERFLOW: u16 = IE | SF | C1;

impl X87 {
    #[inline]
    fn physical(&self, i: u8) -> usize {
        usize::from(self.top.wrapping_add(i) & 7)
    }
    /// ST(i).
    #[inline]
    pub fn st(&self, i: u8) -> Extended {
        self.r[self.physical(i)]
    }
    /// ST(i), which is not empty, for writing.
    #[inline]
    pub fn st_mut(&mut self, i: u8) -> &mut Extended {
        let physical = self.physical(i);
        &mut self.r[physical]
    }
    /// ST(i) for writing and ST(j) for reading, if they are two.
    #[inline]
    pub fn st_pair(&mut self, i: u8, j: u8) -> Option<(&mut Extended, &Extended)> {
        let (i, j) = (self.physical(i), self.physical(j));
        let [a, b] = self.r.get_disjoint_mut([i, j]).ok()?;
        Some((a, b))
    }
    /// Writes ST(i), which then is not empty.
    #[inline]
    pub fn set_st(&mut self, i: u8, value: Extended) {
        let physical = self.physical(i);
        self.r[physical] = value;
        self.valid |= 1 << physical;
    }
    /// Whether ST(i) is empty.
    #[inline]
    pub fn is_empty(&self, i: u8) -> bool {
        self.valid >> self.physical(i) & 1 == 0
    }
    /// Tags ST(i) empty.
    #[inline]
    pub fn free(&mut self, i: u8) {
        self.valid &= !(1 << self.physical(i));
    }
    /// Whether a push would overflow.
    #[inline]
    pub fn is_full(&self) -> bool {
        !self.is_empty(7)
    }
    /// Pushes.
    #[inline]
    pub fn push(&mut self, value: Extended) {
        self.top = self.top.wrapping_sub(1) & 7;
        self.set_st(0, value);
    }
    /// Tags ST(0) empty and increments TOP.
    #[inline]
    pub fn pop(&mut self) {
        self.free(0);
        self.top = self.top.wrapping_add(1) & 7;
    }
    /// The control word.
    #[inline]
    pub fn control(&self) -> ControlWord {
        ControlWord(self.fcw)
    }
    /// Sets all condition codes but C1, which the reporting of exceptions sets.
    #[inline]
    pub fn set_conditions(&mut self, conditions: u16) {
        let mask = CONDITIONS & !C1;
        self.fsw = self.fsw & !mask | conditions & mask;
    }
    /// MMX instructions other than EMMS: TOP becomes zero, all registers valid. SDM vol. 1, 9.5.1.
    #[inline]
    pub fn enter_mmx(&mut self) {
        (self.top, self.valid) = (0, 0xFF);
    }
}

/// Notes the instruction for FIP and FCS, and its memory operand for FDP and FDS. The opcode is noted only with
/// an unmasked exception (the fopcode mode of the processors since the Pentium 4; SDM vol. 1, 8.1.9.1).
#[inline]
pub fn note(cpu: &mut Cpu, i: &Insn) {
    cpu.x87.fip = cpu.rip_of(i);
    cpu.x87.fcs = cpu.seg(Seg::Cs).selector;
}

/// As [`note`], with a memory operand.
#[inline]
pub fn note_memory(cpu: &mut Cpu, i: &Insn) {
    note(cpu, i);
    cpu.x87.fdp = cpu.effective_address(i);
    cpu.x87.fds = cpu.seg(i.segment()).selector;
}

/// Merges the exceptions that an operation raised into the status word, and sets C1 as it says. Whether the
/// operation may complete: not if an unmasked exception was found before it.
#[inline]
pub fn report(cpu: &mut Cpu, i: &Insn, status: u16) -> bool {
    let x87 = &mut cpu.x87;
    x87.fsw = x87.fsw & !C1 | status & (EXCEPTIONS | SF | C1);
    let unmasked = x87.control().unmasked(status);
    if unmasked == 0 {
        return true;
    }
    x87.fsw |= ES | B;
    if let Some(opcode) = opcode(cpu, i) {
        cpu.x87.fop = opcode;
    }
    signal_error(cpu);
    unmasked & BEFORE == 0
}

/// The 11 bits of the opcode, from the instruction's bytes: what follows its prefixes.
#[cold]
fn opcode(cpu: &mut Cpu, i: &Insn) -> Option<u16> {
    let mut bytes = [0; 2];
    for at in 0..u64::from(i.len.saturating_sub(1)) {
        let offset = cpu.wrap_ip(cpu.rip_of(i).wrapping_add(at));
        let base = if cpu.mode.is_64bit() { 0 } else { cpu.seg(Seg::Cs).base };
        let linear = base.wrapping_add(offset) & cpu.linear_mask;
        cpu.read_bytes(linear, &mut bytes[..1], Privilege::Current).ok()?;
        if (0xD8..=0xDF).contains(&bytes[0]) {
            let next = linear.wrapping_add(1) & cpu.linear_mask;
            cpu.read_bytes(next, &mut bytes[1..], Privilege::Current).ok()?;
            return Some(u16::from(bytes[0] & 7) << 8 | u16::from(bytes[1]));
        }
    }
    None
}

/// FERR#, for systems with CR0.NE = 0, follows the exception summary.
fn signal_error(cpu: &mut Cpu) {
    if !cpu.control.cr0.contains(Cr0::NE) {
        cpu.io.set_ferr(cpu.id, true);
        cpu.device_was_accessed();
    }
}

/// Makes ES and B follow from the exception flags and masks, after an instruction that wrote either.
pub fn summarize(cpu: &mut Cpu) {
    let x87 = &mut cpu.x87;
    let was_pending = x87.fsw & ES != 0;
    let pending = x87.control().unmasked(x87.fsw) != 0;
    x87.fsw = x87.fsw & !(ES | B) | if pending { ES | B } else { 0 };
    if pending {
        signal_error(cpu);
    } else if was_pending {
        cpu.io.set_ferr(cpu.id, false);
    }
}

/// What every waiting x87 instruction, WAIT and every MMX instruction does first: #MF if an unmasked exception
/// is pending. With CR0.NE = 0 the processor asserts FERR# and freezes until an interrupt (the PC's IRQ 13)
/// comes: the instruction begins again, after requests have been looked at. Unless the system asserts IGNNE#, as
/// the PC does from the acknowledgement of the interrupt until the error is cleared. SDM vol. 1, 8.7.2.
#[inline]
pub fn check_pending(cpu: &mut Cpu) -> Result<(), Exception> {
    if cpu.x87.fsw & ES == 0 {
        return Ok(());
    }
    if cpu.control.cr0.contains(Cr0::NE) {
        return Err(Exception::MF);
    }
    if cpu.io.set_ferr(cpu.id, true) { Ok(()) } else { Err(Exception::Restart) }
}
