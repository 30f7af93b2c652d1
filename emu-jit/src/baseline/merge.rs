//! One look into the TLB for several accesses of a block.
//!
//! Accesses at constant distances from each other (fields of a structure, the stack) are nearly always in the same page.
//! The first of them asks for the whole range; if that is not there, it leaves, and the interpreter executes the rest of
//! the block: asking for more than an access needs is always right.

use super::ir::{Binary, NONE, Op, V};
use emu_core::region::fill::Wanted;

/// The most bytes that are asked for at once.
const MOST: i64 = 512;

/// A value as another one plus a constant; modulo 2^32 or 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    root: V,
    narrow: bool,
    offset: i64,
}

/// Accesses that share a look.
struct Group {
    /// Number of the first.
    first: V,
    sum: Sum,
    /// Range, relative to the root.
    from: i64,
    to: i64,
    write: bool,
}

/// Merges looks in `ops`.
pub fn merge(ops: &mut [Op]) {
    let mut sums: Vec<Sum> = Vec::with_capacity(ops.len());
    let mut groups: Vec<Group> = Vec::new();
    // By host address: that of the group's first access, and the distance from it.
    let mut instead: Vec<(V, i16)> = (0..ops.len() as V).map(|n| (n, 0)).collect();
    for n in 0..ops.len() {
        sums.push(sum(ops, &sums, n));
        match &mut ops[n] {
            Op::Host(linear, wanted) => {
                let (sum, wanted) = (sums[*linear as usize], *wanted);
                match groups.iter_mut().find_map(|group| group.takes(sum, wanted).then_some(group)) {
                    Some(group) => instead[n] = (group.first, (sum.offset - group.sum.offset) as i16),
                    None => groups.push(Group::new(n as V, sum, wanted)),
                }
            }
            Op::Read(_, host, off) | Op::Write(_, host, off, _) | Op::LaneRead(_, host, off) => {
                let (first, distance) = instead[*host as usize];
                (*host, *off) = (first, *off + distance);
            }
            Op::LaneWrite(host, off, _) => {
                let (first, distance) = instead[*host as usize];
                (*host, *off) = (first, *off + distance);
            }
            Op::Exact => close(&mut groups, ops),
            _ => {}
        }
    }
    close(&mut groups, ops);
    for (n, op) in ops.iter_mut().enumerate() {
        if instead[n].0 != n as V {
            // Nothing uses it any more.
            *op = Op::Const(0);
        }
    }
}

/// Tells the first accesses what to ask for.
fn close(groups: &mut Vec<Group>, ops: &mut [Op]) {
    for group in groups.drain(..) {
        if let Op::Host(_, wanted) = &mut ops[group.first as usize] {
            wanted.before = (group.sum.offset - group.from) as u16;
            wanted.length = (group.to - group.from) as u16;
            wanted.write_range = group.write;
        }
    }
}

impl Group {
    fn new(first: V, sum: Sum, wanted: Wanted) -> Self {
        let (from, to) = (sum.offset, sum.offset + i64::from(wanted.size));
        Group { first, sum, from, to, write: wanted.write }
    }

    /// Takes an access into the group, if it belongs there.
    fn takes(&mut self, sum: Sum, wanted: Wanted) -> bool {
        let (from, to) = (self.from.min(sum.offset), self.to.max(sum.offset + i64::from(wanted.size)));
        let same = (self.sum.root, self.sum.narrow) == (sum.root, sum.narrow);
        if !same || to - from > MOST {
            return false;
        }
        (self.from, self.to) = (from, to);
        self.write |= wanted.write;
        true
    }
}

fn sum(ops: &[Op], sums: &[Sum], n: usize) -> Sum {
    let modulo = |base: V, by: i64| {
        let sum = sums[base as usize];
        Sum { narrow: true, offset: sum.offset.wrapping_add(by), ..sum }
    };
    let plus = |base: V, by: i64| match sums[base as usize] {
        Sum { narrow: true, .. } => Sum { root: base, narrow: false, offset: by },
        sum => Sum { offset: sum.offset.wrapping_add(by), ..sum },
    };
    let constant = |v: V| match ops[v as usize] {
        Op::Const(value) => i32::try_from(value as i64).ok().map(i64::from),
        _ => None,
    };
    let itself = Sum { root: n as V, narrow: false, offset: 0 };
    match ops[n] {
        Op::Address(base, NONE, _, by) => plus(base, by.into()),
        Op::Binary(Binary::Add, 3, base, by) => constant(by).map_or(itself, |by| plus(base, by)),
        Op::Binary(Binary::Sub, 3, base, by) => constant(by).map_or(itself, |by| plus(base, -by)),
        // Modulo 2^32 the distances stay; ranges that wrap around are in no page.
        Op::Binary(op @ (Binary::Add | Binary::Sub), 2, base, by) => {
            constant_32(ops, by).map_or(itself, |by| {
                let by = if op == Binary::Add { by } else { -by };
                modulo(base, by)
            })
        }
        Op::Extend(2, of) => modulo(of, 0),
        _ => itself,
    }
}

/// A constant as a signed number of 32 bits.
fn constant_32(ops: &[Op], v: V) -> Option<i64> {
    match ops[v as usize] {
        Op::Const(value) => u32::try_from(value).ok().map(|value| i64::from(value as i32)),
        _ => None,
    }
}
