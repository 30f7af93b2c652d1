//! `cargo xtask guests`: the guests that tests and benchmarks boot. Kernels and busybox come from Debian's archive,
//! unmodified; the initramfs archives around them are ours.
//!
//! Everything is kept below `target/guests`, one folder a guest, each with a `recipe` file that says what it was
//! made from. A folder whose recipe is still the same is used as it is.

mod benchmark;
mod modules;
pub mod task;

pub use benchmark::native_program;

use crate::workspace::target_dir;
use anyhow::{Context, Result, bail};
use emu::guests::{
    GuestError, Progress, debian, fetch_deb,
    linux::{busybox_in, kernel_in, shell_initramfs},
    resolve_dependency,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Counts up when guests are made in another way, so that those made before are made anew.
const FORMAT: u32 = 1;

/// Tells each step on standard error.
struct Told;

impl Progress for Told {
    fn step(&self, what: &str) {
        eprintln!("  {what}");
    }

    fn advance(&self, _done: u64, _total: u64) {}
}

/// Options of `cargo xtask guests`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Guests to fetch; all of them if none is named
    names: Vec<String>,
    /// Fetch again even if there is one, to get Debian's newest kernel
    #[arg(long)]
    refresh: bool,
}

/// A guest that the project knows how to obtain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// Debian's amd64 kernel for clouds, with busybox.
    LinuxCloud,
    /// Debian's i386 kernel without PAE, with busybox.
    Linux686,
    /// Debian's i386 kernel with PAE, with busybox.
    Linux686Pae,
    /// memtest86+, a memory tester that boots as a Linux kernel does.
    Memtest,
    /// The project's benchmark programs on Debian's kernel for clouds.
    Benchmark,
    /// Debian's amd64 kernel for clouds with its modules of ciphers, digests and RAID. Process 1 loads them and tells
    /// what they choose, prints `emu-guest: done failures=N`, and powers off.
    Modules,
    /// Debian's amd64 kernel for clouds with its drivers of devices, and busybox. Process 1 does what `task=` in the
    /// kernel's command line names: a function of `init/devices.sh`.
    Devices,
    /// The same of Debian's i386 kernel without PAE, with its drivers of disks and network cards.
    Devices686,
    /// Debian 12 with systemd and an ssh server, on a disk image.
    Debian,
}

/// What process 1 of a Linux guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Prints `emu-guest: ready` and gives a shell on the console.
    Shell,
    /// Prints `emu-guest: cpus=N mem=K ...`, checks the machine, prints `emu-guest: done failures=N`, powers off.
    Check,
    /// Reboots once, then powers off.
    Reboot,
    /// Times work on one and on all processors, prints both, powers off.
    Scaling,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Variant; 4] = [Variant::Shell, Variant::Check, Variant::Reboot, Variant::Scaling];

    fn name(self) -> &'static str {
        match self {
            Variant::Shell => "shell",
            Variant::Check => "check",
            Variant::Reboot => "reboot",
            Variant::Scaling => "scaling",
        }
    }

    /// The whole of /init.
    fn script(self) -> String {
        let rest = match self {
            Variant::Shell => include_str!("init/shell.sh"),
            Variant::Check => concat!(include_str!("init/checks.sh"), include_str!("init/check.sh")),
            Variant::Reboot => include_str!("init/reboot.sh"),
            Variant::Scaling => include_str!("init/scaling.sh"),
        };
        [include_str!("init/begin.sh"), rest].concat()
    }
}

impl Guest {
    /// Every guest.
    pub const ALL: [Guest; 9] = [
        Guest::LinuxCloud,
        Guest::Linux686,
        Guest::Linux686Pae,
        Guest::Memtest,
        Guest::Benchmark,
        Guest::Modules,
        Guest::Devices,
        Guest::Devices686,
        Guest::Debian,
    ];

    /// The guest's name, which is also its folder's.
    pub fn name(self) -> &'static str {
        match self {
            Guest::LinuxCloud => "linux-cloud",
            Guest::Linux686 => "linux-686",
            Guest::Linux686Pae => "linux-686-pae",
            Guest::Memtest => "memtest86+",
            Guest::Benchmark => "benchmark",
            Guest::Modules => "modules",
            Guest::Devices => "devices",
            Guest::Devices686 => "devices-686",
            Guest::Debian => "debian",
        }
    }

    /// Everything of ours that goes into the guest.
    fn recipe(self) -> Result<String> {
        let parts = match self {
            Guest::Memtest => String::new(),
            Guest::Benchmark => benchmark::recipe()?,
            Guest::Modules => modules::CODE.recipe(),
            Guest::Devices => modules::DEVICES.recipe(),
            Guest::Devices686 => modules::DEVICES_686.recipe(),
            Guest::Debian => debian::recipe(),
            _ => Variant::ALL.map(Variant::script).join("\n"),
        };
        Ok(format!("format {FORMAT}\n{}\n{parts}", self.name()))
    }
}

/// A guest's files.
#[derive(Debug)]
pub struct GuestFiles {
    folder: PathBuf,
}

impl GuestFiles {
    /// The folder they are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel image.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The initramfs of a Linux guest.
    pub fn initrd(&self, variant: Variant) -> PathBuf {
        self.folder.join(format!("initrd-{}.gz", variant.name()))
    }

    /// The initial ramdisk of the Debian system.
    pub fn debian_initrd(&self) -> PathBuf {
        self.folder.join("initrd.img")
    }

    /// The root file system of the Debian system: a raw image, not to be written to.
    pub fn debian_image(&self) -> PathBuf {
        self.folder.join("debian.raw")
    }

    /// The initramfs of the guests of modules and of devices.
    pub fn modules_initrd(&self) -> PathBuf {
        self.folder.join("initrd.gz")
    }

    /// The initramfs of the benchmark guest.
    pub fn benchmark_initrd(&self) -> PathBuf {
        self.folder.join("initrd.gz")
    }
}

/// The reason if `error` means that a guest cannot be had on this host, which is no defect: a tool is missing, or
/// the host's archive is not Debian's. A download that fails is an error like any other.
pub fn unavailable(error: &anyhow::Error) -> Option<String> {
    let reason = error.downcast_ref::<GuestError>()?;
    matches!(reason, GuestError::MissingProgram(_) | GuestError::NoPackage { .. }).then(|| reason.to_string())
}

/// Runs `cargo xtask guests`.
pub fn run(options: &Options) -> Result<()> {
    let mut wanted = Vec::new();
    for name in &options.names {
        let Some(guest) = Guest::ALL.into_iter().find(|guest| guest.name() == name) else {
            bail!("there is no guest {name}; there are {}", Guest::ALL.map(Guest::name).join(", "));
        };
        wanted.push(guest);
    }
    if wanted.is_empty() {
        wanted.extend(Guest::ALL);
    }
    if options.refresh {
        // Everything but the lock, which another process may hold. What is wanted is made again.
        let _lock = lock(&store())?;
        for entry in fs::read_dir(store()).context("cannot list the folder of guests")? {
            let path = entry.context("cannot list the folder of guests")?.path();
            if path.is_dir() {
                remove(&path)?;
            }
        }
    }
    for guest in wanted {
        println!("{:14} {}", guest.name(), obtain(guest)?.folder().display());
    }
    Ok(())
}

/// Obtains a guest, or finds the one obtained before. Safe to call from several processes at once.
pub fn obtain(guest: Guest) -> Result<GuestFiles> {
    let store = store();
    let _lock = lock(&store)?;
    obtain_locked(guest, &store).with_context(|| format!("cannot obtain the guest {}", guest.name()))
}

/// Makes the folder of guests this process's own until the file is dropped.
fn lock(store: &Path) -> Result<File> {
    fs::create_dir_all(store).with_context(|| format!("cannot create {}", store.display()))?;
    let path = store.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().context("cannot lock the folder of guests")?;
    Ok(file)
}

fn obtain_locked(guest: Guest, store: &Path) -> Result<GuestFiles> {
    let files = GuestFiles { folder: store.join(guest.name()) };
    let recipe = guest.recipe()?;
    let recipe_file = files.folder.join("recipe");
    if fs::read_to_string(&recipe_file).is_ok_and(|made_from| made_from == recipe) {
        return Ok(files);
    }
    eprintln!("obtaining the guest {} (Debian packages, kept below {})", guest.name(), store.display());
    remove(&files.folder)?;
    fs::create_dir_all(&files.folder).with_context(|| format!("cannot create {}", files.folder.display()))?;
    match guest {
        Guest::LinuxCloud => make_linux("linux-image-cloud-amd64", "amd64", &files, store)?,
        Guest::Linux686 => make_linux("linux-image-686", "i386", &files, store)?,
        Guest::Linux686Pae => make_linux("linux-image-686-pae", "i386", &files, store)?,
        Guest::Memtest => {
            let package = fetch_deb("memtest86+", "amd64", store, &Told)?;
            copy(&package.join("boot/memtest86+x64.bin"), &files.kernel())?;
        }
        Guest::Modules => modules::make(&files, store, &modules::CODE)?,
        Guest::Devices => modules::make(&files, store, &modules::DEVICES)?,
        Guest::Devices686 => modules::make(&files, store, &modules::DEVICES_686)?,
        Guest::Debian => {
            debian::obtain(&files.folder, &Told)?;
        }
        Guest::Benchmark => benchmark::make(&files, &obtain_locked(Guest::LinuxCloud, store)?)?,
    }
    // Last: a folder with its recipe is whole.
    write(&recipe_file, recipe.as_bytes())?;
    Ok(files)
}

fn make_linux(metapackage: &str, arch: &str, files: &GuestFiles, store: &Path) -> Result<()> {
    let package = resolve_dependency(metapackage, arch, store, &Told)?;
    let unpacked = fetch_deb(&package, arch, store, &Told)?;
    copy(&kernel_in(&unpacked, &package)?, &files.kernel())?;
    // Modules by the hundred megabytes, and no guest needs them.
    remove(&unpacked)?;
    let busybox = busybox_in(&fetch_deb("busybox-static", arch, store, &Told)?)?;
    let busybox = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    for variant in Variant::ALL {
        let mut tree = shell_initramfs(busybox.clone(), &variant.script());
        for folder in ["/etc", "/sbin", "/tmp"] {
            tree.directory(folder);
        }
        write(&files.initrd(variant), &tree.write_gzip(Vec::new())?)?;
    }
    Ok(())
}

fn store() -> PathBuf {
    target_dir().join("guests")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_means_unavailable_is_told_from_a_defect_through_its_context() {
        let missing = anyhow::Error::from(GuestError::MissingProgram("apt-get")).context("cannot obtain");
        assert_eq!(unavailable(&missing).as_deref(), Some("apt-get is not installed here"));
        assert_eq!(unavailable(&anyhow::anyhow!("disk full")), None);
    }

    #[test]
    fn a_changed_script_changes_the_recipe() {
        let recipe = Guest::LinuxCloud.recipe().unwrap();
        assert!(Variant::ALL.iter().all(|variant| recipe.contains(&variant.script())));
    }
}
