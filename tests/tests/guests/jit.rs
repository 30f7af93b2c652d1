//! Debian's kernels with the translator.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use rstest::rstest;
use xtask::guests::{Guest, Variant};

#[rstest]
#[case::as_users_run_it(Guest::LinuxCloud, "30000,3000000", "256M", "1")]
#[case::with_little_room_for_code(Guest::LinuxCloud, "2000,200000", "1M", "1")]
#[case::on_two_processors(Guest::LinuxCloud, "3000,300000", "256M", "2")]
#[case::in_32_bits(Guest::Linux686, "3000,300000", "256M", "1")]
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
