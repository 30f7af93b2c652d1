//! Randomness.

/// The host has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host gives no random bytes")]
pub struct EntropyError;

/// A source of random bytes.
pub trait EntropyBackend: Send + Sync {
    /// Fills `bytes` with randomness that is fit for keys. Returns at once.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}
