//! What a port does with commands: fetches them, has the drive plan them, carries data, and reports.
//! AHCI 1.3.1, chapters 5 and 6; Serial ATA 3.0, 11.7 and 13.6 (queued commands).
//!
//! One command that is not queued keeps the port busy until it is done. Queued ones run side by side. A command that
//! fails stops the port until the host clears ST.

use super::{
    Ahci,
    command_list::{CommandHeader, Gap, Places},
    fis::{DEVICE_BITS, FromHost, ToHost},
    port::{Port, SLOTS, cmd, interrupt, serr},
};
use crate::storage::ata::{Action, Drive, Ending, Taskfile, Transfer, command, status};
use emu_core::{
    backend::{BlockError, BlockRequest, Data, Operation},
    memory::Dma,
};
use parking_lot::Mutex;
use std::sync::Weak;

/// READ and WRITE FPDMA QUEUED.
const QUEUED: std::ops::RangeInclusive<u8> = 0x60..=0x61;

/// What is around a port.
pub(super) struct Context {
    /// Memory, while the function is bus master.
    pub(super) dma: Option<Dma>,
    pub(super) me: Weak<Mutex<Ahci>>,
    pub(super) port: usize,
}

/// A command that runs.
pub(super) struct Job {
    /// Tells it from one that was in this slot before.
    number: u64,
    taskfile: Taskfile,
    transfer: Transfer,
    header: CommandHeader,
    /// Bytes carried when all goes well.
    len: usize,
    to_host: bool,
    /// A place for data asks for an interrupt.
    data_interrupt: bool,
    /// Requests that have not been answered.
    waiting: usize,
    result: Result<(), BlockError>,
}

impl Job {
    fn is_queued(&self) -> bool {
        matches!(self.transfer, Transfer::Queued { .. })
    }
}

impl Port {
    /// Does what can be done.
    pub(super) fn run(&mut self, context: &Context) {
        let Some(dma) = &context.dma else { return };
        self.tell_signature(dma);
        let mut requests = Vec::new();
        while let Some(slot) = self.next_slot() {
            self.start(slot, dma, context, &mut requests);
        }
        if let Some(backend) = self.drive.as_ref().and_then(|drive| drive.backend()) {
            match requests.len() {
                0 => {}
                1 => requests.into_iter().for_each(|request| backend.submit(request)),
                _ => backend.submit_all(requests),
            }
        }
    }

    /// The first FIS after a reset. It waits until nothing of before can reach memory any more.
    fn tell_signature(&mut self, dma: &Dma) {
        let ready = self.regs.signature_due && self.regs.cmd & cmd::FRE != 0 && self.outstanding == 0;
        let Some(drive) = self.drive.as_ref().filter(|_| ready) else { return };
        let signature = drive.signature();
        let [low, mid, high, ..] = signature.lba;
        self.regs.signature_due = false;
        self.regs.sig = u32::from_le_bytes([signature.count as u8, low, mid, high]);
        self.show(&signature);
        self.post(dma, &ToHost::register(&signature, false));
    }

    /// Updates PxTFD.
    fn show(&mut self, ending: &Ending) {
        (self.regs.status, self.regs.error) = (ending.status, ending.error);
    }

    /// The slot whose turn it is: the next with a command after the last, round and round.
    fn next_slot(&self) -> Option<u8> {
        let regs = &self.regs;
        let ready = self.is_started()
            && regs.cmd & cmd::FRE != 0
            && !regs.halted
            && self.is_up()
            && !regs.signature_due
            && regs.status & (status::BSY | status::DRQ) == 0;
        if !ready {
            return None;
        }
        let slots = (1..=SLOTS as u8).map(|step| (regs.ccs + step) % SLOTS as u8);
        slots.into_iter().find(|slot| regs.ci & 1 << slot != 0 && self.jobs[usize::from(*slot)].is_none())
    }

    fn start(&mut self, slot: u8, dma: &Dma, context: &Context, requests: &mut Vec<BlockRequest>) {
        self.regs.ccs = slot;
        let header = CommandHeader::read(dma, self.regs.clb, slot);
        let fetched = header.and_then(|header| Ok((header, header.command_fis(dma)?)));
        let Ok((header, bytes)) = fetched else { return self.host_bus_fatal() };
        match FromHost::parse(&bytes) {
            Some(FromHost::Command(taskfile)) => {
                let requested = self.command(slot, header, taskfile, dma);
                self.request(slot, requested, context, requests);
            }
            Some(FromHost::Control { reset }) => self.control(slot, header, reset, dma),
            None => {
                // The device does not acknowledge it.
                self.regs.serr |= serr::DIAG_H;
                self.regs.is |= interrupt::IFS;
                self.regs.halted = true;
            }
        }
    }

    /// Device control: a software reset begins and ends.
    fn control(&mut self, slot: u8, header: CommandHeader, reset: bool, dma: &Dma) {
        self.regs.ci &= !(1 << slot);
        let was_reset = std::mem::replace(&mut self.regs.srst, reset);
        let Some(drive) = &mut self.drive else { return };
        match (was_reset, reset) {
            (_, true) => {
                drive.soft_reset();
                self.give_up_all();
                if !header.clears_busy() {
                    self.regs.status |= status::BSY;
                }
            }
            (true, false) => {
                self.regs.status |= status::BSY;
                self.regs.signature_due = true;
                self.tell_signature(dma);
            }
            (false, false) => {}
        }
    }

    /// Has the drive plan a command, and makes its job. Returns what the backend is to do.
    fn command(&mut self, slot: u8, header: CommandHeader, taskfile: Taskfile, dma: &Dma) -> Vec<Operation> {
        let Some(drive) = &mut self.drive else { return Vec::new() };
        let (transfer, action) =
            if !QUEUED.contains(&taskfile.command) && self.jobs.iter().any(Option::is_some) {
                // Commands that are not queued may not come between ones that are: all of these end.
                let ending = Ending::aborted(&taskfile);
                drive.queue_failed(None, &ending);
                self.give_up_all();
                (Transfer::Dma, Action::End(ending))
            } else {
                let plan = drive.command(&taskfile);
                (plan.transfer, plan.action)
            };
        let mut job = Job {
            number: self.next_number,
            taskfile,
            transfer,
            header,
            len: 0,
            to_host: false,
            data_interrupt: false,
            waiting: 0,
            result: Ok(()),
        };
        self.next_number += 1;
        if job.is_queued() {
            self.accept(slot, &taskfile, dma);
        } else {
            self.regs.busy = Some(slot);
            self.regs.status = status::BSY | status::DRDY;
        }
        match self.act(action, &mut job, dma) {
            Act::Wait(operations) => {
                job.waiting = operations.len();
                self.jobs[usize::from(slot)] = Some(job);
                operations
            }
            Act::End(ending) => {
                self.end(slot, &job, &ending, dma);
                Vec::new()
            }
            Act::Stuck => Vec::new(),
        }
    }

    /// The device has taken a queued command, and is free for the next.
    fn accept(&mut self, slot: u8, taskfile: &Taskfile, dma: &Dma) {
        let accepted = Ending::good(taskfile);
        self.show(&accepted);
        self.regs.ci &= !(1 << slot);
        self.post(dma, &ToHost::register(&accepted, false));
    }

    fn act(&mut self, mut action: Action, job: &mut Job, dma: &Dma) -> Act {
        loop {
            let Some(drive) = &mut self.drive else { return Act::Stuck };
            action = match action {
                Action::End(ending) => return Act::End(ending),
                Action::Packet => match job.header.packet(dma) {
                    // The device waits for a packet that never comes.
                    _ if !job.header.has_packet() => return Act::Stuck,
                    Ok(packet) => drive.packet(&packet),
                    Err(_) => return self.gap(Gap::NotRam),
                },
                Action::Requests(operations) if operations.is_empty() => {
                    return Act::End(drive.finish(&job.taskfile, Ok(())));
                }
                Action::Requests(operations) => return Act::Wait(operations),
                Action::Send(bytes) => {
                    return match job.places(dma, bytes.len(), true) {
                        Ok(places) => {
                            places.buffer.copy_from(0, &bytes);
                            Act::End(drive.finish(&job.taskfile, Ok(())))
                        }
                        Err(gap) => self.gap(gap),
                    };
                }
                Action::Receive(len) => match job.places(dma, len, false) {
                    Ok(places) => {
                        let mut bytes = vec![0; len];
                        places.buffer.copy_to(0, &mut bytes);
                        drive.received(&job.taskfile, &bytes)
                    }
                    Err(gap) => return self.gap(gap),
                },
                Action::Read { offset, len } => {
                    return match job.places(dma, len, true) {
                        Ok(places) => {
                            let data = Data::Guest(places.buffer);
                            read(drive, &job.taskfile, Operation::Read { offset, data })
                        }
                        Err(gap) => self.gap(gap),
                    };
                }
                Action::Write { offset, len, through } => {
                    return match job.places(dma, len, false) {
                        Ok(places) => {
                            let data = Data::Guest(places.buffer);
                            Act::Wait(vec![Operation::Write { offset, data, through }])
                        }
                        Err(gap) => self.gap(gap),
                    };
                }
            };
        }
    }

    /// There is no place for data. The device goes on waiting; it takes a reset to end that.
    fn gap(&mut self, gap: Gap) -> Act {
        match gap {
            Gap::NotRam => self.regs.is |= interrupt::HBFS,
            Gap::Short => self.regs.is |= interrupt::OFS,
        }
        self.regs.halted = true;
        Act::Stuck
    }

    /// Makes requests of operations.
    fn request(
        &mut self,
        slot: u8,
        operations: Vec<Operation>,
        context: &Context,
        requests: &mut Vec<BlockRequest>,
    ) {
        let Some(number) = self.jobs[usize::from(slot)].as_ref().map(|job| job.number) else { return };
        self.outstanding += operations.len() as u32;
        requests.extend(operations.into_iter().map(|operation| {
            let (me, port) = (context.me.clone(), context.port);
            let done = Box::new(move |result, data| {
                // Its places are free before the guest hears of it.
                drop(data);
                if let Some(ahci) = me.upgrade() {
                    ahci.lock().answered(port, slot, number, result);
                }
            });
            BlockRequest { operation, done }
        }));
    }

    /// The backend has answered a request of job `number` in `slot`.
    pub(super) fn answered(
        &mut self,
        slot: u8,
        number: u64,
        result: Result<(), BlockError>,
        context: &Context,
    ) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let place = &mut self.jobs[usize::from(slot)];
        if let Some(job) = place.as_mut().filter(|job| job.number == number) {
            job.waiting -= 1;
            job.result = job.result.and(result);
            if job.waiting == 0
                && let (Some(job), Some(drive)) = (place.take(), &mut self.drive)
            {
                let ending = drive.finish(&job.taskfile, job.result);
                match &context.dma {
                    Some(dma) => self.end(slot, &job, &ending, dma),
                    // The guest has taken memory away meanwhile.
                    None => self.host_bus_fatal(),
                }
            }
        }
        self.run(context);
    }

    /// Tells the host how a command ended.
    fn end(&mut self, slot: u8, job: &Job, ending: &Ending, dma: &Dma) {
        if let Transfer::Queued { tag } = job.transfer {
            return self.end_queued(tag, ending, dma);
        }
        self.regs.busy = None;
        let carried = if ending.is_failure() { 0 } else { job.len };
        if carried != 0 && job.data_interrupt {
            self.regs.is |= interrupt::DPS;
        }
        if job.header.set_carried(dma, carried as u32).is_err() {
            return self.host_bus_fatal();
        }
        let is_packet = job.taskfile.command == command::PACKET;
        self.show(ending);
        let by_pio = matches!(job.transfer, Transfer::Pio { .. }) && carried != 0;
        // Data to the host by PIO ends with the data; a packet has a status besides.
        let ends_with_data = by_pio && job.to_host && !is_packet;
        if by_pio {
            let before = status::DRDY | status::DSC | status::DRQ;
            let block = match job.transfer {
                Transfer::Pio { block } => carried.min(block.max(1)),
                _ => carried,
            };
            let setup = ToHost::pio_setup(ending, before, block as u16, job.to_host, ends_with_data);
            self.post(dma, &setup);
        }
        if ends_with_data {
            self.regs.is |= interrupt::PSS;
        } else {
            self.post(dma, &ToHost::register(ending, true));
            self.regs.is |= interrupt::DHRS;
        }
        if ending.is_failure() {
            self.task_file_error();
        } else {
            self.regs.ci &= !(1 << slot);
        }
    }

    fn end_queued(&mut self, tag: u8, ending: &Ending, dma: &Dma) {
        let failed = ending.is_failure();
        let done = if failed { 0 } else { 1 << tag };
        self.regs.status = self.regs.status & !DEVICE_BITS | ending.status & DEVICE_BITS;
        self.regs.error = ending.error;
        self.regs.sact &= !done;
        self.post(dma, &ToHost::set_device_bits(ending.status, ending.error, done));
        self.regs.is |= interrupt::SDBS;
        if failed {
            if let Some(drive) = &mut self.drive {
                drive.queue_failed(Some(tag), ending);
            }
            self.give_up_all();
            self.task_file_error();
        }
    }

    fn task_file_error(&mut self) {
        self.regs.is |= interrupt::TFES;
        self.regs.halted = true;
    }
}

/// Reads at once, or as soon as the backend can.
fn read(drive: &mut Drive, taskfile: &Taskfile, mut operation: Operation) -> Act {
    if drive.backend().is_some_and(|backend| backend.try_at_once(&mut operation)) {
        Act::End(drive.finish(taskfile, Ok(())))
    } else {
        Act::Wait(vec![operation])
    }
}

/// How it goes on.
enum Act {
    Wait(Vec<Operation>),
    End(Ending),
    /// Never.
    Stuck,
}

impl Job {
    /// Places for the command's data.
    fn places(&mut self, dma: &Dma, len: usize, to_host: bool) -> Result<Places, Gap> {
        let places = self.header.places(dma, len)?;
        (self.len, self.to_host, self.data_interrupt) = (len, to_host, places.interrupt);
        Ok(places)
    }
}
