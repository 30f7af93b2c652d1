//! Made-up disk images: whatever the bytes are, an image is refused, or read and written as something, without a panic
//! and without waiting for ever.

#![no_main]

use emu_core::backend::{BlockBackend, BlockRequest, Data, Operation};
use emu_disk::{DiskOptions, Format};
use libfuzzer_sys::fuzz_target;
use std::{fs, sync::mpsc};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let format = Format::ALL[usize::from(choice) % Format::ALL.len()];
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let path = directory.path().join("image");
    fs::write(&path, bytes).expect("room for an image");
    let _ = emu_disk::info(&path, Some(format), true);
    let _ = emu_disk::check(&path, Some(format), false);
    let write = matches!(format, Format::Raw | Format::Qcow2);
    let options =
        DiskOptions { path, format: Some(format), readonly: !write, discard: true, ..DiskOptions::default() };
    let Ok(disk) = emu_disk::open(&options) else { return };
    let len = disk.geometry().len;
    for offset in [0, len / 2 / 512 * 512, len.saturating_sub(4096)] {
        let data = || Data::Device(vec![1; 4096].into());
        ask(&*disk, Operation::Read { offset, data: data() });
        ask(&*disk, Operation::Write { offset, data: data(), through: false });
        ask(&*disk, Operation::WriteZeroes { offset, len: 512, unmap: true });
        ask(&*disk, Operation::Discard { offset, len: 4096 });
    }
    ask(&*disk, Operation::Flush);
});

fn ask(disk: &dyn BlockBackend, operation: Operation) {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |_, _| sender.send(()).expect("somebody waits"));
    disk.submit(BlockRequest { operation, done });
    receiver.recv().expect("every request is answered");
}
