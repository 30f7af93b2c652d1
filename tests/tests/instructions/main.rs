//! Single instructions: what they touch, what the corpus says of them, and what the host's processor does.

mod corpus;
mod differential;
mod effects;
mod jit;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod kvm;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native;
