//! Registers and memory of a machine that stands for a moment.

use super::{Argument, Arguments, Command, Kind, number, text};
use crate::{console::describe_error, control::protocol::Failure, machine::Machine};
use emu_core::state::CpuState;
use serde_json::{Map, Value, json};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

/// Bytes that are copied at a time.
const CHUNK: u64 = 4096;

const CPU: Argument =
    Argument { name: "cpu-index", help: "the processor, from 0", kind: Kind::Number, optional: true };
const SIZE: Argument = Argument { name: "size", help: "bytes", kind: Kind::Number, optional: false };
const FILE: Argument =
    Argument { name: "filename", help: "the file to write", kind: Kind::Text, optional: false };

pub(super) const REGISTERS: Command = Command {
    name: "query-registers",
    help: "all registers of a processor",
    arguments: &[CPU],
    stands: true,
    run: |machine, arguments, reply| {
        let cpu = number(arguments, "cpu-index", 0);
        machine.while_standing(move |machine| reply.send(state_of(machine, cpu).map(registers)));
    },
};

pub(super) const MEMSAVE: Command = Command {
    name: "memsave",
    help: "writes memory at a virtual address to a file",
    arguments: &[
        Argument { name: "val", help: "the virtual address", kind: Kind::Number, optional: false },
        SIZE,
        FILE,
        CPU,
    ],
    stands: true,
    run: |machine, arguments, reply| {
        let arguments = arguments.clone();
        machine.while_standing(move |machine| reply.send(save(machine, &arguments, true)));
    },
};

pub(super) const PMEMSAVE: Command = Command {
    name: "pmemsave",
    help: "writes memory at a physical address to a file",
    arguments: &[
        Argument { name: "val", help: "the physical address", kind: Kind::Number, optional: false },
        SIZE,
        FILE,
    ],
    stands: true,
    run: |machine, arguments, reply| {
        let arguments = arguments.clone();
        machine.while_standing(move |machine| reply.send(save(machine, &arguments, false)));
    },
};

fn state_of(machine: &Machine, cpu: u64) -> Result<&CpuState, Failure> {
    let states = machine.states();
    let state = usize::try_from(cpu).ok().and_then(|cpu| states.get(cpu));
    state.ok_or_else(|| Failure::new(format!("there is no processor {cpu}; there are {}", states.len())))
}

fn save(machine: &Machine, arguments: &Arguments, is_virtual: bool) -> Result<Value, Failure> {
    let (mut at, mut left) = (number(arguments, "val", 0), number(arguments, "size", 0));
    let name = text(arguments, "filename");
    let state = state_of(machine, number(arguments, "cpu-index", 0))?;
    let ram = machine.memory().ram();
    if left > ram.size() {
        return Err(Failure::new(format!("size {left} is more than the machine's memory")));
    }
    let failed =
        |error: io::Error| Failure::new(format!("{name}: cannot be written ({})", describe_error(&error)));
    // A pipe would have the machine wait for its other end.
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK);
    let mut file = options.open(&name).map_err(failed)?;
    let mut bytes = [0; CHUNK as usize];
    while left > 0 {
        let count = (CHUNK - at % CHUNK).min(left);
        let physical = if is_virtual { machine.linear_to_physical(state, at) } else { Some(at) };
        let chunk = &mut bytes[..count as usize];
        let read = physical.is_some_and(|physical| ram.read(physical, chunk).is_ok());
        if !read {
            return Err(Failure::new(format!("there is no memory at {at:#x}")));
        }
        file.write_all(chunk).map_err(failed)?;
        at = at.wrapping_add(count);
        left -= count;
    }
    Ok(json!({}))
}

/// Registers by their names, in hexadecimal: numbers of 64 bits are more than many readers of JSON can hold.
fn registers(state: &CpuState) -> Value {
    const GENERAL: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
    let mut all = Map::new();
    for (name, value) in GENERAL.iter().zip(state.general.gpr) {
        all.insert((*name).into(), hex(value));
    }
    all.insert("rip".into(), hex(state.general.rip));
    all.insert("rflags".into(), hex(state.general.rflags.bits().into()));
    let segments = &state.segments;
    let named = SEGMENTS.iter().zip(&segments.data).map(|(name, segment)| (*name, segment));
    for (name, segment) in named.chain([("ldtr", &segments.ldtr), ("tr", &segments.tr)]) {
        all.insert(name.into(), plain(segment));
    }
    all.insert("gdtr".into(), plain(&segments.gdtr));
    all.insert("idtr".into(), plain(&segments.idtr));
    let control = &state.control;
    let cr = [
        ("cr0", control.cr0.bits()),
        ("cr2", control.cr2),
        ("cr3", control.cr3),
        ("cr4", control.cr4.bits()),
    ];
    let more = [("efer", control.efer.bits()), ("xcr0", control.xcr0.bits()), ("pkru", control.pkru.into())];
    let dr =
        [("dr0", 0), ("dr1", 1), ("dr2", 2), ("dr3", 3)].map(|(name, number)| (name, control.dr[number]));
    let debug = [("dr6", control.dr6), ("dr7", control.dr7), ("mxcsr", state.simd.mxcsr.into())];
    for (name, value) in cr.into_iter().chain(more).chain(dr).chain(debug) {
        all.insert(name.into(), hex(value));
    }
    for (number, [low, high]) in state.simd.vector.iter().enumerate() {
        all.insert(format!("ymm{number}"), format!("{high:#034x}{low:032x}").into());
    }
    all.insert("x87".into(), plain(&state.x87));
    all.insert("msrs".into(), plain(&state.msrs));
    all.insert("events".into(), plain(&state.events));
    Value::Object(all)
}

fn hex(value: u64) -> Value {
    format!("{value:#x}").into()
}

/// As it is saved, with numbers in hexadecimal.
fn plain(part: &impl serde::Serialize) -> Value {
    fn in_hex(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_u64().map_or(Value::Number(number), hex),
            Value::Array(values) => values.into_iter().map(in_hex).collect(),
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, in_hex(value))).collect(),
            other => other,
        }
    }
    // There is nothing in these that JSON could not say.
    in_hex(serde_json::to_value(part).unwrap_or_default())
}
