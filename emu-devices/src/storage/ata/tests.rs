//! What a disk answers, without any controller.

use super::*;
use crate::storage::test_backend::TestBackend;
use rstest::rstest;

fn disk_of(backend: Arc<TestBackend>, cable: Cable) -> Drive {
    let identity = DriveIdentity { serial: "abc".into(), firmware: "1.0".into(), model: "EMU TEST".into() };
    Drive::disk(backend, identity, cable)
}

fn disk() -> Drive {
    disk_of(TestBackend::new(20_000), Cable::Serial)
}

fn short(command: u8, lba: [u8; 3], device: u8, count: u16) -> Taskfile {
    let [low, mid, high] = lba;
    Taskfile { command, feature: 0, count, lba: [low, mid, high, 0, 0, 0], device }
}

fn ending(drive: &mut Drive, taskfile: &Taskfile) -> Ending {
    match drive.command(taskfile).action {
        Action::End(ending) => ending,
        action => panic!("{action:?}"),
    }
}

fn words(drive: &mut Drive) -> Vec<u16> {
    match drive.command(&short(command::IDENTIFY_DEVICE, [0; 3], 0, 0)).action {
        Action::Send(bytes) => bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
        action => panic!("{action:?}"),
    }
}

#[rstest]
#[case::lba(0x20, [0x34, 0x12, 0], 0x40, 1, 0x1234, 1)]
#[case::zero_is_256(0x20, [0, 0, 0], 0x40, 0, 0, 256)]
#[case::what_was_before_does_not_count(0xC8, [9, 0, 0], 0x40, 0xFF02, 9, 2)]
#[case::first_sector(0x20, [1, 0, 0], 0, 1, 0, 1)]
#[case::chs(0x20, [7, 2, 0], 3, 1, (2 * 16 + 3) * 63 + 6, 1)]
fn short_addresses(
    #[case] command: u8,
    #[case] lba: [u8; 3],
    #[case] device: u8,
    #[case] count: u16,
    #[case] first: u64,
    #[case] sectors: usize,
) {
    match disk().command(&short(command, lba, device, count)).action {
        Action::Read { offset, len } => assert_eq!((offset / 512, len / 512), (first, sectors)),
        action => panic!("{action:?}"),
    }
}

#[rstest]
#[case::sector_zero([0, 0, 0], 0)]
#[case::sector_64([64, 0, 0], 0)]
#[case::far_cylinder([1, 0xFF, 0xFF], 0)]
#[case::far_lba([0xFF, 0xFF, 0xFF], 0x4F)]
fn addresses_beyond_the_disk_are_not_found(#[case] lba: [u8; 3], #[case] device: u8) {
    let ending = ending(&mut disk(), &short(0x20, lba, device, 1));
    assert_eq!((ending.status, ending.error), (0x51, error::IDNF));
}

#[test]
fn the_host_chooses_the_translation() {
    let mut drive = disk();
    assert_eq!(ending(&mut drive, &short(0x91, [0; 3], 3, 17)).status, 0x50);
    assert_eq!(words(&mut drive)[54..57], [20_000 / (4 * 17), 4, 17]);
    match drive.command(&short(0x20, [2, 1, 0], 1, 1)).action {
        Action::Read { offset, .. } => assert_eq!(offset / 512, (4 + 1) * 17 + 1),
        action => panic!("{action:?}"),
    }
    assert_eq!(ending(&mut drive, &short(0x91, [0; 3], 3, 0)).error, error::ABRT);
}

#[test]
fn identify_tells_size_queue_and_features() {
    let words = words(&mut disk());
    assert_eq!((words[0], words[60], words[100]), (0x40, 20_000, 20_000));
    assert_eq!(words[10..12], [u16::from_be_bytes(*b"ab"), u16::from_be_bytes(*b"c ")]);
    assert_eq!((words[75], words[76] & 1 << 8), (31, 1 << 8), "queued commands");
    assert_eq!(words[106], 0x6003, "physical sectors of 4 KiB");
    assert_eq!((words[169], words[85] & 1 << 5), (1, 1 << 5), "trim, write cache");
    let parallel = self::words(&mut disk_of(TestBackend::new(64), Cable::Parallel));
    assert_eq!((parallel[76], parallel[93] & 1 << 13), (0, 1 << 13), "80 conductors");
}

#[rstest]
#[case::no_cache(0x82, 0, |words: &[u16]| words[85] & 1 << 5 == 0)]
#[case::no_look_ahead(0x55, 0, |words: &[u16]| words[85] & 1 << 6 == 0)]
#[case::ultra_dma_2(0x03, 0x42, |words: &[u16]| words[88] == 0x043F && words[63] == 7)]
#[case::multiword_dma_1(0x03, 0x21, |words: &[u16]| words[88] == 0x3F && words[63] == 0x0207)]
fn features_that_are_set_are_told(
    #[case] feature: u16,
    #[case] count: u16,
    #[case] told: fn(&[u16]) -> bool,
) {
    let mut drive = disk();
    assert!(!told(&words(&mut drive)));
    let taskfile = Taskfile { feature, ..short(command::SET_FEATURES, [0; 3], 0, count) };
    assert_eq!(ending(&mut drive, &taskfile).status, 0x50);
    assert!(told(&words(&mut drive)));
    drive.hard_reset();
    assert!(!told(&words(&mut drive)), "power-on settings");
}

#[rstest]
#[case::no_such_mode(short(0xEF, [0; 3], 0, 0x47), 3)]
#[case::no_such_feature(short(0xEF, [0; 3], 0, 0), 0x42)]
#[case::multiple_of_three(short(0xC6, [0; 3], 0, 3), 0)]
#[case::too_many(short(0xC6, [0; 3], 0, 32), 0)]
#[case::nop(short(0x00, [0; 3], 0, 0), 0)]
#[case::packet(short(0xA0, [0; 3], 0, 0), 0)]
#[case::device_reset(short(0x08, [0; 3], 0, 0), 0)]
#[case::smart(short(0xB0, [0, 0x4F, 0xC2], 0, 0), 0xD0)]
#[case::log(Taskfile { lba: [0x30, 0, 0, 0, 0, 0], ..short(0x2F, [0; 3], 0, 1) }, 0)]
#[case::two_log_pages(Taskfile { lba: [0x10, 0, 0, 0, 0, 0], ..short(0x2F, [0; 3], 0, 2) }, 0)]
fn what_the_disk_does_not_have_is_aborted(#[case] taskfile: Taskfile, #[case] feature: u16) {
    let ending = ending(&mut disk(), &Taskfile { feature, ..taskfile });
    assert_eq!((ending.status, ending.error), (0x51, error::ABRT));
}

#[test]
fn a_parallel_disk_takes_no_queued_commands() {
    let mut drive = disk_of(TestBackend::new(64), Cable::Parallel);
    let plan = drive.command(&Taskfile { feature: 1, ..short(0x60, [0; 3], 0x40, 0) });
    assert_eq!(plan.transfer, Transfer::Pio { block: 0 });
    assert!(matches!(plan.action, Action::End(ending) if ending.error == error::ABRT));
}

#[test]
fn power_modes_and_the_last_sector_can_be_asked() {
    let mut drive = disk();
    assert_eq!(ending(&mut drive, &short(0xE5, [0; 3], 0, 0)).count, 0xFF);
    ending(&mut drive, &short(0xE1, [0; 3], 0, 0));
    assert_eq!(ending(&mut drive, &short(0xE5, [0; 3], 0, 0)).count, 0x80);
    let last = ending(&mut drive, &short(0xF8, [0; 3], 0x40, 0));
    assert_eq!(last.lba[..2], 19_999_u16.to_le_bytes());
    assert_eq!(ending(&mut drive, &short(0x27, [0; 3], 0x40, 0)).lba[..2], 19_999_u16.to_le_bytes());
}

#[rstest]
#[case::read(0x25, BlockError::Host, error::UNC)]
#[case::write(0x35, BlockError::Host, error::ABRT)]
#[case::flush(0xE7, BlockError::Host, error::ABRT)]
#[case::beyond(0x25, BlockError::Range, error::IDNF)]
#[case::read_only(0xCA, BlockError::ReadOnly, error::ABRT)]
fn what_fails_in_the_host_is_an_error_of_its_kind(
    #[case] command: u8,
    #[case] failure: BlockError,
    #[case] bits: u8,
) {
    let ending = disk().finish(&short(command, [5, 0, 0], 0x40, 1), Err(failure));
    assert_eq!((ending.status, ending.error, ending.lba[0]), (0x51, bits, 5));
}

#[test]
fn trim_beyond_the_end_discards_nothing() {
    let mut drive = disk();
    let mut ranges = [0; 512];
    ranges[..8].copy_from_slice(&(1_u64 << 48 | 5).to_le_bytes());
    ranges[8..16].copy_from_slice(&(2_u64 << 48 | 19_999).to_le_bytes());
    let action = drive.received(&short(0x06, [0; 3], 0x40, 1), &ranges);
    assert!(matches!(action, Action::End(ending) if ending.is_failure()));
}

#[test]
fn settings_survive_being_saved() {
    let mut drive = disk();
    ending(&mut drive, &short(0x91, [0; 3], 3, 17));
    ending(&mut drive, &short(0xC6, [0; 3], 0, 2));
    let state = drive.save();
    let mut copy = disk().with_state(state.clone()).unwrap();
    assert_eq!((copy.save(), words(&mut copy)), (state.clone(), words(&mut drive)));
    let cdrom = Drive::cdrom(
        None,
        DriveIdentity { serial: String::new(), firmware: String::new(), model: String::new() },
        Cable::Serial,
    );
    assert!(cdrom.with_state(state).is_err());
}
