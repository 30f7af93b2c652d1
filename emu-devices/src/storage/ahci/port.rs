//! A port's registers. AHCI 1.3.1, 3.3.

use super::{
    engine::{Context, Job},
    fis::ToHost,
};
use crate::storage::ata::{Drive, DriveState, status};
use emu_core::{
    bus::{IoError, IoResult},
    memory::Dma,
};
use serde::{Deserialize, Serialize};

/// Commands that a port takes at once.
pub const SLOTS: usize = 32;

/// Register offsets.
pub mod reg {
    // AHCI 1.3.1, 3.3.
    pub const CLB: u64 = 0x00;
    pub const CLBU: u64 = 0x04;
    pub const FB: u64 = 0x08;
    pub const FBU: u64 = 0x0C;
    pub const IS: u64 = 0x10;
    pub const IE: u64 = 0x14;
    pub const CMD: u64 = 0x18;
    pub const TFD: u64 = 0x20;
    pub const SIG: u64 = 0x24;
    pub const SSTS: u64 = 0x28;
    pub const SCTL: u64 = 0x2C;
    pub const SERR: u64 = 0x30;
    pub const SACT: u64 = 0x34;
    pub const CI: u64 = 0x38;
    pub const SNTF: u64 = 0x3C;
    pub const FBS: u64 = 0x40;
}

/// Bits of PxIS and PxIE.
pub mod interrupt {
    // AHCI 1.3.1, 3.3.5.
    pub const DHRS: u32 = 1 << 0;
    pub const PSS: u32 = 1 << 1;
    pub const SDBS: u32 = 1 << 3;
    pub const DPS: u32 = 1 << 5;
    pub const PCS: u32 = 1 << 6;
    pub const PRCS: u32 = 1 << 22;
    pub const OFS: u32 = 1 << 24;
    pub const IFS: u32 = 1 << 27;
    pub const HBFS: u32 = 1 << 29;
    pub const TFES: u32 = 1 << 30;
    pub(super) const ENABLES: u32 = 0xFDC0_00FF;
}

/// Bits of PxCMD.
pub mod cmd {
    // AHCI 1.3.1, 3.3.7.
    pub const ST: u32 = 1 << 0;
    pub const SUD: u32 = 1 << 1;
    pub const POD: u32 = 1 << 2;
    pub const CLO: u32 = 1 << 3;
    pub const FRE: u32 = 1 << 4;
    pub const CCS_SHIFT: u32 = 8;
    pub const FR: u32 = 1 << 14;
    pub const CR: u32 = 1 << 15;
    pub const ATAPI: u32 = 1 << 24;
    pub const DLAE: u32 = 1 << 25;
    pub(super) const KEPT: u32 = ST | FRE | ATAPI | DLAE;
}

/// PxSERR: what a new connection leaves.
pub mod serr {
    /// PhyRdy has changed.
    pub const DIAG_N: u32 = 1 << 16;
    /// The handshake failed: nobody understood a FIS.
    pub const DIAG_H: u32 = 1 << 22;
    /// A device has been exchanged.
    pub const DIAG_X: u32 = 1 << 26;
    pub(super) const ALL: u32 = 0x07FF_0F03;
}

/// PxSCTL and PxSSTS: DET.
mod det {
    pub(super) const MASK: u32 = 0xF;
    pub(super) const COMRESET: u32 = 1;
    pub(super) const OFFLINE: u32 = 4;
    /// A device is there, and so is communication.
    pub(super) const UP: u32 = 3;
}

/// The interface is active.
const IPM_ACTIVE: u32 = 1 << 8;
/// 6 Gb/s.
const FASTEST: u32 = 3;
/// What PxTFD says with no device.
const NOBODY: u8 = 0x7F;
const NO_SIGNATURE: u32 = u32::MAX;

/// A port's registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortRegisters {
    pub(super) clb: u64,
    pub(super) fb: u64,
    /// Without PCS and PRCS, which are in PxSERR.
    pub(super) is: u32,
    pub(super) ie: u32,
    /// ST, FRE, ATAPI and DLAE.
    pub(super) cmd: u32,
    pub(super) ccs: u8,
    pub(super) status: u8,
    pub(super) error: u8,
    pub(super) sig: u32,
    pub(super) ssts: u32,
    pub(super) sctl: u32,
    pub(super) serr: u32,
    pub(super) sact: u32,
    pub(super) ci: u32,
    /// The slot that keeps the port busy.
    pub(super) busy: Option<u8>,
    /// After an error nothing goes on until ST is cleared.
    pub(super) halted: bool,
    /// The device has been reset and has not told its signature.
    pub(super) signature_due: bool,
    /// SRST was set in the last FIS of device control.
    pub(super) srst: bool,
}

impl PortRegisters {
    const AT_RESET: PortRegisters = PortRegisters {
        clb: 0,
        fb: 0,
        is: 0,
        ie: 0,
        cmd: 0,
        ccs: 0,
        status: NOBODY,
        error: 0,
        sig: NO_SIGNATURE,
        ssts: 0,
        sctl: 0,
        serr: 0,
        sact: 0,
        ci: 0,
        busy: None,
        halted: false,
        signature_due: false,
        srst: false,
    };
}

/// A port and its drive, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    regs: PortRegisters,
    drive: Option<DriveState>,
}

/// A port.
pub(super) struct Port {
    pub(super) regs: PortRegisters,
    pub(super) drive: Option<Drive>,
    /// What runs, by slot.
    pub(super) jobs: [Option<Job>; SLOTS],
    /// Requests that the backend has not answered, of jobs that run and of ones that have been given up.
    pub(super) outstanding: u32,
    pub(super) next_number: u64,
}

impl Port {
    pub(super) fn new(drive: Option<Drive>) -> Self {
        let jobs = std::array::from_fn(|_| None);
        let mut port = Port { regs: PortRegisters::AT_RESET, drive, jobs, outstanding: 0, next_number: 0 };
        port.connect();
        port
    }

    /// HBA reset, and RESET#.
    pub(super) fn reset(&mut self) {
        self.give_up_all();
        self.regs = PortRegisters::AT_RESET;
        self.connect();
    }

    /// Forgets what runs. Answers that still come are counted.
    pub(super) fn give_up_all(&mut self) {
        self.jobs.fill_with(|| None);
        self.regs.busy = None;
    }

    /// Communication with the device is established, which resets it.
    fn connect(&mut self) {
        let Some(drive) = &mut self.drive else { return };
        drive.hard_reset();
        let limit = self.regs.sctl >> 4 & 0xF;
        let speed = if limit == 0 { FASTEST } else { limit.min(FASTEST) };
        self.regs.ssts = IPM_ACTIVE | speed << 4 | det::UP;
        self.regs.serr |= serr::DIAG_X | serr::DIAG_N;
        self.regs.status = status::BSY;
        self.regs.signature_due = true;
        self.regs.srst = false;
    }

    fn disconnect(&mut self, det: u32) {
        self.give_up_all();
        self.regs.ssts = det;
        self.regs.signature_due = false;
        (self.regs.status, self.regs.error) = (NOBODY, 0);
        self.regs.sig = NO_SIGNATURE;
    }

    /// Whether communication is established.
    pub(super) fn is_up(&self) -> bool {
        self.regs.ssts & det::MASK == det::UP
    }

    pub(super) fn is_started(&self) -> bool {
        self.regs.cmd & cmd::ST != 0
    }

    /// PxIS.
    fn is(&self) -> u32 {
        let changed = |bit, shown| if self.regs.serr & bit != 0 { shown } else { 0 };
        self.regs.is | changed(serr::DIAG_X, interrupt::PCS) | changed(serr::DIAG_N, interrupt::PRCS)
    }

    /// Whether the port asks for an interrupt.
    pub(super) fn interrupts(&self) -> bool {
        self.is() & self.regs.ie != 0
    }

    fn cmd(&self) -> u32 {
        let regs = &self.regs;
        let follows = |on: bool, bit| if on { bit } else { 0 };
        // The DMA engine runs until the last byte that it asked for has come.
        let running = self.is_started() || self.outstanding != 0;
        regs.cmd
            | cmd::SUD
            | cmd::POD
            | u32::from(regs.ccs) << cmd::CCS_SHIFT
            | follows(regs.cmd & cmd::FRE != 0, cmd::FR)
            | follows(running, cmd::CR)
    }

    pub(super) fn read(&self, offset: u64) -> IoResult<u32> {
        let regs = &self.regs;
        Ok(match offset {
            reg::CLB => regs.clb as u32,
            reg::CLBU => (regs.clb >> 32) as u32,
            reg::FB => regs.fb as u32,
            reg::FBU => (regs.fb >> 32) as u32,
            reg::IS => self.is(),
            reg::IE => regs.ie,
            reg::CMD => self.cmd(),
            reg::TFD => u32::from(regs.error) << 8 | u32::from(regs.status),
            reg::SIG => regs.sig,
            reg::SSTS => regs.ssts,
            reg::SCTL => regs.sctl,
            reg::SERR => regs.serr,
            reg::SACT => regs.sact,
            reg::CI => regs.ci,
            reg::SNTF | reg::FBS => 0,
            _ => return Err(IoError::UnknownRegister),
        })
    }

    /// Writes the bits of `mask`.
    pub(super) fn write(&mut self, offset: u64, value: u32, mask: u32, context: &Context) -> IoResult {
        let merge = |old: u32| old & !mask | value & mask;
        let low = |old: u64, aligned: u32| old & !0xFFFF_FFFF | u64::from(merge(old as u32) & aligned);
        let high = |old: u64| old & 0xFFFF_FFFF | u64::from(merge((old >> 32) as u32)) << 32;
        let set = value & mask;
        let regs = &mut self.regs;
        match offset {
            reg::CLB => regs.clb = low(regs.clb, !0x3FF),
            reg::CLBU => regs.clb = high(regs.clb),
            reg::FB => regs.fb = low(regs.fb, !0xFF),
            reg::FBU => regs.fb = high(regs.fb),
            reg::IS => regs.is &= !set,
            reg::IE => regs.ie = merge(regs.ie) & interrupt::ENABLES,
            reg::CMD => self.write_cmd(merge(self.regs.cmd), context),
            reg::SCTL => self.write_sctl(merge(self.regs.sctl) & 0xFFF, context),
            reg::SERR => regs.serr &= !(set & serr::ALL),
            reg::SACT if self.is_started() => self.regs.sact |= set,
            reg::CI if self.is_started() => {
                self.regs.ci |= set;
                self.run(context);
            }
            reg::SACT | reg::CI | reg::SNTF | reg::FBS => {}
            reg::TFD | reg::SIG | reg::SSTS => return Err(IoError::Direction),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }

    fn write_cmd(&mut self, value: u32, context: &Context) {
        let was_started = self.is_started();
        self.regs.cmd = value & cmd::KEPT;
        if was_started && !self.is_started() {
            self.give_up_all();
            (self.regs.ci, self.regs.sact, self.regs.ccs) = (0, 0, 0);
            self.regs.halted = false;
        }
        if value & cmd::CLO != 0 && !was_started {
            self.regs.status &= !(status::BSY | status::DRQ);
        }
        self.run(context);
    }

    fn write_sctl(&mut self, value: u32, context: &Context) {
        let before = std::mem::replace(&mut self.regs.sctl, value) & det::MASK;
        match (before, value & det::MASK) {
            (_, det::COMRESET) => self.disconnect(0),
            (_, det::OFFLINE) => self.disconnect(det::OFFLINE),
            (det::COMRESET | det::OFFLINE, _) => self.connect(),
            _ => {}
        }
        self.run(context);
    }

    /// Puts a FIS into memory. What is not RAM is the end of this port's work.
    pub(super) fn post(&mut self, dma: &Dma, fis: &ToHost) {
        if self.regs.cmd & cmd::FRE != 0
            && dma.write(self.regs.fb + fis.offset, &fis.bytes[..fis.len]).is_err()
        {
            self.host_bus_fatal();
        }
    }

    /// Memory did not answer.
    pub(super) fn host_bus_fatal(&mut self) {
        self.regs.is |= interrupt::HBFS;
        self.regs.halted = true;
    }

    /// What runs is saved as not begun: it may be done twice.
    pub(super) fn save(&self) -> PortState {
        let Port { regs, drive, jobs, outstanding: _, next_number: _ } = self;
        let mut regs = regs.clone();
        let running = jobs.iter().enumerate().filter(|(_, job)| job.is_some());
        regs.ci |= running.fold(0, |set, (slot, _)| set | 1 << slot);
        if regs.busy.take().is_some() {
            regs.status &= !(status::BSY | status::DRQ);
        }
        PortState { regs, drive: drive.as_ref().map(Drive::save) }
    }

    pub(super) fn with_state(self, state: PortState) -> Result<Self, String> {
        let PortState { regs, drive: saved } = state;
        if usize::from(regs.ccs) >= SLOTS {
            return Err(format!("PxCMD.CCS {}", regs.ccs));
        }
        let drive = match (self.drive, saved) {
            (Some(drive), Some(saved)) => Some(drive.with_state(saved)?),
            (None, None) => None,
            _ => return Err("a port with another drive".to_owned()),
        };
        Ok(Port { regs, drive, ..Port::new(None) })
    }
}
