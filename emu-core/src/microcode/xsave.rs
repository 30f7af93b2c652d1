//! XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS, XGETBV and XSETBV. SDM vol. 1, ch. 13.
//!
//! XSAVEOPT and XSAVES make the init optimization (a component in its initial configuration is not written)
//! and not the modified optimization, which the manual leaves to the processor. IA32_XSS has no bit yet, so
//! XSAVES and XRSTORS differ from XSAVEC and XRSTOR in privilege and format alone.

use super::fxsave;
use crate::{
    arch::{Cr4, Exception, Width, Xcr0},
    cpu::{Cpu, slot},
    cpu_model::{Feature, xsave_component, xsave_size},
    decode::{Insn, flag},
    mmu::Privilege,
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::Mnemonic;
use std::ops::Range;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let ends = Attr::ENDS_BLOCK;
    vec![
        microcode(Mnemonic::Xsave, |cpu, i| save(cpu, i, Save::Plain, false)),
        microcode(Mnemonic::Xsave64, |cpu, i| save(cpu, i, Save::Plain, true)),
        microcode(Mnemonic::Xsaveopt, |cpu, i| save(cpu, i, Save::Optimized, false)),
        microcode(Mnemonic::Xsaveopt64, |cpu, i| save(cpu, i, Save::Optimized, true)),
        microcode(Mnemonic::Xsavec, |cpu, i| save(cpu, i, Save::Compacted, false)),
        microcode(Mnemonic::Xsavec64, |cpu, i| save(cpu, i, Save::Compacted, true)),
        microcode(Mnemonic::Xsaves, |cpu, i| save(cpu, i, Save::Supervisor, false)),
        microcode(Mnemonic::Xsaves64, |cpu, i| save(cpu, i, Save::Supervisor, true)),
        // Restoring PKRU changes which pages can be accessed.
        microcode(Mnemonic::Xrstor, |cpu, i| restore(cpu, i, false, false)).with(ends),
        microcode(Mnemonic::Xrstor64, |cpu, i| restore(cpu, i, true, false)).with(ends),
        microcode(Mnemonic::Xrstors, |cpu, i| restore(cpu, i, false, true)).with(ends),
        microcode(Mnemonic::Xrstors64, |cpu, i| restore(cpu, i, true, true)).with(ends),
        microcode(Mnemonic::Xgetbv, xgetbv),
        microcode(Mnemonic::Xsetbv, xsetbv).with(ends),
    ]
}

/// How the saving instructions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Save {
    Plain,
    Optimized,
    Compacted,
    Supervisor,
}

impl Save {
    fn is_compacted(self) -> bool {
        matches!(self, Save::Compacted | Save::Supervisor)
    }
}

/// Fields of the header.
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
const HEADER: Range<usize> = 512..576;
/// XCOMP_BV: the area is compacted.
const COMPACTED: u64 = 1 << 63;
/// Enough for every component in the standard format.
const AREA: usize = 2752;
const X87: u64 = Xcr0::X87.bits();
const SSE: u64 = Xcr0::SSE.bits();
const AVX: u64 = Xcr0::AVX.bits();
const PKRU_NUMBER: u32 = 9;
const AVX_NUMBER: u32 = 2;

/// An XSAVE area and which parts of it are to be written.
struct Image {
    bytes: [u8; AREA],
    parts: [Range<usize>; 8],
    used: usize,
}

impl Image {
    fn new() -> Self {
        Image { bytes: [0; AREA], parts: [const { 0..0 }; 8], used: 0 }
    }

    fn part(&mut self, range: Range<usize>) {
        self.parts[self.used] = range;
        self.used += 1;
    }

    fn quad(&self, at: usize) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|n| self.bytes[at + n]))
    }

    fn set_quad(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// #UD unless CR4.OSXSAVE, then #NM if CR0.TS, then #GP(0) if supervisor mode is needed and not on.
fn check_enabled(cpu: &Cpu, supervisor: bool) -> Result<(), Exception> {
    if !cpu.control.cr4.contains(Cr4::OSXSAVE) {
        return Err(Exception::UD);
    }
    if cpu.mode.task_switched() {
        return Err(Exception::NM);
    }
    if supervisor && cpu.cpl > 0 {
        return Err(Exception::GP0);
    }
    Ok(())
}

/// The area must be aligned, and its first parts within the segment.
fn check_area(cpu: &Cpu, i: &Insn, write: bool) -> Result<(), Exception> {
    let offset = cpu.effective_address(i);
    cpu.check_aligned(i.segment(), offset, 64)?;
    cpu.linear(i.segment(), offset, HEADER.end as u64, write).map(|_| ())
}

/// Where component `number` (2 and up) is in an area of the format that `xcomp_bv` tells: the part of it that is
/// accessed in the mode `i` was decoded for.
fn component_range(i: &Insn, number: u32, xcomp_bv: u64) -> Range<usize> {
    let (size, offset) = xsave_component(number).unwrap_or((0, HEADER.end));
    let before = Xcr0::from_bits_truncate(xcomp_bv & ((1 << number) - 1));
    let start = if xcomp_bv & COMPACTED != 0 { xsave_size(before, true) } else { offset };
    let accessed = if number == AVX_NUMBER { 16 * registers(i) } else { size };
    start..start + accessed
}

/// Components that are not in their initial configuration, of the registers that exist in the mode `i` was
/// decoded for. MXCSR does not count. SDM vol. 1, 13.6.
fn in_use(cpu: &Cpu, i: &Insn) -> u64 {
    let used = |bit: Xcr0, used: bool| if used { bit.bits() } else { 0 };
    let vector = &cpu.simd.vector[..registers(i)];
    used(Xcr0::X87, cpu.x87 != fxsave::initial_x87())
        | used(Xcr0::SSE, vector.iter().any(|lanes| lanes[0] != 0))
        | used(Xcr0::AVX, vector.iter().any(|lanes| lanes[1] != 0))
        | used(Xcr0::PKRU, cpu.control.pkru != 0)
}

/// The same for what is compacted, and for XGETBV: here an MXCSR that software has changed makes the whole SSE
/// component used.
fn in_use_with_mxcsr(cpu: &Cpu, i: &Insn) -> u64 {
    in_use(cpu, i) | if cpu.simd.mxcsr != fxsave::MXCSR_RESET { SSE } else { 0 }
}

fn save(cpu: &mut Cpu, i: &Insn, kind: Save, wide: bool) -> Result<(), Exception> {
    check_enabled(cpu, kind == Save::Supervisor)?;
    check_area(cpu, i, true)?;
    cpu.sync_mxcsr();
    let requested = cpu.edx_eax() & cpu.control.xcr0.bits();
    let in_use = if kind.is_compacted() { in_use_with_mxcsr(cpu, i) } else { in_use(cpu, i) };
    let used = in_use & requested;
    let mut image = Image::new();
    let xcomp_bv = if kind.is_compacted() { requested | COMPACTED } else { 0 };
    let with_mxcsr = if kind.is_compacted() { used & SSE != 0 } else { requested & (SSE | AVX) != 0 };
    let saved = if kind == Save::Plain { requested } else { used };
    if saved & X87 != 0 {
        fxsave::store_x87(&cpu.x87, &mut image.bytes, wide);
        fxsave::x87_ranges().into_iter().for_each(|range| image.part(range));
    }
    if with_mxcsr {
        fxsave::store_mxcsr(cpu, &mut image.bytes);
        image.part(fxsave::MXCSR);
    }
    if saved & SSE != 0 {
        fxsave::store_xmm(cpu, &mut image.bytes, fxsave::xmm_range(i));
        image.part(fxsave::xmm_range(i));
    }
    if kind.is_compacted() {
        image.set_quad(XSTATE_BV, used);
        image.set_quad(XCOMP_BV, xcomp_bv);
        image.part(XSTATE_BV..XCOMP_BV + 8);
    } else {
        let old = cpu.read_seg(i.segment(), at(i, cpu.effective_address(i), XSTATE_BV), Width::W64)?;
        image.set_quad(XSTATE_BV, old & !requested | used);
        image.part(XSTATE_BV..XCOMP_BV);
    }
    for number in [AVX_NUMBER, PKRU_NUMBER].into_iter().filter(|&n| saved >> n & 1 != 0) {
        let range = component_range(i, number, xcomp_bv);
        store_component(cpu, i, number, &mut image.bytes[range.clone()]);
        image.part(range);
    }
    write_parts(cpu, i, &image)
}

fn store_component(cpu: &Cpu, i: &Insn, number: u32, bytes: &mut [u8]) {
    if number == PKRU_NUMBER {
        bytes[..4].copy_from_slice(&cpu.control.pkru.to_le_bytes());
        return;
    }
    for (chunk, lanes) in bytes.chunks_exact_mut(16).zip(&cpu.simd.vector[..registers(i)]) {
        chunk.copy_from_slice(&lanes[1].to_le_bytes());
    }
}

/// Vector registers that exist in the mode `i` was decoded for.
fn registers(i: &Insn) -> usize {
    if i.has(flag::MODE64) { 16 } else { 8 }
}

/// Writes the parts of `image`, after all of them have been found writable.
fn write_parts(cpu: &mut Cpu, i: &Insn, image: &Image) -> Result<(), Exception> {
    let offset = cpu.effective_address(i);
    let parts = &image.parts[..image.used];
    for range in parts {
        let linear = cpu.linear(i.segment(), at(i, offset, range.start), range.len() as u64, true)?;
        cpu.probe_write(linear, range.len() as u64, Privilege::Current)?;
    }
    for range in parts {
        cpu.write_seg_bytes(i.segment(), at(i, offset, range.start), &image.bytes[range.clone()])?;
    }
    Ok(())
}

fn at(i: &Insn, offset: u64, delta: usize) -> u64 {
    offset.wrapping_add(delta as u64) & i.asize.mask()
}

fn restore(cpu: &mut Cpu, i: &Insn, wide: bool, supervisor: bool) -> Result<(), Exception> {
    check_enabled(cpu, supervisor)?;
    check_area(cpu, i, false)?;
    let offset = cpu.effective_address(i);
    let mut image = Image::new();
    cpu.read_seg_bytes(i.segment(), at(i, offset, 0), &mut image.bytes[..HEADER.end])?;
    let (xstate_bv, xcomp_bv) = (image.quad(XSTATE_BV), image.quad(XCOMP_BV));
    check_header(cpu, &image, supervisor)?;
    let compacted = xcomp_bv & COMPACTED != 0;
    let requested = cpu.edx_eax() & cpu.control.xcr0.bits();
    let loaded = requested & xstate_bv;
    // In the standard format MXCSR is loaded with SSE or AVX, used or not; in the compacted one it is part of
    // the SSE component.
    let mxcsr = if compacted {
        match (requested & SSE != 0, loaded & SSE != 0) {
            (_, true) => Some(fxsave::load_mxcsr(&image.bytes)?),
            (true, false) => Some(fxsave::MXCSR_RESET),
            _ => None,
        }
    } else if requested & (SSE | AVX) != 0 {
        Some(fxsave::load_mxcsr(&image.bytes)?)
    } else {
        None
    };
    for number in [AVX_NUMBER, PKRU_NUMBER].into_iter().filter(|&n| loaded >> n & 1 != 0) {
        let range = component_range(i, number, xcomp_bv);
        cpu.read_seg_bytes(i.segment(), at(i, offset, range.start), &mut image.bytes[range])?;
    }
    if requested & X87 != 0 {
        cpu.x87 =
            if loaded & X87 != 0 { fxsave::load_x87(&image.bytes, wide) } else { fxsave::initial_x87() };
    }
    if let Some(mxcsr) = mxcsr {
        cpu.load_mxcsr(mxcsr);
    }
    if requested & SSE != 0 {
        // The area is zero where the component is to be initialised.
        if loaded & SSE == 0 {
            image.bytes[fxsave::xmm_range(i)].fill(0);
        }
        fxsave::load_xmm(cpu, &image.bytes, fxsave::xmm_range(i));
    }
    for number in [AVX_NUMBER, PKRU_NUMBER].into_iter().filter(|&n| requested >> n & 1 != 0) {
        let range = component_range(i, number, xcomp_bv);
        let bytes = if loaded >> number & 1 != 0 { &image.bytes[range] } else { &[0; 256][..range.len()] };
        load_component(cpu, i, number, bytes);
    }
    Ok(())
}

/// What the header must satisfy. SDM vol. 1, 13.8 and 13.12.
fn check_header(cpu: &Cpu, image: &Image, supervisor: bool) -> Result<(), Exception> {
    let (xstate_bv, xcomp_bv) = (image.quad(XSTATE_BV), image.quad(XCOMP_BV));
    let enabled = cpu.control.xcr0.bits();
    let zero = |range: Range<usize>| image.bytes[range].iter().all(|&byte| byte == 0);
    let good = if xcomp_bv & COMPACTED != 0 {
        (supervisor || cpu.model.has(Feature::Xsavec))
            && xcomp_bv & !COMPACTED & !enabled == 0
            && xstate_bv & !xcomp_bv == 0
            && xstate_bv & COMPACTED == 0
            && zero(XCOMP_BV + 8..HEADER.end)
    } else {
        !supervisor && xstate_bv & !enabled == 0 && zero(XCOMP_BV..XCOMP_BV + 16)
    };
    if good { Ok(()) } else { Err(Exception::GP0) }
}

fn load_component(cpu: &mut Cpu, i: &Insn, number: u32, bytes: &[u8]) {
    if number == PKRU_NUMBER {
        let pkru = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if cpu.control.pkru != pkru {
            cpu.control.pkru = pkru;
            cpu.mode_changed();
        }
        return;
    }
    for (chunk, lanes) in bytes.chunks_exact(16).zip(&mut cpu.simd.vector[..registers(i)]) {
        lanes[1] = u128::from_le_bytes(std::array::from_fn(|n| chunk[n]));
    }
}

fn xgetbv(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    if !cpu.control.cr4.contains(Cr4::OSXSAVE) {
        return Err(Exception::UD);
    }
    cpu.sync_mxcsr();
    let enabled = cpu.control.xcr0.bits();
    let value = match cpu.gpr(Width::W32, slot::RCX) {
        0 => enabled,
        1 if cpu.model.has(Feature::Xgetbv1) => enabled & in_use_with_mxcsr(cpu, i),
        _ => return Err(Exception::GP0),
    };
    cpu.set_edx_eax(value);
    Ok(())
}

fn xsetbv(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    if !cpu.control.cr4.contains(Cr4::OSXSAVE) {
        return Err(Exception::UD);
    }
    // #UD comes before #GP(0) for the privilege level, so that is checked here and not by the row.
    let value = Xcr0::from_bits(cpu.edx_eax()).ok_or(Exception::GP0)?;
    let consistent = value.contains(Xcr0::X87)
        && cpu.model.xcr0().contains(value)
        && (!value.contains(Xcr0::AVX) || value.contains(Xcr0::SSE));
    if cpu.cpl > 0 || cpu.gpr(Width::W32, slot::RCX) != 0 || !consistent {
        return Err(Exception::GP0);
    }
    cpu.control.xcr0 = value;
    cpu.mode_changed();
    Ok(())
}

#[cfg(test)]
#[path = "xsave_tests.rs"]
mod tests;
