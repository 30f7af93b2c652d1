//! memtest86+: every byte of memory, read and written in many orders.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use std::time::Duration;
use xtask::guests::Guest;

/// A pass takes minutes by design: its bit fade test waits for three of them.
const A_PASS: Duration = Duration::from_secs(1200);

#[test]
fn memtest86_passes_over_64_mib_without_an_error() {
    let Some(files) = guest_or_skip(Guest::Memtest) else { return };
    let _host = beside_others();
    let mut guest = Emulator::run()
        .option("--kernel", files.kernel())
        .option("--append", "console=ttyS0,115200")
        .option("--memory", "64M")
        .start();

    guest.expect("Memtest86+", PATIENCE);
    guest.expect("Pass:  1        Errors: 0 ", A_PASS);
}
