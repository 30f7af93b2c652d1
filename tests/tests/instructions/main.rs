//! Single instructions: what they touch, what the corpus says of them, and what the host's processor does.

mod corpus;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod differential;
mod effects;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod kvm;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod line;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native;
