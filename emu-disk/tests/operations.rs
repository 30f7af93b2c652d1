//! What the operations make, qemu-img accepts, and finds the same content in; and the other way round.

mod support;

use emu_disk::{ConvertOptions, CreateOptions, Format};
use rstest::rstest;
use std::{
    fs,
    path::{Path, PathBuf},
};
use support::{Disk, Random, assert_clean, content, create, have_qemu_img, options, qemu_img};

const SIZE: u64 = 9 << 20;

/// A disk with data, zeroes and nothing in it, which begin and end anywhere.
fn some_content(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = vec![0; SIZE as usize];
    for _ in 0..12 {
        let begin = random.below(SIZE) as usize / 512 * 512;
        let end = (begin + random.below(1 << 20) as usize).min(SIZE as usize);
        random.fill(&mut bytes[begin..end]);
    }
    bytes
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Directory(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn raw(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    /// An image that qemu-img makes of `bytes`.
    fn by_qemu(&self, name: &str, arguments: &[&str], bytes: &[u8]) -> PathBuf {
        let raw = self.raw("by_qemu.raw", bytes);
        let path = self.at(name);
        let all =
            [&["convert", "-f", "raw"], arguments, &[raw.to_str().unwrap(), path.to_str().unwrap()]].concat();
        let output = qemu_img(&all);
        assert!(output.status.success(), "{output:?}");
        path
    }
}

fn convert(from: &Path, from_format: Format, to: &Path, to_format: Format, cluster_size: u32) {
    let (from, to) = (from.to_owned(), to.to_owned());
    let from_format = Some(from_format);
    let options = ConvertOptions { from, from_format, to, to_format, cluster_size, replace: true };
    emu_disk::convert(&options, &mut |done, total| assert!(done <= total)).unwrap();
}

#[rstest]
#[case::qcow2(Format::Qcow2, &["-O", "qcow2"])]
#[case::version_2(Format::Qcow2, &["-O", "qcow2", "-o", "compat=0.10"])]
#[case::compressed(Format::Qcow2, &["-c", "-O", "qcow2"])]
#[case::small_clusters(Format::Qcow2, &["-O", "qcow2", "-o", "cluster_size=512"])]
#[case::narrow_counts(Format::Qcow2, &["-O", "qcow2", "-o", "refcount_bits=1"])]
#[case::vdi(Format::Vdi, &["-O", "vdi"])]
#[case::vdi_fixed(Format::Vdi, &["-O", "vdi", "-o", "static=on"])]
#[case::vhd(Format::Vhd, &["-O", "vpc", "-o", "force_size=on"])]
#[case::vhd_fixed(Format::Vhd, &["-O", "vpc", "-o", "subformat=fixed,force_size=on"])]
#[case::vhdx(Format::Vhdx, &["-O", "vhdx"])]
#[case::vhdx_fixed(Format::Vhdx, &["-O", "vhdx", "-o", "subformat=fixed"])]
#[case::vmdk(Format::Vmdk, &["-O", "vmdk"])]
#[case::vmdk_flat(Format::Vmdk, &["-O", "vmdk", "-o", "subformat=monolithicFlat"])]
#[case::vmdk_split(Format::Vmdk, &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"])]
#[case::vmdk_stream(Format::Vmdk, &["-O", "vmdk", "-o", "subformat=streamOptimized"])]
fn what_qemu_img_makes_is_read(#[case] format: Format, #[case] arguments: &[&str]) {
    if !have_qemu_img() {
        return;
    }
    let directory = Directory::new();
    let bytes = some_content(1);
    let image = directory.by_qemu("image", arguments, &bytes);
    let raw = directory.at("raw");
    convert(&image, format, &raw, Format::Raw, 65536);
    let found = fs::read(&raw).unwrap();
    assert_eq!(found.len(), bytes.len());
    assert!(found == bytes, "the content differs");
    let (host, full) = (emu_disk::info(&raw, Some(Format::Raw), false).unwrap()[0].allocated, SIZE);
    assert!(host < full, "zeroes take no room: {host} of {full}");
}

#[test]
fn a_vhd_by_geometry_has_the_length_that_qemu_img_finds() {
    if !have_qemu_img() {
        return;
    }
    let directory = Directory::new();
    let image = directory.by_qemu("image", &["-O", "vpc"], &some_content(1));
    let raw = directory.at("raw");
    convert(&image, Format::Vhd, &raw, Format::Raw, 65536);
    assert!(fs::read(raw).unwrap() == content(&image, "vpc"));
}

#[rstest]
#[case::raw(Format::Raw, 65536)]
#[case::qcow2(Format::Qcow2, 65536)]
#[case::small_clusters(Format::Qcow2, 512)]
#[case::large_clusters(Format::Qcow2, 2 << 20)]
fn what_is_converted_qemu_img_reads(#[case] format: Format, #[case] cluster: u32) {
    if !have_qemu_img() {
        return;
    }
    let directory = Directory::new();
    let bytes = some_content(2);
    let raw = directory.raw("raw", &bytes);
    let image = directory.at("image");
    convert(&raw, Format::Raw, &image, format, cluster);
    if format == Format::Qcow2 {
        assert_clean(&image);
        assert_eq!(emu_disk::check(&image, Some(format), false).unwrap().errors, 0);
    }
    assert!(content(&image, format.name()) == bytes);
    assert!(fs::metadata(&image).unwrap().len() <= SIZE + (12 << 20));
}

#[rstest]
#[case::several_refcount_blocks(512, 20 << 30, true)]
#[case(65536, 8 << 40, true)]
#[case(2 << 20, 1 << 50, true)]
#[case::too_many_small_clusters(512, 8 << 40, false)]
fn large_disks_can_be_made(#[case] cluster_size: u32, #[case] size: u64, #[case] possible: bool) {
    let directory = Directory::new();
    let path = directory.at("image");
    let made = emu_disk::create(&CreateOptions {
        path: path.clone(),
        format: Format::Qcow2,
        size: Some(size),
        cluster_size,
        backing: None,
        replace: false,
    });
    if !possible {
        let error = made.unwrap_err().to_string();
        assert!(error.contains("larger clusters") && !path.exists(), "{error}");
        return;
    }
    made.unwrap();
    Disk::open(&options(&path, Format::Qcow2)).write(size - 4096, &[7; 4096]);
    assert_eq!(Disk::open(&options(&path, Format::Qcow2)).read(size - 8192, 8192)[4095..4097], [0, 7]);
    if have_qemu_img() {
        assert_clean(&path);
    }
}

#[test]
fn no_file_is_replaced_that_was_not_to_be() {
    let directory = Directory::new();
    let path = directory.raw("image", b"precious");
    let options = |format, replace| CreateOptions {
        path: path.clone(),
        format,
        size: Some(SIZE),
        cluster_size: 65536,
        backing: None,
        replace,
    };
    let error = emu_disk::create(&options(Format::Raw, false)).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
    assert!(emu_disk::create(&options(Format::Vmdk, true)).is_err(), "no format that is made");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    emu_disk::create(&options(Format::Raw, true)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), SIZE);
}

#[rstest]
#[case::longer(SIZE, 20 << 30)]
#[case::shorter(SIZE, 3 << 20 | 512)]
#[case::within_a_cluster(SIZE, SIZE - 512)]
fn a_disk_changes_its_length(#[case] old: u64, #[case] new: u64) {
    for format in [Format::Raw, Format::Qcow2] {
        let directory = Directory::new();
        let path = directory.at("image");
        let bytes = some_content(3);
        convert(&directory.raw("raw", &bytes), Format::Raw, &path, format, 65536);
        if new < old {
            let error = emu_disk::resize(&path, Some(format), new, false).unwrap_err().to_string();
            assert!(error.contains("--shrink"), "{error}");
        }
        emu_disk::resize(&path, Some(format), new, true).unwrap();
        if format == Format::Qcow2 && have_qemu_img() {
            assert_clean(&path);
        }
        if new < old {
            // What was cut off does not come back.
            emu_disk::resize(&path, Some(format), old, false).unwrap();
        }
        let kept = old.min(new) as usize;
        let found = Disk::open(&options(&path, format)).read(0, old as usize);
        assert!(found[..kept] == bytes[..kept] && found[kept..].iter().all(|byte| *byte == 0), "{format}");
    }
}

#[test]
fn snapshots_keep_what_was_there() {
    let directory = Directory::new();
    let path = directory.at("image");
    let format = Some(Format::Qcow2);
    let states: Vec<Vec<u8>> = (10..13).map(some_content).collect();
    create(&path, Format::Qcow2, SIZE, 65536, None);
    let write = |bytes: &[u8]| Disk::open(&options(&path, Format::Qcow2)).write(0, bytes);
    let found = || Disk::open(&options(&path, Format::Qcow2)).read(0, SIZE as usize);
    let clean = || {
        assert_eq!(emu_disk::check(&path, format, false).unwrap().sentences, Vec::<String>::new());
        if have_qemu_img() {
            assert_clean(&path);
        }
    };
    for (state, name) in states.iter().zip(["first", "second", "third"]) {
        write(state);
        emu_disk::make_snapshot(&path, format, name).unwrap();
        clean();
    }
    assert!(emu_disk::make_snapshot(&path, format, "first").is_err(), "the name is taken");
    for (index, name) in [(0, "first"), (2, "3"), (1, "second")] {
        emu_disk::apply_snapshot(&path, format, name).unwrap();
        clean();
        assert!(found() == states[index], "{name}");
        write(&[1; 4096]);
        clean();
    }
    if have_qemu_img() {
        let output = qemu_img(&["snapshot", "-a", "first", path.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        assert!(found() == states[0], "by qemu-img");
    }
    for name in ["second", "1", "third"] {
        emu_disk::delete_snapshot(&path, format, name).unwrap();
        clean();
    }
    assert!(emu_disk::snapshots(&path, format).unwrap().is_empty());
    let error = emu_disk::apply_snapshot(&path, format, "first").unwrap_err().to_string();
    assert!(error.contains("no snapshot"), "{error}");
}

#[test]
fn a_snapshot_of_qemu_imgs_is_one_of_ours() {
    if !have_qemu_img() {
        return;
    }
    let directory = Directory::new();
    let bytes = some_content(4);
    let path = directory.by_qemu("image", &["-O", "qcow2"], &bytes);
    assert!(qemu_img(&["snapshot", "-c", "theirs", path.to_str().unwrap()]).status.success());
    let disk = Disk::open(&options(&path, Format::Qcow2));
    disk.write(0, &some_content(5));
    drop(disk);
    assert_clean(&path);
    emu_disk::apply_snapshot(&path, None.or(Some(Format::Qcow2)), "theirs").unwrap();
    assert_clean(&path);
    assert!(content(&path, "qcow2") == bytes);
}

/// An image over a base, each with content of its own; and what a guest sees.
fn layered(directory: &Directory, base_format: Format) -> (PathBuf, Vec<u8>) {
    let (base, over) = (some_content(20), some_content(21));
    convert(&directory.raw("raw", &base), Format::Raw, &directory.at("base"), base_format, 65536);
    let path = directory.at("image");
    create(&path, Format::Qcow2, SIZE, 65536, Some(("base", base_format)));
    let disk = Disk::open(&options(&path, Format::Qcow2));
    let mut bytes = base;
    for at in (0..SIZE as usize).step_by(3 << 20) {
        disk.write(at as u64 + 512, &over[at..at + (1 << 20)]);
        bytes[at + 512..at + 512 + (1 << 20)].copy_from_slice(&over[at..at + (1 << 20)]);
    }
    (path, bytes)
}

#[rstest]
#[case(Format::Raw)]
#[case(Format::Qcow2)]
fn a_commit_moves_all_to_the_backing_file(#[case] format: Format) {
    let directory = Directory::new();
    let (path, bytes) = layered(&directory, format);
    emu_disk::commit(&path, Some(Format::Qcow2), &mut |_, _| {}).unwrap();
    let base = directory.at("base");
    assert!(Disk::open(&options(&base, format)).read(0, SIZE as usize) == bytes, "the base has it");
    assert!(Disk::open(&options(&path, Format::Qcow2)).read(0, SIZE as usize) == bytes, "and is seen");
    assert_eq!(emu_disk::check(&path, Some(Format::Qcow2), false).unwrap().allocated, 0);
    if have_qemu_img() {
        assert_clean(&path);
    }
}

#[rstest]
#[case::other(true)]
#[case::none(false)]
fn a_rebase_keeps_the_content(#[case] onto_other: bool) {
    let directory = Directory::new();
    let (path, bytes) = layered(&directory, Format::Raw);
    directory.raw("other", &some_content(22)[..SIZE as usize / 2]);
    let backing = onto_other.then(|| ("other".to_owned(), Format::Raw));
    emu_disk::rebase(&path, Some(Format::Qcow2), backing, false, &mut |_, _| {}).unwrap();
    fs::remove_file(directory.at("base")).unwrap();
    assert!(Disk::open(&options(&path, Format::Qcow2)).read(0, SIZE as usize) == bytes);
    if have_qemu_img() {
        assert_clean(&path);
        assert!(content(&path, "qcow2") == bytes, "qemu-img sees the same");
    }
}

#[test]
fn the_map_is_qemu_imgs() {
    if !have_qemu_img() {
        return;
    }
    let directory = Directory::new();
    let (path, bytes) = layered(&directory, Format::Raw);
    let map = emu_disk::map(&path, Some(Format::Qcow2)).unwrap();
    let mut at = 0;
    for entry in &map {
        assert_eq!(entry.start, at, "without gaps");
        at += entry.extent.len;
        let here = &bytes[entry.start as usize..at as usize];
        assert!(!entry.extent.kind.reads_as_zero() || here.iter().all(|byte| *byte == 0));
    }
    assert_eq!(at, SIZE);
    let output = qemu_img(&["map", "--output=json", "-f", "qcow2", path.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    // What the image has itself, as qemu-img tells it: depth 0 and data.
    let own = |line: &&str| line.contains("\"depth\": 0") && line.contains("\"data\": true");
    let number = |line: &str, name: &str| {
        let rest = line.split(&format!("\"{name}\": ")).nth(1).unwrap();
        rest.split([',', '}']).next().unwrap().trim().parse::<u64>().unwrap()
    };
    let theirs: Vec<_> =
        text.lines().filter(own).map(|line| (number(line, "start"), number(line, "length"))).collect();
    let ours = map.iter().filter(|entry| entry.extent.depth == 0 && !entry.extent.kind.reads_as_zero());
    let ours: Vec<_> = ours.map(|entry| (entry.start, entry.extent.len)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn a_leak_is_found_and_repaired() {
    let directory = Directory::new();
    let path = directory.at("image");
    create(&path, Format::Qcow2, SIZE, 65536, None);
    Disk::open(&options(&path, Format::Qcow2)).write(0, &[1; 65536]);
    // The first refcount block is the cluster behind the L1 table: cluster 20 is counted, and nobody's.
    let mut bytes = fs::read(&path).unwrap();
    let table = u64::from_be_bytes(bytes[48..56].try_into().unwrap()) as usize;
    let block = u64::from_be_bytes(bytes[table..table + 8].try_into().unwrap()) as usize;
    bytes[block + 41] = 1;
    fs::write(&path, &bytes).unwrap();
    let format = Some(Format::Qcow2);
    let report = emu_disk::check(&path, format, false).unwrap();
    assert_eq!((report.errors, report.leaks, report.repaired), (0, 1, 0), "{report:?}");
    assert_eq!(emu_disk::check(&path, format, true).unwrap().repaired, 1);
    let report = emu_disk::check(&path, format, false).unwrap();
    assert_eq!((report.errors, report.leaks), (0, 0), "{report:?}");
    // And damage: a cluster that is used, but not counted.
    bytes[block + 41] = 0;
    bytes[block + 1] = 0;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(emu_disk::check(&path, format, true).unwrap().errors, 1);
}
