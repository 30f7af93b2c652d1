//! Debian's kernel on two engines in lock step.

use crate::beside_others;
use emu_tests::emulator::{Emulator, LINUX_CONSOLE, guest_or_skip};
use rstest::rstest;
use xtask::guests::{Guest, GuestFiles, Variant};

/// The part of the report that tells that nothing differed.
const AGREE: &str = "jit and interp agree: ";

#[rstest]
#[case::cloud_until_a_program_prints(Guest::LinuxCloud, ("--until", "emu-guest: ready"), 1_000_000_000)]
// What follows are seconds of waiting.
#[case::i686_for_a_while(Guest::Linux686, ("--instructions", "1000000000"), 1_000_000_000)]
fn a_kernel_does_the_same_on_both_engines_from_reset_on(
    #[case] guest: Guest,
    #[case] (option, value): (&str, &str),
    #[case] least: u64,
) {
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();

    let output = diff(&files).option(option, value).output();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(option != "--until" || said.contains(value), "{said}");
    let report = said.lines().last().and_then(|line| line.split(AGREE).nth(1)).expect("the report");
    let instructions: u64 = report.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    assert!(instructions >= least, "{report}");
}

#[test]
fn what_is_planted_in_a_kernel_is_found_at_its_instruction() {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();

    let output = diff(&files).option("--instructions", "200000000").option("--plant", "123456789").output();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("jit and interp differ after instruction 123456789:"), "{said}");
}

/// `emu test diff` with a kernel that gives a shell.
fn diff(files: &GuestFiles) -> Emulator {
    Emulator::diff()
        .option("--kernel", files.kernel())
        .option("--initrd", files.initrd(Variant::Shell))
        .option("--append", LINUX_CONSOLE)
        .option("--memory", "256M")
}
