//! Debian's kernels with the translator.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use rstest::rstest;
use xtask::guests::{Guest, Variant};

#[rstest]
#[case::at_once(Guest::LinuxCloud, "1,20000000", "256M", "1")]
#[case::with_much_that_is_hot(Guest::LinuxCloud, "30,300000", "256M", "1")]
#[case::with_little_room_for_code(Guest::LinuxCloud, "30,200000", "1M", "1")]
#[case::on_two_processors(Guest::LinuxCloud, "30,300000", "256M", "2")]
#[case::in_32_bits(Guest::Linux686, "30,300000", "256M", "1")]
fn a_kernel_boots_and_passes_its_checks(
    #[case] guest: Guest,
    #[case] thresholds: &str,
    #[case] cache: &str,
    #[case] cpus: &str,
) {
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check))
        .option("--engine", "jit")
        .option("--jit-thresholds", thresholds)
        .option("--jit-cache", cache)
        .option("--cpus", cpus)
        .option("--memory", "512M")
        .start();

    guest.expect("emu-guest: done failures=0", PATIENCE);
    guest.finish(0, PATIENCE);
}
