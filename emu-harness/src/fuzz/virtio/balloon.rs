//! The memory balloon: lists of pages, reports, statistics, and a host that changes its mind.

use super::{Function, Subject};
use crate::fuzz::devices::Input;
use emu_core::memory::Dma;
use emu_devices::virtio::{Balloon, Link};

/// Queues: inflate, deflate, statistics.
const STATISTICS: u16 = 2;

pub(super) struct Host;

impl Subject for Host {
    type Device = Balloon;
    const TAKEN: u16 = 0;

    fn new(_: &mut Input<'_>) -> Self {
        Host
    }

    fn device(&self, dma: &Dma) -> Balloon {
        Balloon::new(dma.clone())
    }

    fn message(&self, queue: u16, input: &mut Input<'_>) -> Vec<u8> {
        let count = input.next(1) as usize % 40;
        if queue == STATISTICS {
            return input.bytes(count).to_vec();
        }
        let page = |input: &mut Input<'_>| match input.next(1) {
            near @ ..0xF0 => near as u32,
            _ => input.next(4) as u32,
        };
        (0..count).flat_map(|_| page(input).to_le_bytes()).collect()
    }

    fn act(&self, function: &Function<Balloon>, input: &mut Input<'_>) {
        let (what, bytes) = (input.next(1), input.next(8));
        Link::to(function).with(|balloon, queues| match what & 1 {
            0 => balloon.set_target(bytes, queues),
            _ => balloon.refresh_statistics(queues),
        });
    }

    fn settle(&self) {}
}
