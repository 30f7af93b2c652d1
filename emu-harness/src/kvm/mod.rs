//! KVM as an oracle: kernel code, which user mode cannot show.
//!
//! The memory is that of an [`Interpreter`] which never executes: both see the same pages at the same places. An
//! exception is told by where it is delivered to, see `delivery`.
//!
//! What this host's KVM does otherwise than a processor ([`Hole`]) is left out with the hole as the reason, as is
//! what it does not emulate; neither is ever taken for agreement. User code is left to the host's processor
//! itself (`native`).

mod delivery;

use crate::{
    Executor, Outcome, Setup, Unsuitable,
    corpus::{self, Mode},
    interpreter::Interpreter,
};
use delivery::{Delivered, Delivery};
use emu_accel::kvm::{self, Error, Hole, Probe, Stop, Unavailable, Vcpu, Vm};
use emu_core::{
    arch::{Cr0, Efer, Seg, attr, msr},
    engine::NoDevices,
    state::{Activity, CpuState},
};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic as M, Register};

/// Steps that one instruction may take: a repeated one takes one for each iteration, or for several.
const MOST_STEPS: u32 = 100_000;

/// Why there is no oracle on this host.
#[derive(Debug, thiserror::Error)]
pub enum NoOracle {
    /// No KVM.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It does not do what the oracle needs.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A processor of the host's KVM.
pub struct Kvm {
    /// Keeps and lays out the memory.
    memory: Interpreter,
    vcpu: Vcpu,
    holes: Vec<Hole>,
}

impl Kvm {
    /// Opens the host's KVM and finds out what it cannot do.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open() -> Result<Self, NoOracle> {
        let kvm = kvm::Kvm::open()?;
        let holes = Probe::of(&kvm, &NoDevices::new())?.holes;
        let memory = Interpreter::new();
        let vcpu = Vm::new(&kvm, memory.cpu.memory.ram())?.vcpu(0)?;
        Ok(Kvm { memory, vcpu, holes })
    }

    /// What this KVM does otherwise than a processor: setups that would show it are not run.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Whether the mode can be shown.
    fn check_mode(&self, setup: &Setup) -> Result<(), Unsuitable> {
        let control = &setup.state.control;
        let level = (setup.state.segments.data[Seg::Ss as usize].attr & attr::DPL) >> attr::DPL_SHIFT;
        if setup.mode == Mode::V86 || setup.mode != Mode::Real && level != 0 {
            return Err(Unsuitable("user code: the host's processor shows it without KVM".into()));
        }
        if control.cr0.contains(Cr0::PG) && !control.efer.contains(Efer::LMA) {
            self.mask(Hole::LegacyPaging)?;
        }
        Ok(())
    }

    /// Refuses what would show `hole`, if this KVM has it.
    fn mask(&self, hole: Hole) -> Result<(), Unsuitable> {
        if self.holes.contains(&hole) { Err(Unsuitable(hole.to_string())) } else { Ok(()) }
    }

    /// Whether the instruction can be shown.
    fn check_instruction(&self, i: &Instruction, state: &CpuState) -> Result<(), Unsuitable> {
        let long = state.control.efer.contains(Efer::LMA);
        match i.mnemonic() {
            M::Mov if to_control(i) && state.general.gpr[i.op1_register().number()] >> 32 != 0 => {
                self.mask(Hole::ControlHalves)
            }
            M::Swapgs => self.mask(Hole::SwapGs),
            M::Wrmsr if checks_reserved(state.general.gpr[1] as u32) => self.mask(Hole::MsrChecks),
            M::Iret | M::Iretd | M::Iretq if long => self.mask(Hole::InterruptReturn),
            M::Lzcnt | M::Tzcnt => self.mask(Hole::CountZeros),
            M::Movbe => self.mask(Hole::Movbe),
            M::Xgetbv | M::Xsetbv => self.mask(Hole::Xcr0),
            M::Int | M::Int3 | M::Into | M::Int1 => Err(Unsuitable(
                "the oracle has the IDT for itself, which this instruction goes through".into(),
            )),
            M::Vmcall | M::Vmmcall => Err(Unsuitable("KVM takes hypercalls for itself".into())),
            M::Cpuid => Err(Unsuitable("CPUID is the model's, not the host's".into())),
            M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Rdrand | M::Rdseed => {
                Err(Unsuitable("no two processors agree on it".into()))
            }
            _ => Ok(()),
        }
    }

    /// The instruction that `state` is at.
    fn decode(&self, setup: &Setup, state: &CpuState) -> Instruction {
        let bitness = setup.mode.bitness();
        let offset = state.general.rip;
        let bytes = self.memory.read(state.segments.data[Seg::Cs as usize].base.wrapping_add(offset), 15);
        Decoder::with_ip(bitness, &bytes, offset, DecoderOptions::NONE).decode()
    }

    /// Executes one instruction from `state`. Leaves state after it there, and tells the exception if there was
    /// one.
    fn step(&mut self, setup: &Setup, state: &mut CpuState) -> Result<Option<corpus::Exception>, Unsuitable> {
        let i = self.decode(setup, state);
        self.check_instruction(&i, state)?;
        let repeated = i.has_rep_prefix() || i.has_repne_prefix();
        let delivery = Delivery::arrange(&mut self.memory, setup.mode, state, &i);
        self.vcpu.set_state(&delivery.state).map_err(|error| refused(&error))?;
        for _ in 0..MOST_STEPS {
            let stop = self.vcpu.step(&NoDevices::new()).map_err(|error| refused(&error))?;
            let mut found = state.clone();
            self.vcpu.update(&mut found).map_err(|error| refused(&error))?;
            match (stop, delivery.delivered(&self.memory, &found)) {
                (Stop::Stepped, Some(Delivered { exception, general })) => {
                    delivery.clear_away(&mut self.memory, state, &mut found);
                    (found.general, found.segments) = (general, state.segments);
                    *state = found;
                    return Ok(Some(exception));
                }
                // Another iteration.
                (Stop::Stepped, None) if repeated && found.general.rip == state.general.rip => {}
                (Stop::Stepped | Stop::Halted, None) => {
                    delivery.clear_away(&mut self.memory, state, &mut found);
                    if i.mnemonic() == M::Hlt {
                        found.events.activity = Activity::Halted;
                    }
                    *state = found;
                    return Ok(None);
                }
                (Stop::NotEmulated, _) => {
                    return Err(Unsuitable("this KVM does not emulate it in kernel code".into()));
                }
                (Stop::Shutdown, _) => {
                    return Err(Unsuitable("an exception that this KVM cannot deliver".into()));
                }
                (stop, _) => return Err(Unsuitable(format!("KVM stopped with {stop:?}"))),
            }
        }
        Err(Unsuitable(format!("not done after {MOST_STEPS} steps")))
    }
}

impl Executor for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn execute(&mut self, setup: &Setup) -> Result<Outcome, Unsuitable> {
        self.check_mode(setup)?;
        delivery::check_memory(setup)?;
        if setup.state.control.cr0.contains(Cr0::PG) {
            self.memory.clear_map(setup.state.control.efer.contains(Efer::LMA));
        }
        for region in &setup.memory {
            self.memory.place(setup, region)?;
        }
        let mut state = setup.state.clone();
        let (mut completed, mut exception) = (0, None);
        while completed < setup.instructions && (completed == 0 || Some(state.general.rip) != setup.stop) {
            exception = self.step(setup, &mut state)?;
            if exception.is_some() {
                break;
            }
            completed += 1;
        }
        let memory = setup.memory.iter().map(|region| self.memory.read(region.address, region.bytes.len()));
        Ok(Outcome { state, exception, memory: memory.collect(), instructions: completed })
    }
}

/// Whether it loads CR0, CR4 or a debug register.
fn to_control(i: &Instruction) -> bool {
    matches!(i.op0_register(), Register::CR0 | Register::CR4) || i.op0_register().is_dr()
}

/// Whether an MSR has reserved bits or values that depend on more than its width.
fn checks_reserved(number: u32) -> bool {
    matches!(
        number,
        msr::IA32_PAT
            | msr::IA32_FMASK
            | msr::IA32_SYSENTER_CS
            | msr::IA32_SYSENTER_ESP
            | msr::IA32_SYSENTER_EIP
    )
}

/// KVM's refusal of a state.
fn refused(error: &Error) -> Unsuitable {
    Unsuitable(error.to_string())
}

#[cfg(test)]
mod tests;
