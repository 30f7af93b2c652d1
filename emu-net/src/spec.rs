//! What users write: `--net` and `--forward`.

use crate::user::{Forward, Protocol};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// What a card's cable leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkSpec {
    /// There is no card.
    None,
    /// User-mode NAT.
    User {
        /// The guest reaches nothing on its own; forwards still lead to it.
        restrict: bool,
    },
    /// The host's tap interface of this name.
    Tap(String),
    /// Another machine, by a Unix socket at this path.
    Socket(PathBuf),
}

impl Default for NetworkSpec {
    fn default() -> Self {
        NetworkSpec::User { restrict: false }
    }
}

/// What is wrong with an option. The text says it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No such network.
    #[error("--net {0}: there is no such network; write none, user, user,restrict, tap:NAME or socket:PATH")]
    UnknownNetwork(String),
    /// No such option of the user network.
    #[error("--net {0}: `{1}` is no option of the user network; it has restrict alone")]
    UnknownOption(String, String),
    /// A tap without a name that the host would take.
    #[error(
        "--net {0}: an interface has a name of 1 to 15 characters without `/` and blanks, as in tap:tap0"
    )]
    TapName(String),
    /// A socket without a usable path.
    #[error("--net {0}: a socket has a path of 1 to 107 bytes, as in socket:/tmp/link")]
    SocketPath(String),
    /// Not the form of a forward.
    #[error(
        "--forward {0}: write tcp:PORT:GUESTPORT or tcp:ADDRESS:PORT:GUESTPORT (or udp), as in tcp:127.0.0.1:2222:22"
    )]
    Forward(String),
    /// Neither TCP nor UDP.
    #[error("--forward {0}: `{1}` is no protocol that can be forwarded; write tcp or udp")]
    ForwardProtocol(String, String),
    /// Not an address.
    #[error(
        "--forward {0}: `{1}` is no IP address; write one as in 127.0.0.1 or [::1], or 0.0.0.0 for all interfaces"
    )]
    ForwardAddress(String, String),
    /// Not a port.
    #[error("--forward {0}: `{1}` is no port; ports are 1 to 65535")]
    ForwardPort(String, String),
}

impl FromStr for NetworkSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Some(name) = text.strip_prefix("tap:") {
            let odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
            let good = (1..=15).contains(&name.len()) && !name.contains(odd) && name != "." && name != "..";
            return if good {
                Ok(NetworkSpec::Tap(name.into()))
            } else {
                Err(SpecError::TapName(text.into()))
            };
        }
        if let Some(path) = text.strip_prefix("socket:") {
            let good = (1..=107).contains(&path.len()) && !path.contains('\0');
            return if good {
                Ok(NetworkSpec::Socket(path.into()))
            } else {
                Err(SpecError::SocketPath(text.into()))
            };
        }
        let (name, options) =
            text.split_once(',').map_or((text, None), |(name, options)| (name, Some(options)));
        match (name, options) {
            ("none", None) => Ok(NetworkSpec::None),
            ("user", None) => Ok(NetworkSpec::User { restrict: false }),
            ("user", Some("restrict")) => Ok(NetworkSpec::User { restrict: true }),
            ("user", Some(options)) => Err(SpecError::UnknownOption(text.into(), options.into())),
            _ => Err(SpecError::UnknownNetwork(text.into())),
        }
    }
}

impl fmt::Display for NetworkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkSpec::None => f.write_str("none"),
            NetworkSpec::User { restrict: false } => f.write_str("user"),
            NetworkSpec::User { restrict: true } => f.write_str("user,restrict"),
            NetworkSpec::Tap(name) => write!(f, "tap:{name}"),
            NetworkSpec::Socket(path) => write!(f, "socket:{}", path.display()),
        }
    }
}

impl FromStr for Forward {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = || SpecError::Forward(text.into());
        let (protocol, rest) = text.split_once(':').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(SpecError::ForwardProtocol(text.into(), other.into())),
        };
        let port = |port: &str| {
            let number = port.parse().ok().filter(|number| *number != 0 && !port.starts_with('+'));
            number.ok_or_else(|| SpecError::ForwardPort(text.into(), port.into()))
        };
        let (host, ports) = match split_address(rest).ok_or_else(wrong)? {
            (None, ports) => (None, ports),
            (Some(address), ports) => (Some(address), ports),
        };
        let address = match host {
            // Nobody opens a guest to the world by leaving something out.
            None | Some("") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(address) => {
                address.parse().map_err(|_| SpecError::ForwardAddress(text.into(), address.into()))?
            }
        };
        let (host_port, guest_port) =
            ports.split_once(':').filter(|(_, rest)| !rest.contains(':')).ok_or_else(wrong)?;
        Ok(Forward {
            protocol,
            host: SocketAddr::new(address, port(host_port)?),
            guest_port: port(guest_port)?,
        })
    }
}

/// Splits `[ADDRESS:]PORT:PORT`, where an address with colons stands in brackets.
fn split_address(text: &str) -> Option<(Option<&str>, &str)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, ports) = bracketed.split_once("]:")?;
        return Some((Some(address), ports));
    }
    match text.split(':').count() {
        2 => Some((None, text)),
        3 => text.split_once(':').map(|(address, ports)| (Some(address), ports)),
        _ => None,
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.protocol, self.host, self.guest_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("none", NetworkSpec::None)]
    #[case("user", NetworkSpec::User { restrict: false })]
    #[case("user,restrict", NetworkSpec::User { restrict: true })]
    #[case("tap:tap0", NetworkSpec::Tap("tap0".into()))]
    #[case("socket:/tmp/a,b", NetworkSpec::Socket("/tmp/a,b".into()))]
    fn a_network_is_written_as_it_is_read(#[case] text: &str, #[case] spec: NetworkSpec) {
        assert_eq!(text.parse(), Ok(spec.clone()));
        assert_eq!(spec.to_string(), text);
    }

    #[rstest]
    #[case("", "no such network")]
    #[case("none,restrict", "no such network")]
    #[case("user,restricted", "restrict alone")]
    #[case("user,", "restrict alone")]
    #[case("tap:", "1 to 15")]
    #[case("tap:a/b", "1 to 15")]
    #[case("tap:averyverylongname", "1 to 15")]
    #[case("socket:", "1 to 107")]
    fn a_mistake_in_a_network_is_named(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<NetworkSpec>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.starts_with(&format!("--net {text}:")), "{error}");
    }

    #[rstest]
    #[case("tcp:2222:22", "tcp:127.0.0.1:2222:22")]
    #[case("tcp::2222:22", "tcp:127.0.0.1:2222:22")]
    #[case("tcp:localhost:2222:22", "tcp:127.0.0.1:2222:22")]
    #[case("udp:0.0.0.0:53:5353", "udp:0.0.0.0:53:5353")]
    #[case("tcp:[::1]:2222:22", "tcp:[::1]:2222:22")]
    #[case("tcp:[::]:2222:22", "tcp:[::]:2222:22")]
    fn a_forward_is_read(#[case] text: &str, #[case] full: &str) {
        assert_eq!(text.parse::<Forward>().unwrap().to_string(), full);
    }

    #[rstest]
    #[case("tcp", "write tcp:PORT")]
    #[case("tcp:22", "write tcp:PORT")]
    #[case("tcp:::1:2222:22", "write tcp:PORT")]
    #[case("tcp:[::1:2222:22", "write tcp:PORT")]
    #[case("tcp:[::1]:2222:22:3", "write tcp:PORT")]
    #[case("sctp:1:2", "`sctp`")]
    #[case("tcp:example.org:1:2", "`example.org`")]
    #[case("tcp:0:22", "`0`")]
    #[case("tcp:2222:70000", "`70000`")]
    #[case("tcp:+1:22", "`+1`")]
    fn a_mistake_in_a_forward_is_named(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<Forward>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.starts_with(&format!("--forward {text}:")), "{error}");
    }
}
