//! The host's processor where there is a way to it, and elsewhere the reason why not.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use crate::native::Native as Oracle;

/// The oracle of one thread.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn oracle() -> Result<Oracle, String> {
    Oracle::start().map_err(|error| error.to_string())
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod nobody {
    use crate::{Outcome, Setup, Unsuitable};

    /// There is no oracle.
    pub enum Oracle {}

    impl Oracle {
        /// Cannot be called.
        pub fn execute_batch<'a>(
            &mut self,
            _: impl IntoIterator<Item = &'a Setup>,
        ) -> Vec<Result<Outcome, Unsuitable>> {
            match *self {}
        }
    }

    /// Why there is none.
    pub fn oracle() -> Result<Oracle, String> {
        Err("only an x86-64 Linux host runs instructions natively".into())
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub use nobody::{Oracle, oracle};
