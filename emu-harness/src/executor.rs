//! Something that executes setups.

use crate::{Outcome, Setup};

/// Why an executor cannot run a setup. A reason in words: it is printed and counted, never treated as agreement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsuitable(pub String);

/// An engine, or an oracle.
pub trait Executor {
    /// Its name on the command line: `interp`, `native`, `kvm`.
    fn name(&self) -> &'static str;

    /// Whether it may lack instructions that the model `max` has: its #UD then says nothing against others.
    fn may_lack_instructions(&self) -> bool {
        false
    }

    /// Executes `setup` and tells what came of it. One executor runs any number of setups; none sees anything of
    /// the ones before.
    ///
    /// # Errors
    /// Why this executor cannot run it, if it cannot.
    fn execute(&mut self, setup: &Setup) -> Result<Outcome, Unsuitable>;
}
