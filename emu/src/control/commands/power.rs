//! What a case has buttons for, and the balloon.

use super::{Argument, Command, Kind, number};
use crate::control::protocol::Failure;
use serde_json::json;

pub(super) const SYSTEM_RESET: Command = Command {
    name: "system_reset",
    help: "resets the machine; RESET tells when that is done",
    arguments: &[],
    stands: true,
    run: |machine, _, reply| {
        reply.send(Ok(json!({})));
        machine.reset();
    },
};

pub(super) const SYSTEM_POWERDOWN: Command = Command {
    name: "system_powerdown",
    help: "presses the power button, upon which most guests shut down",
    arguments: &[],
    stands: false,
    run: |machine, _, reply| {
        machine.press_power_button();
        reply.send(Ok(json!({})));
    },
};

pub(super) const QUIT: Command = Command {
    name: "quit",
    help: "ends the machine at once",
    arguments: &[],
    stands: true,
    run: |machine, _, reply| {
        reply.send(Ok(json!({})));
        machine.quit();
    },
};

pub(super) const BALLOON: Command = Command {
    name: "balloon",
    help: "asks the guest to make do with this much of its memory",
    arguments: &[Argument { name: "value", help: "bytes", kind: Kind::Number, optional: false }],
    stands: false,
    run: |machine, arguments, reply| {
        let there_is_one = machine.set_balloon(number(arguments, "value", 0));
        reply.send(if there_is_one { Ok(json!({})) } else { Err(no_balloon()) });
    },
};

pub(super) fn no_balloon() -> Failure {
    Failure::new("the machine has no balloon; run it with --balloon on")
}
