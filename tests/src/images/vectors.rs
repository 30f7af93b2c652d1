//! A program for Linux that computes with AVX2, FMA and F16C, and what it must come to.
//!
//! It is a static ELF without a C library: three chains of vectors, each round built on the one before, so that one
//! wrong lane spoils the end. It gives up its processor now and then: what it has in the upper halves of YMM must
//! come back. At its end it writes [`VectorResults`] to standard output as bytes.

use super::elf::{Class, Elf};
use iced_x86::{
    IcedError,
    code_asm::{
        CodeAssembler, dword_ptr, eax, ecx, edi, edx, qword_ptr, r12d, rdi, rsi, xmm11, xmm14, xmmword_ptr,
        ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm12, ymm13, ymm14, ymm15,
        ymmword_ptr,
    },
};

const ADDRESS: u32 = 0x40_0000;
/// Where the data begins, counted from the image's start; the code is shorter.
const DATA: usize = 0x400;
const ROUNDS: u32 = 20_000;
/// The program yields its processor once in so many rounds.
const YIELD: u32 = 0x100;

// Numbers of Linux's system calls.
const WRITE: u32 = 1;
const SCHED_YIELD: u32 = 24;
const EXIT: u32 = 60;

const FACTOR: u32 = 1_664_525;
const SUMMAND: u32 = 1_013_904_223;
const START: [u32; 8] = [1, 2, 3, 5, 8, 13, 21, 34];
const ROTATIONS: [u32; 8] = [1, 5, 9, 13, 17, 21, 25, 31];
const ORDER: [u32; 8] = [3, 6, 1, 4, 7, 2, 5, 0];
const STORED: [bool; 8] = [true, false, true, true, false, false, true, false];
const REALS: [f64; 4] = [0.1, 1.7, 3.3, 1e-9];
const REAL_FACTOR: f64 = 1.37;
const REAL_SUMMAND: f64 = 0.219;

// The data, in bytes from its start.
const TABLE: usize = 0;
const OF_START: usize = 0x40;
const OF_ORDER: usize = 0x60;
const OF_LEFT: usize = 0x80;
const OF_RIGHT: usize = 0xA0;
const OF_STORED: usize = 0xC0;
const OF_REALS: usize = 0xE0;
const OF_BYTE_SWAP: usize = 0x100;
const OF_SCALARS: usize = 0x110;
const OF_REAL_SCALARS: usize = 0x120;
const OF_RESULTS: usize = 0x130;

/// What the program computes.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorResults {
    /// A chain of integer operations.
    pub integers: [u32; 8],
    /// A chain of fused multiply-adds and square roots.
    pub reals: [f64; 4],
    /// Sums of numbers in half precision, as the bits of each.
    pub halves: [u16; 8],
    /// Those of the integers that a masked store wrote.
    pub masked: [u32; 8],
}

impl VectorResults {
    /// What arithmetic says, lane by lane.
    pub fn expected() -> Self {
        let (mut x, mut h, mut reals, mut halves) = (START, [0u32; 8], REALS, [0u16; 8]);
        for _ in 0..ROUNDS {
            for lane in 0..8 {
                x[lane] = x[lane].wrapping_mul(FACTOR).wrapping_add(SUMMAND);
                h[lane] ^= x[lane].rotate_left(ROTATIONS[lane]);
            }
            h = ORDER.map(|from| h[from as usize]);
            for lane in 0..8 {
                h[lane] = h[lane].wrapping_add(table()[h[lane] as usize & 15]).swap_bytes();
                let small = x[lane] >> 22;
                halves[lane] = halves[lane].wrapping_add(half(small));
                h[lane] = h[lane].wrapping_add(small);
            }
            reals = reals.map(|y| y.mul_add(REAL_FACTOR, REAL_SUMMAND).sqrt());
        }
        let masked = std::array::from_fn(|lane| if STORED[lane] { h[lane] } else { 0 });
        VectorResults { integers: h, reals, halves, masked }
    }

    /// The bytes that the program writes, in hexadecimal.
    pub fn hex(&self) -> String {
        let VectorResults { integers, reals, halves, masked } = self;
        let bytes = integers
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .chain(reals.iter().flat_map(|n| n.to_le_bytes()))
            .chain(halves.iter().flat_map(|n| n.to_le_bytes()))
            .chain(masked.iter().flat_map(|n| n.to_le_bytes()));
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An integer below 1024 in half precision, which holds it exactly.
fn half(n: u32) -> u16 {
    match n.checked_ilog2() {
        None => 0,
        Some(exponent) => ((exponent + 15) << 10 | (n << (10 - exponent)) & 0x3FF) as u16,
    }
}

fn table() -> [u32; 16] {
    std::array::from_fn(|n| (n as u32 + 1).wrapping_mul(0x9E37_79B9))
}

/// The program, an executable for x86-64 Linux.
pub fn vector_program() -> Result<Vec<u8>, IcedError> {
    let mut image = code()?;
    assert!(image.len() <= DATA, "the code of {} bytes runs into the data", image.len());
    image.resize(DATA, 0);
    image.extend_from_slice(&data());
    let elf = Elf { class: Class::Elf64, entry: ADDRESS, address: ADDRESS, content: &image, note: None };
    Ok(elf.bytes())
}

fn data() -> Vec<u8> {
    let mut data = Vec::new();
    let right = ROTATIONS.map(|count| 32 - count);
    let stored = STORED.map(|stored| if stored { u32::MAX } else { 0 });
    for words in [&table()[..], &START, &ORDER, &ROTATIONS, &right, &stored] {
        data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    data.extend(REALS.iter().flat_map(|real| real.to_le_bytes()));
    data.extend((0..16u8).map(|byte| byte ^ 3));
    data.extend([FACTOR, SUMMAND, 15, 0].iter().flat_map(|word| word.to_le_bytes()));
    data.extend([REAL_FACTOR, REAL_SUMMAND].iter().flat_map(|real| real.to_le_bytes()));
    data.resize(OF_RESULTS + size_of::<VectorResults>(), 0);
    data
}

fn code() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let (mut round, mut stay) = (a.create_label(), a.create_label());
    a.mov(rsi, u64::from(ADDRESS) + DATA as u64)?;
    a.mov(r12d, ROUNDS)?;
    load_constants(&mut a)?;
    a.set_label(&mut round)?;
    integers(&mut a)?;
    // Each real becomes the square root of itself times the factor and the summand.
    a.vfmadd213pd(ymm8, ymm9, ymm10)?;
    a.vsqrtpd(ymm8, ymm8)?;
    halves(&mut a)?;
    a.test(r12d, YIELD - 1)?;
    a.jne(stay)?;
    a.mov(eax, SCHED_YIELD)?;
    a.syscall()?;
    a.set_label(&mut stay)?;
    a.dec(r12d)?;
    a.jne(round)?;
    write_results(&mut a)?;
    a.assemble(ADDRESS.into())
}

fn load_constants(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.vmovdqu(ymm0, ymmword_ptr(rsi + OF_START))?;
    a.vpxor(ymm1, ymm1, ymm1)?;
    a.vmovdqu(ymm2, ymmword_ptr(rsi + OF_ORDER))?;
    a.vmovdqu(ymm3, ymmword_ptr(rsi + OF_LEFT))?;
    a.vmovdqu(ymm4, ymmword_ptr(rsi + OF_RIGHT))?;
    a.vpbroadcastd(ymm5, dword_ptr(rsi + OF_SCALARS))?;
    a.vpbroadcastd(ymm6, dword_ptr(rsi + OF_SCALARS + 4))?;
    a.vpbroadcastd(ymm7, dword_ptr(rsi + OF_SCALARS + 8))?;
    a.vmovupd(ymm8, ymmword_ptr(rsi + OF_REALS))?;
    a.vbroadcastsd(ymm9, qword_ptr(rsi + OF_REAL_SCALARS))?;
    a.vbroadcastsd(ymm10, qword_ptr(rsi + OF_REAL_SCALARS + 8))?;
    a.vpxor(xmm11, xmm11, xmm11)?;
    a.vbroadcasti128(ymm12, xmmword_ptr(rsi + OF_BYTE_SWAP))
}

/// YMM0: a linear congruential generator per lane; YMM1: what becomes of its numbers.
fn integers(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.vpmulld(ymm0, ymm0, ymm5)?;
    a.vpaddd(ymm0, ymm0, ymm6)?;
    a.vpsllvd(ymm13, ymm0, ymm3)?;
    a.vpsrlvd(ymm14, ymm0, ymm4)?;
    a.vpor(ymm13, ymm13, ymm14)?;
    a.vpxor(ymm1, ymm1, ymm13)?;
    a.vpermd(ymm1, ymm2, ymm1)?;
    a.vpand(ymm14, ymm1, ymm7)?;
    a.vpcmpeqd(ymm15, ymm15, ymm15)?;
    a.vpgatherdd_3(ymm13, dword_ptr(rsi + ymm14 * 4 + TABLE), ymm15)?;
    a.vpaddd(ymm1, ymm1, ymm13)?;
    a.vpshufb(ymm1, ymm1, ymm12)
}

/// XMM11: sums of the generators' upper ten bits in half precision. Their way there and back changes nothing.
fn halves(a: &mut CodeAssembler) -> Result<(), IcedError> {
    const TO_NEAREST: u32 = 0;
    a.vpsrld(ymm13, ymm0, 22)?;
    a.vcvtdq2ps(ymm13, ymm13)?;
    a.vcvtps2ph(xmm14, ymm13, TO_NEAREST)?;
    a.vpaddw(xmm11, xmm11, xmm14)?;
    a.vcvtph2ps(ymm14, xmm14)?;
    a.vcvtps2dq(ymm14, ymm14)?;
    a.vpaddd(ymm1, ymm1, ymm14)
}

fn write_results(a: &mut CodeAssembler) -> Result<(), IcedError> {
    const STANDARD_OUTPUT: u32 = 1;
    a.lea(rdi, qword_ptr(rsi + OF_RESULTS))?;
    a.vmovdqu(ymmword_ptr(rdi), ymm1)?;
    a.vmovupd(ymmword_ptr(rdi + 32), ymm8)?;
    a.vmovdqu(xmmword_ptr(rdi + 64), xmm11)?;
    a.vmovdqu(ymm13, ymmword_ptr(rsi + OF_STORED))?;
    a.vpmaskmovd(ymmword_ptr(rdi + 80), ymm13, ymm1)?;
    a.vzeroupper()?;
    a.mov(rsi, rdi)?;
    a.mov(edi, STANDARD_OUTPUT)?;
    a.mov(edx, size_of::<VectorResults>() as u32)?;
    a.mov(eax, WRITE)?;
    a.syscall()?;
    // The exit status is 0 if all was written.
    a.mov(edi, eax)?;
    a.sub(edi, edx)?;
    a.mov(eax, EXIT)?;
    a.syscall()?;
    a.xor(ecx, ecx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_in_half_precision_has_its_exponent_and_fraction() {
        assert_eq!([0, 1, 2, 3, 1023].map(half), [0, 0x3C00, 0x4000, 0x4200, 0x63FE]);
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn the_hosts_processor_computes_what_is_expected() {
        use std::{fs, os::unix::fs::PermissionsExt, process::Command};
        let able = ["avx2", "fma", "f16c"];
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
        if !able.iter().all(|name| cpuinfo.split_whitespace().any(|word| word == *name)) {
            return crate::emulator::skip("the host's processor lacks AVX2, FMA or F16C");
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("vectors");
        fs::write(&program, vector_program().unwrap()).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

        let output = Command::new(&program).output().unwrap();

        assert!(output.status.success(), "{output:?}");
        let written: String = output.stdout.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, VectorResults::expected().hex());
    }
}
