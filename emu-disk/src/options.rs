//! What a user can say about a disk.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// The formats of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The disk's content, byte by byte.
    Raw,
    /// QEMU's, version 2 or 3.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Virtual PC's, fixed or dynamic.
    Vhd,
    /// Hyper-V's.
    Vhdx,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] =
        [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vdi, Format::Vhd, Format::Vhdx];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vdi => "vdi",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The error is a clause that says what can be written.
impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Format::ALL.into_iter().find(|format| format.name() == text);
        // What QEMU calls it.
        let known = known.or((text == "vpc").then_some(Format::Vhd));
        known.ok_or_else(|| {
            let names = Format::ALL.map(Format::name).join(", ");
            format!("{text:?} is no format of images; write one of {names}")
        })
    }
}

/// How the host's cache is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Writes are done when the host's cache has them; a flush brings them to its disk.
    #[default]
    Writeback,
    /// Data goes past the host's cache.
    None,
    /// As writeback, but flushes bring nothing to the host's disk: a loss of power may lose everything. The end of
    /// the process loses nothing that was flushed.
    Unsafe,
}

/// Hears of a host disk that is full. Called on a thread of the disk's.
pub trait SpaceWatch: Send + Sync {
    /// A write found no room; it is kept, and tried again until there is. `file` is the one that cannot grow: the image,
    /// or what lies over it. `error` says whether the file system is full or its user's share of it. Called once until
    /// [`space_again`](Self::space_again).
    fn no_space(&self, file: &Path, error: &io::Error);
    /// All such writes went through.
    fn space_again(&self, file: &Path);
}

/// What to open, and how.
#[derive(Clone, Default)]
pub struct DiskOptions {
    /// The image.
    pub path: PathBuf,
    /// Its format; `None` goes by its name and content, and refuses what is ambiguous.
    pub format: Option<Format>,
    /// The guest may only read.
    pub readonly: bool,
    /// The guest's writes go to a temporary file and are forgotten; the image stays as it is.
    pub overlay: bool,
    /// How the host's cache is used.
    pub cache: CacheMode,
    /// What the guest discards is given back to the host.
    pub discard: bool,
    /// Hears of a full host disk. Without it, the guest's write fails.
    pub space_watch: Option<Arc<dyn SpaceWatch>>,
}

impl fmt::Debug for DiskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskOptions")
            .field("path", &self.path)
            .field("format", &self.format)
            .field("readonly", &self.readonly)
            .field("overlay", &self.overlay)
            .field("cache", &self.cache)
            .field("discard", &self.discard)
            .finish_non_exhaustive()
    }
}
