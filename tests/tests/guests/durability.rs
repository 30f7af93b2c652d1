//! What a guest was told is on its disk, is: emu is killed at random moments while a guest writes files and syncs them.
//!
//! `EMU_KILLS` says how often, on each format; a few times if it is not set. The image is looked at with other programs
//! than ours: qemu-img, e2fsck, debugfs.

use crate::{
    PATIENCE, beside_others,
    outside::{done, is_in_order, missing_program, run, told},
};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use rstest::rstest;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};
use xtask::guests::Guest;

/// Kills on each format if nothing else is asked for.
const KILLS: u32 = 3;
/// Bytes of the disk.
const DISK: &str = "64M";
/// Files that are looked at. The guest keeps the hundred before the one it writes, which may be some further than what it
/// could say before the kill.
const LOOKED_AT: u64 = 50;

fn kills() -> u32 {
    match env::var("EMU_KILLS") {
        Ok(number) => number.parse().expect("EMU_KILLS is a number"),
        Err(_) => KILLS,
    }
}

#[rstest]
#[case::raw("raw")]
#[case::qcow2("qcow2")]
#[case::qcow2_on_another("backed")]
fn what_was_synced_outlives_a_kill(#[case] kind: &str) {
    if let Some(missing) = missing_program() {
        return skip(&format!("{missing} is not installed"));
    }
    let Some(guest) = guest_or_skip(Guest::Devices) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let (image, format) = make_disk(folder.path(), kind);
    let mut synced = 0;
    for round in 1..=kills() {
        let before = synced;
        let mut session = Emulator::run()
            .option("--kernel", guest.kernel())
            .option("--initrd", guest.modules_initrd())
            .option("--append", "console=ttyS0,115200 quiet task=durability")
            .option("--disk", format!("{},format={format}", image.display()))
            .start();
        let continued: u64 = session
            .expect_line("emu-guest: continues behind ", PATIENCE)
            .parse()
            .expect("the guest says a number");
        assert!(continued >= synced, "round {round}: the guest finds {continued}, and {synced} was synced");
        // Anything from before the first file to some hundred files later.
        thread::sleep(Duration::from_millis(random() % 1500));
        for line in session.kill().lines() {
            // The kill can have cut off the last one.
            if let Some(number) = line.strip_prefix("emu-guest: synced ")
                && let Ok(number) = number.trim().parse::<u64>()
            {
                synced = synced.max(number);
            }
            assert!(!line.contains("emu-guest: task failed"), "round {round}: the guest gave up");
        }
        check(folder.path(), &image, format, synced);
        eprintln!("{kind}: kill {round}, {} files synced", synced - before);
    }
    assert!(synced > 0, "no file was synced before any of the kills");
}

/// An ext4 file system in an image of its kind: its path and format.
fn make_disk(folder: &Path, kind: &str) -> (PathBuf, &'static str) {
    let raw = folder.join("disk.raw");
    done(Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&raw).arg(DISK));
    let qcow2 = folder.join("disk.qcow2");
    match kind {
        "raw" => return (raw, "raw"),
        "qcow2" => done(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&raw).arg(&qcow2)),
        _ => done(
            Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
                .arg(&raw)
                .arg(&qcow2),
        ),
    };
    (qcow2, "qcow2")
}

/// The image is sound, and so is the file system after its journal has been replayed; all files are there that the guest
/// was told of, up to `synced`, and has not removed.
fn check(folder: &Path, image: &Path, format: &str, synced: u64) {
    if format == "qcow2" {
        check_qcow2(image);
    }
    let copy = folder.join("copy.raw");
    done(Command::new("qemu-img").args(["convert", "-f", format, "-O", "raw"]).arg(image).arg(&copy));
    let replayed = run(Command::new("e2fsck").args(["-f", "-p"]).arg(&copy));
    assert!(matches!(replayed.status.code(), Some(0 | 1)), "{}", told(&replayed));
    is_in_order(&copy);
    for number in (synced + 1).saturating_sub(LOOKED_AT).max(1)..=synced {
        let file =
            done(Command::new("debugfs").args(["-R", &format!("cat /file.{number}")]).arg(&copy)).stdout;
        let expected: Vec<u8> =
            format!("{number}\n").into_bytes().into_iter().cycle().take(len(number)).collect();
        assert!(file == expected, "file {number} of {synced}: {} bytes, not {}", file.len(), expected.len());
    }
}

/// Clusters that nothing leads to are what a kill may leave: a cluster is counted as used before a table leads to it, so
/// that no table ever leads to one that is not. They can be freed, and then the image is clean.
fn check_qcow2(image: &Path) {
    const CLEAN: i32 = 0;
    const LEAKS: i32 = 3;
    let checked = run(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(image));
    match checked.status.code() {
        Some(CLEAN) => {}
        Some(LEAKS) => {
            let repaired =
                Emulator::disk().flag("check").flag("--repair").flag(&image.display().to_string()).output();
            assert!(repaired.status.success(), "{}", told(&repaired));
            done(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(image));
        }
        _ => panic!("the image is damaged: {}", told(&checked)),
    }
}

/// Bytes of the file of that number.
fn len(number: u64) -> usize {
    1000 * (number % 37 + 1) as usize
}

/// The moment of a kill is to be another each time.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
