//! The engines that `--engine` names.

use crate::exit::{OptionError, RunError};
use clap::ValueEnum;
use emu_core::cpu_model::CpuModel;
use emu_core::region::Tier;
use emu_harness::{Executor, interpreter::Interpreter, jit::Translated};

/// Something that executes instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The interpreter
    Interp,
    /// The host's processor, in user mode
    Native,
    /// The host's KVM
    Kvm,
    /// The translator to host code
    Jit,
}

impl Engine {
    /// Starts it; only the interpreter can be another `model` than it is.
    pub fn open(self, model: CpuModel) -> Result<Box<dyn Executor>, RunError> {
        match self {
            Engine::Interp => {
                let mut interpreter = Interpreter::new();
                interpreter.set_model(model);
                Ok(Box::new(interpreter))
            }
            Engine::Native => native().map_err(|reason| unavailable("native", &reason)),
            Engine::Kvm => kvm().map_err(|reason| unavailable("kvm", &reason)),
            Engine::Jit => match Translated::new(Tier::Hot) {
                Ok(translated) => Ok(Box::new(translated)),
                Err(reason) => Err(unavailable("jit", &reason.to_string())),
            },
        }
    }
}

fn unavailable(engine: &str, reason: &str) -> RunError {
    OptionError::new("--engine", engine, format!("not available here: {reason}; use interp")).into()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn native() -> Result<Box<dyn Executor>, String> {
    match emu_harness::native::Native::start() {
        Ok(native) => Ok(Box::new(native)),
        Err(reason) => Err(reason.to_string()),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn native() -> Result<Box<dyn Executor>, String> {
    Err("only an x86-64 Linux host runs instructions natively".into())
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn kvm() -> Result<Box<dyn Executor>, String> {
    match emu_harness::kvm::Kvm::open() {
        Ok(kvm) => Ok(Box::new(kvm)),
        Err(reason) => Err(reason.to_string()),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn kvm() -> Result<Box<dyn Executor>, String> {
    Err("only an x86-64 Linux host has KVM for x86 guests".into())
}
