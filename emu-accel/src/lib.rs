//! Engines that execute on the host's processor: KVM. The only crate with its ioctls.
//!
//! There is no KVM but on Linux, and none of ours but on x86-64; elsewhere this crate is empty.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kvm;
