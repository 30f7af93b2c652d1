//! What a driver sees of the controller: every access here is one that a guest makes.

use super::*;
use crate::{
    pci,
    probe::Probe,
    storage::{
        ata::{Cable, DriveIdentity},
        test_backend::{TestBackend, pattern, wires},
    },
};
use emu_core::memory::Dma;
use proptest::prelude::*;

const TABLE: u64 = 0x1000;
const DATA: u64 = 0x4000;
const RAM: u64 = 1 << 20;

struct Bench {
    ide: Arc<Mutex<Ide>>,
    disk: Arc<TestBackend>,
    dma: Dma,
    probe: Arc<Probe>,
}

fn drives(disk: &Arc<TestBackend>) -> IdeDrives {
    let identity = || DriveIdentity { serial: "s1".into(), firmware: "1.0".into(), model: "EMU TEST".into() };
    let hard = Drive::disk(disk.clone(), identity(), Cable::Parallel);
    let cdrom = Drive::cdrom(Some(disk.clone()), identity(), Cable::Parallel);
    [[Some(hard), Some(cdrom)], [None, None]]
}

fn ide_wires(probe: &Arc<Probe>) -> (IdeWires, Dma) {
    let (pci, dma, _) = wires(RAM, probe.line(0));
    (IdeWires { pci, irqs: [probe.line(14), probe.line(15)] }, dma)
}

fn bench() -> Bench {
    let (disk, probe) = (TestBackend::new(4096), Probe::new());
    let (wires, dma) = ide_wires(&probe);
    let ide = Ide::new(wires, drives(&disk)).share();
    let bench = Bench { ide, disk, dma, probe };
    bench.configure(pci::reg::COMMAND, 2, command::IO | command::BUS_MASTER);
    bench
}

impl Bench {
    fn configure(&self, offset: usize, size: u8, value: u32) {
        let mut ide = self.ide.lock();
        ide.config_mut().write(offset as u16, size, value);
        ide.config_written(offset as u16, size);
    }

    fn read(&self, offset: u16) -> u8 {
        self.ide.lock().port_read(0, offset, 1).unwrap() as u8
    }

    fn write(&self, offset: u16, value: u8) {
        self.ide.lock().port_write(0, offset, 1, value.into()).unwrap();
    }

    fn alternate_status(&self) -> u8 {
        self.ide.lock().port_read(1, 0, 1).unwrap() as u8
    }

    fn control(&self, value: u8) {
        self.ide.lock().port_write(1, 0, 1, value.into()).unwrap();
    }

    fn bus_master(&self, offset: u16) -> u8 {
        self.ide.lock().port_read(BMIBA, offset, 1).unwrap() as u8
    }

    fn set_bus_master(&self, offset: u16, value: u8) {
        self.ide.lock().port_write(BMIBA, offset, 1, value.into()).unwrap();
    }

    /// A command with a 28-bit address.
    fn command(&self, drive: u8, code: u8, lba: u32, count: u8) {
        let lba = lba.to_le_bytes();
        self.write(6, 0xE0 | drive << 4 | lba[3]);
        for (offset, value) in [(1, 0), (2, count), (3, lba[0]), (4, lba[1]), (5, lba[2]), (7, code)] {
            self.write(offset, value);
        }
    }

    fn read_data(&self, len: usize) -> Vec<u8> {
        (0..len / 2)
            .flat_map(|_| (self.ide.lock().port_read(0, 0, 2).unwrap() as u16).to_le_bytes())
            .collect()
    }

    fn write_data(&self, bytes: &[u8]) {
        for word in bytes.chunks(2) {
            let word = u16::from_le_bytes([word[0], word[1]]);
            self.ide.lock().port_write(0, 0, 2, word.into()).unwrap();
        }
    }

    /// Reads the status as an interrupt handler does; whether there was an interrupt.
    fn interrupt(&self) -> (bool, u8) {
        let level = self.probe.level(14);
        (level, self.read(7))
    }

    fn table(&self, places: &[(u32, u16)]) {
        for (number, (address, len)) in places.iter().enumerate() {
            let last = if number + 1 == places.len() { 1 << 31 } else { 0 };
            let entry = u64::from(*address) | u64::from(u32::from(*len) | last) << 32;
            self.dma.write(TABLE + 8 * number as u64, &entry.to_le_bytes()).unwrap();
        }
        for (offset, byte) in (4..).zip((TABLE as u32).to_le_bytes()) {
            self.set_bus_master(offset, byte);
        }
    }

    fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.dma.read(address, &mut bytes).unwrap();
        bytes
    }

    fn packet(&self, packet: &[u8; 12], limit: u16, dma: bool) {
        let [low, high] = limit.to_le_bytes();
        self.write(6, 0xB0);
        for (offset, value) in [(1, u8::from(dma)), (4, low), (5, high), (7, 0xA0)] {
            self.write(offset, value);
        }
        assert_eq!((self.alternate_status() & 0x88, self.read(2)), (0x08, 1), "a packet is wanted");
        self.write_data(packet);
    }

    /// Lets the unit attention of the reset pass.
    fn attend(&self) {
        self.packet(&[0; 12], 0, false);
        assert_eq!(self.read(1), 0x60);
        self.read(7);
    }
}

fn on_disk(lba: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| pattern(lba * 512 + at)).collect()
}

#[test]
fn drives_are_found_by_their_registers() {
    let bench = bench();
    bench.write(6, 0xA0);
    assert_eq!([1, 2, 3, 4, 5, 7].map(|offset| bench.read(offset)), [1, 1, 1, 0, 0, 0x50]);
    bench.write(6, 0xB0);
    assert_eq!([1, 2, 3, 4, 5, 7].map(|offset| bench.read(offset)), [1, 1, 1, 0x14, 0xEB, 0]);
    // Both drives hear what is written.
    bench.write(2, 0x55);
    bench.write(6, 0xA0);
    assert_eq!(bench.read(2), 0x55);
    assert_eq!(bench.ide.lock().port_read(2, 7, 1), Ok(0x7F), "nobody at the second channel");
}

#[test]
fn ports_are_decoded_while_configuration_space_says_so() {
    let bench = bench();
    bench.configure(0x40, 2, 0);
    assert_eq!(bench.ide.lock().port_read(0, 7, 1), Err(IoError::UnknownRegister));
    assert!(bench.ide.lock().port_read(2, 7, 1).is_ok());
    bench.configure(pci::reg::COMMAND, 2, 0);
    assert_eq!(bench.ide.lock().port_read(2, 7, 1), Err(IoError::UnknownRegister));
}

#[test]
fn each_sector_read_by_pio_has_its_interrupt() {
    let bench = bench();
    bench.command(0, 0x20, 7, 2);
    assert_eq!(bench.alternate_status(), 0xC0);
    bench.disk.answer_all();
    assert_eq!(bench.interrupt(), (true, 0x58));
    assert_eq!(bench.read_data(512), on_disk(7, 512));
    assert_eq!(bench.interrupt(), (true, 0x58));
    assert_eq!(bench.read_data(512), on_disk(8, 512));
    assert_eq!(bench.interrupt(), (false, 0x50), "data is the end");
}

#[test]
fn what_is_at_hand_is_read_before_the_access_is_over() {
    let bench = bench();
    bench.disk.have_at_hand();
    bench.command(0, 0x20, 7, 2);
    for sector in [7, 8] {
        assert_eq!(bench.interrupt(), (true, 0x58));
        assert_eq!(bench.read_data(512), on_disk(sector, 512));
    }
    assert_eq!(bench.interrupt(), (false, 0x50));
    // By the bus master: nothing moves before it is started.
    bench.table(&[(DATA as u32, 1024)]);
    bench.command(0, 0xC8, 3, 2);
    assert_eq!((bench.alternate_status() & 0x80, bench.probe.level(14)), (0x80, false));
    bench.set_bus_master(0, 0x09);
    assert_eq!(bench.bytes(DATA, 1024), on_disk(3, 1024));
    assert_eq!(bench.bus_master(2) & 0b111, 0b100, "not active, and an interrupt");
    assert_eq!(bench.interrupt(), (true, 0x50));
    // A packet of READ (10): four sectors of the disk are one of a CD-ROM.
    bench.attend();
    bench.packet(&[0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0], 2048, false);
    assert_eq!(bench.read_data(2048), on_disk(4, 2048));
    assert_eq!(bench.interrupt(), (true, 0x50));
    assert_eq!(bench.disk.waiting(), 0);
}

#[test]
fn multiple_sectors_make_a_block() {
    let bench = bench();
    bench.command(0, 0xC6, 0, 4);
    assert_eq!(bench.interrupt(), (true, 0x50));
    bench.command(0, 0xC4, 1, 6);
    bench.disk.answer_all();
    assert_eq!(bench.interrupt(), (true, 0x58));
    assert_eq!(bench.read_data(2048), on_disk(1, 2048));
    assert_eq!(bench.interrupt(), (true, 0x58));
    assert_eq!(bench.read_data(1024), on_disk(5, 1024));
    assert_eq!(bench.interrupt(), (false, 0x50));
}

#[test]
fn a_block_written_by_pio_is_stored_before_the_next_is_asked_for() {
    let bench = bench();
    bench.command(0, 0x30, 3, 2);
    assert_eq!(bench.interrupt(), (false, 0x58), "no interrupt for the first");
    bench.write_data(&[1; 512]);
    assert_eq!((bench.alternate_status(), bench.disk.asked()), (0xC0, vec!["write 1536 512".to_owned()]));
    bench.disk.answer_all();
    assert_eq!(bench.interrupt(), (true, 0x58));
    bench.write_data(&[2; 512]);
    bench.disk.answer_all();
    assert_eq!(bench.interrupt(), (true, 0x50));
    assert_eq!(bench.disk.bytes.lock()[1536..2560], [[1; 512], [2; 512]].concat());
}

#[test]
fn extended_commands_use_what_the_registers_held_before() {
    let bench = bench();
    bench.write(6, 0xE0);
    // Sector 0x000000_000102 and 257 sectors: the bytes above come first.
    for (offset, above, below) in [(2, 1, 1), (3, 0, 2), (4, 0, 1), (5, 0, 0)] {
        bench.write(offset, above);
        bench.write(offset, below);
    }
    bench.control(0x80);
    assert_eq!(bench.read(2), 1, "the byte above");
    bench.write(7, 0x24);
    assert_eq!(bench.disk.asked(), [format!("read {} {}", 258 * 512, 128 * 512)]);
    bench.disk.answer_all();
    let mut bytes = Vec::new();
    for _ in 0..257 {
        bytes.extend(bench.read_data(512));
        bench.disk.answer_all();
    }
    assert_eq!(bytes, on_disk(258, 257 * 512));
    assert_eq!(bench.read(7), 0x50);
}

#[test]
fn dma_is_done_when_drive_and_table_are() {
    // A table that ends with the data, and one with room behind it; bits: active, error, interrupt.
    for (places, status) in [(&[(0x4000, 512), (0x6000, 512)][..], 0b100), (&[(0x4000, 2048)][..], 0b101)] {
        let bench = bench();
        bench.table(places);
        bench.command(0, 0xC8, 9, 2);
        assert_eq!(
            (bench.alternate_status(), bench.disk.waiting()),
            (0xC0, 0),
            "the bus master is not started"
        );
        bench.set_bus_master(0, 0b1001);
        assert_eq!((bench.bus_master(2), bench.disk.waiting()), (1, 1));
        bench.disk.answer_all();
        assert_eq!(bench.bus_master(2), status);
        assert_eq!(bench.interrupt(), (true, 0x50));
        assert_eq!(bench.bytes(DATA, 512), on_disk(9, 512));
        bench.set_bus_master(0, 0);
        bench.set_bus_master(2, 0b110);
        assert_eq!(bench.bus_master(2), 0);
    }
}

#[test]
fn a_table_that_makes_no_sense_leaves_the_drive_waiting_for_a_reset() {
    for (places, status) in [(&[(0x4000, 512)][..], 0), (&[(0xF000_0000, 1024)][..], 0b10)] {
        let bench = bench();
        bench.table(places);
        bench.set_bus_master(0, 0b1001);
        bench.command(0, 0xC8, 9, 2);
        assert_eq!((bench.bus_master(2), bench.alternate_status(), bench.disk.waiting()), (status, 0xC0, 0));
        bench.control(4);
        bench.control(0);
        assert_eq!(bench.read(7), 0x50);
    }
}

#[test]
fn dma_writes_and_zero_means_64_kib() {
    let bench = bench();
    bench.dma.write(DATA, &[7; 0x2_0000]).unwrap();
    bench.table(&[(DATA as u32, 0), (DATA as u32, 0)]);
    bench.command(0, 0xCA, 0, 0);
    bench.set_bus_master(0, 1);
    assert_eq!(bench.disk.asked(), ["write 0 131072"]);
    bench.disk.answer_all();
    assert_eq!((bench.bus_master(2), bench.disk.bytes.lock()[131071]), (4, 7));
}

#[test]
fn no_interrupt_while_the_host_masks_it() {
    let bench = bench();
    bench.control(2);
    bench.command(0, 0xE7, 0, 0);
    bench.disk.answer_all();
    assert!(!bench.probe.level(14));
    bench.control(0);
    assert!(bench.probe.level(14), "it was only hidden");
}

#[test]
fn a_reset_lasts_until_memory_is_left_alone() {
    let bench = bench();
    bench.table(&[(DATA as u32, 1024)]);
    bench.command(0, 0xC8, 9, 2);
    bench.set_bus_master(0, 0b1001);
    bench.control(4);
    bench.control(0);
    assert_eq!(bench.alternate_status(), 0x80);
    bench.set_bus_master(0, 0);
    assert_eq!(bench.bus_master(2) & 1, 1, "still at work");
    bench.disk.answer_all();
    assert_eq!((bench.alternate_status(), bench.bus_master(2) & 1), (0x50, 0));
    assert!(!bench.probe.level(14), "the old command is forgotten");
}

#[test]
fn a_packet_device_is_reset_by_a_command() {
    let bench = bench();
    bench.attend();
    bench.packet(&[0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0], 2048, false);
    bench.write(7, 0x08);
    assert_eq!(bench.alternate_status(), 0x80);
    bench.disk.answer_all();
    assert_eq!([1, 2, 4, 5].map(|offset| bench.read(offset)), [1, 1, 0x14, 0xEB]);
    assert_eq!(bench.interrupt(), (false, 0));
    bench.attend();
}

#[test]
fn errors_of_the_host_are_errors_of_the_drive() {
    let bench = bench();
    bench.command(0, 0x20, 7, 1);
    bench.disk.answer(0, Err(BlockError::Host));
    assert_eq!((bench.interrupt(), bench.read(1)), ((true, 0x51), 0x40));
    bench.command(0, 0x20, 4096, 1);
    assert_eq!((bench.interrupt(), bench.read(1)), ((true, 0x51), 0x10));
    bench.command(0, 0xB0, 0, 1);
    assert_eq!((bench.interrupt(), bench.read(1)), ((true, 0x51), 0x04));
}

#[test]
fn packet_data_comes_in_blocks_that_the_host_limits() {
    let bench = bench();
    bench.attend();
    bench.packet(&[0x28, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0], 3000, false);
    bench.disk.answer_all();
    assert_eq!((bench.interrupt(), bench.read(2)), ((true, 0x58), 2));
    assert_eq!(u16::from_le_bytes([bench.read(4), bench.read(5)]), 3000);
    let first = bench.read_data(3000);
    assert_eq!((bench.interrupt(), bench.read(2)), ((true, 0x58), 2));
    assert_eq!(u16::from_le_bytes([bench.read(4), bench.read(5)]), 1096);
    assert_eq!([first, bench.read_data(1096)].concat(), on_disk(4, 4096));
    assert_eq!((bench.interrupt(), bench.read(2)), ((true, 0x50), 3), "status");
}

#[test]
fn packet_data_goes_by_dma_too() {
    let bench = bench();
    bench.attend();
    bench.table(&[(DATA as u32, 2048)]);
    bench.packet(&[0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0], 0, true);
    bench.set_bus_master(0, 0b1001);
    bench.disk.answer_all();
    assert_eq!((bench.interrupt(), bench.bytes(DATA, 2048)), ((true, 0x50), on_disk(4, 2048)));
}

#[test]
fn what_runs_when_it_is_saved_goes_on() {
    let bench = bench();
    bench.command(0, 0x20, 7, 2);
    bench.disk.answer_all();
    bench.read_data(100);
    let state = bench.ide.lock().save();
    let (wires, _) = ide_wires(&bench.probe);
    let copy = Ide::restore((wires, drives(&bench.disk)), state.clone()).unwrap();
    assert_eq!(copy.save(), state);
    let copy = Bench { ide: copy.share(), disk: bench.disk, dma: bench.dma, probe: bench.probe };
    assert_eq!(copy.read_data(412), on_disk(7, 512)[100..]);
    assert_eq!(copy.read_data(512), on_disk(8, 512));
    // A request that was under way is made again.
    copy.command(0, 0xE7, 0, 0);
    let (wires, _) = ide_wires(&copy.probe);
    let state = copy.ide.lock().save();
    let third = Ide::restore((wires, drives(&copy.disk)), state).unwrap().share();
    assert_eq!(copy.disk.asked(), ["flush", "flush"]);
    copy.disk.answer(1, Ok(()));
    assert_eq!((third.lock().port_read(1, 0, 1), copy.alternate_status()), (Ok(0x50), 0xC0));
}

/// One thing that a senseless guest and a slow disk do.
#[derive(Debug, Clone)]
enum Deed {
    Write(u8, u16, u8, u32),
    Read(u8, u16, u8),
    Command(u8, u8, u16, u8),
    Data(u16),
    Answer(u8, bool),
    Table(Vec<(u32, u16)>),
    Config(u8, u16),
    Restore,
}

fn deed() -> impl Strategy<Value = Deed> {
    let size = || prop_oneof![Just(1_u8), Just(2), Just(4)];
    let code =
        prop_oneof![Just(0xC8_u8), Just(0xCA), Just(0x20), Just(0x30), Just(0xA0), Just(0xC5), any::<u8>()];
    let place = (0..RAM as u32 + 0x1000, any::<u16>());
    prop_oneof![
        4 => (0..6_u8, 0..18_u16, size(), any::<u32>()).prop_map(|(a, b, c, d)| Deed::Write(a, b, c, d)),
        4 => (0..6_u8, 0..18_u16, size()).prop_map(|(a, b, c)| Deed::Read(a, b, c)),
        6 => (0..2_u8, code, any::<u16>(), any::<u8>()).prop_map(|(a, b, c, d)| Deed::Command(a, b, c, d)),
        4 => (0..3000_u16).prop_map(Deed::Data),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(index, well)| Deed::Answer(index, well)),
        2 => prop::collection::vec(place, 1..6).prop_map(Deed::Table),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(at, value)| Deed::Config(at, value)),
        1 => Just(Deed::Restore),
    ]
}

fn act(bench: &Bench, deed: Deed) {
    let port = |region, offset, size, value| {
        // A refusal is an answer.
        let _ = match value {
            Some(value) => bench.ide.lock().port_write(region, offset, size, value).map(|()| 0),
            None => bench.ide.lock().port_read(region, offset, size),
        };
    };
    match deed {
        Deed::Write(region, offset, size, value) => port(region, offset, size, Some(value)),
        Deed::Read(region, offset, size) => port(region, offset, size, None),
        Deed::Command(drive, code, lba, count) => {
            let [low, high] = lba.to_le_bytes();
            let registers = [(6, 0xE0 | drive << 4), (2, count), (3, low), (4, high), (5, 0), (7, code)];
            registers.into_iter().for_each(|(offset, value)| port(0, offset, 1, Some(value.into())));
        }
        Deed::Data(words) => {
            for word in 0..words {
                port(0, 0, 2, None);
                port(0, 0, 2, Some(word.into()));
            }
        }
        Deed::Answer(index, well) => {
            let waiting = bench.disk.waiting();
            if waiting != 0 {
                let result = if well { Ok(()) } else { Err(BlockError::Host) };
                bench.disk.answer(usize::from(index) % waiting, result);
            }
        }
        Deed::Table(places) => {
            if bench.ide.lock().port_read(BMIBA, 0, 1).is_ok() {
                bench.table(&places);
                port(BMIBA, 0, 1, Some(0));
                port(BMIBA, 0, 1, Some(9));
            }
        }
        Deed::Config(at, value) => bench.configure(usize::from(at & 0xFE), 2, (value | 5).into()),
        Deed::Restore => {
            let state = bench.ide.lock().save();
            let (wires, _) = ide_wires(&Probe::new());
            Ide::restore((wires, drives(&bench.disk)), state).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn no_guest_and_no_disk_makes_it_panic(deeds in prop::collection::vec(deed(), 1..100)) {
        let bench = bench();
        for deed in deeds {
            act(&bench, deed);
            prop_assert!(bench.disk.waiting() < 10_000);
        }
        // Whatever happened, a drive that is reset and whose backend has answered works.
        bench.disk.answer_all();
        bench.ide.lock().reset();
        bench.configure(pci::reg::COMMAND, 2, 5);
        bench.command(0, 0xEC, 0, 0);
        prop_assert_eq!(bench.read(7), 0x58);
    }
}
