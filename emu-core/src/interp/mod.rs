//! The interpreter: cached blocks of decoded instructions, run by handlers that call each other in tail
//! position.
//!
//! Two emitters act on the CPU at once. [`Exact`] does everything: segment checks, page crossings, devices,
//! breakpoints, atomic updates. [`Fast`] does what is common and hands the whole instruction to `Exact` when
//! it meets anything else; that is safe because an instruction commits nothing before its last access.

mod blocks;
mod build;
mod emit;
mod events;
mod handlers;
mod hot;
mod jumps;
mod liveness;
mod observed;
mod run;
mod source;
mod specialise;
mod vector;

pub use blocks::BlockCache;
pub use emit::{Exact, Fast, Interp};
pub use hot::{
    Hot, Instance, at, enter_region, exact_within_region, heat, indirect, look_around, returned, unlinked,
};
pub use jumps::{JumpEntry, Jumps};
pub use observed::Pause;
pub use run::Stop;
