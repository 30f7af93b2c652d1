//! What can go wrong with KVM.

use kvm_ioctls::Error as Errno;
use std::io;

/// Errno values by which opening fails.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EPERM: i32 = 1;
const ENODEV: i32 = 19;

/// Why the host's KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no device.
    #[error("there is no /dev/kvm")]
    Missing,
    /// It may not be opened.
    #[error("/dev/kvm may not be opened: join the group kvm")]
    Forbidden,
    /// Its interface is another.
    #[error("/dev/kvm has version {0} of its interface, not 12")]
    Version(i32),
    /// It lacks something that cannot be done without.
    #[error("/dev/kvm lacks {0}")]
    Capability(&'static str),
    /// Anything else.
    #[error("/dev/kvm refuses {what}: {error}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The host's answer.
        error: io::Error,
    },
}

impl Unavailable {
    /// Why opening the device failed.
    pub(super) fn of_open(error: &Errno) -> Self {
        match error.errno() {
            ENOENT | ENODEV => Unavailable::Missing,
            EACCES | EPERM => Unavailable::Forbidden,
            errno => {
                Unavailable::Refused { what: "being opened", error: io::Error::from_raw_os_error(errno) }
            }
        }
    }
}

/// What KVM refuses to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request failed.
    #[error("KVM cannot {what}: {source}")]
    Request {
        /// What was asked for, as the end of a sentence.
        what: &'static str,
        /// The host's answer.
        source: io::Error,
    },
    /// An MSR was not taken, or not given.
    #[error("KVM has no MSR {0:#x}")]
    Msr(u32),
}

/// Turns a failed request into an [`Error`].
pub(super) fn cannot(what: &'static str) -> impl Fn(Errno) -> Error {
    move |error| Error::Request { what, source: io::Error::from(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_device_is_told_from_one_that_forbids_it() {
        assert!(matches!(Unavailable::of_open(&Errno::new(ENOENT)), Unavailable::Missing));
        assert!(matches!(Unavailable::of_open(&Errno::new(EACCES)), Unavailable::Forbidden));
        assert!(matches!(Unavailable::of_open(&Errno::new(5)), Unavailable::Refused { .. }));
    }
}
