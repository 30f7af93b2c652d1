//! The interpreter's emitters: semantics done at once on the [`Cpu`].
//!
//! [`Interp`] is one for each [`Path`] to memory. What needs no memory is the same for all of them.

mod arithmetic;
mod atomic;
mod exact;
mod fast;
mod flow;
mod host;
mod memory;
mod path;
mod registers;

use crate::{cpu::Cpu, lane::Lane, semantics::Types};
pub use exact::ExactPath;
pub use fast::FastPath;
pub use path::Path;
use std::marker::PhantomData;

/// An emitter that acts at once, reaching memory by path `P`.
pub struct Interp<P: 'static> {
    /// The CPU acted on. Not really static: see [`Interp::new`].
    pub cpu: &'static mut Cpu,
    /// Of a direct branch: taken.
    pub taken: bool,
    /// Of an indirect branch: where to.
    pub target: u64,
    path: PhantomData<P>,
}

impl<P> Interp<P> {
    /// An emitter for one instruction.
    ///
    /// The opcode table holds functions of one emitter type, which therefore cannot have a lifetime.
    ///
    /// # Safety
    /// The emitter must not be used after the borrow of `cpu` ends.
    #[inline(always)]
    pub unsafe fn new(cpu: &mut Cpu) -> Self {
        // SAFETY: the caller's promise.
        let cpu = unsafe { &mut *std::ptr::from_mut(cpu) };
        Interp { cpu, taken: false, target: 0, path: PhantomData }
    }
}

/// The exact interpreter's emitter.
pub type Exact = Interp<ExactPath>;
/// The fast one.
pub type Fast = Interp<FastPath<true>>;
/// The fast one for instructions whose flags nobody sees.
pub type Quiet = Interp<FastPath<false>>;

impl Cpu {
    /// Acts on this CPU by the emitter's vocabulary: for microcode that needs a piece of semantics.
    pub fn with_emitter<R>(&mut self, act: impl FnOnce(&mut Exact) -> R) -> R {
        // SAFETY: the emitter is gone when this returns; `act` can only borrow it.
        act(&mut unsafe { Exact::new(self) })
    }
}

impl<P> Types for Interp<P> {
    type Value = u64;
    type Cond = bool;
    type Lane = Lane;
}
