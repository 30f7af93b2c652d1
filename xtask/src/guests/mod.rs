//! `cargo xtask guests`: the guests that tests and benchmarks boot. Kernels and busybox come from Debian's archive,
//! unmodified; the initramfs archives around them are ours.
//!
//! Everything is kept below `target/guests`, one folder a guest, each with a `recipe` file that says what it was
//! made from. A folder whose recipe is still the same is used as it is.

mod apt;
mod benchmark;
mod initramfs;

pub use apt::{fetch_deb, resolve_dependency};
pub use benchmark::native_program;
pub use initramfs::Initramfs;

use crate::workspace::target_dir;
use anyhow::{Context, Result, bail};
use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Counts up when guests are made in another way, so that those made before are made anew.
const FORMAT: u32 = 1;

/// A guest cannot be had on this host, for a reason that is not a defect: the tools or the network are missing.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Hears how far the work is.
pub trait Progress {
    /// A new step begins.
    fn step(&self, what: &str);
}

/// Tells each step on standard error.
struct Told;

impl Progress for Told {
    fn step(&self, what: &str) {
        eprintln!("  {what}");
    }
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
            Variant::Check => include_str!("init/check.sh"),
            Variant::Reboot => include_str!("init/reboot.sh"),
            Variant::Scaling => include_str!("init/scaling.sh"),
        };
        [include_str!("init/begin.sh"), rest].concat()
    }
}

impl Guest {
    /// Every guest.
    pub const ALL: [Guest; 5] =
        [Guest::LinuxCloud, Guest::Linux686, Guest::Linux686Pae, Guest::Memtest, Guest::Benchmark];

    /// The guest's name, which is also its folder's.
    pub fn name(self) -> &'static str {
        match self {
            Guest::LinuxCloud => "linux-cloud",
            Guest::Linux686 => "linux-686",
            Guest::Linux686Pae => "linux-686-pae",
            Guest::Memtest => "memtest86+",
            Guest::Benchmark => "benchmark",
        }
    }

    /// Everything of ours that goes into the guest.
    fn recipe(self) -> Result<String> {
        let parts = match self {
            Guest::Memtest => String::new(),
            Guest::Benchmark => benchmark::recipe()?,
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

    /// The initramfs of the benchmark guest.
    pub fn benchmark_initrd(&self) -> PathBuf {
        self.folder.join("initrd.gz")
    }
}

/// The reason if `error` means that a guest cannot be had on this host.
pub fn unavailable(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Unavailable>().map(|unavailable| unavailable.0.as_str())
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
        Guest::Benchmark => benchmark::make(&files, &obtain_locked(Guest::LinuxCloud, store)?)?,
    }
    // Last: a folder with its recipe is whole.
    write(&recipe_file, recipe.as_bytes())?;
    Ok(files)
}

fn make_linux(metapackage: &str, arch: &str, files: &GuestFiles, store: &Path) -> Result<()> {
    let kernel = resolve_dependency(metapackage, arch, store, &Told)?;
    let kernel = fetch_deb(&kernel, arch, store, &Told)?;
    copy(&file_named(&kernel.join("boot"), "vmlinuz-")?, &files.kernel())?;
    // Modules by the hundred megabytes, and no guest needs them.
    remove(&kernel)?;
    let busybox = fetch_deb("busybox-static", arch, store, &Told)?;
    // Debian moves /bin into /usr/bin from one release to the next.
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| busybox.join(path));
    let busybox = busybox.iter().find(|path| path.is_file()).context("busybox-static has no busybox")?;
    let busybox = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    for variant in Variant::ALL {
        let mut tree = minimal_tree();
        for folder in ["/etc", "/proc", "/sbin", "/sys", "/tmp"] {
            tree.directory(folder);
        }
        tree.file("/bin/busybox", 0o755, &*busybox).file("/init", 0o755, variant.script());
        write(&files.initrd(variant), &tree.write_gzip(Vec::new())?)?;
    }
    Ok(())
}

/// What every guest needs: the kernel opens /dev/console for process 1 before anything is mounted.
fn minimal_tree() -> Initramfs {
    let mut tree = Initramfs::new();
    tree.character_device("/dev/console", 0o600, 5, 1).character_device("/dev/null", 0o666, 1, 3);
    tree
}

fn store() -> PathBuf {
    target_dir().join("guests")
}

fn file_named(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("{} has no file {prefix}*", folder.display()))
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
        let missing = anyhow::Error::from(Unavailable("apt-get is missing".into())).context("cannot obtain");
        assert_eq!(unavailable(&missing), Some("apt-get is missing"));
        assert_eq!(unavailable(&anyhow::anyhow!("disk full")), None);
    }

    #[test]
    fn a_changed_script_changes_the_recipe() {
        let recipe = Guest::LinuxCloud.recipe().unwrap();
        assert!(Variant::ALL.iter().all(|variant| recipe.contains(&variant.script())));
    }
}
