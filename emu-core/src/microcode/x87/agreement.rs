//! The integer arithmetic of [`super::soft`] agrees with the host's x87 in every bit of result and status: over
//! edge cases and random patterns, all precisions, directions and masks. What the condition codes are after an
//! invalid operation, or with a NaN, is left open by the manual and is not compared.

use super::{
    host, portable,
    soft::{self, ControlWord, Outcome, extended, status},
};
use crate::state::Extended;

/// A splitmix64 sequence: the same operands in every run.
pub struct Operands(u64);

impl Operands {
    pub fn new(seed: u64) -> Self {
        Operands(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn pick<const N: usize>(&mut self, from: [u64; N]) -> u64 {
        from[self.bits() as usize % N]
    }

    fn significand(&mut self) -> u64 {
        let any = self.bits();
        match self.bits() % 8 {
            0 => self.pick([0, 1, 1 << 63, u64::MAX, 3 << 62, 1 << 62, (1 << 63) | 1, (3 << 62) | 1]),
            1 => any,
            2 => any << (self.bits() % 64) | 1 << 63,
            3 => any >> (self.bits() % 64),
            // Halfway and near-halfway patterns of the three precisions.
            4 => (any & !0x7FF) | 1 << 63 | self.pick([0x400, 0x3FF, 0x401, 0x7FF, 0]),
            5 => (any & !0xFF_FFFF_FFFF) | 1 << 63 | self.pick([1 << 39, (1 << 39) - 1, (1 << 39) + 1]),
            _ => any | 1 << 63,
        }
    }

    fn exponent(&mut self) -> u64 {
        match self.bits() % 8 {
            0 => self.pick([0, 0, 1, 2, 0x7FFE, 0x7FFF, 0x7FFD, 0x3FFF]),
            1 => self.bits() & 0x7FFF,
            2 => self.bits() % 80,
            3 => 0x7FFE - self.bits() % 80,
            4 => 0x3FFF - self.bits() % 64 + self.bits() % 64,
            5 => self.pick([0x1FFF, 0x2000, 0x5FFE, 0x5FFF, 0x2001, 0x3FFF - 0x1FFF]),
            _ => 0x3FFF + self.bits() % 8 - 4,
        }
    }

    pub fn value(&mut self) -> Extended {
        extended(self.bits() & 1 != 0, self.exponent() as u16, self.significand())
    }

    /// Any precision (the reserved one apart) and direction; masks all set, or any.
    pub fn control(&mut self) -> ControlWord {
        let masks = if self.bits() & 1 != 0 { 0x3F } else { self.bits() as u16 & 0x3F };
        let precision = self.pick([0, 2, 3, 3]) as u16;
        ControlWord(masks | precision << 8 | (self.bits() as u16 & 3) << 10 | 0x40)
    }
}

/// What of an outcome is architectural: no value if it is not stored, condition codes only with a result.
fn visible(outcome: Outcome, cw: ControlWord, conditions: u16) -> (Option<Extended>, u16) {
    let flags = outcome.status & (status::EXCEPTIONS | conditions);
    if cw.unmasked(flags) & status::BEFORE != 0 {
        return (None, flags & status::EXCEPTIONS);
    }
    let special = flags & (status::IE | status::ZE) != 0 || soft::classify(outcome.value).is_nan_like();
    let defined = if special { !status::CONDITIONS } else { u16::MAX };
    (Some(outcome.value), flags & defined)
}

const ROUNDS: usize = 300_000;

type Two = fn(Extended, Extended, ControlWord) -> Outcome;

#[rstest::rstest]
#[case::add(|a, b, cw| host::add(a, b, cw, 0), |a, b, cw| portable::add(a, b, cw, 0))]
#[case::sub(|a, b, cw| host::sub(a, b, cw, 0), |a, b, cw| portable::sub(a, b, cw, 0))]
#[case::mul(|a, b, cw| host::mul(a, b, cw, 0), |a, b, cw| portable::mul(a, b, cw, 0))]
#[case::div(|a, b, cw| host::div(a, b, cw, 0), |a, b, cw| portable::div(a, b, cw, 0))]
#[case::scale(|a, b, cw| host::scale(a, b, cw, 0), |a, b, cw| portable::scale(a, b, cw, 0))]
#[case::sqrt(|a, _, cw| host::sqrt(a, cw, 0), |a, _, cw| portable::sqrt(a, cw, 0))]
#[case::rndint(|a, _, cw| host::round_to_integer(a, cw, 0), |a, _, cw| portable::round_to_integer(a, cw, 0))]
fn rounded_operations_agree(#[case] on_host: Two, #[case] in_integers: Two) {
    let mut operands = Operands::new(1);
    for _ in 0..ROUNDS {
        let (a, b, cw) = (operands.value(), operands.value(), operands.control());

        let expected = visible(on_host(a, b, cw), cw, status::C1);
        let found = visible(in_integers(a, b, cw), cw, status::C1);

        assert_eq!(found, expected, "{a:x?} {b:x?} {cw:x?}");
    }
}

#[rstest::rstest]
#[case::prem(|a, b, cw| host::prem(a, b, cw, 0), |a, b, cw| portable::prem(a, b, cw, 0))]
#[case::prem1(|a, b, cw| host::prem1(a, b, cw, 0), |a, b, cw| portable::prem1(a, b, cw, 0))]
fn remainders_agree(#[case] on_host: Two, #[case] in_integers: Two) {
    let mut operands = Operands::new(2);
    for _ in 0..ROUNDS {
        let (a, mut b, cw) = (operands.value(), operands.value(), operands.control());
        // Reductions that are complete in one step: how far an incomplete one goes is the processor's choice.
        let distance = soft::biased(a) - soft::biased(b);
        if distance > 62 {
            b = extended(false, (soft::biased(a) - distance % 60).max(0) as u16, b.significand);
        }
        let expected = on_host(a, b, cw);
        if expected.status & status::C2 != 0 {
            continue;
        }
        let expected = visible(expected, cw, status::CONDITIONS);

        let found = visible(in_integers(a, b, cw), cw, status::CONDITIONS);

        assert_eq!(found, expected, "{a:x?} {b:x?} {cw:x?}");
    }
}

#[test]
fn the_hosts_state_is_left_as_compiled_code_expects_it() {
    let (one, tiny) = (soft::ONE, extended(false, 1, 1 << 63));

    host::mul(tiny, tiny, ControlWord(0xF40), 0);
    host::add(one, tiny, ControlWord(0x27F), 0);

    let mut control = 0u16;
    // SAFETY: stores two bytes to `control`.
    unsafe {
        std::arch::asm!("fnstcw [{at}]", at = in(reg) &raw mut control, options(nostack, preserves_flags));
    }
    assert_eq!(control, 0x37F);
}

/// Distance in units of the last place; none if the values are not of one kind.
fn distance(a: Extended, b: Extended) -> u64 {
    let key = |x: Extended| {
        let magnitude =
            i128::from(x.sign_exponent & 0x7FFF) << 63 | i128::from(x.significand & !soft::INTEGER);
        if soft::is_negative(x) { -magnitude } else { magnitude }
    };
    if soft::classify(a).is_nan_like() || soft::classify(b).is_nan_like() {
        return if a == b { 0 } else { u64::MAX };
    }
    u64::try_from((key(a) - key(b)).unsigned_abs()).unwrap_or(u64::MAX)
}

/// Operands within the domain that the manual gives for FYL2XP1: |x| below 1 - sqrt(1/2).
fn small(x: Extended) -> Extended {
    let limit = 0x3FFD;
    if soft::biased(x) < limit || soft::biased(x) == 0x7FFF {
        return x;
    }
    extended(soft::is_negative(x), (limit - 1 - soft::biased(x) % 64) as u16, x.significand)
}

/// Operands between minus one and one.
fn fraction(x: Extended) -> Extended {
    if soft::biased(x) < 0x3FFF || soft::biased(x) == 0x7FFF {
        return x;
    }
    extended(soft::is_negative(x), (0x3FFE - soft::biased(x) % 70) as u16, x.significand)
}

#[rstest::rstest]
#[case::f2xm1(|a, _, cw| host::f2xm1(fraction(a), cw, 0), |a, _, cw| portable::f2xm1(fraction(a), cw, 0))]
#[case::sin(|a, _, cw| host::sin(a, cw, 0), |a, _, cw| portable::sin(a, cw, 0))]
#[case::cos(|a, _, cw| host::cos(a, cw, 0), |a, _, cw| portable::cos(a, cw, 0))]
#[case::yl2x(|a, b, cw| host::yl2x(a, b, cw, 0), |a, b, cw| portable::yl2x(a, b, cw, 0))]
#[case::yl2xp1(|a, b, cw| host::yl2xp1(small(a), b, cw, 0), |a, b, cw| portable::yl2xp1(small(a), b, cw, 0))]
#[case::patan(|a, b, cw| host::patan(a, b, cw, 0), |a, b, cw| portable::patan(a, b, cw, 0))]
#[case::ptan(|a, _, cw| of_pair(host::ptan(a, cw)), |a, _, cw| of_pair(portable::ptan(a, cw)))]
#[case::sincos(|a, _, cw| of_pair(host::sincos(a, cw)), |a, _, cw| of_pair(portable::sincos(a, cw)))]
fn portable_functions_are_within_a_unit_of_the_host(#[case] on_host: Two, #[case] portable: Two) {
    let mut operands = Operands::new(4);
    let (mut nearest, mut equal) = (0, 0);
    for _ in 0..20_000 {
        let (a, b) = (operands.value(), operands.value());
        let cw = ControlWord(operands.control().0 | 0x3F);

        let (expected, found) = (on_host(a, b, cw), portable(a, b, cw));

        let compared = status::IE | status::DE | status::ZE | status::OE | status::C2;
        let flags = |outcome: Outcome| outcome.status & compared;
        let nan = soft::classify(expected.value).is_nan_like();
        let meaningless = if nan { status::C2 } else { 0 };
        let (flags_found, flags_expected) = (flags(found) & !meaningless, flags(expected) & !meaningless);
        assert_eq!(flags_found, flags_expected, "{a:x?} {b:x?} {cw:x?} {expected:x?} {found:x?}");
        assert!(distance(found.value, expected.value) <= 1, "{a:x?} {b:x?} {cw:x?} {expected:x?} {found:x?}");
        // In the directed modes some processors return a tiny angle as its own sine.
        if cw.rounding() == soft::Rounding::Nearest {
            nearest += 1;
            equal += u32::from(found.value == expected.value);
        }
    }
    assert!(equal > nearest * 9 / 10, "only {equal} of {nearest} equal");
}

/// The lower of two results.
fn of_pair((value, _, status): (Extended, Option<Extended>, u16)) -> Outcome {
    Outcome { value, status }
}

type InPlace = fn(&mut Extended, &Extended, ControlWord, u16) -> u16;

#[rstest::rstest]
#[case::add(host::add_in_place, portable::add_in_place)]
#[case::sub(host::sub_in_place, portable::sub_in_place)]
#[case::subr(host::subr_in_place, portable::subr_in_place)]
#[case::mul(host::mul_in_place, portable::mul_in_place)]
#[case::div(host::div_in_place, portable::div_in_place)]
#[case::divr(host::divr_in_place, portable::divr_in_place)]
fn operations_in_place_agree(#[case] on_host: InPlace, #[case] in_integers: InPlace) {
    let mut operands = Operands::new(5);
    for _ in 0..ROUNDS / 10 {
        let (a, b) = (operands.value(), operands.value());
        let cw = ControlWord(operands.control().0 | 0x3F);

        let (mut on_host_value, mut in_integers_value) = (a, a);
        let expected = on_host(&mut on_host_value, &b, cw, 0);
        let found = in_integers(&mut in_integers_value, &b, cw, 0);

        let expected = visible(Outcome { value: on_host_value, status: expected }, cw, status::C1);
        let found = visible(Outcome { value: in_integers_value, status: found }, cw, status::C1);
        assert_eq!(found, expected, "{a:x?} {b:x?} {cw:x?}");
    }
}

#[test]
fn flags_the_guest_has_set_already_do_not_hide_new_ones() {
    let mut operands = Operands::new(6);
    for _ in 0..ROUNDS / 10 {
        let (a, b) = (operands.value(), operands.value());
        let cw = ControlWord(operands.control().0 | 0x3F);
        let held = operands.bits() as u16 & status::EXCEPTIONS;

        let clear = host::add(a, b, cw, 0);
        let merged = host::add(a, b, cw, held);

        assert_eq!(
            (merged.value, (merged.status | held) & status::EXCEPTIONS),
            (clear.value, (clear.status | held) & status::EXCEPTIONS)
        );
    }
}
