//! `emu disk create` and `emu disk convert`: new images.

use super::{
    ImageArguments, refused,
    size::{parse_cluster_size, parse_size, readable},
    with_progress,
};
use crate::exit::RunError;
use clap::Args;
use emu_disk::{CLUSTER_SIZE, ConvertOptions, CreateOptions, Format};
use std::path::{Path, PathBuf};

/// What a new image is like.
#[derive(Debug, Args)]
struct NewImageArguments {
    /// Bytes of a qcow2 cluster: a power of two from 512 to 2M
    #[arg(long, value_name = "SIZE", default_value_t = CLUSTER_SIZE, value_parser = parse_cluster_size)]
    cluster_size: u32,

    /// Replace a file that exists
    #[arg(long)]
    force: bool,
}

/// The options of `emu disk create`.
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// The image to make
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Length of its disk, as in 20G; without it, that of the backing file
    #[arg(value_parser = parse_size, required_unless_present = "backing")]
    size: Option<u64>,

    /// Its format: raw or qcow2; without it, as its name says, else raw
    #[arg(short, long)]
    format: Option<Format>,

    /// Image that a qcow2 image builds on, seen from the new image's directory
    #[arg(short, long, value_name = "FILE", requires = "backing_format")]
    backing: Option<String>,

    /// Format of the backing file
    #[arg(short = 'F', long, value_name = "FORMAT", requires = "backing")]
    backing_format: Option<Format>,

    #[command(flatten)]
    new: NewImageArguments,
}

impl CreateArguments {
    pub fn run(self) -> Result<(), RunError> {
        let format = self.format.unwrap_or_else(|| format_of_name(&self.path));
        let options = CreateOptions {
            path: self.path,
            format,
            size: self.size,
            cluster_size: self.new.cluster_size,
            backing: self.backing.zip(self.backing_format),
            replace: self.new.force,
        };
        let size = emu_disk::create(&options).map_err(|error| refused("create", error))?;
        eprintln!("{}: {format}, {}", options.path.display(), readable(size));
        Ok(())
    }
}

/// The format that a new image's name asks for.
fn format_of_name(path: &Path) -> Format {
    let qcow2 = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("qcow2"));
    if qcow2 { Format::Qcow2 } else { Format::Raw }
}

/// The options of `emu disk convert`.
#[derive(Debug, Args)]
pub struct ConvertArguments {
    #[command(flatten)]
    from: ImageArguments,

    /// The image to make
    #[arg(value_name = "NEW-FILE")]
    to: PathBuf,

    /// Its format: raw or qcow2; without it, as its name says, else raw
    #[arg(short = 'O', long, value_name = "FORMAT")]
    output_format: Option<Format>,

    #[command(flatten)]
    new: NewImageArguments,
}

impl ConvertArguments {
    pub fn run(self) -> Result<(), RunError> {
        let options = ConvertOptions {
            from: self.from.path,
            from_format: self.from.format,
            to_format: self.output_format.unwrap_or_else(|| format_of_name(&self.to)),
            to: self.to,
            cluster_size: self.new.cluster_size,
            replace: self.new.force,
        };
        let size = with_progress("convert", |progress| emu_disk::convert(&options, progress))?;
        eprintln!("{}: {}, {}", options.to.display(), options.to_format, readable(size));
        Ok(())
    }
}
