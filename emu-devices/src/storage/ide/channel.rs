//! A channel: two drives at one cable, and the registers they share. ATA/ATAPI-7 volume 2, chapters 9 and 10.

use super::{
    bus_master::BusMaster,
    transfer::{Context, Job},
};
use crate::storage::ata::{Drive, DriveState, Ending, Taskfile, command, device, error, status};
use emu_core::bus::IrqLine;
use serde::{Deserialize, Serialize};

/// Offsets in the command block.
pub mod reg {
    // ATA/ATAPI-7 volume 2, table 43.
    pub const DATA: u16 = 0;
    pub const ERROR: u16 = 1;
    pub const COUNT: u16 = 2;
    pub const LBA_LOW: u16 = 3;
    pub const LBA_HIGH: u16 = 5;
    pub const DEVICE: u16 = 6;
    pub const STATUS: u16 = 7;
}

/// Device control.
mod control {
    pub(super) const N_IEN: u8 = 1 << 1;
    pub(super) const SRST: u8 = 1 << 2;
    /// Reads give what registers held before.
    pub(super) const HOB: u8 = 1 << 7;
}

/// Always set in the device register.
const OBSOLETE: u8 = 0xA0;
/// What is read where no drive is: a resistor pulls the highest line down.
const NOBODY: u8 = 0x7F;

/// What one drive has in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DriveRegisters {
    pub(super) taskfile: Taskfile,
    pub(super) status: u8,
    pub(super) error: u8,
    /// It asks for the interrupt.
    pub(super) interrupt: bool,
}

impl DriveRegisters {
    fn take(&mut self, ending: &Ending) {
        let Ending { status, error, count, lba, device: _ } = *ending;
        (self.status, self.error) = (status, error);
        (self.taskfile.count, self.taskfile.lba) = (count, lba);
    }
}

/// A channel's registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChannelRegisters {
    pub(super) drives: [DriveRegisters; 2],
    pub(super) device: u8,
    control: u8,
    /// Who has been reset, and has not told its signature.
    reset_due: Option<ResetDue>,
}

/// What follows a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum ResetDue {
    /// The signatures of both drives: SRST is over.
    Both,
    /// That of this one: DEVICE RESET.
    One(usize),
}

/// A channel, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelState {
    regs: ChannelRegisters,
    bus_master: BusMaster,
    drives: [Option<DriveState>; 2],
    job: Option<Job>,
    level: bool,
}

/// A channel.
pub(super) struct Channel {
    pub(super) drives: [Option<Drive>; 2],
    pub(super) regs: ChannelRegisters,
    pub(super) bus_master: BusMaster,
    /// The command that runs.
    pub(super) job: Option<Job>,
    /// What the job has asked of the backend.
    pub(super) asked: Option<super::transfer::Asked>,
    /// Requests that the backend has not answered, of the job and of ones that were given up.
    pub(super) outstanding: u32,
    pub(super) next_number: u64,
    irq: IrqLine,
    level: bool,
}

impl Channel {
    pub(super) fn new(drives: [Option<Drive>; 2], irq: IrqLine) -> Self {
        let registers =
            DriveRegisters { taskfile: Taskfile::default(), status: 0, error: 0, interrupt: false };
        let regs = ChannelRegisters { drives: [registers; 2], device: 0, control: 0, reset_due: None };
        let mut channel = Channel {
            drives,
            regs,
            bus_master: BusMaster::default(),
            job: None,
            asked: None,
            outstanding: 0,
            next_number: 0,
            irq,
            level: false,
        };
        channel.tell_signatures();
        channel
    }

    /// RESET#.
    pub(super) fn reset(&mut self) {
        self.give_up();
        self.drives.iter_mut().flatten().for_each(Drive::hard_reset);
        self.bus_master = BusMaster::default();
        self.regs.control = 0;
        self.begin_reset();
        self.regs.reset_due = Some(ResetDue::Both);
        self.finish_reset();
        self.drive_wire();
    }

    /// Forgets the command. Answers that still come are counted.
    fn give_up(&mut self) {
        (self.job, self.asked) = (None, None);
    }

    fn begin_reset(&mut self) {
        self.give_up();
        for registers in &mut self.regs.drives {
            (registers.status, registers.interrupt) = (status::BSY, false);
        }
    }

    /// The drives are there again once nothing of before can reach memory any more.
    pub(super) fn finish_reset(&mut self) {
        if self.outstanding != 0 {
            return;
        }
        match self.regs.reset_due.take() {
            None => {}
            Some(ResetDue::Both) => self.tell_signatures(),
            Some(ResetDue::One(number)) => {
                let signature = self.drives[number & 1].as_ref().map(Drive::signature);
                if let Some(signature) = signature {
                    self.registers(number).take(&signature);
                }
            }
        }
    }

    fn tell_signatures(&mut self) {
        self.regs.device = 0;
        for (drive, registers) in self.drives.iter().zip(&mut self.regs.drives) {
            registers.interrupt = false;
            match drive {
                Some(drive) => registers.take(&drive.signature()),
                None => (registers.status, registers.error) = (0, error::PASSED),
            }
        }
    }

    /// The number of the drive that is selected.
    pub(super) fn selected(&self) -> usize {
        usize::from(self.regs.device & device::DEV != 0)
    }

    pub(super) fn registers(&mut self, drive: usize) -> &mut DriveRegisters {
        &mut self.regs.drives[drive & 1]
    }

    /// A command of `drive` is over.
    pub(super) fn finish(&mut self, drive: usize, ending: &Ending, interrupt: bool) {
        self.give_up();
        let registers = self.registers(drive);
        registers.take(ending);
        registers.interrupt |= interrupt;
    }

    /// Lets the interrupt wire follow.
    pub(super) fn drive_wire(&mut self) {
        let asked = self.regs.drives[self.selected()].interrupt && self.drives[self.selected()].is_some();
        let level = asked && self.regs.control & control::N_IEN == 0;
        if level != self.level {
            self.level = level;
            if level {
                self.bus_master.interrupted();
            }
            self.irq.set(level);
        }
    }

    /// Reads a register of the command block, but not the data register.
    pub(super) fn read(&mut self, offset: u16) -> u8 {
        if offset == reg::STATUS {
            let selected = self.selected();
            self.registers(selected).interrupt = false;
            let value = self.alternate_status();
            self.drive_wire();
            return value;
        }
        let selected = self.selected();
        let answering = match (&self.drives[selected], &self.drives[1 - selected]) {
            (Some(_), _) => selected,
            // The other one answers in its place.
            (None, Some(_)) => 1 - selected,
            (None, None) => return NOBODY,
        };
        let DriveRegisters { taskfile, error, .. } = &self.regs.drives[answering];
        let before = self.regs.control & control::HOB != 0;
        match offset {
            reg::ERROR => *error,
            reg::COUNT => taskfile.count.to_le_bytes()[usize::from(before)],
            reg::LBA_LOW..=reg::LBA_HIGH => {
                taskfile.lba[usize::from(offset - reg::LBA_LOW) + if before { 3 } else { 0 }]
            }
            _ => self.regs.device | OBSOLETE,
        }
    }

    /// The status, without consequences.
    pub(super) fn alternate_status(&self) -> u8 {
        let selected = self.selected();
        match (&self.drives[selected], &self.drives[1 - selected]) {
            (Some(_), _) => self.regs.drives[selected].status,
            (None, Some(_)) => 0,
            (None, None) => NOBODY,
        }
    }

    /// Writes a register of the command block, but not the data register. Both drives hear it.
    pub(super) fn write(&mut self, offset: u16, value: u8, context: &Context) {
        self.regs.control &= !control::HOB;
        let busy = self.regs.drives.iter().any(|drive| drive.status & (status::BSY | status::DRQ) != 0);
        if offset == reg::STATUS {
            self.write_command(value, busy, context);
        } else if busy {
            // Undefined: nothing happens.
        } else if offset == reg::DEVICE {
            self.regs.device = value;
            self.drive_wire();
        } else {
            for registers in &mut self.regs.drives {
                let Taskfile { feature, count, lba, .. } = &mut registers.taskfile;
                match offset {
                    reg::ERROR => *feature = *feature << 8 | u16::from(value),
                    reg::COUNT => *count = *count << 8 | u16::from(value),
                    _ => {
                        let at = usize::from(offset - reg::LBA_LOW) % 3;
                        lba[at + 3] = std::mem::replace(&mut lba[at], value);
                    }
                }
            }
        }
    }

    fn write_command(&mut self, code: u8, busy: bool, context: &Context) {
        let drive = self.selected();
        let packet_device = self.drives[drive].as_ref().is_some_and(Drive::is_packet_device);
        let resets = code == command::DEVICE_RESET && packet_device && self.regs.reset_due.is_none();
        if busy && !resets {
            return;
        }
        self.registers(drive).interrupt = false;
        if resets {
            self.device_reset(drive);
        } else if code == command::EXECUTE_DEVICE_DIAGNOSTIC {
            self.tell_signatures();
            self.registers(0).interrupt = true;
        } else if self.drives[drive].is_some() {
            let device = self.regs.device;
            let registers = self.registers(drive);
            (registers.taskfile.command, registers.taskfile.device) = (code, device);
            self.begin(drive, context);
        }
        self.drive_wire();
    }

    /// A packet device begins anew, whatever it was doing. There is no interrupt.
    fn device_reset(&mut self, drive: usize) {
        self.give_up();
        self.registers(drive).status = status::BSY;
        if let Some(drive) = &mut self.drives[drive] {
            drive.soft_reset();
        }
        self.regs.reset_due = Some(ResetDue::One(drive));
        self.finish_reset();
    }

    /// Writes device control.
    pub(super) fn write_control(&mut self, value: u8) {
        let before = std::mem::replace(&mut self.regs.control, value);
        match (before & control::SRST != 0, value & control::SRST != 0) {
            (false, true) => {
                self.drives.iter_mut().flatten().for_each(Drive::soft_reset);
                self.begin_reset();
            }
            (true, false) => {
                self.regs.reset_due = Some(ResetDue::Both);
                self.finish_reset();
            }
            _ => {}
        }
        self.drive_wire();
    }

    pub(super) fn save(&self) -> ChannelState {
        let Channel {
            drives,
            regs,
            bus_master,
            job,
            asked: _,
            outstanding: _,
            next_number: _,
            irq: _,
            level,
        } = self;
        ChannelState {
            regs: regs.clone(),
            bus_master: *bus_master,
            drives: std::array::from_fn(|number| drives[number].as_ref().map(Drive::save)),
            job: job.clone(),
            level: *level,
        }
    }

    pub(super) fn with_state(self, state: ChannelState) -> Result<Self, String> {
        let ChannelState { regs, bus_master, drives: saved, job, level } = state;
        let Channel { drives, irq, .. } = self;
        let mut channel = Channel::new([None, None], irq);
        for (number, (drive, saved)) in drives.into_iter().zip(saved).enumerate() {
            channel.drives[number] = match (drive, saved) {
                (Some(drive), Some(saved)) => Some(drive.with_state(saved)?),
                (None, None) => None,
                _ => return Err("a channel with another drive".to_owned()),
            };
        }
        if let Some(job) = &job {
            job.check()?;
        }
        channel.irq.set(level);
        Ok(Channel { regs, bus_master, job, level, ..channel })
    }
}
