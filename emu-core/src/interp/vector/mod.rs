//! Vector instructions in the interpreter: lanes are `u128`, operations are done by [`crate::lane`].
//!
//! Every vector row that is not rare has specialised handlers: for registers and for memory in both address
//! forms.

mod mxcsr;

use super::{
    emit::{Interp, Path},
    handlers::fast,
    specialise,
};
use crate::{
    arch::{Cr4, Exception},
    cpu::{Cpu, Mode},
    decode::{Handler, Insn, Kind},
    lane::{
        FpOperation, FpOperation3, FpResult, Lane, LaneOperation, LaneOperation3, bits,
        fp::mxcsr::{CONTROL, DEFAULT, guarded},
        lane,
    },
    semantics::{
        Attr, Emitter, Semantics, Step, Vectors, fixed,
        vector::{InMemory, InRegister, Meaning, Rows, list},
    },
};
use iced_x86::{Code, Instruction};
use rustc_hash::FxHashMap;
use std::{marker::PhantomData, sync::LazyLock};

impl<P: Path> Vectors for Interp<P> {
    #[inline(always)]
    fn lane_from(&mut self, low: u64, high: u64) -> Lane {
        lane(u128::from(high) << 64 | u128::from(low))
    }
    #[inline(always)]
    fn lane_low(&mut self, a: Lane) -> u64 {
        bits(a) as u64
    }
    #[inline(always)]
    fn lane_high(&mut self, a: Lane) -> u64 {
        (bits(a) >> 64) as u64
    }
    #[inline(always)]
    fn lane_op<O: LaneOperation>(&mut self, a: Lane, b: Lane, imm: u8) -> Lane {
        lane(O::apply(bits(a), bits(b), imm))
    }
    #[inline(always)]
    fn lane_op3<O: LaneOperation3>(&mut self, a: Lane, b: Lane, c: Lane, imm: u8) -> Lane {
        lane(O::apply(bits(a), bits(b), bits(c), imm))
    }
    #[inline(always)]
    fn fp_lanes<O: FpOperation, const N: usize>(
        &mut self,
        a: [Lane; N],
        b: [Lane; N],
        imm: u8,
    ) -> Result<[Lane; N], P::Fault> {
        // Loops: the closure of `from_fn` is not always inlined, and then no handler ends in a jump.
        floating_point::<P, N>(self.cpu, O::RESULT, || {
            let mut results = [0; N];
            for k in 0..N {
                results[k] = O::apply(bits(a[k]), bits(b[k]), imm);
            }
            results
        })
    }
    #[inline(always)]
    fn fp_lanes3<O: FpOperation3, const N: usize>(
        &mut self,
        a: [Lane; N],
        b: [Lane; N],
        c: [Lane; N],
    ) -> Result<[Lane; N], P::Fault> {
        floating_point::<P, N>(self.cpu, O::RESULT, || {
            let mut results = [0; N];
            for k in 0..N {
                results[k] = O::apply(bits(a[k]), bits(b[k]), bits(c[k]));
            }
            results
        })
    }
    #[inline(always)]
    fn check_x87(&mut self) -> Result<(), P::Fault> {
        P::check_x87(self.cpu)
    }
}

/// An operation under the guest's control word. With the default one it is bare.
#[inline(always)]
fn floating_point<P: Path, const N: usize>(
    cpu: &mut Cpu,
    kind: FpResult,
    apply: impl Fn() -> [u128; N],
) -> Result<[Lane; N], P::Fault> {
    if cpu.simd.mxcsr & CONTROL == DEFAULT {
        return Ok(apply().map(lane));
    }
    P::floating_point(cpu, kind, apply).map(|lanes| lanes.map(lane))
}

/// An operation under a control word of the guest's that is not the default. SDM vol. 1, 11.5.3 and 11.5.4.
pub(super) fn under_guest_control<const N: usize>(
    cpu: &mut Cpu,
    kind: FpResult,
    apply: impl Fn() -> [u128; N],
) -> Result<[u128; N], Exception> {
    let outcome = guarded(cpu.simd.mxcsr, kind, &apply);
    cpu.simd.mxcsr |= outcome.flags;
    let handled = cpu.control.cr4.contains(Cr4::OSXMMEXCPT);
    outcome.result.ok_or(if handled { Exception::XM } else { Exception::UD })
}

/// A meaning with its operands found in way `F`, as the fast path wants it.
struct By<M, F>(PhantomData<(M, F)>);

impl<M: Meaning, F: crate::semantics::Form> Semantics for By<M, F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        M::run::<E, F>(e, i)
    }
}

/// Handlers of one form: register, memory at base and displacement, memory at a scaled index.
struct Handlers {
    register: Handler,
    base: Handler,
    scaled: Handler,
}

impl Rows for FxHashMap<Code, Handlers> {
    fn add<M: Meaning>(&mut self, code: Code, _: Attr) {
        let handlers = Handlers {
            register: fast::<By<M, InRegister>>,
            base: fast::<By<M, InMemory<false>>>,
            scaled: fast::<By<M, InMemory<true>>>,
        };
        self.insert(code, handlers);
    }
    fn add_rare<M: Meaning>(&mut self, _: Code, _: Attr) {}
}

static HANDLERS: LazyLock<FxHashMap<Code, Handlers>> = LazyLock::new(|| {
    let mut handlers = FxHashMap::default();
    list(&mut handlers);
    handlers
});

/// The specialised handler of a vector instruction.
pub fn handler(instruction: &Instruction, i: &Insn, mode: Mode) -> Option<Handler> {
    let handlers = HANDLERS.get(&instruction.code())?;
    if !i.kind.contains(&Kind::Mem) {
        return Some(handlers.register);
    }
    match specialise::memory(i, mode)? {
        fixed::BASE => Some(handlers.base),
        _ => Some(handlers.scaled),
    }
}
