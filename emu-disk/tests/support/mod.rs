//! A disk as a controller sees it, one request at a time; and qemu-img, the other opinion on images.

#![allow(dead_code, reason = "each test uses a part of it")]

use emu_core::backend::{BlockBackend, BlockError, BlockRequest, Data, Operation};
use emu_disk::{CreateOptions, DiskOptions, Format};
use std::{
    path::Path,
    process::{Command, Output},
    sync::{Arc, mpsc},
};

pub struct Disk(pub Arc<dyn BlockBackend>);

impl Disk {
    pub fn open(options: &DiskOptions) -> Self {
        Disk(emu_disk::open(options).unwrap())
    }

    pub fn ask(&self, operation: Operation) -> (Result<(), BlockError>, Option<Data>) {
        let (sender, receiver) = mpsc::channel();
        let done = Box::new(move |result, data| sender.send((result, data)).unwrap());
        self.0.submit(BlockRequest { operation, done });
        receiver.recv().unwrap()
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let data = Data::Device(vec![0xEE; len].into());
        match self.ask(Operation::Read { offset, data }) {
            (Ok(()), Some(Data::Device(bytes))) => bytes.into(),
            (result, _) => panic!("{result:?}"),
        }
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let data = Data::Device(bytes.into());
        self.ask(Operation::Write { offset, data, through: false }).0.unwrap();
    }

    pub fn flush(&self) {
        self.ask(Operation::Flush).0.unwrap();
    }
}

pub fn options(path: &Path, format: Format) -> DiskOptions {
    DiskOptions { path: path.to_owned(), format: Some(format), ..DiskOptions::default() }
}

pub fn create(path: &Path, format: Format, size: u64, cluster_size: u32, backing: Option<(&str, Format)>) {
    let backing = backing.map(|(name, format)| (name.to_owned(), format));
    let path = path.to_owned();
    emu_disk::create(&CreateOptions {
        path,
        format,
        size: Some(size),
        cluster_size,
        backing,
        replace: false,
    })
    .unwrap();
}

/// Whether qemu-img is there; else says that the test is skipped.
pub fn have_qemu_img() -> bool {
    let have = Command::new("qemu-img").arg("--version").output().is_ok_and(|output| output.status.success());
    if !have {
        println!("skipped: qemu-img is not installed (Debian: qemu-utils)");
    }
    have
}

pub fn qemu_img(arguments: &[&str]) -> Output {
    Command::new("qemu-img").args(arguments).output().unwrap()
}

/// qemu-img finds nothing wrong with an image.
pub fn assert_clean(path: &Path) {
    let output = qemu_img(&["check", "-f", "qcow2", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
}

/// The content that qemu-img finds in an image.
pub fn content(path: &Path, format: &str) -> Vec<u8> {
    let raw = path.with_extension("content");
    let output =
        qemu_img(&["convert", "-f", format, "-O", "raw", path.to_str().unwrap(), raw.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let content = std::fs::read(&raw).unwrap();
    std::fs::remove_file(raw).unwrap();
    content
}

/// Numbers that look random and are the same every time (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
