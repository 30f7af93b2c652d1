//! Making an image.

use crate::{
    error::DiskError,
    file::ImageFile,
    open::{Opening, backing_path},
    options::{CacheMode, Format},
    qcow2::{self, Backing, CreateQcow2},
};
use std::{fs::OpenOptions, io, path::PathBuf};

/// What image to make.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Where.
    pub path: PathBuf,
    /// Raw or qcow2.
    pub format: Format,
    /// The disk's length in bytes; without it, that of the backing file. Rounded up to 512.
    pub size: Option<u64>,
    /// Bytes of a qcow2 cluster: a power of two from 512 to 2 MiB.
    pub cluster_size: u32,
    /// What a qcow2 image builds on: a name as it will stand in the image (from the image's directory), and its format.
    pub backing: Option<(String, Format)>,
    /// An existing file is replaced.
    pub replace: bool,
}

/// The clusters that qcow2 images have unless somebody asks for others.
pub const CLUSTER_SIZE: u32 = 65536;

/// Makes an image. Returns the length of its disk.
pub fn create(options: &CreateOptions) -> Result<u64, DiskError> {
    let CreateOptions { path, format, size, cluster_size, backing, replace } = options;
    let refused = |problem: &str| Err(DiskError::image(path, problem));
    if backing.is_some() && *format != Format::Qcow2 {
        return refused("only qcow2 images have backing files; leave it out, or make a qcow2 image");
    }
    if !cluster_size.is_power_of_two() || !(512..=2 << 20).contains(cluster_size) {
        return refused("clusters are a power of two from 512 to 2097152 bytes long");
    }
    let backing = backing
        .as_ref()
        .map(|(name, format)| (Backing { name: name.clone(), format: Some(format.to_string()) }, *format));
    let size = match (size, &backing) {
        (Some(size), _) => *size,
        (None, Some((backing, format))) => {
            let opening = Opening {
                write: false,
                cache: CacheMode::Writeback,
                discard: false,
                choices: &|_| String::new(),
            };
            opening.open(&backing_path(path, backing)?, Some(*format))?.len()
        }
        (None, None) => return refused("the length of its disk is missing"),
    };
    let Some(size) = size.checked_next_multiple_of(512).filter(|size| *size <= i64::MAX as u64) else {
        return refused("so long a disk is not possible");
    };
    let failed = |error: io::Error| DiskError::host(path, "made", error);
    let mut open = OpenOptions::new();
    open.write(true).create(true).create_new(!replace).open(path).map_err(failed)?;
    let file = ImageFile::open(path, true, CacheMode::Unsafe)?;
    file.set_len(0).map_err(failed)?;
    let result = match format {
        Format::Raw => file.set_len(size),
        Format::Qcow2 => {
            let backing = backing.map(|(backing, _)| backing);
            qcow2::create(&file, &CreateQcow2 { size, cluster_bits: cluster_size.ilog2(), backing })
        }
        other => {
            return refused(&format!("images of format {other} cannot be made; make a qcow2 or raw image"));
        }
    };
    result.map(|()| size).map_err(failed)
}
