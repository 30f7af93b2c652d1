//! What the translator makes, looked at closely. That it does what the interpreter does is told by `emu-harness`.

mod arithmetic;
mod arm;
mod compiled;
mod devices;
mod eviction;
#[cfg(target_arch = "x86_64")]
mod golden;
mod lanes;
pub mod machine;
mod running;
mod two_cpus;
