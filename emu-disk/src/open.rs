//! Opening an image and the chain of its backing files.

use crate::{
    backend::Disk,
    detect,
    error::DiskError,
    file::{Identity, ImageFile},
    foreign::Foreign,
    image::Image,
    options::{CacheMode, DiskOptions, Format},
    qcow2::{self, Backing, CreateQcow2, Qcow2},
    raw::Raw,
};
use emu_core::backend::BlockBackend;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Backing files behind each other. A chain that is longer is a mistake or an attack.
const DEEPEST: usize = 64;
/// Clusters of overlays.
const OVERLAY_CLUSTER_BITS: u32 = 16;

/// Opens a disk for a guest: locks the image, and starts the threads that do its I/O.
pub fn open(options: &DiskOptions) -> Result<Arc<dyn BlockBackend>, DiskError> {
    Ok(Arc::new(open_disk(options)?))
}

/// As [`open`].
pub(crate) fn open_disk(options: &DiskOptions) -> Result<Disk, DiskError> {
    let write = !options.readonly && !options.overlay;
    let opening =
        Opening { write, cache: options.cache, discard: options.discard, choices: &choices_of_an_option };
    let mut image = opening.open(&options.path, options.format)?;
    let (mut cache, mut grows) = (options.cache, options.path.clone());
    if options.overlay && !options.readonly {
        (image, grows) = overlay(image, &options.path, options.discard)?;
        cache = CacheMode::Unsafe;
    }
    let settings = crate::backend::Settings {
        path: options.path.clone(),
        grows,
        read_only: options.readonly,
        discard: options.discard,
        volatile: cache != CacheMode::Unsafe,
        space_watch: options.space_watch.clone(),
    };
    Disk::new(image, settings).map_err(|error| DiskError::host(&options.path, "given its threads", error))
}

fn choices_of_an_option(formats: &[Format]) -> String {
    formats.iter().map(|format| format!("format={format}")).collect::<Vec<_>>().join(" or ")
}

/// How the images of a chain are opened.
pub(crate) struct Opening<'a> {
    /// The first one; those behind it are only read.
    pub write: bool,
    pub cache: CacheMode,
    pub discard: bool,
    /// What the user can write to say a format.
    pub choices: &'a dyn Fn(&[Format]) -> String,
}

impl Opening<'_> {
    /// Opens an image and all that it builds on.
    pub fn open(&self, path: &Path, format: Option<Format>) -> Result<Arc<dyn Image>, DiskError> {
        let (file, format) = self.open_one(path, format)?;
        self.open_file(file, format, &mut Vec::new())
    }

    /// Opens a file of a chain, and says what format it has.
    pub fn open_one(&self, path: &Path, format: Option<Format>) -> Result<(ImageFile, Format), DiskError> {
        let file = ImageFile::open(path, self.write, self.cache)?;
        let format = format.map_or_else(|| detect::detect(&file, self.choices), Ok)?;
        Ok((file, format))
    }

    /// Opens a qcow2 image, which is to be altered. Without its backing file, that reads as zeroes.
    pub fn open_qcow2(&self, path: &Path, with_backing: bool) -> Result<Qcow2, DiskError> {
        let file = ImageFile::open(path, self.write, self.cache)?;
        let failed = |error| DiskError::host(path, "read", error);
        let mut seen = vec![file.identity().map_err(failed)?];
        let backing = qcow2::backing_of(&file).map_err(failed)?.filter(|_| with_backing);
        let backing = backing.map(|backing| self.open_backing(path, &backing, &mut seen)).transpose()?;
        Qcow2::open(file, backing, self.discard).map_err(failed)
    }

    /// `seen` has the images that have been opened so far.
    fn open_file(
        &self,
        file: ImageFile,
        format: Format,
        seen: &mut Vec<Identity>,
    ) -> Result<Arc<dyn Image>, DiskError> {
        let path = file.path().to_owned();
        let failed = |error| DiskError::host(&path, "read", error);
        let identity = file.identity().map_err(failed)?;
        if seen.contains(&identity) || seen.len() == DEEPEST {
            return Err(DiskError::image(&path, "its backing files lead back to itself, or are too many"));
        }
        seen.push(identity);
        match format {
            Format::Raw => Ok(Arc::new(Raw::new(file).map_err(failed)?)),
            Format::Qcow2 => {
                let backing = qcow2::backing_of(&file).map_err(failed)?;
                let backing = backing.map(|backing| self.open_backing(&path, &backing, seen)).transpose()?;
                Ok(Arc::new(Qcow2::open(file, backing, self.discard).map_err(failed)?))
            }
            other if self.write => Err(DiskError::image(
                &path,
                format!(
                    "images of format {other} can only be read; convert it to qcow2 or raw, or open it read-only"
                ),
            )),
            other => Ok(Arc::new(Foreign::open(file, other)?)),
        }
    }

    fn open_backing(
        &self,
        of: &Path,
        backing: &Backing,
        seen: &mut Vec<Identity>,
    ) -> Result<Arc<dyn Image>, DiskError> {
        let path = backing_path(of, backing)?;
        let file = ImageFile::open(&path, false, self.cache)?;
        let format = backing_format(of, backing, &file)?;
        let opening = Opening { write: false, discard: false, ..*self };
        opening.open_file(file, format, seen)
    }
}

/// The format of the backing file of `of`.
pub(crate) fn backing_format(of: &Path, backing: &Backing, file: &ImageFile) -> Result<Format, DiskError> {
    match &backing.format {
        Some(format) => format.parse().map_err(|problem: String| DiskError::image(of, problem)),
        None => detect::detect(file, |formats| {
            let rebase = |format| {
                format!(
                    "emu disk rebase --metadata-only --backing-format {format} -b {} {}",
                    backing.name,
                    of.display()
                )
            };
            formats.iter().map(rebase).collect::<Vec<_>>().join(" or ")
        }),
    }
}

/// Where the backing file of `of` is: beside it, unless its name says more.
pub(crate) fn backing_path(of: &Path, backing: &Backing) -> Result<PathBuf, DiskError> {
    let name = backing.name.strip_prefix("file:").unwrap_or(&backing.name);
    let scheme = name.split_once(':').map_or("", |(scheme, _)| scheme);
    if scheme == "json" || name.contains("://") {
        let problem = format!("its backing file {name:?} is not a file's name, which alone is supported");
        return Err(DiskError::image(of, problem));
    }
    Ok(of.parent().unwrap_or(Path::new("")).join(name))
}

/// A layer over `image` that is gone with its last user, and what it is called.
fn overlay(
    image: Arc<dyn Image>,
    path: &Path,
    discard: bool,
) -> Result<(Arc<dyn Image>, PathBuf), DiskError> {
    // Large files are expected there, which a /tmp in memory would not hold.
    let directory = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let failed = |error: io::Error| DiskError::host(&directory, "used for an overlay", error);
    let file = tempfile::tempfile_in(&directory).map_err(failed)?;
    let image_name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = directory.join(format!("overlay of {image_name}"));
    let file = ImageFile::temporary(file, name.clone());
    let options = CreateQcow2 { size: image.len(), cluster_bits: OVERLAY_CLUSTER_BITS, backing: None };
    qcow2::create(&file, &options).map_err(failed)?;
    Ok((Arc::new(Qcow2::open(file, Some(image), discard).map_err(failed)?), name))
}
