//! How a command goes on: data by the data register or by the bus master, and what the backend is asked.
//! ATA/ATAPI-7 volume 2, chapter 11.
//!
//! Reading by the data register fetches several blocks of the medium at once. Writing stores each block before the
//! drive asks for the next.

use super::{Ide, bus_master::Gap, channel::Channel};
use crate::storage::ata::{Action, Ending, Taskfile, Transfer, command, status};
use emu_core::{
    backend::{BlockBackend, BlockError, BlockRequest, Data, Operation},
    memory::Dma,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};

/// What the data register's reads are fetched in, if a block is not longer.
const CHUNK: usize = 64 << 10;
const PACKET_LEN: usize = 12;
/// A host says how long a block of a packet's data is; a drive's own is no longer than sixteen sectors of 4 KiB.
const MOST_BLOCK: usize = 64 << 10;
/// The most that a command carries: 65536 sectors of 4 KiB.
const MOST_MEDIUM: usize = 256 << 20;

/// Interrupt reason of a packet command: a packet is wanted, and data goes to the host.
mod reason {
    pub(super) const PACKET: u16 = 0b01;
    pub(super) const TO_HOST: u16 = 0b10;
}

/// What is around a channel.
pub(super) struct Context {
    /// Memory, while the function is bus master.
    pub(super) dma: Option<Dma>,
    pub(super) me: Weak<Mutex<Ide>>,
    pub(super) channel: usize,
}

/// A part of the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Medium {
    offset: u64,
    len: usize,
}

impl Medium {
    /// What remains behind the first `len` bytes.
    fn behind(self, len: usize) -> Self {
        let len = len.min(self.len);
        Medium { offset: self.offset + len as u64, len: self.len - len }
    }
}

/// What the bus master is to carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Load {
    Read(Medium),
    Write { medium: Medium, through: bool },
    Send(Vec<u8>),
    Receive(usize),
}

/// Where a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// The host writes a packet.
    Packet(Vec<u8>),
    /// The host reads `bytes`, up to `end` for now; `more` of the medium is behind them.
    In { bytes: Vec<u8>, at: usize, end: usize, more: Medium },
    /// More is being fetched for the host to read.
    Fetch(Medium),
    /// The host writes a block, which goes to the begin of what is left of the medium.
    Out { bytes: Vec<u8>, left: Medium, through: bool },
    /// It is being stored.
    Store { bytes: Vec<u8>, left: Medium, through: bool },
    /// The bus master carries, or is waited for.
    Carry(Load),
    /// The backend does something that carries nothing.
    Errands,
}

/// A command that runs, as it is saved too: what the backend was doing for it is asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    drive: usize,
    taskfile: Taskfile,
    /// Bytes of a DRQ block.
    block: usize,
    dma: bool,
    step: Step,
}

/// Requests of the job.
pub(super) struct Asked {
    /// Tells them from those of jobs before.
    number: u64,
    waiting: usize,
    result: Result<(), BlockError>,
    data: Option<Box<[u8]>>,
}

impl Job {
    fn is_packet(&self) -> bool {
        self.taskfile.command == command::PACKET
    }

    /// Whether a saved job makes sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let medium = |medium: &Medium| {
            medium.len <= MOST_MEDIUM && medium.offset.checked_add(medium.len as u64).is_some()
        };
        let whole_block = |bytes: &Vec<u8>, left: &Medium| {
            bytes.len() <= self.block && left.len > 0 && bytes.len() <= left.len && medium(left)
        };
        let step = match &self.step {
            Step::Packet(bytes) => bytes.len() < PACKET_LEN,
            Step::In { bytes, at, end, more } => at < end && *end <= bytes.len() && medium(more),
            Step::Fetch(left) => left.len > 0 && medium(left),
            Step::Out { bytes, left, .. } | Step::Store { bytes, left, .. } => whole_block(bytes, left),
            Step::Carry(Load::Read(part) | Load::Write { medium: part, .. }) => medium(part),
            Step::Carry(Load::Receive(len)) => *len <= MOST_BLOCK,
            Step::Carry(Load::Send(_)) | Step::Errands => true,
        };
        let block = (1..=MOST_BLOCK).contains(&self.block) || self.dma || matches!(self.step, Step::Errands);
        if step && block && self.drive < 2 { Ok(()) } else { Err(format!("a command at {:?}", self.step)) }
    }
}

impl Channel {
    /// Begins the command in the registers of `drive`.
    pub(super) fn begin(&mut self, drive: usize, context: &Context) {
        let taskfile = self.registers(drive).taskfile;
        let Some(target) = &mut self.drives[drive] else { return };
        let plan = target.command(&taskfile);
        let (dma, block) = match plan.transfer {
            Transfer::Pio { block } => (false, block),
            Transfer::Dma | Transfer::Queued { .. } => (true, 0),
        };
        let registers = self.registers(drive);
        (registers.status, registers.error) = (status::BSY | status::DRDY, 0);
        self.act(plan.action, Job { drive, taskfile, block, dma, step: Step::Errands }, context);
    }

    /// Does what a plan asks for next.
    fn act(&mut self, action: Action, mut job: Job, context: &Context) {
        job.step = match action {
            Action::End(ending) => return self.finish(job.drive, &ending, true),
            Action::Packet => {
                let registers = self.registers(job.drive);
                registers.status = status::DRDY | status::DRQ;
                registers.taskfile.count = reason::PACKET;
                Step::Packet(Vec::with_capacity(PACKET_LEN))
            }
            Action::Requests(operations) => {
                job.step = Step::Errands;
                let drive = job.drive;
                self.job = Some(job);
                if operations.is_empty() {
                    return self.complete(drive, Ok(()));
                }
                return self.ask(operations, context);
            }
            Action::Read { offset, len } if job.dma => Step::Carry(Load::Read(Medium { offset, len })),
            Action::Write { offset, len, through } if job.dma => {
                Step::Carry(Load::Write { medium: Medium { offset, len }, through })
            }
            Action::Send(bytes) if job.dma => Step::Carry(Load::Send(bytes)),
            Action::Receive(len) => Step::Carry(Load::Receive(len)),
            Action::Read { offset, len } => Step::Fetch(Medium { offset, len }),
            Action::Write { offset, len, through } => {
                self.registers(job.drive).status = status::DRDY | status::DSC | status::DRQ;
                Step::Out { bytes: Vec::new(), left: Medium { offset, len }, through }
            }
            Action::Send(bytes) => Step::In { bytes, at: 0, end: 0, more: Medium { offset: 0, len: 0 } },
        };
        let shows = matches!(job.step, Step::In { .. });
        self.job = Some(job);
        if shows {
            self.show_block();
        }
        self.resume(context);
    }

    /// Asks for what the job waits for: of the backend, or by the bus master. For a job that has been restored, too.
    pub(super) fn resume(&mut self, context: &Context) {
        if self.asked.is_some() {
            return;
        }
        let Some(job) = &self.job else { return };
        match &job.step {
            Step::Fetch(left) => {
                let len = left.len.min((CHUNK / job.block.max(1)).max(1) * job.block.max(1));
                // Of a packet's data every block of the medium is whole, whatever the host's limit.
                let len = if job.is_packet() { left.len.min(CHUNK) } else { len };
                let data = Data::Device(vec![0; len].into_boxed_slice());
                self.ask(vec![Operation::Read { offset: left.offset, data }], context);
            }
            Step::Store { bytes, left, through } => {
                let data = Data::Device(bytes.clone().into_boxed_slice());
                let write = Operation::Write { offset: left.offset, data, through: *through };
                self.ask(vec![write], context);
            }
            Step::Carry(_) => self.carry(context),
            Step::Errands => {
                let drive = job.drive;
                self.begin(drive, context);
            }
            Step::Packet(_) | Step::In { .. } | Step::Out { .. } => {}
        }
    }

    /// Lets the bus master carry, if it is started.
    pub(super) fn carry(&mut self, context: &Context) {
        let (Some(dma), Some(job), true) = (&context.dma, &self.job, self.bus_master.is_active()) else {
            return;
        };
        let Step::Carry(load) = &job.step else { return };
        if self.asked.is_some() {
            return;
        }
        let len = match load {
            Load::Read(medium) | Load::Write { medium, .. } => medium.len,
            Load::Send(bytes) => bytes.len(),
            Load::Receive(len) => *len,
        };
        let places = match self.bus_master.places(dma, len) {
            Ok(places) => places,
            // The drive goes on waiting; it takes a reset to end that.
            Err(Gap::NotRam) => return self.bus_master.fail(),
            Err(Gap::Short) => return self.bus_master.finish(),
        };
        if places.exact {
            self.bus_master.finish();
        }
        let data = Data::Guest(places.buffer);
        match (load.clone(), data) {
            (Load::Read(medium), data) => {
                self.ask(vec![Operation::Read { offset: medium.offset, data }], context);
            }
            (Load::Write { medium, through }, data) => {
                self.ask(vec![Operation::Write { offset: medium.offset, data, through }], context);
            }
            (Load::Send(bytes), Data::Guest(buffer)) => {
                buffer.copy_from(0, &bytes);
                let drive = job.drive;
                self.complete(drive, Ok(()));
            }
            (Load::Receive(len), Data::Guest(buffer)) => {
                let mut bytes = vec![0; len];
                buffer.copy_to(0, &mut bytes);
                let job = job.clone();
                if let Some(drive) = &mut self.drives[job.drive] {
                    let action = drive.received(&job.taskfile, &bytes);
                    self.act(action, job, context);
                }
            }
            (_, Data::Device(_)) => {}
        }
    }

    /// Has the backend carry out what the job needs.
    fn ask(&mut self, mut operations: Vec<Operation>, context: &Context) {
        let Some(backend) = self.backend() else { return };
        if let [operation] = operations.as_mut_slice()
            && backend.try_at_once(operation)
        {
            let data = match operations.pop() {
                Some(Operation::Read { data: Data::Device(bytes), .. }) => Some(bytes),
                _ => None,
            };
            if let Some(job) = self.job.take() {
                self.go_on(job, Ok(()), data, context);
            }
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.outstanding += operations.len() as u32;
        self.asked = Some(Asked { number, waiting: operations.len(), result: Ok(()), data: None });
        let requests = operations.into_iter().map(|operation| {
            let (me, channel) = (context.me.clone(), context.channel);
            let done = Box::new(move |result, data| {
                let bytes = match data {
                    Some(Data::Device(bytes)) => Some(bytes),
                    _ => None,
                };
                if let Some(ide) = me.upgrade() {
                    ide.lock().answered(channel, number, result, bytes);
                }
            });
            BlockRequest { operation, done }
        });
        backend.submit_all(requests.collect());
    }

    fn backend(&self) -> Option<Arc<dyn BlockBackend>> {
        self.drives[self.job.as_ref()?.drive].as_ref()?.backend()
    }

    /// The backend has answered.
    pub(super) fn answered(
        &mut self,
        number: u64,
        result: Result<(), BlockError>,
        data: Option<Box<[u8]>>,
        context: &Context,
    ) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.finish_reset();
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.number == number) else { return };
        asked.waiting -= 1;
        asked.result = asked.result.and(result);
        asked.data = asked.data.take().or(data);
        if asked.waiting != 0 {
            return;
        }
        if let (Some(Asked { result, data, .. }), Some(job)) = (self.asked.take(), self.job.take()) {
            self.go_on(job, result, data, context);
        }
    }

    /// The job's requests are done.
    fn go_on(
        &mut self,
        mut job: Job,
        result: Result<(), BlockError>,
        data: Option<Box<[u8]>>,
        context: &Context,
    ) {
        let drive = job.drive;
        match (result, job.step) {
            (Ok(()), Step::Fetch(left)) => {
                let bytes = data.map_or_else(Vec::new, Vec::from);
                let more = left.behind(bytes.len());
                job.step = Step::In { bytes, at: 0, end: 0, more };
                self.job = Some(job);
                self.show_block();
            }
            (Ok(()), Step::Store { bytes, left, through }) if left.len > bytes.len() => {
                job.step = Step::Out { left: left.behind(bytes.len()), bytes: Vec::new(), through };
                self.job = Some(job);
                let registers = self.registers(drive);
                registers.status = status::DRDY | status::DSC | status::DRQ;
                registers.interrupt = true;
            }
            (result, step) => {
                job.step = step;
                self.job = Some(job);
                self.complete(drive, result);
            }
        }
        self.resume(context);
    }

    /// Ends the job.
    fn complete(&mut self, drive: usize, result: Result<(), BlockError>) {
        let (Some(job), Some(target)) = (&self.job, &mut self.drives[drive]) else { return };
        let ending = target.finish(&job.taskfile, result);
        self.finish(drive, &ending, true);
    }

    /// Offers the next block to the host.
    fn show_block(&mut self) {
        let Some(Job { drive, block, step: Step::In { bytes, at, end, .. }, taskfile, .. }) = &mut self.job
        else {
            return;
        };
        let len = (*block).max(1).min(bytes.len() - *at);
        *end = *at + len;
        let (drive, is_packet) = (*drive, taskfile.command == command::PACKET);
        let registers = self.registers(drive);
        registers.status = status::DRDY | status::DSC | status::DRQ;
        registers.interrupt = true;
        if is_packet {
            let [low, high] = (len as u16).to_le_bytes();
            (registers.taskfile.lba[1], registers.taskfile.lba[2]) = (low, high);
            registers.taskfile.count = reason::TO_HOST;
        }
    }

    /// Reads the data register. With nothing to be read, lines keep what they had, which here is zero.
    pub(super) fn read_data(&mut self, size: u8, context: &Context) -> u32 {
        let selected = self.selected();
        let Some(Job { drive, step: Step::In { bytes, at, end, .. }, .. }) = &mut self.job else { return 0 };
        if *drive != selected {
            return 0;
        }
        let taken = usize::from(size.min(4)).min(*end - *at);
        let mut value = [0; 4];
        value[..taken].copy_from_slice(&bytes[*at..*at + taken]);
        *at += taken;
        if at == end {
            self.block_read(context);
            self.drive_wire();
        }
        u32::from_le_bytes(value)
    }

    /// The host has read a block.
    fn block_read(&mut self, context: &Context) {
        let Some(job) = &mut self.job else { return };
        let Step::In { bytes, end, more, .. } = &job.step else { return };
        let drive = job.drive;
        if *end < bytes.len() {
            self.show_block();
        } else if more.len > 0 {
            job.step = Step::Fetch(*more);
            self.registers(drive).status = status::BSY | status::DRDY;
            self.resume(context);
        } else if job.is_packet() {
            self.complete(drive, Ok(()));
        } else {
            // Data is the end: no further interrupt.
            let good = Ending::good(&job.taskfile);
            self.finish(drive, &good, false);
        }
    }

    /// Writes the data register.
    pub(super) fn write_data(&mut self, size: u8, value: u32, context: &Context) {
        let selected = self.selected();
        let Some(job) = self.job.as_mut().filter(|job| job.drive == selected) else { return };
        let value = &value.to_le_bytes()[..usize::from(size.min(4))];
        match &mut job.step {
            Step::Packet(bytes) => {
                bytes.extend(&value[..value.len().min(PACKET_LEN - bytes.len())]);
                if let Ok(packet) = <[u8; PACKET_LEN]>::try_from(bytes.as_slice()) {
                    self.packet_written(&packet, context);
                }
            }
            Step::Out { bytes, left, through } => {
                let block = job.block.max(1).min(left.len);
                bytes.extend(&value[..value.len().min(block - bytes.len())]);
                if bytes.len() == block {
                    let (bytes, left, through) = (std::mem::take(bytes), *left, *through);
                    job.step = Step::Store { bytes, left, through };
                    let drive = job.drive;
                    self.registers(drive).status = status::BSY | status::DRDY;
                    self.resume(context);
                }
            }
            _ => {}
        }
        self.drive_wire();
    }

    fn packet_written(&mut self, packet: &[u8; PACKET_LEN], context: &Context) {
        let Some(job) = self.job.take() else { return };
        self.registers(job.drive).status = status::BSY | status::DRDY;
        if let Some(drive) = &mut self.drives[job.drive] {
            let action = drive.packet(packet);
            self.act(action, job, context);
        }
    }
}
