//! ATA drives: the command set of a disk, and what it shares with packet devices.
//!
//! ATA/ATAPI-7 volume 1 (parallel, CHS, PIO) and ATA8-ACS (queued commands, logs, data set management). A controller
//! gives a [`Drive`] a [`Taskfile`] and gets a [`Plan`]: how data is carried, and what is to be done. When that is done
//! it asks for the [`Ending`], which are the registers that the host sees then.
//!
//! Left out: SMART, security, host protected area but for its size, power-up in standby, sleep (which needs a reset to
//! leave), streaming, READ and WRITE BUFFER, microcode, WRITE UNCORRECTABLE, queued trim. They are aborted.

mod disk;
mod extent;
pub(super) mod features;
mod identify;
mod log;
#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskState};
pub use identify::{DriveIdentity, Words};

use crate::storage::atapi::{Cdrom, CdromState};
use emu_core::backend::{BlockBackend, BlockError, Operation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bits of the status register.
pub mod status {
    #![expect(missing_docs, reason = "the names are the documentation: ATA/ATAPI-7, 5.14")]
    pub const BSY: u8 = 1 << 7;
    pub const DRDY: u8 = 1 << 6;
    pub const DF: u8 = 1 << 5;
    /// Seek complete; service, in a packet device.
    pub const DSC: u8 = 1 << 4;
    pub const DRQ: u8 = 1 << 3;
    pub const ERR: u8 = 1 << 0;
}

/// Bits of the error register.
pub mod error {
    #![expect(missing_docs, reason = "the names are the documentation: ATA/ATAPI-7, 5.9")]
    pub const UNC: u8 = 1 << 6;
    pub const IDNF: u8 = 1 << 4;
    pub const ABRT: u8 = 1 << 2;
    /// Not an error: device 0 passed its diagnostic.
    pub const PASSED: u8 = 1;
}

/// Bits of the device register.
pub mod device {
    /// The address is an LBA.
    pub const LBA: u8 = 1 << 6;
    /// Device 1 of an IDE channel.
    pub const DEV: u8 = 1 << 4;
    /// Head, or bits 27:24 of the LBA; forced unit access in a queued command is [`FUA`].
    pub const HEAD: u8 = 0xF;
    /// Forced unit access, in a queued command.
    pub const FUA: u8 = 1 << 7;
}

/// Command codes that controllers look at; those of one command set are beside it.
pub mod command {
    #![expect(missing_docs, reason = "the names are the documentation: ATA8-ACS, 7")]
    pub const NOP: u8 = 0x00;
    pub const DEVICE_RESET: u8 = 0x08;
    pub const EXECUTE_DEVICE_DIAGNOSTIC: u8 = 0x90;
    pub const PACKET: u8 = 0xA0;
    pub const IDENTIFY_PACKET_DEVICE: u8 = 0xA1;
    pub const IDENTIFY_DEVICE: u8 = 0xEC;
    pub const STANDBY_IMMEDIATE: u8 = 0xE0;
    pub const IDLE_IMMEDIATE: u8 = 0xE1;
    pub const STANDBY: u8 = 0xE2;
    pub const IDLE: u8 = 0xE3;
    pub const CHECK_POWER_MODE: u8 = 0xE5;
    pub const SET_FEATURES: u8 = 0xEF;
}

/// The registers that a command comes in. Sixteen bits are the register and, above, what it held before: an extended
/// command uses both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taskfile {
    /// Command.
    pub command: u8,
    /// Features.
    pub feature: u16,
    /// Sector count.
    pub count: u16,
    /// LBA low, mid, high, and what these held before.
    pub lba: [u8; 6],
    /// Device and head.
    pub device: u8,
}

/// The registers that a command leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Status.
    pub status: u8,
    /// Error.
    pub error: u8,
    /// Sector count; in a packet device the interrupt reason.
    pub count: u16,
    /// As in [`Taskfile`].
    pub lba: [u8; 6],
    /// Device and head.
    pub device: u8,
}

impl Ending {
    /// All went well; the other registers stay as they are.
    pub fn good(taskfile: &Taskfile) -> Self {
        let Taskfile { count, lba, device, .. } = *taskfile;
        Ending { status: status::DRDY | status::DSC, error: 0, count, lba, device }
    }

    /// An error.
    pub fn failed(taskfile: &Taskfile, error: u8) -> Self {
        let good = Ending::good(taskfile);
        Ending { status: good.status | status::ERR, error, ..good }
    }

    /// The command is unknown, or what it asks for.
    pub fn aborted(taskfile: &Taskfile) -> Self {
        Self::failed(taskfile, error::ABRT)
    }

    /// Whether it is an error.
    pub fn is_failure(&self) -> bool {
        self.status & status::ERR != 0
    }
}

/// How a command's data is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transfer {
    /// By the data register, in blocks of this many bytes, each with its own interrupt. Also commands without data.
    Pio {
        /// Bytes of one block.
        block: usize,
    },
    /// By the controller.
    Dma,
    /// By the controller, while further commands are taken.
    Queued {
        /// The command's number.
        tag: u8,
    },
}

/// What a command asks for.
#[derive(Debug)]
pub enum Action {
    /// It is over.
    End(Ending),
    /// These bytes go to the host; then it is over.
    Send(Vec<u8>),
    /// So many bytes come from the host; [`Drive::received`] says what to do with them.
    Receive(usize),
    /// This much of the medium goes to the host.
    Read {
        /// First byte.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// The host's bytes go to the medium.
    Write {
        /// First byte.
        offset: u64,
        /// How many.
        len: usize,
        /// They are to outlive a loss of power.
        through: bool,
    },
    /// Requests that carry nothing to the host or from it.
    Requests(Vec<Operation>),
    /// A packet is to come, for [`Drive::packet`].
    Packet,
}

/// What a command asks for, and how its data is carried.
#[derive(Debug)]
pub struct Plan {
    /// How.
    pub transfer: Transfer,
    /// What.
    pub action: Action,
}

impl Plan {
    /// No data.
    fn end(ending: Ending) -> Self {
        Plan { transfer: Transfer::Pio { block: 0 }, action: Action::End(ending) }
    }

    /// A sector made by the drive, by the data register.
    fn sector(bytes: Vec<u8>) -> Self {
        Plan { transfer: Transfer::Pio { block: bytes.len() }, action: Action::Send(bytes) }
    }
}

/// What the cable is: a disk says it when it identifies itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// Serial ATA.
    Serial,
    /// Parallel ATA, 80 conductors.
    Parallel,
}

/// A drive at the end of a cable.
pub enum Drive {
    /// A disk.
    Disk(Disk),
    /// A CD-ROM drive.
    Cdrom(Cdrom),
}

/// A drive, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DriveState {
    /// A disk.
    Disk(DiskState),
    /// A CD-ROM drive.
    Cdrom(CdromState),
}

impl Drive {
    /// A disk at power-on.
    pub fn disk(backend: Arc<dyn BlockBackend>, identity: DriveIdentity, cable: Cable) -> Self {
        Drive::Disk(Disk::new(backend, identity, cable))
    }

    /// A CD-ROM drive at power-on.
    pub fn cdrom(medium: Option<Arc<dyn BlockBackend>>, identity: DriveIdentity, cable: Cable) -> Self {
        Drive::Cdrom(Cdrom::new(medium, identity, cable))
    }

    /// Whether it takes packets.
    pub fn is_packet_device(&self) -> bool {
        matches!(self, Drive::Cdrom(_))
    }

    /// What the registers hold after a reset: they tell disks from packet devices.
    pub fn signature(&self) -> Ending {
        let (lba, status) = match self {
            Drive::Disk(_) => ([1, 0, 0, 0, 0, 0], status::DRDY | status::DSC),
            Drive::Cdrom(_) => ([1, 0x14, 0xEB, 0, 0, 0], 0),
        };
        Ending { status, error: error::PASSED, count: 1, lba, device: 0 }
    }

    /// Takes a command.
    pub fn command(&mut self, taskfile: &Taskfile) -> Plan {
        match (self, taskfile.command) {
            (drive, command::EXECUTE_DEVICE_DIAGNOSTIC) => Plan::end(drive.signature()),
            (Drive::Disk(disk), _) => disk.command(taskfile),
            (drive, command::DEVICE_RESET) => {
                drive.soft_reset();
                Plan::end(drive.signature())
            }
            // Which command is aborted tells the host what it talks to.
            (drive @ Drive::Cdrom(_), command::IDENTIFY_DEVICE) => {
                let Ending { count, lba, .. } = drive.signature();
                Plan::end(Ending { count, lba, ..Ending::aborted(taskfile) })
            }
            (Drive::Cdrom(cdrom), _) => cdrom.command(taskfile),
        }
    }

    /// Takes the packet that [`Action::Packet`] asked for.
    pub fn packet(&mut self, packet: &[u8; 12]) -> Action {
        match self {
            Drive::Disk(_) => Action::End(Ending::aborted(&Taskfile::default())),
            Drive::Cdrom(cdrom) => cdrom.packet(packet),
        }
    }

    /// Takes the bytes that [`Action::Receive`] asked for.
    pub fn received(&mut self, taskfile: &Taskfile, bytes: &[u8]) -> Action {
        match self {
            Drive::Disk(disk) => disk.received(bytes),
            Drive::Cdrom(_) => Action::End(Ending::aborted(taskfile)),
        }
    }

    /// What the host hears when all that was planned has been done, or has failed.
    pub fn finish(&mut self, taskfile: &Taskfile, result: Result<(), BlockError>) -> Ending {
        match (self, result) {
            (Drive::Cdrom(cdrom), result) if taskfile.command == command::PACKET => cdrom.finish(result),
            (_, Ok(())) => Ending::good(taskfile),
            (Drive::Disk(disk), Err(error)) => disk.failure(taskfile, error),
            (Drive::Cdrom(_), Err(_)) => Ending::aborted(taskfile),
        }
    }

    /// Notes that a queued command, or one between queued ones (`tag` is `None`), has failed, and with it all that were
    /// queued.
    pub fn queue_failed(&mut self, tag: Option<u8>, ending: &Ending) {
        if let Drive::Disk(disk) = self {
            disk.queue_failed(tag, ending);
        }
    }

    /// The image, if there is one.
    pub fn backend(&self) -> Option<Arc<dyn BlockBackend>> {
        match self {
            Drive::Disk(disk) => Some(disk.backend()),
            Drive::Cdrom(cdrom) => cdrom.medium(),
        }
    }

    /// RESET# or COMRESET.
    pub fn hard_reset(&mut self) {
        match self {
            Drive::Disk(disk) => disk.hard_reset(),
            Drive::Cdrom(cdrom) => cdrom.hard_reset(),
        }
    }

    /// SRST. Settings stay.
    pub fn soft_reset(&mut self) {
        match self {
            Drive::Disk(disk) => disk.soft_reset(),
            Drive::Cdrom(cdrom) => cdrom.soft_reset(),
        }
    }

    /// The drive's registers.
    pub fn save(&self) -> DriveState {
        match self {
            Drive::Disk(disk) => DriveState::Disk(disk.save()),
            Drive::Cdrom(cdrom) => DriveState::Cdrom(cdrom.save()),
        }
    }

    /// Takes saved registers.
    pub fn with_state(self, state: DriveState) -> Result<Self, String> {
        match (self, state) {
            (Drive::Disk(disk), DriveState::Disk(state)) => disk.with_state(state).map(Drive::Disk),
            (Drive::Cdrom(cdrom), DriveState::Cdrom(state)) => Ok(Drive::Cdrom(cdrom.with_state(state))),
            _ => Err("another kind of drive".to_owned()),
        }
    }
}
