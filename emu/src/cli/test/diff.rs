//! `emu test diff`: a guest on two engines in lock step.

use super::Verdict;
use crate::{
    cli::{check, cpu::WithModelNames, print_out, run::parse_thresholds},
    config::{CpuSpec, DEFAULT_CPU_MODEL, EngineSpec, JitStress, MachineConfig, Module, parse_memory},
    differential::{self, Comparison, Engine, Trial},
    exit::{OptionError, RunError},
    logger,
};
use clap::{Args, ValueHint};
use emu_core::{clock::NANOS_PER_SECOND, region::Thresholds};
use indicatif::{ProgressBar, ProgressStyle};
use std::{num::NonZeroU64, path::PathBuf, str::FromStr, time::Duration};

const EXAMPLES: &str = "\
Examples:
  emu test diff
  emu test diff --kernel vmlinuz --initrd initrd.gz --append 'console=ttyS0 quiet' --memory 256M --until '# '
  emu test diff --engines steps,interp --instructions 100000000 --kernel vmlinuz";

/// The options of `emu test diff`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffOptions {
    /// The two engines
    #[arg(long, value_enum, value_name = "A,B", value_delimiter = ',', default_value = "jit,interp")]
    engines: Vec<Engine>,

    /// Kernel, as for emu run; without one, the guest that is built in
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kernel: Option<PathBuf>,

    /// Initial ramdisk; for multiboot a module, with a command line after a space; repeatable
    #[arg(long, value_name = "FILE[ TEXT]", value_hint = ValueHint::FilePath)]
    initrd: Vec<Module>,

    /// The kernel's command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,

    /// Memory: a number of MiB, or a size such as 128M or 4G
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = parse_memory)]
    memory: u64,

    /// Processor model (emu cpu list shows them), with features added and taken away
    #[arg(
        long,
        value_name = "MODEL[,+F,-F]",
        default_value = DEFAULT_CPU_MODEL,
        value_parser = WithModelNames(CpuSpec::from_str),
        hide_possible_values = true
    )]
    cpu: CpuSpec,

    /// End after so many instructions
    #[arg(long, value_name = "N")]
    instructions: Option<NonZeroU64>,

    /// End soon after the guest has printed this on its first serial port
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,

    /// When jit translates: see emu run
    #[arg(long, value_name = "WARM,HOT", default_value = "800,3000000", value_parser = parse_thresholds)]
    jit_thresholds: Thresholds,

    /// What jit overdoes: see emu run
    #[arg(long, value_name = "KIND")]
    jit_stress: Option<JitStress>,

    /// Falsify the second machine after this instruction, to see that it is found
    #[arg(long, value_name = "N")]
    plant: Option<NonZeroU64>,
}

impl DiffOptions {
    /// Runs the guest; prints the first difference.
    pub fn run(self) -> Result<Verdict, RunError> {
        logger::start(logger::DEFAULT_FILTER, None)?;
        let trial = self.trial()?;
        check::files(&trial.config)?;
        let progress = Progress::new();
        let comparison = differential::compare(&trial, |executed| progress.advance(executed))?;
        progress.0.finish_and_clear();
        let text = describe(&trial, &comparison);
        print_out(&comparison.printed)?;
        print_out(text.as_bytes())?;
        Ok(if comparison.difference.is_none() { Verdict::Same } else { Verdict::Different })
    }

    fn trial(self) -> Result<Trial, OptionError> {
        let Ok(engines) = <[Engine; 2]>::try_from(self.engines.as_slice()) else {
            let names: Vec<&str> = self.engines.iter().map(|engine| engine.name()).collect();
            let problem = "it takes two engines; name them as in jit,interp";
            return Err(OptionError::new("--engines", names.join(","), problem));
        };
        let orphan = self.initrd.first().map(|module| ("--initrd", module.path.display().to_string()));
        let orphan = orphan.or(self.append.clone().map(|text| ("--append", text)));
        if let (None, Some((option, value))) = (&self.kernel, orphan) {
            return Err(OptionError::new(option, value, "has no kernel to go with; add --kernel FILE"));
        }
        let config = MachineConfig {
            kernel: self.kernel,
            initrd: self.initrd,
            append: self.append.unwrap_or_default(),
            memory: self.memory,
            cpu: self.cpu,
            engine: EngineSpec {
                thresholds: self.jit_thresholds,
                stress: self.jit_stress,
                ..EngineSpec::default()
            },
            ..MachineConfig::default()
        };
        let instructions = self.instructions.map_or(u64::MAX, NonZeroU64::get);
        let plant = self.plant.map(NonZeroU64::get);
        Ok(Trial { config, engines, instructions, until: self.until, plant })
    }
}

fn describe(trial: &Trial, comparison: &Comparison) -> String {
    if let Some(difference) = &comparison.difference {
        return difference.to_string();
    }
    let [first, second] = trial.engines.map(Engine::name);
    let Comparison { last, slices, end, .. } = comparison;
    let seconds = last.time as f64 / NANOS_PER_SECOND as f64;
    let end = end.map_or(String::new(), |end| format!("; {end}"));
    format!(
        "{first} and {second} agree: {} instructions, {seconds:.3} s of machine time, compared {slices} times{end}\n",
        last.executed
    )
}

/// Instructions executed, on standard error; invisible if that is no terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        match ProgressStyle::with_template("{spinner} {human_pos} instructions  {per_sec}") {
            Ok(style) => Progress(bar.with_style(style)),
            Err(_) => Progress(bar),
        }
    }

    fn advance(&self, executed: u64) {
        self.0.set_position(executed);
    }
}
