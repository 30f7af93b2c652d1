//! Controller registers. NVM Express 1.4, 3.1.

use super::queue::LARGEST_QUEUE;
use emu_core::bus::{IoError, IoResult};
use serde::{Deserialize, Serialize};

/// Offsets. Registers of 64 bits are two words.
pub(super) mod reg {
    pub const CAP: u64 = 0x00;
    pub const CAP_HIGH: u64 = 0x04;
    pub const VS: u64 = 0x08;
    pub const INTMS: u64 = 0x0C;
    pub const INTMC: u64 = 0x10;
    pub const CC: u64 = 0x14;
    pub const CSTS: u64 = 0x1C;
    pub const AQA: u64 = 0x24;
    pub const ASQ: u64 = 0x28;
    pub const ASQ_HIGH: u64 = 0x2C;
    pub const ACQ: u64 = 0x30;
    pub const ACQ_HIGH: u64 = 0x34;
    /// The first doorbell, of the admin submission queue.
    pub const DOORBELLS: u64 = 0x1000;
}

/// Version 1.4.
pub(super) const VERSION: u32 = 0x0001_0400;
/// Largest memory page, as a power of two times 4 KiB.
const MPSMAX: u32 = 4;
/// How long enabling and disabling may take, in half seconds: what is at the backend is waited for.
const TIMEOUT: u32 = 120;

/// Bits of controller configuration.
mod cc {
    pub const EN: u32 = 1 << 0;
    pub const CSS: u32 = 0b111 << 4;
    pub const MPS: u32 = 7;
    pub const AMS: u32 = 0b111 << 11;
    pub const SHN: u32 = 14;
    pub const IOSQES: u32 = 16;
    pub const IOCQES: u32 = 20;
    pub const WRITABLE: u32 = 0x00FF_FFF1;
}

/// Bits of controller status.
mod csts {
    pub const RDY: u32 = 1 << 0;
    pub const CFS: u32 = 1 << 1;
    pub const SHST: u32 = 0b11 << 2;
}

/// Entry sizes of I/O queues, as powers of two: 64 and 16 bytes.
pub(super) const SQES: u32 = 6;
pub(super) const CQES: u32 = 4;

/// How far a shutdown is: CSTS.SHST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shutdown {
    None,
    Occurring,
    Complete,
}

/// The registers that are more than a view of something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    /// Controller configuration.
    pub cc: u32,
    /// Admin queue attributes.
    pub aqa: u32,
    /// Admin submission queue base address.
    pub asq: u64,
    /// Admin completion queue base address.
    pub acq: u64,
    /// Masked interrupts of the wire.
    pub intm: u32,
    /// CSTS.RDY.
    pub ready: bool,
    /// CSTS.CFS: memory that the controller works with is not there.
    pub fatal: bool,
    pub shutdown: Shutdown,
}

impl Registers {
    pub(super) const AT_RESET: Registers = Registers {
        cc: 0,
        aqa: 0,
        asq: 0,
        acq: 0,
        intm: 0,
        ready: false,
        fatal: false,
        shutdown: Shutdown::None,
    };

    /// CAP: largest queues, contiguous queues alone, doorbells side by side, the NVM command set.
    fn capabilities() -> u64 {
        const CONTIGUOUS: u64 = 1 << 16;
        const NVM: u64 = 1 << 37;
        u64::from(LARGEST_QUEUE - 1) | CONTIGUOUS | u64::from(TIMEOUT) << 24 | NVM | u64::from(MPSMAX) << 52
    }

    /// The word at `offset`.
    pub(super) fn read(&self, offset: u64) -> IoResult<u32> {
        Ok(match offset {
            reg::CAP => Self::capabilities() as u32,
            reg::CAP_HIGH => (Self::capabilities() >> 32) as u32,
            reg::VS => VERSION,
            reg::INTMS | reg::INTMC => self.intm,
            reg::CC => self.cc,
            reg::CSTS => self.status(),
            reg::AQA => self.aqa,
            reg::ASQ => self.asq as u32,
            reg::ASQ_HIGH => (self.asq >> 32) as u32,
            reg::ACQ => self.acq as u32,
            reg::ACQ_HIGH => (self.acq >> 32) as u32,
            // Reserved, and what optional features would have; doorbells read as nothing.
            _ => 0,
        })
    }

    fn status(&self) -> u32 {
        let shutdown = match self.shutdown {
            Shutdown::None => 0,
            Shutdown::Occurring => 0b01,
            Shutdown::Complete => 0b10,
        };
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        flag(self.ready, csts::RDY) | flag(self.fatal, csts::CFS) | shutdown << 2 & csts::SHST
    }

    /// Writes one of the registers that do nothing but keep it.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> IoResult {
        let low = |old: u64| old & !0xFFFF_FFFF | u64::from(value & !0xFFF);
        let high = |old: u64| old & 0xFFFF_FFFF | u64::from(value) << 32;
        match offset {
            reg::AQA => self.aqa = value & 0x0FFF_0FFF,
            reg::ASQ => self.asq = low(self.asq),
            reg::ASQ_HIGH => self.asq = high(self.asq),
            reg::ACQ => self.acq = low(self.acq),
            reg::ACQ_HIGH => self.acq = high(self.acq),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }

    /// Takes a new configuration; returns the old one's enable bit and shutdown request.
    pub(super) fn configure(&mut self, value: u32) -> (bool, bool) {
        let old = (self.enabled(), self.shutdown_requested());
        self.cc = value & cc::WRITABLE;
        old
    }

    /// CC.EN.
    pub(super) fn enabled(&self) -> bool {
        self.cc & cc::EN != 0
    }

    /// CC.SHN asks for a shutdown, normal or abrupt.
    pub(super) fn shutdown_requested(&self) -> bool {
        matches!(self.cc >> cc::SHN & 0b11, 0b01 | 0b10)
    }

    /// Bytes of a memory page.
    pub(super) fn page(&self) -> u64 {
        4096 << (self.cc >> cc::MPS & 0xF).min(MPSMAX)
    }

    /// Whether the configuration is one that the controller can be enabled with.
    pub(super) fn is_valid(&self) -> bool {
        let (submission, completion) = self.admin_sizes();
        self.cc & (cc::CSS | cc::AMS) == 0
            && self.cc >> cc::MPS & 0xF <= MPSMAX
            && submission >= 2
            && completion >= 2
            && self.asq.is_multiple_of(self.page())
            && self.acq.is_multiple_of(self.page())
    }

    /// Entries of the admin submission and completion queue.
    pub(super) fn admin_sizes(&self) -> (u32, u32) {
        ((self.aqa & 0xFFF) + 1, (self.aqa >> 16 & 0xFFF) + 1)
    }

    /// Whether the host has set the size of I/O submission queue entries.
    pub(super) fn has_submission_size(&self) -> bool {
        self.cc >> cc::IOSQES & 0xF == SQES
    }

    /// Whether the host has set the size of I/O completion queue entries.
    pub(super) fn has_completion_size(&self) -> bool {
        self.cc >> cc::IOCQES & 0xF == CQES
    }
}
