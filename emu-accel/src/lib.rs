//! Engines that execute on the host's processor: KVM. The only crate with its ioctls.
//!
//! There is no KVM but on Linux, and none of ours but on x86-64; elsewhere [`engine`] says so and the rest is not there.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "absent.rs"]
pub mod engine;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod engine;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kvm;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod user;
