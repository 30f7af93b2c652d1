//! What instructions mean, written once, generic over [`Emitter`]. One folder or file per family.

pub mod effects;
mod emitter;
pub mod integer;
mod operand;
mod table;
pub mod vector;

pub use emitter::{
    Arithmetic, Emitter, FlagSource, Flow, Helper, Memory, Pure, Registers, Step, Types, Vectors,
};
pub use operand::{AnyForm, Fixed, Form, Semantics, fixed};
pub use table::{Attr, Key, NO_ROW, Row, Run, Table, form, microcode, microcode_form, row};

/// Rows of the opcode table whose semantics are written in the emitter's vocabulary.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = Vec::new();
    rows.extend(integer::rows());
    rows.extend(vector::rows());
    rows
}
