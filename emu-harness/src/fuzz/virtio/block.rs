//! The block device: requests of all types, some beyond the disk's end.

use super::{Function, Subject};
use crate::fuzz::devices::{Disk, Input};
use emu_core::memory::Dma;
use emu_devices::virtio::{Block, BlockConfig};
use std::sync::Arc;

const LEN: usize = 0x2_0000;

pub(super) struct Host(Arc<Disk>);

impl Subject for Host {
    type Device = Block;
    const TAKEN: u16 = 0;

    fn new(_: &mut Input<'_>) -> Self {
        Host(Arc::new(Disk::new(LEN)))
    }

    fn device(&self, _: &Dma) -> Block {
        Block::new(BlockConfig { disk: self.0.clone(), serial: "fuzz".to_owned(), queues: 2 })
    }

    /// Type, sector and what follows: data, or segments of a discard.
    fn message(&self, _: u16, input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.next(1) % 16;
        let sector = if input.next(1) < 0xF0 { input.next(1) } else { input.next(8) };
        let mut bytes = [kind.to_le_bytes(), sector.to_le_bytes()].concat();
        match kind {
            1 => bytes.resize(16 + 512 * (input.next(1) as usize % 4), 0x5A),
            11 | 13 => {
                for _ in 0..input.next(1) % 4 {
                    let (sector, sectors) = (input.next(1), input.next(2) | input.next(1) << 32);
                    bytes.extend([sector, sectors].into_iter().flat_map(u64::to_le_bytes));
                }
            }
            _ => bytes.truncate(if input.next(1) < 0xF0 { 16 } else { 7 }),
        }
        bytes
    }

    fn act(&self, _: &Function<Block>, input: &mut Input<'_>) {
        self.0.work(input.next(1));
    }

    fn settle(&self) {
        self.0.work(0);
    }
}
