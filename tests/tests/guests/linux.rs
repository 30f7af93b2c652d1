//! Debian's kernels, unmodified, with busybox.

use crate::{PATIENCE, alone, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use emu_tests::session::Session;
use rstest::rstest;
use rustix::termios::{LocalModes, tcgetattr};
use std::thread::available_parallelism;
use xtask::guests::{Guest, Variant};

/// The number behind `name=` in a line of `name=value` words.
fn number(line: &str, name: &str) -> u64 {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("no {name} in {line:?}"));
    value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}"))
}

/// Follows a guest of the variant `Check` to its end; returns the line that tells what it found.
fn passes_its_checks(mut guest: Session) -> String {
    let found = guest.expect_line("emu-guest: ", PATIENCE);
    guest.expect("emu-guest: done failures=0", PATIENCE);
    guest.finish(0, PATIENCE);
    found
}

#[test]
fn the_cloud_kernel_gives_a_shell_that_reboots_and_powers_off_with_exit_code_0() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Shell)).start_on_terminal();

    guest.expect("emu-guest: ready", PATIENCE);
    guest.expect("# ", PATIENCE);
    guest.send("cat /proc/cpuinfo\r");
    guest.expect("processor\t: 0", PATIENCE);
    assert!(guest.expect_line("flags\t\t: ", PATIENCE).contains(" sse2 "));
    guest.expect("# ", PATIENCE);
    guest.send("reboot\r");
    guest.expect("emu-guest: ready", PATIENCE);
    guest.expect("# ", PATIENCE);
    guest.send("echo $((6 * 7))\r");
    guest.expect("\n42", PATIENCE);
    guest.expect("# ", PATIENCE);
    guest.send("poweroff\r");
    guest.finish(0, PATIENCE);
}

#[rstest]
#[case::without_pae(Guest::Linux686)]
#[case::with_pae(Guest::Linux686Pae)]
fn a_32_bit_kernel_gives_a_shell(#[case] guest: Guest) {
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Shell)).start_on_terminal();

    guest.expect("emu-guest: ready", PATIENCE);
    guest.expect("# ", PATIENCE);
    guest.send("uname -m\r");
    guest.expect("\ni686", PATIENCE);
    guest.expect("# ", PATIENCE);
    guest.send("poweroff\r");
    guest.finish(0, PATIENCE);
}

#[rstest]
#[case::cloud(Guest::LinuxCloud, "x86_64")]
#[case::i686_without_pae(Guest::Linux686, "i686")]
#[case::i686_with_pae(Guest::Linux686Pae, "i686")]
fn timers_clocks_processes_and_arithmetic_are_right(#[case] guest: Guest, #[case] machine: &str) {
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();
    let emulator = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check));

    let found = passes_its_checks(emulator.start());

    assert!(found.ends_with(&format!("machine={machine}")), "{found}");
    assert_eq!(number(&found, "cpus"), 1);
}

#[test]
fn four_processors_come_up_and_each_runs_programs() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let emulator = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check)).option("--cpus", "4");

    let found = passes_its_checks(emulator.start());

    assert_eq!(number(&found, "cpus"), 4);
}

#[test]
fn a_32_bit_kernel_runs_two_processors() {
    let Some(files) = guest_or_skip(Guest::Linux686Pae) else { return };
    let _host = beside_others();
    let emulator = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check)).option("--cpus", "2");

    let found = passes_its_checks(emulator.start());

    assert_eq!(number(&found, "cpus"), 2);
}

#[test]
fn memory_above_4_gib_is_there() {
    const KIB_OF_5_5_GIB: u64 = 11 << 19;
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let emulator = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check)).option("--memory", "6G");

    let found = passes_its_checks(emulator.start());

    assert!(number(&found, "mem") > KIB_OF_5_5_GIB, "{found}");
}

#[rstest]
#[case::cloud(Guest::LinuxCloud)]
#[case::i686(Guest::Linux686)]
fn a_reset_restarts_the_guest_and_keeps_the_real_time_clock(#[case] guest: Guest) {
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Reboot)).start();

    guest.expect("emu-guest: first start", PATIENCE);
    guest.expect("emu-guest: second start", PATIENCE);
    guest.finish(0, PATIENCE);
}

#[test]
fn no_reboot_makes_a_reset_the_end() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let mut guest =
        Emulator::linux(&files.kernel(), &files.initrd(Variant::Reboot)).flag("--no-reboot").start();

    guest.expect("emu-guest: first start", PATIENCE);
    let said = guest.finish(0, PATIENCE);

    assert_eq!(said.matches("emu-guest:").count(), 1, "{said}");
}

#[test]
fn two_busy_processors_take_little_longer_than_one() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    if available_parallelism().map_or(1, usize::from) < 2 {
        return skip("the host has one processor, on which two cannot run at once");
    }
    let _host = alone();
    let mut guest =
        Emulator::linux(&files.kernel(), &files.initrd(Variant::Scaling)).option("--cpus", "2").start();

    let times = guest.expect_line("emu-guest: scaling ", PATIENCE);
    guest.finish(0, PATIENCE);

    assert_eq!(number(&times, "cpus"), 2);
    let (one, all) = (number(&times, "one"), number(&times, "all"));
    // Two after one another would take twice as long.
    assert!(all * 10 < one * 16, "{times}");
}

#[test]
fn a_guest_boots_with_interrupts_traced() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("interrupts");
    let emulator = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check))
        .option("--trace", format!("interrupts:{}", trace.display()));

    passes_its_checks(emulator.start());

    let lines = std::fs::read_to_string(&trace).unwrap().lines().count();
    // The kernel's timer alone interrupts more often.
    assert!(lines > 100, "{lines} lines");
}

#[test]
fn the_escape_ends_the_machine_and_gives_the_terminal_back() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Shell)).start_on_terminal();
    let terminal = guest.terminal();
    guest.expect("# ", PATIENCE);
    let while_running = guest.terminal_modes().local_modes;

    guest.send("\x01x");
    guest.finish(0, PATIENCE);

    let after = tcgetattr(&terminal).unwrap().local_modes;

    let line_editing = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    assert!(!while_running.intersects(line_editing), "{while_running:?}");
    assert!(after.contains(line_editing), "{after:?}");
}
