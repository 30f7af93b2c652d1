//! MMX, SSE to SSE4.2, AES-NI, PCLMULQDQ, SHA, and AVX with what builds on it. SDM vol. 1, ch. 9 to 14.
//!
//! The unit is a lane of 128 bits ([`crate::lane`] says what operations do to lanes). Drivers read operands,
//! apply the operation to each lane that an `Encoding` has, and write back; legacy SSE has
//! one lane and keeps the rest of the register, VEX forms have one or both and clear the rest. MMX
//! instructions are the same operations on the low half of a lane.
//!
//! A meaning is generic over how its memory operand is found, so that the list of [`rows`] gives both the
//! opcode table and the interpreter's specialised handlers.
//!
//! Worked example, PADDB XMM1, \[RAX\]: `Packed<Paddb>` loads the lane (which checks alignment, as the row's
//! attribute says), reads XMM1, applies `Paddb`, writes XMM1.

mod convert;
mod crypto;
mod elements;
mod float;
mod float_bits;
mod forms;
mod fused;
mod integer;
mod lanes;
mod mmx;
mod mmx_moves;
mod moves;
mod operand;
mod pack;
mod packed;
mod permute;
mod shift;
mod shuffle;
mod text;

pub use convert::store_halves;
pub use operand::{InMemory, InRegister};

use super::{AnyForm, Attr, Emitter, Form, Row, Step, form};
use crate::decode::Insn;
use iced_x86::Code;

/// What an instruction means, its memory operand found by a [`Form`] (whose widths are those of `AnyForm`).
pub trait Meaning {
    /// Does it.
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E>;
}

/// A place to put rows in.
pub trait Rows {
    /// One form, its meaning and what is checked before it.
    fn add<M: Meaning>(&mut self, code: Code, attr: Attr);
    /// The same for a form that is too rare for handlers of its own.
    fn add_rare<M: Meaning>(&mut self, code: Code, attr: Attr) {
        self.add::<M>(code, attr);
    }
}

/// SSE, memory operand unaligned or smaller than a lane.
const SSE: Attr = Attr::SSE;
/// SSE, memory operand aligned.
const ALIGNED: Attr = Attr::SSE.union(Attr::ALIGNED);
/// SSE floating point on one element.
const SCALAR: Attr = Attr::SSE.union(Attr::SIMD_FP);
/// SSE floating point on lanes.
const PACKED: Attr = ALIGNED.union(Attr::SIMD_FP);
/// AVX, memory operand unaligned.
const AVX: Attr = Attr::AVX;
/// AVX, memory operand aligned.
const AVX_ALIGNED: Attr = Attr::AVX.union(Attr::ALIGNED);
/// AVX floating point.
const AVX_FP: Attr = Attr::AVX.union(Attr::SIMD_FP);
/// MMX.
const MMX: Attr = Attr::MMX;

/// All rows of the families here.
pub fn list(rows: &mut impl Rows) {
    moves::list(rows);
    mmx_moves::list(rows);
    lanes::list(rows);
    integer::list(rows);
    shift::list(rows);
    pack::list(rows);
    shuffle::list(rows);
    permute::list(rows);
    elements::list(rows);
    float::list(rows);
    float_bits::list(rows);
    fused::list(rows);
    convert::list(rows);
    text::list(rows);
    crypto::list(rows);
}

/// Rows of the opcode table.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    struct Collected<E: Emitter>(Vec<Row<E>>);
    impl<E: Emitter> Rows for Collected<E> {
        fn add<M: Meaning>(&mut self, code: Code, attr: Attr) {
            self.0.push(form(code, M::run::<E, AnyForm>).with(attr));
        }
    }
    let mut rows = Collected(Vec::new());
    list(&mut rows);
    rows.0
}
