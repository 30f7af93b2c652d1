//! What the instructions of a block do, in order: a straight line of operations on values, which are named by the
//! operation that makes them.
//!
//! Registers of the guest are in the CPU's memory whenever an operation can leave the region. Within a block they are
//! values as well, so that what was just written is not read from memory again.

use super::x64::{BitCount, Cc, Log2, Shift};
use emu_core::{region::fill::Wanted, semantics::Pure};

/// A value: the number of the operation that makes it.
pub type V = u32;

/// No value.
pub const NONE: V = V::MAX;

/// Operations with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    And,
    Or,
    Xor,
    Multiply,
}

/// Operations with one operand, of 32 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    Complement,
    ReverseBytes,
    Count(BitCount),
}

/// A truth value, found where it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `a <cc> b`, of that width.
    Compare(Cc, Log2, V, V),
    /// Bit `n` of `a` is set (or is not).
    Bit(V, u8, bool),
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// A constant.
    Const(u64),
    /// 64 bits of a slot of the register file.
    Slot(u8),
    /// Less, from a byte offset of the register file.
    Part(u8, Log2),
    /// A field of the CPU, by offset.
    Field(u32, Log2),
    /// Writes a slot.
    SetSlot(u8, V),
    /// Writes a field.
    SetField(u32, Log2, V),
    /// Writes both words of the flags.
    SetFlags(V, V),
    /// Writes what the flags are to be made from: a packed [`Deferred`](emu_core::semantics::integer::deferred::Deferred)
    /// and its words, of which the second may be [`NONE`].
    DeferFlags(u32, V, V),
    /// Of 32 or 64 bits.
    Binary(Binary, Log2, V, V),
    /// base + index << scale + displacement, 64 bits; index may be [`NONE`].
    Address(V, V, u8, i32),
    /// By a constant less than the width.
    ShiftBy(Shift, Log2, V, u8),
    /// By a value, 64 bits. A count of 64 or more gives 0, or the sign; there is none if the last is true.
    Shift(Shift, V, V, bool),
    /// A rotation; the count is taken modulo the width.
    Rotate(Log2, V, V),
    /// Low bits, zero-extended.
    Extend(Log2, V),
    /// Low bits, sign-extended to 64.
    SignExtend(Log2, V),
    /// The first operand with its low 8 or 16 bits replaced by the second's.
    Insert(Log2, V, V),
    /// Of 32 or 64 bits.
    Unary(Unary, Log2, V),
    /// High 64 bits of the product of 64-bit values; signed or not.
    MultiplyHigh(bool, V, V),
    /// A call.
    Pure(Pure, V, V, V),
    /// 1 or 0.
    Truth(Test),
    /// The second if the test holds, else the third.
    Select(Test, V, V),
    /// Leaves at the instruction if the test holds.
    LeaveIf(Test),
    /// Host address of a linear address, at which something is accessed. Leaves if there is none.
    Host(V, Wanted),
    /// Reads from a host address plus an offset.
    Read(Log2, V, i16),
    /// Writes there.
    Write(Log2, V, i16, V),
    /// Copies 16 bytes from the CPU to a lane.
    LaneGet(u8, u32),
    /// Copies a lane to the CPU.
    LaneSet(u32, u8),
    /// Copies 16 bytes from host memory.
    LaneRead(u8, V, i16),
    /// Copies a lane to host memory.
    LaneWrite(V, i16, u8),
    /// A lane from two halves.
    LaneFrom(u8, V, V),
    /// The low or the high half.
    LaneHalf(u8, bool),
    /// First lane = second <opcode> third.
    LaneVector(u8, u8, u8, u8),
    /// Calls a function with the addresses of the first lane (the result) and of the others, and with the immediate.
    LaneCall(usize, [u8; 4], u8),
    /// The instruction is executed by the interpreter.
    Exact,
}

impl Test {
    /// Calls `f` with the operands.
    pub fn operands(self, mut f: impl FnMut(V)) {
        match self {
            Test::Compare(_, _, a, b) => {
                f(a);
                f(b);
            }
            Test::Bit(a, ..) => f(a),
        }
    }
    /// The opposite.
    pub fn opposite(self) -> Self {
        match self {
            Test::Compare(cc, w, a, b) => Test::Compare(cc.opposite(), w, a, b),
            Test::Bit(a, n, set) => Test::Bit(a, n, !set),
        }
    }
}

impl Op {
    /// Calls `f` with the operands.
    pub fn operands(self, mut f: impl FnMut(V)) {
        match self {
            Op::Const(_) | Op::Slot(_) | Op::Part(..) | Op::Field(..) | Op::Exact => {}
            Op::LaneGet(..) | Op::LaneSet(..) | Op::LaneVector(..) | Op::LaneCall(..) | Op::LaneHalf(..) => {}
            Op::SetSlot(_, a)
            | Op::SetField(_, _, a)
            | Op::ShiftBy(_, _, a, _)
            | Op::Extend(_, a)
            | Op::SignExtend(_, a)
            | Op::Unary(_, _, a)
            | Op::Host(a, ..)
            | Op::Read(_, a, _)
            | Op::LaneRead(_, a, _)
            | Op::LaneWrite(a, ..) => f(a),
            Op::SetFlags(a, b)
            | Op::Binary(_, _, a, b)
            | Op::Shift(_, a, b, _)
            | Op::Rotate(_, a, b)
            | Op::Insert(_, a, b)
            | Op::MultiplyHigh(_, a, b)
            | Op::Write(_, a, _, b)
            | Op::LaneFrom(_, a, b) => {
                f(a);
                f(b);
            }
            Op::Address(a, b, ..) | Op::DeferFlags(_, a, b) => {
                f(a);
                if b != NONE {
                    f(b);
                }
            }
            Op::Pure(_, a, b, c) => [a, b, c].into_iter().for_each(f),
            Op::Truth(test) | Op::LeaveIf(test) => test.operands(f),
            Op::Select(test, a, b) => {
                test.operands(&mut f);
                f(a);
                f(b);
            }
        }
    }

    /// Does nothing but make its value.
    pub fn is_pure(self) -> bool {
        !matches!(
            self,
            Op::SetSlot(..)
                | Op::SetField(..)
                | Op::SetFlags(..)
                | Op::DeferFlags(..)
                | Op::LeaveIf(_)
                | Op::Host(..)
                | Op::Write(..)
                | Op::LaneGet(..)
                | Op::LaneSet(..)
                | Op::LaneRead(..)
                | Op::LaneWrite(..)
                | Op::LaneFrom(..)
                | Op::LaneVector(..)
                | Op::LaneCall(..)
                | Op::Exact
        )
    }

    /// The region can be left at it: all that the guest sees must be in the CPU before.
    pub fn can_leave(self) -> bool {
        matches!(self, Op::LeaveIf(_) | Op::Host(..) | Op::Exact)
    }
}

/// Which operations need not be done, and where values are used last.
#[derive(Debug, Default)]
pub struct Uses {
    /// By operation: the last one that uses its value, 0 if none does. The block's end counts as one more.
    pub last: Vec<u32>,
    /// By operation: it can be left out.
    pub dead: Vec<bool>,
}

impl Uses {
    /// Those of a block; `end` are the values that its end uses.
    pub fn of(&mut self, ops: &[Op], end: impl FnOnce(&mut dyn FnMut(V))) {
        self.last.clear();
        self.last.resize(ops.len(), 0);
        self.dead.clear();
        self.dead.resize(ops.len(), false);
        let past = ops.len() as u32;
        end(&mut |v| self.last[v as usize] = past);
        // Slots, and flags, that are written again before anything can see them.
        let (mut slots, mut flags) = (0u32, false);
        for (n, op) in ops.iter().enumerate().rev() {
            match *op {
                Op::SetSlot(slot, _) => {
                    self.dead[n] = slots & 1 << slot != 0;
                    slots |= 1 << slot;
                }
                Op::SetFlags(..) | Op::DeferFlags(..) => {
                    self.dead[n] = flags;
                    flags = true;
                }
                Op::Slot(slot) => slots &= !(1 << slot),
                Op::Part(at, _) => slots &= !(1 << (at / 8)),
                Op::Field(..) => flags = false,
                op if op.can_leave() => (slots, flags) = (0, false),
                op => self.dead[n] = op.is_pure() && self.last[n] == 0,
            }
            if matches!(op, Op::Slot(_) | Op::Part(..) | Op::Field(..)) {
                self.dead[n] = self.last[n] == 0;
            }
            if !self.dead[n] {
                let last = &mut self.last;
                op.operands(|v| {
                    let last = &mut last[v as usize];
                    *last = (*last).max(n as u32);
                });
            }
        }
    }
}
