//! What a translator has done.

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Regions translated.
    pub regions: u64,
    /// Guest instructions in them.
    pub instructions: u64,
    /// Time that it took.
    pub nanoseconds: u64,
    /// Bytes of host code kept.
    pub bytes: u64,
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stats { regions, instructions, nanoseconds, bytes } = self;
        write!(
            f,
            "{regions} regions of {instructions} instructions translated in {} ms, {} KiB of code",
            nanoseconds / 1_000_000,
            bytes >> 10
        )
    }
}
