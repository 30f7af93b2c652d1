//! Whether an initrd is complete, as far as it can be told (Documentation/driver-api/early-userspace/
//! buffer-format.rst): a kernel that finds it truncated panics late, far from the cause.
//!
//! Archives may follow each other, with zeros between. cpio and zstd are walked by their headers, gzip is
//! decoded, of xz the end marker is looked at. Other formats (lz4, lzma, bzip2, lzo, file systems) are not judged.

use std::io::{ErrorKind, Read};

/// Why an initrd is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitrdError {
    /// There is nothing in it.
    #[error("the initrd is empty: give a cpio archive, compressed or not")]
    Empty,
    /// It ends early.
    #[error("the initrd is truncated: its {0} ends early: copy or build it again")]
    Truncated(&'static str),
    /// What is there contradicts itself.
    #[error("the initrd is damaged: its {0} cannot be read: copy or build it again")]
    Damaged(&'static str),
}

const CPIO: &str = "cpio archive";
const GZIP: &str = "gzip data";
const XZ: &str = "xz data";
const ZSTD: &str = "zstd data";

/// Checks an initrd. Takes as long as decompressing it if it is compressed with gzip, otherwise no time.
pub fn check_initrd(bytes: &[u8]) -> Result<(), InitrdError> {
    if bytes.is_empty() {
        return Err(InitrdError::Empty);
    }
    let mut rest = bytes;
    loop {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
        rest = if rest.starts_with(b"070701") || rest.starts_with(b"070702") {
            cpio(rest)?
        } else if rest.starts_with(b"\x1F\x8B") {
            gzip(rest)?
        } else if rest.starts_with(b"\x28\xB5\x2F\xFD") {
            zstd(rest)?
        } else if rest.starts_with(b"\xFD7zXZ\0") {
            return xz(rest);
        } else {
            return Ok(());
        };
    }
}

/// A cpio archive in the "newc" format: skips to behind its trailer.
fn cpio(archive: &[u8]) -> Result<&[u8], InitrdError> {
    const HEADER: usize = 110;
    const TRUNCATED: InitrdError = InitrdError::Truncated(CPIO);
    let mut at = 0_usize;
    loop {
        let header = archive.get(at..at + HEADER).ok_or(TRUNCATED)?;
        if !header.starts_with(b"07070") {
            return Err(InitrdError::Damaged(CPIO));
        }
        let field = |offset: usize| {
            let digits = std::str::from_utf8(&header[offset..offset + 8]).ok();
            let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            value.map(|value| value as usize).ok_or(InitrdError::Damaged(CPIO))
        };
        let (file_size, name_size) = (field(54)?, field(94)?);
        let name_end = (at + HEADER).checked_add(name_size).ok_or(TRUNCATED)?;
        let name = archive.get(at + HEADER..name_end).ok_or(TRUNCATED)?;
        if name == b"TRAILER!!!\0" {
            return Ok(&archive[name_end..]);
        }
        // The last file may lack its padding only at the end, where the trailer is missed anyway.
        let file_end = name_end.next_multiple_of(4).checked_add(file_size).ok_or(TRUNCATED)?;
        at = file_end.checked_next_multiple_of(4).ok_or(TRUNCATED)?;
        if at > archive.len() {
            return Err(TRUNCATED);
        }
    }
}

/// One gzip member.
fn gzip(data: &[u8]) -> Result<&[u8], InitrdError> {
    let mut decoder = flate2::bufread::GzDecoder::new(data);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(decoder.into_inner()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(InitrdError::Truncated(GZIP));
            }
            Err(_) => return Err(InitrdError::Damaged(GZIP)),
        }
    }
}

/// One zstd frame (RFC 8878, 3.1.1): skips its blocks.
fn zstd(frame: &[u8]) -> Result<&[u8], InitrdError> {
    const TRUNCATED: InitrdError = InitrdError::Truncated(ZSTD);
    let descriptor = *frame.get(4).ok_or(TRUNCATED)?;
    let single_segment = descriptor >> 5 & 1;
    let checksum = if descriptor & 1 << 2 != 0 { 4 } else { 0 };
    let window = usize::from(1 - single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = [usize::from(single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    let mut at = 5 + window + dictionary + content_size;
    loop {
        let header = frame.get(at..at + 3).ok_or(TRUNCATED)?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let length = match header >> 1 & 3 {
            0 | 2 => (header >> 3) as usize,
            1 => 1,
            _ => return Err(InitrdError::Damaged(ZSTD)),
        };
        at += 3 + length;
        if header & 1 != 0 {
            return frame.get(at + checksum..).ok_or(TRUNCATED);
        }
    }
}

/// An xz stream, the last thing in the initrd: it ends with "YZ" and padding.
fn xz(stream: &[u8]) -> Result<(), InitrdError> {
    let padding = stream.iter().rev().take_while(|byte| **byte == 0).count();
    if stream[..stream.len() - padding].ends_with(b"YZ") { Ok(()) } else { Err(InitrdError::Truncated(XZ)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use rstest::rstest;
    use std::io::Write;

    fn entry(name: &str, contents: &[u8]) -> Vec<u8> {
        let mut fields = [0; 13];
        (fields[6], fields[11]) = (contents.len(), name.len() + 1);
        let numbers: String = fields.iter().map(|field| format!("{field:08X}")).collect();
        let mut bytes = format!("070701{numbers}{name}\0").into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn archive() -> Vec<u8> {
        [entry("init", b"#!/bin/sh"), entry("TRAILER!!!", b"")].concat()
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A frame with a raw block of five bytes and a run of 100, with a checksum.
    fn zstd_frame() -> Vec<u8> {
        let mut frame = b"\x28\xB5\x2F\xFD\x04\x00".to_vec();
        frame.extend_from_slice(&(5_u32 << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(b"hello");
        frame.extend_from_slice(&(100_u32 << 3 | 1 << 1 | 1).to_le_bytes()[..3]);
        frame.extend_from_slice(b"x----");
        frame
    }

    fn xz_stream() -> Vec<u8> {
        b"\xFD7zXZ\0 some blocks, an index YZ".to_vec()
    }

    #[rstest]
    #[case::cpio(archive())]
    #[case::gzip(gzipped(&archive()))]
    #[case::zstd(zstd_frame())]
    #[case::xz(xz_stream())]
    #[case::microcode_then_compressed([archive(), vec![0; 300], gzipped(&archive())].concat())]
    fn complete_initrd_passes_and_any_shorter_one_does_not(#[case] initrd: Vec<u8>) {
        let mut padded = initrd.clone();
        padded.resize(initrd.len() + 512, 0);
        assert_eq!(check_initrd(&initrd), Ok(()));
        assert_eq!(check_initrd(&padded), Ok(()));
        let used = initrd.len() - initrd.iter().rev().take_while(|byte| **byte == 0).count();
        for missing in [1, 2, 5] {
            let result = check_initrd(&initrd[..used - missing]);
            assert!(matches!(result, Err(InitrdError::Truncated(_))), "{missing} bytes missing: {result:?}");
        }
    }

    #[test]
    fn formats_that_are_not_known_are_not_judged() {
        assert_eq!(check_initrd(b"a file system, perhaps"), Ok(()));
        assert_eq!(check_initrd(b""), Err(InitrdError::Empty));
    }

    #[test]
    fn damage_is_not_called_truncation() {
        let mut compressed = gzipped(&archive());
        let last = compressed.len() - 6;
        compressed[last] ^= 0xFF;
        assert_eq!(check_initrd(&compressed), Err(InitrdError::Damaged(GZIP)));
    }

    proptest! {
        #[test]
        fn random_contents_never_panic(format in 0_usize..4, bytes in vec(any::<u8>(), 0..400)) {
            let magic: &[u8] = [&b"070701"[..], b"\x1F\x8B\x08", b"\x28\xB5\x2F\xFD", b"\xFD7zXZ\0"][format];
            let _ = check_initrd(&[magic, &bytes].concat());
        }
    }
}
