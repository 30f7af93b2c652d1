//! Conversions. Integers from and to general-purpose registers are in the low bits of a lane.

use super::{fp_operations, portable as p};
#[cfg(target_arch = "x86_64")]
use super::{host_binary, host_unary};

/// Number to integer register: `$register` is the template modifier for the size.
#[cfg(target_arch = "x86_64")]
macro_rules! to_integer {
    ($instruction:literal, $modifier:literal, $t:ty, $b:expr) => {{
        let r: $t;
        // SAFETY: an SSE2 instruction on registers.
        unsafe {
            std::arch::asm!(concat!($instruction, " {r:", $modifier, "}, {b}"), r = lateout(reg) r,
                b = in(xmm_reg) crate::lane::lane($b), options(nomem, nostack));
        }
        u128::from(r)
    }};
}

/// Integer register to number in the low element.
#[cfg(target_arch = "x86_64")]
macro_rules! from_integer {
    ($instruction:literal, $modifier:literal, $t:ty, $a:expr, $b:expr) => {{
        let mut a = crate::lane::lane($a);
        // SAFETY: an SSE2 instruction on registers.
        unsafe {
            std::arch::asm!(concat!($instruction, " {a}, {b:", $modifier, "}"), a = inout(xmm_reg) a,
                b = in(reg) $b as $t, options(nomem, nostack));
        }
        crate::lane::bits(a)
    }};
}

fp_operations! {
    Cvtss2sd(a, b, _) -> Other, host_binary!("cvtss2sd", a, b), p::low64(a, p::widen(b as u32).into());
    Cvtsd2ss(a, b, _) -> Single, host_binary!("cvtsd2ss", a, b), p::low32(a, p::narrow(b as u64).into());
    Cvtps2pd(_, b, _) -> Other, host_unary!("cvtps2pd", b), p::pair(p::widen(b as u32), p::widen((b >> 32) as u32));
    Cvtpd2ps(_, b, _) -> Singles, host_unary!("cvtpd2ps", b), p::quad([p::narrow(b as u64), p::narrow((b >> 64) as u64), 0, 0]);
    Cvtdq2ps(_, b, _) -> Other, host_unary!("cvtdq2ps", b), p::map32(b, |x| (x as i32 as f32).to_bits());
    Cvtdq2pd(_, b, _) -> Other, host_unary!("cvtdq2pd", b), p::pair(f64::from(b as i32).to_bits(), f64::from((b >> 32) as i32).to_bits());
    Cvtps2dq(_, b, _) -> Other, host_unary!("cvtps2dq", b), p::map32(b, |x| p::to_i32(f32::from_bits(x).round_ties_even().into()));
    Cvttps2dq(_, b, _) -> Other, host_unary!("cvttps2dq", b), p::map32(b, |x| p::to_i32(f32::from_bits(x).into()));
    Cvtpd2dq(_, b, _) -> Other, host_unary!("cvtpd2dq", b), p::doubles_to_i32(b, f64::round_ties_even);
    Cvttpd2dq(_, b, _) -> Other, host_unary!("cvttpd2dq", b), p::doubles_to_i32(b, f64::trunc);
    Cvtsi2ss32(a, b, _) -> Other, from_integer!("cvtsi2ss", "e", u32, a, b), p::low32(a, (b as i32 as f32).to_bits().into());
    Cvtsi2ss64(a, b, _) -> Other, from_integer!("cvtsi2ss", "r", u64, a, b), p::low32(a, (b as i64 as f32).to_bits().into());
    Cvtsi2sd32(a, b, _) -> Other, from_integer!("cvtsi2sd", "e", u32, a, b), p::low64(a, f64::from(b as i32).to_bits().into());
    Cvtsi2sd64(a, b, _) -> Other, from_integer!("cvtsi2sd", "r", u64, a, b), p::low64(a, (b as i64 as f64).to_bits().into());
    Cvtss2si32(_, b, _) -> Other, to_integer!("cvtss2si", "e", u32, b), p::to_i32(f32::from_bits(b as u32).round_ties_even().into()).into();
    Cvtss2si64(_, b, _) -> Other, to_integer!("cvtss2si", "r", u64, b), p::to_i64(f32::from_bits(b as u32).round_ties_even().into()).into();
    Cvttss2si32(_, b, _) -> Other, to_integer!("cvttss2si", "e", u32, b), p::to_i32(f32::from_bits(b as u32).into()).into();
    Cvttss2si64(_, b, _) -> Other, to_integer!("cvttss2si", "r", u64, b), p::to_i64(f32::from_bits(b as u32).into()).into();
    Cvtsd2si32(_, b, _) -> Other, to_integer!("cvtsd2si", "e", u32, b), p::to_i32(f64::from_bits(b as u64).round_ties_even()).into();
    Cvtsd2si64(_, b, _) -> Other, to_integer!("cvtsd2si", "r", u64, b), p::to_i64(f64::from_bits(b as u64).round_ties_even()).into();
    Cvttsd2si32(_, b, _) -> Other, to_integer!("cvttsd2si", "e", u32, b), p::to_i32(f64::from_bits(b as u64)).into();
    Cvttsd2si64(_, b, _) -> Other, to_integer!("cvttsd2si", "r", u64, b), p::to_i64(f64::from_bits(b as u64)).into();
}
