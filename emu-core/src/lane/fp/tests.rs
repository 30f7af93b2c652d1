//! The portable texts against the host where both must agree (round to nearest), and unmasked exceptions.

use super::{
    mxcsr::{self, DEFAULT, Outcome, guarded},
    *,
};
use crate::lane::FpOperation;
use proptest::prelude::*;
use rstest::rstest;

fn single() -> impl Strategy<Value = u32> {
    let edges = prop::sample::select(vec![
        0u32,
        1,
        0x7F_FFFF,
        0x80_0000,
        0x3F80_0000,
        0x3F00_0000,
        0x3FC0_0000,
        0x4F00_0000,
        0x7F7F_FFFF,
        0x7F80_0000,
        0x7F80_0001,
        0x7FC0_0000,
        0x4B00_0001,
    ]);
    (prop_oneof![any::<u32>(), edges], any::<bool>()).prop_map(|(x, negative)| x ^ u32::from(negative) << 31)
}

fn double() -> impl Strategy<Value = u64> {
    let edges = prop::sample::select(vec![
        0u64,
        1,
        0x10 << 48,
        0x3FF0 << 48,
        0x3FE0 << 48,
        0x41DF_FFFF_FFE0_0000,
        0x41E0 << 48,
        0x43E0 << 48,
        0x7FEF_FFFF_FFFF_FFFF,
        0x7FF0 << 48,
        0x7FF0_0000_0000_0001,
        0x7FF8 << 48,
        0x47EF_FFFF_F000_0000,
    ]);
    (prop_oneof![any::<u64>(), edges], any::<bool>()).prop_map(|(x, negative)| x ^ u64::from(negative) << 63)
}

pub fn lane() -> impl Strategy<Value = u128> {
    let singles = prop::array::uniform4(single())
        .prop_map(|x| x.into_iter().fold(0, |lane, x| lane << 32 | u128::from(x)));
    let doubles = (double(), double()).prop_map(|(x, y)| u128::from(x) << 64 | u128::from(y));
    prop_oneof![singles, doubles]
}

/// Every operation, by host and portably, apart from the approximations.
macro_rules! both {
    ($($name:ident)*) => {
        [$((stringify!($name), $name::apply as fn(u128, u128, u8) -> u128, $name::portable as fn(u128, u128, u8) -> u128)),*]
    };
}

proptest! {
    #[test]
    fn portable_results_are_the_hosts(a in lane(), b in lane(), imm: u8) {
        crate::lane::detect();
        let all = both![
            Addps Addpd Addss Addsd Subps Subpd Subss Subsd Mulps Mulpd Mulss Mulsd Divps Divpd Divss Divsd
            Minps Minpd Minss Minsd Maxps Maxpd Maxss Maxsd Sqrtps Sqrtpd Sqrtss Sqrtsd
            Cmpps Cmppd Cmpss Cmpsd Vcmpps Vcmppd Vcmpss Vcmpsd Comiss Comisd Ucomiss Ucomisd Roundps Roundpd Roundss Roundsd
            Haddps Haddpd Hsubps Hsubpd Addsubps Addsubpd DppsProducts DppsPairs DppsSum DppdProducts DppdSum
            Cvtss2sd Cvtsd2ss Cvtps2pd Cvtpd2ps Cvtdq2ps Cvtdq2pd Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq
            Cvtsi2ss32 Cvtsi2ss64 Cvtsi2sd32 Cvtsi2sd64 Cvtss2si32 Cvtss2si64 Cvttss2si32 Cvttss2si64
            Cvtsd2si32 Cvtsd2si64 Cvttsd2si32 Cvttsd2si64
        ];
        for (name, host, portable) in all {
            prop_assert_eq!(host(a, b, imm), portable(a, b, imm), "{} {:x} {:x} {:x}", name, a, b, imm);
        }
    }
}

/// What `apply` gives, and the host's MXCSR after it, if it is `control` before.
pub fn under_control(control: u32, apply: &dyn Fn() -> u128) -> (u128, u32) {
    mxcsr::set_host(control);
    let result = (apply(), mxcsr::host());
    mxcsr::set_host(DEFAULT);
    result
}

proptest! {
    #[test]
    fn rounding_in_software_leaves_the_hosts_flags(b in lane(), imm: u8, mode in 0u32..4, daz: bool) {
        crate::lane::detect();
        let control = DEFAULT | mode << 13 | u32::from(daz) << 6;
        let under_control = |apply: &dyn Fn() -> u128| under_control(control, apply);
        let host = under_control(&|| Roundpd::apply(b, b, imm));
        prop_assert_eq!(under_control(&|| round::in_software(b, b, imm, round::doubles)), host);
        let host = under_control(&|| Roundps::apply(b, b, imm));
        prop_assert_eq!(under_control(&|| round::in_software(b, b, imm, round::singles)), host);
    }
}

const IE: u32 = 1 << 0;
const DE: u32 = 1 << 1;
const ZE: u32 = 1 << 2;
const OE: u32 = 1 << 3;
const UE: u32 = 1 << 4;
const PE: u32 = 1 << 5;

const ONE: u64 = 0x3FF0 << 48;
const LEAST: u64 = 0x10 << 48;
const MOST: u64 = 0x7FEF_FFFF_FFFF_FFFF;
const SIGNALLING: u64 = 0x7FF0_0000_0000_0001;

type Operation = fn(u128, u128, u8) -> u128;

#[rstest]
#[case::invalid(Addsd::apply, ONE, SIGNALLING, IE, IE)]
#[case::denormal(Addsd::apply, ONE, 1, DE, DE)]
#[case::division_by_zero(Divsd::apply, ONE, 0, ZE, ZE)]
#[case::overflow(Addsd::apply, MOST, MOST, OE, OE | PE)]
#[case::underflow_though_exact(Divsd::apply, LEAST, 0x4000 << 48, UE, UE)]
#[case::inexact(Divsd::apply, ONE, 0x4008 << 48, PE, PE)]
fn an_unmasked_exception_withholds_the_result(
    #[case] operation: Operation,
    #[case] a: u64,
    #[case] b: u64,
    #[case] unmasked: u32,
    #[case] flags: u32,
) {
    let outcome = guarded(DEFAULT & !(unmasked << 7), Addsd::RESULT, &|| [operation(a.into(), b.into(), 0)]);
    assert_eq!(outcome, Outcome { result: None, flags });
}

#[test]
fn the_same_underflow_masked_is_silent() {
    let outcome =
        guarded(DEFAULT & !(IE << 7), Divsd::RESULT, &|| [Divsd::apply(LEAST.into(), 0x4000 << 48, 0)]);
    assert_eq!(outcome, Outcome { result: Some([u128::from(LEAST >> 1)]), flags: 0 });
}

#[test]
fn an_exception_before_the_operation_hides_those_after_it() {
    // Arrange: the first element divides by zero, the second is inexact.
    let (a, b) = (u128::from(ONE) << 64 | u128::from(ONE), 0x4008 << 112);
    let outcome = guarded(DEFAULT & !(ZE << 7), Divpd::RESULT, &|| [Divpd::apply(a, b, 0)]);
    assert_eq!(outcome, Outcome { result: None, flags: ZE });
}

#[rstest]
#[case::nearest(0, 0x3FD5_5555_5555_5555)]
#[case::down(1, 0x3FD5_5555_5555_5555)]
#[case::up(2, 0x3FD5_5555_5555_5556)]
#[case::to_zero(3, 0x3FD5_5555_5555_5555)]
fn the_guests_rounding_mode_counts(#[case] mode: u32, #[case] third: u64) {
    let outcome =
        guarded(DEFAULT | mode << 13, Divsd::RESULT, &|| [Divsd::apply(ONE.into(), 0x4008 << 48, 0)]);
    assert_eq!(outcome, Outcome { result: Some([third.into()]), flags: PE });
}

#[test]
fn the_hosts_own_mxcsr_is_as_before() {
    mxcsr::set_host(DEFAULT | ZE);
    guarded(0x7F80 | 0x8040, Divsd::RESULT, &|| [Divsd::apply(ONE.into(), 0x4008 << 48, 0)]);
    assert_eq!(mxcsr::host(), DEFAULT | ZE);
    assert_eq!(mxcsr::take_flags(), ZE);
    assert_eq!(mxcsr::host(), DEFAULT);
}
