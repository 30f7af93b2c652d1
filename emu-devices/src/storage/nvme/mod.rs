//! An NVMe controller with one namespace. NVM Express base specification 1.4.
//!
//! The host writes commands to submission queues in its memory and rings a doorbell. `service` takes all that
//! are there, `io` makes requests to the backend of them, `admin` answers the others at once. Completions of the
//! backend come back through `outstanding`, and are posted to completion queues together.
//!
//! What the backend works on cannot be called back. So a controller that is disabled stays ready until the last request
//! is done, as the specification lets it; one that RESET# has hit accepts no queues until then; and the command that
//! deletes a submission queue ends after the queue's last one.
//!
//! An interrupt message goes out when entries are posted of which the host knows nothing yet, and again when it has
//! taken some and others are left (7.5.1): a host that is at work is not interrupted anew.
//!
//! Left out: scatter-gather lists, metadata and protection information, namespace management, several namespaces,
//! firmware download, self-tests, controller memory buffers, doorbell buffers, subsystem reset, weighted arbitration,
//! MSI without -X. Interrupt coalescing and arbitration are kept and have no effect. Command identifiers that are used
//! twice at a time are not noticed. An ABORT finds asynchronous event requests alone.

mod admin;
mod command;
mod event;
mod feature;
mod identify;
mod io;
mod log_page;
mod outstanding;
mod prp;
mod queue;
mod registers;
mod service;
mod state;
mod status;
#[cfg(test)]
mod tests;

pub use state::NvmeState;

use crate::pci::{Bar, BarKind, ConfigSpace, Endpoint, Identity, MsixLayout, PciFunction, PciWires};
use command::Command;
use emu_core::{
    backend::{BlockBackend, BlockRequest},
    bus::{Device, IoError, IoResult, MmioIo},
};
use event::{Event, Events};
use feature::Features;
use log_page::Log;
use outstanding::{Finished, Inbox, Slots};
use parking_lot::Mutex;
use queue::{CompletionQueue, InvalidValue, SubmissionQueue};
use registers::{Registers, Shutdown, reg};
use std::sync::Arc;

/// PCI vendor ID that is nobody's, as those are that emulated devices have made known to guests. An ID that QEMU's
/// controller has makes Linux expect that one's faults.
const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x4E56;
/// Mass storage, non-volatile memory, NVM Express.
const CLASS: u32 = 0x01_0802;
/// The base address register of everything, and its size.
const BAR: u8 = 0;
const BAR_SIZE: u64 = 0x4000;
/// Where the MSI-X table and pending bits are in it.
const MSIX_TABLE: u32 = 0x2000;
const MSIX_PENDING: u32 = 0x3000;
/// Most I/O queues of each kind.
pub const MOST_QUEUES: u16 = 64;
/// Most bytes of a serial number.
pub const SERIAL_LEN: usize = 20;

/// What the user chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvmeOptions {
    /// Serial number: at most [`SERIAL_LEN`] bytes count.
    pub serial: String,
    /// I/O queues of each kind: 1 to [`MOST_QUEUES`].
    pub queues: u16,
}

/// What a controller is made of.
pub struct NvmeArgs {
    /// What it is connected to.
    pub wires: PciWires,
    /// The disk.
    pub backend: Arc<dyn BlockBackend>,
    /// What the user chooses.
    pub options: NvmeOptions,
}

/// What the controller does, beside CSTS.RDY: requests at the backend outlive the queues they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Disabled.
    Disabled,
    /// Takes commands.
    Running,
    /// Disabled, and requests are still at the backend.
    Stopping,
}

/// The controller.
pub struct Nvme {
    // What it is connected to.
    endpoint: Endpoint,
    backend: Arc<dyn BlockBackend>,
    inbox: Arc<Inbox>,
    options: NvmeOptions,
    /// Bytes of a logical block.
    block: u64,
    // Registers and queues, by number.
    registers: Registers,
    phase: Phase,
    submissions: Vec<Option<SubmissionQueue>>,
    completions: Vec<Option<CompletionQueue>>,
    features: Features,
    events: Events,
    log: Log,
    // Work.
    outstanding: Slots,
    /// Requests that go to the backend when all commands have been looked at.
    batch: Vec<BlockRequest>,
    /// Commands that have been carried out at once since the host last wrote a register.
    at_once: usize,
    /// Completion queues, by bit, that have something to post.
    touched: u128,
    /// What the inbox had, empty between its visits.
    finished: Vec<Finished>,
    /// Commands were left in queues for want of room.
    backlog: bool,
    /// The guest has chosen MSI-X.
    messages: bool,
    /// Commands that were at the backend when the controller was saved.
    resumed: Vec<(u16, Command)>,
}

fn endpoint(wires: PciWires, options: &NvmeOptions) -> Endpoint {
    let identity = Identity {
        vendor: VENDOR,
        device: DEVICE,
        subsystem: (VENDOR, DEVICE),
        revision: 0,
        class: CLASS,
        multifunction: false,
    };
    let mut endpoint = Endpoint::express(&identity, wires);
    endpoint.add_bar(BAR, Bar { kind: BarKind::Memory64 { prefetchable: false }, size: BAR_SIZE });
    let vectors = options.queues + 1;
    endpoint.add_msix(MsixLayout { vectors, bar: BAR, table: MSIX_TABLE, pending: MSIX_PENDING });
    endpoint.add_power_management();
    endpoint
}

impl Nvme {
    /// A controller after power-on. It is to be [connected](Self::connect) before a guest sees it.
    pub fn new(args: NvmeArgs) -> Self {
        let NvmeArgs { wires, backend, mut options } = args;
        options.queues = options.queues.clamp(1, MOST_QUEUES);
        let queues = usize::from(options.queues) + 1;
        let block = backend.geometry().logical_block.into();
        Nvme {
            endpoint: endpoint(wires, &options),
            backend,
            inbox: Arc::default(),
            block,
            options,
            registers: Registers::AT_RESET,
            phase: Phase::Disabled,
            submissions: vec![None; queues],
            completions: vec![None; queues],
            features: Features::default(),
            events: Events::default(),
            log: Log::default(),
            outstanding: Slots::default(),
            batch: Vec::new(),
            at_once: 0,
            touched: 0,
            finished: Vec::new(),
            backlog: false,
            messages: false,
            resumed: Vec::new(),
        }
    }

    /// Puts the controller behind its lock, which completions take. Commands of a restored one go on.
    pub fn connect(self) -> Arc<Mutex<Self>> {
        let inbox = self.inbox.clone();
        let controller = Arc::new(Mutex::new(self));
        inbox.connect(&controller);
        controller.lock().resume();
        controller
    }

    /// CC has been written.
    fn configure(&mut self, value: u32) {
        let (was_enabled, had_asked) = self.registers.configure(value);
        if self.registers.shutdown_requested() && !had_asked {
            self.shut_down();
        }
        match (was_enabled, self.registers.enabled()) {
            (false, true) if self.phase == Phase::Disabled => self.enable(),
            (true, false) => self.disable(),
            _ => {}
        }
    }

    fn enable(&mut self) {
        if !self.registers.is_valid() {
            self.registers.fatal = true;
            return;
        }
        let (submission, completion) = self.registers.admin_sizes();
        self.submissions[0] = Some(SubmissionQueue::new(self.registers.asq, submission, 0));
        self.completions[0] = Some(CompletionQueue::new(self.registers.acq, completion, Some(0)));
        self.registers.ready = true;
        if !self.registers.shutdown_requested() {
            self.registers.shutdown = Shutdown::None;
        }
        self.phase = Phase::Running;
    }

    /// Controller reset: 7.3.2. The admin queue's registers stay.
    fn disable(&mut self) {
        self.forget();
        self.stop_if_idle();
    }

    /// Forgets everything that a controller reset forgets; requests at the backend remain.
    fn forget(&mut self) {
        self.phase = Phase::Stopping;
        self.submissions.fill(None);
        self.completions.fill(None);
        self.features = Features::default();
        self.events = Events::default();
        (self.touched, self.backlog) = (0, false);
        self.resumed.clear();
        self.drive();
    }

    /// Ends [`Phase::Stopping`] when nothing is at the backend.
    fn stop_if_idle(&mut self) {
        if self.phase != Phase::Stopping || self.outstanding.len() != 0 {
            return;
        }
        self.phase = Phase::Disabled;
        let asked = self.registers.shutdown_requested();
        let Registers { cc: _, aqa: _, asq: _, acq: _, intm, ready, fatal, shutdown } = &mut self.registers;
        (*ready, *fatal, *intm) = (false, false, 0);
        // A host that asks for both waits for the shutdown.
        if !asked {
            *shutdown = Shutdown::None;
        }
        // The host did not wait for this.
        if self.registers.enabled() {
            self.enable();
        }
    }

    /// A doorbell was written: submission queue tails and completion queue heads in turn.
    fn ring(&mut self, offset: u64, value: u32) {
        let number = (offset - reg::DOORBELLS) / 4;
        let (queue, is_head) = ((number / 2) as usize, number % 2 == 1);
        if self.phase != Phase::Running || self.registers.fatal {
            return;
        }
        let result = if is_head { self.ring_head(queue, value) } else { self.ring_tail(queue, value) };
        if let Err(event) = result {
            self.log.failed_by_itself();
            self.raise(event);
            self.post();
        }
    }

    fn ring_tail(&mut self, queue: usize, value: u32) -> Result<(), Event> {
        let submission = self.submissions.get_mut(queue).and_then(Option::as_mut);
        let submission = submission.ok_or(Event::InvalidDoorbell)?;
        submission.set_tail(value).map_err(|InvalidValue| Event::InvalidDoorbellValue)?;
        self.serve(queue);
        Ok(())
    }

    fn ring_head(&mut self, queue: usize, value: u32) -> Result<(), Event> {
        let completion = self.completions.get_mut(queue).and_then(Option::as_mut);
        let completion = completion.ok_or(Event::InvalidDoorbell)?;
        completion.set_head(value).map_err(|InvalidValue| Event::InvalidDoorbellValue)?;
        completion.notified = false;
        self.touched |= 1 << queue;
        if self.backlog {
            self.serve_all();
        } else {
            self.post();
        }
        Ok(())
    }

    /// An interrupt of completion queue `queue`, which has entries.
    fn notify(&mut self, queue: usize) {
        let Some(completion) = &mut self.completions[queue] else { return };
        if let Some(vector) = completion.vector
            && self.messages
            && !completion.notified
        {
            completion.notified = true;
            self.endpoint.send(vector);
        }
    }

    /// The level of the interrupt wire: 7.5.1.
    fn drive(&mut self) {
        let asks = |queue: &CompletionQueue| {
            let unmasked = |vector: u16| vector >= 32 || self.registers.intm >> vector & 1 == 0;
            queue.has_entries() && queue.vector.is_some_and(unmasked)
        };
        let asked = !self.messages && self.completions.iter().flatten().any(asks);
        self.endpoint.set_interrupt(asked);
    }
}

impl Device for Nvme {
    fn name(&self) -> &'static str {
        "nvme"
    }

    fn reset(&mut self) {
        self.registers = Registers::AT_RESET;
        self.forget();
        self.endpoint.reset();
        self.messages = false;
        self.stop_if_idle();
    }
}

impl PciFunction for Nvme {
    fn config(&self) -> &ConfigSpace {
        self.endpoint.config()
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        self.endpoint.config_mut()
    }

    fn config_written(&mut self, _offset: u16, _size: u8) {
        self.endpoint.config_written();
        if self.messages != self.endpoint.uses_msix() {
            self.messages = !self.messages;
            // What has been told by one way is told again by the other.
            for (number, queue) in self.completions.iter_mut().enumerate() {
                if let Some(queue) = queue {
                    queue.notified = false;
                    self.touched |= 1 << number;
                }
            }
            self.drive();
        }
        // Memory may be within reach again.
        self.resume();
    }
}

impl MmioIo for Nvme {
    fn mmio_read(&mut self, region: u8, offset: u64, size: u8) -> IoResult<u64> {
        if let Some(answer) = self.endpoint.mmio_read(region, offset, size) {
            return answer;
        }
        match size {
            8 => Err(IoError::Size),
            _ if offset % 4 + u64::from(size) > 4 => Err(IoError::Size),
            _ => {
                let word = u64::from(self.registers.read(offset & !3)?);
                Ok(word >> (8 * (offset % 4)) & ((1 << (8 * size)) - 1))
            }
        }
    }

    fn mmio_write(&mut self, region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        if let Some(answer) = self.endpoint.mmio_write(region, offset, size, value) {
            return answer;
        }
        // Registers are written whole, or by halves of 32 bits.
        if size != 4 {
            return Err(IoError::Size);
        }
        if !offset.is_multiple_of(4) {
            return Err(IoError::Alignment);
        }
        let value = value as u32;
        match offset {
            reg::CC => self.configure(value),
            reg::INTMS | reg::INTMC => {
                let masked = self.registers.intm;
                self.registers.intm = if offset == reg::INTMS { masked | value } else { masked & !value };
                self.drive();
            }
            reg::DOORBELLS.. => self.ring(offset, value),
            _ => return self.registers.write(offset, value),
        }
        Ok(())
    }
}
