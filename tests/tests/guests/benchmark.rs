//! The benchmark guest: the same programs on the emulator and on the host must give the same checksums.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use std::{collections::BTreeMap, process::Command};
use xtask::{
    bench::command_line,
    guests::{Guest, native_program},
};

/// Percent of a benchmark's work: enough to warm every path, quick on any engine.
const SCALE: u32 = 4;

/// Names and checksums in the output of the benchmark program.
fn checksums(output: &str) -> BTreeMap<String, String> {
    let words = output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words[..] {
            ["END", name, checksum] => Some((name.to_owned(), checksum.to_owned())),
            _ => None,
        })
        .collect()
}

#[test]
fn benchmarks_compute_what_the_host_computes() {
    let Some(files) = guest_or_skip(Guest::Benchmark) else { return };
    let _host = beside_others();
    let native = Command::new(native_program(&files)).arg(format!("scale={SCALE}")).output().unwrap();
    let right = checksums(&String::from_utf8(native.stdout).unwrap());
    let mut guest = Emulator::run()
        .option("--kernel", files.kernel())
        .option("--initrd", files.benchmark_initrd())
        .option("--append", command_line("", SCALE))
        .option("--memory", "256M")
        .start();

    guest.expect("DONE", PATIENCE * 2);
    let said = guest.finish(0, PATIENCE);

    let computed = checksums(&said);
    assert!(right.len() >= 14, "{right:?}");
    for (name, checksum) in &right {
        assert_eq!(computed.get(name), Some(checksum), "{name}");
    }
    // The 32-bit programs compute the same as the 64-bit ones.
    for (name, checksum) in computed.iter().filter(|(name, _)| !right.contains_key(*name)) {
        let wide = name.strip_suffix("32").unwrap_or_else(|| panic!("an unknown benchmark {name}"));
        assert_eq!(right.get(wide), Some(checksum), "{name}");
    }
}
