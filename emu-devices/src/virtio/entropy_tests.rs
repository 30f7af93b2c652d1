//! The entropy device, as a driver sees it.

use super::{
    Entropy,
    common::status,
    driver::{BUFFERS, Driver, WRITE},
};
use emu_core::backend::{EntropyBackend, EntropyError};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Gives the same byte, or nothing.
#[derive(Default)]
struct Source {
    broken: AtomicBool,
}

impl EntropyBackend for Source {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(EntropyError);
        }
        bytes.fill(0xE5);
        Ok(())
    }
}

fn started() -> (Driver<Entropy>, Arc<Source>) {
    let source = Arc::<Source>::default();
    let mut driver = Driver::new(Entropy::new(source.clone()));
    driver.start(1, 0);
    (driver, source)
}

impl Driver<Entropy> {
    fn ask(&mut self, buffers: &[(u64, u32, u16)]) -> Option<(u32, u32)> {
        self.chain(0, 0, buffers);
        self.offer(0, 0);
        self.notify(0);
        self.used(0)
    }
}

#[test]
fn all_of_a_small_buffer_and_the_begin_of_a_large_one_are_filled() {
    let (mut driver, _) = started();
    assert_eq!(driver.ask(&[(BUFFERS, 3, WRITE), (BUFFERS + 0x100, 5, WRITE)]), Some((0, 8)));
    assert_eq!(driver.memory(BUFFERS, 4), [0xE5, 0xE5, 0xE5, 0]);
    assert_eq!(driver.memory(BUFFERS + 0x100, 6), [0xE5, 0xE5, 0xE5, 0xE5, 0xE5, 0]);
    assert_eq!(driver.ask(&[(BUFFERS, 0x10_0000, WRITE)]), Some((0, 4096)));
}

#[test]
fn no_answer_is_without_a_byte() {
    let (mut driver, source) = started();
    source.broken.store(true, Ordering::Relaxed);
    assert_eq!(driver.ask(&[(BUFFERS, 16, WRITE)]), None);
    assert_eq!(driver.status() & status::NEEDS_RESET, 0);

    let (mut driver, _) = started();
    assert_eq!(driver.ask(&[(BUFFERS, 16, 0)]), None);
    assert_ne!(driver.status() & status::NEEDS_RESET, 0, "nothing to fill");
}
