//! The controller, saved. Commands that the backend works on are saved as commands, and begin again.

use super::{
    Nvme, NvmeArgs, Phase,
    command::Command,
    event::Events,
    feature::Features,
    log_page::Log,
    outstanding::Task,
    queue::{CompletionQueue, SubmissionQueue},
    registers::Registers,
};
use crate::pci::EndpointState;
use emu_core::bus::Snapshot;
use serde::{Deserialize, Serialize};

/// Saved registers and queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmeState {
    endpoint: EndpointState,
    registers: Registers,
    submissions: Vec<Option<SubmissionQueue>>,
    completions: Vec<Option<CompletionQueue>>,
    features: Features,
    events: Events,
    log: Log,
    /// Commands at the backend, with their queues.
    outstanding: Vec<(u16, Command)>,
}

impl NvmeState {
    fn check(&self, queues: usize) -> Result<(), String> {
        if self.submissions.len() != queues || self.completions.len() != queues {
            return Err(format!("{} queues, not {queues}", self.submissions.len()));
        }
        let has_completion = |queue: &SubmissionQueue| {
            let completion = self.completions.get(usize::from(queue.completion));
            completion.is_some_and(Option::is_some) && queue.is_sound()
        };
        if !self.submissions.iter().flatten().all(has_completion) {
            return Err("a submission queue that makes no sense".to_owned());
        }
        let is_known = |number: u16| usize::from(number) < queues;
        let is_sound = |queue: &CompletionQueue| {
            queue.is_sound() && queue.waiting.iter().all(|ended| is_known(ended.submission))
        };
        if !self.completions.iter().flatten().all(is_sound) {
            return Err("a completion queue that makes no sense".to_owned());
        }
        if !self.outstanding.iter().all(|(queue, _)| is_known(*queue)) {
            return Err("a command of no queue".to_owned());
        }
        Ok(())
    }
}

impl Snapshot for Nvme {
    type State = NvmeState;
    type Args = NvmeArgs;

    fn save(&self) -> NvmeState {
        let Nvme {
            endpoint,
            backend: _,
            inbox: _,
            options: _,
            block: _,
            registers,
            phase,
            submissions,
            completions,
            features,
            events,
            log,
            outstanding,
            batch: _,
            at_once: _,
            touched: _,
            finished: _,
            backlog: _,
            messages: _,
            resumed,
        } = self;
        // What a stopped controller still has at the backend concerns nobody.
        let at_backend = outstanding.iter().filter(|_| *phase == Phase::Running);
        let commands = at_backend.filter(|outstanding| !matches!(outstanding.task, Task::Shutdown));
        let commands = commands.map(|outstanding| (outstanding.submission, outstanding.command));
        NvmeState {
            endpoint: endpoint.save(),
            registers: registers.clone(),
            submissions: submissions.clone(),
            completions: completions.clone(),
            features: features.clone(),
            events: events.clone(),
            log: log.clone(),
            outstanding: commands.chain(resumed.iter().copied()).collect(),
        }
    }

    fn restore(args: NvmeArgs, state: NvmeState) -> Result<Self, String> {
        let mut nvme = Nvme::new(args);
        state.check(nvme.submissions.len())?;
        let NvmeState {
            endpoint,
            registers,
            mut submissions,
            completions,
            features,
            events,
            log,
            outstanding,
        } = state;
        // They are counted again when they begin again.
        submissions.iter_mut().flatten().for_each(|queue| queue.outstanding = 0);
        let is_running = submissions[0].is_some() && completions[0].is_some();
        nvme.endpoint = nvme.endpoint.with_state(endpoint)?;
        nvme.messages = nvme.endpoint.uses_msix();
        nvme.phase = if is_running { Phase::Running } else { Phase::Stopping };
        nvme.touched = (1 << completions.len()) - 1;
        nvme.backlog = true;
        (nvme.registers, nvme.submissions, nvme.completions) = (registers, submissions, completions);
        (nvme.features, nvme.events, nvme.log) = (features, events, log);
        nvme.resumed = outstanding;
        Ok(nvme)
    }
}

#[cfg(test)]
impl NvmeState {
    /// As it is before commands begin again.
    pub(super) fn forget_counts(&mut self) {
        self.submissions.iter_mut().flatten().for_each(|queue| queue.outstanding = 0);
    }
}
