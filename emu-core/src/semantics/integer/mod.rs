//! General-purpose instructions. SDM vol. 1, ch. 7.

pub mod arith;
pub mod bits;
pub mod branch;
pub mod condition;
pub mod deferred;
pub mod flags;
pub mod moves;
pub mod multiply;
pub mod shift;
pub mod stack;

use super::{Emitter, Row, Semantics, Step};
use crate::decode::Insn;

/// Rows of all families here.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = Vec::new();
    rows.extend(arith::rows());
    rows.extend(bits::rows());
    rows.extend(branch::rows());
    rows.extend(flags::rows());
    rows.extend(moves::rows());
    rows.extend(multiply::rows());
    rows.extend(shift::rows());
    rows.extend(stack::rows());
    rows
}

/// A semantics type as the function of a row.
fn run<E: Emitter, S: Semantics>(e: &mut E, i: &Insn) -> Step<E> {
    S::run(e, i)
}
