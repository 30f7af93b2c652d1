//! The host's side of the guest's serial ports, debug console, traces, disks and networks.
//!
//! Output goes through a [`ByteSink`]: cheap per byte for a vCPU, written by a thread of its own. Input comes
//! from a [`SerialInput`], whose thread hands [`ConsoleInput`] to the machine. On a terminal, standard input
//! is in raw mode with an escape key (see [`input`]); [`terminal`] restores it whatever happens.

use crate::{
    config::{
        CdromSpec, DiskBus, DiskSpec, GdbPlace, GdbSpec, MachineConfig, NetworkCardSpec, SerialSpec,
        TraceKind, network_problem,
    },
    control::ControlSocket,
    exit::OptionError,
    gdb::GdbSocket,
};
use emu_core::backend::{BlockBackend, NetworkBackend};
use emu_disk::{CacheMode, DiskOptions, Format};
use emu_net::{
    NetworkSpec, SocketNetwork, TapNetwork,
    user::{UserNetwork, UserOptions},
};
use space::DiskSpace;
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
mod space;
mod stream;
pub mod terminal;
mod virtio;

pub use input::{ConsoleInput, SerialInput};
pub use output::{ByteSink, drain_all, flush_all};
pub use space::{HostSpace, Room};
pub use stream::SinkStream;
pub use virtio::{VirtioPort, VirtioPorts};

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
    /// What it is for the guest.
    pub kind: DiskKind,
    /// Its serial number.
    pub serial: String,
}

/// What an image is for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// A disk.
    Disk,
    /// The medium in a CD-ROM drive.
    Cdrom,
}

/// One network card's connection.
pub struct NetworkPort {
    /// The card.
    pub card: NetworkCardSpec,
    /// The other end of its cable.
    pub network: Arc<dyn NetworkBackend>,
}

/// Everything outside the machine that it prints to or hears from, opened before it starts.
pub struct HostPorts {
    /// COM1, COM2, ... as in [`MachineConfig::serial`].
    pub serial: Vec<SerialPort>,
    /// The debug console, if the machine has one.
    pub debugcon: Option<ByteSink>,
    /// The traces. Two kinds may share a sink: write whole lines.
    pub traces: Vec<(TraceKind, ByteSink)>,
    /// What virtio devices are connected to.
    pub virtio: VirtioPorts,
    /// The disks, in the order in which the guest finds them.
    pub disks: Vec<DiskPort>,
    /// The network cards, in the order in which the guest finds them.
    pub networks: Vec<NetworkPort>,
    /// The room that the disks have on the host.
    pub space: Arc<HostSpace>,
    /// Where the user controls the machine.
    pub control: Option<ControlSocket>,
    /// Where a debugger finds the machine.
    pub gdb: Option<GdbSocket>,
}

impl HostPorts {
    /// Opens all that `config` names. A terminal is left as it is until [`SerialInput::start`].
    pub fn open(config: &MachineConfig) -> Result<HostPorts, OptionError> {
        let mut opener = Opener::default();
        virtio::one_has_stdin(config)?;
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
        let space = Arc::<HostSpace>::default();
        let disks = config.disks.iter().enumerate().map(|(number, spec)| open_disk(number, spec, &space));
        let cdroms = config.cdroms.iter().enumerate().map(|(number, spec)| open_cdrom(number, spec));
        let disks = disks.chain(cdroms).collect::<Result<_, _>>()?;
        let networks = config.networks.iter().filter_map(|card| open_network(card).transpose());
        let networks = networks.collect::<Result<_, _>>()?;
        let virtio = VirtioPorts::open(config, &mut opener)?;
        let control = config.control.as_deref().map(open_control).transpose()?;
        let gdb = config.gdb.as_ref().map(open_gdb).transpose()?;
        Ok(HostPorts { serial, debugcon, traces, disks, virtio, networks, space, control, gdb })
    }
}

fn open_control(path: &Path) -> Result<ControlSocket, OptionError> {
    ControlSocket::listen(path).map_err(|error| {
        let problem =
            format!("no socket can be made there ({}); name a path that is free", describe_error(&error));
        OptionError::new("--control", path.display(), problem)
    })
}

fn open_gdb(spec: &GdbSpec) -> Result<GdbSocket, OptionError> {
    GdbSocket::listen(spec).map_err(|error| {
        let free = match spec.place {
            GdbPlace::Tcp(..) => "an address of this host and a port that is free",
            GdbPlace::Unix(_) => "a path that is free",
        };
        let problem = format!("no socket can be made there ({}); name {free}", describe_error(&error));
        OptionError::new("--gdb", &spec.place, problem)
    })
}

/// Opens what a card's cable leads to; `None` if there is nothing.
fn open_network(card: &NetworkCardSpec) -> Result<Option<NetworkPort>, OptionError> {
    let refused = |error: &dyn std::error::Error| {
        // The errors of a forward name that option.
        let text = error.to_string();
        let forward = card.forwards.iter().find(|forward| text.starts_with(&format!("--forward {forward}:")));
        match forward {
            Some(forward) => {
                let problem = network_problem(&format!("--forward {forward}"), error);
                OptionError::new("--forward", forward, problem)
            }
            None => {
                let problem = network_problem(&format!("--net {}", card.network), error);
                OptionError::new("--net", &card.network, problem)
            }
        }
    };
    let network: Arc<dyn NetworkBackend> = match &card.network {
        NetworkSpec::None => return Ok(None),
        NetworkSpec::User { restrict } => {
            let options = UserOptions { restrict: *restrict, forwards: card.forwards.clone() };
            Arc::new(UserNetwork::start(&options).map_err(|error| refused(&error))?)
        }
        NetworkSpec::Tap(name) => Arc::new(TapNetwork::open(name).map_err(|error| refused(&error))?),
        NetworkSpec::Socket(path) => Arc::new(SocketNetwork::open(path).map_err(|error| refused(&error))?),
    };
    Ok(Some(NetworkPort { card: card.clone(), network }))
}

fn open_disk(number: usize, spec: &DiskSpec, space: &Arc<HostSpace>) -> Result<DiskPort, OptionError> {
    let DiskSpec { path, format, bus, readonly, overlay, cache, discard, serial } = spec.clone();
    let space_watch = DiskSpace { number, space: space.clone() };
    let space_watch = Some(Arc::new(space_watch) as _);
    let options = DiskOptions { path, format, readonly, overlay, cache, discard, space_watch };
    let disk = emu_disk::open(&options)
        .map_err(|error| OptionError::new("--disk", options.path.display(), error))?;
    let kind = DiskKind::Disk;
    Ok(DiskPort { disk, bus, kind, serial: serial.unwrap_or_else(|| format!("emu-disk-{}", number + 1)) })
}

fn open_cdrom(number: usize, spec: &CdromSpec) -> Result<DiskPort, OptionError> {
    let CdromSpec { path, bus } = spec.clone();
    let options = DiskOptions {
        path,
        format: Some(Format::Raw),
        readonly: true,
        overlay: false,
        cache: CacheMode::Writeback,
        discard: false,
        space_watch: None,
    };
    let disk = emu_disk::open(&options)
        .map_err(|error| OptionError::new("--cdrom", options.path.display(), error))?;
    Ok(DiskPort { disk, bus, kind: DiskKind::Cdrom, serial: format!("emu-cdrom-{}", number + 1) })
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
