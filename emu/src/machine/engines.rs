//! Engines: what executes a machine's vCPUs, how that is chosen, and changing it while they stand.
//!
//! Every vCPU has a software CPU, whose state is the vCPU's whenever it does not run. An engine is what stands beside it:
//! nothing (the interpreter alone), a translator, or the host's processor by KVM with a translator for what that does not
//! execute. So to change the engine is to say who stands there from the next run on.

use crate::{
    config::{EngineKind, EngineSpec, MachineConfig},
    exit::{OptionError, RunError},
};
use emu_accel::engine::{Accelerator, Refusal, Vcpu};
use emu_core::{cpu_model::CpuModel, memory::PhysicalMemory, region::Translator};
use emu_jit::JitError;
use std::{fmt, str::FromStr, sync::Arc};

/// What executes a guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The interpreter alone.
    Interp,
    /// The translator, and the interpreter for what is not hot.
    Jit,
    /// The host's processor by KVM, and the translator for what that does not execute.
    Kvm,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Engine; 3] = [Engine::Kvm, Engine::Jit, Engine::Interp];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Interp => "interp",
            Engine::Jit => "jit",
            Engine::Kvm => "kvm",
        })
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Engine::ALL.into_iter().find(|engine| engine.to_string() == text);
        found.ok_or_else(|| format!("{text:?} is no engine: write kvm, jit or interp"))
    }
}

/// What executes a machine, and what has come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReport {
    /// The engine.
    pub engine: Engine,
    /// With KVM, how much of the guest it executes.
    pub mode: Option<String>,
    /// Why it is not KVM, if that was looked for and not found.
    pub reason: Option<String>,
    /// What KVM has done since it was first used, by name.
    pub counts: Vec<(&'static str, u64)>,
}

/// Who stands beside the software CPU of a vCPU.
pub struct Assignment {
    /// What translates its hot code.
    pub translator: Option<Arc<dyn Translator>>,
    /// Whether something executes on the host's processor.
    pub accelerated: bool,
    /// What that is, the first time: it is kept.
    pub hardware: Option<Vcpu>,
}

/// Why an engine cannot be had.
enum Missing {
    Jit(JitError),
    Kvm(String),
}

/// See the module.
pub struct Engines {
    spec: EngineSpec,
    cpus: u32,
    memory: Arc<PhysicalMemory>,
    current: Engine,
    /// Why auto has not chosen KVM.
    reason: Option<String>,
    /// Made when first needed, and kept.
    translator: Option<Arc<dyn Translator>>,
    accelerator: Option<Accelerator>,
    /// Every vCPU has been given its part of it.
    is_given: bool,
}

impl Engines {
    /// For a machine with `memory`. Nothing is chosen yet.
    pub fn new(config: &MachineConfig, memory: &Arc<PhysicalMemory>) -> Self {
        Engines {
            spec: config.engine,
            cpus: config.cpus,
            memory: memory.clone(),
            current: Engine::Interp,
            reason: None,
            translator: None,
            accelerator: None,
            is_given: false,
        }
    }

    /// What auto has chosen, for the user; `None` if the choice was the user's.
    pub fn notice(&self) -> Option<String> {
        let reason = || self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        (self.spec.kind == EngineKind::Auto).then(|| match self.current {
            Engine::Kvm => "engine kvm for 64-bit user code, jit for the rest".to_owned(),
            engine => format!("engine {engine}{}", reason()),
        })
    }

    /// Chooses what the user has asked for, or the fastest.
    pub fn first(&mut self, model: &CpuModel) -> Result<Vec<Assignment>, RunError> {
        let assigned = match self.spec.kind {
            EngineKind::Interp => self.assign(Engine::Interp, model),
            EngineKind::Jit => self.assign(Engine::Jit, model),
            EngineKind::Kvm => self.assign(Engine::Kvm, model),
            EngineKind::Auto => self.fastest(model),
        };
        assigned.map_err(|missing| match missing {
            // Whoever asked for a file for perf by name wants to know that there is none.
            Missing::Jit(error @ JitError::Perf(..)) => {
                anyhow::Error::new(error).context("--jit-perf").into()
            }
            Missing::Jit(error) => anyhow::Error::new(error).context("--engine jit").into(),
            Missing::Kvm(reason) => OptionError::new("--engine", Engine::Kvm, reason).into(),
        })
    }

    fn fastest(&mut self, model: &CpuModel) -> Result<Vec<Assignment>, Missing> {
        match self.assign(Engine::Kvm, model) {
            Err(Missing::Kvm(reason)) => self.reason = Some(reason),
            assigned => return assigned,
        }
        match self.assign(Engine::Jit, model) {
            Err(Missing::Jit(error)) if !matches!(error, JitError::Perf(..)) => {
                log::warn!("--engine auto: the interpreter alone ({error})");
                self.assign(Engine::Interp, model)
            }
            assigned => assigned,
        }
    }

    /// Changes to `engine`. An error is one sentence, and everything stays as it is.
    pub fn change(&mut self, engine: Engine, model: &CpuModel) -> Result<Vec<Assignment>, String> {
        self.assign(engine, model).map_err(|missing| match missing {
            Missing::Jit(error) => format!("there is no translator here: {error}"),
            Missing::Kvm(reason) => reason,
        })
    }

    /// What is in use.
    pub fn report(&self) -> EngineReport {
        let hardware = self.accelerator.as_ref();
        EngineReport {
            engine: self.current,
            mode: hardware
                .filter(|_| self.current == Engine::Kvm)
                .map(|hardware| hardware.mode().to_string()),
            reason: self.reason.clone(),
            counts: hardware.map(Accelerator::counts).unwrap_or_default(),
        }
    }

    fn assign(&mut self, engine: Engine, model: &CpuModel) -> Result<Vec<Assignment>, Missing> {
        let translator = match engine {
            Engine::Interp => None,
            Engine::Jit | Engine::Kvm => Some(self.translator().map_err(Missing::Jit)?),
        };
        let accelerated = engine == Engine::Kvm;
        let gives = accelerated && !self.is_given;
        let assigned: Result<Vec<_>, Missing> = (0..self.cpus as usize)
            .map(|number| {
                let hardware = gives.then(|| self.hardware(number, model)).transpose()?;
                Ok(Assignment { translator: translator.clone(), accelerated, hardware })
            })
            .collect();
        let assigned = assigned?;
        self.is_given |= gives;
        self.current = engine;
        Ok(assigned)
    }

    fn translator(&mut self) -> Result<Arc<dyn Translator>, JitError> {
        if let Some(translator) = &self.translator {
            return Ok(translator.clone());
        }
        let EngineSpec { jit_threads, jit_cache, thresholds, perf, stress, .. } = self.spec;
        let (threads, cache) = (jit_threads as usize, jit_cache as usize);
        let (perf, stress) = (perf.map(Into::into), stress.map(Into::into));
        let options = emu_jit::Options { threads, cache, thresholds, perf, stress };
        let translator = emu_jit::translator(options, &self.memory)?;
        self.translator = Some(translator.clone());
        Ok(translator)
    }

    fn hardware(&mut self, number: usize, model: &CpuModel) -> Result<Vcpu, Missing> {
        let accelerator = match self.accelerator.take() {
            Some(accelerator) => accelerator,
            None => {
                let found = Accelerator::find(self.memory.ram(), model);
                found.map_err(|refusal: Refusal| Missing::Kvm(refusal.to_string()))?
            }
        };
        let vcpu = self.accelerator.insert(accelerator).vcpu(number);
        vcpu.map_err(|error| Missing::Kvm(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_the_names_they_have() {
        for engine in Engine::ALL {
            assert_eq!(engine.to_string().parse(), Ok(engine));
        }
        assert!("qemu".parse::<Engine>().unwrap_err().contains("write kvm, jit or interp"));
    }
}
