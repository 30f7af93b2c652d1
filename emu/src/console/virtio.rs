//! What virtio devices other than disks and network cards are connected to.

use super::{Opener, SinkStream, describe_error};
use crate::{
    config::{MachineConfig, PortDestination, SerialSpec, ShareSpec, VirtioPortSpec},
    exit::OptionError,
    sockets::{port::PortSocket, vsock::VsockSockets},
};
use emu_core::backend::{EntropyBackend, EntropyError, StreamBackend};
use emu_devices::virtio::PortKind;
use emu_share::{Share, ShareError};
use std::{io, path::Path, sync::Arc};

/// A port of the virtio console.
pub enum VirtioPort {
    /// On a file, a terminal, or nothing.
    Sink(Arc<SinkStream>),
    /// On a socket.
    Socket(Arc<PortSocket>),
}

impl VirtioPort {
    /// What the device is connected to.
    pub fn backend(&self) -> Arc<dyn StreamBackend> {
        match self {
            VirtioPort::Sink(stream) => stream.clone(),
            VirtioPort::Socket(socket) => socket.clone(),
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct VirtioPorts {
    /// Ports of the console.
    pub ports: Vec<(PortKind, VirtioPort)>,
    /// Where randomness comes from.
    pub entropy: Option<Arc<dyn EntropyBackend>>,
    /// Shared folders by their tags.
    pub shares: Vec<(String, Arc<Share>)>,
    /// The guest's address, and the sockets.
    pub vsock: Option<(u32, Arc<VsockSockets>)>,
}

impl VirtioPorts {
    /// Opens all that `config` names.
    pub(super) fn open(config: &MachineConfig, opener: &mut Opener) -> Result<VirtioPorts, OptionError> {
        let mut ports = Vec::new();
        if let Some(spec) = &config.virtio_console {
            let port = opener.port("--virtio-console", spec, "the virtio console")?;
            ports.push((PortKind::Console, VirtioPort::Sink(Arc::new(SinkStream::new(port)))));
        }
        for VirtioPortSpec { name, destination } in &config.virtio_ports {
            ports.push((PortKind::Named(name.clone()), open_port(name, destination, opener)?));
        }
        let vsock = config.vsock.as_ref().map(|spec| {
            let sockets = VsockSockets::listen(&spec.socket);
            let sockets = sockets.map_err(|error| cannot_listen("--vsock", &spec.socket, &error))?;
            Ok((spec.cid, Arc::new(sockets)))
        });
        let entropy = config.rng.then(|| Arc::new(HostEntropy) as Arc<dyn EntropyBackend>);
        let shares = config.shares.iter().map(open_share).collect::<Result<_, _>>()?;
        Ok(VirtioPorts { ports, entropy, shares, vsock: vsock.transpose()? })
    }
}

fn open_port(
    name: &str,
    destination: &PortDestination,
    opener: &mut Opener,
) -> Result<VirtioPort, OptionError> {
    const OPTION: &str = "--virtio-port";
    match destination {
        PortDestination::Serial(spec) => {
            let port = opener.port(OPTION, spec, &format!("port {name}"))?;
            Ok(VirtioPort::Sink(Arc::new(SinkStream::new(port))))
        }
        PortDestination::Socket(path) => {
            let socket = PortSocket::listen(path).map_err(|error| cannot_listen(OPTION, path, &error))?;
            Ok(VirtioPort::Socket(Arc::new(socket)))
        }
    }
}

fn open_share(spec: &ShareSpec) -> Result<(String, Arc<Share>), OptionError> {
    let share = Share::open(&spec.folder, spec.readonly).map_err(|error| {
        let problem = match &error {
            ShareError::Open { source, .. } => format!("cannot be opened ({})", describe_error(source)),
            error => error.to_string(),
        };
        OptionError::new("--share", spec.folder.display(), format!("{problem}; name a folder with files"))
    })?;
    Ok((spec.tag.clone(), Arc::new(share)))
}

fn cannot_listen(option: &str, path: &Path, error: &io::Error) -> OptionError {
    let problem = format!("cannot listen there ({}); name a socket that can be made", describe_error(error));
    OptionError::new(option, path.display(), problem)
}

/// Refuses a second port with standard input.
pub(super) fn one_has_stdin(config: &MachineConfig) -> Result<(), OptionError> {
    let stdin = |spec: &SerialSpec| *spec == SerialSpec::Stdio;
    let serial = config.serial.iter().filter(|spec| stdin(spec)).map(|_| "--serial");
    let console = config.virtio_console.iter().filter(|spec| stdin(spec)).map(|_| "--virtio-console");
    let named = config
        .virtio_ports
        .iter()
        .filter(|port| matches!(&port.destination, PortDestination::Serial(spec) if stdin(spec)));
    let mut all = serial.chain(console).chain(named.map(|_| "--virtio-port"));
    let (Some(first), Some(second)) = (all.next(), all.next()) else { return Ok(()) };
    let problem = if first == second {
        "only one port can have standard input; use file:PATH, pty or none for others".to_owned()
    } else {
        format!("only one port can have standard input, and {first} has it; use another destination for one")
    };
    Err(OptionError::new(second, "stdio", problem))
}

/// The host's randomness.
struct HostEntropy;

impl EntropyBackend for HostEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|error| {
            log::debug!("getrandom: {error}");
            EntropyError
        })
    }
}
