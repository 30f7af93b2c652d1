//! Operations in software against the host's: results and flags under every rounding mode, with denormals and
//! tiny results as they are and as zeros. On a host without the instructions there is nothing to compare.

use super::{
    mxcsr::DEFAULT,
    tests::{lane, under_control},
    *,
};
use crate::lane::{FpOperation, FpOperation3};
use proptest::prelude::*;
use rstest::rstest;

/// Every fused operation, by host and in software.
macro_rules! fused {
    ($($name:ident)*) => {
        [$((
            stringify!($name),
            $name::apply as fn(u128, u128, u128) -> u128,
            $name::software as fn([u128; 3], soft::Control) -> (u128, u32),
        )),*]
    };
}

proptest! {
    #[test]
    fn fused_in_software_is_the_hosts(a in lane(), b in lane(), c in lane(), mode in 0u32..4, daz: bool, ftz: bool) {
        if !std::arch::is_x86_feature_detected!("fma") {
            return Ok(());
        }
        crate::lane::detect();
        let control = DEFAULT | mode << 13 | u32::from(daz) << 6 | u32::from(ftz) << 15;
        let all = fused![
            Fmaddps Fmaddpd Fmaddss Fmaddsd Fmsubps Fmsubpd Fmsubss Fmsubsd
            Fnmaddps Fnmaddpd Fnmaddss Fnmaddsd Fnmsubps Fnmsubpd Fnmsubss Fnmsubsd
            Fmaddsubps Fmaddsubpd Fmsubaddps Fmsubaddpd
        ];
        for (name, host, software) in all {
            let host = under_control(control, &|| host(a, b, c));
            let soft = under_control(control, &|| soft::leaving_flags(|control| software([a, b, c], control)));
            prop_assert_eq!(soft, host, "{} {:x} {:x} {:x} under {:x}", name, a, b, c, control);
        }
    }

    #[test]
    fn halves_in_software_are_the_hosts(b in lane(), imm: u8, mode in 0u32..4, daz: bool, ftz: bool) {
        if !std::arch::is_x86_feature_detected!("f16c") {
            return Ok(());
        }
        crate::lane::detect();
        let control = DEFAULT | mode << 13 | u32::from(daz) << 6 | u32::from(ftz) << 15;
        let host = under_control(control, &|| Vcvtph2ps::apply(b, b, 0));
        let soft = under_control(control, &|| soft::leaving_flags(|_| soft::halves_to_singles(b)));
        prop_assert_eq!(soft, host);
        // Numbers near what a half can be.
        let near = b & 0x8FFF_FFFF_8FFF_FFFF_8FFF_FFFF_8FFF_FFFF | 0x3000_0000_4000_0000_3000_0000_3800_0000;
        for b in [b, near] {
            let host = under_control(control, &|| Vcvtps2ph::apply(b, b, imm));
            let soft = under_control(control, &|| {
                soft::leaving_flags(|control| soft::singles_to_halves(b, control.rounding(imm)))
            });
            prop_assert_eq!(soft, host, "{:x} {:x} under {:x}", b, imm, control);
        }
    }
}

/// A product between the two greatest numbers below the least normal one and that one itself: rounded, it is the
/// least normal number, and yet tiny if it is in the lower half.
#[rstest]
#[case::tiny(0x0080_0000, 0x3F7F_FFFF, 0x0000_0001, 0x3E00_0000)]
#[case::normal(0x0080_0000, 0x3F7F_FFFF, 0x0000_0001, 0x3F40_0000)]
fn tininess_is_found_after_rounding_without_bounds(
    #[case] a: u32,
    #[case] b: u32,
    #[case] c: u32,
    #[case] factor: u32,
) {
    if !std::arch::is_x86_feature_detected!("fma") {
        return;
    }
    crate::lane::detect();
    for (a, b, c) in [(a, b, c), (c, factor, a - 1), (a, b, 0)] {
        let operands = [a, b, c].map(u128::from);
        let host = under_control(DEFAULT, &|| Fmaddss::apply(operands[0], operands[1], operands[2]));
        let soft =
            under_control(DEFAULT, &|| soft::leaving_flags(|control| Fmaddss::software(operands, control)));
        assert_eq!(soft, host, "{a:x} {b:x} {c:x}");
    }
}
