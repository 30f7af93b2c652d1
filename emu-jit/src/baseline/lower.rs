//! From the operations of a block to machine code, in one pass: registers are taken as values are made, and given
//! back after their last use.
//!
//! A value that is in the CPU's memory anyway needs no place of its own; others that do not fit into registers go to
//! slots of the frame.

use super::{
    ir::{Binary, NONE, Op, Test, Unary, Uses, V},
    x64::{A, Alu, Assembler, BUDGET, COUNT, CPU, Cc, D, INSN, Label, Log2, Reg, Rm, STACK, Shift, W64},
};
use emu_core::region::{
    fill::{self, Wanted},
    layout::{self, tlb},
};

/// Registers that values can be in, those that a call spoils first.
const FREE: [Reg; 11] =
    [Reg(6), Reg(8), Reg(9), Reg(10), Reg(3), Reg(5), Reg(12), Reg(13), Reg(14), Reg(15), Reg(2)];
/// Of those, which calls spoil.
const SPOILED: u16 = 1 << 2 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10;
/// Registers that belong to whoever called.
pub const PRESERVED: [Reg; 6] = [Reg(3), Reg(5), Reg(12), Reg(13), Reg(14), Reg(15)];

/// The frame: what the region was entered with, spilled values, lanes.
pub mod frame {
    use super::super::lanes::LANES;
    /// The CPU.
    pub const CPU: i32 = 0;
    /// This CPU's instructions, by point.
    pub const POINTS: i32 = 8;
    /// This CPU's instance of the region.
    pub const INSTANCE: i32 = 16;
    /// The budget, during calls.
    pub const BUDGET: i32 = 24;
    /// Spilled values.
    pub const SPILLS: i32 = 32;
    /// How many.
    pub const SPILL_COUNT: i32 = 48;
    /// Lanes.
    pub const LANES_AT: i32 = SPILLS + 8 * SPILL_COUNT;
    /// All of it.
    pub const SIZE: i32 = LANES_AT + 16 * LANES as i32;
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere: it can be made again from its operation.
    Constant,
    Register(Reg),
    /// In its slot of the register file.
    Slot(u8),
    Spilled(u8),
}

/// An access that the TLB does not allow directly, yet.
struct Miss {
    label: Label,
    again: Label,
    linear: Reg,
    wanted: Wanted,
    away: Label,
}

/// Address of the routine that fills the TLB and preserves registers.
fn fill_address() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        fill::fill_preserving as *const () as u64
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("machine code for another host")
}

/// See the module.
pub struct Lower {
    /// The code.
    pub asm: Assembler,
    uses: Uses,
    places: Vec<Place>,
    /// By register: the value in it.
    held: [V; 16],
    /// By slot: the value that is in it, in memory.
    slots: [V; 32],
    /// Slots of the frame that are taken.
    spilled: u64,
    pinned: u16,
    /// Registers that were used.
    pub touched: u16,
    /// The operation at hand.
    at: u32,
    misses: Vec<Miss>,
    /// There was no room: the region cannot be compiled.
    pub failed: bool,
}

impl Lower {
    /// Nothing yet.
    pub fn new() -> Self {
        Lower {
            asm: Assembler::default(),
            uses: Uses::default(),
            places: Vec::new(),
            held: [NONE; 16],
            slots: [NONE; 32],
            spilled: 0,
            pinned: 0,
            touched: 0,
            at: 0,
            misses: Vec::new(),
            failed: false,
        }
    }

    /// Begins the block of `ops`, at whose end the values `end` are used.
    pub fn begin_block(&mut self, ops: &[Op], end: impl FnOnce(&mut dyn FnMut(V))) {
        self.uses.of(ops, end);
        self.places.clear();
        self.places.resize(ops.len(), Place::Constant);
        (self.held, self.slots) = ([NONE; 16], [NONE; 32]);
        (self.spilled, self.pinned) = (0, 0);
    }

    /// Makes code for operation `n`. `leave`: where the region is left at its instruction.
    pub fn operation(&mut self, ops: &[Op], n: usize, leave: &mut dyn FnMut(&mut Assembler) -> Label) {
        self.at = n as u32;
        let op = ops[n];
        if self.uses.dead[n] {
            return;
        }
        self.pinned = 0;
        self.make(ops, n as V, op, leave);
        op.operands(|v| self.release(v));
        if self.uses.last[n] == 0 {
            self.give_up(n as V);
        }
    }

    /// Forgets what was in registers and slots: the interpreter has executed an instruction.
    pub fn forget(&mut self) {
        (self.held, self.slots) = ([NONE; 16], [NONE; 32]);
        self.spilled = 0;
    }

    /// The end of the block, where `ops` are all done: pins what is used there.
    pub fn at_end(&mut self, ops: &[Op]) {
        self.at = ops.len() as u32;
        self.pinned = 0;
    }

    /// Gives back the place of `v`, if this was its last use.
    fn release(&mut self, v: V) {
        if self.uses.last[v as usize] <= self.at {
            self.give_up(v);
        }
    }

    fn give_up(&mut self, v: V) {
        match self.places[v as usize] {
            Place::Register(r) if self.held[r.0 as usize] == v => self.held[r.0 as usize] = NONE,
            Place::Spilled(slot) => self.spilled &= !(1 << slot),
            _ => {}
        }
        self.places[v as usize] = Place::Constant;
    }

    /// A register for a value, pinned until the operation is done.
    fn take(&mut self, ops: &[Op]) -> Reg {
        let free = FREE.into_iter().find(|r| self.held[r.0 as usize] == NONE && self.pinned & 1 << r.0 == 0);
        let r = free.unwrap_or_else(|| {
            let candidates = FREE.into_iter().filter(|r| self.pinned & 1 << r.0 == 0);
            let last = |r: &Reg| self.uses.last[self.held[r.0 as usize] as usize];
            let r = candidates.max_by_key(last).expect("an operation does not need all registers");
            self.evict(ops, r);
            r
        });
        self.pinned |= 1 << r.0;
        self.touched |= 1 << r.0;
        r
    }

    /// Frees register `r`.
    fn evict(&mut self, ops: &[Op], r: Reg) {
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

    fn spill(&mut self, r: Reg) -> Place {
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
    fn define(&mut self, ops: &[Op], v: V) -> Reg {
        let r = self.take(ops);
        self.hold(v, r);
        r
    }

    fn hold(&mut self, v: V, r: Reg) {
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
    fn load(&mut self, ops: &[Op], r: Reg, v: V) {
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
    fn operand(&mut self, ops: &[Op], v: V) -> Rm {
        match self.places[v as usize] {
            Place::Slot(slot) if self.uses.last[v as usize] <= self.at => file(slot),
            Place::Spilled(slot) if self.uses.last[v as usize] <= self.at => spill(slot),
            _ => Rm::Reg(self.register(ops, v)),
        }
    }

    fn small_constant(ops: &[Op], v: V, w: Log2) -> Option<i32> {
        match ops[v as usize] {
            Op::Const(value) if w == W64 => i32::try_from(value as i64).ok(),
            // Of 32 bits, whatever their sign.
            Op::Const(value) => u32::try_from(value).ok().map(|value| value as i32),
            _ => None,
        }
    }

    /// A register with a copy of `a` that becomes value `v`: `a`'s own, if this is its last use. `others` are used
    /// after it has been changed.
    fn define_from(&mut self, ops: &[Op], v: V, a: V, others: &[V]) -> Reg {
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

    fn make(&mut self, ops: &[Op], n: V, op: Op, leave: &mut dyn FnMut(&mut Assembler) -> Label) {
        match op {
            Op::Const(_) => {}
            Op::Slot(slot) => {
                if self.slots[usize::from(slot)] == NONE {
                    self.slots[usize::from(slot)] = n;
                    self.places[n as usize] = Place::Slot(slot);
                } else {
                    let r = self.define(ops, n);
                    self.asm.extend(W64, r, file(slot));
                }
            }
            Op::Part(at, w) => {
                let r = self.define(ops, n);
                self.asm.extend(w, r, Rm::Mem(CPU, layout::REGS as i32 + i32::from(at)));
            }
            Op::Field(at, w) => {
                let r = self.define(ops, n);
                self.asm.extend(w, r, field(at));
            }
            Op::SetSlot(slot, v) => self.set_slot(ops, slot, v),
            Op::SetField(at, w, v) => self.store(ops, w, field(at), v),
            Op::SetFlags(result, aux) => {
                self.store(ops, W64, field(layout::FLAGS_RESULT as u32), result);
                self.store(ops, W64, field(layout::FLAGS_AUX as u32), aux);
            }
            Op::Binary(op, w, a, b) => self.binary(ops, n, op, w, a, b),
            Op::Address(base, index, scale, disp) => {
                let base = self.register(ops, base);
                let of = if index == NONE {
                    Rm::Mem(base, disp)
                } else {
                    Rm::Index(base, self.register(ops, index), scale, disp)
                };
                let r = self.define(ops, n);
                self.asm.address(r, of);
            }
            Op::ShiftBy(op, w, a, count) => {
                let r = self.define_from(ops, n, a, &[]);
                self.asm.shift(op, w, r, count);
            }
            Op::Shift(op, a, count) => self.shift(ops, n, op, a, count),
            Op::Rotate(w, a, count) => {
                self.load(ops, COUNT, count);
                let r = self.define_from(ops, n, a, &[]);
                self.asm.shift_by(Shift::RotateLeft, w, r);
                if w < 2 {
                    self.asm.extend(w, r, Rm::Reg(r));
                }
            }
            Op::Extend(w, a) => {
                let from = self.register(ops, a);
                let r = self.define(ops, n);
                self.asm.extend(w, r, Rm::Reg(from));
            }
            Op::SignExtend(w, a) => {
                let from = self.register(ops, a);
                let r = self.define(ops, n);
                self.asm.sign_extend(w, r, from);
            }
            Op::Insert(w, old, new) => {
                let new = self.register(ops, new);
                let r = self.define_from(ops, n, old, &[]);
                if r == new {
                    // The same value: nothing changes.
                    return;
                }
                self.asm.store(w, Rm::Reg(r), new);
            }
            Op::Unary(op, w, a) => {
                let r = self.define_from(ops, n, a, &[]);
                match op {
                    Unary::Complement => self.asm.complement(w, r),
                    Unary::ReverseBytes => self.asm.reverse_bytes(w, r),
                    Unary::Count(what) => self.asm.count_bits(what, r, Rm::Reg(r)),
                }
            }
            Op::MultiplyHigh(signed, a, b) => {
                self.evict(ops, D);
                self.pinned |= 1 << D.0;
                let b = self.operand(ops, b);
                self.load(ops, A, a);
                self.asm.multiply_wide(signed, b);
                let r = self.define(ops, n);
                self.asm.copy(r, D);
            }
            Op::Pure(f, a, b, c) => self.pure(ops, n, f as usize, [a, b, c]),
            Op::Truth(test) => {
                let cc = self.test(ops, test);
                let r = self.define(ops, n);
                self.asm.truth(cc, r);
            }
            Op::Select(test, a, b) => self.select(ops, n, test, a, b),
            Op::LeaveIf(test) => {
                let away = leave(&mut self.asm);
                let cc = self.test(ops, test);
                self.asm.jump_if(cc, away);
            }
            Op::Host(linear, wanted) => {
                let away = leave(&mut self.asm);
                self.host(ops, n, linear, wanted, away);
            }
            Op::Read(w, host, off) => {
                let host = self.register(ops, host);
                let r = self.define(ops, n);
                self.asm.extend(w, r, Rm::Mem(host, off.into()));
            }
            Op::Write(w, host, off, v) => {
                let host = self.register(ops, host);
                self.store(ops, w, Rm::Mem(host, off.into()), v);
            }
            Op::LaneFrom(to, low, high) => {
                self.store(ops, W64, lane(to, 0), low);
                self.store(ops, W64, lane(to, 8), high);
            }
            Op::LaneHalf(of, high) => {
                let r = self.define(ops, n);
                self.asm.extend(W64, r, lane(of, if high { 8 } else { 0 }));
            }
            Op::LaneRead(to, host, off) => {
                let host = self.register(ops, host);
                self.copy_lane(lane(to, 0), Rm::Mem(host, off.into()));
            }
            Op::LaneWrite(host, off, from) => {
                let host = self.register(ops, host);
                self.copy_lane(Rm::Mem(host, off.into()), lane(from, 0));
            }
            Op::LaneGet(to, at) => self.copy_lane(lane(to, 0), field(at)),
            Op::LaneSet(at, from) => self.copy_lane(field(at), lane(from, 0)),
            Op::LaneVector(to, opcode, a, b) => {
                self.asm.load_vector(0, lane(a, 0));
                self.asm.load_vector(1, lane(b, 0));
                self.asm.vector(opcode, 0, Rm::Reg(Reg(1)));
                self.asm.store_vector(lane(to, 0), 0);
            }
            Op::LaneCall(f, lanes, imm) => self.lane_call(ops, f, lanes, imm),
            Op::Exact => unreachable!("made by the region"),
        }
    }

    fn copy_lane(&mut self, to: Rm, from: Rm) {
        self.asm.load_vector(0, from);
        self.asm.store_vector(to, 0);
    }

    fn set_slot(&mut self, ops: &[Op], slot: u8, v: V) {
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

    fn store(&mut self, ops: &[Op], w: Log2, to: Rm, v: V) {
        if w == W64
            && let Some(value) = Self::small_constant(ops, v, W64)
        {
            return self.asm.store_constant(to, value);
        }
        let v = self.register(ops, v);
        self.asm.store(w, to, v);
    }

    fn binary(&mut self, ops: &[Op], n: V, op: Binary, w: Log2, a: V, b: V) {
        let alu = match op {
            Binary::Add => Alu::Add,
            Binary::Sub => Alu::Sub,
            Binary::And => Alu::And,
            Binary::Or => Alu::Or,
            Binary::Xor => Alu::Xor,
            Binary::Multiply => {
                let from = self.operand(ops, b);
                let r = self.define_from(ops, n, a, &[]);
                return self.asm.multiply(w, r, from);
            }
        };
        if let Some(value) = Self::small_constant(ops, b, w) {
            let r = self.define_from(ops, n, a, &[]);
            return self.asm.alu_constant(alu, w, Rm::Reg(r), value);
        }
        let from = self.operand(ops, b);
        let r = self.define_from(ops, n, a, &[]);
        self.asm.alu(alu, w, r, from);
    }

    fn shift(&mut self, ops: &[Op], n: V, op: Shift, a: V, count: V) {
        self.load(ops, COUNT, count);
        if op == Shift::Signed {
            // A count of 64 or more becomes 63.
            self.asm.constant(A, 63);
            self.asm.alu(Alu::Compare, W64, COUNT, Rm::Reg(A));
            self.asm.copy_if(Cc::Above, COUNT, Rm::Reg(A));
        }
        let r = self.define_from(ops, n, a, &[]);
        self.asm.shift_by(op, W64, r);
        if op != Shift::Signed {
            self.asm.alu_constant(Alu::Compare, W64, Rm::Reg(COUNT), 64);
            self.asm.all_if_below(A);
            self.asm.alu(Alu::And, W64, r, Rm::Reg(A));
        }
    }

    fn select(&mut self, ops: &[Op], n: V, test: Test, a: V, b: V) {
        // The operands are loaded before the flags are made: loading leaves flags alone, but spares a register.
        let a = self.register(ops, a);
        let mut operands = [NONE; 2];
        let mut count = 0;
        test.operands(|v| {
            operands[count] = v;
            count += 1;
        });
        let r = self.define_from(ops, n, b, &operands);
        let cc = self.test(ops, test);
        self.asm.copy_if(cc, r, Rm::Reg(a));
    }

    /// Makes the flags of a test; returns the condition under which it holds.
    pub fn test(&mut self, ops: &[Op], test: Test) -> Cc {
        match test {
            Test::Compare(cc, w, a, b) => {
                match Self::small_constant(ops, b, w) {
                    Some(0) if matches!(cc, Cc::Equal | Cc::NotEqual) => {
                        let a = self.register(ops, a);
                        self.asm.test(w, a, a);
                    }
                    Some(value) => {
                        let a = self.operand(ops, a);
                        self.asm.alu_constant(Alu::Compare, w, a, value);
                    }
                    None => {
                        let a = self.register(ops, a);
                        let b = self.operand(ops, b);
                        self.asm.alu(Alu::Compare, w, a, b);
                    }
                }
                cc
            }
            Test::Bit(a, bit, set) => {
                let a = self.register(ops, a);
                self.asm.test_bit(a, bit);
                if set { Cc::Below } else { Cc::NotBelow }
            }
        }
    }

    fn host(&mut self, ops: &[Op], n: V, linear: V, wanted: Wanted, away: Label) {
        let linear = self.register(ops, linear);
        let (again, miss) = (self.asm.label(), self.asm.label());
        self.asm.place(again);
        let entry_bits = tlb::ENTRY.trailing_zeros() as u8;
        // (linear >> 12 ^ linear >> FOLD) & (ENTRIES - 1), times the size of an entry.
        self.asm.copy(A, linear);
        self.asm.shift(Shift::Right, W64, A, tlb::FOLD as u8 - 12);
        self.asm.alu(Alu::Xor, W64, A, Rm::Reg(linear));
        self.asm.shift(Shift::Right, W64, A, 12 - entry_bits);
        self.asm.alu_constant(Alu::And, 2, Rm::Reg(A), ((tlb::ENTRIES - 1) << entry_bits) as i32);
        self.asm.alu(Alu::Add, W64, A, field(layout::TLB as u32));
        if wanted.before == 0 {
            self.asm.copy(COUNT, linear);
        } else {
            self.asm.address(COUNT, Rm::Mem(linear, -i32::from(wanted.before)));
        }
        let tag = if wanted.write_range { tlb::WRITE } else { tlb::READ };
        self.asm.alu(Alu::Sub, W64, COUNT, Rm::Mem(A, tag as i32));
        self.asm.alu_constant(Alu::Compare, W64, Rm::Reg(COUNT), 4096 - i32::from(wanted.length));
        self.asm.jump_if(Cc::Above, miss);
        let r = self.define(ops, n);
        self.asm.extend(W64, r, Rm::Mem(A, tlb::ADDEND as i32));
        self.asm.alu(Alu::Add, W64, r, Rm::Reg(linear));
        self.misses.push(Miss { label: miss, again, linear, wanted, away });
    }

    /// Makes the cold code that fills the TLB, with all values where they are.
    pub fn finish_misses(&mut self) {
        for Miss { label, again, linear, wanted, away } in std::mem::take(&mut self.misses) {
            let asm = &mut self.asm;
            asm.place(label);
            asm.save(INSN);
            asm.save(D);
            asm.copy(INSN, linear);
            asm.constant(D, wanted.pack());
            asm.constant(A, fill_address());
            asm.call(Rm::Reg(A));
            asm.restore(D);
            asm.restore(INSN);
            asm.alu_constant(Alu::Compare, W64, field(layout::FILLED as u32), fill::ALL as i32);
            asm.jump_if(Cc::Equal, again);
            asm.jump(away);
        }
    }

    /// Before a call within an instruction: nothing that is used later stays where the call spoils it.
    fn before_call(&mut self, ops: &[Op]) {
        for r in FREE {
            if SPOILED & 1 << r.0 != 0 {
                self.evict(ops, r);
            }
        }
        self.asm.store(W64, Rm::Mem(STACK, frame::BUDGET), BUDGET);
    }

    fn after_call(&mut self) {
        self.asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
        self.asm.extend(W64, BUDGET, Rm::Mem(STACK, frame::BUDGET));
    }

    fn pure(&mut self, ops: &[Op], n: V, f: usize, args: [V; 3]) {
        self.before_call(ops);
        // None of them is in a register of an argument now, but one may be in the CPU's memory: that pointer goes last.
        self.load(ops, D, args[1]);
        self.load(ops, COUNT, args[2]);
        self.load(ops, Reg(6), args[0]);
        self.asm.constant(CPU, f as u64);
        self.asm.constant(A, super::call_pure as *const () as u64);
        self.asm.call(Rm::Reg(A));
        self.after_call();
        let r = self.define(ops, n);
        self.asm.copy(r, A);
    }

    fn lane_call(&mut self, ops: &[Op], f: usize, lanes: [u8; 4], imm: u8) {
        self.before_call(ops);
        let places = [Reg(7), Reg(6), D, COUNT, Reg(8)];
        let count = lanes.iter().filter(|lane| **lane != u8::MAX).count();
        for (place, of) in places.into_iter().zip(&lanes[..count]) {
            self.asm.address(place, lane(*of, 0));
        }
        self.asm.constant(places[count], imm.into());
        self.asm.constant(A, f as u64);
        self.asm.call(Rm::Reg(A));
        self.after_call();
    }
}

/// A slot of the register file.
fn file(slot: u8) -> Rm {
    Rm::Mem(CPU, layout::REGS as i32 + 8 * i32::from(slot))
}

fn field(at: u32) -> Rm {
    Rm::Mem(CPU, at as i32)
}

fn spill(slot: u8) -> Rm {
    Rm::Mem(STACK, frame::SPILLS + 8 * i32::from(slot))
}

fn lane(number: u8, at: i32) -> Rm {
    Rm::Mem(STACK, frame::LANES_AT + 16 * i32::from(number) + at)
}
