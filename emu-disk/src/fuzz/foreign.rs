//! Images of other programs: small ones of each kind, whose headers and tables the input changes. Checksums are made
//! right afterwards, as a rule: behind a wrong one there is nothing to find.

mod vhd;
mod vhdx;
mod vmdk;

use super::{ask, input::Input, read};
use crate::{ConvertOptions, DiskOptions, Format};
use emu_core::backend::{Data, Operation};
use std::{fs, ops::Range, path::Path};

/// What data in the images is made of.
const DATA: u8 = 0xD7;
/// Bytes of the disks that are there, at their begin.
const KNOWN: usize = 4096;
/// Longer disks are not copied.
const LONGEST_COPY: u64 = 16 << 20;

/// An image.
struct Made {
    format: Format,
    bytes: Vec<u8>,
    /// Where headers and tables are.
    areas: Vec<Range<usize>>,
    /// Makes checksums right.
    sign: fn(&mut [u8]),
    /// Other files beside it.
    beside: Vec<(&'static str, Vec<u8>)>,
}

impl Made {
    fn new(format: Format, bytes: Vec<u8>, areas: Vec<Range<usize>>) -> Self {
        Made { format, bytes, areas, sign: |_| {}, beside: Vec::new() }
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn put_le32(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

fn put_be32(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_be_bytes());
}

/// Eight blocks, of which the third is the first in the file, and one is marked as zeroes.
fn vdi() -> Made {
    const BLOCK: usize = 4096;
    let mut bytes = vec![0; 0x400 + 2 * BLOCK];
    put(&mut bytes, 0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    let fields = [(0x40, 0xBEDA_107F), (0x44, 0x0001_0001), (0x48, 0x190), (0x4C, 1), (0x154, 0x200)];
    let sizes = [(0x158, 0x400), (0x170, 8 * BLOCK as u32), (0x178, BLOCK as u32), (0x180, 8), (0x184, 2)];
    for (at, value) in fields.into_iter().chain(sizes) {
        put_le32(&mut bytes, at, value);
    }
    for (block, place) in [1, u32::MAX, 0, u32::MAX - 1].into_iter().chain([u32::MAX; 4]).enumerate() {
        put_le32(&mut bytes, 0x200 + 4 * block, place);
    }
    bytes[0x400..].fill(DATA);
    Made::new(Format::Vdi, bytes, vec![0x40..0x200, 0x200..0x220])
}

fn made(choice: u64) -> Made {
    match choice % 7 {
        0 => vdi(),
        1 => vhd::fixed(),
        2 => vhd::dynamic(),
        3 => vhdx::vhdx(),
        4 => vmdk::sparse(),
        5 => vmdk::stream(),
        _ => vmdk::descriptor(),
    }
}

/// A changed image of one of the formats that are only read.
pub fn foreign(data: &[u8]) {
    let mut input = Input(data);
    let Made { format, mut bytes, areas, sign, beside } = made(input.next(1));
    let changes = input.change(&mut bytes, &areas);
    if input.next(1) < 0xF0 {
        sign(&mut bytes);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    for (name, content) in beside.iter().map(|(name, content)| (*name, content)).chain([("image", &bytes)]) {
        fs::write(directory.path().join(name), content).expect("room for an image");
    }
    let len = use_image(&path, format, changes == 0);
    if len <= LONGEST_COPY {
        let to = directory.path().join("copy");
        let (from_format, to_format) = (Some(format), Format::Raw);
        let options =
            ConvertOptions { from: path, from_format, to, to_format, cluster_size: 65536, replace: false };
        let copied = crate::convert(&options, &mut |_, _| {});
        assert!(changes != 0 || copied.is_ok(), "{copied:?}");
    }
}

/// Reads an image in all ways. One that is as it was made has known content at its begin. Returns its length.
fn use_image(path: &Path, format: Format, sound: bool) -> u64 {
    let info = crate::info(path, Some(format), true);
    let map = crate::map(path, Some(format));
    // Refused, or ambiguous.
    let _ = (crate::check(path, Some(format), false), crate::info(path, None, false));
    let options = DiskOptions { readonly: true, ..DiskOptions::default() };
    let disk = crate::open(&DiskOptions { path: path.to_owned(), format: Some(format), ..options });
    if sound {
        assert!(info.is_ok() && map.is_ok(), "{info:?} {map:?}");
    }
    let Ok(disk) = disk else {
        assert!(!sound, "a sound image cannot be opened");
        return u64::MAX;
    };
    let len = disk.geometry().len;
    for offset in [0, 4096, len / 2 / 512 * 512, len.saturating_sub(8192) / 512 * 512] {
        read(&*disk, offset, 8192);
    }
    let begin = read(&*disk, 0, KNOWN);
    assert!(!sound || begin == Some(vec![DATA; KNOWN]), "{format}: the content is another");
    let data = Data::Device(vec![1; 512].into());
    let (written, _) = ask(&*disk, Operation::Write { offset: 0, data, through: true });
    assert!(written.is_err(), "written to what may only be read");
    len
}
