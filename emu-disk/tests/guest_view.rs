//! What a guest reads is what it wrote, whatever it asks for in whatever order; and qemu-img finds the same in the
//! image.

mod support;

use emu_core::backend::{BlockError, Data, Operation};
use emu_disk::{DiskError, DiskOptions, Format};
use rstest::rstest;
use std::{fs, path::Path};
use support::{Disk, Random, assert_clean, content, create, have_qemu_img, options};

const SIZE: u64 = 3 << 20;

/// A disk and what is expected of it.
struct Expected {
    disk: Disk,
    bytes: Vec<u8>,
    random: Random,
}

impl Expected {
    fn step(&mut self) {
        let sectors = SIZE / 512;
        let offset = self.random.below(sectors);
        let most = if self.random.below(8) == 0 { 1024 } else { 24 };
        let len = 1 + self.random.below(most.min(sectors - offset));
        let (offset, len) = (offset * 512, len * 512);
        let range = offset as usize..(offset + len) as usize;
        match self.random.below(20) {
            0..=8 => {
                self.random.fill(&mut self.bytes[range.clone()]);
                self.disk.write(offset, &self.bytes[range]);
            }
            9..=14 => {
                assert_eq!(self.disk.read(offset, len as usize), self.bytes[range], "{offset:#x} {len:#x}")
            }
            15 | 16 => {
                let unmap = self.random.below(2) == 0;
                self.disk.ask(Operation::WriteZeroes { offset, len, unmap }).0.unwrap();
                self.bytes[range].fill(0);
            }
            17 | 18 => {
                self.disk.ask(Operation::Discard { offset, len }).0.unwrap();
                // What is there now is the disk's affair.
                self.bytes[range.clone()].copy_from_slice(&self.disk.read(offset, len as usize));
            }
            _ => self.disk.flush(),
        }
    }
}

fn run(options: &DiskOptions, bytes: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut expected = Expected { disk: Disk::open(options), bytes, random: Random(seed) };
    (0..1500).for_each(|_| expected.step());
    expected.bytes
}

#[rstest]
#[case::raw(Format::Raw, 512, false)]
#[case::qcow2(Format::Qcow2, 65536, false)]
#[case::small_clusters(Format::Qcow2, 512, false)]
#[case::page_clusters(Format::Qcow2, 4096, true)]
#[case::backed(Format::Qcow2, 65536, true)]
fn a_guest_reads_what_it_wrote(#[case] format: Format, #[case] cluster: u32, #[case] backed: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let mut bytes = vec![0; SIZE as usize];
    if backed {
        // Shorter than what builds on it, and not whole clusters.
        let mut base = vec![0; SIZE as usize / 2 + 512];
        Random(9).fill(&mut base);
        fs::write(directory.path().join("base"), &base).unwrap();
        bytes[..base.len()].copy_from_slice(&base);
    }
    create(&path, format, SIZE, cluster, backed.then_some(("base", Format::Raw)));
    for (seed, discard) in [(1, true), (2, false), (3, true)] {
        bytes = run(&DiskOptions { discard, ..options(&path, format) }, bytes, seed);
        assert_eq!(Disk::open(&options(&path, format)).read(0, SIZE as usize), bytes, "opened again");
        if have_qemu_img() {
            if format == Format::Qcow2 {
                assert_clean(&path);
            }
            assert!(content(&path, format.name()) == bytes, "qemu-img reads something else");
        }
    }
}

#[test]
fn an_overlay_leaves_the_image_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let mut bytes = vec![0; SIZE as usize];
    Random(5).fill(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    run(&DiskOptions { overlay: true, discard: true, ..options(&path, Format::Raw) }, bytes.clone(), 6);
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn what_a_disk_cannot_do_is_an_error_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    create(&path, Format::Qcow2, SIZE, 65536, None);
    let disk = Disk::open(&options(&path, Format::Qcow2));
    let read =
        |offset, len: usize| disk.ask(Operation::Read { offset, data: Data::Device(vec![0; len].into()) }).0;
    for (offset, len) in [(SIZE, 512), (SIZE - 512, 1024), (u64::MAX - 511, 512), (1, 512), (0, 1)] {
        assert_eq!(read(offset, len), Err(BlockError::Range), "{offset:#x} {len:#x}");
    }
    assert_eq!(read(SIZE - 512, 512), Ok(()));
    drop(disk);
    let disk = Disk::open(&DiskOptions { readonly: true, ..options(&path, Format::Qcow2) });
    let data = Data::Device(vec![0; 512].into());
    assert_eq!(disk.ask(Operation::Write { offset: 0, data, through: false }).0, Err(BlockError::ReadOnly));
    assert!(disk.0.geometry().read_only);
}

fn refused(options: &DiskOptions) -> DiskError {
    emu_disk::open(options).err().expect("the image is refused")
}

#[rstest]
#[case::raw(Format::Raw)]
#[case::qcow2(Format::Qcow2)]
fn an_image_has_one_writer_or_several_readers(#[case] format: Format) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    create(&path, format, SIZE, 65536, None);
    let write = options(&path, format);
    let read = DiskOptions { readonly: true, ..write.clone() };
    let writer = emu_disk::open(&write).unwrap();
    assert!(matches!(refused(&write), DiskError::InUse { .. }));
    assert!(matches!(refused(&read), DiskError::InUse { .. }));
    if have_qemu_img() {
        // It would write.
        let output = support::qemu_img(&["resize", "-f", format.name(), path.to_str().unwrap(), "+1M"]);
        let output = String::from_utf8(output.stderr).unwrap();
        assert!(output.contains("Failed to get \"write\" lock"), "{output}");
    }
    drop(writer);
    let _reader = emu_disk::open(&read).unwrap();
    let _another = emu_disk::open(&read).unwrap();
    assert!(matches!(refused(&write), DiskError::InUse { .. }));
}

#[rstest]
#[case("disk.raw", b"QFI\xFB", Some("format=raw or format=qcow2"))]
#[case("disk.img", b"QFI\xFB", Some("format=qcow2 or format=raw"))]
#[case("disk", b"vhdxfile", Some("format=vhdx or format=raw"))]
#[case("disk.qcow2", b"\0\0\0\0", Some("format=raw"))]
#[case("disk.img", b"\0\0\0\0", None)]
#[case("disk.raw", b"\0\0\0\0", None)]
fn what_could_be_two_formats_is_refused(
    #[case] name: &str,
    #[case] begin: &[u8],
    #[case] choices: Option<&str>,
) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    let mut bytes = vec![0; 4096];
    bytes[..begin.len()].copy_from_slice(begin);
    fs::write(&path, bytes).unwrap();
    let options = DiskOptions { path: path.clone(), ..DiskOptions::default() };
    match choices {
        None => assert_eq!(emu_disk::open(&options).unwrap().geometry().len, 4096),
        Some(choices) => {
            let error = refused(&options).to_string();
            assert!(error.contains(&path.display().to_string()) && error.ends_with(choices), "{error}");
        }
    }
}

#[test]
fn backing_files_that_lead_back_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    create(&at("a"), Format::Qcow2, SIZE, 65536, Some(("b", Format::Qcow2)));
    create(&at("b"), Format::Qcow2, SIZE, 65536, Some(("a", Format::Qcow2)));
    let error = refused(&DiskOptions { readonly: true, ..options(Path::new(&at("a")), Format::Qcow2) });
    assert!(error.to_string().contains("lead back"), "{error}");
}
