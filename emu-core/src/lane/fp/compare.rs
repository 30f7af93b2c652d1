//! CMPPS and its kin (eight predicates in the immediate), VCMPPS and its kin (32 predicates), COMISS, UCOMISS
//! and their double forms, whose result is the flags ZF, PF and CF in RFLAGS' places.

#[cfg(target_arch = "x86_64")]
use super::host_binary;
use super::{fp_operations, portable as p};
#[cfg(target_arch = "x86_64")]
use crate::lane::FpOperation;

/// The predicate is part of the instruction.
#[cfg(target_arch = "x86_64")]
macro_rules! by_predicate {
    ($instruction:literal, $a:expr, $b:expr, $imm:expr) => {
        match $imm & 7 {
            0 => host_binary!(concat!("cmpeq", $instruction), $a, $b),
            1 => host_binary!(concat!("cmplt", $instruction), $a, $b),
            2 => host_binary!(concat!("cmple", $instruction), $a, $b),
            3 => host_binary!(concat!("cmpunord", $instruction), $a, $b),
            4 => host_binary!(concat!("cmpneq", $instruction), $a, $b),
            5 => host_binary!(concat!("cmpnlt", $instruction), $a, $b),
            6 => host_binary!(concat!("cmpnle", $instruction), $a, $b),
            _ => host_binary!(concat!("cmpord", $instruction), $a, $b),
        }
    };
}

/// Flags of a comparison.
#[cfg(target_arch = "x86_64")]
macro_rules! host_flags {
    ($instruction:literal, $a:expr, $b:expr) => {{
        let flags: u16;
        // SAFETY: an SSE2 instruction on registers; LAHF moves the flags to AH.
        unsafe {
            std::arch::asm!(concat!($instruction, " {a}, {b}"), "lahf", a = in(xmm_reg) crate::lane::lane($a),
                b = in(xmm_reg) crate::lane::lane($b), out("ax") flags, options(nomem, nostack));
        }
        u128::from(flags >> 8 & 0x45)
    }};
}

fp_operations! {
    Cmpps(a, b, imm) -> Other, by_predicate!("ps", a, b, imm), p::compare_singles(a, b, imm & 7);
    Cmppd(a, b, imm) -> Other, by_predicate!("pd", a, b, imm), p::compare_doubles(a, b, imm & 7);
    Cmpss(a, b, imm) -> Other, by_predicate!("ss", a, b, imm), p::low32(a, p::compare_singles(a, b, imm & 7));
    Cmpsd(a, b, imm) -> Other, by_predicate!("sd", a, b, imm), p::low64(a, p::compare_doubles(a, b, imm & 7));
    Vcmpps(a, b, imm) -> Other, predicate::<Cmpps>(a, b, imm), p::compare_singles(a, b, imm);
    Vcmppd(a, b, imm) -> Other, predicate::<Cmppd>(a, b, imm), p::compare_doubles(a, b, imm);
    Vcmpss(a, b, imm) -> Other, predicate::<Cmpss>(a, b, imm), p::low32(a, p::compare_singles(a, b, imm));
    Vcmpsd(a, b, imm) -> Other, predicate::<Cmpsd>(a, b, imm), p::low64(a, p::compare_doubles(a, b, imm));
    Comiss(a, b, _) -> Other, host_flags!("comiss", a, b), p::flags(f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32)));
    Comisd(a, b, _) -> Other, host_flags!("comisd", a, b), p::flags(f64::from_bits(a as u64).partial_cmp(&f64::from_bits(b as u64)));
    Ucomiss(a, b, _) -> Other, host_flags!("ucomiss", a, b), p::flags(f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32)));
    Ucomisd(a, b, _) -> Other, host_flags!("ucomisd", a, b), p::flags(f64::from_bits(a as u64).partial_cmp(&f64::from_bits(b as u64)));
}

/// Predicates of CMPPS that the others are made of.
#[cfg(target_arch = "x86_64")]
mod basic {
    pub const EQUAL: u8 = 0;
    pub const LESS: u8 = 1;
    pub const UNORDERED: u8 = 3;
}

/// VCMPPS by CMPPS (`O`; CMPSS works on the low element only): the first eight predicates are the same.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn predicate<O: FpOperation>(a: u128, b: u128, imm: u8) -> u128 {
    if imm & 0x1F < 8 { O::apply(a, b, imm) } else { extended_predicate::<O>(a, b, imm) }
}

/// Any other predicate, made of the three orders.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn extended_predicate<O: FpOperation>(a: u128, b: u128, imm: u8) -> u128 {
    let unordered = O::apply(a, b, basic::UNORDERED);
    if p::signals(imm) {
        // For the flags alone: it signals quiet NaNs, as none of the others here does.
        O::apply(a, b, basic::LESS);
    }
    // Zeros in the place of NaNs raise nothing.
    let (x, y) = (a & !unordered, b & !unordered);
    let equal = O::apply(x, y, basic::EQUAL) & !unordered;
    let less = O::apply(x, y, basic::LESS) & !unordered;
    let greater = !(unordered | equal | less);
    let orders = [(p::LESS, less), (p::EQUAL, equal), (p::GREATER, greater), (p::UNORDERED, unordered)];
    let chosen = orders.iter().filter(|order| p::PREDICATES[usize::from(imm & 15)] & order.0 != 0);
    let result = chosen.fold(0, |result, order| result | order.1);
    let worked_on = O::apply(0, 0, basic::EQUAL);
    a & !worked_on | result & worked_on
}
