//! A host file system that is full pauses the guest, which neither loses a write nor sees time pass.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};
use xtask::guests::{Guest, task};

/// How long the host's disk stays full.
const FULL: Duration = Duration::from_secs(6);
/// The longest that the guest's clock may seem to leap, in hundredths of a second: a busy host makes a guest wait too.
const LONGEST_LEAP: u64 = 300;

/// Fills a disk past the host's cache of the guest, compares what is on it with what was written, and tells how far
/// the clock has leapt at most between two looks at it.
const SCRIPT: &str = r#"
(
    last=0 leap=0
    while [ ! -e /tmp/written ]; do
        read up idle < /proc/uptime
        now=${up%.*}${up#*.}
        [ $last != 0 ] && [ $((now - last)) -gt $leap ] && leap=$((now - last))
        last=$now
        sleep 0.05
    done
    echo "emu-guest: leap $leap"
) &
head -c 50331648 /dev/urandom > /tmp/data
echo "emu-guest: writes"
dd if=/tmp/data of=/dev/vdc bs=1M oflag=direct status=none && touch /tmp/written
wait
echo 3 > /proc/sys/vm/drop_caches
cmp -n 50331648 /tmp/data /dev/vdc && echo "emu-guest: all of it is there"
"#;

/// A file system of 64 MiB in memory, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// Mounts it; or says why that cannot be done here.
    fn mount(at: &Path) -> Result<Small, String> {
        fs::create_dir(at).map_err(|error| error.to_string())?;
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "none"]).arg(at).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Small(at.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It may still be busy for a moment.
        let _late = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A guest that writes 48 MiB to an image where there is room for a part of them, not started yet; and that place. Nothing,
/// after saying why, where it cannot be had.
fn writer(folder: &Path) -> Option<(Emulator, Small)> {
    let guest = guest_or_skip(Guest::Debian)?;
    let small = match Small::mount(&folder.join("small")) {
        Ok(small) => small,
        Err(reason) => {
            skip(&format!("a tmpfs cannot be mounted: {reason}"));
            return None;
        }
    };
    let script = folder.join("script.raw");
    task::write_disk(&script, SCRIPT, &[]).unwrap();
    let image = small.0.join("disk.raw");
    File::create(&image).unwrap().set_len(48 << 20).unwrap();
    fs::write(small.0.join("ballast"), vec![1; 40 << 20]).unwrap();
    let disk = format!("{},format=raw", image.display());
    Some((Emulator::debian_task(&guest, &script).option("--disk", disk), small))
}

#[test]
fn a_full_host_disk_pauses_the_guest_which_then_goes_on_and_saw_no_time_pass() {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let Some((guest, small)) = writer(folder.path()) else { return };
    let mut session = guest.start();

    session.expect("emu-guest: writes", PATIENCE);
    let line = session.expect_line("disk.raw: no room on ", PATIENCE);
    let place = format!("{} (tmpfs, ", small.0.display());
    assert!(
        line.starts_with(&place) && line.ends_with(" free): the machine is paused until there is some"),
        "{line}"
    );
    thread::sleep(FULL);
    session.refuse("emu-guest: leap");
    fs::remove_file(small.0.join("ballast")).unwrap();
    let line = session.expect_line("disk.raw: there is room again on ", PATIENCE);
    assert!(line.ends_with("the machine goes on"), "{line}");
    let leap: u64 =
        session.expect_line("emu-guest: leap ", PATIENCE).parse().expect("the guest says a number");
    assert!(leap < LONGEST_LEAP, "the guest's clock leapt {leap} hundredths of a second");
    session.expect("emu-guest: all of it is there", PATIENCE);
    session.finish(0, PATIENCE);
}

#[test]
fn a_guest_that_waits_for_room_can_be_ended_by_its_user() {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let Some((guest, _small)) = writer(folder.path()) else { return };
    let mut session = guest.start_on_terminal();

    session.expect("the machine is paused until there is some", PATIENCE);
    session.send("\x01x");
    let said = session.finish(0, PATIENCE);
    assert!(!said.contains("there is room again"), "{said}");
}
