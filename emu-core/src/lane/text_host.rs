//! Comparisons of text by the host's own instruction. Its control byte is part of the instruction, so there is a function
//! for each.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::host;
    use std::arch::x86_64::{__m128i, _mm_cmpestrm, _mm_cvtsi128_si64};

    /// IntRes2 of the comparison with the control byte `IMM`.
    #[target_feature(enable = "sse4.2")]
    fn compare<const IMM: i32>(a: __m128i, a_len: i32, b: __m128i, b_len: i32) -> u16 {
        _mm_cvtsi128_si64(_mm_cmpestrm::<IMM>(a, a_len, b, b_len)) as u16
    }

    /// A comparison with its control byte.
    type Compare = unsafe fn(__m128i, i32, __m128i, i32) -> u16;

    /// By the bits of the control byte that IntRes2 depends on.
    static BY_CONTROL: [Compare; 64] = [
        compare::<0>,
        compare::<1>,
        compare::<2>,
        compare::<3>,
        compare::<4>,
        compare::<5>,
        compare::<6>,
        compare::<7>,
        compare::<8>,
        compare::<9>,
        compare::<10>,
        compare::<11>,
        compare::<12>,
        compare::<13>,
        compare::<14>,
        compare::<15>,
        compare::<16>,
        compare::<17>,
        compare::<18>,
        compare::<19>,
        compare::<20>,
        compare::<21>,
        compare::<22>,
        compare::<23>,
        compare::<24>,
        compare::<25>,
        compare::<26>,
        compare::<27>,
        compare::<28>,
        compare::<29>,
        compare::<30>,
        compare::<31>,
        compare::<32>,
        compare::<33>,
        compare::<34>,
        compare::<35>,
        compare::<36>,
        compare::<37>,
        compare::<38>,
        compare::<39>,
        compare::<40>,
        compare::<41>,
        compare::<42>,
        compare::<43>,
        compare::<44>,
        compare::<45>,
        compare::<46>,
        compare::<47>,
        compare::<48>,
        compare::<49>,
        compare::<50>,
        compare::<51>,
        compare::<52>,
        compare::<53>,
        compare::<54>,
        compare::<55>,
        compare::<56>,
        compare::<57>,
        compare::<58>,
        compare::<59>,
        compare::<60>,
        compare::<61>,
        compare::<62>,
        compare::<63>,
    ];

    /// IntRes2 of the comparison `imm` of `a` and `b`, of `lengths` elements. `None`: the host cannot do it.
    #[inline(always)]
    pub fn intermediate(a: u128, b: u128, [a_len, b_len]: [usize; 2], imm: u8) -> Option<u16> {
        if !host::has_sse4_2() {
            return None;
        }
        let [a, b] = [a, b].map(super::super::value::lane);
        // SAFETY: the host has the instruction.
        Some(unsafe { BY_CONTROL[usize::from(imm & 63)](a, a_len as i32, b, b_len as i32) })
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::intermediate;

/// There is no such instruction.
#[cfg(not(target_arch = "x86_64"))]
pub fn intermediate(_: u128, _: u128, _: [usize; 2], _: u8) -> Option<u16> {
    None
}
