//! The interpreter, one instruction at a time: a CPU in any mode with a little memory, no machine around it.

mod memory;
mod rest;

pub use memory::RAM;
pub(crate) use memory::TABLES;
pub use rest::{GDT, state_at_rest};

use crate::{
    Executor, Outcome, Rights, Setup, Unsuitable,
    corpus::{self, Mode},
};
use emu_core::{
    arch::{Efer, Exception},
    cpu::Cpu,
    cpu_model::{CpuModel, Generation},
    engine::{CpuIo, NoDevices, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
    state::CpuState,
};
use memory::{Map, out_of_reach, page_before};
use std::sync::Arc;

/// A CPU of the model `max`, its memory in reach.
///
/// As an [`Executor`] it makes memory anew for each setup, but only where the one before has left something:
/// pages of its regions, and pages that its accesses reached. Paging structures stay if the next setup has
/// the same pages with the same rights, and decoded code stays where no byte was written.
pub struct Interpreter {
    /// The CPU.
    pub cpu: Box<Cpu>,
    /// What the paging structures say, if they were made for a setup.
    map: Option<Map>,
    /// Pages that may hold something, besides those that the TLB knows to be reached.
    used: Vec<u64>,
    /// Generation of translations when the state was loaded: the TLB's knowledge is complete if it is the same.
    generation: u32,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new()
    }
}

impl Interpreter {
    /// After reset.
    pub fn new() -> Self {
        Self::wired(Arc::new(VcpuSignal::default()), Arc::new(NoDevices::new()))
    }

    /// The same with a machine around it.
    pub fn wired(signal: Arc<VcpuSignal>, io: Arc<dyn CpuIo>) -> Self {
        let ram = GuestMemory::new(RAM).expect("the host has a few megabytes");
        let model = Arc::new(newest());
        let memory = Arc::new(PhysicalMemory::new(ram));
        let cpu = Cpu::new(0, model, memory, signal, io);
        let generation = cpu.mmu.generation();
        Interpreter { cpu, map: None, used: Vec::new(), generation }
    }

    /// Executes as a CPU of `model` from now on.
    pub fn set_model(&mut self, model: CpuModel) {
        // What the old CPU's TLB knows to be reached the new one's does not.
        self.clear();
        let memory = self.cpu.memory.clone();
        self.cpu =
            Cpu::new(0, Arc::new(model), memory, Arc::new(VcpuSignal::default()), Arc::new(NoDevices::new()));
        self.generation = self.cpu.mmu.generation();
    }

    /// Executes as an early processor from now on, or as the model `max`: what a case of the corpus asks for.
    pub fn set_generation(&mut self, generation: Option<Generation>) {
        if self.cpu.model.generation() != generation.unwrap_or(Generation::Current) {
            self.set_model(generation.map_or_else(newest, CpuModel::early));
        }
    }

    /// Forgets all decoded code and all translations.
    pub fn forget(&mut self) {
        self.cpu.forget_code();
    }

    /// [`state_at_rest`], with the pages that hold the addresses `present` mapped to themselves.
    pub fn state_in(&mut self, mode: Mode, level: u8, base: u64, present: &[u64]) -> CpuState {
        let state = state_at_rest(mode, level, base);
        if mode != Mode::Real {
            let long = state.control.efer.contains(Efer::LMA);
            self.map = None;
            self.clear_map(long);
            let rights = Rights { user: level == 3, ..Rights::ALL };
            for address in present {
                self.map(long, *address, rights);
            }
        }
        state
    }

    fn prepare(&mut self, setup: &Setup) -> Result<(), Unsuitable> {
        for region in &setup.memory {
            let end = region.address.checked_add(region.bytes.len() as u64);
            if end.is_none_or(|end| end > TABLES) {
                return Err(out_of_reach(region));
            }
        }
        self.clear();
        for region in &setup.memory {
            self.put(region.address, &region.bytes);
            self.note_use(region.address, region.bytes.len());
        }
        self.map_regions(setup);
        self.cpu.load_state(&setup.state);
        self.generation = self.cpu.mmu.generation();
        Ok(())
    }

    /// Executes from the state and memory that are in place.
    fn run(&mut self, setup: &Setup) -> Outcome {
        self.run_by(setup, &step)
    }

    /// Executes `setup` by `step`, which executes one instruction.
    pub(crate) fn execute_by(&mut self, setup: &Setup, step: Step<'_>) -> Result<Outcome, Unsuitable> {
        self.prepare(setup)?;
        Ok(self.run_by(setup, step))
    }

    /// The same with the translations of addresses that are left.
    pub(crate) fn execute_again_by(&mut self, setup: &Setup, step: Step<'_>) -> Result<Outcome, Unsuitable> {
        self.restore(setup)?;
        Ok(self.run_by(setup, step))
    }

    fn run_by(&mut self, setup: &Setup, step: Step<'_>) -> Outcome {
        let (mut completed, mut raised) = (0, None);
        while completed < setup.instructions && (completed == 0 || Some(self.cpu.rip) != setup.stop) {
            raised = step(&mut self.cpu).err();
            if raised.is_some() {
                break;
            }
            completed += 1;
        }
        let mut state = self.cpu.save_state();
        if let Some(Exception::Page(_, address)) = raised {
            state.control.cr2 = address;
        }
        let memory = setup.memory.iter().map(|region| self.read(region.address, region.bytes.len()));
        Outcome {
            state,
            exception: raised.and_then(|raised| corpus::Exception::of(raised, setup.mode)),
            memory: memory.collect(),
            instructions: completed,
        }
    }

    /// Executes `setup` twice: with an empty TLB, which sends every access the exact way, and again with the
    /// TLB and the decoded code that the first time has left, so that fast handlers do all they can.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn execute_cold_and_warm(&mut self, setup: &Setup) -> Result<[Outcome; 2], Unsuitable> {
        let cold = Executor::execute(self, setup)?;
        self.restore(setup)?;
        let warm = self.run(setup);
        Ok([cold, warm])
    }

    /// Puts memory and registers back as `setup` has them. Translations stay, if nothing has changed on which
    /// they depend.
    fn restore(&mut self, setup: &Setup) -> Result<(), Unsuitable> {
        if self.cpu.mmu.generation() != self.generation {
            return self.prepare(setup);
        }
        let mut pages: Vec<u64> = self.cpu.mmu.reached().collect();
        pages.sort_unstable();
        pages.dedup();
        for page in &pages {
            let wanted = page_before(setup, *page);
            if self.read(*page, 0x1000) != wanted {
                self.put(*page, &wanted);
                self.forget_code(*page);
            }
        }
        let CpuState { general, segments, control, x87, simd, msrs, events } = &setup.state;
        let cpu = &mut self.cpu;
        let same = (cpu.segments, cpu.control, cpu.msrs, cpu.events) == (*segments, *control, *msrs, *events);
        if !same {
            cpu.load_state(&setup.state);
            // The TLB knows no more what has been reached.
            self.used.extend(pages);
            self.generation = cpu.mmu.generation();
            return Ok(());
        }
        cpu.regs[..16].copy_from_slice(&general.gpr);
        cpu.rip = general.rip;
        cpu.set_rflags(general.rflags);
        (cpu.x87, cpu.simd) = (*x87, *simd);
        cpu.load_mxcsr(simd.mxcsr);
        Ok(())
    }

    /// Executes one instruction, all of its repetitions. An exception leaves the state as it was.
    pub fn execute(&mut self) -> Result<(), Exception> {
        step(&mut self.cpu)
    }
}

/// Executes one instruction of a CPU.
pub(crate) type Step<'a> = &'a dyn Fn(&mut Cpu) -> Result<(), Exception>;

/// One instruction, all of its repetitions.
fn step(cpu: &mut Cpu) -> Result<(), Exception> {
    loop {
        match cpu.execute_one() {
            Err(Exception::Restart) => {}
            result => return result,
        }
    }
}

impl Executor for Interpreter {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn execute(&mut self, setup: &Setup) -> Result<Outcome, Unsuitable> {
        self.prepare(setup)?;
        Ok(self.run(setup))
    }
}

fn newest() -> CpuModel {
    CpuModel::named("max").expect("there is such a model")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Region;

    fn region(address: u64, bytes: &[u8], rights: Rights) -> Region {
        Region { address, bytes: bytes.to_vec(), rights }
    }

    #[test]
    fn a_store_to_a_read_only_page_faults_and_one_setup_leaves_nothing_to_the_next() {
        let mut interpreter = Interpreter::new();
        let mut state = interpreter.state_in(Mode::Long64, 3, 0, &[]);
        (state.general.rip, state.general.gpr[0]) = (0x1000, 0x2000);
        // mov [rax],al
        let code = region(0x1000, &[0x88, 0x00], Rights { write: false, ..Rights::ALL });
        let data = |write| region(0x2000, &[0xFF], Rights { write, ..Rights::ALL });
        let setup = |write| Setup {
            mode: Mode::Long64,
            state: state.clone(),
            memory: vec![code.clone(), data(write)],
            instructions: 1,
            stop: None,
        };
        let run =
            |interpreter: &mut Interpreter, write| Executor::execute(interpreter, &setup(write)).unwrap();

        let allowed = run(&mut interpreter, true);
        let denied = run(&mut interpreter, false);

        assert_eq!((allowed.exception, allowed.memory[1][0], allowed.instructions), (None, 0, 1));
        let fault = corpus::Exception { vector: 14, error_code: Some(7) };
        assert_eq!((denied.exception, denied.memory[1][0], denied.instructions), (Some(fault), 0xFF, 0));
        assert_eq!((denied.state.control.cr2, denied.state.general.rip), (0x2000, 0x1000));
    }
}
