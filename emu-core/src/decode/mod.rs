//! From bytes to [`Insn`]: iced-x86 decodes, the opcode table says what runs it, `lower` lays it out for
//! execution, `block` makes rows of instructions.

mod checks;
pub mod early;
mod insn;
mod lower;

pub use checks::{Checks, CodeFacts, fault_of};
pub use insn::{AddressForm, Handler, Insn, Kind, flag};
pub use lower::lower;
