//! Code of Debian's kernel that is chosen by what the processor can: RAID6, ciphers and digests on AVX2, tested by the
//! kernel itself; and a program that computes with AVX2 beside others that do.

use crate::{PATIENCE, beside_others};
use emu::guests::Initramfs;
use emu_tests::{
    emulator::{Emulator, guest_or_skip},
    images::{VectorResults, vector_program},
};
use rstest::rstest;
use std::{fs, path::Path};
use xtask::guests::Guest;

/// Writes `initrd` with the program as /bin/vectors to `path`. The kernel unpacks one archive after the other.
fn with_program(initrd: &Path, path: &Path) {
    let program =
        Initramfs::new().file("/bin/vectors", 0o755, vector_program().unwrap()).write_gzip(Vec::new());
    fs::write(path, [fs::read(initrd).unwrap(), program.unwrap()].concat()).unwrap();
}

/// The value of `name=` in a line of `name=value` words.
fn value<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

#[rstest]
#[case::v3("x86-64-v3", "1")]
#[case::with_aes("max", "2")]
fn the_kernel_and_programs_compute_with_avx2(#[case] model: &str, #[case] cpus: &str) {
    let Some(files) = guest_or_skip(Guest::Modules) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let initrd = folder.path().join("initrd.gz");
    with_program(&files.modules_initrd(), &initrd);
    let emulator = Emulator::linux(&files.kernel(), &initrd)
        .option("--cpu", model)
        .option("--cpus", cpus)
        .option("--memory", "256M");
    let mut guest = emulator.start();

    let chosen = guest.expect_line("emu-guest: ", PATIENCE);
    let computed = guest.expect_line("emu-guest: vectors=", PATIENCE);
    guest.expect("emu-guest: done failures=0", PATIENCE);
    guest.finish(0, PATIENCE);

    assert_eq!(value(&chosen, "xor"), "avx");
    assert!(value(&chosen, "raid6").starts_with("avx2x"), "{chosen}");
    assert_eq!(value(&chosen, "recovery"), "avx2x2");
    assert_eq!(computed, VectorResults::expected().hex());
}
