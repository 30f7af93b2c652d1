//! Stopping and going on.

use super::Command;
use serde_json::json;

pub(super) const STOP: Command = Command {
    name: "stop",
    help: "stops the processors and the machine's time",
    arguments: &[],
    stands: true,
    run: |machine, _, reply| {
        let held = machine.clone();
        machine.while_standing(move |_| {
            held.stop();
            reply.send(Ok(json!({})));
        });
    },
};

pub(super) const CONT: Command = Command {
    name: "cont",
    help: "lets the machine go on; one that waits for room on the host goes on when there is some",
    arguments: &[],
    stands: true,
    run: |machine, _, reply| {
        let held = machine.clone();
        machine.while_standing(move |_| {
            held.go_on();
            reply.send(Ok(json!({})));
        });
    },
};
