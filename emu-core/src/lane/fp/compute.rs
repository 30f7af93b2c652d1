//! Arithmetic: add, subtract, multiply, divide, minimum, maximum, square root, the approximations of
//! reciprocals, horizontal forms and the steps of dot products.
//!
//! RCPPS, RCPSS, RSQRTPS and RSQRTSS are the host's approximations: the manual bounds their error only, and
//! processors differ.

use super::{fp_operations, portable as p};
#[cfg(target_arch = "x86_64")]
use super::{host_binary, host_unary};
use crate::lane::{LaneOperation, Punpckhqdq, Punpcklqdq, Shufps};

fp_operations! {
    Addps(a, b, _) -> Singles, host_binary!("addps", a, b), p::singles(a, b, |x, y| x + y);
    Addpd(a, b, _) -> Doubles, host_binary!("addpd", a, b), p::doubles(a, b, |x, y| x + y);
    Addss(a, b, _) -> Single, host_binary!("addss", a, b), p::single(a, b, |x, y| x + y);
    Addsd(a, b, _) -> Double, host_binary!("addsd", a, b), p::double(a, b, |x, y| x + y);
    Subps(a, b, _) -> Singles, host_binary!("subps", a, b), p::singles(a, b, |x, y| x - y);
    Subpd(a, b, _) -> Doubles, host_binary!("subpd", a, b), p::doubles(a, b, |x, y| x - y);
    Subss(a, b, _) -> Single, host_binary!("subss", a, b), p::single(a, b, |x, y| x - y);
    Subsd(a, b, _) -> Double, host_binary!("subsd", a, b), p::double(a, b, |x, y| x - y);
    Mulps(a, b, _) -> Singles, host_binary!("mulps", a, b), p::singles(a, b, |x, y| x * y);
    Mulpd(a, b, _) -> Doubles, host_binary!("mulpd", a, b), p::doubles(a, b, |x, y| x * y);
    Mulss(a, b, _) -> Single, host_binary!("mulss", a, b), p::single(a, b, |x, y| x * y);
    Mulsd(a, b, _) -> Double, host_binary!("mulsd", a, b), p::double(a, b, |x, y| x * y);
    Divps(a, b, _) -> Singles, host_binary!("divps", a, b), p::singles(a, b, |x, y| x / y);
    Divpd(a, b, _) -> Doubles, host_binary!("divpd", a, b), p::doubles(a, b, |x, y| x / y);
    Divss(a, b, _) -> Single, host_binary!("divss", a, b), p::single(a, b, |x, y| x / y);
    Divsd(a, b, _) -> Double, host_binary!("divsd", a, b), p::double(a, b, |x, y| x / y);

    Minps(a, b, _) -> Other, host_binary!("minps", a, b), p::choose_singles(a, b, |x, y| x < y);
    Minpd(a, b, _) -> Other, host_binary!("minpd", a, b), p::choose_doubles(a, b, |x, y| x < y);
    Minss(a, b, _) -> Other, host_binary!("minss", a, b), p::low32(a, p::choose_singles(a, b, |x, y| x < y));
    Minsd(a, b, _) -> Other, host_binary!("minsd", a, b), p::low64(a, p::choose_doubles(a, b, |x, y| x < y));
    Maxps(a, b, _) -> Other, host_binary!("maxps", a, b), p::choose_singles(a, b, |x, y| x > y);
    Maxpd(a, b, _) -> Other, host_binary!("maxpd", a, b), p::choose_doubles(a, b, |x, y| x > y);
    Maxss(a, b, _) -> Other, host_binary!("maxss", a, b), p::low32(a, p::choose_singles(a, b, |x, y| x > y));
    Maxsd(a, b, _) -> Other, host_binary!("maxsd", a, b), p::low64(a, p::choose_doubles(a, b, |x, y| x > y));

    Sqrtps(_, b, _) -> Other, host_unary!("sqrtps", b), p::singles(b, b, |x, _| x.sqrt());
    Sqrtpd(_, b, _) -> Other, host_unary!("sqrtpd", b), p::doubles(b, b, |x, _| x.sqrt());
    Sqrtss(a, b, _) -> Other, host_binary!("sqrtss", a, b), p::low32(a, p::singles(b, b, |x, _| x.sqrt()));
    Sqrtsd(a, b, _) -> Other, host_binary!("sqrtsd", a, b), p::low64(a, p::doubles(b, b, |x, _| x.sqrt()));
    Rcpps(_, b, _) -> Other, host_unary!("rcpps", b), p::singles(b, b, |x, _| 1.0 / p::flush(x));
    Rcpss(a, b, _) -> Other, host_binary!("rcpss", a, b), p::low32(a, p::singles(b, b, |x, _| 1.0 / p::flush(x)));
    Rsqrtps(_, b, _) -> Other, host_unary!("rsqrtps", b), p::singles(b, b, |x, _| 1.0 / p::flush(x).sqrt());
    Rsqrtss(a, b, _) -> Other, host_binary!("rsqrtss", a, b), p::low32(a, p::singles(b, b, |x, _| 1.0 / p::flush(x).sqrt()));

    Haddps(a, b, _) -> Singles, horizontal_singles(a, b, Addps::apply), horizontal_singles(a, b, Addps::portable);
    Haddpd(a, b, _) -> Doubles, horizontal_doubles(a, b, Addpd::apply), horizontal_doubles(a, b, Addpd::portable);
    Hsubps(a, b, _) -> Singles, horizontal_singles(a, b, Subps::apply), horizontal_singles(a, b, Subps::portable);
    Hsubpd(a, b, _) -> Doubles, horizontal_doubles(a, b, Subpd::apply), horizontal_doubles(a, b, Subpd::portable);
    Addsubps(a, b, _) -> Singles, alternate(a, b, EVEN_SINGLES, Subps::apply, Addps::apply), alternate(a, b, EVEN_SINGLES, Subps::portable, Addps::portable);
    Addsubpd(a, b, _) -> Doubles, alternate(a, b, EVEN_DOUBLES, Subpd::apply, Addpd::apply), alternate(a, b, EVEN_DOUBLES, Subpd::portable, Addpd::portable);
    DppsProducts(a, b, imm) -> Singles, products(a, b, single_mask(imm >> 4), Mulps::apply), products(a, b, single_mask(imm >> 4), Mulps::portable);
    DppsPairs(a, _, _) -> Singles, pairs(a, Addps::apply), pairs(a, Addps::portable);
    DppsSum(a, _, imm) -> Singles, sum_of_pairs(a, imm, Addps::apply), sum_of_pairs(a, imm, Addps::portable);
    DppdProducts(a, b, imm) -> Doubles, products(a, b, double_mask(imm >> 4), Mulpd::apply), products(a, b, double_mask(imm >> 4), Mulpd::portable);
    DppdSum(a, _, imm) -> Doubles, sum_of_doubles(a, imm, Addpd::apply), sum_of_doubles(a, imm, Addpd::portable);
}

type Operation = fn(u128, u128, u8) -> u128;

const EVEN_SINGLES: u128 = 0x0000_0000_FFFF_FFFF_0000_0000_FFFF_FFFF;
const EVEN_DOUBLES: u128 = 0x0000_0000_0000_0000_FFFF_FFFF_FFFF_FFFF;

/// `f` of neighbours: one packed operation on the even and the odd elements.
#[inline(always)]
fn horizontal_singles(a: u128, b: u128, f: impl Fn(u128, u128, u8) -> u128) -> u128 {
    f(Shufps::apply(a, b, 0b10_00_10_00), Shufps::apply(a, b, 0b11_01_11_01), 0)
}

#[inline(always)]
fn horizontal_doubles(a: u128, b: u128, f: impl Fn(u128, u128, u8) -> u128) -> u128 {
    f(Punpcklqdq::apply(a, b, 0), Punpckhqdq::apply(a, b, 0), 0)
}

/// `on_even` on the even elements, `on_odd` on the odd ones; where an operation has no part its operands are
/// zeros, which raise nothing.
#[inline(always)]
fn alternate(a: u128, b: u128, even: u128, on_even: Operation, on_odd: Operation) -> u128 {
    on_even(a & even, b & even, 0) & even | on_odd(a & !even, b & !even, 0) & !even
}

/// A mask of singles from four bits.
fn single_mask(bits: u8) -> u128 {
    (0..4).filter(|k| bits >> k & 1 != 0).fold(0, |mask, k| mask | 0xFFFF_FFFF << (32 * k))
}

/// A mask of doubles from two bits.
fn double_mask(bits: u8) -> u128 {
    (0..2).filter(|k| bits >> k & 1 != 0).fold(0, |mask, k| mask | u128::from(u64::MAX) << (64 * k))
}

/// The first step of DPPS and DPPD: products of the elements that are selected. SDM vol. 2A.
fn products(a: u128, b: u128, selected: u128, multiply: Operation) -> u128 {
    multiply(a & selected, b & selected, 0) & selected
}

/// The second step of DPPS: the sum of each pair, in the even element.
fn pairs(products: u128, add: Operation) -> u128 {
    let swapped = Shufps::apply(products, products, 0b10_11_00_01);
    add(products & EVEN_SINGLES, swapped & EVEN_SINGLES, 0)
}

/// The third step of DPPS: the sum of the pairs where the low half of `imm` wants it.
fn sum_of_pairs(pairs: u128, imm: u8, add: Operation) -> u128 {
    let sum = add(pairs & 0xFFFF_FFFF, pairs >> 64 & 0xFFFF_FFFF, 0) & 0xFFFF_FFFF;
    (sum | sum << 32 | sum << 64 | sum << 96) & single_mask(imm)
}

/// The second step of DPPD.
fn sum_of_doubles(products: u128, imm: u8, add: Operation) -> u128 {
    let sum = add(products & EVEN_DOUBLES, products >> 64, 0) & EVEN_DOUBLES;
    (sum | sum << 64) & double_mask(imm)
}
