//! A shell script as the only task of the Debian guest: a disk that holds the script, and the kernel command line that
//! has systemd run it in place of the usual services and power off when it ends.

use super::write;
use anyhow::{Result, ensure};
use std::path::Path;

/// Where the file that comes with a script begins on its disk.
const PAYLOAD: usize = 1 << 20;

/// The kernel command line that runs the script on the disk that the guest calls `task`, with the root file system on
/// `root`.
pub fn command_line(root: &str, task: &str) -> String {
    format!("console=ttyS0,115200 quiet root={root} rw systemd.run=\"/bin/sh {task}\"")
}

/// Writes the disk. The script prints to the serial console; it starts with `payload` as the program `/tmp/payload`.
pub fn write_disk(path: &Path, script: &str, payload: &[u8]) -> Result<()> {
    let begin = if payload.is_empty() {
        String::new()
    } else {
        // The shell reads the script from the disk: $0 is its name.
        let (blocks, first) = (payload.len().div_ceil(512), PAYLOAD / 512);
        format!(
            "dd if=$0 of=/tmp/payload bs=512 skip={first} count={blocks} status=none\nchmod 755 /tmp/payload\n"
        )
    };
    // A block device has no end that a shell would see: the script has to.
    let text = format!("exec >/dev/ttyS0 2>&1\n{begin}{script}\nsync\npoweroff -f\nexit\n");
    ensure!(text.len() <= PAYLOAD, "a script of {} bytes is too long", text.len());
    let mut disk = text.into_bytes();
    disk.resize(PAYLOAD, 0);
    disk.extend_from_slice(payload);
    disk.resize(disk.len().next_multiple_of(4096), 0);
    write(path, &disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_and_payload_are_where_the_shell_looks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        write_disk(&path, "echo hello", b"program").unwrap();
        let disk = std::fs::read(path).unwrap();
        assert!(disk.starts_with(b"exec >/dev/ttyS0"));
        assert!(String::from_utf8_lossy(&disk).contains("skip=2048 count=1 "));
        assert_eq!((&disk[PAYLOAD..PAYLOAD + 8], disk.len() % 4096), (&b"program\0"[..], 0));
        assert!(write_disk(&folder.path().join("long"), &" ".repeat(PAYLOAD), b"").is_err());
    }
}
