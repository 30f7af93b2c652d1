//! `monitor`: what gdb has no commands for.

use super::{
    memory::{self, Space},
    mode::CodeMode,
    registers::{Feature, Place, REGISTERS},
    target,
};
use crate::machine::{Machine, MachineHandle};
use std::fmt::Write;

/// What commands refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Number of the vCPU: the one that has stopped last, or was chosen since.
    pub vcpu: usize,
    /// gdb's addresses are physical.
    pub physical: bool,
}

const HELP: &str = "\
help                 this
info                 the machine and its processors
cpu [N]              chooses the processor that commands are about; else the one that has stopped last
mode                 its mode, and the architecture to set in gdb
registers            its registers, those that gdb does not know as well
translate ADDR...    physical addresses of linear addresses
phys [on|off]        whether gdb's addresses are physical
system_reset         resets the machine
";

/// Executes `command` on a machine that stands. Returns what there is to tell.
pub fn execute(
    command: &str,
    machine: &Machine,
    handle: &MachineHandle,
    selection: &mut Selection,
) -> String {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or("help");
    let arguments: Vec<&str> = words.collect();
    let result = match (name, &arguments[..]) {
        ("help", []) => Ok(HELP.to_owned()),
        ("info", []) => Ok(info(machine, handle)),
        ("cpu", []) => Ok(format!("processor {}\n", selection.vcpu)),
        ("cpu", [number]) => choose(number, machine, selection),
        ("mode", []) => Ok(mode(machine, selection.vcpu)),
        ("registers", []) => Ok(registers(machine, selection.vcpu)),
        ("translate", [_, ..]) => arguments.iter().map(|text| translate(text, machine, selection)).collect(),
        ("phys", []) => Ok(phys(selection)),
        ("phys", ["on" | "off"]) => {
            selection.physical = arguments == ["on"];
            Ok(phys(selection))
        }
        ("system_reset", []) => {
            handle.reset();
            Ok("the machine is reset\n".to_owned())
        }
        ("phys", _) => Err("phys: say on or off\n".to_owned()),
        ("translate", _) => Err("translate: say which addresses\n".to_owned()),
        ("help" | "info" | "cpu" | "mode" | "registers" | "system_reset", _) => {
            Err(format!("{name}: one word too many\n"))
        }
        _ => Err(format!("{name}: no such command; help shows those there are\n")),
    };
    result.unwrap_or_else(|problem| problem)
}

fn choose(number: &str, machine: &Machine, selection: &mut Selection) -> Result<String, String> {
    let count = machine.states().len();
    match number.parse() {
        Ok(vcpu) if vcpu < count => {
            selection.vcpu = vcpu;
            Ok(format!("processor {vcpu}\n"))
        }
        _ => Err(format!("cpu {number}: there is no such processor; use 0 to {}\n", count.saturating_sub(1))),
    }
}

fn info(machine: &Machine, handle: &MachineHandle) -> String {
    let size = machine.memory().ram().size();
    let mut text = format!("{}, {} MiB of memory\n", handle.run_state().name(), size >> 20);
    for (vcpu, state) in machine.states().iter().enumerate() {
        let activity = format!("{:?}", state.events.activity).to_lowercase();
        let (mode, pc) = (CodeMode::of(state).name(), super::mode::pc(state));
        // A string takes everything, here and below.
        let _ = writeln!(text, "processor {vcpu}: {activity}, {mode}, at {pc:#x}");
    }
    text
}

fn mode(machine: &Machine, vcpu: usize) -> String {
    let Some(state) = machine.states().get(vcpu) else { return String::new() };
    let mode = CodeMode::of(state);
    format!("processor {vcpu}: {}; set architecture {}\n", mode.name(), mode.architecture())
}

fn phys(selection: &Selection) -> String {
    let kind = if selection.physical { "physical" } else { "linear" };
    format!("gdb's addresses are {kind}\n")
}

fn translate(text: &str, machine: &Machine, selection: &Selection) -> Result<String, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let Ok(linear) = number else {
        return Err(format!("translate {text}: not an address; write a number, as in 0xffffffff81000000\n"));
    };
    Ok(match memory::physical(machine, Space::Linear(selection.vcpu), linear) {
        None => format!("{linear:#x}: not mapped\n"),
        Some(physical) if machine.memory().ram().is_ram(physical) => format!("{linear:#x}: {physical:#x}\n"),
        Some(physical) => format!("{linear:#x}: {physical:#x}, not memory\n"),
    })
}

fn registers(machine: &Machine, vcpu: usize) -> String {
    let Some(view) = target::view(machine, vcpu) else { return String::new() };
    let mut text = format!("processor {vcpu}\n");
    let shown = REGISTERS.iter().filter(|register| {
        let hidden = matches!(register.place, Place::Low(_) | Place::PcLow | Place::St(_));
        !hidden && matches!(register.feature, Feature::Core | Feature::System)
    });
    for (number, register) in shown.enumerate() {
        let value = format!("{:#x}", view.read(register.place));
        let end = if number % 3 == 2 { "\n" } else { "  " };
        let _ = write!(text, "{:>10} {value:<22}{end}", register.name);
    }
    let control = &view.state.control;
    let dr = control.dr.map(|address| format!("{address:#x}"));
    let _ = writeln!(text, "\n{:>10} {}", "dr0-3", dr.join(" "));
    let _ = writeln!(
        text,
        "{:>10} {:#x}  dr7 {:#x}  xcr0 {:#x}",
        "dr6",
        control.dr6,
        control.dr7,
        control.xcr0.bits()
    );
    text
}
