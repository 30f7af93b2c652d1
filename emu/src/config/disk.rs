//! `--disk`: an image, how it is opened, and where the guest finds it.

use emu_disk::{CacheMode, Format};
use std::{path::PathBuf, str::FromStr};

/// Bytes of a serial number, in every controller.
const SERIAL: usize = 20;
/// What can be said of a disk.
const SHAPE: &str = "use format=, bus=, readonly, overlay, cache=, discard or serial=";

/// Where a guest finds a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskBus {
    /// A virtio block device of its own.
    #[default]
    Virtio,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// The image.
    pub path: PathBuf,
    /// Its format; `None`: by name and content.
    pub format: Option<Format>,
    /// Where the guest finds it.
    pub bus: DiskBus,
    /// Writes are refused.
    pub readonly: bool,
    /// Writes are forgotten at the end.
    pub overlay: bool,
    /// How the host's cache is used.
    pub cache: CacheMode,
    /// What the guest discards is given back to the host.
    pub discard: bool,
    /// Its serial number; `None`: by its place among the disks.
    pub serial: Option<String>,
}

impl FromStr for DiskSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let path = parts.next().filter(|path| !path.is_empty());
        let path = path.ok_or("the file is missing; write FILE, as in disk.qcow2,bus=virtio")?;
        let mut spec = DiskSpec {
            path: path.into(),
            format: None,
            bus: DiskBus::Virtio,
            readonly: false,
            overlay: false,
            cache: CacheMode::Writeback,
            discard: false,
            serial: None,
        };
        for part in parts {
            spec.set(part)?;
        }
        Ok(spec)
    }
}

impl DiskSpec {
    fn set(&mut self, part: &str) -> Result<(), String> {
        match part.split_once('=').unwrap_or((part, "")) {
            ("readonly", "") => self.readonly = true,
            ("overlay", "") => self.overlay = true,
            ("discard", "") => self.discard = true,
            ("format", "auto") => self.format = None,
            ("format", name) => self.format = Some(name.parse()?),
            ("bus", "virtio") => self.bus = DiskBus::Virtio,
            ("bus", name) => return Err(format!("\"{name}\" is no bus; use virtio")),
            ("cache", "writeback") => self.cache = CacheMode::Writeback,
            ("cache", "none") => self.cache = CacheMode::None,
            ("cache", "unsafe") => self.cache = CacheMode::Unsafe,
            ("cache", name) => {
                return Err(format!("\"{name}\" is no way to cache; use writeback, none or unsafe"));
            }
            ("serial", serial) if serial.len() <= SERIAL && serial.is_ascii() && !serial.is_empty() => {
                self.serial = Some(serial.to_owned());
            }
            ("serial", serial) => {
                return Err(format!("\"{serial}\" is no serial number; use 1 to {SERIAL} ASCII characters"));
            }
            _ => return Err(format!("\"{part}\" says nothing of a disk; {SHAPE}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_disk_is_a_file_and_what_is_said_of_it() {
        let spec: DiskSpec = "a.img,format=raw,readonly,cache=none,discard,serial=x1".parse().unwrap();
        let expected = DiskSpec {
            path: "a.img".into(),
            format: Some(Format::Raw),
            bus: DiskBus::Virtio,
            readonly: true,
            overlay: false,
            cache: CacheMode::None,
            discard: true,
            serial: Some("x1".into()),
        };
        assert_eq!(spec, expected);
        assert_eq!("b".parse::<DiskSpec>().unwrap().format, None);
    }

    #[rstest]
    #[case("", "the file is missing")]
    #[case(",readonly", "the file is missing")]
    #[case("a,format=iso", "format")]
    #[case("a,bus=isa", "\"isa\" is no bus")]
    #[case("a,cache=often", "is no way to cache")]
    #[case("a,serial=123456789012345678901", "is no serial number")]
    #[case("a,readonly=yes", "says nothing of a disk")]
    #[case("a,fast", "\"fast\" says nothing of a disk")]
    fn what_makes_no_sense_is_refused_with_the_reason(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<DiskSpec>().unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
