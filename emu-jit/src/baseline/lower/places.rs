//! Where values are: registers, the CPU's memory, slots of the frame.

use super::{FREE, Lower, Place, file, frame, spill};
use crate::baseline::{
    ir::{NONE, Op, V},
    x64::{Log2, Reg, Rm, W64},
};

impl Lower {
    /// A register for a value, pinned until the operation is done.
    pub(super) fn take(&mut self, ops: &[Op]) -> Reg {
        let free = FREE.into_iter().find(|r| self.held[r.0 as usize] == NONE && self.pinned & 1 << r.0 == 0);
        let r = free.unwrap_or_else(|| {
            let candidates = FREE.into_iter().filter(|r| self.pinned & 1 << r.0 == 0);
            let last = |r: &Reg| self.uses.last[self.held[r.0 as usize] as usize];
            let r = candidates.max_by_key(last).expect("an operation does not need all registers");
            self.evict(ops, r);
            r
        });
        self.pinned |= 1 << r.0;
        r
    }

    /// Frees register `r`.
    pub(super) fn evict(&mut self, ops: &[Op], r: Reg) {
        let v = self.held[r.0 as usize];
        if v == NONE {
            return;
        }
        self.held[r.0 as usize] = NONE;
        let place = if matches!(ops[v as usize], Op::Const(_)) {
            Place::Constant
        } else if let Some(slot) = self.slots.iter().position(|held| *held == v) {
            Place::Slot(slot as u8)
        } else {
            self.spill(r)
        };
        self.places[v as usize] = place;
    }

    pub(super) fn spill(&mut self, r: Reg) -> Place {
        let slot = (!self.spilled).trailing_zeros();
        if slot as i32 >= frame::SPILL_COUNT {
            self.failed = true;
            return Place::Spilled(0);
        }
        self.spilled |= 1 << slot;
        self.asm.store(W64, spill(slot as u8), r);
        Place::Spilled(slot as u8)
    }

    /// A register for the value `v` that operation `v` makes.
    pub(super) fn define(&mut self, ops: &[Op], v: V) -> Reg {
        let r = self.take(ops);
        self.hold(v, r);
        r
    }

    pub(super) fn hold(&mut self, v: V, r: Reg) {
        self.held[r.0 as usize] = v;
        self.places[v as usize] = Place::Register(r);
    }

    /// `v` as an operand in a register, pinned.
    pub fn register(&mut self, ops: &[Op], v: V) -> Reg {
        if let Place::Register(r) = self.places[v as usize] {
            self.pinned |= 1 << r.0;
            return r;
        }
        let r = self.take(ops);
        self.load(ops, r, v);
        if let Place::Spilled(slot) = self.places[v as usize] {
            self.spilled &= !(1 << slot);
        }
        self.hold(v, r);
        r
    }

    /// Loads `v` to `r`, which does not become its place.
    pub(super) fn load(&mut self, ops: &[Op], r: Reg, v: V) {
        match self.places[v as usize] {
            Place::Register(from) => self.asm.copy(r, from),
            Place::Slot(slot) => self.asm.extend(W64, r, file(slot)),
            Place::Spilled(slot) => self.asm.extend(W64, r, spill(slot)),
            Place::Constant => match ops[v as usize] {
                Op::Const(value) => self.asm.constant(r, value),
                other => unreachable!("{other:?} has no place"),
            },
        }
    }

    /// `v` as an operand that may be in memory.
    pub(super) fn operand(&mut self, ops: &[Op], v: V) -> Rm {
        match self.places[v as usize] {
            Place::Slot(slot) if self.uses.last[v as usize] <= self.at => file(slot),
            Place::Spilled(slot) if self.uses.last[v as usize] <= self.at => spill(slot),
            _ => Rm::Reg(self.register(ops, v)),
        }
    }

    pub(super) fn small_constant(ops: &[Op], v: V, w: Log2) -> Option<i32> {
        match ops[v as usize] {
            Op::Const(value) if w == W64 => i32::try_from(value as i64).ok(),
            // Of 32 bits, whatever their sign.
            Op::Const(value) => u32::try_from(value).ok().map(|value| value as i32),
            _ => None,
        }
    }

    /// A register with a copy of `a` that becomes value `v`: `a`'s own, if this is its last use. `others` are used
    /// after it has been changed.
    pub(super) fn define_from(&mut self, ops: &[Op], v: V, a: V, others: &[V]) -> Reg {
        let last = self.uses.last[a as usize] <= self.at && !others.contains(&a);
        if let Place::Register(r) = self.places[a as usize]
            && last
        {
            self.pinned |= 1 << r.0;
            // A value in memory as well keeps that place.
            self.places[a as usize] = Place::Constant;
            self.hold(v, r);
            return r;
        }
        let r = self.take(ops);
        self.load(ops, r, a);
        self.hold(v, r);
        r
    }

    pub(super) fn set_slot(&mut self, ops: &[Op], slot: u8, v: V) {
        let old = self.slots[usize::from(slot)];
        if old != NONE && old != v && self.places[old as usize] == Place::Slot(slot) {
            // It is overwritten, and used later: as an operand of this very operation it is in a register then.
            if self.uses.last[old as usize] > self.at {
                self.register(ops, old);
            } else {
                self.places[old as usize] = Place::Constant;
            }
        }
        self.store(ops, W64, file(slot), v);
        self.slots[usize::from(slot)] = v;
    }

    pub(super) fn store(&mut self, ops: &[Op], w: Log2, to: Rm, v: V) {
        if w == W64
            && let Some(value) = Self::small_constant(ops, v, W64)
        {
            return self.asm.store_constant(W64, to, value);
        }
        let v = self.register(ops, v);
        self.asm.store(w, to, v);
    }
}
