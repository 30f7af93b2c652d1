//! Accesses near each other share one look into the TLB.
//!
//! Within a block, addresses that differ by a constant, `[RSP]` and `[RSP+8]`, or what several pushes store to, are in
//! one *range*. The first access checks all of it, so that the others need no check. They come later, when the check has
//! been emitted: its constants are changed then.
//!
//! A check of a range asks for more than its first access needs. If it fails, nothing but that access has been tried
//! (see [`Wanted`](emu_core::region::fill::Wanted)); the region leaves there, and the interpreter does the accesses one
//! by one. Where that happens all the time, the region is made anew with every access for itself
//! ([`Source::apart`](emu_core::region::Source)).

use super::Translator;
use cranelift_codegen::ir::{
    Inst, InstructionData, Opcode, Value, ValueDef,
    immediates::{Imm64, Offset32},
};
use emu_core::region::{fill::Wanted, layout::tlb};

/// Bytes in a range at most. A large one is likelier to be in two pages.
const LONGEST: i64 = 256;
/// Steps by which an address is followed to what it comes from.
const DEPTH: usize = 12;

/// What an address is relative to: `base + (index << scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    base: Option<Value>,
    index: Option<(Value, u32)>,
}

/// The instructions of a check that its range is in.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The constant: distance from the first access to the range's first byte.
    pub start: Inst,
    /// The load of the tag, if it can be that of another one.
    pub tag: Option<Inst>,
    /// The constant: the largest distance from the tag.
    pub most: Inst,
    /// The constant: what is wanted.
    pub wanted: Option<Inst>,
}

/// A range that has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    root: Root,
    /// Of the first access, from the root.
    first: i64,
    first_size: i64,
    first_write: bool,
    /// First byte and byte behind the last, from the root.
    from: i64,
    to: i64,
    write: bool,
    /// Host address of the first access.
    host: Value,
    check: Check,
}

impl Range {
    /// A range of one access.
    pub fn new(at: (Root, i64), size: u64, write: bool, host: Value, check: Check) -> Self {
        let (root, first) = at;
        let size = size as i64;
        let (first_size, first_write) = (size, write);
        Range { root, first, first_size, first_write, from: first, to: first + size, write, host, check }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            size: self.first_size as u8,
            write: self.first_write,
            before: (self.first - self.from) as u16,
            length: (self.to - self.from) as u16,
            write_range: self.write,
        }
    }
}

impl Translator {
    /// Host address, and distance from it, of an access that a range has room for.
    pub(super) fn in_range(&mut self, at: (Root, i64), size: u64, write: bool) -> Option<(Value, i32)> {
        if self.apart {
            return None;
        }
        let (root, distance) = at;
        let end = distance + size as i64;
        let fits = |range: &&mut Range| {
            let may = !write || range.write || range.check.tag.is_some();
            may && range.root == root && range.to.max(end) - range.from.min(distance) <= LONGEST
        };
        let range = self.ranges.iter_mut().rev().find(fits)?;
        let found = (range.host, (distance - range.first) as i32);
        if range.from > distance || range.to < end || write && !range.write {
            range.from = range.from.min(distance);
            range.to = range.to.max(end);
            range.write |= write;
            let range = *range;
            self.widen_check(&range);
        }
        Some(found)
    }

    /// Changes the check of a range that has become longer.
    fn widen_check(&mut self, range: &Range) {
        let Check { start, tag, most, wanted } = range.check;
        self.change_constant(start, range.from - range.first);
        self.change_constant(most, 4096 - (range.to - range.from));
        if let Some(wanted) = wanted {
            self.change_constant(wanted, range.wanted().pack() as i64);
        }
        if range.write
            && let Some(tag) = tag
            && let InstructionData::Load { offset, .. } = &mut self.builder.func.dfg.insts[tag]
        {
            *offset = Offset32::new(tlb::WRITE as i32);
        }
    }

    fn change_constant(&mut self, at: Inst, value: i64) {
        let opcode = Opcode::Iconst;
        self.builder.func.dfg.insts[at] = InstructionData::UnaryImm { opcode, imm: Imm64::new(value) };
    }

    /// What `linear` is relative to, and its distance from there.
    pub(super) fn root(&self, linear: Value) -> (Root, i64) {
        let alone = (Root { base: Some(linear), index: None }, 0);
        if !self.mode().is_64bit() {
            // Addresses wrap at 4 GiB.
            return alone;
        }
        let (base, distance) = self.follow(linear);
        let Some(sum) = base else { return (Root { base: None, index: None }, distance) };
        let Some((Opcode::Iadd, [a, b])) = self.binary(sum) else {
            return (Root { base, index: None }, distance);
        };
        let (base, of_base) = self.follow(a);
        let (index, scale) = self.scaled(b);
        let (Some(index), of_index) = self.follow(index) else { return alone };
        let distance = distance.wrapping_add(of_base).wrapping_add(of_index << scale);
        (Root { base, index: Some((index, scale)) }, distance)
    }

    /// A value without the constants that have been added to it, and their sum. `None`: zero.
    fn follow(&self, value: Value) -> (Option<Value>, i64) {
        let (mut value, mut sum) = (value, 0i64);
        for _ in 0..DEPTH {
            if let Some(constant) = self.known_constant(value) {
                return (None, sum.wrapping_add(constant as i64));
            }
            let Some((opcode, [a, b])) = self.binary(value) else { break };
            let Some(constant) = self.known_constant(b) else { break };
            match opcode {
                Opcode::Iadd => sum = sum.wrapping_add(constant as i64),
                Opcode::Isub => sum = sum.wrapping_sub(constant as i64),
                _ => break,
            }
            value = a;
        }
        (Some(self.builder.func.dfg.resolve_aliases(value)), sum)
    }

    /// A value as another one shifted by a constant.
    fn scaled(&self, value: Value) -> (Value, u32) {
        match self.binary(value) {
            Some((Opcode::Ishl, [a, b])) => match self.known_constant(b) {
                Some(scale @ 0..=3) => (a, scale as u32),
                _ => (value, 0),
            },
            _ => (value, 0),
        }
    }

    pub(super) fn binary(&self, value: Value) -> Option<(Opcode, [Value; 2])> {
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return None };
        match dfg.insts[inst] {
            InstructionData::Binary { opcode, args } => Some((opcode, args)),
            _ => None,
        }
    }
}
