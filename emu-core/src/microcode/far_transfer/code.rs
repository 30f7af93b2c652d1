//! Where a far transfer goes: a checked code segment and an offset in it.

use crate::{
    arch::{Exception, Seg, Segment, attr},
    cpu::Cpu,
    microcode::{
        descriptor::{Descriptor, rpl},
        segment_load::{put, real_or_vm86},
    },
};

/// A checked CS and RIP, not yet the CPU's.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    cs: Segment,
    rip: u64,
}

impl Target {
    /// `selector`:`offset` in real or virtual-8086 mode; beyond the limit #GP(0).
    pub fn real_or_vm86(cpu: &Cpu, selector: u16, offset: u64) -> Result<Self, Exception> {
        let cs = real_or_vm86(cpu, Seg::Cs, selector);
        if offset > u64::from(cs.limit) {
            return Err(Exception::GP0);
        }
        Ok(Target { cs, rip: offset })
    }

    /// `offset` in the code segment `descriptor`, executed at privilege level `level` (which becomes the RPL of
    /// CS). The caller has checked type and privilege. Marks the segment accessed; beyond the limit, or not
    /// canonical, #GP(0).
    pub fn protected(
        cpu: &mut Cpu,
        selector: u16,
        descriptor: &Descriptor,
        level: u8,
        offset: u64,
    ) -> Result<Self, Exception> {
        let cs = descriptor.segment(selector & !3 | u16::from(level));
        let code64 = cpu.mode.is_long() && descriptor.is_code64();
        let inside = if code64 { cpu.is_canonical(offset) } else { offset <= u64::from(cs.limit) };
        if !inside {
            return Err(Exception::GP0);
        }
        descriptor.mark_accessed(cpu)?;
        Ok(Target { cs, rip: offset })
    }

    /// The privilege level of a protected-mode target.
    pub fn level(&self) -> u8 {
        rpl(self.cs.selector)
    }

    /// Whether it is code of 64-bit mode (asked in long mode only).
    pub fn is_code64(&self) -> bool {
        self.cs.attr & attr::L != 0
    }

    /// CS and RIP become those of the target. The caller then calls [`Cpu::level_changed`].
    pub fn put(&self, cpu: &mut Cpu) {
        put(cpu, Seg::Cs, self.cs);
        cpu.rip = self.rip;
    }

    /// Goes there at the current privilege level.
    pub fn commit(&self, cpu: &mut Cpu) {
        self.put(cpu);
        cpu.level_changed();
    }
}

/// Checks that a direct JMP or CALL may enter the code segment `descriptor`. SDM vol. 3, 5.8.1.
pub fn check_direct(cpu: &Cpu, selector: u16, descriptor: &Descriptor) -> Result<(), Exception> {
    let allowed = if descriptor.is_conforming() {
        descriptor.dpl() <= cpu.cpl
    } else {
        rpl(selector) <= cpu.cpl && descriptor.dpl() == cpu.cpl
    };
    if !allowed || is_reserved_in_long_mode(cpu, descriptor) {
        return Err(Exception::gp(selector));
    }
    if descriptor.present() { Ok(()) } else { Err(Exception::np(selector)) }
}

/// L and D both set.
pub fn is_reserved_in_long_mode(cpu: &Cpu, descriptor: &Descriptor) -> bool {
    cpu.mode.is_long() && descriptor.attr() & (attr::L | attr::D) == attr::L | attr::D
}
