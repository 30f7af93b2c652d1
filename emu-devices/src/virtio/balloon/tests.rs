//! The balloon, as a driver sees it.

use super::{Balloon, BalloonState, Returned, Statistics, queue};
use crate::virtio::{
    Link, VirtioPci,
    common::{reg, status},
    driver::{BUFFERS, Driver, Outside, WINDOW, WRITE},
    layout,
};
use emu_core::bus::Snapshot;
use proptest::prelude::*;

const CONFIG: u64 = WINDOW + layout::DEVICE.start;
/// Pages that the guest gives away.
const PAGES: u64 = 0x30_0000;

fn started() -> Driver<Balloon> {
    let outside = Outside::new();
    let mut driver = Driver::of(VirtioPci::new(Balloon::new(outside.dma.clone()), outside.wires()), outside);
    driver.start(4, 0);
    driver
}

impl Driver<Balloon> {
    fn link(&self) -> Link<Balloon> {
        Link::to(&self.function)
    }

    /// Sends page numbers to the device.
    fn send(&mut self, queue: u16, pages: &[u32]) -> Option<(u32, u32)> {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.dma.write(BUFFERS, &bytes).unwrap();
        self.chain(queue, 0, &[(BUFFERS, bytes.len() as u32, 0)]);
        self.offer(queue, 0);
        self.notify(queue);
        self.used(queue)
    }

    fn fill(&self, from: u64, len: usize) {
        self.dma.write(from, &vec![0xAA; len]).unwrap();
    }

    fn is_full(&self, from: u64) -> bool {
        self.memory(from, 0x1000).iter().all(|&byte| byte == 0xAA)
    }

    fn is_empty(&self, from: u64) -> bool {
        self.memory(from, 0x1000).iter().all(|&byte| byte == 0)
    }

    fn returned(&self) -> Returned {
        self.function.lock().device().returned()
    }
}

#[test]
fn pages_in_the_balloon_are_given_back_and_come_back_empty() {
    let mut driver = started();
    driver.fill(PAGES, 0x5000);
    let page = (PAGES >> 12) as u32;
    assert_eq!(driver.send(queue::INFLATE, &[page + 3, page, page + 1]), Some((0, 0)));
    let empty: Vec<bool> = (0..5).map(|n| driver.is_empty(PAGES + n * 0x1000)).collect();
    assert_eq!(empty, [true, true, false, true, false]);
    assert!(driver.is_full(PAGES + 0x2000) && driver.is_full(PAGES + 0x4000));
    assert_eq!(driver.returned(), Returned { inflated: 0x3000, reported: 0 });

    driver.fill(PAGES, 0x1000);
    assert_eq!(driver.send(queue::DEFLATE, &[page]), Some((0, 0)));
    assert!(driver.is_full(PAGES), "a page that the guest takes back is its own");
}

#[test]
fn pages_that_are_no_ram_are_passed_over() {
    let mut driver = started();
    driver.fill(PAGES, 0x1000);
    let pages = [u32::MAX, (PAGES >> 12) as u32, 0xFEE00, 0xA0, 0x3FF, 0x400];
    assert_eq!(driver.send(queue::INFLATE, &pages), Some((0, 0)));
    assert!(driver.is_empty(PAGES));
    assert_eq!(driver.returned().inflated, 0x2000, "the last page of RAM, too");
    assert_eq!(driver.status() & status::NEEDS_RESET, 0);
}

#[test]
fn a_list_that_is_none_needs_a_reset() {
    let mut driver = started();
    driver.chain(queue::INFLATE, 0, &[(BUFFERS, 6, 0)]);
    driver.offer(queue::INFLATE, 0);
    driver.notify(queue::INFLATE);
    assert_eq!(driver.used(queue::INFLATE), None);
    assert_ne!(driver.status() & status::NEEDS_RESET, 0);
}

#[test]
fn reported_pages_are_given_back() {
    let mut driver = started();
    driver.fill(PAGES, 0x4000);
    let buffers = [(PAGES, 0x1000, WRITE), (PAGES + 0x2000, 0x2000, WRITE)];
    driver.chain(queue::REPORTING, 0, &buffers);
    driver.offer(queue::REPORTING, 0);
    driver.notify(queue::REPORTING);
    assert_eq!(driver.used(queue::REPORTING), Some((0, 0)));
    assert!(driver.is_empty(PAGES) && driver.is_full(PAGES + 0x1000) && driver.is_empty(PAGES + 0x3000));
    assert_eq!(driver.returned(), Returned { inflated: 0, reported: 0x3000 });
}

#[test]
fn the_host_says_how_much_and_the_driver_how_much_it_is() {
    let driver = started();
    let generation = driver.read(reg::CONFIG_GENERATION);
    driver.link().with(|balloon, queues| balloon.set_target(0x123_4000, queues));
    assert_eq!(driver.bus.mmio_read(CONFIG, 4), 0x1234);
    assert_ne!(driver.read(reg::CONFIG_GENERATION), generation);
    driver.bus.mmio_write(CONFIG + 4, 4, 0x1000);
    driver.bus.mmio_write(CONFIG, 4, 77);
    assert_eq!((driver.bus.mmio_read(CONFIG, 4), driver.bus.mmio_read(CONFIG + 4, 4)), (0x1234, 0x1000));
    assert_eq!(driver.function.lock().device().size(), 0x100_0000);

    driver.write(reg::DEVICE_STATUS, 0);
    assert_eq!(driver.bus.mmio_read(CONFIG + 4, 4), 0, "after a reset the balloon is empty");
    assert_eq!(driver.bus.mmio_read(CONFIG, 4), 0x1234, "and the host's wish stays");
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let mut driver = started();
    let report = |driver: &mut Driver<Balloon>, free: u64| {
        let mut bytes = vec![4, 0];
        bytes.extend_from_slice(&free.to_le_bytes());
        bytes.extend_from_slice(&[0xFF, 0xFF, 1, 1, 1, 1, 1, 1, 1, 1, 5, 0]);
        driver.dma.write(BUFFERS, &bytes).unwrap();
        driver.chain(queue::STATISTICS, 0, &[(BUFFERS, bytes.len() as u32, 0)]);
        driver.offer(queue::STATISTICS, 0);
        driver.notify(queue::STATISTICS);
    };
    report(&mut driver, 1000);
    assert_eq!(driver.used(queue::STATISTICS), None, "the device keeps the buffer");
    let expected = |free| Statistics { free: Some(free), ..Statistics::default() };
    assert_eq!(*driver.function.lock().device().statistics(), expected(1000));
    driver.link().with(Balloon::refresh_statistics);
    assert_eq!(driver.used(queue::STATISTICS), Some((0, 0)));
    // Wanted while the driver has the buffer.
    driver.link().with(Balloon::refresh_statistics);
    report(&mut driver, 2000);
    assert_eq!(driver.used(queue::STATISTICS), Some((0, 0)));
    assert_eq!(*driver.function.lock().device().statistics(), expected(2000));
}

#[test]
fn a_restored_balloon_goes_on() {
    let driver = started();
    driver.link().with(|balloon, queues| balloon.set_target(0x10_0000, queues));
    driver.bus.mmio_write(CONFIG + 4, 4, 0x80);
    let state = driver.function.lock().save();
    let outside = Outside::new();
    let device = Balloon::new(outside.dma.clone());
    let restored = VirtioPci::<Balloon>::restore((device, outside.wires()), state).unwrap();
    let state: BalloonState = crate::virtio::VirtioDevice::save(restored.device());
    assert_eq!((state.num_pages, state.actual), (0x100, 0x80));
}

proptest! {
    #[test]
    fn whatever_the_driver_sends_other_pages_stay(
        lists in prop::collection::vec((0u16..4, prop::collection::vec(0x2F0u32..0x310, 0..40), any::<bool>()), 1..8),
    ) {
        let mut driver = started();
        driver.fill(PAGES, 0x10_000);
        let mut gone = std::collections::BTreeSet::new();
        for (queue, pages, writable) in lists {
            if driver.status() & status::NEEDS_RESET != 0 {
                break;
            }
            let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
            driver.dma.write(BUFFERS, &bytes).unwrap();
            let flags = if writable { WRITE } else { 0 };
            driver.chain(queue, 0, &[(BUFFERS, bytes.len() as u32, flags)]);
            if queue == queue::STATISTICS {
                continue;
            }
            driver.offer(queue, 0);
            driver.notify(queue);
            driver.used(queue);
            if queue == queue::INFLATE && !writable {
                gone.extend(pages);
            }
        }
        for page in 0x300..0x310 {
            prop_assert_eq!(driver.is_empty(u64::from(page) << 12), gone.contains(&page));
        }
    }
}
