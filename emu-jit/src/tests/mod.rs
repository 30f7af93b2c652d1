//! What the translator makes, looked at closely. That it does what the interpreter does is told by `emu-harness`.

#[cfg(target_arch = "x86_64")]
mod golden;
mod machine;
