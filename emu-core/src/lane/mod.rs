//! 128-bit lanes: what each operation of MMX, SSE to SSE4.2, AVX, AVX2, AES-NI, PCLMULQDQ, SHA and GFNI does to
//! values.
//!
//! A lane is a `u128`, element 0 in the low bits. Operations are types ([`LaneOperation`], [`FpOperation`]) so
//! that every row of the opcode table gets a function of its own in which the operation is one or two host
//! instructions; each also has a number ([`LaneOp`], [`FpOp`]) for tiers that translate it. No CPU, no memory.
//!
//! Most integer operations are loops over arrays, which the compiler turns into vector instructions. `host`
//! has those that are beyond SSE2 or beyond the compiler, found at run time; every one also has a portable
//! text, which tests hold against it.

mod aes;
mod arith;
mod carryless;
mod elements;
pub mod fp;
mod galois;
mod host;
mod operation;
mod permute;
mod primitive;
mod sha;
mod shift;
mod shuffle;
mod text;
mod text_host;
mod value;

pub use aes::{Aesdec, Aesdeclast, Aesenc, Aesenclast, Aesimc, Aeskeygenassist};
pub use arith::*;
pub use carryless::{Pclmulqdq, crc32};
pub use galois::{Gf2p8affineinvqb, Gf2p8affineqb, Gf2p8mulb};
pub use host::detect;
pub use operation::{
    FpOp, FpOp3, FpOperation, FpOperation3, FpResult, LaneOp, LaneOp3, LaneOperation, LaneOperation3, Visitor,
};
pub use permute::*;
pub use primitive::{Element, Floats, FpPrimitive, LanePrimitive, LanePrimitive3, is_simple_predicate};
pub use sha::{Sha1msg1, Sha1msg2, Sha1nexte, Sha1rnds4, Sha256msg1, Sha256msg2, Sha256rnds2};
pub use shift::*;
pub use shuffle::*;
pub use text::{ExpandMask, Pcmpestr, Pcmpistr};
pub use value::{Lane, bits, lane};

#[cfg(test)]
mod tests;
