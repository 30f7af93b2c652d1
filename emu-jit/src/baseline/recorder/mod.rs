//! [`Recorder`]: the emitter that writes down the operations of a block.
//!
//! What it has no operation for it refuses ([`Recorder::refuse`]): then the interpreter executes the instruction.

mod arithmetic;
pub mod lanes;
mod memory;
mod registers;

use super::{
    ir::{NONE, Op, Test, V},
    x64::Log2,
};
use emu_core::{
    arch::Width,
    cpu::{Mode, slot},
    decode::Insn,
    semantics::{
        Arithmetic, FlagSource, Types,
        integer::deferred::{Deferred, SETTLED},
    },
};

/// A truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    /// Known now.
    Known(bool),
    /// Found where it is used.
    Test(Test),
}

/// Faults leave the region, or the instruction was refused.
#[derive(Debug, Clone, Copy)]
pub struct Faults;

/// Where a block's branch leads.
#[derive(Debug, Clone, Copy)]
pub enum Branch {
    /// To its target if the condition holds, else to the next instruction.
    If(Cond),
    /// To a computed RIP.
    To(V),
}

/// What is known of registers and flags within a block.
#[derive(Debug, Clone, Copy)]
struct Known {
    slots: [V; 32],
    low: [V; 16],
    flags: Option<(V, V)>,
    source: Option<FlagSource<V>>,
    /// What the flags in the CPU's memory are, if that is known: see [`layout::DEFERRED`](emu_core::region::layout).
    kind: Option<u32>,
    /// Both words of them, if they are deferred and have not been set here.
    words: Option<(Deferred, V, V)>,
}

const NOTHING: Known =
    Known { slots: [NONE; 32], low: [NONE; 16], flags: None, source: None, kind: None, words: None };

/// See the module.
pub struct Recorder {
    /// The operations.
    pub ops: Vec<Op>,
    /// By value: bits that it has at most.
    bits: Vec<u8>,
    /// What the instruction has decided about where to go.
    pub branch: Option<Branch>,
    known: Known,
    /// The words of the flags as they are read from memory of which it is not known what they are.
    pub unsettled: Option<(V, V)>,
    /// Flags are only looked at, and stay as they are.
    looking: bool,
    refused: bool,
    mode: Mode,
    narrow_stack: bool,
    /// The instruction calls functions of lanes.
    pub lane_calls: bool,
    /// Lanes in use by the instruction.
    pub(in crate::baseline) lanes: u8,
}

/// log2 of the bytes of a width.
pub(in crate::baseline) fn log2(w: Width) -> Log2 {
    match w {
        Width::W8 => 0,
        Width::W16 => 1,
        Width::W32 => 2,
        Width::W64 => 3,
    }
}

/// The width an operation is done in.
fn done_in(w: Width) -> Log2 {
    log2(w).max(2)
}

impl Types for Recorder {
    type Value = V;
    type Cond = Cond;
    type Lane = u8;
}

impl Recorder {
    /// For code of `mode`.
    pub fn new(mode: Mode) -> Self {
        Recorder {
            ops: Vec::with_capacity(512),
            bits: Vec::with_capacity(512),
            branch: None,
            known: NOTHING,
            unsettled: None,
            looking: false,
            refused: false,
            mode,
            narrow_stack: false,
            lane_calls: false,
            lanes: 0,
        }
    }

    /// Begins a block. `kind`: what the flags in the CPU's memory are then, if that is known.
    pub fn begin_block(&mut self, kind: Option<u32>) {
        self.ops.clear();
        self.bits.clear();
        self.branch = None;
        self.known = NOTHING;
        self.unsettled = None;
        self.begin_flags(kind);
    }

    /// Records what `run` does for `i`. False: it was refused, and nothing is recorded.
    pub fn record(&mut self, i: &Insn, run: fn(&mut Self, &Insn) -> Result<(), Faults>) -> bool {
        let (at, known, unsettled) = (self.ops.len(), self.known, self.unsettled);
        (self.branch, self.refused, self.lanes, self.lane_calls) = (None, false, 0, false);
        self.narrow_stack = i.stack_width() == Width::W16;
        if run(self, i).is_ok() && !self.refused {
            return true;
        }
        self.ops.truncate(at);
        self.bits.truncate(at);
        (self.known, self.unsettled, self.branch) = (known, unsettled, None);
        false
    }

    /// The instruction is executed by the interpreter.
    pub fn exact(&mut self) {
        self.push(Op::Exact, 64);
        self.known = Known { kind: Some(SETTLED), ..NOTHING };
        self.branch = None;
    }

    /// Has the interpreter execute this instruction. The value means nothing.
    pub(in crate::baseline) fn refuse(&mut self) -> V {
        self.refused = true;
        self.constant(0)
    }

    pub(crate) fn push(&mut self, op: Op, bits: u8) -> V {
        self.ops.push(op);
        self.bits.push(bits);
        self.ops.len() as V - 1
    }

    fn known_constant(&self, v: V) -> Option<u64> {
        match self.ops[v as usize] {
            Op::Const(value) => Some(value),
            _ => None,
        }
    }

    fn fits(&self, v: V, bits: u8) -> bool {
        self.bits[v as usize] <= bits
    }

    fn extend(&mut self, w: Log2, v: V) -> V {
        let bits = 8 << w;
        if self.fits(v, bits) {
            return v;
        }
        if let Some(value) = self.known_constant(v) {
            return self.constant(value & (u64::MAX >> (64 - bits)));
        }
        self.push(Op::Extend(w, v), bits)
    }

    /// All of slot `n`.
    fn slot(&mut self, n: u8) -> V {
        if n == slot::ZERO {
            return self.constant(0);
        }
        let known = self.known.slots[usize::from(n)];
        if known != NONE {
            return known;
        }
        let v = self.push(Op::Slot(n), 64);
        self.known.slots[usize::from(n)] = v;
        v
    }

    fn leave_if(&mut self, c: Cond) -> Result<(), Faults> {
        match c {
            Cond::Known(true) => Err(Faults),
            Cond::Known(false) => Ok(()),
            Cond::Test(test) => {
                self.push(Op::LeaveIf(test), 0);
                Ok(())
            }
        }
    }

    fn is_64bit(&self) -> bool {
        self.mode.is_64bit()
    }
}
