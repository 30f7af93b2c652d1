//! What a driver sees of the controller: every access here is one that a guest makes.

use super::{
    port::{cmd, interrupt, reg as px, serr},
    *,
};
use crate::{
    pci,
    probe::Probe,
    storage::{
        ata::{Cable, DriveIdentity},
        test_backend::{Messages, TestBackend, pattern, wires},
    },
};
use emu_core::memory::Dma;
use proptest::prelude::*;
use rstest::rstest;

const LIST: u64 = 0x1000;
const RECEIVED: u64 = 0x2000;
const TABLES: u64 = 0x10000;
const DATA: u64 = 0x40000;
const RAM: u64 = 1 << 20;

struct Bench {
    ahci: Arc<Mutex<Ahci>>,
    disk: Arc<TestBackend>,
    dma: Dma,
    messages: Arc<Messages>,
    probe: Arc<Probe>,
}

fn identity() -> DriveIdentity {
    DriveIdentity { serial: "s1".into(), firmware: "1.0".into(), model: "EMU TEST".into() }
}

fn drives(disk: &Arc<TestBackend>) -> Vec<Option<Drive>> {
    vec![
        Some(Drive::disk(disk.clone(), identity(), Cable::Serial)),
        Some(Drive::cdrom(Some(disk.clone()), identity(), Cable::Serial)),
    ]
}

fn bench_of(disk: Arc<TestBackend>) -> Bench {
    let probe = Probe::new();
    let (wires, dma, messages) = wires(RAM, probe.line(0));
    let ahci = Ahci::new(wires, drives(&disk)).share();
    let bench = Bench { ahci, disk, dma, messages, probe };
    bench.configure(pci::reg::COMMAND, 2, command::MEMORY | command::BUS_MASTER);
    for port in 0..2 {
        bench.start(port);
    }
    bench.write(0x04, ghc::AE | ghc::IE);
    bench
}

fn bench() -> Bench {
    bench_of(TestBackend::new(4096))
}

/// A command FIS.
fn fis(code: u8, lba: u64, count: u16) -> [u8; 20] {
    let lba = lba.to_le_bytes();
    let mut fis = [0; 20];
    fis[..8].copy_from_slice(&[0x27, 0x80, code, 0, lba[0], lba[1], lba[2], 0x40]);
    fis[8..11].copy_from_slice(&lba[3..6]);
    fis[12..14].copy_from_slice(&count.to_le_bytes());
    fis
}

/// READ or WRITE FPDMA QUEUED.
fn queued(code: u8, tag: u8, lba: u64, count: u8) -> [u8; 20] {
    let mut fis = fis(code, lba, u16::from(tag) << 3);
    fis[3] = count;
    fis
}

impl Bench {
    fn configure(&self, offset: usize, size: u8, value: u32) {
        let mut ahci = self.ahci.lock();
        ahci.config_mut().write(offset as u16, size, value);
        ahci.config_written(offset as u16, size);
    }

    fn read(&self, offset: u64) -> u32 {
        self.ahci.lock().mmio_read(ABAR, offset, 4).unwrap() as u32
    }

    fn write(&self, offset: u64, value: u32) {
        self.ahci.lock().mmio_write(ABAR, offset, 4, value.into()).unwrap();
    }

    fn port(&self, port: u64, register: u64) -> u32 {
        self.read(0x100 + 0x80 * port + register)
    }

    fn set(&self, port: u64, register: u64, value: u32) {
        self.write(0x100 + 0x80 * port + register, value);
    }

    fn start(&self, port: u64) {
        self.set(port, px::CLB, (LIST + 0x4000 * port) as u32);
        self.set(port, px::FB, (RECEIVED + 0x4000 * port) as u32);
        self.set(port, px::CMD, cmd::FRE);
        self.set(port, px::SERR, u32::MAX);
        self.set(port, px::IS, u32::MAX);
        self.set(port, px::IE, u32::MAX);
        self.set(port, px::CMD, cmd::FRE | cmd::ST);
    }

    /// Puts a command into a slot; `places` are (address, bytes).
    fn prepare(
        &self,
        port: u64,
        slot: u64,
        fis: &[u8; 20],
        packet: Option<&[u8; 12]>,
        places: &[(u64, u32)],
    ) {
        let table = TABLES + 0x400 * (slot + 32 * port);
        let flags = 5 | u32::from(packet.is_some()) << 5 | (places.len() as u32) << 16;
        let header: Vec<u8> =
            [flags, 0, table as u32, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        self.dma.write(LIST + 0x4000 * port + 32 * slot, &header).unwrap();
        self.dma.write(table, fis).unwrap();
        self.dma.write(table + 0x40, packet.unwrap_or(&[0; 12])).unwrap();
        for (number, (address, len)) in places.iter().enumerate() {
            let mut entry = [0; 16];
            entry[..8].copy_from_slice(&address.to_le_bytes());
            entry[12..].copy_from_slice(&(len - 1).to_le_bytes());
            self.dma.write(table + 0x80 + 16 * number as u64, &entry).unwrap();
        }
    }

    fn issue(&self, slot: u64, fis: &[u8; 20], places: &[(u64, u32)]) {
        self.prepare(0, slot, fis, None, places);
        self.set(0, px::CI, 1 << slot);
    }

    fn issue_queued(&self, slot: u64, fis: &[u8; 20], places: &[(u64, u32)]) {
        self.prepare(0, slot, fis, None, places);
        self.set(0, px::SACT, 1 << slot);
        self.set(0, px::CI, 1 << slot);
    }

    fn packet(&self, packet: &[u8; 12], places: &[(u64, u32)]) {
        let mut fis = fis(0xA0, 0, 0);
        fis[3] = 1;
        self.prepare(1, 0, &fis, Some(packet), places);
        self.set(1, px::CI, 1);
    }

    fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.dma.read(address, &mut bytes).unwrap();
        bytes
    }

    fn carried(&self, port: u64, slot: u64) -> u32 {
        u32::from_le_bytes(self.bytes(LIST + 0x4000 * port + 32 * slot + 4, 4).try_into().unwrap())
    }

    /// Clears what a port has reported, as an interrupt handler does.
    fn acknowledge(&self, port: u64) -> u32 {
        let is = self.port(port, px::IS);
        self.set(port, px::IS, is);
        self.write(0x08, 1 << port);
        is
    }

    /// Recovers from an error.
    fn restart(&self, port: u64) {
        self.set(port, px::CMD, cmd::FRE);
        self.set(port, px::SERR, u32::MAX);
        self.acknowledge(port);
        self.set(port, px::CMD, cmd::FRE | cmd::ST);
    }
}

fn on_disk(lba: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| pattern(lba * 512 + at)).collect()
}

#[test]
fn drives_tell_what_they_are_once_their_fis_can_be_received() {
    let disk = TestBackend::new(16);
    let (wires, _, _) = wires(RAM, Probe::new().line(0));
    let ahci = Ahci::new(wires, drives(&disk)).share();
    ahci.lock().config_mut().write(4, 2, 6);
    let read = |offset| ahci.lock().mmio_read(ABAR, offset, 4).unwrap() as u32;
    assert_eq!(read(0x100 + px::SSTS), 0x133);
    assert_eq!((read(0x100 + px::TFD), read(0x100 + px::SIG)), (0x80, u32::MAX), "not received yet");
    for port in [0x100, 0x180, 0x200] {
        ahci.lock().mmio_write(ABAR, port + px::FB, 4, 0x2000).unwrap();
        ahci.lock().mmio_write(ABAR, port + px::CMD, 4, cmd::FRE.into()).unwrap();
    }
    assert_eq!((read(0x100 + px::TFD), read(0x100 + px::SIG)), (0x150, 0x101));
    assert_eq!((read(0x180 + px::TFD), read(0x180 + px::SIG)), (0x100, 0xEB14_0101));
    assert_eq!((read(0x200 + px::TFD), read(0x200 + px::SSTS)), (0x7F, 0), "no drive");
}

#[test]
fn identify_is_data_by_pio_and_ends_with_it() {
    let bench = bench();
    bench.issue(3, &fis(0xEC, 0, 0), &[(DATA, 512)]);
    let words = bench.bytes(DATA, 512);
    assert_eq!(words.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0, "checksum");
    assert_eq!(u32::from_le_bytes(words[120..124].try_into().unwrap()), 4096, "sectors");
    assert_eq!(bench.carried(0, 3), 512);
    assert_eq!(bench.port(0, px::CI), 0);
    let setup = bench.bytes(RECEIVED + 0x20, 20);
    assert_eq!((setup[0], setup[1], setup[15], setup[16..18].to_vec()), (0x5F, 0x60, 0x50, vec![0, 2]));
    assert!(bench.probe.level(0));
    assert_eq!(bench.acknowledge(0), interrupt::PSS);
    assert!(!bench.probe.level(0));
}

#[test]
fn a_read_is_done_when_the_backend_says_so() {
    let bench = bench();
    bench.issue(0, &fis(0x25, 5, 2), &[(DATA, 600), (DATA + 0x1000, 424)]);
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::TFD) & 0x80), (1, 0x80));
    bench.issue(1, &fis(0x25, 9, 1), &[(DATA + 0x2000, 512)]);
    assert_eq!(bench.disk.asked(), ["read 2560 1024"], "one at a time");
    bench.disk.answer_all();
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::TFD)), (0, 0x50));
    assert_eq!([bench.bytes(DATA, 600), bench.bytes(DATA + 0x1000, 424)].concat(), on_disk(5, 1024));
    assert_eq!(bench.bytes(DATA + 0x2000, 512), on_disk(9, 512));
    assert_eq!((bench.carried(0, 0), bench.carried(0, 1)), (1024, 512));
    assert_eq!(bench.acknowledge(0), interrupt::DHRS);
}

#[test]
fn what_is_at_hand_is_read_before_the_access_is_over() {
    let bench = bench();
    bench.disk.have_at_hand();
    bench.issue(0, &fis(0x25, 5, 2), &[(DATA, 600), (DATA + 0x1000, 424)]);
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::TFD)), (0, 0x50));
    assert_eq!([bench.bytes(DATA, 600), bench.bytes(DATA + 0x1000, 424)].concat(), on_disk(5, 1024));
    assert_eq!(bench.carried(0, 0), 1024);
    assert!(bench.probe.level(0));
    assert_eq!(bench.acknowledge(0), interrupt::DHRS);
    // A write is under way; queued reads pass it.
    bench.issue_queued(4, &queued(0x61, 4, 64, 1), &[(DATA, 512)]);
    bench.issue_queued(7, &queued(0x60, 7, 16, 2), &[(DATA + 0x1000, 1024)]);
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::SACT)), (0, 1 << 4));
    assert_eq!(bench.bytes(DATA + 0x1000, 1024), on_disk(16, 1024));
    assert_eq!(bench.acknowledge(0), interrupt::SDBS);
    assert_eq!(bench.disk.asked(), ["write 32768 512"]);
}

#[test]
fn queued_commands_end_in_any_order() {
    let bench = bench();
    bench.issue_queued(4, &queued(0x60, 4, 8, 1), &[(DATA, 512)]);
    bench.issue_queued(7, &queued(0x60, 7, 16, 2), &[(DATA + 0x1000, 1024)]);
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::SACT)), (0, 0x90), "taken, and not done");
    assert_eq!(bench.disk.asked(), ["read 4096 512", "read 8192 1024"]);
    bench.disk.answer(1, Ok(()));
    assert_eq!(bench.port(0, px::SACT), 0x10);
    assert_eq!(bench.bytes(RECEIVED + 0x58, 8), [0xA1, 0x40, 0x50, 0, 0x80, 0, 0, 0]);
    assert_eq!(bench.acknowledge(0), interrupt::SDBS);
    bench.disk.answer(0, Ok(()));
    assert_eq!(bench.port(0, px::SACT), 0);
    assert_eq!(bench.bytes(DATA, 512), on_disk(8, 512));
    assert_eq!(bench.bytes(DATA + 0x1000, 1024), on_disk(16, 1024));
}

#[test]
fn a_failed_queued_command_ends_all_and_is_explained_by_log_10h() {
    let bench = bench();
    bench.issue_queued(1, &queued(0x60, 1, 8, 1), &[(DATA, 512)]);
    bench.issue_queued(2, &queued(0x60, 2, 16, 1), &[(DATA, 512)]);
    bench.disk.answer(1, Err(BlockError::Host));
    assert_eq!(bench.port(0, px::SACT), 0b110, "the host sees what was not done");
    assert_eq!(bench.port(0, px::TFD), 0x4051);
    assert_eq!(bench.port(0, px::IS), interrupt::SDBS | interrupt::TFES);
    // The other request ends late, and nobody hears of it.
    bench.set(0, px::CMD, cmd::FRE);
    assert_eq!(bench.port(0, px::CMD) & cmd::CR, cmd::CR, "memory is still being written");
    bench.disk.answer(0, Ok(()));
    assert_eq!(bench.port(0, px::CMD) & cmd::CR, 0);
    assert_eq!(bench.port(0, px::SACT), 0);
    bench.restart(0);
    // Nothing but the log is answered until it has been read.
    bench.issue(0, &fis(0x25, 5, 1), &[(DATA, 512)]);
    assert_eq!(bench.port(0, px::TFD), 0x0451);
    bench.restart(0);
    bench.issue(0, &fis(0x2F, 0x10, 1), &[(DATA, 512)]);
    let log = bench.bytes(DATA, 512);
    assert_eq!((log[0], log[2], log[3], log[4]), (2, 0x51, 0x40, 16));
    assert_eq!(log.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0, "checksum");
    bench.issue_queued(0, &queued(0x60, 0, 1, 1), &[(DATA, 512)]);
    bench.disk.answer_all();
    assert_eq!((bench.port(0, px::SACT), bench.bytes(DATA, 512)), (0, on_disk(1, 512)));
}

#[test]
fn a_command_that_is_not_queued_ends_those_that_are() {
    let bench = bench();
    bench.issue_queued(1, &queued(0x60, 1, 8, 1), &[(DATA, 512)]);
    bench.issue(0, &fis(0x25, 5, 1), &[(DATA, 512)]);
    assert_eq!((bench.port(0, px::TFD), bench.port(0, px::SACT)), (0x0451, 0b10));
    assert!(bench.port(0, px::IS) & interrupt::TFES != 0);
    bench.disk.answer_all();
    assert_eq!(bench.port(0, px::SACT), 0b10, "too late");
}

#[rstest]
#[case::flush(fis(0xEA, 0, 0), "flush")]
#[case::write(fis(0x35, 3, 1), "write 1536 512")]
#[case::forced_write(fis(0x3D, 3, 1), "write 1536 512 through")]
#[case::verify(fis(0x42, 3, 2), "read 1536 1024")]
fn commands_become_requests(#[case] fis: [u8; 20], #[case] expected: &str) {
    let bench = bench();
    bench.issue(0, &fis, &[(DATA, 512)]);
    assert_eq!(bench.disk.asked(), [expected]);
    bench.disk.answer_all();
    assert_eq!((bench.port(0, px::TFD), bench.port(0, px::CI)), (0x50, 0));
}

#[test]
fn what_is_written_without_a_cache_goes_through_it() {
    let bench = bench();
    let mut off = fis(0xEF, 0, 0);
    off[3] = 0x82;
    bench.issue(0, &off, &[]);
    bench.dma.write(DATA, &[0xAB; 512]).unwrap();
    bench.issue_queued(1, &queued(0x61, 1, 9, 1), &[(DATA, 512)]);
    assert_eq!(bench.disk.asked(), ["write 4608 512 through"]);
    bench.disk.answer_all();
    assert_eq!(bench.disk.bytes.lock()[4608..5120], [0xAB; 512]);
}

#[test]
fn trim_discards_its_ranges() {
    let bench = bench();
    let mut ranges = [0; 512];
    ranges[..8].copy_from_slice(&(8_u64 << 48 | 16).to_le_bytes());
    ranges[8..16].copy_from_slice(&(1_u64 << 48 | 100).to_le_bytes());
    bench.dma.write(DATA, &ranges).unwrap();
    let mut trim = fis(0x06, 0, 1);
    trim[3] = 1;
    bench.issue(0, &trim, &[(DATA, 512)]);
    assert_eq!(bench.disk.asked(), ["discard 8192 4096", "discard 51200 512"]);
    bench.disk.answer(1, Ok(()));
    assert_eq!(bench.port(0, px::CI), 1, "one is left");
    bench.disk.answer(0, Ok(()));
    assert_eq!(bench.port(0, px::CI), 0);
}

#[rstest]
#[case::beyond_the_end(fis(0x25, 4096, 1), 0x1051)]
#[case::across_the_end(fis(0x25, 4095, 2), 0x1051)]
#[case::far_beyond(fis(0x25, (1 << 48) - 1, 0), 0x1051)]
#[case::write_to_what_is_read_only(fis(0x35, 0, 1), 0x0451)]
#[case::unknown(fis(0xB0, 0, 1), 0x0451)]
fn refused_commands_stop_the_port_until_it_is_restarted(#[case] bad: [u8; 20], #[case] tfd: u32) {
    let bench = bench_of(TestBackend::with(4096, |geometry| geometry.read_only = true));
    bench.issue(0, &bad, &[(DATA, 1024)]);
    assert_eq!((bench.port(0, px::TFD), bench.port(0, px::CI)), (tfd, 1));
    assert_eq!(bench.port(0, px::IS), interrupt::TFES | interrupt::DHRS);
    bench.issue(1, &fis(0xEC, 0, 0), &[(DATA, 512)]);
    assert_eq!(bench.port(0, px::CI), 0b11, "stopped");
    bench.restart(0);
    assert_eq!(bench.port(0, px::CI), 0);
    bench.issue(1, &fis(0xEC, 0, 0), &[(DATA, 512)]);
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::TFD)), (0, 0x50));
}

#[test]
fn memory_that_is_not_there_is_a_fatal_error() {
    for setup in [
        |bench: &Bench| bench.set(0, px::CLB, 0xF000_0000),
        |bench: &Bench| bench.set(0, px::CLBU, u32::MAX),
        |bench: &Bench| bench.dma.write(LIST + 8, &[0, 0, 0, 0xF0]).unwrap(),
        |bench: &Bench| bench.prepare(0, 0, &fis(0x25, 0, 2), None, &[(DATA, 512), (RAM - 256, 512)]),
        |bench: &Bench| bench.set(0, px::FB, 0xF000_0000),
    ] {
        let bench = bench();
        bench.prepare(0, 0, &fis(0x25, 0, 2), None, &[(DATA, 1024)]);
        setup(&bench);
        bench.set(0, px::CI, 1);
        bench.disk.answer_all();
        assert!(bench.port(0, px::IS) & interrupt::HBFS != 0);
    }
}

#[test]
fn more_data_than_places_is_an_overflow_and_a_reset_ends_it() {
    let bench = bench();
    bench.issue(0, &fis(0x25, 0, 3), &[(DATA, 512), (DATA, 512)]);
    assert_eq!((bench.port(0, px::IS), bench.disk.waiting()), (interrupt::OFS, 0));
    bench.set(0, px::CMD, cmd::FRE);
    bench.set(0, px::SCTL, 1);
    bench.set(0, px::SCTL, 0);
    assert_eq!(bench.port(0, px::IS) & interrupt::PCS, interrupt::PCS);
    assert_eq!(bench.port(0, px::SERR), serr::DIAG_X | serr::DIAG_N);
    bench.restart(0);
    bench.issue(0, &fis(0xEC, 0, 0), &[(DATA, 512)]);
    assert_eq!(bench.port(0, px::CI), 0);
}

#[test]
fn a_drive_is_busy_after_comreset_until_memory_is_left_alone() {
    let bench = bench();
    bench.issue(0, &fis(0x25, 0, 1), &[(DATA, 512)]);
    bench.set(0, px::CMD, cmd::FRE);
    bench.set(0, px::SCTL, 1);
    assert_eq!((bench.port(0, px::SSTS), bench.port(0, px::TFD)), (0, 0x7F));
    bench.set(0, px::SCTL, 0);
    assert_eq!((bench.port(0, px::SSTS), bench.port(0, px::TFD)), (0x133, 0x80));
    bench.disk.answer(0, Ok(()));
    assert_eq!((bench.port(0, px::TFD), bench.port(0, px::SIG)), (0x150, 0x101));
    assert_eq!(bench.port(0, px::IS) & interrupt::DHRS, 0, "the old command is forgotten");
}

#[test]
fn hba_reset_lasts_as_long_as_its_requests() {
    let bench = bench();
    bench.issue(0, &fis(0x25, 0, 1), &[(DATA, 512)]);
    bench.write(0x04, ghc::HR);
    assert_eq!(bench.read(0x04), ghc::AE | ghc::HR);
    bench.disk.answer(0, Ok(()));
    assert_eq!(bench.read(0x04), ghc::AE);
    assert_eq!((bench.port(0, px::CLB), bench.port(0, px::IE), bench.port(0, px::CI)), (0, 0, 0));
}

#[test]
fn software_reset_ends_with_the_signature() {
    let bench = bench();
    bench.issue(0, &fis(0x25, 0, 1), &[(DATA, 512)]);
    bench.set(0, px::CMD, cmd::FRE);
    bench.disk.answer_all();
    bench.set(0, px::CMD, cmd::FRE | cmd::CLO);
    bench.set(0, px::CMD, cmd::FRE | cmd::ST);
    let mut control = fis(0, 0, 0);
    (control[1], control[15]) = (0, 4);
    bench.prepare(0, 0, &control, None, &[]);
    // Reset, and clear busy upon R_OK.
    bench.dma.write(LIST + 1, &[0b101]).unwrap();
    bench.set(0, px::CI, 1);
    assert_eq!(bench.port(0, px::CI), 0);
    control[15] = 0;
    bench.issue(1, &control, &[]);
    assert_eq!((bench.port(0, px::CI), bench.port(0, px::TFD)), (0, 0x150));
}

#[test]
fn messages_tell_of_what_is_left_too() {
    let bench = bench();
    let capability = (0x40..0x100).step_by(4).find(|at| bench.ahci.lock().config().get(*at, 1) == 5);
    bench.configure(capability.unwrap() + 2, 2, 1);
    bench.issue(0, &fis(0xEC, 0, 0), &[(DATA, 512)]);
    assert_eq!((bench.messages.count(), bench.probe.level(0)), (1, false));
    // Another command ends between the two steps of the interrupt handler.
    bench.set(0, px::IS, u32::MAX);
    bench.issue(1, &fis(0xEA, 0, 0), &[]);
    bench.disk.answer_all();
    bench.write(0x08, 1);
    assert_eq!((bench.messages.count(), bench.read(0x08)), (2, 1));
    bench.acknowledge(0);
    assert_eq!((bench.messages.count(), bench.read(0x08)), (2, 0));
}

#[test]
fn without_bus_mastering_commands_wait() {
    let bench = bench();
    bench.configure(pci::reg::COMMAND, 2, command::MEMORY);
    bench.issue(0, &fis(0xEC, 0, 0), &[(DATA, 512)]);
    assert_eq!(bench.port(0, px::CI), 1);
    bench.configure(pci::reg::COMMAND, 2, command::MEMORY | command::BUS_MASTER);
    assert_eq!(bench.port(0, px::CI), 0);
}

#[test]
fn packets_are_answered_and_explained() {
    let bench = bench();
    // TEST UNIT READY: the host has to hear of the reset first.
    bench.packet(&[0; 12], &[]);
    assert_eq!(bench.port(1, px::TFD), 0x6051);
    assert!(bench.port(1, px::IS) & interrupt::TFES != 0);
    bench.restart(1);
    bench.packet(&[3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0], &[(DATA, 18)]);
    let sense = bench.bytes(DATA, 18);
    assert_eq!((sense[2], sense[12], bench.carried(1, 0)), (6, 0x29, 18));
    // READ 10 of blocks 2 and 3.
    bench.packet(&[0x28, 0, 0, 0, 0, 2, 0, 0, 2, 0, 0, 0], &[(DATA, 4096)]);
    assert_eq!(bench.disk.asked(), ["read 4096 4096"]);
    bench.disk.answer_all();
    assert_eq!((bench.port(1, px::TFD), bench.carried(1, 0)), (0x50, 4096));
    assert_eq!(bench.bytes(DATA, 4096), on_disk(8, 4096));
    bench.packet(&[0x28, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0], &[(DATA, 2048)]);
    bench.disk.answer(0, Err(BlockError::Host));
    assert_eq!(bench.port(1, px::TFD), 0x3051, "medium error");
}

#[test]
fn what_runs_when_it_is_saved_is_done_again() {
    let bench = bench();
    bench.issue(0, &fis(0x25, 5, 1), &[(DATA, 512)]);
    let state = bench.ahci.lock().save();
    let (mut wires, _, _) = wires(RAM, bench.probe.line(0));
    wires.dma = bench.dma.clone();
    let copy = Ahci::restore((wires, drives(&bench.disk)), state.clone()).unwrap();
    assert_eq!(copy.save(), state);
    let copy = copy.share();
    assert_eq!(bench.disk.waiting(), 2);
    bench.disk.answer(1, Ok(()));
    assert_eq!(copy.lock().mmio_read(ABAR, 0x100 + px::CI, 4), Ok(0));
    assert_eq!(bench.port(0, px::CI), 1, "the first one has heard nothing");
    assert_eq!(bench.bytes(DATA, 512), on_disk(5, 512));
}

#[test]
fn saved_queued_commands_go_on() {
    let bench = bench();
    bench.issue_queued(3, &queued(0x60, 3, 8, 1), &[(DATA, 512)]);
    let state = bench.ahci.lock().save();
    let (mut wires, _, _) = wires(RAM, bench.probe.line(0));
    wires.dma = bench.dma.clone();
    let copy = Ahci::restore((wires, drives(&bench.disk)), state).unwrap().share();
    let sact = || copy.lock().mmio_read(ABAR, 0x100 + px::SACT, 4).unwrap();
    assert_eq!(sact(), 8);
    bench.disk.answer(1, Ok(()));
    assert_eq!(sact(), 0);
}

/// One thing that a senseless guest and a slow disk do.
#[derive(Debug, Clone)]
enum Deed {
    Register(u64, u32),
    Port(u8, u8, u32),
    Issue { slot: u8, code: u8, lba: u16, count: u16, flags: u32, places: Vec<(u64, u32)> },
    Answer(u8, bool),
    Memory(u16, u64),
    Config(u8, u16),
    Restore,
}

fn deed() -> impl Strategy<Value = Deed> {
    let places = prop::collection::vec((0..RAM + 0x10000, 1..0x2000_u32), 0..5);
    let code =
        prop_oneof![3 => Just(0x60_u8), 1 => Just(0x61), 1 => Just(0x25), 1 => Just(0xA0), 2 => any::<u8>()];
    prop_oneof![
        2 => (any::<u64>(), any::<u32>()).prop_map(|(at, value)| Deed::Register(at % 0x400, value)),
        3 => (any::<u8>(), any::<u8>(), any::<u32>()).prop_map(|(a, b, c)| Deed::Port(a, b, c)),
        6 => (0..4_u8, code, any::<u16>(), 0..300_u16, any::<u32>(), places).prop_map(
            |(slot, code, lba, count, flags, places)| Deed::Issue { slot, code, lba, count, flags, places }
        ),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(index, well)| Deed::Answer(index, well)),
        1 => (any::<u16>(), any::<u64>()).prop_map(|(at, value)| Deed::Memory(at, value)),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(at, value)| Deed::Config(at, value)),
        1 => Just(Deed::Restore),
    ]
}

fn act(bench: &Bench, deed: Deed) {
    match deed {
        Deed::Register(offset, value) => {
            let mut ahci = bench.ahci.lock();
            // A refusal is an answer.
            let _ = ahci.mmio_write(ABAR, offset, 4, value.into());
            let _ = ahci.mmio_read(ABAR, offset, 4);
        }
        Deed::Port(port, register, value) => {
            let offset = 0x100 + 0x80 * u64::from(port % 2) + 4 * u64::from(register % 18);
            let _ = bench.ahci.lock().mmio_write(ABAR, offset, 4, value.into());
        }
        Deed::Issue { slot, code, lba, count, flags, places } => {
            let port = u64::from(flags >> 8 & 1);
            let mut fis = fis(code, lba.into(), count);
            if flags & 1 != 0 {
                fis = queued(code, slot, lba.into(), count as u8);
            }
            bench.prepare(port, slot.into(), &fis, Some(&[flags as u8; 12]), &places);
            if flags & 6 == 6 {
                bench.start(port);
            }
            bench.set(port, px::SACT, (flags & 1) << slot);
            bench.set(port, px::CI, 1 << slot);
        }
        Deed::Answer(index, well) => {
            let waiting = bench.disk.waiting();
            if waiting != 0 {
                let result = if well { Ok(()) } else { Err(BlockError::Host) };
                bench.disk.answer(usize::from(index) % waiting, result);
            }
        }
        Deed::Memory(at, value) => bench.dma.write(u64::from(at), &value.to_le_bytes()).unwrap(),
        Deed::Config(at, value) => bench.configure(usize::from(at & 0xFE), 2, value.into()),
        Deed::Restore => {
            let state = bench.ahci.lock().save();
            let (wires, _, _) = wires(RAM, bench.probe.line(1));
            Ahci::restore((wires, drives(&bench.disk)), state).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn no_guest_and_no_disk_makes_it_panic(deeds in prop::collection::vec(deed(), 1..120)) {
        let bench = bench_of(TestBackend::new(1 << 16));
        for deed in deeds {
            act(&bench, deed);
            // Requests that a driver could never have are not kept.
            prop_assert!(bench.disk.waiting() < 10_000);
        }
        // Whatever happened, a controller that is reset and whose disk has answered works.
        bench.disk.answer_all();
        bench.ahci.lock().reset();
        bench.configure(pci::reg::COMMAND, 2, 6);
        bench.start(0);
        bench.issue(0, &fis(0xEC, 0, 0), &[(DATA, 512)]);
        prop_assert_eq!(bench.port(0, px::CI), 0);
    }
}
