//! The host's side of the guest's serial ports, debug console, traces and disks.
//!
//! Output goes through a [`ByteSink`]: cheap per byte for a vCPU, written by a thread of its own. Input comes
//! from a [`SerialInput`], whose thread hands [`ConsoleInput`] to the machine. On a terminal, standard input
//! is in raw mode with an escape key (see [`input`]); [`terminal`] restores it whatever happens.

use crate::{
    config::{DiskBus, DiskSpec, MachineConfig, SerialSpec, TraceKind},
    exit::OptionError,
};
use emu_core::backend::BlockBackend;
use emu_disk::{DiskOptions, SpaceWatch};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

pub mod input;
mod output;
mod pty;
pub mod signals;
pub mod terminal;

pub use input::{ConsoleInput, SerialInput};
pub use output::{ByteSink, drain_all, flush_all};

/// One serial port's connection.
pub struct SerialPort {
    /// Where the guest's bytes go.
    pub output: ByteSink,
    /// Where bytes for the guest come from, if anywhere.
    pub input: Option<SerialInput>,
}

/// One disk's connection.
pub struct DiskPort {
    /// The image.
    pub disk: Arc<dyn BlockBackend>,
    /// Where the guest finds it.
    pub bus: DiskBus,
    /// Its serial number.
    pub serial: String,
}

/// Everything outside the machine that it prints to or hears from, opened before it starts.
pub struct HostPorts {
    /// COM1, COM2, ... as in [`MachineConfig::serial`].
    pub serial: Vec<SerialPort>,
    /// The debug console, if the machine has one.
    pub debugcon: Option<ByteSink>,
    /// The traces. Two kinds may share a sink: write whole lines.
    pub traces: Vec<(TraceKind, ByteSink)>,
    /// The disks, in the order in which the guest finds them.
    pub disks: Vec<DiskPort>,
}

impl HostPorts {
    /// Opens all that `config` names. A terminal is left as it is until [`SerialInput::start`].
    pub fn open(config: &MachineConfig) -> Result<HostPorts, OptionError> {
        let mut opener = Opener::default();
        if config.serial.iter().filter(|&spec| *spec == SerialSpec::Stdio).count() > 1 {
            let problem =
                "only one serial port can have standard input; use file:PATH, pty or none for others";
            return Err(OptionError::new("--serial", "stdio", problem));
        }
        let mut serial = Vec::new();
        for (number, spec) in config.serial.iter().enumerate() {
            let port = opener.port("--serial", spec, &format!("COM{}", number + 1))?;
            serial.push(port);
        }
        let debugcon = match &config.debugcon {
            Some(spec) => Some(opener.port("--debugcon", spec, "the debug console")?.output),
            None => None,
        };
        let mut traces = Vec::new();
        for trace in &config.trace {
            traces.push((trace.kind, opener.file("--trace", &trace.path)?));
        }
        let disks = config.disks.iter().enumerate().map(|(number, spec)| open_disk(number, spec));
        Ok(HostPorts { serial, debugcon, traces, disks: disks.collect::<Result<_, _>>()? })
    }
}

fn open_disk(number: usize, spec: &DiskSpec) -> Result<DiskPort, OptionError> {
    let DiskSpec { path, format, bus, readonly, overlay, cache, discard, serial } = spec.clone();
    let space_watch: Option<Arc<dyn SpaceWatch>> = Some(Arc::new(FullDisk));
    let options = DiskOptions { path, format, readonly, overlay, cache, discard, space_watch };
    let disk = emu_disk::open(&options)
        .map_err(|error| OptionError::new("--disk", options.path.display(), error))?;
    Ok(DiskPort { disk, bus, serial: serial.unwrap_or_else(|| format!("emu-disk-{}", number + 1)) })
}

/// Tells the user why a guest's writes stand still.
struct FullDisk;

impl SpaceWatch for FullDisk {
    fn no_space(&self, image: &Path) {
        log::error!("no room left for {}: the guest's writes wait until there is", image.display());
    }

    fn space_again(&self, image: &Path) {
        log::warn!("there is room again for {}: the guest's writes go on", image.display());
    }
}

/// Opens destinations, each host file only once.
#[derive(Default)]
struct Opener {
    stdout: Option<ByteSink>,
    files: Vec<(PathBuf, ByteSink)>,
}

impl Opener {
    fn port(&mut self, option: &str, spec: &SerialSpec, name: &str) -> Result<SerialPort, OptionError> {
        match spec {
            SerialSpec::None => Ok(SerialPort { output: ByteSink::nowhere(), input: None }),
            SerialSpec::File(path) => Ok(SerialPort { output: self.file(option, path)?, input: None }),
            SerialSpec::Stdio => self.stdio().map_err(|error| OptionError::new(option, "stdio", error)),
            SerialSpec::Pty => {
                pty::open(name).map_err(|error| OptionError::new(option, "pty", describe_error(&error)))
            }
        }
    }

    fn stdio(&mut self) -> io::Result<SerialPort> {
        let input = SerialInput::stdin(io::stdin().as_fd().try_clone_to_owned()?);
        if let Some(output) = &self.stdout {
            return Ok(SerialPort { output: output.clone(), input: Some(input) });
        }
        let output = ByteSink::to_descriptor("standard output", io::stdout().as_fd().try_clone_to_owned()?)?;
        self.stdout = Some(output.clone());
        Ok(SerialPort { output, input: Some(input) })
    }

    fn file(&mut self, option: &str, path: &Path) -> Result<ByteSink, OptionError> {
        if let Some((_, sink)) = self.files.iter().find(|(known, _)| known == path) {
            return Ok(sink.clone());
        }
        let failed = |error: io::Error| {
            let problem = format!("cannot be written ({}); name a file that can", describe_error(&error));
            OptionError::new(option, path.display(), problem)
        };
        let file = File::create(path).map_err(failed)?;
        let sink =
            ByteSink::to_descriptor(&path.display().to_string(), OwnedFd::from(file)).map_err(failed)?;
        self.files.push((path.to_owned(), sink.clone()));
        Ok(sink)
    }
}

/// An error of the host in words: without the "(os error 2)" that tells a user nothing.
pub fn describe_error(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TraceSpec;
    use std::io::Write;

    #[test]
    fn traces_to_one_file_share_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.txt");
        let trace =
            [TraceKind::Io, TraceKind::Mmu].map(|kind| TraceSpec { kind, path: path.clone() }).to_vec();
        let config = MachineConfig { serial: Vec::new(), trace, ..MachineConfig::default() };
        let mut ports = HostPorts::open(&config).unwrap();

        for (kind, sink) in &mut ports.traces {
            writeln!(sink, "{}", kind.name()).unwrap();
        }
        ports.traces[0].1.drain(None);

        assert_eq!(std::fs::read_to_string(path).unwrap(), "io\nmmu\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let serial = vec![SerialSpec::File("/nonexistent/x".into())];
        let config = MachineConfig { serial, ..MachineConfig::default() };
        let error = HostPorts::open(&config).err().unwrap().to_string();
        assert_eq!(
            error,
            "--serial /nonexistent/x: cannot be written (no such file or directory); name a file that can"
        );
    }
}
