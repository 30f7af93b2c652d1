//! Images whose content somebody made up: they are refused or read as something, without a panic, without waiting
//! for ever, without taking the host's memory.

mod support;

use emu_core::backend::{Data, Operation};
use emu_disk::{DiskOptions, Format};
use rstest::rstest;
use std::{fs, path::Path};
use support::{Disk, Random, create, have_qemu_img, qemu_img};

const SIZE: u64 = 4 << 20;
const ROUNDS: u32 = 300;
/// Bytes that numbers in headers like to go wrong with.
const BYTES: [u8; 6] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF];

fn image(path: &Path, format: Format, arguments: &[&str]) -> Vec<u8> {
    let raw = path.with_extension("raw");
    let mut bytes = vec![0; SIZE as usize];
    Random(3).fill(&mut bytes[1 << 20..2 << 20]);
    fs::write(&raw, &bytes).unwrap();
    if arguments.is_empty() {
        create(path, format, SIZE, 4096, None);
        Disk::open(&support::options(path, format)).write(1 << 20, &bytes[1 << 20..2 << 20]);
        emu_disk::make_snapshot(path, Some(format), "kept").unwrap();
    } else {
        let from_to = [raw.to_str().unwrap(), path.to_str().unwrap()];
        let output = qemu_img(&[&["convert", "-f", "raw"], arguments, &from_to].concat());
        assert!(output.status.success(), "{output:?}");
    }
    fs::read(path).unwrap()
}

/// Everything that reads an image.
fn read_all(path: &Path, format: Format) {
    let _ = emu_disk::info(path, Some(format), true);
    if format == Format::Qcow2 {
        let _ = emu_disk::check(path, Some(format), false);
        let _ = emu_disk::snapshots(path, Some(format));
    }
    let options = DiskOptions { readonly: true, ..support::options(path, format) };
    let Ok(disk) = emu_disk::open(&options) else { return };
    let disk = Disk(disk);
    let len = disk.0.geometry().len;
    for offset in [0, 1 << 20, SIZE / 2, SIZE - 65536, len.saturating_sub(65536) / 512 * 512] {
        let data = Data::Device(vec![0; 65536].into());
        let _ = disk.ask(Operation::Read { offset, data });
    }
}

/// Everything that changes one.
fn write_all(path: &Path, format: Format) {
    let Ok(disk) = emu_disk::open(&DiskOptions { discard: true, ..support::options(path, format) }) else {
        return;
    };
    let disk = Disk(disk);
    for offset in [0, 1 << 20, SIZE - 65536] {
        let data = Data::Device(vec![1; 65536].into());
        let _ = disk.ask(Operation::Write { offset, data, through: true });
        let _ = disk.ask(Operation::Discard { offset, len: 32768 });
        let _ = disk.ask(Operation::WriteZeroes { offset, len: 512, unmap: true });
    }
    let _ = disk.ask(Operation::Flush);
}

#[rstest]
#[case::qcow2(Format::Qcow2, &[])]
#[case::compressed(Format::Qcow2, &["-c", "-O", "qcow2"])]
#[case::vdi(Format::Vdi, &["-O", "vdi"])]
#[case::vhd(Format::Vhd, &["-O", "vpc"])]
#[case::vhdx(Format::Vhdx, &["-O", "vhdx"])]
#[case::vmdk(Format::Vmdk, &["-O", "vmdk"])]
#[case::vmdk_stream(Format::Vmdk, &["-O", "vmdk", "-o", "subformat=streamOptimized"])]
#[case::vmdk_flat(Format::Vmdk, &["-O", "vmdk", "-o", "subformat=monolithicFlat"])]
fn made_up_images_do_no_harm(#[case] format: Format, #[case] arguments: &[&str]) {
    if !arguments.is_empty() && !have_qemu_img() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let good = image(&path, format, arguments);
    let mut random = Random(format as u64 + 100);
    for round in 0..ROUNDS {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            // Mostly where the headers and tables are.
            let limit = [512, 4096, 1 << 18, bytes.len() as u64][random.below(4) as usize];
            let at = random.below(limit.min(bytes.len() as u64)) as usize;
            bytes[at] = match random.below(3) {
                0 => random.next() as u8,
                1 => BYTES[random.below(6) as usize],
                _ => bytes[at] ^ 1 << random.below(8),
            };
        }
        if round % 8 == 0 {
            bytes.truncate(random.below(good.len() as u64) as usize);
        }
        fs::write(&path, &bytes).unwrap();
        read_all(&path, format);
        if format == Format::Qcow2 {
            write_all(&path, format);
        }
    }
}

#[test]
fn a_vmdk_does_not_read_files_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.vmdk");
    for name in ["/etc/passwd", "../secret", ".."] {
        let text = format!("# Disk DescriptorFile\nparentCID=ffffffff\nRW 1 FLAT \"{name}\" 0\n");
        fs::write(&path, text).unwrap();
        let error = emu_disk::info(&path, None, false).unwrap_err().to_string();
        assert!(error.contains("not beside it"), "{error}");
    }
}

#[test]
fn a_backing_file_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.qcow2");
    let backing = Some(("base", Format::Raw));
    create(&directory.path().join("base"), Format::Raw, SIZE, 65536, None);
    create(&path, Format::Qcow2, SIZE, 65536, backing);
    for name in ["nbd://host/disk", "json:{}", "/dev/zero"] {
        let backing = Some((name.to_owned(), Format::Raw));
        emu_disk::rebase(&path, None, backing, true, &mut |_, _| {}).unwrap();
        let options = DiskOptions { path: path.clone(), ..DiskOptions::default() };
        let error = emu_disk::open(&options).err().unwrap().to_string();
        assert!(error.contains("a file"), "{error}");
    }
}
