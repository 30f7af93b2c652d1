//! Developer commands of emu, and the parts of them that the whole-guest tests share: where guests come from
//! ([`guests`]) and the benchmark guest ([`bench`]).

pub mod bench;
pub mod ci;
pub mod guests;
pub mod handlers;
pub mod lint;
pub mod soak;
pub mod workspace;
