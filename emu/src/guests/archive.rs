//! Tells a whole initial ramdisk from one that was cut off.
//!
//! Knows cpio "newc", gzip, xz and zstd, one after the other as the kernel takes them. Anything else may be
//! a multiboot module of any kind, and passes.

use flate2::bufread::GzDecoder;
use std::io;

/// Up to this size a gzip member is decompressed to see whether it is whole. That takes a few milliseconds per
/// MiB: beyond, a start without delay is worth more, and the kernel reports the fault.
const MOST_GZIP: usize = 8 << 20;

/// Returns false if `data` is certainly the beginning of something longer.
pub fn is_whole(mut data: &[u8]) -> bool {
    loop {
        // Archives are padded with zeros to whatever their maker liked.
        let padding = data.iter().take_while(|&&byte| byte == 0).count();
        data = &data[padding..];
        let rest = match data {
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => after_cpio(data),
            [0x1F, 0x8B, ..] => after_gzip(data),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => after_zstd(data),
            // xz ends with its footer magic, and may be padded with zeros.
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => {
                let end = data.len() - data.iter().rev().take_while(|&&byte| byte == 0).count();
                return data[..end].ends_with(b"YZ");
            }
            _ => return true,
        };
        match rest {
            Some(rest) => data = rest,
            None => return false,
        }
    }
}

/// Skips one cpio archive up to its trailer.
fn after_cpio(mut data: &[u8]) -> Option<&[u8]> {
    const HEADER: usize = 110;
    loop {
        if data.get(..5)? != b"07070" {
            // Not a header where one must be: damaged perhaps, but not cut off.
            return Some(&[]);
        }
        let header = data.get(..HEADER)?;
        // c_filesize and c_namesize: eight hexadecimal digits each.
        let field = |at: usize| {
            let digits = std::str::from_utf8(&header[at..at + 8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (Some(file_size), Some(name_size)) = (field(54), field(94)) else {
            return Some(&[]);
        };
        let name_end = HEADER + name_size;
        let name = data.get(HEADER..name_end)?;
        let file_start = name_end.next_multiple_of(4);
        let end = file_start + file_size;
        data.get(..end)?;
        // Whether the last file's padding is there does not matter.
        let next = data.get(end.next_multiple_of(4)..).unwrap_or(&[]);
        if name == b"TRAILER!!!\0" {
            return Some(next);
        }
        data = next;
    }
}

fn after_gzip(data: &[u8]) -> Option<&[u8]> {
    if data.len() > MOST_GZIP {
        return Some(&[]);
    }
    let mut decoder = GzDecoder::new(data);
    match io::copy(&mut decoder, &mut io::sink()) {
        Ok(_) => Some(decoder.into_inner()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(_) => Some(&[]),
    }
}

/// Skips one zstd frame by its block headers (RFC 8878, 3.1.1).
fn after_zstd(data: &[u8]) -> Option<&[u8]> {
    let descriptor = *data.get(4)?;
    let single_segment = descriptor & 0x20 != 0;
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        size => 1 << size,
    };
    let mut at = 5 + usize::from(!single_segment) + dictionary_id + content_size;
    loop {
        let header = data.get(at..at + 3)?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let size = match header >> 1 & 3 {
            1 => 1,
            _ => (header >> 3) as usize,
        };
        at += 3 + size;
        if header & 1 != 0 {
            let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
            return data.get(at + checksum..);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::Initramfs;
    use rstest::rstest;

    fn tree() -> Initramfs {
        let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut tree = Initramfs::new();
        tree.file("/init", 0o755, "#!/bin/sh\n").file("/noise", 0o644, noise);
        tree
    }

    fn cpio() -> Vec<u8> {
        tree().write(Vec::new()).unwrap()
    }

    fn gzip() -> Vec<u8> {
        tree().write_gzip(Vec::new()).unwrap()
    }

    /// A frame with a window descriptor, one raw block of 300 bytes, one RLE block, and a checksum.
    fn zstd() -> Vec<u8> {
        let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x58];
        frame.extend(&(300u32 << 3).to_le_bytes()[..3]);
        frame.extend([7; 300]);
        frame.extend(&(1000u32 << 3 | 1 << 1 | 1).to_le_bytes()[..3]);
        frame.extend([9, 1, 2, 3, 4]);
        frame
    }

    fn xz() -> Vec<u8> {
        [&[0xFD, b'7', b'z', b'X', b'Z', 0], &[5; 100][..], b"YZ"].concat()
    }

    #[rstest]
    #[case::cpio(cpio())]
    #[case::gzip(gzip())]
    #[case::zstd(zstd())]
    #[case::xz(xz())]
    #[case::microcode_then_gzip([cpio(), vec![0; 512], gzip()].concat())]
    #[case::padded([zstd(), vec![0; 100]].concat())]
    fn a_whole_archive_passes_and_its_beginning_does_not(#[case] archive: Vec<u8>) {
        assert!(is_whole(&archive));
        let content = archive.iter().rposition(|&byte| byte != 0).unwrap();
        for cut in [content / 3, content - 5, content] {
            assert!(!is_whole(&archive[..cut]), "cut at {cut} of {}", archive.len());
        }
    }

    #[rstest]
    #[case(b"")]
    #[case(b"any module")]
    #[case(b"\x7FELF")]
    fn what_is_no_archive_passes(#[case] data: &[u8]) {
        assert!(is_whole(data));
    }
}
