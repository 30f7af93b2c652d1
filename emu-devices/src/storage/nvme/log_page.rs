//! Log pages: errors, health, firmware. NVM Express 1.4, 5.14.1.

use super::{command::Command, feature::Features, identify::FIRMWARE, status::Status};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Log page identifiers.
pub(super) const ERROR: u32 = 0x01;
pub(super) const HEALTH: u32 = 0x02;
pub(super) const FIRMWARE_SLOT: u32 = 0x03;
/// Errors that are kept: Identify Controller, ELPE and one.
pub(super) const ERRORS: usize = 16;
const ERROR_LEN: usize = 64;
/// Where no command or field is to blame.
const NONE: u16 = 0xFFFF;
/// Blocks of 512 bytes in a data unit.
const DATA_UNIT: u64 = 1000;
/// What the composite temperature always is: 40 degrees Celsius, in kelvins.
pub(super) const TEMPERATURE: u16 = 313;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ErrorEntry {
    count: u64,
    submission: u16,
    command: u16,
    status: u16,
    block: u64,
    namespace: u32,
}

/// What the controller remembers of its life. A controller reset changes none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log {
    /// The latest first.
    errors: VecDeque<ErrorEntry>,
    error_count: u64,
    media_errors: u64,
    /// Blocks of 512 bytes.
    blocks_read: u64,
    blocks_written: u64,
    reads: u64,
    writes: u64,
}

impl Log {
    /// Bytes that READ and COMPARE commands have read.
    pub(super) fn read(&mut self, bytes: u64) {
        self.reads += 1;
        self.blocks_read += bytes / 512;
    }

    /// Bytes that WRITE commands have written.
    pub(super) fn written(&mut self, bytes: u64) {
        self.writes += 1;
        self.blocks_written += bytes / 512;
    }

    /// A command of an I/O queue failed.
    pub(super) fn failed(&mut self, submission: u16, command: &Command, status: Status) {
        self.media_errors += u64::from(status.is_media());
        self.add(ErrorEntry {
            count: 0,
            submission,
            command: command.id(),
            status: status.with_phase(false),
            block: command.first_block(),
            namespace: command.namespace(),
        });
    }

    /// Something failed that is no command's.
    pub(super) fn failed_by_itself(&mut self) {
        self.add(ErrorEntry { count: 0, submission: NONE, command: NONE, status: 0, block: 0, namespace: 0 });
    }

    fn add(&mut self, entry: ErrorEntry) {
        self.error_count += 1;
        self.errors.truncate(ERRORS - 1);
        self.errors.push_front(ErrorEntry { count: self.error_count, ..entry });
    }

    /// The error information page.
    pub(super) fn errors(&self) -> Vec<u8> {
        let mut page = vec![0; ERRORS * ERROR_LEN];
        for (bytes, entry) in page.chunks_exact_mut(ERROR_LEN).zip(&self.errors) {
            bytes[0..8].copy_from_slice(&entry.count.to_le_bytes());
            bytes[8..10].copy_from_slice(&entry.submission.to_le_bytes());
            bytes[10..12].copy_from_slice(&entry.command.to_le_bytes());
            bytes[12..14].copy_from_slice(&entry.status.to_le_bytes());
            bytes[14..16].copy_from_slice(&NONE.to_le_bytes());
            bytes[16..24].copy_from_slice(&entry.block.to_le_bytes());
            bytes[24..28].copy_from_slice(&entry.namespace.to_le_bytes());
        }
        page
    }

    /// The SMART and health information page.
    pub(super) fn health(&self, features: &Features) -> Vec<u8> {
        let mut page = vec![0; 512];
        page[0] = u8::from(features.temperature_is_critical()) << 1;
        page[1..3].copy_from_slice(&TEMPERATURE.to_le_bytes());
        // All of the spare blocks are there, and a tenth of them would do.
        (page[3], page[4]) = (100, 10);
        // Of each counter's 16 bytes, the high ones stay zero.
        let counters = [
            (32, self.blocks_read.div_ceil(DATA_UNIT)),
            (48, self.blocks_written.div_ceil(DATA_UNIT)),
            (64, self.reads),
            (80, self.writes),
            // Power cycles: this one.
            (112, 1),
            (160, self.media_errors),
            (176, self.error_count),
        ];
        for (at, value) in counters {
            page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        page
    }
}

/// The firmware slot page: the one slot is active.
pub(super) fn firmware() -> Vec<u8> {
    let mut page = vec![0; 512];
    page[0] = 1;
    page[8..16].copy_from_slice(FIRMWARE);
    page
}
