//! The integer arithmetic of [`super::soft`] agrees with the host's x87 in every bit of result and status: over
//! edge cases and random patterns, all precisions, directions and masks. What the condition codes are after an
//! invalid operation, or with a NaN, is left open by the manual and is not compared.

use super::{
    host,
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
#[case::add(|a, b, cw| host::add(a, b, cw, 0), soft::add)]
#[case::sub(|a, b, cw| host::sub(a, b, cw, 0), soft::sub)]
#[case::mul(|a, b, cw| host::mul(a, b, cw, 0), soft::mul)]
#[case::div(|a, b, cw| host::div(a, b, cw, 0), soft::div)]
#[case::scale(|a, b, cw| host::scale(a, b, cw, 0), soft::scale)]
#[case::sqrt(|a, _, cw| host::sqrt(a, cw, 0), |a, _, cw| soft::sqrt(a, cw))]
#[case::rndint(|a, _, cw| host::round_to_integer(a, cw, 0), |a, _, cw| soft::round_to_integer(a, cw))]
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
#[case::prem(|a, b, cw| host::prem(a, b, cw, 0), |a, b, cw| soft::remainder(a, b, false, cw))]
#[case::prem1(|a, b, cw| host::prem1(a, b, cw, 0), |a, b, cw| soft::remainder(a, b, true, cw))]
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

    let control: u16;
    // SAFETY: stores the control word to the stack slot and pops it.
    unsafe { std::arch::asm!("sub rsp, 16", "fnstcw [rsp]", "mov {c:x}, [rsp]", "add rsp, 16", c = out(reg) control) };
    assert_eq!(control, 0x37F);
}
