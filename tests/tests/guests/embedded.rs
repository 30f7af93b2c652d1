//! The guest that needs no file.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::Emulator;

#[test]
fn emu_run_alone_boots_the_embedded_guest_through_every_mode_and_takes_keys() {
    let _host = beside_others();
    let mut guest = Emulator::run().start_on_terminal();

    for said in ["Real mode", "Protected mode", "Long mode", "million instructions per second"] {
        guest.expect(said, PATIENCE);
    }
    guest.send("q");
    guest.finish(0, PATIENCE);
}
