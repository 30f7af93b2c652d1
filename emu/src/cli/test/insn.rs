//! `emu test insn`: an instruction, a block or a file of code from an exact state, on one engine or several.

use super::{Verdict, engine::Engine};
use crate::{
    cli::print_out,
    console::describe_error,
    exit::{OptionError, RunError},
};
use clap::{ArgGroup, Args, ValueHint};
use emu_core::cpu_model::CpuModel;
use emu_harness::{
    Executor, Outcome, Region, Rights, Setup,
    assignment::{assign, number},
    corpus::Mode,
    interpreter::Interpreter,
    report::{Report, differences, disassemble, step_by_step, table},
};
use serde_json::json;
use std::{fs, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  emu test insn --bytes '48 0f af c3' --set rax=7 --set rbx=-3
  emu test insn --bytes '48 0f af c3' --set rax=7 --set rbx=-3 --engine interp,native
  emu test insn --mode p32 --privilege 3 --bytes '8b 03' --set ebx=0xdead0000
  emu test insn --mode real --file boot.bin --set rip=0x7c00 --stop 0x7c40 --trace

Numbers are decimal, or hexadecimal after 0x; what is printed is hexadecimal. What is not set is zero; memory
that is not given is not present, and the rest of a page that is touched is zero. Code is at 0x7c00 in 16-bit
modes and at 0x10000 in others, unless rip is set.

Exit status: 0, or 1 if the engines differ.";

/// The most instructions of a block, if `--limit` does not say.
const LIMIT: u32 = 10_000;
/// Lines of disassembly before a run.
const LISTED: usize = 24;

/// The options of `emu test insn`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("code").required(true).args(["bytes", "file"]))]
pub struct InsnOptions {
    /// Mode: real, v86, p16, p32 (protected), c16, c32 (compatibility) or long
    #[arg(long, default_value = "long", value_parser = parse_mode)]
    mode: Mode,

    /// Privilege level, 0 to 3 [default: 0; 3 with the engine native]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=3))]
    privilege: Option<u8>,

    /// The code, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = parse_bytes)]
    bytes: Option<Bytes>,

    /// A file that is the code
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// Set a register, a part of one, or a flag before; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Have memory there, with rights r, rw, rx or rwx (default rwx); repeatable
    #[arg(long, value_name = "ADDRESS[:RIGHTS]=HEX", value_parser = parse_memory)]
    mem: Vec<Piece>,

    /// Engines to run on, separated by commas
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "interp")]
    engine: Vec<Engine>,

    /// Processor model of the interpreter
    #[arg(long, value_name = "MODEL[,+F,-F]", default_value = "max")]
    cpu: String,

    /// End before the instruction at this RIP [default: behind the code]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    stop: Option<u64>,

    /// End after so many instructions [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Show every instruction with what it changes
    #[arg(long)]
    trace: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

type Bytes = Box<[u8]>;

/// What `--mem` gives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    address: u64,
    bytes: Bytes,
    write: bool,
    execute: bool,
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    let named = if text == "long" { "64" } else { text };
    let mode = Mode::ALL.into_iter().find(|(_, name)| *name == named).map(|(mode, _)| mode);
    mode.ok_or_else(|| "no such mode; use real, v86, p16, p32, c16, c32 or long".into())
}

fn parse_bytes(text: &str) -> Result<Bytes, String> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let wrong = || "not bytes in hexadecimal; write two digits for each, as in 48 0f af c3".to_owned();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.bytes().all(|c| c.is_ascii_hexdigit())
    {
        return Err(wrong());
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn parse_address(text: &str) -> Result<u64, String> {
    number(text, 64).map(|address| address as u64).map_err(|error| error.to_string())
}

fn parse_memory(text: &str) -> Result<Piece, String> {
    let shape = "write ADDRESS=HEX or ADDRESS:RIGHTS=HEX, as in 0x1000=ff00 or 0x1000:r=ff00";
    let (place, bytes) = text.split_once('=').ok_or(shape)?;
    let (address, rights) = place.split_once(':').unwrap_or((place, "rwx"));
    if !matches!(rights, "r" | "rw" | "rx" | "rwx") {
        return Err(format!("\"{rights}\" are no rights; use r, rw, rx or rwx"));
    }
    Ok(Piece {
        address: parse_address(address)?,
        bytes: parse_bytes(bytes)?,
        write: rights.contains('w'),
        execute: rights.contains('x'),
    })
}

impl InsnOptions {
    /// Executes and prints.
    pub fn run(self) -> Result<Verdict, RunError> {
        let model: CpuModel = self
            .cpu
            .parse()
            .map_err(|error| OptionError::new("--cpu", &self.cpu, format!("{error}; see emu cpu list")))?;
        let code = self.code()?;
        let setup = self.setup(&code)?;
        let mut text = String::new();
        let mut traces = Vec::new();
        if !self.json {
            let lines = disassemble(setup.mode.bitness(), setup.state.general.rip, &code);
            lines.iter().take(LISTED).for_each(|line| text += &format!("{line}\n"));
            if lines.len() > LISTED {
                text += "          ...\n";
            }
            text += "\n";
        }
        let mut reports = Vec::new();
        for engine in &self.engine {
            let mut executor = engine.open(model.clone())?;
            let mut trace = Vec::new();
            let outcome = self.execute(executor.as_mut(), &setup, &mut trace)?;
            reports.push(Report::new(executor.name(), &setup, &outcome));
            traces.push(trace);
        }
        let verdict = if differences(&reports).is_empty() { Verdict::Same } else { Verdict::Different };
        if self.json {
            text += &self.as_json(&setup, &code, &reports, &traces);
        } else {
            text += &as_text(&reports, &traces);
        }
        print_out(text.as_bytes())?;
        Ok(verdict)
    }

    fn code(&self) -> Result<Bytes, RunError> {
        if let Some(bytes) = &self.bytes {
            return Ok(bytes.clone());
        }
        let path = self.file.as_deref().unwrap_or_else(|| std::path::Path::new(""));
        let wrong = |problem: String| OptionError::new("--file", path.display(), problem);
        let bytes =
            fs::read(path).map_err(|error| wrong(format!("cannot be read ({})", describe_error(&error))))?;
        if bytes.is_empty() {
            return Err(wrong("is empty; name a file of machine code".into()).into());
        }
        Ok(bytes.into())
    }

    fn privilege(&self) -> Result<u8, OptionError> {
        let wrong = |level: u8, problem| Err(OptionError::new("--privilege", level, problem));
        match (self.mode, self.privilege) {
            (Mode::Real, Some(level @ 1..)) => wrong(level, "real mode has level 0 alone; leave it out"),
            (Mode::V86, Some(level @ ..3)) => {
                wrong(level, "virtual-8086 mode has level 3 alone; leave it out")
            }
            (Mode::V86, _) => Ok(3),
            (Mode::Real, _) => Ok(0),
            (_, Some(level)) => Ok(level),
            (_, None) => Ok(if self.engine.contains(&Engine::Native) { 3 } else { 0 }),
        }
    }

    fn setup(&self, code: &[u8]) -> Result<Setup, RunError> {
        let privilege = self.privilege()?;
        let mut state = Interpreter::new().state_in(self.mode, privilege, 0, &[]);
        state.general.rip = if self.mode.bitness() == 16 { 0x7C00 } else { 0x1_0000 };
        for text in &self.set {
            assign(&mut state, self.mode, text).map_err(|error| OptionError::new("--set", text, error))?;
        }
        let stop = self.stop.unwrap_or_else(|| state.general.rip.wrapping_add(code.len() as u64));
        let single = disassemble(self.mode.bitness(), 0, code).len() == 1;
        let limit = if single && self.stop.is_none() { 1 } else { LIMIT };
        let mut setup = Setup {
            mode: self.mode,
            state,
            memory: Vec::new(),
            instructions: self.limit.unwrap_or(limit),
            stop: Some(stop),
        };
        let user = privilege == 3;
        let rights = Rights { user, ..Rights::ALL };
        setup.memory.push(Region { address: setup.start(), bytes: code.to_vec(), rights });
        for piece in &self.mem {
            let rights = Rights { write: piece.write, execute: piece.execute, user };
            let region = Region { address: piece.address, bytes: piece.bytes.to_vec(), rights };
            let end = |region: &Region| region.address.saturating_add(region.bytes.len() as u64);
            let apart = |other: &Region| end(&region) <= other.address || end(other) <= region.address;
            if let Some(other) = setup.memory.iter().find(|other| !apart(other)) {
                let problem = format!("overlaps what is at {:#x}; give memory once", other.address);
                return Err(OptionError::new("--mem", format!("{:#x}", piece.address), problem).into());
            }
            setup.memory.push(region);
        }
        Ok(setup)
    }

    /// Executes the setup, with a trace if it is asked for.
    fn execute(
        &self,
        executor: &mut dyn Executor,
        setup: &Setup,
        trace: &mut Vec<Step>,
    ) -> Result<Outcome, RunError> {
        let name = executor.name();
        let outcome = if self.trace {
            step_by_step(executor, setup, |before, outcome| trace.push(Step::new(name, before, outcome)))
        } else {
            executor.execute(setup)
        };
        outcome
            .map_err(|reason| OptionError::new("--engine", name, format!("cannot run this: {reason}")).into())
    }

    fn as_json(&self, setup: &Setup, code: &[u8], reports: &[Report], traces: &[Vec<Step>]) -> String {
        let engines: Vec<_> = reports
            .iter()
            .zip(traces)
            .map(|(report, trace)| {
                let mut engine = json!(report);
                if self.trace {
                    let steps =
                        trace.iter().map(|Step { line, report }| json!({ "code": line, "outcome": report }));
                    engine["trace"] = steps.collect();
                }
                engine
            })
            .collect();
        let all = json!({
            "code": disassemble(setup.mode.bitness(), setup.state.general.rip, code),
            "engines": engines,
            "differences": differences(reports),
        });
        format!("{all:#}\n")
    }
}

/// An instruction of a trace.
struct Step {
    line: String,
    report: Report,
}

impl Step {
    fn new(engine: &str, before: &Setup, outcome: &Outcome) -> Self {
        let lines = disassemble(before.mode.bitness(), before.state.general.rip, before.code());
        let line = lines.first().map_or_else(|| "no code there".to_owned(), ToString::to_string);
        Step { line, report: Report::new(engine, before, outcome) }
    }
}

fn as_text(reports: &[Report], traces: &[Vec<Step>]) -> String {
    let mut text = String::new();
    for (report, trace) in reports.iter().zip(traces).filter(|(_, trace)| !trace.is_empty()) {
        text += &format!("{}:\n", report.engine);
        for Step { line, report } in trace {
            text += &format!("{line}\n");
            // What is said of the step: all but the line with its engine.
            report.to_string().lines().skip(1).for_each(|line| text += &format!("            {line}\n"));
        }
        text += "\n";
    }
    match reports {
        [report] => text += &report.to_string(),
        _ => {
            text += &table(reports);
            text += &match differences(reports).len() {
                0 => "\nThe engines agree.\n".to_owned(),
                1 => "\nThe engines differ in the row marked *.\n".to_owned(),
                rows => format!("\nThe engines differ in the {rows} rows marked *.\n"),
            };
        }
    }
    text
}
