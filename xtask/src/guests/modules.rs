//! Builds guests of Debian's kernels with some of their modules: those that choose their code by what the processor
//! can, ciphers, digests and RAID; or the drivers of devices. Kernel and modules are of one package: they fit no other
//! version.

use super::{GuestFiles, Told, copy, remove, write};
use anyhow::{Context, Result};
use emu::guests::{
    GuestError, fetch_deb,
    linux::{busybox_in, kernel_in, shell_initramfs},
    resolve_dependency,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What goes into a guest beside kernel and busybox.
#[derive(Debug)]
pub struct Contents {
    /// The package that depends on the kernel's, and the architecture.
    package: (&'static str, &'static str),
    /// How the paths of the modules begin, in the kernel's folder of modules. Debian compresses modules in some
    /// releases, which lengthens their names.
    modules: &'static [&'static str],
    /// The parts of /init, behind what begins all of them.
    script: &'static [&'static str],
}

/// Debian's kernel for clouds, which has no drivers of what no cloud has.
const CLOUD: (&str, &str) = ("linux-image-cloud-amd64", "amd64");

/// Ciphers, digests and RAID.
pub const CODE: Contents = Contents {
    package: CLOUD,
    modules: &[
        "arch/x86/crypto/",
        "crypto/",
        "lib/",
        "drivers/block/brd.ko",
        "drivers/md/md-mod.ko",
        "drivers/md/raid456.ko",
    ],
    script: &[include_str!("init/checks.sh"), include_str!("init/modules.sh")],
};

/// Drivers of devices. The script does what `task=` in the kernel's command line names.
pub const DEVICES: Contents = Contents {
    package: CLOUD,
    modules: &[
        "drivers/virtio/",
        "drivers/block/virtio_blk.ko",
        "drivers/char/virtio_console.ko",
        "drivers/char/hw_random/virtio-rng.ko",
        "drivers/net/virtio_net.ko",
        "drivers/net/net_failover.ko",
        "net/core/failover.ko",
        "net/vmw_vsock/",
        "block/",
        "lib/crc",
        "crypto/crc",
        "drivers/ata/",
        "drivers/scsi/scsi_",
        "drivers/scsi/sd_mod.ko",
        "drivers/scsi/sr_mod.ko",
        "drivers/cdrom/",
        "fs/isofs/",
    ],
    script: &[include_str!("init/devices.sh")],
};

/// Drivers of disks and of all network cards on a 32-bit processor.
pub const DEVICES_686: Contents = Contents {
    package: ("linux-image-686", "i386"),
    modules: &[
        "drivers/virtio/",
        "drivers/block/virtio_blk.ko",
        "drivers/net/virtio_net.ko",
        "drivers/net/net_failover.ko",
        "net/core/failover.ko",
        "drivers/net/mii.ko",
        "drivers/net/ethernet/intel/e1000/",
        "drivers/net/ethernet/realtek/8139",
        "drivers/ata/libata.ko",
        "drivers/ata/ata_piix.ko",
        "drivers/scsi/scsi_common.ko",
        "drivers/scsi/scsi_mod.ko",
        "drivers/scsi/sd_mod.ko",
        "drivers/scsi/sr_mod.ko",
        "drivers/cdrom/",
        "lib/crc",
        "crypto/crc",
    ],
    script: &[include_str!("init/devices.sh")],
};

impl Contents {
    /// What the guest is made from.
    pub fn recipe(&self) -> String {
        format!("{:?}\n{}", self.modules, self.init())
    }

    /// The whole of /init.
    fn init(&self) -> String {
        [&[include_str!("init/begin.sh")], self.script].concat().concat()
    }
}

/// Fetches kernel and modules, and packs them with busybox.
pub fn make(files: &GuestFiles, store: &Path, contents: &Contents) -> Result<()> {
    let (metapackage, arch) = contents.package;
    let package = resolve_dependency(metapackage, arch, store, &Told)?;
    let unpacked = fetch_deb(&package, arch, store, &Told)?;
    copy(&kernel_in(&unpacked, &package)?, &files.kernel())?;
    let busybox = busybox_in(&fetch_deb("busybox-static", arch, store, &Told)?)?;
    let busybox = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let mut tree = shell_initramfs(busybox, &contents.init());
    tree.directory("/tmp");
    let folder = modules_in(&unpacked, &package)?;
    for file in files_below(&folder)? {
        let path = file.strip_prefix(&folder).context("a file is outside of the folder that it is in")?;
        // VERSION/kernel/PATH
        let below: PathBuf = path.components().skip(2).collect();
        if contents.modules.iter().any(|wanted| below.to_string_lossy().starts_with(wanted)) {
            let module = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            tree.file(&format!("/lib/modules/{}", path.display()), 0o644, module);
        }
    }
    remove(&unpacked)?;
    write(&files.modules_initrd(), &tree.write_gzip(Vec::new())?)
}

/// The folder of modules of an unpacked package.
fn modules_in(unpacked: &Path, package: &str) -> Result<PathBuf, GuestError> {
    // Debian moves /lib into /usr/lib from one release to the next.
    let folders = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path));
    let missing = || GuestError::NoFile { package: package.into(), file: "lib/modules".into() };
    folders.into_iter().find(|folder| folder.is_dir()).ok_or_else(missing)
}

/// All files below `folder`, in the order of their names.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let kind =
                entry.file_type().with_context(|| format!("cannot examine {}", entry.path().display()))?;
            // Links lead out of the package.
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
