//! Every lane operation, in host code, against what the interpreter's does: for integers the result, for
//! floating-point numbers the flags in MXCSR too. Those that are a primitive and those that are called alike.

use super::compiled::{Compiler, Function, OnWords, Piece, Workbench};
use emu_core::lane::{
    FpOp, FpOp3, FpOperation, FpOperation3, LaneOp, LaneOp3, LaneOperation, LaneOperation3, Visitor,
    fp::mxcsr::{DEFAULT, FLAGS, host, set_host},
};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use rstest::rstest;
use std::{cell::Cell, fmt, marker::PhantomData};

/// Immediates that operations are tried with.
const IMMEDIATES: [u8; 6] = [0, 1, 0x1B, 0x4E, 0xE5, 0xFF];

/// Lanes with many equal, extreme and zero elements, and such that are counts.
fn integers() -> BoxedStrategy<u128> {
    let bytes =
        prop::array::uniform16(prop_oneof![Just(0u8), Just(0x7F), Just(0x80), Just(0xFF), any::<u8>()]);
    prop_oneof![
        any::<u128>(),
        bytes.prop_map(u128::from_le_bytes),
        0..70u128,
        (0..70u128).prop_map(|n| n << 32 | n)
    ]
    .boxed()
}

/// Lanes of floating-point numbers: zeros, denormals, the smallest and the largest, infinities, NaNs of both kinds,
/// small integers, and anything.
fn floats() -> BoxedStrategy<u128> {
    const SINGLES: [u32; 14] = [
        0,
        1,
        0x007F_FFFF,
        0x0080_0000,
        0x3F80_0000,
        0x3F80_0001,
        0x4000_0000,
        0x4F00_0000,
        0x7F7F_FFFF,
        0x7F80_0000,
        0x7F80_0001,
        0x7FC0_0001,
        0x3400_0000,
        0x4B80_0001,
    ];
    let single = (prop_oneof![select(&SINGLES[..]), any::<u32>()], any::<bool>())
        .prop_map(|(bits, negative)| bits ^ u32::from(negative) << 31);
    let double = (single.clone(), any::<u64>(), any::<bool>()).prop_map(|(single, bits, exact)| {
        let signaling = single & 0x7FC0_0000 == 0x7F80_0000 && single & 0x3F_FFFF != 0;
        match (exact, signaling) {
            (false, _) => bits,
            (true, true) => 0x7FF0_0000_0000_0001,
            (true, false) => f64::from(f32::from_bits(single)).to_bits(),
        }
    });
    let singles = prop::array::uniform4(single)
        .prop_map(|all| all.into_iter().rev().fold(0, |lane, single| lane << 32 | u128::from(single)));
    let doubles = prop::array::uniform2(double).prop_map(|[a, b]| u128::from(a) << 64 | u128::from(b));
    prop_oneof![singles, doubles, integers()].boxed()
}

/// Tries operations of one kind.
struct Trial {
    bench: Workbench,
    compiler: Compiler,
    operations: u32,
}

impl Trial {
    fn new(compiler: Compiler) -> Self {
        Trial { bench: Workbench::new(), compiler, operations: 0 }
    }

    /// Holds `code`, which makes results of three lanes, against `meaning`. Without type parameters, as there are many
    /// operations.
    fn hold(
        &mut self,
        what: &dyn fmt::Debug,
        values: BoxedStrategy<u128>,
        code: &Function,
        meaning: &dyn Fn([u128; 3]) -> Vec<u128>,
    ) {
        self.operations += 1;
        let (bench, complete) = (&self.bench, Cell::new(0));
        // A runner counts the cases of all its runs: each operation needs its own.
        let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
        let result = TestRunner::new(config).run(&prop::array::uniform3(values), |operands| {
            let mut words = [0; 16];
            words[..3].copy_from_slice(&operands);
            let (done, flags) = flagged(|| bench.call(code, &mut words));
            let (expected, expected_flags) = flagged(|| meaning(operands));
            if !done {
                // The interpreter does it, and sets the flags that are missing. There must be none too many.
                prop_assert_eq!(flags & !expected_flags, 0, "flags of {:?} of {:#x?}", what, operands);
                return Ok(());
            }
            complete.set(complete.get() + 1);
            prop_assert_eq!(&words[3..][..expected.len()], expected, "{:?} of {:#x?}", what, operands);
            prop_assert_eq!(flags, expected_flags, "flags of {:?} of {:#x?}", what, operands);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{what:?} {:?}: {error}", self.compiler);
        }
        assert!(complete.get() >= 10, "{what:?} leaves nearly always: {} of 100 are done", complete.get());
    }
}

/// What `act` gives, and the flags of floating-point exceptions that it sets.
fn flagged<R>(act: impl FnOnce() -> R) -> (R, u32) {
    set_host(DEFAULT);
    let result = act();
    let flags = host() & FLAGS;
    set_host(DEFAULT);
    (result, flags)
}

/// An operation on two lanes with each immediate, and on the same lane twice.
struct Two<O>(PhantomData<O>);

impl<O: LaneOperation> Piece for Two<O> {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        let (a, b) = (e.lane_word(words, 0), e.lane_word(words, 1));
        for (n, imm) in IMMEDIATES.into_iter().enumerate() {
            let r = e.lane_op::<O>(a, b, imm);
            e.set_lane_word(words, 3 + n, r);
        }
        let r = e.lane_op::<O>(a, a, 0);
        e.set_lane_word(words, 3 + IMMEDIATES.len(), r);
    }
}

/// An operation on three lanes with each immediate.
struct Three<O>(PhantomData<O>);

impl<O: LaneOperation3> Piece for Three<O> {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        let [a, b, c] = [0, 1, 2].map(|n| e.lane_word(words, n));
        for (n, imm) in IMMEDIATES.into_iter().enumerate() {
            let r = e.lane_op3::<O>(a, b, c, imm);
            e.set_lane_word(words, 3 + n, r);
        }
    }
}

/// An operation on two lanes of numbers.
struct Numbers<O>(u8, PhantomData<O>);

impl<O: FpOperation> Piece for Numbers<O> {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        let (a, b) = (e.lane_word(words, 0), e.lane_word(words, 1));
        let Ok([r]) = e.fp_lanes::<O, 1>([a], [b], self.0) else { unreachable!("nothing is unmasked") };
        e.set_lane_word(words, 3, r);
    }
}

/// An operation on three lanes of numbers.
struct Numbers3<O>(PhantomData<O>);

impl<O: FpOperation3> Piece for Numbers3<O> {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        let [a, b, c] = [0, 1, 2].map(|n| e.lane_word(words, n));
        let Ok([r]) = e.fp_lanes3::<O, 1>([a], [b], [c]) else { unreachable!("nothing is unmasked") };
        e.set_lane_word(words, 3, r);
    }
}

/// Lanes taken apart and put together.
struct Halves;

impl Piece for Halves {
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value) {
        let (a, b) = (e.lane_word(words, 0), e.lane_word(words, 1));
        let (low, high) = (e.lane_low(a), e.lane_high(b));
        let both = e.lane_from(low, high);
        e.set_lane_word(words, 3, both);
        let (low, high) = (e.lane_low(both), e.lane_high(both));
        let turned = e.lane_from(high, low);
        e.set_lane_word(words, 4, turned);
        let zero = e.constant(0);
        let alone = e.lane_from(high, zero);
        e.set_lane_word(words, 5, alone);
    }
}

impl Visitor for Trial {
    fn lane<O: LaneOperation>(&mut self) {
        let code = self.bench.compile(self.compiler, &Two::<O>(PhantomData));
        self.hold(&O::OP, integers(), &code, &|[a, b, _]| {
            let mut all = IMMEDIATES.map(|imm| O::apply(a, b, imm)).to_vec();
            all.push(O::apply(a, a, 0));
            all
        });
    }
    fn lane3<O: LaneOperation3>(&mut self) {
        let code = self.bench.compile(self.compiler, &Three::<O>(PhantomData));
        let meaning = |[a, b, c]: [u128; 3]| IMMEDIATES.map(|imm| O::apply(a, b, c, imm)).to_vec();
        self.hold(&O::OP, integers(), &code, &meaning);
    }
    fn fp<O: FpOperation>(&mut self) {
        for imm in [0, 1, 0x1B, 0xFF] {
            let code = self.bench.compile(self.compiler, &Numbers::<O>(imm, PhantomData));
            self.hold(&(O::OP, imm), floats(), &code, &|[a, b, _]| vec![O::apply(a, b, imm)]);
        }
    }
    fn fp3<O: FpOperation3>(&mut self) {
        let code = self.bench.compile(self.compiler, &Numbers3::<O>(PhantomData));
        self.hold(&O::OP, floats(), &code, &|[a, b, c]| vec![O::apply(a, b, c)]);
    }
}

fn all_hold(each: fn(&mut Trial), least: u32, compiler: Compiler) {
    let mut trial = Trial::new(compiler);
    each(&mut trial);
    assert!(trial.operations >= least, "only {} operations", trial.operations);
}

#[rstest]
#[case::of_two_lanes(LaneOp::each, 100)]
#[case::of_three_lanes(LaneOp3::each, 6)]
#[case::of_numbers(FpOp::each, 80 * 4)]
#[case::of_three_numbers(FpOp3::each, 20)]
fn operations(
    #[case] each: fn(&mut Trial),
    #[case] least: u32,
    #[values(Compiler::Plain, Compiler::Optimising)] compiler: Compiler,
) {
    all_hold(each, least, compiler);
}

/// It leaves numbers to the interpreter.
#[rstest]
#[cfg(target_arch = "x86_64")]
#[case::of_two_lanes(LaneOp::each, 100)]
#[case::of_three_lanes(LaneOp3::each, 6)]
fn operations_of_the_baseline(#[case] each: fn(&mut Trial), #[case] least: u32) {
    all_hold(each, least, Compiler::Baseline);
}

fn halves_hold(compiler: Compiler) {
    let mut trial = Trial::new(compiler);
    let code = trial.bench.compile(compiler, &Halves);
    trial.hold(&"halves", integers(), &code, &|[a, b, _]| {
        let both = a & u128::from(u64::MAX) | b >> 64 << 64;
        vec![both, both.rotate_left(64), b >> 64]
    });
}

#[rstest]
fn halves_of_lanes(#[values(Compiler::Plain, Compiler::Optimising)] compiler: Compiler) {
    halves_hold(compiler);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn halves_of_lanes_of_the_baseline() {
    halves_hold(Compiler::Baseline);
}
