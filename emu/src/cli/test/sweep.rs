//! `emu test sweep`.

use super::{Verdict, progress_bar};
use crate::{
    cli::print_out,
    exit::{OptionError, RunError},
};
use clap::Args;
use emu_core::cpu_model::CpuModel;
use emu_harness::{
    corpus::Mode,
    generate::Generator,
    sweep::{Finding, Report, Subject, Sweep},
};
use std::fmt::Write;

const EXAMPLES: &str = "\
Examples:
  emu test sweep
  emu test sweep --rows shld --cases 1000000 --seed 7
  emu test sweep --rows Add_rm32_r32 --mode c16 --first 41 --cases 1";

/// Engines that can be swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Swept {
    /// The interpreter
    Interp,
    /// The translator to host code
    Jit,
}

/// The options of `emu test sweep`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SweepOptions {
    /// Whose results are looked at: the interpreter's, which are held against the host's processor, or the
    /// translator's, which are held against the interpreter
    #[arg(long, value_name = "ENGINE", default_value = "interp")]
    engine: Swept,

    /// Only forms with this in their names: a mnemonic, or a form such as Add_rm32_r32
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    rows: String,

    /// Only this mode: 64, c32, c16, p32, p16, v86 or real
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<String>,

    /// Cases in all, divided evenly among the forms
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    cases: u64,

    /// What the cases follow from
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Number of the first case of each form
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,

    /// Threads [default: one for each processor of the host]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Differences to show of each form
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
}

fn parse_mode(text: &str) -> Result<String, String> {
    let known = Mode::ALL.map(|(_, name)| name);
    if known.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("no such mode; use one of {}", known.join(", ")))
    }
}

impl SweepOptions {
    /// Runs the sweep and shows what differs.
    pub fn run(self) -> Result<Verdict, RunError> {
        let defaults = Sweep::default();
        let sweep = Sweep {
            subject: match self.engine {
                Swept::Interp => Subject::Interpreter,
                Swept::Jit => Subject::Translator,
            },
            rows: self.rows,
            mode: self.mode.unwrap_or_default(),
            cases: self.cases,
            first: self.first,
            seed: self.seed,
            threads: self.threads.unwrap_or(defaults.threads),
            keep: self.show,
        };
        let report = run(&sweep)?;
        print_out(text(&report).as_bytes())?;
        Ok(if report.total().different == 0 { Verdict::Same } else { Verdict::Different })
    }
}

/// Runs a sweep on the model `max`, with a progress bar.
pub fn run(sweep: &Sweep) -> Result<Report, RunError> {
    let model = CpuModel::named("max").map_err(anyhow::Error::new)?;
    if sweep.forms(&Generator::new(&model)).is_empty() {
        let problem = "no form has that in its name; use a mnemonic such as add";
        return Err(OptionError::new("--rows", &sweep.rows, problem).into());
    }
    let bar = progress_bar(sweep.cases);
    let report = sweep.run(&model, &|done| bar.inc(done));
    bar.finish_and_clear();
    Ok(report)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        describe(&mut text, finding);
    }
    let total = report.total();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{} cases of {} forms; {} compared with the host's processor, of which {} faulted; {} differ",
        total.trials,
        report.forms.len(),
        total.native,
        total.faults,
        total.different
    );
    if let Some(reason) = &report.no_oracle {
        let _ = writeln!(text, "not compared with the host's processor: {reason}");
    }
    text
}

fn describe(text: &mut String, finding: &Finding) {
    let Finding { form, number, seed, against, differences, line } = finding;
    let _ = writeln!(text, "{line}");
    for difference in differences {
        let _ = writeln!(
            text,
            "    {}: {}, by {against} {}",
            difference.what, difference.found, difference.wanted
        );
    }
    let mode = Mode::ALL.iter().find(|(mode, _)| *mode == form.mode).map_or("", |(_, name)| name);
    let _ = writeln!(
        text,
        "    again: emu test sweep --rows {:?} --mode {mode} --seed {seed} --first {number} --cases 1",
        form.code
    );
}
