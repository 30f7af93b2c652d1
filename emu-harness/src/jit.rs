//! The translator as an executor: each instruction is a region of its own.
//!
//! What the translator leaves to the interpreter is executed by that, as in a machine. Regions of several blocks are
//! compared by the block fuzzer and by whole guests.

use crate::{Executor, Outcome, Setup, Unsuitable, interpreter::Interpreter};
use emu_core::{arch::Exception, cpu::Cpu, cpu_model::Generation, region::Tier};
use emu_jit::{Jit, JitError, Options};

/// See the module.
pub struct Translated {
    interpreter: Interpreter,
    jit: Jit,
    tier: Tier,
}

impl Translated {
    /// For tier `tier`.
    ///
    /// # Errors
    /// If there is no translator for this host.
    pub fn new(tier: Tier) -> Result<Self, JitError> {
        let jit = Jit::new(Options { threads: 0, cache: 16 << 20, ..Options::default() })?;
        Ok(Translated { interpreter: Interpreter::new(), jit, tier })
    }

    /// Executes as an early processor from now on, or as the model `max`: what a case of the corpus asks for.
    pub fn set_generation(&mut self, generation: Option<Generation>) {
        self.interpreter.set_generation(generation);
    }

    /// Instructions of the guest that host code has been made for.
    pub fn translated(&self) -> u64 {
        self.jit.stats().instructions
    }
}

impl Executor for Translated {
    fn name(&self) -> &'static str {
        "jit"
    }

    fn execute(&mut self, setup: &Setup) -> Result<Outcome, Unsuitable> {
        let (jit, tier) = (&self.jit, self.tier);
        let step = |cpu: &mut Cpu| -> Result<(), Exception> {
            loop {
                match cpu.execute_one_translated(tier, |source| jit.translate(source)) {
                    Err(Exception::Restart) => {}
                    result => return result,
                }
            }
        };
        // First without translations of addresses: every access leaves the region. Then with those that are left.
        self.interpreter.execute_by(setup, &step)?;
        self.interpreter.execute_again_by(setup, &step)
    }
}
