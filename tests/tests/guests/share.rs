//! A folder of the host in a stock guest, by 9P.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use std::{fs, os::unix::fs::PermissionsExt};
use xtask::guests::{Guest, task};

/// Copies a tree of the shared folder within it, and makes, changes and removes files.
const SCRIPT: &str = "
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 work /mnt
mkdir /mnt/made
cp -r /mnt/given /mnt/made/copy
ln -s ../../../../etc/passwd /mnt/made/link
chmod 640 /mnt/made/copy/file
mv /mnt/made/copy/file /mnt/made/moved
rm -r /mnt/made/copy
umount /mnt && echo emu-guest: shared
";

#[test]
fn a_guest_reads_and_writes_a_shared_folder() {
    let Some(guest) = guest_or_skip(Guest::Debian) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    fs::create_dir_all(shared.join("given")).unwrap();
    fs::write(shared.join("given/file"), &content).unwrap();
    let script = folder.path().join("script.raw");
    task::write_disk(&script, SCRIPT, &[]).unwrap();

    let mut session = Emulator::debian_task(&guest, &script)
        .option("--share", format!("{},tag=work", shared.display()))
        .start();
    session.expect("emu-guest: shared", PATIENCE);
    session.finish(0, PATIENCE);

    let made = shared.join("made");
    assert!(fs::read(made.join("moved")).unwrap() == content);
    assert_eq!(fs::metadata(made.join("moved")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(made.join("link")).unwrap().to_str(), Some("../../../../etc/passwd"));
    assert!(!made.join("copy").exists());
}
