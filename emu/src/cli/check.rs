//! Checks on the files that a machine is built from, before anything starts.

use crate::{
    config::{MIB, MachineConfig},
    console::describe_error,
    exit::OptionError,
    guests::archive,
};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Memory that a kernel needs besides itself and its ramdisks: the first MiB.
const RESERVED: u64 = MIB;

/// Checks that kernel and ramdisks can be read, are whole, and fit into memory. Whether the kernel is one is
/// for the loader to say.
pub fn files(config: &MachineConfig) -> Result<(), OptionError> {
    let Some(kernel) = &config.kernel else {
        return Ok(());
    };
    let mut needed = RESERVED + readable("--kernel", kernel)?;
    if needed > config.memory {
        return Err(too_little("the kernel", needed, config.memory));
    }
    for module in &config.initrd {
        needed += readable("--initrd", &module.path)?;
        if needed > config.memory {
            return Err(too_little("the kernel and --initrd", needed, config.memory));
        }
    }
    for module in &config.initrd {
        let refused = |problem: String| OptionError::new("--initrd", module.path.display(), problem);
        let data = fs::read(&module.path)
            .map_err(|error| refused(format!("cannot be read ({})", describe_error(&error))))?;
        if !archive::is_whole(&data) {
            return Err(refused("the archive is cut off; copy or build the file again".into()));
        }
    }
    Ok(())
}

/// The size of a file that can be read.
fn readable(option: &str, path: &Path) -> Result<u64, OptionError> {
    let refused = |problem: String| OptionError::new(option, path.display(), problem);
    let examine = || -> io::Result<(fs::Metadata, usize)> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        // Opening a directory works; reading it does not, so ask first.
        let first = if metadata.is_file() { file.read(&mut [0])? } else { 0 };
        Ok((metadata, first))
    };
    match examine() {
        Err(error) => {
            Err(refused(format!("cannot be read ({}); name a file that can", describe_error(&error))))
        }
        Ok((metadata, _)) if metadata.is_dir() => Err(refused("is a directory; name a file".into())),
        Ok((metadata, _)) if !metadata.is_file() => Err(refused("is not a regular file; name one".into())),
        Ok((_, 0)) => Err(refused("is empty; name a file with something in it".into())),
        Ok((metadata, _)) => Ok(metadata.len()),
    }
}

fn too_little(what: &str, needed: u64, memory: u64) -> OptionError {
    let problem = format!("too little to hold {what}; give at least {}M", needed.div_ceil(MIB));
    OptionError::new("--memory", format!("{}M", memory / MIB), problem)
}
