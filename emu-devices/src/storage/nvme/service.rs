//! From doorbell to backend, and from the backend's completions to interrupts.

use super::{
    Nvme, Phase,
    command::{COMMAND_LEN, Command},
    event::Event,
    outstanding::{Finished, MOST_ADMIN, MOST_OUTSTANDING, Outstanding, Task},
    queue::{Ended, FETCH},
    registers::Shutdown,
    status::Status,
};
use emu_core::{
    backend::{BlockRequest, Operation},
    memory::Dma,
};

/// What became of a command.
pub(super) enum Answer {
    /// It has ended, with dword 0 of its completion.
    Now(Result<u32, Status>),
    /// It ends when the backend is done, or when something happens.
    Later,
    /// It stays in its queue until there is room.
    NoRoom,
}

impl From<Result<u32, Status>> for Answer {
    fn from(result: Result<u32, Status>) -> Self {
        Answer::Now(result)
    }
}

impl Nvme {
    /// Takes commands of submission queue `queue`, gives the backend what is its, and posts what has ended.
    pub(super) fn serve(&mut self, queue: usize) {
        self.at_once = 0;
        if let Some(dma) = self.endpoint.dma().cloned() {
            self.take(queue, &dma);
        }
        self.submit();
        self.post();
    }

    /// As [`serve`](Self::serve), for all queues.
    pub(super) fn serve_all(&mut self) {
        if self.phase == Phase::Running
            && let Some(dma) = self.endpoint.dma().cloned()
        {
            (self.backlog, self.at_once) = (false, 0);
            for queue in 0..self.submissions.len() {
                self.take(queue, &dma);
            }
        }
        self.submit();
        self.post();
    }

    /// Takes commands of a queue while there is room for them.
    fn take(&mut self, queue: usize, dma: &Dma) {
        let mut bytes = [0; FETCH * COMMAND_LEN];
        while let Some(submission) = &self.submissions[queue]
            && submission.is_waiting()
            && !self.registers.fatal
        {
            let Ok(count) = submission.peek(dma, &mut bytes) else { return self.fail() };
            for bytes in bytes[..count * COMMAND_LEN].chunks_exact(COMMAND_LEN) {
                if !self.take_one(queue, &Command::new(bytes), dma) {
                    self.backlog = true;
                    return;
                }
            }
        }
    }

    /// Takes the command at the head of a queue, unless there is no room for it.
    fn take_one(&mut self, queue: usize, command: &Command, dma: &Dma) -> bool {
        let number = queue as u16;
        let completion = self.submissions[queue].as_ref().map_or(0, |submission| submission.completion);
        let has_room =
            self.completions[usize::from(completion)].as_ref().is_some_and(|queue| queue.has_room());
        // Disks at work do not keep the host from administering the controller.
        let most = if queue == 0 { MOST_OUTSTANDING + MOST_ADMIN } else { MOST_OUTSTANDING };
        if !has_room || self.outstanding.len() >= most {
            return false;
        }
        match self.execute(number, command, dma) {
            Answer::NoRoom => return false,
            Answer::Later => {}
            Answer::Now(result) => self.end(number, command, result),
        }
        if let Some(submission) = &mut self.submissions[queue] {
            submission.advance();
        }
        true
    }

    pub(super) fn execute(&mut self, queue: u16, command: &Command, dma: &Dma) -> Answer {
        if let Err(status) = command.check_format() {
            return Answer::Now(Err(status));
        }
        if queue == 0 { self.administer(command, dma) } else { self.transfer(queue, command, dma) }
    }

    /// Gives the backend a request of `command`.
    pub(super) fn start(&mut self, queue: u16, command: &Command, task: Task, operation: Operation) {
        if let Some(submission) = &mut self.submissions[usize::from(queue)]
            && !matches!(task, Task::Shutdown)
        {
            submission.outstanding += 1;
        }
        let number = self.outstanding.insert(Outstanding { submission: queue, command: *command, task });
        let inbox = self.inbox.clone();
        let done = Box::new(move |result, data| inbox.deliver(Finished { number, result, data }));
        self.batch.push(BlockRequest { operation, done });
    }

    fn submit(&mut self) {
        match self.batch.len() {
            0 => {}
            1 => {
                if let Some(request) = self.batch.pop() {
                    self.backend.submit(request);
                }
            }
            _ => self.backend.submit_all(std::mem::take(&mut self.batch)),
        }
    }

    /// `command` has ended: its completion is to be posted.
    pub(super) fn end(&mut self, queue: u16, command: &Command, result: Result<u32, Status>) {
        if let Err(status) = result
            && queue != 0
        {
            self.log.failed(queue, command, status);
        }
        self.complete(queue, command.id(), result);
    }

    pub(super) fn complete(&mut self, submission: u16, command: u16, result: Result<u32, Status>) {
        let queue =
            self.submissions[usize::from(submission)].as_ref().map(|queue| usize::from(queue.completion));
        let Some(number) = queue else { return };
        if let Some(completion) = &mut self.completions[number] {
            let (result, status) = match result {
                Ok(result) => (result, Status::SUCCESS),
                Err(status) => (0, status),
            };
            completion.waiting.push_back(Ended { submission, command, result, status });
            self.touched |= 1 << number;
        }
    }

    /// Posts completions for which there is room, and interrupts.
    pub(super) fn post(&mut self) {
        if self.touched == 0 || self.registers.fatal {
            return;
        }
        let Some(dma) = self.endpoint.dma().cloned() else { return };
        let mut touched = std::mem::take(&mut self.touched);
        while touched != 0 {
            let number = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let Some(queue) = &mut self.completions[number] else { continue };
            let submissions = &self.submissions;
            let head_of = |of: u16| submissions[usize::from(of)].as_ref().map_or(0, |queue| queue.head());
            if queue.post(&dma, head_of).is_err() {
                return self.fail();
            }
            if queue.has_entries() {
                self.notify(number);
            }
        }
        if !self.messages {
            self.drive();
        }
    }

    /// Queues are in memory that is not there: CSTS.CFS, until the host resets the controller.
    fn fail(&mut self) {
        log::warn!("nvme: a queue of the guest's is outside of its memory");
        self.registers.fatal = true;
    }

    /// Something happened that the host may have asked to be told.
    pub(super) fn raise(&mut self, event: Event) {
        self.events.raise(event);
        self.tell_events();
    }

    /// Completes requests for events that have happened.
    pub(super) fn tell_events(&mut self) {
        while let Some((command, result)) = self.events.next() {
            self.complete(0, command, Ok(result));
        }
    }

    /// CC.SHN: 7.6.2. What is at the backend comes first, then what is in the cache.
    pub(super) fn shut_down(&mut self) {
        self.registers.shutdown = Shutdown::Occurring;
        self.flush_for_shutdown();
        self.submit();
    }

    /// Asks for the last flush when everything before it is done.
    fn flush_for_shutdown(&mut self) {
        let is_idle = self.outstanding.len() == 0 && self.resumed.is_empty();
        if self.registers.shutdown == Shutdown::Occurring && is_idle {
            self.start(0, &Command::NONE, Task::Shutdown, Operation::Flush);
        }
    }

    /// Takes what the backend is done with. Called by the inbox.
    pub(super) fn collect(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        self.inbox.swap(&mut finished);
        for finished in finished.drain(..) {
            self.finish(finished);
        }
        self.finished = finished;
        self.flush_for_shutdown();
        self.stop_if_idle();
        if self.backlog {
            self.serve_all();
        } else {
            self.submit();
        }
        self.post();
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { number, result, data } = finished;
        let Some(outstanding) = self.outstanding.remove(number) else { return };
        let Outstanding { submission: queue, command, task } = outstanding;
        if matches!(task, Task::Shutdown) {
            // The host can do nothing about a failure but switch off.
            if self.registers.shutdown == Shutdown::Occurring {
                self.registers.shutdown = Shutdown::Complete;
            }
            return;
        }
        if self.phase != Phase::Running {
            return;
        }
        if let Some(submission) = &mut self.submissions[usize::from(queue)] {
            submission.outstanding -= 1;
        }
        if let Some(result) = self.next_step(queue, &command, task, result.map(|()| data)) {
            self.end(queue, &command, result);
        }
        self.delete_if_idle(queue);
    }

    /// Ends the deletion of a submission queue when the last of its commands has ended.
    pub(super) fn delete_if_idle(&mut self, queue: u16) {
        if let Some(submission) = &self.submissions[usize::from(queue)]
            && submission.outstanding == 0
            && let Some(command) = submission.deleted_by
        {
            let completion = usize::from(submission.completion);
            self.post();
            self.submissions[usize::from(queue)] = None;
            // For what the host leaves no room, it is told by this command that the others are over.
            if let Some(completion) = &mut self.completions[completion] {
                completion.waiting.retain(|ended| ended.submission != queue);
            }
            self.complete(0, command, Ok(0));
        }
    }

    /// Goes on with what was under way when the controller was saved, once memory is within reach.
    pub(super) fn resume(&mut self) {
        self.stop_if_idle();
        if let Some(dma) = self.endpoint.dma().cloned() {
            let commands = std::mem::take(&mut self.resumed);
            for (queue, command) in &commands {
                if let Answer::Now(result) = self.execute(*queue, command, &dma) {
                    self.end(*queue, command, result);
                }
            }
            for (queue, _) in commands {
                self.delete_if_idle(queue);
            }
        }
        self.flush_for_shutdown();
        self.serve_all();
    }
}
