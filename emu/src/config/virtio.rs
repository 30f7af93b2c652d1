//! Virtio devices other than disks and network cards.

use super::{SerialSpec, parse_memory};
use emu_devices::virtio::GUEST_CIDS;
use std::{path::PathBuf, str::FromStr};

/// The longest name of a port.
const MOST_NAME: usize = 64;

/// A named port of the virtio console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtioPortSpec {
    /// Its name in the guest, as in `/dev/virtio-ports/NAME`.
    pub name: String,
    /// What it is connected to.
    pub destination: PortDestination,
}

/// What a named port is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortDestination {
    /// What a serial port can be connected to.
    Serial(SerialSpec),
    /// A Unix socket that emu listens at.
    Socket(PathBuf),
}

impl FromStr for VirtioPortSpec {
    type Err = String;

    /// `name=NAME,socket=PATH`, `name=NAME,file=PATH`, `name=NAME,pty`, `name=NAME,stdio`.
    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write name=NAME,socket=PATH, or file=PATH, pty or stdio in place of the socket";
        let (first, rest) = text.split_once(',').ok_or(SHAPE)?;
        let name = first.strip_prefix("name=").ok_or_else(|| format!("the name is missing; {SHAPE}"))?;
        let allowed = |c: char| c.is_ascii_graphic() && c != '/';
        if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(allowed) {
            return Err(format!(
                "\"{name}\" is not a name; use letters, digits and dots, as in org.example.agent"
            ));
        }
        let destination = match rest.split_once('=') {
            // A path is all of the rest, commas included.
            Some(("socket", path)) if !path.is_empty() => PortDestination::Socket(path.into()),
            Some(("file", path)) if !path.is_empty() => {
                PortDestination::Serial(SerialSpec::File(path.into()))
            }
            None if rest == "pty" => PortDestination::Serial(SerialSpec::Pty),
            None if rest == "stdio" => PortDestination::Serial(SerialSpec::Stdio),
            _ => return Err(format!("\"{rest}\" is not a destination; {SHAPE}")),
        };
        Ok(VirtioPortSpec { name: name.to_owned(), destination })
    }
}

/// A memory balloon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalloonSpec {
    /// Memory that the guest is to make do with at first; `None` is all of it.
    pub memory: Option<u64>,
}

impl FromStr for BalloonSpec {
    type Err = String;

    /// `on`, or a size.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "on" => Ok(BalloonSpec { memory: None }),
            _ => match parse_memory(text) {
                Ok(memory) => Ok(BalloonSpec { memory: Some(memory) }),
                Err(error) => Err(format!("{error}; or use on, and the guest keeps all")),
            },
        }
    }
}

/// A virtio socket device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VsockSpec {
    /// The guest's address.
    pub cid: u32,
    /// The socket, and the begin of the names of those for ports of the host.
    pub socket: PathBuf,
}

impl FromStr for VsockSpec {
    type Err = String;

    /// `cid=N,socket=PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write cid=N,socket=PATH, as in cid=3,socket=/tmp/vm.sock";
        let rest = text.strip_prefix("cid=").ok_or(SHAPE)?;
        let (cid, socket) = rest.split_once(",socket=").filter(|(_, path)| !path.is_empty()).ok_or(SHAPE)?;
        match cid.parse() {
            Ok(cid) if GUEST_CIDS.contains(&cid) => Ok(VsockSpec { cid, socket: socket.into() }),
            _ => {
                let (first, last) = (GUEST_CIDS.start(), GUEST_CIDS.end());
                Err(format!("\"{cid}\" is not a guest's address; use a number from {first} to {last}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("name=org.example.a,socket=/tmp/a,b", Some(PortDestination::Socket("/tmp/a,b".into())))]
    #[case("name=org.example.a,file=a=b", Some(PortDestination::Serial(SerialSpec::File("a=b".into()))))]
    #[case("name=org.example.a,pty", Some(PortDestination::Serial(SerialSpec::Pty)))]
    #[case("name=org.example.a,stdio", Some(PortDestination::Serial(SerialSpec::Stdio)))]
    #[case("name=org.example.a", None)]
    #[case("name=,stdio", None)]
    #[case("name=../x,stdio", None)]
    #[case("socket=/tmp/a,name=x", None)]
    #[case("name=x,socket=", None)]
    fn a_port_has_a_name_and_a_destination(#[case] text: &str, #[case] destination: Option<PortDestination>) {
        assert_eq!(text.parse::<VirtioPortSpec>().ok().map(|spec| spec.destination), destination);
    }

    #[rstest]
    #[case("cid=3,socket=/tmp/s", Some(3))]
    #[case("cid=4294967294,socket=s", Some(u32::MAX - 1))]
    #[case("cid=2,socket=s", None)]
    #[case("cid=4294967295,socket=s", None)]
    #[case("cid=3", None)]
    #[case("cid=3,socket=", None)]
    fn a_guests_address_is_one(#[case] text: &str, #[case] cid: Option<u32>) {
        assert_eq!(text.parse::<VsockSpec>().ok().map(|spec| spec.cid), cid);
    }

    #[test]
    fn a_balloon_has_a_size_or_none() {
        assert_eq!("on".parse(), Ok(BalloonSpec { memory: None }));
        assert_eq!("256M".parse(), Ok(BalloonSpec { memory: Some(256 << 20) }));
        assert!("off".parse::<BalloonSpec>().unwrap_err().contains("or use on"));
    }
}
