//! What a CD-ROM drive answers to packets.

use super::*;
use crate::storage::{ata::Drive, test_backend::TestBackend};
use rstest::rstest;

fn cdrom(medium: Option<Arc<TestBackend>>) -> Cdrom {
    let identity =
        DriveIdentity { serial: "abc".into(), firmware: "1.0".into(), model: "EMU DVD-ROM".into() };
    let mut cdrom = Cdrom::new(medium.map(|medium| medium as Arc<dyn BlockBackend>), identity, Cable::Serial);
    // The unit attention of power-on.
    assert_eq!(sense(&mut cdrom), (6, 0x29, 0));
    cdrom
}

/// A drive with a medium of 1000 blocks.
fn loaded() -> Cdrom {
    cdrom(Some(TestBackend::new(4000)))
}

/// Why the packet failed; zero if it did not.
fn sense(cdrom: &mut Cdrom) -> (u8, u8, u8) {
    let bytes = data(cdrom, &[3, 0, 0, 0, 18]);
    (bytes[2], bytes[12], bytes[13])
}

fn send(cdrom: &mut Cdrom, packet: &[u8]) -> Action {
    let mut whole = [0; 12];
    whole[..packet.len()].copy_from_slice(packet);
    cdrom.packet(&whole)
}

fn data(cdrom: &mut Cdrom, packet: &[u8]) -> Vec<u8> {
    match send(cdrom, packet) {
        Action::Send(bytes) => bytes,
        action => panic!("{action:?}"),
    }
}

/// The sense of a packet that carries nothing, or fails.
fn result(cdrom: &mut Cdrom, packet: &[u8]) -> (u8, u8, u8) {
    match send(cdrom, packet) {
        Action::End(ending) if ending.is_failure() => {
            let sense = sense(cdrom);
            assert_eq!(ending.error >> 4, sense.0, "the key is in the error register");
            sense
        }
        Action::End(_) => (0, 0, 0),
        action => panic!("{action:?}"),
    }
}

const READY: [u8; 1] = [0];
const GOOD: (u8, u8, u8) = (0, 0, 0);

#[test]
fn inquiry_and_capacity() {
    let mut cdrom = loaded();
    let inquiry = data(&mut cdrom, &[0x12, 0, 0, 0, 36]);
    assert_eq!((inquiry.len(), inquiry[0], inquiry[1]), (36, 5, 0x80));
    assert_eq!(&inquiry[8..36], b"EMU     DVD-ROM         1.0 ");
    assert_eq!(data(&mut cdrom, &[0x12, 0, 0, 0, 5]).len(), 5, "as much as there is room");
    assert_eq!(data(&mut cdrom, &[0x25]), [0, 0, 3, 0xE7, 0, 0, 8, 0]);
}

#[rstest]
#[case::read_10(&[0x28, 0, 0, 0, 3, 0xE7, 0, 0, 1], 999, 1)]
#[case::read_12(&[0xA8, 0, 0, 0, 0, 5, 0, 0, 0, 3], 5, 3)]
#[case::read_cd(&[0xBE, 0, 0, 0, 0, 5, 0, 0, 4, 0x10], 5, 4)]
fn blocks_are_read(#[case] packet: &[u8], #[case] first: u64, #[case] count: usize) {
    match send(&mut loaded(), packet) {
        Action::Read { offset, len } => assert_eq!((offset / BLOCK, len), (first, count * 2048)),
        action => panic!("{action:?}"),
    }
}

#[rstest]
#[case::beyond(&[0x28, 0, 0, 0, 3, 0xE7, 0, 0, 2], (5, 0x21, 0))]
#[case::far_beyond(&[0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2], (5, 0x21, 0))]
#[case::far_too_many(&[0xA8, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], (5, 0x24, 0))]
#[case::raw_sectors(&[0xBE, 0, 0, 0, 0, 5, 0, 0, 4, 0xF8], (5, 0x24, 0))]
#[case::nothing(&[0x28, 0, 0, 0, 0, 0, 0, 0, 0], GOOD)]
#[case::unknown(&[0xFF], (5, 0x20, 0))]
#[case::write(&[0x2A, 0, 0, 0, 0, 0, 0, 0, 1], (5, 0x20, 0))]
#[case::unknown_page(&[0x5A, 0, 0x0E, 0, 0, 0, 0, 0, 99], (5, 0x24, 0))]
#[case::saved_page(&[0x5A, 0, 0xEA, 0, 0, 0, 0, 0, 99], (5, 0x39, 0))]
#[case::unknown_toc(&[0x43, 0, 5, 0, 0, 0, 0, 0, 99], (5, 0x24, 0))]
#[case::product_data(&[0x12, 1, 0x80, 0, 99], (5, 0x24, 0))]
fn what_makes_no_sense_has_its_sense(#[case] packet: &[u8], #[case] expected: (u8, u8, u8)) {
    assert_eq!(result(&mut loaded(), packet), expected);
}

#[test]
fn contents_in_blocks_and_in_minutes() {
    let mut cdrom = loaded();
    let toc = data(&mut cdrom, &[0x43, 0, 0, 0, 0, 0, 0, 0, 99]);
    assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 3, 0xE8]);
    let toc = data(&mut cdrom, &[0x43, 2, 0, 0, 0, 0, 0xAA, 0, 99]);
    // 1150 frames are 15 seconds and 25 frames.
    assert_eq!(toc[4..], [0, 0x14, 0xAA, 0, 0, 0, 15, 25]);
    assert_eq!(data(&mut cdrom, &[0x43, 0, 1, 0, 0, 0, 0, 0, 99]).len(), 12);
    assert_eq!(data(&mut cdrom, &[0x43, 2, 2, 0, 0, 0, 0, 0, 99]).len(), 4 + 4 * 11);
}

#[test]
fn an_empty_drive_says_so() {
    let mut cdrom = cdrom(None);
    for packet in [&READY[..], &[0x25], &[0x28, 0, 0, 0, 0, 0, 0, 0, 1], &[0x43, 0, 0, 0, 0, 0, 0, 0, 99]] {
        assert_eq!(result(&mut cdrom, packet), (2, 0x3A, 1));
    }
    let configuration = data(&mut cdrom, &[0x46, 0, 0, 0, 0, 0, 0, 0, 8]);
    assert_eq!(configuration[6..], [0, 0], "no profile");
}

#[test]
fn a_changed_medium_is_told_once_in_each_way() {
    let mut cdrom = loaded();
    assert_eq!(result(&mut cdrom, &READY), GOOD);
    cdrom.change_medium(Some(TestBackend::new(8)));
    let event = [0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8];
    assert_eq!(data(&mut cdrom, &event), [0, 6, 4, 0x10, 2, 2, 0, 0], "new medium");
    assert_eq!(data(&mut cdrom, &event)[4], 0);
    assert_eq!(result(&mut cdrom, &READY), (6, 0x28, 0));
    assert_eq!(result(&mut cdrom, &READY), GOOD);
    assert_eq!(data(&mut cdrom, &[0x25])[3], 1);
    cdrom.change_medium(None);
    assert_eq!(data(&mut cdrom, &event)[4..6], [3, 0], "removed");
}

#[test]
fn the_guest_prevents_removal() {
    let mut cdrom = loaded();
    let (prevent, allow, eject, load) =
        ([0x1E, 0, 0, 0, 1], [0x1E, 0, 0, 0, 0], [0x1B, 0, 0, 0, 2], [0x1B, 0, 0, 0, 3]);
    assert_eq!(result(&mut cdrom, &prevent), GOOD);
    assert_eq!(result(&mut cdrom, &eject), (5, 0x53, 2));
    cdrom.press_eject();
    let event = data(&mut cdrom, &[0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]);
    assert_eq!(event[4..6], [1, 2], "asked for, and still there");
    assert_eq!(result(&mut cdrom, &allow), GOOD);
    assert_eq!(result(&mut cdrom, &eject), GOOD);
    assert_eq!(result(&mut cdrom, &READY), (2, 0x3A, 2), "open");
    assert_eq!(result(&mut cdrom, &load), GOOD);
    assert_eq!(result(&mut cdrom, &READY), (6, 0x28, 0));
    assert_eq!(result(&mut cdrom, &READY), GOOD);
}

#[test]
fn lengths_in_answers_are_those_of_the_answers() {
    let mut cdrom = loaded();
    let mode = data(&mut cdrom, &[0x5A, 0, 0x3F, 0, 0, 0, 0, 1, 0]);
    assert_eq!(usize::from(u16::from_be_bytes([mode[0], mode[1]])) + 2, mode.len());
    assert_eq!(data(&mut cdrom, &[0x5A, 0, 0x2A, 0, 0, 0, 0, 1, 0])[8..10], [0x2A, 20]);
    let configuration = data(&mut cdrom, &[0x46, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(usize::from(configuration[3]) + 4, configuration.len());
    assert_eq!(configuration[7], 8, "a CD");
    let mut at = 8;
    while at < configuration.len() {
        at += 4 + usize::from(configuration[at + 3]);
    }
    assert_eq!(at, configuration.len());
    assert_eq!(data(&mut cdrom, &[0x51, 0, 0, 0, 0, 0, 0, 0, 99]).len(), 34);
    assert_eq!(data(&mut cdrom, &[0x52, 1, 0, 0, 0, 1, 0, 0, 99]).len(), 36);
}

#[test]
fn host_errors_are_medium_errors() {
    let mut cdrom = loaded();
    assert_eq!(cdrom.finish(Err(BlockError::Host)).error, 0x30);
    assert_eq!(sense(&mut cdrom), (3, 0x11, 0));
    assert_eq!(sense(&mut cdrom), GOOD, "told once");
}

#[test]
fn identify_device_is_aborted_with_the_signature() {
    let mut drive = Drive::Cdrom(loaded());
    let taskfile = Taskfile { command: command::IDENTIFY_DEVICE, ..Taskfile::default() };
    match drive.command(&taskfile).action {
        Action::End(ending) => assert_eq!((ending.error, ending.lba[1..3].to_vec()), (4, vec![0x14, 0xEB])),
        action => panic!("{action:?}"),
    }
    match drive.command(&Taskfile { command: command::IDENTIFY_PACKET_DEVICE, ..taskfile }).action {
        Action::Send(bytes) => assert_eq!(bytes[..2], [0xC0, 0x85]),
        action => panic!("{action:?}"),
    }
}
