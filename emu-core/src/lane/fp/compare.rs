//! CMPPS and its kin (eight predicates in the immediate), COMISS, UCOMISS and their double forms, whose result
//! is the flags ZF, PF and CF in RFLAGS' places.

#[cfg(target_arch = "x86_64")]
use super::host_binary;
use super::{fp_operations, portable as p};

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
    Cmpps(a, b, imm) -> Other, by_predicate!("ps", a, b, imm), p::compare_singles(a, b, imm);
    Cmppd(a, b, imm) -> Other, by_predicate!("pd", a, b, imm), p::compare_doubles(a, b, imm);
    Cmpss(a, b, imm) -> Other, by_predicate!("ss", a, b, imm), p::low32(a, p::compare_singles(a, b, imm));
    Cmpsd(a, b, imm) -> Other, by_predicate!("sd", a, b, imm), p::low64(a, p::compare_doubles(a, b, imm));
    Comiss(a, b, _) -> Other, host_flags!("comiss", a, b), p::flags(f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32)));
    Comisd(a, b, _) -> Other, host_flags!("comisd", a, b), p::flags(f64::from_bits(a as u64).partial_cmp(&f64::from_bits(b as u64)));
    Ucomiss(a, b, _) -> Other, host_flags!("ucomiss", a, b), p::flags(f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32)));
    Ucomisd(a, b, _) -> Other, host_flags!("ucomisd", a, b), p::flags(f64::from_bits(a as u64).partial_cmp(&f64::from_bits(b as u64)));
}
