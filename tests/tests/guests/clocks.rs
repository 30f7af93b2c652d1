//! A guest that watches its own clocks and timers while something is done to its machine.

use crate::PATIENCE;
use emu_tests::session::Session;

/// Has a shell watch. One process is busy with system calls; the other sleeps a hundredth of a second again and again, and
/// tells how far the clock has leapt at most: by no more than a busy host makes it wait. A timer that is lost would not
/// wake it.
pub fn watch(guest: &mut Session) {
    guest.send("while true; do : < /proc/uptime; done & \r");
    guest.send(
        "(n=0; leap=0; last=0; until [ -e /tmp/over ]; do read up idle < /proc/uptime; now=${up%.*}${up#*.}; \
         [ $last != 0 ] && [ $((now - last)) -gt $leap ] && leap=$((now - last)); last=$now; n=$((n + 1)); \
         [ $n = 20 ] && echo mea''sures; usleep 10000; done; echo le''ap=$leap) & \r",
    );
    guest.expect("measures", PATIENCE);
}

/// Asserts that the guest which watches has seen nothing.
pub fn assert_steady(guest: &mut Session) {
    guest.send("touch /tmp/over\r");
    let leap: u64 = guest.expect_line("leap=", PATIENCE).parse().expect("the guest says a number");
    assert!(leap < 300, "the guest's clock leapt {leap} hundredths of a second");
    guest.send("echo complaints=$(dmesg | grep -ciE 'unstable|stall|lockup')\r");
    guest.expect("complaints=0", PATIENCE);
}
