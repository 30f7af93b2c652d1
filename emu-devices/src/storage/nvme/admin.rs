//! Admin commands. NVM Express 1.4, chapter 5.

use super::{
    Nvme,
    command::{ALL_NAMESPACES, Command, admin},
    event::Event,
    feature::{Effect, Limits},
    identify::{self, LARGEST_TRANSFER},
    io::NAMESPACE,
    log_page,
    outstanding::Task,
    prp,
    queue::{CompletionQueue, LARGEST_QUEUE, SubmissionQueue},
    service::Answer,
    status::Status,
};
use emu_core::{backend::Operation, memory::Dma};

/// Dword 11 of the commands that make queues: physically contiguous; and of completion queues: interrupts enabled.
const CONTIGUOUS: u32 = 1 << 0;
const INTERRUPTS: u32 = 1 << 1;
/// Dword 10 of GET LOG PAGE: retain asynchronous event.
const RETAIN: u32 = 1 << 15;
/// Dword 0 of ABORT's completion: the command was not aborted.
const NOT_ABORTED: u32 = 1;

impl Nvme {
    /// A command of the admin queue.
    pub(super) fn administer(&mut self, command: &Command, dma: &Dma) -> Answer {
        match command.opcode() {
            admin::DELETE_IO_SQ => return self.delete_submission(command),
            admin::CREATE_IO_SQ => self.create_submission(command),
            admin::GET_LOG_PAGE => self.get_log_page(command, dma),
            admin::DELETE_IO_CQ => self.delete_completion(command),
            admin::CREATE_IO_CQ => self.create_completion(command),
            admin::IDENTIFY => self.identify(command, dma),
            admin::ABORT => Ok(self.abort(command)),
            admin::SET_FEATURES => return self.set_features(command),
            admin::GET_FEATURES => self.features.get(command, self.limits()),
            admin::ASYNC_EVENT_REQUEST => return self.request_event(command),
            _ => Err(Status::INVALID_OPCODE),
        }
        .into()
    }

    /// Copies `bytes` to where `command` says.
    fn give(&self, command: &Command, dma: &Dma, bytes: &[u8]) -> Result<u32, Status> {
        prp::buffer(dma, self.registers.page(), command, bytes.len())?.copy_from(0, bytes);
        Ok(0)
    }

    fn identify(&self, command: &Command, dma: &Dma) -> Result<u32, Status> {
        let geometry = self.backend.geometry();
        let data = match (command.dword(10) as u8, command.namespace()) {
            (0x00 | 0x03, namespace) if namespace != NAMESPACE => return Err(Status::INVALID_NAMESPACE),
            (0x00, _) => identify::namespace(&self.options, &geometry),
            (0x01, _) => identify::controller(&self.options, &geometry),
            (0x02, 0xFFFF_FFFE..) => return Err(Status::INVALID_NAMESPACE),
            (0x02, after) => identify::active(after),
            (0x03, _) => identify::descriptors(&self.options),
            _ => return Err(Status::INVALID_FIELD),
        };
        self.give(command, dma, &data[..])
    }

    fn get_log_page(&mut self, command: &Command, dma: &Dma) -> Result<u32, Status> {
        let page = command.dword(10) & 0xFF;
        let words = u64::from(command.dword(11) & 0xFFFF) << 16 | u64::from(command.dword(10) >> 16);
        let offset = u64::from(command.dword(13)) << 32 | u64::from(command.dword(12));
        let bytes = match page {
            log_page::ERROR => self.log.errors(),
            log_page::HEALTH => self.log.health(&self.features),
            log_page::FIRMWARE_SLOT => log_page::firmware(),
            _ => return Err(Status::INVALID_LOG_PAGE),
        };
        if !matches!(command.namespace(), 0 | ALL_NAMESPACES) {
            return Err(Status::INVALID_FIELD);
        }
        let len = (words + 1) * 4;
        if offset > bytes.len() as u64 || !offset.is_multiple_of(4) || len > LARGEST_TRANSFER {
            return Err(Status::INVALID_FIELD);
        }
        // Beyond a page's end there is nothing.
        let mut part = bytes[offset as usize..].to_vec();
        part.resize(len as usize, 0);
        self.give(command, dma, &part)?;
        if command.dword(10) & RETAIN == 0 {
            self.events.page_read(page);
            self.tell_events();
        }
        Ok(0)
    }

    fn limits(&self) -> Limits {
        let has_queues = self.completions.iter().skip(1).any(Option::is_some);
        Limits {
            queues: self.options.queues,
            vectors: self.endpoint.msix_vectors(),
            cache: self.backend.geometry().volatile_cache,
            has_queues,
        }
    }

    fn set_features(&mut self, command: &Command) -> Answer {
        match self.features.set(command, self.limits()) {
            Ok((_, Effect::Flush)) => {
                self.start(0, command, Task::Plain, Operation::Flush);
                Answer::Later
            }
            Ok((result, Effect::Temperature)) => {
                if self.features.temperature_is_critical() && self.features.wants_temperature_events() {
                    self.raise(Event::Temperature);
                }
                Answer::Now(Ok(result))
            }
            Ok((result, Effect::None)) => Answer::Now(Ok(result)),
            Err(status) => Answer::Now(Err(status)),
        }
    }

    fn request_event(&mut self, command: &Command) -> Answer {
        if !self.events.request(command.id()) {
            return Answer::Now(Err(Status::EVENT_REQUEST_LIMIT));
        }
        self.tell_events();
        Answer::Later
    }

    /// Commands that wait for an event can be aborted; the others have ended by then, or are at the backend.
    fn abort(&mut self, command: &Command) -> u32 {
        let (queue, id) = (command.dword(10) as u16, (command.dword(10) >> 16) as u16);
        if queue != 0 || !self.events.abort(id) {
            return NOT_ABORTED;
        }
        self.complete(0, id, Err(Status::ABORT_REQUESTED));
        0
    }

    /// Checks what both commands that make queues have in common: returns the queue's number and entries.
    fn new_queue(&self, command: &Command, is_taken: impl Fn(usize) -> bool) -> Result<(usize, u32), Status> {
        let number = command.dword(10) as usize & 0xFFFF;
        let size = (command.dword(10) >> 16) + 1;
        if number == 0 || number > usize::from(self.options.queues) || is_taken(number) {
            return Err(Status::INVALID_QUEUE);
        }
        if !(2..=LARGEST_QUEUE).contains(&size) {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        if command.dword(11) & CONTIGUOUS == 0 {
            return Err(Status::INVALID_FIELD);
        }
        if !command.prp()[0].is_multiple_of(self.registers.page()) {
            return Err(Status::INVALID_PRP_OFFSET);
        }
        Ok((number, size))
    }

    fn create_completion(&mut self, command: &Command) -> Result<u32, Status> {
        let (number, size) = self.new_queue(command, |number| self.completions[number].is_some())?;
        if !self.registers.has_completion_size() {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        let vector = (command.dword(11) >> 16) as u16;
        if vector >= self.endpoint.msix_vectors() || vector != 0 && !self.messages {
            return Err(Status::INVALID_VECTOR);
        }
        let vector = (command.dword(11) & INTERRUPTS != 0).then_some(vector);
        self.completions[number] = Some(CompletionQueue::new(command.prp()[0], size, vector));
        Ok(0)
    }

    fn create_submission(&mut self, command: &Command) -> Result<u32, Status> {
        let completion = (command.dword(11) >> 16) as u16;
        if completion == 0 || completion > self.options.queues {
            return Err(Status::INVALID_QUEUE);
        }
        if self.completions[usize::from(completion)].is_none() {
            return Err(Status::INVALID_COMPLETION_QUEUE);
        }
        let (number, size) = self.new_queue(command, |number| self.submissions[number].is_some())?;
        if !self.registers.has_submission_size() {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        self.submissions[number] = Some(SubmissionQueue::new(command.prp()[0], size, completion));
        Ok(0)
    }

    fn delete_completion(&mut self, command: &Command) -> Result<u32, Status> {
        let number = command.dword(10) as u16;
        let slot = self.completions.get_mut(usize::from(number)).filter(|_| number != 0);
        let slot = slot.filter(|slot| slot.is_some()).ok_or(Status::INVALID_QUEUE)?;
        if self.submissions.iter().flatten().any(|queue| queue.completion == number) {
            return Err(Status::INVALID_QUEUE_DELETION);
        }
        *slot = None;
        self.drive();
        Ok(0)
    }

    /// Ends when the queue's last command has ended.
    fn delete_submission(&mut self, command: &Command) -> Answer {
        let number = command.dword(10) as u16;
        let slot = self.submissions.get_mut(usize::from(number)).filter(|_| number != 0);
        match slot.and_then(Option::as_mut) {
            Some(queue) if queue.deleted_by.is_none() => {
                queue.deleted_by = Some(command.id());
                self.delete_if_idle(number);
                Answer::Later
            }
            _ => Answer::Now(Err(Status::INVALID_QUEUE)),
        }
    }
}
