//! Execution instruction by instruction, on any engine.

use crate::{Executor, Outcome, Setup, Unsuitable};

/// Executes `setup` one instruction at a time. `each` gets the state before every instruction, as a setup of
/// that one, and what came of it.
///
/// # Errors
/// As the executor says of the setup, or of a state on the way.
pub fn step_by_step(
    executor: &mut dyn Executor,
    setup: &Setup,
    mut each: impl FnMut(&Setup, &Outcome),
) -> Result<Outcome, Unsuitable> {
    let mut step = Setup { instructions: 1, ..setup.clone() };
    let mut completed = 0;
    loop {
        let mut outcome = executor.execute(&step)?;
        each(&step, &outcome);
        completed += outcome.instructions;
        let stopped = setup.stop == Some(outcome.state.general.rip);
        if outcome.exception.is_some() || completed >= setup.instructions || stopped {
            outcome.instructions = completed;
            return Ok(outcome);
        }
        for (region, bytes) in step.memory.iter_mut().zip(outcome.memory) {
            region.bytes = bytes;
        }
        step.state = outcome.state;
    }
}
