//! `emu disk resize`, `commit`, `rebase` and `snapshot`: changing images in their places.

use super::{
    ImageArguments, refused, show,
    size::{NewSize, parse_new_size, readable},
    with_progress,
};
use crate::{cli::print_out, exit::RunError};
use clap::{Args, Subcommand};
use emu_disk::{DiskError, Format};
use serde_json::Value;
use std::path::Path;

/// The options of `emu disk resize`.
#[derive(Debug, Args)]
pub struct ResizeArguments {
    #[command(flatten)]
    image: ImageArguments,

    /// The new length, as in 20G, or the change, as in +5G
    #[arg(value_parser = parse_new_size, allow_hyphen_values = true)]
    size: NewSize,

    /// Let the disk become shorter, which loses what is at its end
    #[arg(long)]
    shrink: bool,
}

impl ResizeArguments {
    pub fn run(self) -> Result<(), RunError> {
        let failed = |error| refused("resize", error);
        let ImageArguments { path, format } = self.image;
        let old = emu_disk::info(&path, format, false).map_err(failed)?[0].disk_len;
        let new = match self.size {
            NewSize::To(len) => Some(len),
            NewSize::More(len) => old.checked_add(len),
            NewSize::Less(len) => old.checked_sub(len),
        };
        let problem =
            || format!("{}: its disk has {old} bytes, which cannot change by so much", path.display());
        let new = new.ok_or_else(|| refused("resize", problem()))?;
        emu_disk::resize(&path, format, new, self.shrink).map_err(failed)?;
        eprintln!("{}: {}, was {}", path.display(), readable(new), readable(old));
        Ok(())
    }
}

/// The options of `emu disk commit`.
#[derive(Debug, Args)]
pub struct CommitArguments {
    #[command(flatten)]
    image: ImageArguments,
}

impl CommitArguments {
    pub fn run(self) -> Result<(), RunError> {
        let ImageArguments { path, format } = self.image;
        let backing = with_progress("commit", |progress| emu_disk::commit(&path, format, progress))?;
        eprintln!("{}: written to {backing}", path.display());
        Ok(())
    }
}

/// The options of `emu disk rebase`.
#[derive(Debug, Args)]
pub struct RebaseArguments {
    #[command(flatten)]
    image: ImageArguments,

    /// The new backing file, seen from the image's directory
    #[arg(short, long, value_name = "FILE", requires = "backing_format")]
    backing: Option<String>,

    /// Format of the new backing file
    #[arg(short = 'F', long, value_name = "FORMAT", requires = "backing")]
    backing_format: Option<Format>,

    /// Build on nothing: copy all that the backing files have
    #[arg(long, conflicts_with = "backing", required_unless_present = "backing")]
    no_backing: bool,

    /// Copy nothing: the new backing file has the same content, as when it was only moved
    #[arg(long)]
    metadata_only: bool,
}

impl RebaseArguments {
    pub fn run(self) -> Result<(), RunError> {
        let ImageArguments { path, format } = self.image;
        let backing = self.backing.zip(self.backing_format);
        let what = backing.as_ref().map_or("nothing".to_owned(), |(name, _)| name.clone());
        with_progress("rebase", |progress| {
            emu_disk::rebase(&path, format, backing, self.metadata_only, progress)
        })?;
        eprintln!("{}: builds on {what}", path.display());
        Ok(())
    }
}

/// The commands of `emu disk snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List the snapshots
    List {
        #[command(flatten)]
        image: ImageArguments,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep the disk as it is
    Create(SnapshotArguments),
    /// Make the disk what it was
    Apply(SnapshotArguments),
    /// Forget a snapshot
    Delete(SnapshotArguments),
}

/// A snapshot of an image.
#[derive(Debug, Args)]
pub struct SnapshotArguments {
    #[command(flatten)]
    image: ImageArguments,
    /// Name or number of the snapshot
    name: String,
}

type Operation = fn(&Path, Option<Format>, &str) -> Result<(), DiskError>;

impl SnapshotCommand {
    pub fn run(self) -> Result<(), RunError> {
        let failed = |error| refused("snapshot", error);
        let (arguments, operation): (_, Operation) = match self {
            SnapshotCommand::List { image, json } => {
                let snapshots = emu_disk::snapshots(&image.path, image.format).map_err(failed)?;
                let text = if json {
                    format!("{:#}\n", Value::Array(snapshots.iter().map(show::snapshot_json).collect()))
                } else {
                    snapshots.iter().map(show::snapshot_text).collect()
                };
                return print_out(text.as_bytes());
            }
            SnapshotCommand::Create(arguments) => (arguments, emu_disk::make_snapshot),
            SnapshotCommand::Apply(arguments) => (arguments, emu_disk::apply_snapshot),
            SnapshotCommand::Delete(arguments) => (arguments, emu_disk::delete_snapshot),
        };
        operation(&arguments.image.path, arguments.image.format, &arguments.name).map_err(failed)
    }
}
