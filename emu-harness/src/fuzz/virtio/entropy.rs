//! The entropy device, whose host has randomness or not.

use super::{Function, Subject};
use crate::fuzz::devices::Input;
use emu_core::{
    backend::{EntropyBackend, EntropyError},
    memory::Dma,
};
use emu_devices::virtio::Entropy;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

#[derive(Default)]
struct Source {
    empty: AtomicBool,
}

impl EntropyBackend for Source {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(4);
        if self.empty.load(Ordering::Relaxed) { Err(EntropyError) } else { Ok(()) }
    }
}

/// A source that has nothing.
pub(in crate::fuzz) struct Silence;

impl EntropyBackend for Silence {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

pub(super) struct Host(Arc<Source>);

impl Subject for Host {
    type Device = Entropy;
    const TAKEN: u16 = 0;

    fn new(_: &mut Input<'_>) -> Self {
        Host(Arc::default())
    }

    fn device(&self, _: &Dma) -> Entropy {
        Entropy::new(self.0.clone())
    }

    fn message(&self, _: u16, input: &mut Input<'_>) -> Vec<u8> {
        let len = input.next(1) as usize;
        // A driver has nothing to say.
        input.bytes(len.saturating_sub(0xE0)).to_vec()
    }

    fn act(&self, _: &Function<Entropy>, input: &mut Input<'_>) {
        self.0.empty.store(input.next(1) & 1 != 0, Ordering::Relaxed);
    }

    fn settle(&self) {
        self.0.empty.store(false, Ordering::Relaxed);
    }
}
