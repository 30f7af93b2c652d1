//! FXSAVE and FXRSTOR in their 32- and 64-bit layouts, LDMXCSR and STMXCSR. SDM vol. 1, 10.5 and 13.4.
//!
//! The legacy region that they share with XSAVE is laid out here. Without CR4.OSFXSR the XMM registers are not
//! touched, as the manual allows.

use crate::{
    arch::{Cr4, Exception, Width},
    cpu::Cpu,
    decode::{Insn, flag},
    mmu::Privilege,
    semantics::{Attr, Emitter, Row, microcode},
    state::{Extended, X87},
};
use iced_x86::Mnemonic;
use std::ops::Range;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Fxsave, |cpu, i| fxsave(cpu, i, false)).with(Attr::X87),
        microcode(Mnemonic::Fxsave64, |cpu, i| fxsave(cpu, i, true)).with(Attr::X87),
        microcode(Mnemonic::Fxrstor, |cpu, i| fxrstor(cpu, i, false)).with(Attr::X87),
        microcode(Mnemonic::Fxrstor64, |cpu, i| fxrstor(cpu, i, true)).with(Attr::X87),
        microcode(Mnemonic::Ldmxcsr, ldmxcsr).with(Attr::SSE),
        microcode(Mnemonic::Stmxcsr, stmxcsr).with(Attr::SSE),
        microcode(Mnemonic::Vldmxcsr, ldmxcsr).with(Attr::AVX),
        microcode(Mnemonic::Vstmxcsr, stmxcsr).with(Attr::AVX),
    ]
}

/// Bytes of the legacy region.
pub const LEGACY_SIZE: usize = 512;
/// Bits of MXCSR that exist, as MXCSR_MASK says.
pub const MXCSR_MASK: u32 = 0xFFFF;
/// MXCSR after reset, and what initialising the SSE component gives.
pub const MXCSR_RESET: u32 = 0x1F80;
/// x87 control word after FNINIT, and what initialising the x87 component gives.
const FCW_INIT: u16 = 0x37F;
/// MXCSR and its mask.
pub const MXCSR: Range<usize> = 24..32;
/// x87 environment.
const ENVIRONMENT: Range<usize> = 0..24;
/// x87 registers.
const REGISTERS: Range<usize> = 32..160;
/// Where the XMM registers begin.
const XMM: usize = 160;

/// The XMM registers that exist in the mode `i` was decoded for.
pub fn xmm_range(i: &Insn) -> Range<usize> {
    XMM..XMM + 16 * if i.has(flag::MODE64) { 16 } else { 8 }
}

/// The x87 ranges.
pub fn x87_ranges() -> [Range<usize>; 2] {
    [ENVIRONMENT, REGISTERS]
}

/// The linear address of the memory operand of `i`, for `len` bytes that must be aligned to `align`.
pub fn aligned_operand(cpu: &Cpu, i: &Insn, len: u64, align: u64, write: bool) -> Result<u64, Exception> {
    let linear = cpu.linear(i.segment(), cpu.effective_address(i), len, write)?;
    if linear & (align - 1) != 0 {
        return Err(Exception::GP0);
    }
    Ok(linear)
}

fn fxsave(cpu: &mut Cpu, i: &Insn, wide: bool) -> Result<(), Exception> {
    let linear = aligned_operand(cpu, i, LEGACY_SIZE as u64, 16, true)?;
    let mut image = [0; LEGACY_SIZE];
    store_x87(&cpu.x87, &mut image, wide);
    cpu.sync_mxcsr();
    store_mxcsr(cpu, &mut image);
    let mut end = XMM;
    if cpu.control.cr4.contains(Cr4::OSFXSR) {
        end = xmm_range(i).end;
        store_xmm(cpu, &mut image, xmm_range(i));
    }
    cpu.probe_write(linear, LEGACY_SIZE as u64, Privilege::Current)?;
    cpu.write_bytes(linear, &image[..end], Privilege::Current)
}

fn fxrstor(cpu: &mut Cpu, i: &Insn, wide: bool) -> Result<(), Exception> {
    let linear = aligned_operand(cpu, i, LEGACY_SIZE as u64, 16, false)?;
    let mut image = [0; LEGACY_SIZE];
    cpu.read_bytes(linear, &mut image, Privilege::Current)?;
    let mxcsr = load_mxcsr(&image)?;
    cpu.x87 = load_x87(&image, wide);
    if cpu.control.cr4.contains(Cr4::OSFXSR) {
        cpu.load_mxcsr(mxcsr);
        load_xmm(cpu, &image, xmm_range(i));
    }
    Ok(())
}

fn ldmxcsr(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let value = cpu.read_operand(i, Width::W32, 0)? as u32;
    if value & !MXCSR_MASK != 0 {
        return Err(Exception::GP0);
    }
    cpu.load_mxcsr(value);
    Ok(())
}

fn stmxcsr(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    cpu.sync_mxcsr();
    cpu.write_operand(i, Width::W32, 0, cpu.simd.mxcsr.into())
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn word(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([image[at], image[at + 1]])
}

fn double(image: &[u8], at: usize) -> u32 {
    u32::from(word(image, at)) | u32::from(word(image, at + 2)) << 16
}

fn quad(image: &[u8], at: usize) -> u64 {
    u64::from(double(image, at)) | u64::from(double(image, at + 4)) << 32
}

/// Writes the x87 state into a legacy region; `wide`: with 64-bit instruction and operand pointers.
pub fn store_x87(x87: &X87, image: &mut [u8], wide: bool) {
    put(image, 0, &x87.fcw.to_le_bytes());
    put(image, 2, &x87.status().to_le_bytes());
    put(image, 4, &[x87.valid, 0]);
    put(image, 6, &x87.fop.to_le_bytes());
    put(image, 8, &x87.fip.to_le_bytes());
    put(image, 16, &x87.fdp.to_le_bytes());
    if !wide {
        put(image, 12, &u32::from(x87.fcs).to_le_bytes());
        put(image, 20, &u32::from(x87.fds).to_le_bytes());
    }
    for n in 0..8 {
        // In the order of the stack, not of the physical registers.
        let register = x87.r[(usize::from(x87.top) + n) % 8];
        put(image, REGISTERS.start + 16 * n, &register.significand.to_le_bytes());
        put(image, REGISTERS.start + 16 * n + 8, &u64::from(register.sign_exponent).to_le_bytes());
    }
}

/// The x87 state in a legacy region.
pub fn load_x87(image: &[u8], wide: bool) -> X87 {
    let mut x87 = initial_x87();
    x87.fcw = word(image, 0) & 0x1F7F | 0x40;
    let status = word(image, 2);
    x87.top = (status >> 11) as u8 & 7;
    // ES and B follow from the flags and their masks, whatever the image says.
    let pending = status & !x87.fcw & 0x3F != 0;
    x87.fsw = status & 0x477F | if pending { 0x8080 } else { 0 };
    x87.valid = image[4];
    x87.fop = word(image, 6) & 0x7FF;
    if wide {
        (x87.fip, x87.fdp) = (quad(image, 8), quad(image, 16));
    } else {
        (x87.fip, x87.fdp) = (double(image, 8).into(), double(image, 16).into());
        (x87.fcs, x87.fds) = (word(image, 12), word(image, 20));
    }
    for n in 0..8 {
        let at = REGISTERS.start + 16 * n;
        let register = Extended { significand: quad(image, at), sign_exponent: word(image, at + 8) };
        x87.r[(usize::from(x87.top) + n) % 8] = register;
    }
    x87
}

/// The x87 component in its initial configuration. SDM vol. 1, 13.6.
pub fn initial_x87() -> X87 {
    X87 { fcw: FCW_INIT, valid: 0, ..X87::reset() }
}

/// Writes MXCSR and its mask into a legacy region.
pub fn store_mxcsr(cpu: &Cpu, image: &mut [u8]) {
    put(image, MXCSR.start, &cpu.simd.mxcsr.to_le_bytes());
    put(image, MXCSR.start + 4, &MXCSR_MASK.to_le_bytes());
}

/// MXCSR in a legacy region: #GP(0) if a reserved bit is set.
pub fn load_mxcsr(image: &[u8]) -> Result<u32, Exception> {
    let mxcsr = double(image, MXCSR.start);
    if mxcsr & !MXCSR_MASK != 0 { Err(Exception::GP0) } else { Ok(mxcsr) }
}

/// Writes the XMM registers that lie in `range` of a legacy region.
pub fn store_xmm(cpu: &Cpu, image: &mut [u8], range: Range<usize>) {
    for (chunk, register) in image[range].chunks_exact_mut(16).zip(&cpu.simd.vector) {
        chunk.copy_from_slice(&register[0].to_le_bytes());
    }
}

/// Loads the XMM registers that lie in `range` of a legacy region; what lies above them is not touched.
pub fn load_xmm(cpu: &mut Cpu, image: &[u8], range: Range<usize>) {
    for (chunk, register) in image[range].chunks_exact(16).zip(&mut cpu.simd.vector) {
        register[0] = u128::from(quad(chunk, 0)) | u128::from(quad(chunk, 8)) << 64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu::{gp0, insn, long_cpu};

    fn busy_cpu() -> Box<Cpu> {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.x87.fcw = 0x37F;
        (cpu.x87.fsw, cpu.x87.top, cpu.x87.valid) = (0x4500, 5, 0b1010_0000);
        (cpu.x87.fip, cpu.x87.fdp, cpu.x87.fop) = (0x1234_5678_9ABC, 0x7FFF_0000_1111, 0x7AB);
        cpu.x87.r[5] = Extended { significand: 0x8000_0000_0000_0001, sign_exponent: 0xBFFF };
        cpu.simd.mxcsr = 0x1FA0;
        for (n, register) in cpu.simd.vector.iter_mut().enumerate() {
            *register = [n as u128 * 3 + 1, 7];
        }
        cpu.regs[crate::cpu::slot::RSI] = 0x1000;
        cpu
    }

    fn memory(cpu: &Cpu) -> Vec<u8> {
        let mut image = vec![0; 512];
        cpu.memory.ram().read(0x1000, &mut image).unwrap();
        image
    }

    #[test]
    fn the_image_has_the_manuals_layout() {
        let mut cpu = busy_cpu();
        cpu.memory.ram().write(0x1000, &[0xEE; 512]).unwrap();
        fxsave(&mut cpu, &insn(&[]), true).unwrap();
        let image = memory(&cpu);
        assert_eq!(
            (word(&image, 0), word(&image, 2), image[4], image[5]),
            (0x37F, 0x4500 | 5 << 11, 0b1010_0000, 0)
        );
        assert_eq!(
            (word(&image, 6), quad(&image, 8), quad(&image, 16)),
            (0x7AB, 0x1234_5678_9ABC, 0x7FFF_0000_1111)
        );
        assert_eq!((double(&image, 24), double(&image, 28)), (0x1FA0, 0xFFFF));
        assert_eq!(&image[32..42], [1, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0xBF], "ST0 is R5");
        assert_eq!(quad(&image, 160 + 16 * 15), 46);
        assert_eq!(&image[416..], [0xEE; 96], "what is not used is not written");
    }

    #[test]
    fn what_was_saved_is_restored() {
        let mut cpu = busy_cpu();
        let before = cpu.save_state();
        fxsave(&mut cpu, &insn(&[]), true).unwrap();
        cpu.x87 = X87::reset();
        cpu.simd.mxcsr = 0x1F80;
        cpu.simd.vector = [[0, 7]; 16];
        fxrstor(&mut cpu, &insn(&[]), true).unwrap();
        assert_eq!(cpu.save_state(), before);
    }

    #[test]
    fn an_area_that_is_not_aligned_or_has_a_bad_mxcsr_faults() {
        let mut cpu = busy_cpu();
        let before = cpu.save_state();
        cpu.memory.ram().write(0x1018, &0x1_0000u32.to_le_bytes()).unwrap();
        assert_eq!(fxrstor(&mut cpu, &insn(&[]), true), gp0());
        assert_eq!(cpu.save_state(), before);
        cpu.regs[crate::cpu::slot::RSI] = 0x1008;
        assert_eq!(fxsave(&mut cpu, &insn(&[]), true), gp0());
        assert_eq!(fxrstor(&mut cpu, &insn(&[]), true), gp0());
    }

    #[test]
    fn an_unmasked_exception_in_the_image_is_pending() {
        let mut image = [0; LEGACY_SIZE];
        put(&mut image, 0, &0x37Eu16.to_le_bytes());
        put(&mut image, 2, &1u16.to_le_bytes());
        assert_eq!(load_x87(&image, true).fsw, 0x8081);
        put(&mut image, 0, &0x37Fu16.to_le_bytes());
        assert_eq!(load_x87(&image, true).fsw, 1);
    }

    #[test]
    fn mxcsr_takes_only_bits_that_exist() {
        let mut cpu = busy_cpu();
        cpu.memory.ram().write(0x1000, &0x1_1F80u32.to_le_bytes()).unwrap();
        assert_eq!(ldmxcsr(&mut cpu, &insn(&[])), gp0());
        cpu.memory.ram().write(0x1000, &0x9FC0u32.to_le_bytes()).unwrap();
        ldmxcsr(&mut cpu, &insn(&[])).unwrap();
        cpu.regs[crate::cpu::slot::RSI] = 0x1100;
        stmxcsr(&mut cpu, &insn(&[])).unwrap();
        assert_eq!(cpu.read_physical(0x1100, 4), 0x9FC0);
    }
}
