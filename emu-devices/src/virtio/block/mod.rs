//! The block device: virtio 1.2, 5.2.
//!
//! Several queues, flush, discard, write-zeroes, read-only disks, the serial number, and the write cache that the driver
//! may switch (a disk without one, and a driver that knows no flush, get writes that last). Left out: secure erase,
//! lifetime, zones, SCSI commands, a disk that changes its length.
//!
//! A request is parsed at the notification and handed to the backend; its completion writes the status byte and gives
//! the chain back. Requests of one notification go to the backend together, but for the first few of those that it can
//! do at once.

mod request;
mod segments;
#[cfg(test)]
mod tests;

use super::{Chain, Link, Queues, VirtioDevice, VirtioIdentity, read_bytes};
use emu_core::backend::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Operation};
use request::{Request, SECTOR, Status};
use segments::Segments;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Device type and PCI class: a mass storage controller.
const IDENTITY: VirtioIdentity = VirtioIdentity { name: "virtio-blk", id: 2, class: 0x01_0000 };
/// Descriptors of each queue.
const QUEUE_SIZE: u16 = 256;
/// Buffers of a request's data: what a queue holds without header and status.
const MOST_BUFFERS: u32 = QUEUE_SIZE as u32 - 2;
/// Bytes of the serial number.
const SERIAL: usize = 20;
/// Requests of a notification that may be done while the driver waits.
const MOST_AT_ONCE: usize = 4;
/// Segments of a discard, and the sectors of each.
const MOST_SEGMENTS: u32 = 32;
const MOST_SECTORS: u32 = 1 << 22;

/// Feature bits: 5.2.3.
mod feature {
    pub(super) const SEG_MAX: u64 = 1 << 2;
    pub(super) const RO: u64 = 1 << 5;
    pub(super) const BLK_SIZE: u64 = 1 << 6;
    pub(super) const FLUSH: u64 = 1 << 9;
    pub(super) const TOPOLOGY: u64 = 1 << 10;
    pub(super) const CONFIG_WCE: u64 = 1 << 11;
    pub(super) const MQ: u64 = 1 << 12;
    pub(super) const DISCARD: u64 = 1 << 13;
    pub(super) const WRITE_ZEROES: u64 = 1 << 14;
}

/// Offsets in the configuration: 5.2.4.
mod config {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SEG_MAX: usize = 12;
    pub(super) const BLK_SIZE: usize = 20;
    pub(super) const PHYSICAL_BLOCK_EXP: usize = 24;
    pub(super) const MIN_IO_SIZE: usize = 26;
    pub(super) const WRITEBACK: usize = 32;
    pub(super) const NUM_QUEUES: usize = 34;
    pub(super) const MAX_DISCARD_SECTORS: usize = 36;
    pub(super) const MAX_DISCARD_SEG: usize = 40;
    pub(super) const DISCARD_ALIGNMENT: usize = 44;
    pub(super) const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub(super) const MAX_WRITE_ZEROES_SEG: usize = 52;
    pub(super) const WRITE_ZEROES_MAY_UNMAP: usize = 56;
    pub(super) const LEN: usize = 60;
}

/// What a block device is made of.
pub struct BlockConfig {
    /// The disk.
    pub disk: Arc<dyn BlockBackend>,
    /// Its serial number: up to 20 bytes of it are told.
    pub serial: String,
    /// Queues: at least one.
    pub queues: u16,
}

/// The block device.
pub struct Block {
    disk: Arc<dyn BlockBackend>,
    geometry: BlockGeometry,
    serial: [u8; SERIAL],
    queues: u16,
    link: Option<Link<Block>>,
    /// Requests that the backend has.
    under_way: usize,
    /// What the driver has accepted.
    features: u64,
    /// Writes may wait for a flush.
    writeback: bool,
    /// The requests of one notification; here so that the vector is made once.
    batch: Vec<BlockRequest>,
    /// How many of one notification have been done at once.
    at_once: usize,
}

/// Registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    features: u64,
    writeback: bool,
}

impl Block {
    /// The device of a disk.
    pub fn new(config: BlockConfig) -> Self {
        let BlockConfig { disk, serial: text, queues } = config;
        let mut serial = [0; SERIAL];
        let len = text.len().min(SERIAL);
        serial[..len].copy_from_slice(&text.as_bytes()[..len]);
        let geometry = disk.geometry();
        Block {
            disk,
            geometry,
            serial,
            queues: queues.max(1),
            link: None,
            under_way: 0,
            features: 0,
            writeback: true,
            batch: Vec::new(),
            at_once: 0,
        }
    }

    /// The configuration space.
    fn config(&self) -> [u8; config::LEN] {
        let BlockGeometry { len, logical_block, physical_block, discard, .. } = self.geometry;
        let ratio = (physical_block / logical_block).max(1);
        let alignment = logical_block / SECTOR as u32;
        let mut bytes = [0; config::LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(config::CAPACITY, &(len / SECTOR).to_le_bytes());
        put(config::SEG_MAX, &MOST_BUFFERS.to_le_bytes());
        put(config::BLK_SIZE, &logical_block.to_le_bytes());
        put(config::PHYSICAL_BLOCK_EXP, &[ratio.trailing_zeros() as u8]);
        put(config::MIN_IO_SIZE, &(ratio.min(u16::MAX.into()) as u16).to_le_bytes());
        put(config::WRITEBACK, &[self.writeback.into()]);
        put(config::NUM_QUEUES, &self.queues.to_le_bytes());
        for at in [config::MAX_DISCARD_SECTORS, config::MAX_WRITE_ZEROES_SECTORS] {
            put(at, &MOST_SECTORS.to_le_bytes());
        }
        for at in [config::MAX_DISCARD_SEG, config::MAX_WRITE_ZEROES_SEG] {
            put(at, &MOST_SEGMENTS.to_le_bytes());
        }
        put(config::DISCARD_ALIGNMENT, &alignment.to_le_bytes());
        put(config::WRITE_ZEROES_MAY_UNMAP, &[discard.into()]);
        bytes
    }

    /// Whether a write is to last before it is done: where the driver would not flush, or has switched the cache off.
    fn writes_through(&self) -> bool {
        self.geometry.volatile_cache && (self.features & feature::FLUSH == 0 || !self.writeback)
    }

    fn serve(&mut self, chain: Chain, queues: &mut Queues) {
        let request = match Request::parse(&chain, self) {
            Ok(request) => request,
            Err(reason) => return queues.fail(reason),
        };
        match request {
            Request::Done(status) => finish(queues, chain, status),
            Request::Serial => {
                let len = chain.writable.len() - 1;
                chain.writable.fill(0, len, 0);
                chain.writable.copy_from(0, &self.serial[..len.min(SERIAL)]);
                finish(queues, chain, Status::Ok);
            }
            Request::One(operation) => self.carry_out(operation, chain, queues),
            Request::Several(operations) => self.submit_several(operations, chain),
        }
    }

    fn carry_out(&mut self, mut operation: Operation, chain: Chain, queues: &mut Queues) {
        if self.at_once < MOST_AT_ONCE && self.disk.try_at_once(&mut operation) {
            self.at_once += 1;
            drop(operation);
            finish(queues, chain, Status::Ok);
        } else {
            self.submit(operation, chain);
        }
    }

    fn submit(&mut self, operation: Operation, chain: Chain) {
        let Some(link) = self.link.clone() else { return };
        self.under_way += 1;
        let done = Box::new(move |result: Result<(), BlockError>, _| {
            link.with(|block, queues| {
                block.under_way -= 1;
                finish(queues, chain, result.into());
            });
        });
        self.batch.push(BlockRequest { operation, done });
    }

    fn submit_several(&mut self, operations: Vec<Operation>, chain: Chain) {
        let Some(link) = self.link.clone() else { return };
        let segments = Segments::new(operations.len(), chain);
        for operation in operations {
            let (link, segments) = (link.clone(), segments.clone());
            self.under_way += 1;
            let done = Box::new(move |result: Result<(), BlockError>, _| {
                link.with(|block, queues| {
                    block.under_way -= 1;
                    if let Some((chain, status)) = segments.done(result.into()) {
                        finish(queues, chain, status);
                    }
                });
            });
            self.batch.push(BlockRequest { operation, done });
        }
    }
}

/// Writes the status and gives the chain back. What is said to be written begins at the first byte: a failed read has
/// filled nothing for certain.
fn finish(queues: &mut Queues, chain: Chain, status: Status) {
    if !queues.holds(&chain) {
        return;
    }
    let len = chain.writable.len();
    chain.writable.copy_from(len - 1, &[status as u8]);
    let written = if status == Status::Ok || len == 1 { len as u32 } else { 0 };
    queues.complete(chain, written);
}

impl VirtioDevice for Block {
    type State = BlockState;

    fn identity(&self) -> VirtioIdentity {
        IDENTITY
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; self.queues.into()]
    }

    fn features(&self) -> u64 {
        let BlockGeometry { read_only, discard, volatile_cache, .. } = self.geometry;
        let mut features = feature::SEG_MAX | feature::BLK_SIZE | feature::TOPOLOGY;
        let mut offer = |bits: u64, offered: bool| features |= if offered { bits } else { 0 };
        offer(feature::MQ, self.queues > 1);
        offer(feature::RO, read_only);
        offer(feature::FLUSH | feature::CONFIG_WCE, volatile_cache);
        offer(feature::DISCARD, discard && !read_only);
        // Cheap or not: less goes through the queue.
        offer(feature::WRITE_ZEROES, !read_only);
        features
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        read_bytes(&self.config(), offset, bytes);
    }

    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        if offset == config::WRITEBACK && self.features & feature::CONFIG_WCE != 0 {
            self.writeback = bytes.first().is_some_and(|byte| *byte != 0);
        }
    }

    fn attach(&mut self, link: Link<Self>) {
        self.link = Some(link);
    }

    fn start(&mut self, features: u64) {
        self.features = features;
    }

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        self.at_once = 0;
        while let Some(chain) = queues.pop(queue) {
            self.serve(chain, queues);
        }
        match self.batch.len() {
            0 => {}
            1 => self.batch.drain(..).for_each(|request| self.disk.submit(request)),
            _ => self.disk.submit_all(std::mem::take(&mut self.batch)),
        }
    }

    fn reset(&mut self) {
        self.features = 0;
        self.writeback = true;
    }

    fn is_busy(&self) -> bool {
        self.under_way != 0
    }

    fn save(&self) -> BlockState {
        let Block {
            disk: _,
            geometry: _,
            serial: _,
            queues: _,
            link: _,
            under_way: _,
            features,
            writeback,
            batch: _,
            at_once: _,
        } = self;
        BlockState { features: *features, writeback: *writeback }
    }

    fn with_state(self, state: BlockState) -> Result<Self, String> {
        let BlockState { features, writeback } = state;
        Ok(Block { features, writeback, ..self })
    }
}
