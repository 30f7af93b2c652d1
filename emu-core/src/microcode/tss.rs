//! The task-state segment as a source of inner stacks. SDM vol. 3, 7.2.1, 7.7 and 5.8.5.

use super::{
    descriptor::{fetch, is_null, system_linear},
    segment_load::checked_stack,
    stack::Stack,
};
use crate::{
    arch::{Exception, Segment, Width, system_type, vector},
    cpu::Cpu,
    mmu::Privilege,
};

/// Whether TR holds a 32-bit TSS (in long mode: a 64-bit one).
pub const fn is_wide(tr: &Segment) -> bool {
    tr.attr & (system_type::TSS32 ^ system_type::TSS16) != 0
}

/// Reads `w` at `offset` of the current TSS; beyond its limit #TS with TR's selector.
fn read(cpu: &mut Cpu, offset: u64, w: Width) -> Result<u64, Exception> {
    let tr = cpu.segments.tr;
    if offset + w.bytes() - 1 > u64::from(tr.limit) {
        return Err(Exception::ts(tr.selector));
    }
    let linear = system_linear(cpu, tr.base, offset);
    cpu.read_linear(linear, w, Privilege::System)
}

/// Stack of privilege level `level` (0..=2) outside long mode, checked, and its SS.
pub fn legacy_stack(cpu: &mut Cpu, level: u8) -> Result<(Stack, Segment), Exception> {
    let level_offset = u64::from(level);
    let (esp, ss) = if is_wide(&cpu.segments.tr) {
        let at = 4 + 8 * level_offset;
        (read(cpu, at, Width::W32)?, read(cpu, at + 4, Width::W16)?)
    } else {
        let at = 2 + 4 * level_offset;
        (read(cpu, at, Width::W16)?, read(cpu, at + 2, Width::W16)?)
    };
    let selector = ss as u16;
    if is_null(selector) {
        return Err(Exception::ts(selector));
    }
    let descriptor = fetch(cpu, selector, vector::TS)?;
    let segment = checked_stack(cpu, selector, &descriptor, level, vector::TS)?;
    Ok((Stack::inner(segment, esp), segment))
}

/// RSP0, RSP1 or RSP2 of a 64-bit TSS.
pub fn long_stack(cpu: &mut Cpu, level: u8) -> Result<u64, Exception> {
    read_canonical(cpu, 4 + 8 * u64::from(level))
}

/// IST1..IST7 of a 64-bit TSS.
pub fn interrupt_stack(cpu: &mut Cpu, number: u8) -> Result<u64, Exception> {
    read_canonical(cpu, 28 + 8 * u64::from(number))
}

fn read_canonical(cpu: &mut Cpu, offset: u64) -> Result<u64, Exception> {
    let rsp = read(cpu, offset, Width::W64)?;
    if cpu.is_canonical(rsp) { Ok(rsp) } else { Err(Exception::SS0) }
}
