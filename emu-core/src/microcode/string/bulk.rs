//! Many iterations at once, on the elements from the pointers on, in the direction of travel, that lie in one page of
//! RAM. Only with flat segments and addresses of 32 bits or more.
//!
//! Of what is compared every element is read once, by a load that does not tear it: other vCPUs may write there. Not as
//! one by one: CMPS reads eight bytes of one row before eight of the other.

use super::{
    comparison::{Elements, Row, Same, compare_elements},
    destination,
    element::compare,
    source,
};
use crate::{
    arch::{Flags, Seg, Width},
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    memory::host::{after_loads, before_stores},
    mmu::{Access, Privilege},
};

/// Elements in one page of RAM, from where a pointer stands in the direction of travel.
#[derive(Clone, Copy)]
struct Stretch {
    /// Host address of the first.
    host: *mut u8,
    /// Guest-physical address of the first.
    physical: u64,
    /// How many there are.
    elements: u64,
}

impl Stretch {
    /// The stretch from `offset` on. `None`: it is not for bulk, or the first access faults.
    fn at(cpu: &mut Cpu, i: &Insn, (seg, offset): (Seg, u64), w: Width, access: Access) -> Option<Self> {
        let flat = cpu.mode.is_flat(seg as usize) && i.asize >= Width::W32;
        if !flat || cpu.mode.checks_alignment() {
            return None;
        }
        let linear = cpu.linear(seg, offset, w.bytes(), access == Access::Write).ok()?;
        let in_page = linear & 0xFFF;
        if in_page + w.bytes() > 0x1000 || cpu.mmu.watches_page(linear) {
            return None;
        }
        let down = cpu.eflags.contains(Flags::DF);
        let elements = if down { in_page / w.bytes() + 1 } else { (0x1000 - in_page) / w.bytes() };
        // Addresses must not wrap inside the stretch.
        let bytes = elements * w.bytes();
        let wraps = if down {
            offset < bytes
        } else {
            offset.checked_add(bytes).is_none_or(|end| end > i.asize.mask())
        };
        if wraps {
            return None;
        }
        let physical = cpu.physical(linear, access, Privilege::Current).ok()?;
        let host = cpu.memory.ram().host_ptr(physical)?;
        Some(Stretch { host, physical, elements })
    }

    /// Lowest byte of the first `elements`: its host and its guest-physical address.
    fn lowest(&self, elements: u64, w: Width, down: bool) -> (*mut u8, u64) {
        let below = if down { (elements - 1) * w.bytes() } else { 0 };
        (self.host.wrapping_sub(below as usize), self.physical - below)
    }
}

/// The stretches that MOVS and CMPS read from, and MOVS writes to; in the order of the accesses.
fn both(cpu: &mut Cpu, i: &Insn, w: Width, access: Access) -> Option<[Stretch; 2]> {
    let from = Stretch::at(cpu, i, (i.segment(), source(cpu, i)), w, Access::Read)?;
    let to = Stretch::at(cpu, i, (Seg::Es, destination(cpu, i)), w, access)?;
    Some([from, to])
}

pub(super) fn movs_bulk(cpu: &mut Cpu, i: &Insn, w: Width, count: u64) -> u64 {
    let Some([from, to]) = both(cpu, i, w, Access::Write) else { return 0 };
    let elements = count.min(from.elements).min(to.elements);
    let bytes = (elements * w.bytes()) as usize;
    let down = cpu.eflags.contains(Flags::DF);
    let ((from, _), (to, physical)) = (from.lowest(elements, w, down), to.lowest(elements, w, down));
    let distance = (to as usize).wrapping_sub(from as usize);
    let against = if down { distance.wrapping_neg() } else { distance };
    if against != 0 && against < bytes {
        // The copy would read what it has written: a pattern is repeated, one element at a time.
        return 0;
    }
    cpu.before_write(physical, bytes as u64);
    before_stores();
    // SAFETY: both stretches lie in pages of RAM, which stays mapped; `copy` allows overlap.
    unsafe { std::ptr::copy(from, to, bytes) };
    after_loads();
    elements
}

pub(super) fn stos_bulk(cpu: &mut Cpu, i: &Insn, w: Width, count: u64) -> u64 {
    let Some(to) = Stretch::at(cpu, i, (Seg::Es, destination(cpu, i)), w, Access::Write) else { return 0 };
    let elements = count.min(to.elements);
    let (to, physical) = to.lowest(elements, w, cpu.eflags.contains(Flags::DF));
    let bytes = (elements * w.bytes()) as usize;
    cpu.before_write(physical, bytes as u64);
    let value = cpu.gpr(w, slot::RAX).to_le_bytes();
    let element = &value[..w.bytes() as usize];
    before_stores();
    if element.iter().all(|&byte| byte == element[0]) {
        // SAFETY: the stretch lies in a page of RAM.
        unsafe { std::ptr::write_bytes(to, element[0], bytes) };
    } else {
        for at in (0..bytes).step_by(element.len()) {
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(element.as_ptr(), to.wrapping_add(at), element.len()) };
        }
    }
    elements
}

pub(super) fn scas_bulk(cpu: &mut Cpu, i: &Insn, w: Width, count: u64) -> u64 {
    let Some(at) = Stretch::at(cpu, i, (Seg::Es, destination(cpu, i)), w, Access::Read) else { return 0 };
    let accumulator = Same::of(cpu.gpr(w, slot::RAX), w);
    // SAFETY: the elements lie in a page of RAM, which stays mapped.
    unsafe { compare_rows(cpu, i, w, (&accumulator, &Row(at.host)), count.min(at.elements)) }
}

pub(super) fn cmps_bulk(cpu: &mut Cpu, i: &Insn, w: Width, count: u64) -> u64 {
    let Some([from, to]) = both(cpu, i, w, Access::Read) else { return 0 };
    let elements = count.min(from.elements).min(to.elements);
    // SAFETY: as above, in two pages.
    unsafe { compare_rows(cpu, i, w, (&Row(from.host), &Row(to.host)), elements) }
}

/// Compares up to `elements` pairs, and sets the flags by the last that is compared.
///
/// # Safety
/// The rows have that many.
unsafe fn compare_rows<A: Elements>(
    cpu: &mut Cpu,
    i: &Insn,
    w: Width,
    rows: (&A, &Row),
    elements: u64,
) -> u64 {
    let down = cpu.eflags.contains(Flags::DF);
    // SAFETY: the caller's promise.
    let compared = unsafe { compare_elements(rows, w, elements, i.has(flag::REPNE), down) };
    let [a, b] = compared.last;
    compare(cpu, w, a, b);
    compared.done
}
