//! A folder of the host in a stock guest, by 9P.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use std::{fs, os::unix::fs::PermissionsExt};
use xtask::guests::Guest;

#[test]
fn a_guest_reads_and_writes_a_shared_folder() {
    let Some(guest) = guest_or_skip(Guest::Devices) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    fs::create_dir(folder.path().join("given")).unwrap();
    fs::write(folder.path().join("given/file"), &content).unwrap();

    let mut session = Emulator::run()
        .option("--kernel", guest.kernel())
        .option("--initrd", guest.modules_initrd())
        .option("--append", "console=ttyS0,115200 quiet task=share")
        .option("--share", format!("{},tag=work", folder.path().display()))
        .start();
    session.expect("emu-guest: shared", PATIENCE);
    session.finish(0, PATIENCE);

    let made = folder.path().join("made");
    assert!(fs::read(made.join("moved")).unwrap() == content);
    assert_eq!(fs::metadata(made.join("moved")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(made.join("link")).unwrap().to_str(), Some("../../../../etc/passwd"));
    assert!(!made.join("copy").exists());
}
