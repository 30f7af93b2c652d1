//! Each primitive of [`Arithmetic`](emu_core::semantics::Arithmetic), in host code, against its plain meaning: every
//! width, each compiler, operands that are known when code is made and such that are not, counts beyond the width.

use super::compiled::{Compiler, OnWords, Piece, Workbench};
use emu_core::arch::Width::{self, W8, W16, W32, W64};
use proptest::{prelude::*, test_runner::TestRunner};
use rstest::rstest;
use std::marker::PhantomData;

/// Operands: two values of the width, and one that may be anything.
type Operands<T> = [T; 3];

/// What is held against its meaning.
trait Primitive {
    fn build<E: OnWords>(e: &mut E, w: Width, operands: Operands<E::Value>) -> E::Value;
    fn meaning(w: Width, operands: Operands<u64>) -> u64;
}

/// A primitive of operands that are not known.
struct OfAny<P>(Width, PhantomData<P>);

impl<P: Primitive> Piece for OfAny<P> {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        let operands = [0, 1, 2].map(|n| e.word(words, n));
        let result = P::build(e, self.0, operands);
        e.set_word(words, 3, result);
    }
}

/// Words of a case: operands and result.
const STRIDE: usize = 4;

/// A primitive of some cases, one after the other, of which the operands in `known` (bits) are known.
struct OfKnown<'a, P> {
    w: Width,
    known: u32,
    cases: &'a [Operands<u64>],
    primitive: PhantomData<P>,
}

impl<P: Primitive> Piece for OfKnown<'_, P> {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        for (number, case) in self.cases.iter().enumerate() {
            let operands = [0, 1, 2].map(|n| match self.known >> n & 1 {
                0 => e.word(words, STRIDE * number + n),
                _ => e.constant(case[n]),
            });
            let result = P::build(e, self.w, operands);
            e.set_word(words, STRIDE * number + 3, result);
        }
    }
}

const EDGES: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    9,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7F,
    0x80,
    0xFF,
    0x8000,
    0x7FFF_FFFF,
    0x8000_0000,
    1 << 63,
    u64::MAX,
];

/// What each word may be: edges and their neighbours, few bits, anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        (prop::sample::select(&EDGES[..]), 0..3u64).prop_map(|(edge, more)| edge.wrapping_add(more)),
        (0..64u32, 0..64u32).prop_map(|(a, b)| 1 << a | 1 << b),
        0..130u64,
        any::<u64>(),
    ]
}

fn operands(w: Width, [a, b, n]: Operands<u64>) -> Operands<u64> {
    [a & w.mask(), b & w.mask(), n]
}

/// Holds `P` against its meaning for width `w`.
fn check<P: Primitive>(w: Width, compiler: Compiler) {
    let bench = Workbench::new();
    let of_any = bench.compile(compiler, &OfAny::<P>(w, PhantomData));
    // Which of the operands are known: the last; the first and the last; all.
    for (number, known) in [0b100, 0b101, 0b111].into_iter().enumerate() {
        for edges in EDGES.chunks(4) {
            agrees_if_known::<P>(&bench, w, compiler, known, edges, EDGES[3 * number + 1]);
        }
    }
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    let words = prop::array::uniform3(word()).prop_map(|words| operands(w, words));
    let result = runner.run(&words, |[a, b, n]| {
        let mut words = [a, b, n, 0];
        assert!(bench.call(&of_any, &mut words));
        prop_assert_eq!(words[3], P::meaning(w, [a, b, n]), "of {:#x?}", [a, b, n]);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{w:?} {compiler:?}: {error}");
    }
}

/// The same with operands that are known: the bits of `known` tell which. All triples of `edges` in one function.
fn agrees_if_known<P: Primitive>(
    bench: &Workbench,
    w: Width,
    compiler: Compiler,
    known: u32,
    edges: &[u64],
    other: u64,
) {
    let mut cases = Vec::new();
    for &a in &[edges[0], edges[1], edges[2], other] {
        for &n in edges {
            cases.push(operands(w, [a, other ^ n, n]));
        }
    }
    let code = bench.compile(compiler, &OfKnown::<P> { w, known, cases: &cases, primitive: PhantomData });
    let mut words: Vec<u64> = cases.iter().flat_map(|[a, b, n]| [*a, *b, *n, 0]).collect();
    assert!(bench.call(&code, &mut words));
    for (case, words) in cases.iter().zip(words.chunks(STRIDE)) {
        assert_eq!(words[3], P::meaning(w, *case), "{w:?} {compiler:?} {case:#x?}, known: {known:#b}");
    }
}

/// 7 if `c` is true in all three ways of using it, 0 if it is not in any.
fn told<E: OnWords>(e: &mut E, c: E::Cond) -> E::Value {
    let one = e.value_of(c);
    let (zero, two) = (e.constant(0), e.constant(2));
    let two = e.select(c, two, zero);
    let four = e.branched(c);
    let sum = e.or(one, two);
    e.or(sum, four)
}

fn seven(truth: bool) -> u64 {
    if truth { 7 } else { 0 }
}

/// `a` as a signed value of width `w`.
fn signed(w: Width, a: u64) -> i128 {
    let unused = 128 - w.bits();
    ((u128::from(a) << unused) as i128) >> unused
}

fn wide(w: Width, r: i128) -> u64 {
    r as u64 & w.mask()
}

/// Names, code and meanings of primitives. Each becomes a test for every width and compiler.
macro_rules! primitives {
    ($($name:ident: |$e:ident, $w:ident, $operands:pat_param| $build:expr, |$values:pat_param| $meaning:expr;)*) => {$(
        mod $name {
            use super::*;

            struct This;

            impl Primitive for This {
                fn build<E: OnWords>($e: &mut E, $w: Width, $operands: Operands<E::Value>) -> E::Value {
                    $build
                }
                fn meaning($w: Width, $values: Operands<u64>) -> u64 {
                    let _ = $w;
                    $meaning
                }
            }

            #[rstest]
            fn is_as_told(
                #[values(W8, W16, W32, W64)] w: Width,
                #[values(Compiler::Plain, Compiler::Optimising)] compiler: Compiler,
            ) {
                check::<This>(w, compiler);
            }

            #[rstest]
            #[cfg(target_arch = "x86_64")]
            fn is_as_told_by_the_baseline(#[values(W8, W16, W32, W64)] w: Width) {
                check::<This>(w, Compiler::Baseline);
            }
        }
    )*};
}

primitives! {
    sum: |e, w, [a, b, _]| e.add(w, a, b), |[a, b, _]| a.wrapping_add(b) & w.mask();
    sum_with_itself: |e, w, [a, ..]| e.add(w, a, a), |[a, ..]| a.wrapping_add(a) & w.mask();
    difference: |e, w, [a, b, _]| e.sub(w, a, b), |[a, b, _]| a.wrapping_sub(b) & w.mask();
    bitwise_and: |e, _w, [a, b, _]| e.and(a, b), |[a, b, _]| a & b;
    bitwise_or: |e, _w, [a, b, _]| e.or(a, b), |[a, b, _]| a | b;
    bitwise_exclusive_or: |e, _w, [a, b, _]| e.xor(a, b), |[a, b, _]| a ^ b;
    complement: |e, w, [a, ..]| e.not(w, a), |[a, ..]| !a & w.mask();
    negative: |e, w, [a, ..]| e.neg(w, a), |[a, ..]| a.wrapping_neg() & w.mask();
    shift_left: |e, w, [a, _, n]| e.shl(w, a, n),
        |[a, _, n]| if n < w.bits().into() { a << n & w.mask() } else { 0 };
    shift_right: |e, w, [a, _, n]| e.shr(w, a, n), |[a, _, n]| if n < w.bits().into() { a >> n } else { 0 };
    shift_right_signed: |e, w, [a, _, n]| e.sar(w, a, n), |[a, _, n]| wide(w, signed(w, a) >> n.min(64));
    rotation: |e, w, [a, _, n]| e.rol(w, a, n), |[a, _, n]| {
        let n = (n % u64::from(w.bits())) as u32;
        (u128::from(a) << n | u128::from(a) << n >> w.bits()) as u64 & w.mask()
    };
    product: |e, w, [a, b, _]| e.mul(w, a, b), |[a, b, _]| a.wrapping_mul(b) & w.mask();
    product_high_unsigned: |e, w, [a, b, _]| e.mul_high_unsigned(w, a, b),
        |[a, b, _]| ((u128::from(a) * u128::from(b)) >> w.bits()) as u64;
    product_high_signed: |e, w, [a, b, _]| e.mul_high_signed(w, a, b),
        |[a, b, _]| wide(w, (signed(w, a) * signed(w, b)) >> w.bits());
    truncation: |e, w, [_, _, n]| e.truncate(w, n), |[_, _, n]| n & w.mask();
    extension_to_8: |e, w, [a, ..]| extended(e, w, W8, a), |[a, ..]| extension(w, W8, a);
    extension_to_16: |e, w, [a, ..]| extended(e, w, W16, a), |[a, ..]| extension(w, W16, a);
    extension_to_32: |e, w, [a, ..]| extended(e, w, W32, a), |[a, ..]| extension(w, W32, a);
    extension_to_64: |e, w, [a, ..]| extended(e, w, W64, a), |[a, ..]| extension(w, W64, a);
    bytes_in_reverse: |e, w, [a, ..]| e.swap_bytes(w, a), |[a, ..]| a.swap_bytes() >> (64 - w.bits());
    zeros_leading: |e, w, [a, ..]| e.leading_zeros(w, a),
        |[a, ..]| u64::from(a.leading_zeros() + w.bits() - 64);
    zeros_trailing: |e, w, [a, ..]| e.trailing_zeros(w, a),
        |[a, ..]| u64::from(a.trailing_zeros().min(w.bits()));
    number_of_ones: |e, _w, [a, ..]| e.count_ones(a), |[a, ..]| a.count_ones().into();
    pure_function: |e, _w, [a, b, n]| e.pure(mixed, a, b, n), |[a, b, n]| mixed(a, b, n);

    equality: |e, _w, [a, b, _]| { let c = e.equal(a, b); told(e, c) }, |[a, b, _]| seven(a == b);
    equality_to_itself: |e, _w, [a, ..]| { let c = e.equal(a, a); told(e, c) }, |_| 7;
    zero: |e, _w, [a, ..]| { let c = e.is_zero(a); told(e, c) }, |[a, ..]| seven(a == 0);
    order_unsigned: |e, _w, [a, b, _]| { let c = e.below(a, b); told(e, c) }, |[a, b, _]| seven(a < b);
    order_signed: |e, w, [a, b, _]| { let c = e.less(w, a, b); told(e, c) },
        |[a, b, _]| seven(signed(w, a) < signed(w, b));
    every_bit: |e, w, [a, ..]| bits(e, w, a, false), |[a, ..]| a;
    every_bit_negated: |e, w, [a, ..]| bits(e, w, a, true), |[a, ..]| !a & w.mask();
    negation: |e, w, [a, b, _]| { let c = e.less(w, a, b); let c = e.negate(c); told(e, c) },
        |[a, b, _]| seven(signed(w, a) >= signed(w, b));
    conjunction: |e, w, [a, b, n]| { let (c, d) = (e.below(a, b), e.less(w, a, n)); let c = e.both(c, d); told(e, c) },
        |[a, b, n]| seven(a < b && signed(w, a) < signed(w, n));
    disjunction: |e, w, [a, b, n]| { let (c, d) = (e.below(a, b), e.less(w, a, n)); let c = e.either(c, d); told(e, c) },
        |[a, b, n]| seven(a < b || signed(w, a) < signed(w, n));
    choice: |e, _w, [a, b, n]| { let c = e.below(a, b); e.select(c, n, a) }, |[a, b, n]| if a < b { n } else { a };
    truths_that_are_known: |e, _w, [a, b, _]| known_truths(e, a, b), |[a, b, _]| seven(a == b) * 0b111 + 7 * 8;
}

/// Any pure function.
fn mixed(a: u64, b: u64, c: u64) -> u64 {
    a ^ b.rotate_left(7) ^ c.wrapping_mul(3)
}

fn extended<E: OnWords>(e: &mut E, from: Width, to: Width, a: E::Value) -> E::Value {
    if to < from { a } else { e.sign_extend(from, to, a) }
}

fn extension(from: Width, to: Width, a: u64) -> u64 {
    if to < from { a } else { wide(to, signed(from, a)) }
}

/// The bits of `a` one by one, put together again.
fn bits<E: OnWords>(e: &mut E, w: Width, a: E::Value, negated: bool) -> E::Value {
    let mut all = e.constant(0);
    for n in 0..w.bits() {
        let mut c = e.bit(a, n);
        if negated {
            c = e.negate(c);
        }
        let bit = e.value_of(c);
        let place = e.constant(n.into());
        let bit = e.shl(W64, bit, place);
        all = e.or(all, bit);
    }
    all
}

/// What known truths make of others: three times whether a = b, and what is true.
fn known_truths<E: OnWords>(e: &mut E, a: E::Value, b: E::Value) -> E::Value {
    let (yes, no) = (e.known(true), e.known(false));
    let same = e.equal(a, b);
    let not_same = e.negate(same);
    let ways = [e.both(yes, same), e.either(same, no), e.negate(not_same)];
    let mut sum = e.constant(0);
    for (n, c) in ways.into_iter().enumerate() {
        let seven = told(e, c);
        let weight = e.constant(1 << n);
        let weighted = e.mul(W64, seven, weight);
        sum = e.add(W64, sum, weighted);
    }
    let never = e.both(no, same);
    let always = e.either(yes, never);
    let (never, always) = (told(e, never), told(e, always));
    let eight = e.constant(8);
    let always = e.mul(W64, always, eight);
    let sum = e.add(W64, sum, always);
    e.add(W64, sum, never)
}
