//! What is particular to virtual-8086 mode and to virtual interrupts (CR4.VME, CR4.PVI). SDM vol. 3, ch. 20.

use super::{descriptor::system_linear, tss};
use crate::{
    arch::{Cr4, Exception, Flags, Segment, Width},
    cpu::Cpu,
    mmu::Privilege,
};

/// Offset of the I/O map base in a 32-bit TSS.
pub const IO_MAP_BASE: u64 = 102;
/// Size of the interrupt redirection bitmap, which lies below the I/O map.
const REDIRECTION_BYTES: u64 = 32;

/// A segment register as virtual-8086 mode loads it.
pub const fn segment(selector: u16) -> Segment {
    Segment { selector, attr: 0xF3, limit: 0xFFFF, base: (selector as u64) << 4, unusable: false }
}

/// EFLAGS.IOPL.
pub fn iopl(cpu: &Cpu) -> u8 {
    (cpu.eflags.bits() >> 12) as u8 & 3
}

/// Where INT n of virtual-8086 code goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirection {
    /// To the protected-mode handler.
    Handler,
    /// To the 8086 program's handler.
    Program,
}

/// Decides about INT `vector` in virtual-8086 mode. SDM vol. 3, table 20-2.
pub fn redirection(cpu: &mut Cpu, vector: u8) -> Result<Redirection, Exception> {
    let trusted = iopl(cpu) == 3;
    if cpu.control.cr4.contains(Cr4::VME) && !redirection_bit(cpu, vector)? {
        return Ok(Redirection::Program);
    }
    if trusted { Ok(Redirection::Handler) } else { Err(Exception::GP0) }
}

fn redirection_bit(cpu: &mut Cpu, vector: u8) -> Result<bool, Exception> {
    let tr = cpu.segments.tr;
    let limit = u64::from(tr.limit);
    if !tss::is_wide(&tr) || limit < IO_MAP_BASE + 1 {
        return Err(Exception::GP0);
    }
    let base = system_linear(cpu, tr.base, IO_MAP_BASE);
    let io_map = cpu.read_linear(base, Width::W16, Privilege::System)?;
    let offset = (io_map + u64::from(vector / 8)).checked_sub(REDIRECTION_BYTES).ok_or(Exception::GP0)?;
    if offset > limit {
        return Err(Exception::GP0);
    }
    let linear = system_linear(cpu, tr.base, offset);
    let byte = cpu.read_linear(linear, Width::W8, Privilege::System)?;
    Ok(byte >> (vector % 8) & 1 != 0)
}

/// RFLAGS as virtual-8086 code with IOPL below 3 sees them under VME: IF is VIF, IOPL is 3.
pub fn image_with_virtual_interrupt_flag(cpu: &Cpu) -> Flags {
    let mut flags = cpu.rflags() | Flags::IOPL;
    flags.set(Flags::IF, flags.contains(Flags::VIF));
    flags
}

/// Whether such code may load `image`: not TF, and not IF while an interrupt is pending for it.
pub fn check_virtual_flags(cpu: &Cpu, image: Flags) -> Result<(), Exception> {
    let pending = cpu.eflags.contains(Flags::VIP);
    if image.contains(Flags::TF) || pending && image.contains(Flags::IF) {
        return Err(Exception::GP0);
    }
    Ok(())
}
