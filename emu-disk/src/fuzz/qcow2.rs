//! qcow2 images: what `emu disk` and a guest may do with them, in any order. An image that the input does not change
//! holds what was written to it, and is clean in the end.

use super::{ask, input::Input, read};
use crate::{CreateOptions, DiskOptions, Format};
use emu_core::backend::{BlockBackend, Data, Operation};
use flate2::{Compress, Compression, FlushCompress};
use std::{fs, ops::Range, path::Path, sync::OnceLock};

const LEN: u64 = 256 << 10;
const BASE_LEN: usize = 96 << 10;
/// Where the base image has data, and the image itself.
const BASE_DATA: u8 = 0xBA;
const DATA: u8 = 0xDA;
const WRITTEN: Range<usize> = 0x2000..0x2C00;
/// Things done with one image.
const STEPS: usize = 24;
/// Longer disks are not read from end to end.
const LONGEST: u64 = 4 << 20;

/// An image as it is before the input changes it.
struct Made {
    bytes: Vec<u8>,
    backed: bool,
    /// It is one that could have been made.
    sound: bool,
}

fn create(path: &Path, cluster_size: u32, backed: bool) {
    let backing = backed.then(|| ("base".to_owned(), Format::Raw));
    let (path, size) = (path.to_owned(), Some(LEN));
    let options = CreateOptions { path, format: Format::Qcow2, size, cluster_size, backing, replace: false };
    crate::create(&options).expect("an image can be made");
}

fn base() -> Vec<u8> {
    vec![BASE_DATA; BASE_LEN]
}

fn make(cluster_size: u32, backed: bool, snapshot: bool) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    fs::write(directory.path().join("base"), base()).expect("room for an image");
    create(&path, cluster_size, backed);
    let disk = open(&path).expect("a new image");
    let data = Data::Device(vec![DATA; WRITTEN.len()].into());
    let offset = WRITTEN.start as u64;
    assert!(ask(&*disk, Operation::Write { offset, data, through: true }).0.is_ok());
    drop(disk);
    if snapshot {
        crate::make_snapshot(&path, Some(Format::Qcow2), "kept").expect("a snapshot");
    }
    fs::read(&path).expect("an image")
}

/// The first cluster that was written is a packed one, behind the end of the others.
fn pack(mut bytes: Vec<u8>) -> Vec<u8> {
    let be64 =
        |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let mut packed = Vec::with_capacity(1024);
    Compress::new(Compression::fast(), false)
        .compress_vec(&[DATA; 512], &mut packed, FlushCompress::Finish)
        .expect("memory takes all");
    let place = |entry: u64| (entry & 0x00FF_FFFF_FFFF_FE00) as usize;
    let cluster = WRITTEN.start / 512;
    let table = place(be64(&bytes, be64(&bytes, 40) as usize + 8 * (cluster / 64)));
    let entry = 1u64 << 62 | bytes.len() as u64;
    bytes[table + 8 * (cluster % 64)..][..8].copy_from_slice(&entry.to_be_bytes());
    packed.resize(512, 0);
    bytes.extend(packed);
    bytes
}

fn made(choice: u64) -> &'static Made {
    static ALL: OnceLock<[Made; 5]> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let made = |bytes, backed| Made { bytes, backed, sound: true };
        [
            made(make(512, false, false), false),
            made(make(512, false, true), false),
            made(make(4096, true, false), true),
            made(make(65536, true, true), true),
            Made { bytes: pack(make(512, false, false)), backed: false, sound: false },
        ]
    });
    &all[choice as usize % all.len()]
}

fn open(path: &Path) -> Option<std::sync::Arc<dyn BlockBackend>> {
    let format = Some(Format::Qcow2);
    let options = DiskOptions { path: path.to_owned(), format, discard: true, ..DiskOptions::default() };
    crate::open(&options).ok()
}

/// An image, and what is expected of it if it has not been changed.
struct Image<'a> {
    path: &'a Path,
    sound: bool,
    /// It builds on the base image.
    backed: bool,
    /// The disk's content, and that of the snapshot.
    content: Vec<u8>,
    kept: Option<Vec<u8>>,
}

/// A changed image, and what a guest and its user do with it.
pub fn qcow2(data: &[u8]) {
    let mut input = Input(data);
    let Made { bytes, backed, sound } = made(input.next(1));
    let mut image = bytes.clone();
    // Mostly in the header; refcounts, tables and data are behind it, a cluster each.
    let areas = [0..112, 0..112, 0..image.len(), 0..image.len().min(4096)];
    let changes = input.change(&mut image, &areas);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    fs::write(directory.path().join("base"), base()).expect("room for an image");
    fs::write(&path, &image).expect("room for an image");
    let mut content = vec![0; LEN as usize];
    if *backed {
        content[..BASE_LEN].fill(BASE_DATA);
    }
    content[WRITTEN].fill(DATA);
    let sound = *sound && changes == 0;
    let mut image = Image { path: &path, sound, backed: *backed, content, kept: None };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        image.step(&mut input);
    }
    image.finish();
}

impl Image<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        let (path, format) = (self.path, Some(Format::Qcow2));
        let done = match input.next(1) % 16 {
            0 => crate::info(path, format, true).is_ok(),
            1 => crate::map(path, format).is_ok(),
            2 => crate::check(path, format, input.next(1) & 1 != 0).is_ok(),
            3 => self.resize(input),
            4 => self.make_snapshot(),
            5 => self.apply_snapshot(),
            6 => {
                let deleted = crate::delete_snapshot(path, format, "new").is_ok();
                deleted == self.kept.take().is_some() || !self.sound
            }
            // What a snapshot of a disk that builds on another holds changes with these.
            7 if self.kept.is_none() => self.rebase(input.next(1) & 1 != 0),
            8 if self.kept.is_none() => self.commit(),
            _ => self.be_a_guest(input),
        };
        assert!(done || !self.sound, "refused with an image that nobody has changed");
    }

    /// Shorter or longer, by clusters or not.
    fn resize(&mut self, input: &mut Input<'_>) -> bool {
        let len = (input.next(2) % 1024 + 1) * 512;
        // A disk with snapshots may be refused that.
        let resized = crate::resize(self.path, Some(Format::Qcow2), len, true).is_ok();
        if resized {
            self.content.resize(len as usize, 0);
        }
        true
    }

    fn make_snapshot(&mut self) -> bool {
        let made = crate::make_snapshot(self.path, Some(Format::Qcow2), "new").is_ok();
        let expected = self.kept.is_none();
        if made {
            self.kept = Some(self.content.clone());
        }
        made == expected
    }

    fn apply_snapshot(&mut self) -> bool {
        let applied = crate::apply_snapshot(self.path, Some(Format::Qcow2), "new").is_ok();
        if let Some(kept) = self.kept.as_ref().filter(|_| applied) {
            self.content.clone_from(kept);
        }
        applied == self.kept.is_some()
    }

    fn rebase(&mut self, backed: bool) -> bool {
        let backing = backed.then(|| ("base".to_owned(), Format::Raw));
        let done = crate::rebase(self.path, Some(Format::Qcow2), backing, false, &mut |_, _| {}).is_ok();
        if done {
            self.backed = backed;
        }
        done
    }

    /// Not of a changed image, which could name any file of ours as the one to write to.
    fn commit(&mut self) -> bool {
        !self.sound || crate::commit(self.path, Some(Format::Qcow2), &mut |_, _| {}).is_ok() == self.backed
    }

    /// A few requests of a guest's.
    fn be_a_guest(&mut self, input: &mut Input<'_>) -> bool {
        let Some(disk) = open(self.path) else { return false };
        let sectors = disk.geometry().len / 512;
        if sectors == 0 {
            return false;
        }
        for _ in 0..1 + input.next(1) % 8 {
            let (what, sector) = (input.next(1), input.next(2) % sectors);
            let len = (1 + input.next(1) % 64).min(sectors - sector) * 512;
            self.request(&*disk, what, (sector * 512, len));
        }
        true
    }

    fn request(&mut self, disk: &dyn BlockBackend, what: u64, (offset, len): (u64, u64)) {
        let range = offset as usize..(offset + len) as usize;
        let data = || Data::Device(vec![what as u8; len as usize].into());
        let (operation, fill) = match what % 8 {
            0..=2 => (Operation::Write { offset, data: data(), through: what & 8 != 0 }, Some(what as u8)),
            3 => (Operation::WriteZeroes { offset, len, unmap: what & 8 != 0 }, Some(0)),
            4 => (Operation::Discard { offset, len }, None),
            5 => (Operation::Flush, None),
            _ => return self.compare(disk, offset, len),
        };
        let (result, _) = ask(disk, operation);
        if !self.sound {
            return;
        }
        assert!(result.is_ok(), "{what} at {offset:#x}: {result:?}");
        match fill {
            Some(value) => self.content[range].fill(value),
            // What is there now is the disk's affair.
            None if what % 8 == 4 => {
                let now = read(disk, offset, len as usize).expect("what was discarded can be read");
                self.content[range].copy_from_slice(&now);
            }
            None => {}
        }
    }

    fn compare(&self, disk: &dyn BlockBackend, offset: u64, len: u64) {
        let found = read(disk, offset, len as usize);
        if self.sound {
            let range = offset as usize..(offset + len) as usize;
            assert!(found.as_deref() == Some(&self.content[range]), "{offset:#x}: the content is another");
        }
    }

    /// All of it, once more.
    fn finish(&self) {
        if let Some(disk) = open(self.path) {
            let len = disk.geometry().len;
            assert!(!self.sound || len == self.content.len() as u64, "a disk of {len} bytes");
            if len <= LONGEST {
                self.compare(&*disk, 0, len);
            }
        }
        let report = crate::check(self.path, Some(Format::Qcow2), false);
        if self.sound {
            let report = report.expect("an image that nobody has changed");
            assert_eq!((report.errors, report.leaks), (0, 0), "{:?}", report.sentences);
        }
    }
}
