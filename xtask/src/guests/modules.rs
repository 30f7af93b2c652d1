//! Builds the guest of modules: the kernel for clouds with those of its modules that choose their code by what the
//! processor can, ciphers, digests and RAID. Kernel and modules are of one package: they fit no other version.

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

/// How the paths of the modules that go into the guest begin, in the kernel's folder of modules. Debian compresses
/// modules in some releases, which lengthens their names.
const WANTED: [&str; 6] = [
    "arch/x86/crypto/",
    "crypto/",
    "lib/",
    "drivers/block/brd.ko",
    "drivers/md/md-mod.ko",
    "drivers/md/raid456.ko",
];

/// What the guest is made from.
pub fn recipe() -> String {
    format!("{WANTED:?}\n{}", script())
}

/// The whole of /init.
fn script() -> String {
    [include_str!("init/begin.sh"), include_str!("init/checks.sh"), include_str!("init/modules.sh")].concat()
}

/// Fetches kernel and modules, and packs them with busybox.
pub fn make(files: &GuestFiles, store: &Path) -> Result<()> {
    let package = resolve_dependency("linux-image-cloud-amd64", "amd64", store, &Told)?;
    let unpacked = fetch_deb(&package, "amd64", store, &Told)?;
    copy(&kernel_in(&unpacked, &package)?, &files.kernel())?;
    let busybox = busybox_in(&fetch_deb("busybox-static", "amd64", store, &Told)?)?;
    let busybox = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let mut tree = shell_initramfs(busybox, &script());
    tree.directory("/tmp");
    let folder = modules_in(&unpacked, &package)?;
    for file in files_below(&folder)? {
        let path = file.strip_prefix(&folder).context("a file is outside of the folder that it is in")?;
        // VERSION/kernel/PATH
        let below: PathBuf = path.components().skip(2).collect();
        if WANTED.iter().any(|wanted| below.to_string_lossy().starts_with(wanted)) {
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
