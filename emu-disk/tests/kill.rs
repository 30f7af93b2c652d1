//! Nothing that was flushed is lost, and no image is damaged, whenever the process is killed.
//!
//! A child process (this test again) writes and flushes, and notes on a pipe what has been flushed. It is killed at a
//! random moment; then every block must have what was written to it at the last flush or later, and qemu-img must find
//! the image in order: at most clusters that are counted and not used.
//!
//! `EMU_DISK_KILLS` is how often it is killed for each image; 20 times if it is not set.

mod support;

use emu_core::backend::{BlockRequest, Data, Operation};
use emu_disk::{DiskOptions, Format};
use rstest::rstest;
use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use support::{Disk, Random, content, create, have_qemu_img, options};

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 4096;
const CHILD: &str = "EMU_DISK_KILL_CHILD";

/// Every word of a block says which version it is; version 0 is what was there in the beginning.
fn block_of(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(BLOCK as usize / 8)
}

/// The process that is killed: not a test by itself.
#[test]
fn child() {
    let Ok(arguments) = env::var(CHILD) else { return };
    let mut words = arguments.split(' ');
    let mut next = || words.next().unwrap();
    let (path, format, seed, version) =
        (next(), next().parse().unwrap(), next().parse().unwrap(), next().parse::<u64>().unwrap());
    let disk = Disk::open(&DiskOptions { discard: true, ..options(Path::new(path), format) });
    let mut random = Random(seed);
    let mut out = std::io::stderr();
    for version in version.. {
        let (sender, receiver) = mpsc::channel();
        let mut note = String::new();
        let count = 1 + random.below(32);
        for _ in 0..count {
            let block = random.below(BLOCKS);
            let offset = block * BLOCK;
            let (operation, now) = match random.below(16) {
                0 => (Operation::WriteZeroes { offset, len: BLOCK * 40, unmap: true }, None),
                1 => (Operation::Discard { offset, len: BLOCK * 40 }, None),
                _ => {
                    let data = Data::Device(block_of(version).into());
                    (Operation::Write { offset, data, through: false }, Some(block))
                }
            };
            // Zeroes and discards lie where no block is noted.
            let operation = match operation {
                Operation::WriteZeroes { len, unmap, .. } => {
                    Operation::WriteZeroes { offset: BLOCKS * BLOCK + offset, len, unmap }
                }
                Operation::Discard { len, .. } => Operation::Discard { offset: BLOCKS * BLOCK + offset, len },
                other => other,
            };
            now.into_iter().for_each(|block| note += &format!("{block} "));
            let sender = sender.clone();
            let done = Box::new(move |result: Result<(), _>, _| sender.send(result).unwrap());
            disk.0.submit(BlockRequest { operation, done });
        }
        // Something for zeroes and discards to take away.
        disk.write((BLOCKS + random.below(BLOCKS)) * BLOCK, &block_of(1));
        (0..count).for_each(|_| receiver.recv().unwrap().unwrap());
        // In one piece each: a line is there or not.
        out.write_all(format!("written {version} {note}\n").as_bytes()).unwrap();
        disk.flush();
        out.write_all(format!("flushed {version}\n").as_bytes()).unwrap();
    }
}

/// What is known of an image.
#[derive(Default)]
struct Known {
    /// By block: the last version that was flushed.
    flushed: HashMap<u64, u64>,
    version: u64,
    leaks: usize,
}

impl Known {
    fn kill_once(&mut self, path: &Path, format: Format, random: &mut Random) {
        let arguments = format!("{} {format} {} {}", path.display(), random.next(), self.version + 1);
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(CHILD, arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // From its first write on.
        let first = lines.next().expect("the child writes").unwrap();
        let wait = Duration::from_micros(random.below(60_000));
        let killer = thread::spawn(move || {
            thread::sleep(wait);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let mut written = Vec::new();
        for line in [first].into_iter().chain(lines.map(Result::unwrap)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let numbers: Vec<u64> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
            match words[0] {
                "written" => written = numbers[1..].to_vec(),
                "flushed" => {
                    self.flushed.extend(written.drain(..).map(|block| (block, numbers[0])));
                }
                other => panic!("{other}"),
            }
            self.version = numbers[0];
        }
        killer.join().unwrap();
    }

    /// A version is whole, and not older than the flush.
    fn check(&mut self, bytes: &[u8]) {
        for block in 0..BLOCKS {
            let content = &bytes[(block * BLOCK) as usize..][..BLOCK as usize];
            let version = u64::from_le_bytes(content[..8].try_into().unwrap());
            let flushed = self.flushed.get(&block).copied().unwrap_or(0);
            assert!(version >= flushed, "block {block}: version {version}, but {flushed} was flushed");
            assert!(content == block_of(version), "block {block}: torn");
            assert!(version <= self.version + 1, "block {block}: from nowhere");
        }
    }
}

#[rstest]
#[case::raw(Format::Raw, 65536, false)]
#[case::qcow2(Format::Qcow2, 65536, false)]
#[case::small_clusters(Format::Qcow2, 4096, false)]
#[case::backed(Format::Qcow2, 65536, true)]
fn what_was_flushed_outlives_the_process(#[case] format: Format, #[case] cluster: u32, #[case] backed: bool) {
    if !have_qemu_img() {
        return;
    }
    let kills: u32 = env::var("EMU_DISK_KILLS").map_or(20, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let size = 2 * BLOCKS * BLOCK + 40 * BLOCK;
    create(&directory.path().join("base"), Format::Raw, size / 2, 65536, None);
    let new = |path: &Path| create(path, format, size, cluster, backed.then_some(("base", Format::Raw)));
    new(&path);
    let mut random = Random(u64::from(std::process::id()));
    println!("seed {}", random.0);
    let mut known = Known::default();
    for kill in 0..kills {
        // A full image allocates nothing: begin anew now and then.
        if kill % 5 == 0 {
            fs::remove_file(&path).unwrap();
            new(&path);
            known = Known { leaks: known.leaks, ..Known::default() };
        }
        known.kill_once(&path, format, &mut random);
        if format == Format::Qcow2 {
            let output = support::qemu_img(&["check", "-f", "qcow2", path.to_str().unwrap()]);
            // 3: leaks, and nothing else.
            assert!(matches!(output.status.code(), Some(0 | 3)), "after kill {kill}: {output:?}");
            known.leaks += usize::from(output.status.code() == Some(3));
        }
        known.check(&content(&path, format.name()));
    }
    println!("{format}, clusters of {cluster}: {kills} kills, {} with leaks", known.leaks);
}
