//! The block device, as a driver sees it, with a disk in memory.

use super::{Block, BlockConfig, QUEUE_SIZE, Status, config, feature};
use crate::virtio::{
    VirtioPci,
    common::{reg, status},
    driver::{BUFFERS, Driver, Outside, WINDOW, WRITE},
    feature::{EVENT_IDX, INDIRECT_DESC},
    layout,
};
use emu_core::{
    backend::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Data, Operation},
    bus::{Device, Snapshot},
};
use parking_lot::Mutex;
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

const LEN: usize = 64 * 1024;

/// A disk in memory, which does its work when it is told to, and writes down what that was.
struct Disk {
    geometry: BlockGeometry,
    bytes: Mutex<Vec<u8>>,
    waiting: Mutex<Vec<BlockRequest>>,
    log: Mutex<Vec<String>>,
    /// How all requests end.
    result: Mutex<Result<(), BlockError>>,
    /// Reads are done at once.
    at_hand: Mutex<bool>,
}

impl Disk {
    fn new(change: impl FnOnce(&mut BlockGeometry)) -> Arc<Self> {
        let mut geometry = BlockGeometry {
            len: LEN as u64,
            logical_block: 512,
            physical_block: 4096,
            read_only: false,
            discard: true,
            write_zeroes: true,
            volatile_cache: true,
        };
        change(&mut geometry);
        Arc::new(Disk {
            geometry,
            bytes: Mutex::new((0..LEN).map(|at| (at / 512) as u8).collect()),
            waiting: Mutex::default(),
            log: Mutex::default(),
            result: Mutex::new(Ok(())),
            at_hand: Mutex::default(),
        })
    }

    /// Does what was asked for, in the opposite order.
    fn work(&self) {
        let waiting: Vec<BlockRequest> = self.waiting.lock().drain(..).collect();
        for BlockRequest { operation, done } in waiting.into_iter().rev() {
            let result = *self.result.lock();
            let data = self.perform(operation, result.is_ok());
            done(result, data);
        }
    }

    fn perform(&self, operation: Operation, good: bool) -> Option<Data> {
        let mut bytes = self.bytes.lock();
        let text = match &operation {
            Operation::Read { offset, data } => format!("read {offset}+{}", data.len()),
            Operation::Write { offset, data, through } => format!("write {offset}+{} {through}", data.len()),
            Operation::Flush => "flush".to_owned(),
            Operation::Discard { offset, len } => format!("discard {offset}+{len}"),
            Operation::WriteZeroes { offset, len, unmap } => format!("zero {offset}+{len} {unmap}"),
        };
        self.log.lock().push(text);
        match operation {
            Operation::Read { offset, data: Data::Guest(buffer) } if good => {
                buffer.copy_from(0, &bytes[offset as usize..][..buffer.len()]);
                Some(Data::Guest(buffer))
            }
            Operation::Write { offset, data: Data::Guest(buffer), .. } if good => {
                buffer.copy_to(0, &mut bytes[offset as usize..][..buffer.len()]);
                Some(Data::Guest(buffer))
            }
            _ => None,
        }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().drain(..).collect()
    }
}

impl BlockBackend for Disk {
    fn geometry(&self) -> BlockGeometry {
        self.geometry.clone()
    }
    fn try_at_once(&self, operation: &mut Operation) -> bool {
        match operation {
            Operation::Read { offset, data: Data::Guest(buffer) } if *self.at_hand.lock() => {
                buffer.copy_from(0, &self.bytes.lock()[*offset as usize..][..buffer.len()]);
                true
            }
            _ => false,
        }
    }
    fn submit(&self, request: BlockRequest) {
        self.waiting.lock().push(request);
    }
}

fn block(disk: &Arc<Disk>) -> Block {
    Block::new(BlockConfig { disk: disk.clone(), serial: "disk-1".into(), queues: 2 })
}

fn machine(change: impl FnOnce(&mut BlockGeometry)) -> (Driver<Block>, Arc<Disk>) {
    let disk = Disk::new(change);
    let mut driver = Driver::new(block(&disk));
    driver.start(2, 0);
    (driver, disk)
}

const STATUS: u64 = BUFFERS + 0x1000;
const DATA: u64 = BUFFERS + 0x2000;

impl Driver<Block> {
    /// Makes a request available: its header and what belongs to it, from descriptor `head` on.
    fn ask(&mut self, head: u16, (kind, sector): (u32, u64), data: &[(u64, u32, u16)]) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let (at, status) = (BUFFERS + 16 * u64::from(head), STATUS + u64::from(head));
        self.dma.write(at, &header).unwrap();
        self.dma.write(status, &[0xEE]).unwrap();
        let chain = [&[(at, 16, 0)], data, &[(status, 1, WRITE)]].concat();
        self.chain(0, head, &chain);
        self.offer(0, head);
    }

    /// The status byte of the request at `head`.
    fn answer(&self, head: u16) -> u8 {
        self.memory(STATUS + u64::from(head), 1)[0]
    }

    /// Asks, lets the disk work, and returns the status and what the used ring says is written.
    fn request(&mut self, disk: &Disk, what: (u32, u64), data: &[(u64, u32, u16)]) -> (u8, u32) {
        self.ask(0, what, data);
        self.notify(0);
        disk.work();
        let (head, written) = self.used(0).expect("an answer");
        assert_eq!(head, 0);
        (self.answer(0), written)
    }

    fn segments(&self, segments: &[(u64, u32, u32)]) -> (u64, u32, u16) {
        let mut bytes = Vec::new();
        for (sector, sectors, flags) in segments {
            bytes.extend_from_slice(&sector.to_le_bytes());
            bytes.extend_from_slice(&sectors.to_le_bytes());
            bytes.extend_from_slice(&flags.to_le_bytes());
        }
        self.dma.write(DATA, &bytes).unwrap();
        (DATA, bytes.len() as u32, 0)
    }

    fn config(&self, offset: usize, size: u8) -> u64 {
        self.bus.mmio_read(WINDOW + layout::DEVICE.start + offset as u64, size)
    }
}

const OK: u8 = Status::Ok as u8;
const IO_ERROR: u8 = Status::IoError as u8;
const UNSUPPORTED: u8 = Status::Unsupported as u8;

#[test]
fn what_is_written_is_read_from_scattered_buffers() {
    let (mut driver, disk) = machine(|_| {});
    driver.dma.write(DATA, &[0xAB; 1024]).unwrap();
    let written = driver.request(&disk, (1, 4), &[(DATA, 100, 0), (DATA + 100, 924, 0)]);
    assert_eq!(written, (OK, 1));
    let read = [(DATA + 0x1000, 600, WRITE), (DATA + 0x3000, 1448, WRITE)];
    assert_eq!(driver.request(&disk, (0, 3), &read), (OK, 2049));
    assert_eq!(driver.memory(DATA + 0x1000, 600), [vec![3; 512], vec![0xAB; 88]].concat());
    assert_eq!(driver.memory(DATA + 0x3000, 1448), [vec![0xAB; 936], vec![6; 512]].concat());
    assert_eq!(disk.log(), ["write 2048+1024 false", "read 1536+2048"]);
}

#[test]
fn requests_end_in_any_order_and_nothing_is_said_before() {
    let (mut driver, disk) = machine(|_| {});
    driver.use_msix();
    for head in [0, 3, 6] {
        driver.ask(head, (0, head.into()), &[(DATA + 0x200 * u64::from(head), 512, WRITE)]);
    }
    driver.notify(0);
    assert_eq!((driver.used(0), driver.answer(0), driver.messages.take()), (None, 0xEE, vec![]));
    disk.work();
    let used: Vec<_> = std::iter::from_fn(|| driver.used(0)).collect();
    assert_eq!(used, [(6, 513), (3, 513), (0, 513)]);
    assert_eq!([0, 3, 6].map(|head| driver.answer(head)), [OK; 3]);
    assert_eq!(driver.memory(DATA + 0x600, 1), [3]);
}

#[test]
fn the_first_reads_of_what_is_at_hand_are_done_within_the_notification() {
    let (mut driver, disk) = machine(|_| {});
    driver.use_msix();
    *disk.at_hand.lock() = true;
    for head in (0..15).step_by(3) {
        driver.ask(head, (0, head.into()), &[(DATA + 0x200 * u64::from(head), 512, WRITE)]);
    }
    driver.notify(0);
    let used: Vec<_> = std::iter::from_fn(|| driver.used(0)).collect();
    assert_eq!(used, [0, 3, 6, 9].map(|head| (head, 513)));
    assert_eq!((driver.answer(9), driver.memory(DATA + 0x200 * 9, 1)), (OK, vec![9]));
    assert_eq!((driver.answer(12), driver.messages.take().len()), (0xEE, 1), "one interrupt for all");
    disk.work();
    assert_eq!(disk.log(), ["read 6144+512"], "what is left is the backend's");
    assert_eq!(driver.used(0), Some((12, 513)));
    driver.ask(0, (0, 1), &[(DATA, 512, WRITE)]);
    driver.notify(0);
    assert_eq!(driver.used(0), Some((0, 513)), "the next notification counts anew");
    // What only seems to be on the disk is asked of nobody.
    driver.ask(0, (0, 127), &[(DATA, 1024, WRITE)]);
    driver.notify(0);
    assert_eq!((driver.used(0), driver.answer(0)), (Some((0, 0)), IO_ERROR));
}

#[rstest]
#[case::beyond_the_end((0, 127), 1024, WRITE)]
#[case::write_beyond_the_end((1, 128), 512, 0)]
#[case::overflow((0, u64::MAX), 512, WRITE)]
#[case::far_overflow((1, u64::MAX / 512), 512, 0)]
#[case::no_whole_sector((0, 0), 511, WRITE)]
fn what_is_not_on_the_disk_is_an_error(#[case] what: (u32, u64), #[case] len: u32, #[case] flags: u16) {
    let (mut driver, disk) = machine(|_| {});
    let (status, _) = driver.request(&disk, what, &[(DATA, len, flags)]);
    assert_eq!((status, disk.log()), (IO_ERROR, vec![]), "the disk is not asked");
}

#[rstest]
#[case::host(BlockError::Host, IO_ERROR)]
#[case::read_only(BlockError::ReadOnly, IO_ERROR)]
#[case::unsupported(BlockError::Unsupported, UNSUPPORTED)]
fn errors_of_the_disk_become_statuses(#[case] error: BlockError, #[case] status: u8) {
    let (mut driver, disk) = machine(|_| {});
    *disk.result.lock() = Err(error);
    assert_eq!(
        driver.request(&disk, (0, 0), &[(DATA, 512, WRITE)]),
        (status, 0),
        "nothing is sure to be filled"
    );
    assert_eq!(driver.request(&disk, (4, 0), &[]), (status, 1));
}

#[test]
fn a_disk_of_large_blocks_refuses_parts_of_them() {
    let (mut driver, disk) = machine(|geometry| geometry.logical_block = 4096);
    assert_eq!(driver.config(config::BLK_SIZE, 4), 4096);
    assert_eq!(driver.request(&disk, (0, 1), &[(DATA, 4096, WRITE)]).0, IO_ERROR);
    assert_eq!(driver.request(&disk, (0, 8), &[(DATA, 512, WRITE)]).0, IO_ERROR);
    assert_eq!(driver.request(&disk, (0, 8), &[(DATA, 4096, WRITE)]).0, OK);
}

#[test]
fn writes_last_where_the_driver_does_not_flush() {
    let write = |driver: &mut Driver<Block>, disk: &Disk| {
        driver.request(disk, (1, 0), &[(DATA, 512, 0)]);
        disk.log().remove(0)
    };
    let (mut driver, disk) = machine(|_| {});
    assert_eq!(driver.config(config::WRITEBACK, 1), 1);
    assert_eq!(write(&mut driver, &disk), "write 0+512 false");
    driver.bus.mmio_write(WINDOW + layout::DEVICE.start + config::WRITEBACK as u64, 1, 0);
    assert_eq!(
        (driver.config(config::WRITEBACK, 1), write(&mut driver, &disk)),
        (0, "write 0+512 true".into())
    );

    driver.write(reg::DEVICE_STATUS, 0);
    driver.start(1, feature::FLUSH | feature::CONFIG_WCE);
    assert_eq!(write(&mut driver, &disk), "write 0+512 true");
}

#[test]
fn a_flush_is_the_disks() {
    let (mut driver, disk) = machine(|_| {});
    assert_eq!((driver.request(&disk, (4, 0), &[]), disk.log()), ((OK, 1), vec!["flush".into()]));
    let (mut driver, disk) = machine(|geometry| geometry.volatile_cache = false);
    assert_eq!(driver.offered() & (feature::FLUSH | feature::CONFIG_WCE), 0);
    assert_eq!((driver.request(&disk, (4, 0), &[]), disk.log()), ((OK, 1), vec![]), "nothing to flush");
}

#[test]
fn segments_are_discarded_and_zeroed() {
    let (mut driver, disk) = machine(|_| {});
    let segments = driver.segments(&[(0, 8, 0), (16, 1, 0), (32, 0, 0)]);
    assert_eq!(driver.request(&disk, (11, 0), &[segments]), (OK, 1));
    assert_eq!(disk.log(), ["discard 8192+512", "discard 0+4096"]);
    let segments = driver.segments(&[(1, 2, 0)]);
    assert_eq!(driver.request(&disk, (13, 0), &[segments]), (OK, 1));
    let segments = driver.segments(&[(1, 2, 1)]);
    assert_eq!(driver.request(&disk, (13, 0), &[segments]), (OK, 1));
    assert_eq!(disk.log(), ["zero 512+1024 false", "zero 512+1024 true"]);
}

#[rstest]
#[case::discard_has_no_flags(11, &[(0, 1, 1)], UNSUPPORTED)]
#[case::unknown_flag(13, &[(0, 1, 2)], UNSUPPORTED)]
#[case::beyond_the_end(11, &[(0, 1, 0), (128, 1, 0)], IO_ERROR)]
#[case::too_long(13, &[(0, u32::MAX, 0)], IO_ERROR)]
#[case::too_many(11, &[(0, 1, 0); 33], IO_ERROR)]
fn segments_without_sense_change_nothing(
    #[case] kind: u32,
    #[case] segments: &[(u64, u32, u32)],
    #[case] status: u8,
) {
    let (mut driver, disk) = machine(|_| {});
    let segments = driver.segments(segments);
    assert_eq!(driver.request(&disk, (kind, 0), &[segments]), (status, 1));
    assert_eq!(disk.log(), Vec::<String>::new());
}

#[test]
fn one_bad_segment_is_the_status_of_all() {
    let (mut driver, disk) = machine(|_| {});
    let segments = driver.segments(&[(0, 8, 0), (16, 1, 0)]);
    *disk.result.lock() = Err(BlockError::Host);
    assert_eq!(driver.request(&disk, (11, 0), &[segments]), (IO_ERROR, 1));
}

#[test]
fn a_disk_to_be_read_refuses_everything_else() {
    let (mut driver, disk) = machine(|geometry| geometry.read_only = true);
    assert_eq!(driver.offered() & (feature::RO | feature::DISCARD | feature::WRITE_ZEROES), feature::RO);
    let segments = driver.segments(&[(0, 1, 0)]);
    for (kind, data) in [(1, (DATA, 512, 0)), (11, segments), (13, segments)] {
        assert_eq!(driver.request(&disk, (kind, 0), &[data]), (IO_ERROR, 1));
    }
    assert_eq!(driver.request(&disk, (0, 0), &[(DATA, 512, WRITE)]).0, OK);
}

#[test]
fn the_serial_number_is_twenty_bytes() {
    let (mut driver, disk) = machine(|_| {});
    driver.dma.write(DATA, &[0xFF; 24]).unwrap();
    assert_eq!(driver.request(&disk, (8, 0), &[(DATA, 20, WRITE)]), (OK, 21));
    assert_eq!(driver.memory(DATA, 24), *b"disk-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF");
    assert_eq!(driver.request(&disk, (8, 0), &[(DATA, 3, WRITE)]), (OK, 4));
    assert_eq!(driver.request(&disk, (99, 0), &[]), (UNSUPPORTED, 1));
}

#[test]
fn the_configuration_describes_the_disk() {
    let (driver, _) = machine(|_| {});
    let values = [
        (config::CAPACITY, 8, 128),
        (config::SEG_MAX, 4, u64::from(QUEUE_SIZE) - 2),
        (config::BLK_SIZE, 4, 512),
        (config::PHYSICAL_BLOCK_EXP, 1, 3),
        (config::MIN_IO_SIZE, 2, 8),
        (config::NUM_QUEUES, 2, 2),
        (config::DISCARD_ALIGNMENT, 4, 1),
        (config::WRITE_ZEROES_MAY_UNMAP, 1, 1),
        (config::LEN, 4, 0),
    ];
    for (offset, size, value) in values {
        assert_eq!(driver.config(offset, size), value, "at {offset}");
    }
}

#[test]
fn a_request_without_header_or_status_needs_a_reset() {
    for buffers in [&[(BUFFERS, 15, 0), (STATUS, 1, WRITE)][..], &[(BUFFERS, 16, 0)]] {
        let (mut driver, _disk) = machine(|_| {});
        driver.chain(0, 0, buffers);
        driver.offer(0, 0);
        driver.notify(0);
        assert_eq!(driver.status() & status::NEEDS_RESET, status::NEEDS_RESET);
    }
}

#[test]
fn a_reset_waits_for_the_disk_and_voids_its_answers() {
    let (mut driver, disk) = machine(|_| {});
    driver.ask(0, (0, 0), &[(DATA, 512, WRITE)]);
    driver.notify(0);
    driver.write(reg::DEVICE_STATUS, 0);
    assert_ne!(driver.status(), 0, "the disk may still write");
    disk.work();
    assert_eq!((driver.status(), driver.answer(0), driver.used(0)), (0, 0xEE, None));

    driver.start(1, 0);
    driver.ask(0, (0, 0), &[(DATA, 512, WRITE)]);
    driver.notify(0);
    driver.function.lock().reset();
    disk.work();
    assert_eq!((driver.answer(0), driver.used(0)), (0xEE, None));
}

#[test]
fn a_restored_device_asks_the_disk_again() {
    let (mut driver, disk) = machine(|_| {});
    driver.ask(0, (0, 5), &[(DATA, 512, WRITE)]);
    driver.notify(0);
    let state = driver.function.lock().save();
    let outside = Outside::new();
    outside.dma.write(0, &driver.memory(0, 0x9_0000)).unwrap();
    outside.dma.write(BUFFERS, &driver.memory(BUFFERS, 0x8000)).unwrap();

    let disk_again = Disk::new(|_| {});
    let restored = VirtioPci::restore((block(&disk_again), outside.wires()), state.clone()).unwrap();
    assert!(restored.save() == state);
    let mut restored = Driver::of(restored, outside);
    disk_again.work();
    assert_eq!((restored.used(0), restored.answer(0)), (Some((0, 513)), OK));
    assert_eq!(restored.memory(DATA, 1), [5]);
    drop(disk);
}

proptest! {
    /// Requests of any kind and shape: each ends, or the device needs a reset; and the disk sees only what is on it.
    #[test]
    fn no_request_panics_or_is_lost(
        requests in prop::collection::vec(
            (prop_oneof![4 => 0u32..14, 1 => any::<u32>()], prop_oneof![0u64..140, any::<u64>()],
             prop::collection::vec((0u32..2000, any::<bool>()), 0..4)),
            1..8,
        ),
        without in any::<bool>(),
    ) {
        let disk = Disk::new(|_| {});
        let mut driver = Driver::new(block(&disk));
        driver.start(1, if without { EVENT_IDX | INDIRECT_DESC } else { 0 });
        for (kind, sector, data) in requests {
            let data: Vec<_> = data.into_iter().map(|(len, write)| (DATA, len & !3, if write { WRITE } else { 0 })).collect();
            driver.ask(0, (kind, sector), &data);
            driver.notify(0);
            disk.work();
            let needs_reset = driver.status() & status::NEEDS_RESET != 0;
            prop_assert_eq!(driver.used(0).is_none(), needs_reset);
            if needs_reset {
                break;
            }
            prop_assert!(driver.answer(0) <= 2);
        }
    }
}
