//! What can be answered while the machine runs.

use super::{ALL, Command, power::no_balloon};
use crate::{control::protocol, machine::RunState};
use serde_json::{Value, json};
use std::fs;

pub(super) const STATUS: Command = Command {
    name: "query-status",
    help: "whether the machine runs, and why not",
    arguments: &[],
    stands: false,
    run: |machine, _, reply| {
        let state = machine.run_state();
        reply.send(Ok(json!({ "running": state == RunState::Running, "status": state.name() })));
    },
};

pub(super) const VERSION: Command = Command {
    name: "query-version",
    help: "emu's version",
    arguments: &[],
    stands: false,
    run: |_, _, reply| reply.send(Ok(protocol::version())),
};

pub(super) const CPUS_FAST: Command = Command {
    name: "query-cpus-fast",
    help: "the processors and the host's threads that they are",
    arguments: &[],
    stands: false,
    run: |machine, _, reply| reply.send(Ok((0..machine.cpus()).map(describe_cpu).collect())),
};

pub(super) const COMMANDS: Command = Command {
    name: "query-commands",
    help: "the names of all commands",
    arguments: &[],
    stands: false,
    run: |_, _, reply| {
        let names = ALL.iter().map(|command| command.name).chain(["qmp_capabilities"]);
        reply.send(Ok(names.map(|name| json!({ "name": name })).collect()));
    },
};

pub(super) const BALLOON: Command = Command {
    name: "query-balloon",
    help: "how much memory the guest has besides what is in the balloon",
    arguments: &[],
    stands: false,
    run: |machine, _, reply| {
        let actual = machine.balloon().map(|actual| json!({ "actual": actual }));
        reply.send(actual.ok_or_else(no_balloon));
    },
};

fn describe_cpu(number: u32) -> Value {
    json!({
        "cpu-index": number,
        "qom-path": format!("/machine/cpu[{number}]"),
        "thread-id": thread_of_vcpu(number).unwrap_or(0),
        "props": { "socket-id": 0, "core-id": number, "thread-id": 0 },
        "target": "x86_64",
    })
}

/// The host's number of a vCPU's thread, which is known by its name.
fn thread_of_vcpu(number: u32) -> Option<u32> {
    let name = format!("vcpu{number}\n");
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let thread = threads
        .flatten()
        .find(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm == name))?;
    thread.file_name().to_str()?.parse().ok()
}
