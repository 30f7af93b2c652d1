//! What `emu disk` does with images that no guest uses.

mod create;

pub use create::{CLUSTER_SIZE, CreateOptions, create};
