//! `emu disk`: making, copying and changing disk images.

mod change;
mod copy;
mod show;
mod size;

use crate::exit::{OptionError, RunError};
use clap::{Args, Subcommand};
use emu_disk::{DiskError, Format};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// The commands of `emu disk`.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Make an image
    Create(copy::CreateArguments),
    /// Tell what an image is
    Info(show::InfoArguments),
    /// Copy a disk into an image of another format
    Convert(copy::ConvertArguments),
    /// Make a disk longer or shorter
    Resize(change::ResizeArguments),
    /// Look whether a qcow2 image is in order
    Check(show::CheckArguments),
    /// Tell where the data of a disk is
    Map(show::MapArguments),
    /// Write what a qcow2 image has into its backing file, and empty it
    Commit(change::CommitArguments),
    /// Make a qcow2 image build on another backing file, or on none
    Rebase(change::RebaseArguments),
    /// Keep states of a disk within its qcow2 image
    #[command(subcommand, arg_required_else_help = true)]
    Snapshot(change::SnapshotCommand),
}

/// An image, and its format.
#[derive(Debug, Args)]
pub struct ImageArguments {
    /// The image
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Its format, where name and content do not tell: raw, qcow2, vmdk, vdi, vhd or vhdx
    #[arg(short, long)]
    format: Option<Format>,
}

impl DiskCommand {
    /// Does it. Returns whether all was well: `false` for an image that is not in order.
    pub fn run(self) -> Result<bool, RunError> {
        match self {
            DiskCommand::Create(arguments) => arguments.run().map(|()| true),
            DiskCommand::Info(arguments) => arguments.run().map(|()| true),
            DiskCommand::Convert(arguments) => arguments.run().map(|()| true),
            DiskCommand::Resize(arguments) => arguments.run().map(|()| true),
            DiskCommand::Check(arguments) => arguments.run(),
            DiskCommand::Map(arguments) => arguments.run().map(|()| true),
            DiskCommand::Commit(arguments) => arguments.run().map(|()| true),
            DiskCommand::Rebase(arguments) => arguments.run().map(|()| true),
            DiskCommand::Snapshot(command) => command.run().map(|()| true),
        }
    }
}

/// An error of `emu disk NAME`.
fn refused(name: &str, error: impl std::fmt::Display) -> RunError {
    OptionError::new(&format!("emu disk {name}"), "", error).into()
}

/// Runs an operation that takes long, and shows how far it is.
fn with_progress<T>(
    name: &str,
    operation: impl FnOnce(emu_disk::Progress<'_>) -> Result<T, DiskError>,
) -> Result<T, RunError> {
    let bar = ProgressBar::new(0);
    let template = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
    let result = operation(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result.map_err(|error| refused(name, error))
}
