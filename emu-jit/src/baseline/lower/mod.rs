//! From the operations of a block to machine code, in one pass: registers are taken as values are made, and given
//! back after their last use.
//!
//! A value that is in the CPU's memory anyway needs no place of its own; others that do not fit into registers go to
//! slots of the frame.

mod calls;
mod integers;
mod memory;
mod places;

use super::{
    ir::{NONE, Op, Unary, Uses, V},
    x64::{A, Assembler, COUNT, CPU, D, Label, Reg, Rm, STACK, Shift, W32, W64},
};
use emu_core::{
    region::{fill::Wanted, layout},
    semantics::integer::deferred::SETTLED,
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
    use crate::baseline::recorder::lanes::LANES;
    /// The CPU.
    pub const CPU: i32 = 0;
    /// This CPU's instance of the region.
    pub const INSTANCE: i32 = 8;
    /// The budget, during calls.
    pub const BUDGET: i32 = 16;
    /// What a region that was called has returned.
    pub const EXIT: i32 = 24;
    /// Spilled values.
    pub const SPILLS: i32 = 32;
    /// How many.
    pub const SPILL_COUNT: i32 = 48;
    /// Lanes.
    pub const LANES_AT: i32 = SPILLS + 8 * SPILL_COUNT;
    /// All of it: with the registers saved before and the return address a multiple of 16.
    pub const SIZE: i32 = LANES_AT + 16 * LANES as i32 + 8;
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
        emu_core::region::fill::fill_preserving as *const () as u64
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
    /// The operation at hand.
    at: u32,
    /// What the flags in memory are, if that is known: see [`layout::DEFERRED`].
    kind: Option<u32>,
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
            at: 0,
            kind: None,
            misses: Vec::new(),
            failed: false,
        }
    }

    /// Begins the block of `ops`, at whose end the values `end` are used. `kind`: what the flags in memory are, if that
    /// is known.
    pub fn begin_block(&mut self, ops: &[Op], kind: Option<u32>, end: impl FnOnce(&mut dyn FnMut(V))) {
        self.kind = kind;
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

    /// The flags in memory are not deferred.
    pub fn settled(&mut self) {
        self.kind = Some(SETTLED);
    }

    /// Whether value `v` is needed.
    pub fn needs(&self, v: V) -> bool {
        !self.uses.dead[v as usize]
    }

    fn set_flags(&mut self, ops: &[Op], kind: u32, first: V, second: V) {
        self.store(ops, W64, field(layout::FLAGS_RESULT as u32), first);
        if second != NONE {
            self.store(ops, W64, field(layout::FLAGS_AUX as u32), second);
        }
        if self.kind.replace(kind) != Some(kind) {
            self.asm.store_constant(W32, field(layout::DEFERRED as u32), kind as i32);
        }
    }

    /// Forgets what was in registers and slots: the interpreter has executed an instruction.
    pub fn forget(&mut self) {
        (self.held, self.slots) = ([NONE; 16], [NONE; 32]);
        self.spilled = 0;
        self.kind = Some(SETTLED);
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
            Op::SetFlags(result, aux) => self.set_flags(ops, SETTLED, result, aux),
            Op::DeferFlags(kind, first, second) => self.set_flags(ops, kind, first, second),
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
            Op::Shift(op, a, count, short) => self.shift(ops, n, (op, short), a, count),
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
