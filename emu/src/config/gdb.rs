//! `--gdb PATH|[HOST:]PORT[,wait]`.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where a debugger finds the machine, and whether the machine waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GdbSpec {
    /// Where.
    pub place: GdbPlace,
    /// The machine stands at its first instruction until the debugger lets it go on.
    pub wait: bool,
}

/// Where a debugger finds the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GdbPlace {
    /// TCP, by host and port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for GdbSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, wait) = match text.strip_suffix(",wait") {
            Some(place) => (place, true),
            None => (text, false),
        };
        let (host, port) = place.rsplit_once(':').unwrap_or(("", place));
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let place = match () {
            () if place.is_empty() => {
                return Err("the place is missing; use a port, as in 1234, or a path".into());
            }
            () if place.contains('/') || !is_port => GdbPlace::Unix(place.into()),
            () => match port.parse() {
                Ok(port @ 1..) => {
                    GdbPlace::Tcp(if host.is_empty() { "127.0.0.1" } else { host }.into(), port)
                }
                _ => return Err("not a port; use 1 to 65535, or a path with a / in it".into()),
            },
        };
        Ok(GdbSpec { place, wait })
    }
}

impl fmt::Display for GdbPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GdbPlace::Tcp(host, port) => write!(f, "{host}:{port}"),
            GdbPlace::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn tcp(host: &str, port: u16) -> GdbPlace {
        GdbPlace::Tcp(host.into(), port)
    }

    #[rstest]
    #[case("1234", tcp("127.0.0.1", 1234), false)]
    #[case(":1234,wait", tcp("127.0.0.1", 1234), true)]
    #[case("0.0.0.0:1", tcp("0.0.0.0", 1), false)]
    #[case("[::1]:65535", tcp("[::1]", 65535), false)]
    #[case("gdb.sock,wait", GdbPlace::Unix("gdb.sock".into()), true)]
    #[case("/tmp/a:1", GdbPlace::Unix("/tmp/a:1".into()), false)]
    #[case("./1234", GdbPlace::Unix("./1234".into()), false)]
    fn digits_are_a_port_and_everything_else_a_path(
        #[case] text: &str,
        #[case] place: GdbPlace,
        #[case] wait: bool,
    ) {
        assert_eq!(text.parse(), Ok(GdbSpec { place, wait }));
    }

    #[rstest]
    #[case("", "missing")]
    #[case(",wait", "missing")]
    #[case("0", "1 to 65535")]
    #[case("host:65536", "1 to 65535")]
    fn what_is_no_place_is_refused_with_the_reason(#[case] text: &str, #[case] reason: &str) {
        assert!(text.parse::<GdbSpec>().unwrap_err().contains(reason));
    }
}
