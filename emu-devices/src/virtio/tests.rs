//! The transport and the rings, by a device that gives back what it gets.

use super::{
    Chain, Link, Queues, VirtioDevice, VirtioIdentity, VirtioPci,
    common::{reg, status},
    driver::{BUFFERS, Driver, INDIRECT, NEXT, Outside, SIZE, WINDOW, WRITE},
    feature, layout, read_bytes,
};
use emu_core::bus::{Device, Snapshot};
use proptest::prelude::*;
use rstest::rstest;

/// Copies what it reads to what it writes, at once or when told to.
#[derive(Default)]
struct Echo {
    link: Option<Link<Echo>>,
    held: Vec<Chain>,
    hold: bool,
    busy: bool,
    config: [u8; 8],
    features: u64,
}

impl Echo {
    fn answer(chain: Chain, queues: &mut Queues) {
        let len = chain.readable.len().min(chain.writable.len());
        let mut bytes = vec![0; len];
        chain.readable.copy_to(0, &mut bytes);
        chain.writable.copy_from(0, &bytes);
        queues.complete(chain, len as u32);
    }
}

impl VirtioDevice for Echo {
    type State = [u8; 8];
    fn identity(&self) -> VirtioIdentity {
        VirtioIdentity { name: "virtio-echo", id: 42, class: 0xFF_0000 }
    }
    fn queue_sizes(&self) -> Vec<u16> {
        vec![SIZE, 64]
    }
    fn features(&self) -> u64 {
        0b111
    }
    fn accepts(&self, features: u64) -> bool {
        // Bit 1 needs bit 0.
        features & 0b11 != 0b10
    }
    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        read_bytes(&self.config, offset, bytes);
    }
    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        for (at, &byte) in self.config.iter_mut().skip(offset).zip(bytes) {
            *at = byte;
        }
    }
    fn attach(&mut self, link: Link<Self>) {
        self.link = Some(link);
    }
    fn start(&mut self, features: u64) {
        self.features = features;
    }
    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue) {
            if self.hold {
                self.held.push(chain);
            } else {
                Echo::answer(chain, queues);
            }
        }
    }
    fn reset(&mut self) {
        self.features = 0;
    }
    fn is_busy(&self) -> bool {
        self.busy
    }
    fn save(&self) -> [u8; 8] {
        self.config
    }
    fn with_state(self, config: [u8; 8]) -> Result<Self, String> {
        Ok(Echo { config, ..self })
    }
}

fn started(without: u64) -> Driver<Echo> {
    let mut driver = Driver::new(Echo::default());
    driver.start(2, without);
    driver
}

fn holding(without: u64) -> Driver<Echo> {
    let mut driver = Driver::new(Echo { hold: true, ..Echo::default() });
    driver.use_msix();
    driver.start(2, without);
    driver
}

impl Driver<Echo> {
    fn link(&self) -> Link<Echo> {
        self.function.lock().device().link.clone().unwrap()
    }

    /// Lets the device answer `count` of what it holds, the oldest first.
    fn answer(&self, count: usize) {
        self.link().with(|echo, queues| {
            echo.held.drain(..count).for_each(|chain| Echo::answer(chain, queues));
        });
    }

    /// A chain of four bytes to read and eight to write, made available.
    fn ask(&mut self, head: u16) {
        self.chain(0, head, &[(BUFFERS, 4, 0), (BUFFERS + 0x100, 8, WRITE)]);
        self.offer(0, head);
        self.notify(0);
    }
}

#[test]
fn a_chain_comes_back_with_what_was_written() {
    let mut driver = started(0);
    driver.dma.write(BUFFERS, b"hello, world").unwrap();
    let buffers =
        [(BUFFERS, 5, 0), (BUFFERS + 5, 7, 0), (BUFFERS + 0x100, 4, WRITE), (BUFFERS + 0x200, 100, WRITE)];
    driver.chain(0, 3, &buffers);
    driver.offer(0, 3);
    assert_eq!(driver.used(0), None, "before it is told");
    driver.notify(0);
    assert_eq!((driver.used(0), driver.used(0)), (Some((3, 12)), None));
    assert_eq!(driver.memory(BUFFERS + 0x100, 4), b"hell");
    assert_eq!(driver.memory(BUFFERS + 0x200, 8), b"o, world");
}

#[test]
fn rings_go_round_and_indices_overflow() {
    let mut driver = started(0);
    for round in 0..70_000_u32 {
        driver.ask((round % u32::from(SIZE / 2)) as u16 * 2);
        assert_eq!(driver.used(0), Some((round % u32::from(SIZE / 2) * 2, 4)), "round {round}");
    }
}

#[test]
fn an_indirect_table_may_be_longer_than_the_queue() {
    let mut driver = started(0);
    let table = BUFFERS + 0x1_0000;
    for index in 0..100 {
        let flags = if index < 50 { 0 } else { WRITE } | if index == 99 { 0 } else { NEXT };
        driver.descriptor(table, index, (BUFFERS + u64::from(index), 1, flags, index + 1));
    }
    driver.dma.write(BUFFERS, &[7; 50]).unwrap();
    driver.chain(0, 0, &[(table, 1600, INDIRECT)]);
    driver.offer(0, 0);
    driver.notify(0);
    assert_eq!((driver.used(0), driver.memory(BUFFERS + 99, 1)), (Some((0, 50)), vec![7]));
}

#[rstest]
#[case::loop_(&[(BUFFERS, 4, NEXT, 1), (BUFFERS, 4, NEXT, 0)])]
#[case::beyond_the_table(&[(BUFFERS, 4, NEXT, SIZE)])]
#[case::no_ram(&[(0xFEE0_0000, 4, 0, 0)])]
#[case::around_the_end(&[(u64::MAX - 1, 4, 0, 0)])]
#[case::to_read_behind_to_write(&[(BUFFERS, 4, WRITE | NEXT, 1), (BUFFERS, 4, 0, 0)])]
#[case::nested_tables(&[(Driver::<Echo>::area(0) + 16, 16, INDIRECT, 0), (BUFFERS, 16, INDIRECT, 0)])]
#[case::table_of_odd_length(&[(BUFFERS, 24, INDIRECT, 0)])]
#[case::empty_table(&[(BUFFERS, 0, INDIRECT, 0)])]
#[case::table_with_a_next(&[(BUFFERS, 16, INDIRECT | NEXT, 0)])]
#[case::table_that_is_no_ram(&[(0xF_0000_0000, 16, INDIRECT, 0)])]
#[case::four_gigabytes(&[(BUFFERS, u32::MAX, NEXT, 1), (BUFFERS, 4, 0, 0)])]
fn a_chain_without_sense_needs_a_reset(#[case] descriptors: &[(u64, u32, u16, u16)]) {
    let mut driver = started(0);
    driver.use_msix();
    driver.write(reg::CONFIG_VECTOR, 0);
    for (index, &descriptor) in descriptors.iter().enumerate() {
        driver.descriptor(Driver::<Echo>::area(0), index as u16, descriptor);
    }
    driver.offer(0, 0);
    driver.notify(0);
    assert_eq!(driver.status() & status::NEEDS_RESET, status::NEEDS_RESET);
    assert_eq!((driver.messages.take(), driver.used(0)), (vec![0], None), "a configuration interrupt");

    driver.notify(0);
    driver.ask(4);
    assert_eq!((driver.messages.take(), driver.used(0)), (vec![], None), "nothing more");

    driver.write(reg::DEVICE_STATUS, 0);
    assert_eq!(driver.status(), 0);
    driver.start(1, 0);
    driver.ask(0);
    assert_eq!(driver.used(0), Some((0, 4)), "a reset mends it");
}

#[test]
fn heads_and_indices_without_sense_need_a_reset() {
    for (available, head) in [(1, SIZE), (SIZE + 1, 0)] {
        let driver = started(0);
        let ring = Driver::<Echo>::area(0) + 0x1000;
        driver.dma.store_u16(ring + 4, head).unwrap();
        driver.dma.store_u16(ring + 2, available).unwrap();
        driver.notify(0);
        assert_eq!(driver.status() & status::NEEDS_RESET, status::NEEDS_RESET, "{available} {head}");
    }
    let mut driver = holding(0);
    driver.ask(0);
    driver.ask(0);
    assert_eq!(driver.status() & status::NEEDS_RESET, status::NEEDS_RESET, "a chain twice");
}

#[test]
fn a_queue_that_is_not_aligned_or_no_ram_needs_a_reset() {
    for (register, address) in [
        (reg::QUEUE_DESC, BUFFERS + 8),
        (reg::QUEUE_DRIVER, BUFFERS + 1),
        (reg::QUEUE_DEVICE, BUFFERS + 2),
        (reg::QUEUE_DEVICE, 0x10_0000_0000),
        (reg::QUEUE_DESC, u64::MAX - 15),
    ] {
        let driver = Driver::new(Echo::default());
        assert!(driver.negotiate(driver.offered()));
        for area in [reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE] {
            driver.write(area, BUFFERS);
        }
        driver.write(register, address);
        driver.write(reg::QUEUE_ENABLE, 1);
        assert_eq!(driver.status() & status::NEEDS_RESET, status::NEEDS_RESET, "{address:#x}");
        assert_eq!(driver.read(reg::QUEUE_ENABLE), 0);
        driver.set_status(status::DRIVER_OK);
        driver.notify(0);
    }
}

#[rstest]
#[case::all(0b111 | feature::ALWAYS, true)]
#[case::no_ring_features(feature::VERSION_1, true)]
#[case::without_version_1(0b111, false)]
#[case::not_offered(feature::VERSION_1 | 1 << 33, false)]
#[case::refused_by_the_device(feature::VERSION_1 | 0b10, false)]
fn features_are_agreed_upon(#[case] features: u64, #[case] agreed: bool) {
    let driver = Driver::new(Echo::default());
    assert_eq!(driver.offered(), 0b111 | feature::ALWAYS);
    assert_eq!(driver.negotiate(features), agreed);
    driver.set_status(status::DRIVER_OK);
    assert_eq!(driver.status() & status::DRIVER_OK != 0, agreed, "not ready without agreement");
    assert_eq!(driver.function.lock().device().features, if agreed { features } else { 0 });
}

#[test]
fn features_and_queues_do_not_change_once_they_are_settled() {
    let driver = started(0);
    driver.write(reg::DRIVER_FEATURE_SELECT, 0);
    driver.write(reg::DRIVER_FEATURE, 0);
    assert_eq!(driver.read(reg::DRIVER_FEATURE), 0b111 | feature::ALWAYS & 0xFFFF_FFFF);
    driver.write(reg::QUEUE_SELECT, 1);
    for (register, value) in [(reg::QUEUE_DESC, 0), (reg::QUEUE_SIZE, 2), (reg::QUEUE_ENABLE, 0)] {
        let before = driver.read(register);
        driver.write(register, value);
        assert_eq!(driver.read(register), before);
    }
    driver.write(reg::DEVICE_STATUS, status::ACKNOWLEDGE.into());
    let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    assert_eq!(driver.status(), ready, "bits are not cleared one by one");
}

#[test]
fn registers_of_queues_are_the_selected_ones() {
    let driver = Driver::new(Echo::default());
    driver.negotiate(driver.offered());
    assert_eq!(driver.read(reg::NUM_QUEUES), 2);
    let sizes = [0, 1, 2].map(|queue| {
        driver.write(reg::QUEUE_SELECT, queue);
        (driver.read(reg::QUEUE_SIZE), driver.read(reg::QUEUE_NOTIFY_OFF))
    });
    assert_eq!(sizes, [(SIZE.into(), 0), (64, 1), (0, 0)]);
    driver.write(reg::QUEUE_SELECT, 1);
    for (asked, got) in [(32, 32), (33, 32), (0, 32), (128, 32)] {
        driver.write(reg::QUEUE_SIZE, asked);
        assert_eq!(driver.read(reg::QUEUE_SIZE), got);
    }
    // There is a vector for each queue and one for the configuration.
    for (asked, got) in [(2, 2), (3, 0xFFFF)] {
        driver.write(reg::QUEUE_VECTOR, asked);
        driver.write(reg::CONFIG_VECTOR, asked);
        assert_eq!((driver.read(reg::QUEUE_VECTOR), driver.read(reg::CONFIG_VECTOR)), (got, got));
    }
    driver.bus.mmio_write(WINDOW + 0x20, 4, 0x1111_1111);
    driver.bus.mmio_write(WINDOW + 0x24, 4, 0x2222_2222);
    assert_eq!(driver.read(reg::QUEUE_DESC), 0x2222_2222_1111_1111, "by halves");
}

#[test]
fn nothing_happens_before_the_driver_is_ready() {
    let mut driver = Driver::new(Echo::default());
    assert!(driver.negotiate(driver.offered()));
    driver.set_up_queue(0);
    driver.ask(0);
    assert_eq!(driver.used(0), None);
    driver.set_status(status::DRIVER_OK);
    assert_eq!(driver.used(0), Some((0, 4)), "what was asked early is done then");
}

#[test]
fn without_bus_mastering_the_device_leaves_memory_alone() {
    let mut driver = started(0);
    driver.pci.config_write(super::driver::FUNCTION, 0x04, 2, 0b011);
    driver.ask(0);
    assert_eq!(driver.used(0), None);
    driver.pci.config_write(super::driver::FUNCTION, 0x04, 2, 0b111);
    assert_eq!(driver.used(0), Some((0, 4)));
}

#[test]
fn the_wire_is_up_until_the_interrupt_status_is_read() {
    let mut driver = started(0);
    driver.ask(0);
    assert!(driver.wire.level(0));
    assert_eq!(driver.bus.mmio_read(WINDOW + layout::ISR.start, 1), 1);
    assert!(!driver.wire.level(0));
    driver.link().with(|_, queues| queues.config_changed());
    assert_eq!((driver.wire.level(0), driver.bus.mmio_read(WINDOW + layout::ISR.start, 1)), (true, 2));
    assert_eq!(driver.bus.mmio_read(WINDOW + layout::ISR.start, 1), 0);
}

#[test]
fn each_queue_has_its_message() {
    let mut driver = started(0);
    driver.use_msix();
    driver.ask(0);
    driver.chain(1, 0, &[(BUFFERS, 4, WRITE)]);
    driver.offer(1, 0);
    driver.notify(1);
    driver.write(reg::CONFIG_VECTOR, 0);
    let generation = driver.read(reg::CONFIG_GENERATION);
    driver.link().with(|_, queues| queues.config_changed());
    assert_eq!(driver.messages.take(), [1, 2, 0]);
    assert_ne!(driver.read(reg::CONFIG_GENERATION), generation);
    assert_eq!(driver.bus.mmio_read(WINDOW + layout::ISR.start, 1), 0, "no status beside messages");
}

#[test]
fn a_driver_that_wants_no_interrupts_gets_none() {
    let mut driver = holding(feature::EVENT_IDX);
    driver.set_interrupt_flag(0, 1);
    driver.ask(0);
    driver.answer(1);
    assert_eq!((driver.used(0), driver.messages.take()), (Some((0, 4)), vec![]));
    driver.set_interrupt_flag(0, 0);
    (0..3).for_each(|n| driver.ask(2 * n));
    driver.answer(2);
    driver.answer(1);
    assert_eq!(driver.messages.take(), [1, 1], "one for those that are done together");
}

#[test]
fn event_indices_say_when_to_interrupt_and_when_to_notify() {
    let mut driver = holding(0);
    driver.set_used_event(0, 2);
    (0..4).for_each(|n| driver.ask(2 * n));
    assert_eq!(driver.available_event(0), 4, "tell me of the fifth");
    driver.answer(1);
    assert_eq!(driver.messages.take(), [1], "the first is always told of");
    driver.answer(1);
    assert!(driver.messages.take().is_empty());
    driver.answer(2);
    assert_eq!(driver.messages.take(), [1], "the third was among them");
}

#[test]
fn a_reset_takes_as_long_as_a_backend_has_memory() {
    let mut driver = holding(0);
    driver.ask(0);
    driver.link().with(|echo, _| echo.busy = true);
    let before = driver.status();
    driver.write(reg::DEVICE_STATUS, 0);
    assert_eq!(driver.status(), before);
    driver.set_status(status::FAILED);
    driver.write(reg::QUEUE_SELECT, 1);
    assert_eq!((driver.status(), driver.read(reg::QUEUE_SELECT)), (before, 1), "nothing else works");
    driver.link().with(|echo, queues| {
        echo.busy = false;
        echo.held.drain(..).for_each(|chain| Echo::answer(chain, queues));
    });
    assert_eq!((driver.status(), driver.used(0), driver.messages.take()), (0, None, vec![]));
    assert_eq!(driver.read(reg::QUEUE_ENABLE), 0);
}

#[test]
fn chains_of_before_a_reset_are_void() {
    let mut driver = holding(0);
    driver.ask(0);
    driver.function.lock().reset();
    driver.pci.windows_may_have_moved();
    driver.pci.map_windows(&driver.bus);
    assert_eq!(driver.status(), 0xFF, "its windows are gone until they are set up again");
    driver.pci.config_write(super::driver::FUNCTION, 0x14, 4, super::driver::MSIX as u32);
    driver.pci.config_write(super::driver::FUNCTION, 0x20, 4, WINDOW as u32);
    driver.pci.config_write(super::driver::FUNCTION, 0x04, 2, 0b111);
    driver.pci.map_windows(&driver.bus);
    driver.start(1, 0);
    driver.answer(1);
    assert_eq!(driver.used(0), None);
}

#[test]
fn device_configuration_is_read_and_written_in_any_width() {
    let driver = started(0);
    let at = WINDOW + layout::DEVICE.start;
    driver.bus.mmio_write(at + 2, 4, 0x4433_2211);
    assert_eq!(driver.bus.mmio_read(at, 8), 0x4433_2211_0000);
    assert_eq!((driver.bus.mmio_read(at + 3, 1), driver.bus.mmio_read(at + 6, 4)), (0x22, 0));
    driver.bus.mmio_write(at + 0xFFC, 4, 1);
    assert_eq!(driver.bus.mmio_read(at + 0xFFC, 4), 0);
}

#[test]
fn capabilities_lead_to_the_parts_of_the_window() {
    let driver = Driver::new(Echo::default());
    let read = |at, size| driver.pci.config_read(super::driver::FUNCTION, at, size);
    let mut found = Vec::new();
    let mut at = read(0x34, 1) as u16;
    while at != 0 {
        if read(at, 1) == 9 {
            found.push((
                read(at + 2, 1),
                read(at + 3, 1),
                read(at + 4, 1),
                read(at + 8, 4),
                read(at + 12, 4),
            ));
        }
        at = read(at + 1, 1) as u16;
    }
    let parts = [(16, 1, 4, 0, 0x38), (16, 3, 4, 0x1000, 1), (16, 4, 4, 0x2000, 0x1000)];
    assert_eq!(found[..3], parts);
    assert_eq!(found[3..], [(20, 2, 4, 0x3000, 0x1000), (20, 5, 0, 0, 0)]);
    assert_eq!(read(0, 4), 0x106A_1AF4);
}

#[test]
fn configuration_space_is_another_way_to_the_window() {
    let driver = started(0);
    let function = super::driver::FUNCTION;
    let read = |at, size| driver.pci.config_read(function, at, size);
    let at = (0x40..0x100).step_by(4).find(|at| read(*at, 1) == 9 && read(*at + 3, 1) == 5).unwrap();
    let point = |bar, offset, len| {
        driver.pci.config_write(function, at + 4, 1, bar);
        driver.pci.config_write(function, at + 8, 4, offset);
        driver.pci.config_write(function, at + 12, 4, len);
    };
    point(4, reg::DEVICE_STATUS.0 as u32, 1);
    assert_eq!(read(at + 16, 1), 0x0F);
    point(4, reg::QUEUE_SELECT.0 as u32, 2);
    driver.pci.config_write(function, at + 16, 2, 1);
    assert_eq!(driver.read(reg::QUEUE_SELECT), 1);
    for (bar, offset, len) in [(4, 1, 2), (4, 0, 3), (1, 0, 4), (4, u32::MAX - 3, 4)] {
        point(bar, offset, len);
        driver.pci.config_write(function, at + 16, 4, u32::MAX);
        read(at + 16, 4);
    }
    assert_eq!(driver.status(), 0x0F);
}

#[test]
fn a_restored_device_takes_again_what_was_under_way() {
    let mut driver = holding(0);
    driver.ask(2);
    driver.ask(4);
    driver.answer(1);
    let state = driver.function.lock().save();
    let outside = Outside::new();
    outside.dma.write(0, &driver.memory(0, 0x9_0000)).unwrap();
    outside.dma.write(BUFFERS, &driver.memory(BUFFERS, 0x1000)).unwrap();

    let restored = VirtioPci::restore((Echo::default(), outside.wires()), state.clone()).unwrap();
    assert!(restored.save() == state);
    let mut driver = Driver::of(restored, outside);
    assert_eq!((driver.used(0), driver.used(0), driver.used(0)), (Some((2, 4)), Some((4, 4)), None));
    assert_eq!(driver.messages.take(), [1]);
    driver.available[0] = 2;
    driver.ask(6);
    assert_eq!(driver.used(0), Some((6, 4)));
}

proptest! {
    /// A guest without sense: descriptors, rings and registers are what they are.
    #[test]
    fn no_guest_makes_it_panic_or_hang(
        descriptors in prop::collection::vec(
            (prop_oneof![Just(BUFFERS), Just(Driver::<Echo>::area(0)), any::<u64>()], 0u32..0x200, 0u16..8, 0u16..20),
            SIZE as usize,
        ),
        heads in prop::collection::vec(0u16..18, 0..40),
        accesses in prop::collection::vec((0u8..6, 0u64..0x40, 0u8..4, any::<u64>()), 0..60),
        without in any::<u64>(),
        hold in any::<bool>(),
    ) {
        let mut driver = Driver::new(Echo { hold, ..Echo::default() });
        driver.start(2, without & (feature::INDIRECT_DESC | feature::EVENT_IDX));
        for (index, descriptor) in descriptors.into_iter().enumerate() {
            driver.descriptor(Driver::<Echo>::area(0), index as u16, descriptor);
        }
        for head in heads {
            driver.offer(0, head);
            driver.notify(0);
        }
        for (kind, offset, size, value) in accesses {
            let size = 1 << size;
            match kind {
                0 => driver.bus.mmio_write(WINDOW + offset, size, value),
                1 => _ = driver.bus.mmio_read(WINDOW + offset, size),
                2 => driver.bus.mmio_write(WINDOW + value % 0x5000, size, value),
                3 => driver.pci.config_write(super::driver::FUNCTION, 0x40 + (value % 0xC0) as u16 & !3, 4, offset as u32),
                4 => driver.notify(offset as u16),
                _ => driver.link().with(|echo, queues| {
                    echo.held.drain(..).for_each(|chain| Echo::answer(chain, queues));
                }),
            }
            driver.pci.map_windows(&driver.bus);
        }
        let state = driver.function.lock().save();
        let _refused = VirtioPci::restore((Echo::default(), Outside::new().wires()), state);
    }
}
