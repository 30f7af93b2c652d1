//! Saving and restoring a sandbox.

use super::{
    Error, Sandbox,
    space::{Frame, Space},
};
use emu_core::state::CpuState;
use std::{collections::VecDeque, sync::atomic::Ordering};

/// A state to return to: of the CPU, and, if it was saved by [`Sandbox::save_all`], of memory.
#[derive(Clone)]
pub struct Context {
    state: CpuState,
    executed: u64,
    pending: VecDeque<u8>,
    clock: u64,
    memory: Option<Memory>,
}

#[derive(Clone)]
struct Memory {
    space: Space,
    frames: Vec<Frame>,
}

impl Context {
    /// The CPU's part.
    pub fn state(&self) -> &CpuState {
        &self.state
    }
}

impl Sandbox<'_> {
    /// Saves the CPU: registers, pending interrupts, the number of instructions executed, the time-stamp
    /// counter. Hooks and the insides of devices are not part of it.
    pub fn save(&self) -> Context {
        Context {
            state: self.cpu.save_state(),
            executed: self.cpu.executed,
            pending: self.devices.pending.lock().clone(),
            clock: self.devices.clock.load(Ordering::Relaxed),
            memory: None,
        }
    }

    /// Saves memory as well: what is mapped, how, and what is in it.
    pub fn save_all(&self) -> Result<Context, Error> {
        let memory = Memory { space: self.space.clone(), frames: self.space.snapshot()? };
        Ok(Context { memory: Some(memory), ..self.save() })
    }

    /// Makes everything as it was saved. Memory is only as it was if it was saved too; of it, only pages that
    /// have changed are written, and code in the others stays decoded.
    ///
    /// The same run from the same context does the same, to the instruction: nothing of the host's time gets
    /// into a sandbox.
    pub fn restore(&mut self, context: &Context) -> Result<(), Error> {
        if let Some(Memory { space, frames }) = &context.memory {
            self.space.restore(&mut self.cpu, space, frames)?;
        }
        self.cpu.load_state(&context.state);
        self.cpu.executed = context.executed;
        self.devices.restore(&context.pending, context.clock);
        (self.seen, self.undelivered) = (None, None);
        Ok(())
    }
}
