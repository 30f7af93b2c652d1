//! A disk: its commands. ATA8-ACS, chapter 7; CHS and INITIALIZE DEVICE PARAMETERS as in ATA/ATAPI-5.

use super::{
    Action, Cable, DriveIdentity, Ending, Plan, Taskfile, Transfer, command, device, error,
    extent::{Addressing, Extent, Translation},
    features::{self, subcommand},
    identify::{MOST_MULTIPLE, MOST_TRIM_BLOCKS},
    log::{self, QueueFailure},
};
use emu_core::backend::{BlockBackend, BlockError, BlockGeometry, Data, Operation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Commands that may be queued.
pub(super) const QUEUE_DEPTH: u16 = 32;
/// What one request of READ VERIFY reads.
const VERIFY_CHUNK: u64 = 1 << 20;
/// Bytes of a block of DATA SET MANAGEMENT or of a log, whatever the sector.
const BLOCK: usize = 512;
const TRIM: u16 = 1;

/// Command codes.
mod code {
    pub(super) const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub(super) const RECALIBRATE: std::ops::RangeInclusive<u8> = 0x10..=0x1F;
    pub(super) const READ_SECTORS: u8 = 0x20;
    pub(super) const READ_SECTORS_NO_RETRY: u8 = 0x21;
    pub(super) const READ_SECTORS_EXT: u8 = 0x24;
    pub(super) const READ_DMA_EXT: u8 = 0x25;
    pub(super) const READ_NATIVE_MAX_EXT: u8 = 0x27;
    pub(super) const READ_MULTIPLE_EXT: u8 = 0x29;
    pub(super) const READ_LOG_EXT: u8 = 0x2F;
    pub(super) const WRITE_SECTORS: u8 = 0x30;
    pub(super) const WRITE_SECTORS_NO_RETRY: u8 = 0x31;
    pub(super) const WRITE_SECTORS_EXT: u8 = 0x34;
    pub(super) const WRITE_DMA_EXT: u8 = 0x35;
    pub(super) const WRITE_MULTIPLE_EXT: u8 = 0x39;
    pub(super) const WRITE_DMA_FUA_EXT: u8 = 0x3D;
    pub(super) const READ_VERIFY: u8 = 0x40;
    pub(super) const READ_VERIFY_NO_RETRY: u8 = 0x41;
    pub(super) const READ_VERIFY_EXT: u8 = 0x42;
    pub(super) const READ_LOG_DMA_EXT: u8 = 0x47;
    pub(super) const READ_FPDMA_QUEUED: u8 = 0x60;
    pub(super) const WRITE_FPDMA_QUEUED: u8 = 0x61;
    pub(super) const SEEK: u8 = 0x70;
    pub(super) const INITIALIZE_DEVICE_PARAMETERS: u8 = 0x91;
    pub(super) const READ_MULTIPLE: u8 = 0xC4;
    pub(super) const WRITE_MULTIPLE: u8 = 0xC5;
    pub(super) const SET_MULTIPLE_MODE: u8 = 0xC6;
    pub(super) const READ_DMA: u8 = 0xC8;
    pub(super) const READ_DMA_NO_RETRY: u8 = 0xC9;
    pub(super) const WRITE_DMA: u8 = 0xCA;
    pub(super) const WRITE_DMA_NO_RETRY: u8 = 0xCB;
    pub(super) const WRITE_MULTIPLE_FUA_EXT: u8 = 0xCE;
    pub(super) const FLUSH_CACHE: u8 = 0xE7;
    pub(super) const FLUSH_CACHE_EXT: u8 = 0xEA;
    pub(super) const READ_NATIVE_MAX: u8 = 0xF8;
}

/// CHECK POWER MODE's answers.
mod power {
    pub(super) const STANDBY: u8 = 0x00;
    pub(super) const IDLE: u8 = 0x80;
    pub(super) const ACTIVE: u8 = 0xFF;
}

/// A disk's registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    translation: Translation,
    /// Sectors of a DRQ block of READ and WRITE MULTIPLE; zero: those are aborted.
    multiple: u8,
    write_cache: bool,
    look_ahead: bool,
    transfer_mode: u8,
    power: u8,
    queue_failure: Option<QueueFailure>,
}

impl DiskState {
    const POWER_ON: DiskState = DiskState {
        translation: Translation::DEFAULT,
        multiple: MOST_MULTIPLE,
        write_cache: true,
        look_ahead: true,
        transfer_mode: features::DEFAULT_MODE,
        power: power::ACTIVE,
        queue_failure: None,
    };
}

/// A disk.
pub struct Disk {
    backend: Arc<dyn BlockBackend>,
    identity: DriveIdentity,
    cable: Cable,
    state: DiskState,
}

/// What a command does with the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    /// A write that is to outlive a loss of power.
    WriteThrough,
}

/// How a medium command is named: what it does, how it says where, and how it carries data.
#[derive(Debug, Clone, Copy)]
struct Form(Access, Addressing, Carried);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    Sectors,
    Multiple,
    Dma,
    Queued,
}

impl Form {
    fn of(taskfile: &Taskfile) -> Option<Self> {
        use {Access::*, Addressing::*, Carried::*};
        Some(match taskfile.command {
            code::READ_SECTORS | code::READ_SECTORS_NO_RETRY => Form(Read, Short, Sectors),
            code::READ_SECTORS_EXT => Form(Read, Extended, Sectors),
            code::READ_MULTIPLE => Form(Read, Short, Multiple),
            code::READ_MULTIPLE_EXT => Form(Read, Extended, Multiple),
            code::READ_DMA | code::READ_DMA_NO_RETRY => Form(Read, Short, Dma),
            code::READ_DMA_EXT => Form(Read, Extended, Dma),
            code::READ_FPDMA_QUEUED => Form(Read, Addressing::Queued, Carried::Queued),
            code::WRITE_SECTORS | code::WRITE_SECTORS_NO_RETRY => Form(Write, Short, Sectors),
            code::WRITE_SECTORS_EXT => Form(Write, Extended, Sectors),
            code::WRITE_MULTIPLE => Form(Write, Short, Multiple),
            code::WRITE_MULTIPLE_EXT => Form(Write, Extended, Multiple),
            code::WRITE_MULTIPLE_FUA_EXT => Form(WriteThrough, Extended, Multiple),
            code::WRITE_DMA | code::WRITE_DMA_NO_RETRY => Form(Write, Short, Dma),
            code::WRITE_DMA_EXT => Form(Write, Extended, Dma),
            code::WRITE_DMA_FUA_EXT => Form(WriteThrough, Extended, Dma),
            code::WRITE_FPDMA_QUEUED => {
                let through = taskfile.device & device::FUA != 0;
                Form(if through { WriteThrough } else { Write }, Addressing::Queued, Carried::Queued)
            }
            _ => return None,
        })
    }
}

impl Disk {
    pub(super) fn new(backend: Arc<dyn BlockBackend>, identity: DriveIdentity, cable: Cable) -> Self {
        Disk { backend, identity, cable, state: DiskState::POWER_ON }
    }

    // What IDENTIFY asks.

    pub(super) fn backend(&self) -> Arc<dyn BlockBackend> {
        self.backend.clone()
    }

    pub(super) fn geometry(&self) -> BlockGeometry {
        self.backend.geometry()
    }

    /// Sectors of the disk.
    pub(super) fn sectors(&self) -> u64 {
        let geometry = self.geometry();
        geometry.len / u64::from(geometry.logical_block)
    }

    pub(super) fn identity(&self) -> &DriveIdentity {
        &self.identity
    }

    pub(super) fn cable(&self) -> Cable {
        self.cable
    }

    pub(super) fn translation(&self) -> Translation {
        self.state.translation
    }

    pub(super) fn multiple(&self) -> u8 {
        self.state.multiple
    }

    pub(super) fn transfer_mode(&self) -> u8 {
        self.state.transfer_mode
    }

    pub(super) fn write_cache(&self) -> bool {
        self.state.write_cache
    }

    pub(super) fn look_ahead(&self) -> bool {
        self.state.look_ahead
    }

    // Commands.

    pub(super) fn command(&mut self, taskfile: &Taskfile) -> Plan {
        let log = matches!(taskfile.command, code::READ_LOG_EXT | code::READ_LOG_DMA_EXT);
        if log {
            return self.read_log(taskfile);
        }
        if self.state.queue_failure.is_some() {
            // The host has to read first what became of its queued commands.
            return self.not_now(taskfile);
        }
        match Form::of(taskfile) {
            Some(form) => self.access(taskfile, form).unwrap_or_else(|error| self.refuse(taskfile, error)),
            None => self.other_command(taskfile).unwrap_or_else(|| Plan::end(Ending::aborted(taskfile))),
        }
    }

    fn not_now(&self, taskfile: &Taskfile) -> Plan {
        self.refuse(taskfile, error::ABRT)
    }

    /// Ends a command with an error in the way its kind ends.
    fn refuse(&self, taskfile: &Taskfile, error: u8) -> Plan {
        let action = Action::End(Ending::failed(taskfile, error));
        let queued = matches!(Form::of(taskfile), Some(Form(_, Addressing::Queued, _)));
        let queued = queued && self.cable == Cable::Serial;
        let transfer =
            if queued { Transfer::Queued { tag: tag(taskfile) } } else { Transfer::Pio { block: 0 } };
        Plan { transfer, action }
    }

    fn access(&mut self, taskfile: &Taskfile, form: Form) -> Result<Plan, u8> {
        let Form(access, addressing, carried) = form;
        if carried == Carried::Queued && self.cable == Cable::Parallel {
            return Err(error::ABRT);
        }
        if carried == Carried::Multiple && self.state.multiple == 0 {
            return Err(error::ABRT);
        }
        self.state.power = power::ACTIVE;
        let geometry = self.geometry();
        let sector = geometry.logical_block as usize;
        let extent = self.extent(taskfile, addressing)?;
        let (offset, len) = (extent.first * sector as u64, extent.count as usize * sector);
        let action = match access {
            Access::Read => Action::Read { offset, len },
            _ if geometry.read_only => return Err(error::ABRT),
            _ => {
                let through = access == Access::WriteThrough || !self.state.write_cache;
                Action::Write { offset, len, through }
            }
        };
        let transfer = match carried {
            Carried::Sectors => Transfer::Pio { block: sector },
            Carried::Multiple => Transfer::Pio { block: sector * usize::from(self.state.multiple) },
            Carried::Dma => Transfer::Dma,
            Carried::Queued => Transfer::Queued { tag: tag(taskfile) },
        };
        Ok(Plan { transfer, action })
    }

    fn extent(&self, taskfile: &Taskfile, addressing: Addressing) -> Result<Extent, u8> {
        Extent::of(taskfile, addressing, self.state.translation, self.sectors())
    }

    /// Commands that do not carry sectors. `None`: aborted.
    fn other_command(&mut self, taskfile: &Taskfile) -> Option<Plan> {
        let good = Ending::good(taskfile);
        let ending = match taskfile.command {
            command::IDENTIFY_DEVICE => return Some(Plan::sector(self.identify())),
            code::DATA_SET_MANAGEMENT => return self.data_set_management(taskfile),
            code::FLUSH_CACHE | code::FLUSH_CACHE_EXT => return Some(requests(vec![Operation::Flush])),
            code::READ_VERIFY | code::READ_VERIFY_NO_RETRY => {
                return Some(self.verify(taskfile, Addressing::Short));
            }
            code::READ_VERIFY_EXT => return Some(self.verify(taskfile, Addressing::Extended)),
            code::SEEK => match self.extent(&Taskfile { count: 1, ..*taskfile }, Addressing::Short) {
                Ok(_) => good,
                Err(error) => Ending::failed(taskfile, error),
            },
            recalibrate if code::RECALIBRATE.contains(&recalibrate) => good,
            code::INITIALIZE_DEVICE_PARAMETERS => self.initialize_device_parameters(taskfile)?,
            code::SET_MULTIPLE_MODE => self.set_multiple_mode(taskfile)?,
            code::READ_NATIVE_MAX => self.native_max(taskfile, 0x0FFF_FFFF)?,
            code::READ_NATIVE_MAX_EXT => self.native_max(taskfile, (1 << 48) - 1)?,
            command::SET_FEATURES => self.set_features(taskfile)?,
            command::STANDBY | command::STANDBY_IMMEDIATE => {
                self.state.power = power::STANDBY;
                // What is in the cache is written before the motor stops.
                return Some(requests(vec![Operation::Flush]));
            }
            command::IDLE | command::IDLE_IMMEDIATE => {
                self.state.power = power::IDLE;
                good
            }
            command::CHECK_POWER_MODE => {
                Ending { count: good.count & 0xFF00 | u16::from(self.state.power), ..good }
            }
            _ => return None,
        };
        Some(Plan::end(ending))
    }

    fn initialize_device_parameters(&mut self, taskfile: &Taskfile) -> Option<Ending> {
        let (heads, sectors) = ((taskfile.device & device::HEAD) + 1, taskfile.count as u8);
        if sectors == 0 || sectors > 63 {
            return None;
        }
        self.state.translation = Translation { heads, sectors };
        Some(Ending::good(taskfile))
    }

    fn set_multiple_mode(&mut self, taskfile: &Taskfile) -> Option<Ending> {
        let sectors = taskfile.count as u8;
        if sectors > MOST_MULTIPLE || sectors != 0 && !sectors.is_power_of_two() {
            return None;
        }
        self.state.multiple = sectors;
        Some(Ending::good(taskfile))
    }

    /// The address of the last sector, as far as the command can say it.
    fn native_max(&self, taskfile: &Taskfile, most: u64) -> Option<Ending> {
        let short = taskfile.command == code::READ_NATIVE_MAX;
        if taskfile.device & device::LBA == 0 && short {
            return None;
        }
        let last = self.sectors().checked_sub(1)?.min(most).to_le_bytes();
        let mut good = Ending::good(taskfile);
        if short {
            good.lba[..3].copy_from_slice(&last[..3]);
            good.device = good.device & !device::HEAD | last[3];
        } else {
            good.lba.copy_from_slice(&last[..6]);
        }
        Some(good)
    }

    fn set_features(&mut self, taskfile: &Taskfile) -> Option<Ending> {
        match taskfile.feature as u8 {
            subcommand::ENABLE_WRITE_CACHE if self.geometry().volatile_cache => self.state.write_cache = true,
            subcommand::DISABLE_WRITE_CACHE => self.state.write_cache = false,
            subcommand::ENABLE_LOOK_AHEAD => self.state.look_ahead = true,
            subcommand::DISABLE_LOOK_AHEAD => self.state.look_ahead = false,
            subcommand::KEEP_SETTINGS | subcommand::REVERT_SETTINGS => {}
            subcommand::SET_TRANSFER_MODE => {
                let chosen = features::transfer_mode(self.state.transfer_mode, taskfile.count as u8)?;
                self.state.transfer_mode = chosen;
            }
            _ => return None,
        }
        Some(Ending::good(taskfile))
    }

    fn verify(&self, taskfile: &Taskfile, addressing: Addressing) -> Plan {
        let Extent { first, count } = match self.extent(taskfile, addressing) {
            Ok(extent) => extent,
            Err(error) => return Plan::end(Ending::failed(taskfile, error)),
        };
        let sector = u64::from(self.geometry().logical_block);
        let (begin, end) = (first * sector, (first + count) * sector);
        let chunks = (begin..end).step_by(VERIFY_CHUNK as usize);
        let reads = chunks.map(|offset| {
            let len = VERIFY_CHUNK.min(end - offset) as usize;
            Operation::Read { offset, data: Data::Device(vec![0; len].into_boxed_slice()) }
        });
        requests(reads.collect())
    }

    fn read_log(&mut self, taskfile: &Taskfile) -> Plan {
        let [address, page, _, _, page_above, _] = taskfile.lba;
        let page = u16::from_le_bytes([page, page_above]);
        let dma = taskfile.command == code::READ_LOG_DMA_EXT;
        let failure = self.state.queue_failure.as_ref();
        let Some(bytes) = log::read(address, page, taskfile.count, failure) else {
            return Plan::end(Ending::aborted(taskfile));
        };
        if address == log::NCQ_ERROR {
            self.state.queue_failure = None;
        }
        let transfer = if dma { Transfer::Dma } else { Transfer::Pio { block: BLOCK } };
        Plan { transfer, action: Action::Send(bytes) }
    }

    fn data_set_management(&self, taskfile: &Taskfile) -> Option<Plan> {
        let geometry = self.geometry();
        let blocks = taskfile.count;
        let known = taskfile.feature & 0xFF == TRIM && (1..=MOST_TRIM_BLOCKS).contains(&blocks);
        (known && geometry.discard && !geometry.read_only)
            .then(|| Plan { transfer: Transfer::Dma, action: Action::Receive(usize::from(blocks) * BLOCK) })
    }

    /// The ranges of DATA SET MANAGEMENT: 48 bits of LBA and 16 of length. One that is empty means nothing.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Action {
        let (sector, total) = (u64::from(self.geometry().logical_block), self.sectors());
        let mut discards = Vec::new();
        for entry in bytes.as_chunks::<8>().0 {
            let entry = u64::from_le_bytes(*entry);
            let (first, count) = (entry & ((1 << 48) - 1), entry >> 48);
            if count == 0 {
                continue;
            }
            if first + count > total {
                let taskfile = Taskfile { command: code::DATA_SET_MANAGEMENT, ..Taskfile::default() };
                return Action::End(Ending::failed(&taskfile, error::ABRT | error::IDNF));
            }
            discards.push(Operation::Discard { offset: first * sector, len: count * sector });
        }
        Action::Requests(discards)
    }

    /// What the host hears when its command failed in the host.
    pub(super) fn failure(&self, taskfile: &Taskfile, error: BlockError) -> Ending {
        let reads = matches!(Form::of(taskfile), Some(Form(Access::Read, ..)))
            || matches!(
                taskfile.command,
                code::READ_VERIFY | code::READ_VERIFY_NO_RETRY | code::READ_VERIFY_EXT
            );
        let bits = match error {
            BlockError::Host if reads => error::UNC,
            BlockError::Range => error::IDNF,
            BlockError::Host | BlockError::ReadOnly | BlockError::Unsupported => error::ABRT,
        };
        Ending::failed(taskfile, bits)
    }

    pub(super) fn queue_failed(&mut self, tag: Option<u8>, ending: &Ending) {
        self.state.queue_failure = Some(QueueFailure { tag, ending: *ending });
    }

    pub(super) fn hard_reset(&mut self) {
        self.state = DiskState::POWER_ON;
    }

    pub(super) fn soft_reset(&mut self) {
        self.state.queue_failure = None;
        self.state.power = power::ACTIVE;
    }

    pub(super) fn save(&self) -> DiskState {
        let Disk { backend: _, identity: _, cable: _, state } = self;
        state.clone()
    }

    pub(super) fn with_state(self, state: DiskState) -> Result<Self, String> {
        let Translation { heads, sectors } = state.translation;
        if !(1..=16).contains(&heads) || !(1..=63).contains(&sectors) || state.multiple > MOST_MULTIPLE {
            return Err(format!("{heads} heads, {sectors} sectors, {} in a block", state.multiple));
        }
        Ok(Disk { state, ..self })
    }
}

/// The number of a queued command.
fn tag(taskfile: &Taskfile) -> u8 {
    (taskfile.count >> 3) as u8 & 0x1F
}

fn requests(requests: Vec<Operation>) -> Plan {
    Plan { transfer: Transfer::Pio { block: 0 }, action: Action::Requests(requests) }
}
