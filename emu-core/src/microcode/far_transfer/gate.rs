//! Call gates. SDM vol. 3, 5.8.3 and 5.8.4.

use super::code::Target;
use crate::{
    arch::{Exception, Segment, Width, vector},
    cpu::Cpu,
    microcode::descriptor::{Descriptor, Gate, fetch, is_null, rpl},
};

/// A checked call gate and the code segment it leads to.
pub struct Entry {
    gate: Gate,
    code: Descriptor,
}

/// Checks what JMP and CALL have in common: the gate found at `selector`, then its code segment.
pub fn open(cpu: &mut Cpu, selector: u16, descriptor: &Descriptor) -> Result<Entry, Exception> {
    let long = cpu.mode.is_long();
    let upper = if long { descriptor.upper(cpu, vector::GP)? } else { 0 };
    let gate = Gate::parse(descriptor.raw(), upper & 0xFFFF_FFFF).ok_or(Exception::gp(selector))?;
    if gate.dpl < cpu.cpl || rpl(selector) > gate.dpl {
        return Err(Exception::gp(selector));
    }
    if !gate.present {
        return Err(Exception::np(selector));
    }
    if is_null(gate.selector) {
        return Err(Exception::GP0);
    }
    let code = fetch(cpu, gate.selector, vector::GP)?;
    if !code.is_code() || code.dpl() > cpu.cpl || long && !code.is_code64() {
        return Err(Exception::gp(gate.selector));
    }
    if !code.present() {
        return Err(Exception::np(gate.selector));
    }
    Ok(Entry { gate, code })
}

impl Entry {
    /// Privilege level that a CALL through the gate arrives at.
    pub fn call_level(&self, cpu: &Cpu) -> u8 {
        if self.code.is_conforming() { cpu.cpl } else { self.code.dpl() }
    }

    /// Fails if a JMP may not go here: nonconforming code of another level.
    pub fn check_jump(&self, cpu: &Cpu) -> Result<(), Exception> {
        if self.call_level(cpu) != cpu.cpl {
            return Err(Exception::gp(self.gate.selector));
        }
        Ok(())
    }

    /// The entry point, at privilege level `level`.
    pub fn target(&self, cpu: &mut Cpu, level: u8) -> Result<Target, Exception> {
        Target::protected(cpu, self.gate.selector, &self.code, level, self.gate.offset)
    }

    /// Width of the return address.
    pub fn width(&self, cpu: &Cpu) -> Width {
        if cpu.mode.is_long() { Width::W64 } else { self.gate.width() }
    }

    /// Parameters to copy to the inner stack.
    pub fn parameters(&self) -> u64 {
        self.gate.count.into()
    }
}

/// SS of an inner level in long mode: null.
pub fn long_inner_ss(level: u8) -> Segment {
    crate::microcode::segment_load::null_segment(level.into(), level)
}
