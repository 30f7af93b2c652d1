//! What a translator has done.

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Regions translated.
    pub regions: u64,
    /// Those of them that were made for [`Tier::Hot`](emu_core::region::Tier::Hot).
    pub hot: u64,
    /// Guest instructions in them.
    pub instructions: u64,
    /// Time that it took.
    pub nanoseconds: u64,
    /// Bytes of host code kept.
    pub bytes: u64,
    /// Times that CPUs were asked to let go of regions that they do not use.
    pub looks: u64,
    /// Times that they were asked to let go of all.
    pub clearances: u64,
    /// Regions whose code has been given back then.
    pub released: u64,
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stats { regions, hot, instructions, nanoseconds, bytes, looks, clearances, released } = self;
        write!(
            f,
            "{regions} regions ({hot} hot) of {instructions} instructions translated in {} ms, {} KiB of code, \
             {released} regions released in {looks} looks and {clearances} clearances",
            nanoseconds / 1_000_000,
            bytes >> 10
        )
    }
}
