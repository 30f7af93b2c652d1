//! Requests a second through the backend alone, without a guest: `cargo bench -p emu-disk -- FILE FORMAT [CACHE]`.
//!
//! `qemu-img bench -f FORMAT -d DEPTH -s 4096 FILE` is the same for QEMU's block layer. FILE is written to.

use emu_core::{
    backend::{BlockBackend, BlockRequest, Data, Operation},
    memory::{Dma, DmaBuffer, GuestMemory, PhysicalMemory},
};
use emu_disk::{CacheMode, DiskOptions};
use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

struct Load {
    name: &'static str,
    write: bool,
    random: bool,
    size: u64,
    depth: u64,
    count: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [path, format, rest @ ..] = &arguments[..] else {
        println!("skipped: name an image to write to, and its format");
        return;
    };
    let cache = match rest.first().map(String::as_str) {
        Some("none") => CacheMode::None,
        Some("unsafe") => CacheMode::Unsafe,
        _ => CacheMode::Writeback,
    };
    let format = Some(format.parse().unwrap());
    let options = DiskOptions { path: path.into(), format, cache, ..DiskOptions::default() };
    let disk = emu_disk::open(&options).unwrap();
    let loads = [
        ("sequential write, 128 KiB, depth 8", true, false, 128 << 10, 8, 8_000),
        ("sequential read, 128 KiB, depth 8", false, false, 128 << 10, 8, 8_000),
        ("random write, 4 KiB, depth 1", true, true, 4096, 1, 100_000),
        ("random read, 4 KiB, depth 1", false, true, 4096, 1, 100_000),
        ("random write, 4 KiB, depth 32", true, true, 4096, 32, 200_000),
        ("random read, 4 KiB, depth 32", false, true, 4096, 32, 200_000),
    ];
    for (name, write, random, size, depth, count) in loads {
        measure(&disk, &Load { name, write, random, size, depth, count });
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement of the host's time")]
fn measure(disk: &Arc<dyn BlockBackend>, load: &Load) {
    let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(32 << 20).unwrap()));
    let dma = Dma::new(memory);
    let slots = disk.geometry().len / load.size;
    let (sender, receiver) = mpsc::channel::<DmaBuffer>();
    let mut at = 0_u64;
    let mut submit = |data: DmaBuffer| {
        let mixed = at ^ at << 13 ^ at >> 7;
        let slot = if load.random { mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) } else { at } % slots;
        at += 1;
        let (offset, data) = (slot * load.size, Data::Guest(data));
        let operation = if load.write {
            Operation::Write { offset, data, through: false }
        } else {
            Operation::Read { offset, data }
        };
        let sender = sender.clone();
        let done = Box::new(move |result: Result<(), _>, data: Option<Data>| {
            result.unwrap();
            if let Some(Data::Guest(buffer)) = data {
                let _ = sender.send(buffer);
            }
        });
        disk.submit(BlockRequest { operation, done });
    };
    let begin = Instant::now();
    for index in 0..load.depth {
        submit(dma.buffer([((2 << 20) + index * load.size, load.size as usize)]).unwrap());
    }
    for done in 1..=load.count {
        let buffer = receiver.recv().unwrap();
        if done + load.depth <= load.count {
            submit(buffer);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = load.count as f64 / seconds;
    println!("{:36} {rate:9.0} /s  {:7.0} MB/s", load.name, rate * load.size as f64 / 1e6);
}
