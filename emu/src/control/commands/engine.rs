//! Engines: which one executes the guest, and changing it while the guest runs.

use super::{Argument, Command, Failure, Kind, text};
use crate::machine::{Engine, EngineReport};
use serde_json::{Value, json};

pub(super) const QUERY: Command = Command {
    name: "query-accel",
    help: "what executes the guest, and what KVM has done",
    arguments: &[],
    stands: true,
    run: |machine, _, reply| {
        machine.while_standing(move |machine| reply.send(Ok(describe(&machine.engine()))));
    },
};

pub(super) const SET: Command = Command {
    name: "set-accel",
    help: "has another engine execute the guest from here on",
    arguments: &[Argument { name: "engine", help: "kvm, jit or interp", kind: Kind::Text, optional: false }],
    stands: true,
    run: |machine, arguments, reply| match text(arguments, "engine").parse::<Engine>() {
        Err(problem) => reply.send(Err(Failure::new(problem))),
        Ok(engine) => machine.while_standing(move |machine| {
            let changed = machine.set_engine(engine).map(|()| json!({}));
            reply.send(changed.map_err(Failure::new));
        }),
    },
};

fn describe(report: &EngineReport) -> Value {
    let EngineReport { engine, mode, reason, counts } = report;
    let counts: serde_json::Map<_, _> =
        counts.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count))).collect();
    json!({ "engine": engine.to_string(), "mode": mode, "reason": reason, "counts": counts })
}
