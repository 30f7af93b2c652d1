//! A Debian system on a disk image: `emu demo --debian`, `cargo xtask guests debian`.
//!
//! mmdebstrap installs Debian's packages into a folder of its own, without root where the host lets it; mke2fs makes an
//! ext4 file system of the result. Kernel and initial ramdisk are the ones installed in it. Nothing in the system is
//! made for emu but its configuration: `customize.sh` says all of it.

use super::{GuestError, Progress, at};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Memory that is plenty for the guest.
pub const MEMORY: u64 = 1 << 30;
/// Label of the root file system.
pub const LABEL: &str = "emu-debian";

const SUITE: &str = "bookworm";
/// What is installed beside the essential packages.
const PACKAGES: &str = "systemd-sysv,udev,dbus,linux-image-amd64,initramfs-tools,zstd,openssh-server,iproute2,\
    iputils-ping,pciutils,kmod,less,curl,fio,iperf3,e2fsprogs";
/// What of the packages is left out: documentation, and drivers of what no machine here has.
const EXCLUDED: [&str; 12] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/lib/modules/*/kernel/sound/*",
    "/lib/modules/*/kernel/drivers/gpu/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/infiniband/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/drivers/staging/*",
    "/lib/modules/*/kernel/drivers/iio/*",
    "/lib/modules/*/kernel/drivers/scsi/*/*",
];
const CUSTOMIZE: &str = include_str!("customize.sh");
/// Bytes of the image; it is sparse.
const IMAGE: u64 = 4 << 30;

/// The system's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianGuest {
    /// The bzImage.
    pub kernel: PathBuf,
    /// The initial ramdisk, as Debian's own tools made it.
    pub initrd: PathBuf,
    /// The root file system: a raw image without partitions.
    pub image: PathBuf,
}

impl DebianGuest {
    fn in_folder(folder: &Path) -> Self {
        DebianGuest {
            kernel: folder.join("vmlinuz"),
            initrd: folder.join("initrd.img"),
            image: folder.join("debian.raw"),
        }
    }
}

/// Everything that decides what the system is like.
pub fn recipe() -> String {
    format!("{SUITE} {PACKAGES} {EXCLUDED:?} {IMAGE}\n{CUSTOMIZE}")
}

/// Makes the system in `folder`, which is its own, or finds it there from the last time.
pub fn obtain(folder: &Path, progress: &dyn Progress) -> Result<DebianGuest, GuestError> {
    let guest = DebianGuest::in_folder(folder);
    // The last file made: with it everything is there.
    if guest.image.is_file() {
        return Ok(guest);
    }
    let work = folder.join(format!(".work.{}", std::process::id()));
    fs::create_dir_all(&work).map_err(at(&work))?;
    let made = install(&work, progress).and_then(|system| pack(&system, &work, &guest, progress));
    fs::remove_dir_all(&work).map_err(at(&work))?;
    made.map(|()| guest)
}

/// Has mmdebstrap install the system; returns it as an archive.
fn install(work: &Path, progress: &dyn Progress) -> Result<PathBuf, GuestError> {
    let archive = work.join("system.tar");
    let script = work.join("customize.sh");
    fs::write(&script, CUSTOMIZE).map_err(at(&script))?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=auto", "--variant=apt", "--aptopt=Acquire::Languages \"none\""]);
    command.args(EXCLUDED.map(|path| format!("--dpkgopt=path-exclude={path}")));
    command.arg(format!("--include={PACKAGES}"));
    command.arg(format!("--customize-hook=sh {} \"$1\"", quoted(&script)));
    command.arg(SUITE).arg(&archive);
    watched(command, "mmdebstrap", progress)?;
    Ok(archive)
}

/// Makes the image, and copies kernel and ramdisk out of the system.
fn pack(archive: &Path, work: &Path, guest: &DebianGuest, progress: &dyn Progress) -> Result<(), GuestError> {
    progress.step("making the disk image");
    let image = work.join("debian.raw");
    let system = work.join("system");
    File::create(&image).and_then(|file| file.set_len(IMAGE)).map_err(at(&image))?;
    fs::create_dir_all(&system).map_err(at(&system))?;
    let script = format!(
        "set -eu; tar --extract --file={archive} --directory={system} --numeric-owner; \
         mke2fs -q -t ext4 -L {LABEL} -E root_owner=0:0 -d {system} {image}; \
         cp {system}/boot/vmlinuz-* {boot}/vmlinuz; cp {system}/boot/initrd.img-* {boot}/initrd.img; \
         chmod 644 {boot}/vmlinuz {boot}/initrd.img; chmod -R u+rwX {system}",
        archive = quoted(archive),
        system = quoted(&system),
        image = quoted(&image),
        boot = quoted(work),
    );
    // Files have owners, which only root can set; fakeroot remembers them for mke2fs.
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("sh")
    } else {
        let mut command = Command::new("fakeroot");
        command.arg("sh");
        command
    };
    command.args(["-c", &script]);
    // mke2fs is where only root looks for programs.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let program = if rustix::process::geteuid().is_root() { "sh" } else { "fakeroot" };
    watched(command, program, progress)?;
    for (from, to) in
        [("vmlinuz", &guest.kernel), ("initrd.img", &guest.initrd), ("debian.raw", &guest.image)]
    {
        fs::rename(work.join(from), to).map_err(at(to))?;
    }
    Ok(())
}

/// `path` as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Runs `command`, whose lines are steps: what begins with `I: ` is told.
fn watched(mut command: Command, program: &'static str, progress: &dyn Progress) -> Result<(), GuestError> {
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |message: String| GuestError::Failed { command: program.into(), message };
    let mut child = command.spawn().map_err(|error| super::apt::not_started(program, &error))?;
    let mut last = "it gave no reason".to_owned();
    if let Some(stderr) = child.stderr.take() {
        for line in lines(stderr) {
            match line.strip_prefix("I: ") {
                Some(step) => progress.step(step),
                None if !line.trim().is_empty() => last = line,
                None => {}
            }
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(last.trim_start_matches("E: ").to_owned())) }
}

/// Lines, which need not be text. Progress bars end theirs with a carriage return.
fn lines(from: impl Read) -> impl Iterator<Item = String> {
    let chunks = BufReader::new(from).split(b'\n').map_while(Result::ok);
    chunks.map(|line| {
        let text = String::from_utf8_lossy(&line).into_owned();
        text.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Told(RefCell<Vec<String>>);

    impl Progress for Told {
        fn step(&self, what: &str) {
            self.0.borrow_mut().push(what.to_owned());
        }

        fn advance(&self, _done: u64, _total: u64) {}
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn steps_are_told_and_the_last_words_of_a_failure_kept() {
        let told = Told(RefCell::default());
        let script = r"printf 'I: one\n12%%\r99%%\rI: two\n\nE: no room\n' >&2; exit 3";
        let error = watched(shell(script), "sh", &told).unwrap_err();
        assert_eq!(error.to_string(), "sh failed: no room");
        assert_eq!(*told.0.borrow(), ["one", "two"]);
    }

    #[test]
    fn a_system_in_its_folder_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("debian.raw"), "x").unwrap();
        let told = Told(RefCell::default());
        let guest = obtain(folder.path(), &told).unwrap();
        assert_eq!(guest.kernel, folder.path().join("vmlinuz"));
        assert!(told.0.borrow().is_empty());
    }

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
