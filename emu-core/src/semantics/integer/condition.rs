//! Conditions on the flags, for Jcc, SETcc and CMOVcc alike. SDM vol. 1, appendix B.

use crate::{
    arch::{Flags, Width},
    semantics::{Emitter, FlagSource},
};

/// Condition code `cc` (0..16 as encoded: O NO B AE E NE BE A S NS P NP L GE LE G).
#[inline(always)]
pub fn condition<E: Emitter>(e: &mut E, cc: u8) -> E::Cond {
    let c = match cc >> 1 {
        pair if let Some(c) = from_source(e, pair) => c,
        0 => overflow(e),
        1 => {
            let aux = e.flags_aux();
            e.bit(aux, 63)
        }
        2 => zero(e),
        3 => {
            let aux = e.flags_aux();
            let carry = e.bit(aux, 63);
            let zero = zero(e);
            e.either(carry, zero)
        }
        4 => sign(e),
        5 => parity(e),
        6 => less(e),
        _ => {
            let (less, zero) = (less(e), zero(e));
            e.either(less, zero)
        }
    };
    if cc & 1 != 0 { e.negate(c) } else { c }
}

/// The even condition of pair `pair` from what set the flags, if that is known and tells it.
#[inline(always)]
fn from_source<E: Emitter>(e: &mut E, pair: u8) -> Option<E::Cond> {
    match (pair, e.flag_source()?) {
        (1, FlagSource::Difference(_, a, b)) => Some(e.below(a, b)),
        (1, FlagSource::Sum { a, r, .. }) => Some(e.below(r, a)),
        (1, FlagSource::Step { carry, .. }) => Some(e.bit(carry, 63)),
        (2, FlagSource::Difference(_, a, b)) => Some(e.equal(a, b)),
        (3, FlagSource::Difference(_, a, b)) => {
            let above = e.below(b, a);
            Some(e.negate(above))
        }
        (4, FlagSource::Difference(w, a, b)) => {
            let r = e.sub(w, a, b);
            let zero = e.constant(0);
            Some(e.less(w, r, zero))
        }
        (6, FlagSource::Difference(w, a, b)) => Some(e.less(w, a, b)),
        (7, FlagSource::Difference(w, a, b)) => {
            let greater = e.less(w, b, a);
            Some(e.negate(greater))
        }
        (
            2,
            FlagSource::Result(_, r)
            | FlagSource::Sum { r, .. }
            | FlagSource::Step { r, .. }
            | FlagSource::Shift { r, .. },
        ) => Some(e.is_zero(r)),
        (
            4,
            FlagSource::Result(w, r)
            | FlagSource::Sum { w, r, .. }
            | FlagSource::Step { w, r, .. }
            | FlagSource::Shift { w, r, .. },
        ) => {
            let zero = e.constant(0);
            Some(e.less(w, r, zero))
        }
        (1, FlagSource::Order(flags)) => Some(e.bit(flags, Flags::CF.bits().trailing_zeros())),
        (2 | 7, FlagSource::Order(flags)) => Some(e.bit(flags, Flags::ZF.bits().trailing_zeros())),
        (3, FlagSource::Order(flags)) => {
            let carry = e.bit(flags, Flags::CF.bits().trailing_zeros());
            let zero = e.bit(flags, Flags::ZF.bits().trailing_zeros());
            Some(e.either(carry, zero))
        }
        (5, FlagSource::Order(flags)) => Some(e.bit(flags, Flags::PF.bits().trailing_zeros())),
        (_, FlagSource::Order(_)) => Some(e.known(false)),
        _ => None,
    }
}

#[inline(always)]
fn zero<E: Emitter>(e: &mut E) -> E::Cond {
    let result = e.flags_result();
    e.is_zero(result)
}

/// `aux` with OF in bit 63.
#[inline(always)]
fn overflow_word<E: Emitter>(e: &mut E) -> E::Value {
    let aux = e.flags_aux();
    let one = e.constant(1);
    let doubled = e.shl(Width::W64, aux, one);
    e.xor(aux, doubled)
}

/// SF in bit 63.
#[inline(always)]
fn sign_word<E: Emitter>(e: &mut E) -> E::Value {
    let (result, aux) = (e.flags_result(), e.flags_aux());
    let top = e.constant(63);
    let delta = e.shl(Width::W64, aux, top);
    e.xor(result, delta)
}

#[inline(always)]
fn overflow<E: Emitter>(e: &mut E) -> E::Cond {
    let word = overflow_word(e);
    e.bit(word, 63)
}

#[inline(always)]
fn sign<E: Emitter>(e: &mut E) -> E::Cond {
    let word = sign_word(e);
    e.bit(word, 63)
}

/// SF != OF.
#[inline(always)]
fn less<E: Emitter>(e: &mut E) -> E::Cond {
    let (sign, overflow) = (sign_word(e), overflow_word(e));
    let word = e.xor(sign, overflow);
    e.bit(word, 63)
}

#[inline(always)]
fn parity<E: Emitter>(e: &mut E) -> E::Cond {
    let (result, aux) = (e.flags_result(), e.flags_aux());
    let eight = e.constant(8);
    let delta = e.shr(Width::W64, aux, eight);
    let byte = e.xor(result, delta);
    let byte = e.truncate(Width::W8, byte);
    let ones = e.count_ones(byte);
    let odd = e.bit(ones, 0);
    e.negate(odd)
}

/// One of the flags CF, OF, ZF, SF, PF as 0 or 1.
pub fn flag_value<E: Emitter>(e: &mut E, flag: Flags) -> E::Value {
    let cc = match flag {
        Flags::OF => 0,
        Flags::CF => 2,
        Flags::ZF => 4,
        Flags::SF => 8,
        _ => 10,
    };
    let c = condition(e, cc);
    e.value_of(c)
}

/// Replaces CF and OF (each 0 or 1) and leaves the other flags.
#[inline(always)]
pub fn replace_carry_overflow<E: Emitter>(e: &mut E, cf: E::Value, of: E::Value) {
    let (result, aux) = (e.flags_result(), e.flags_aux());
    let keep = e.constant(!crate::cpu::AUX_CARRIES);
    let kept = e.and(aux, keep);
    let partial = e.xor(cf, of);
    let (top, below) = (e.constant(63), e.constant(62));
    let cf = e.shl(Width::W64, cf, top);
    let partial = e.shl(Width::W64, partial, below);
    let carries = e.or(cf, partial);
    let aux = e.or(kept, carries);
    e.set_flags(result, aux);
}
