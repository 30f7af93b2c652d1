//! `emu cpu`: the processor models there are, and what a guest finds in one.

use super::print_out;
use crate::{
    config::{CpuSpec, DEFAULT_CPU_MODEL},
    exit::{OptionError, RunError},
};
use clap::{
    Arg, Args, Command, Subcommand,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use emu_core::{
    arch::Cr4,
    cpu_model::{CpuModel, CpuidContext, Feature, MODELS, NamedModel, TSC_HERTZ},
};
use serde_json::json;
use std::{ffi::OsStr, fmt::Write};

/// Leaves of CPUID that have sub-leaves.
const HAVE_SUBLEAVES: [u32; 4] = [4, 7, EXTENDED_TOPOLOGY, 0xD];
const EXTENDED_TOPOLOGY: u32 = 0xB;
/// Sub-leaves to look at: one for each bit of XCR0, and no other leaf has as many.
const SUBLEAVES: u32 = 63;

/// The commands of `emu cpu`.
#[derive(Debug, Subcommand)]
pub enum CpuCommand {
    /// List the processor models
    List,
    /// Show a model: its features and where CPUID has them, its limits, CPUID leaf by leaf
    Show(ShowOptions),
}

/// The options of `emu cpu show`.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// Processor model, with features added and taken away
    #[arg(
        value_name = "MODEL[,+F,-F]",
        default_value = DEFAULT_CPU_MODEL,
        value_parser = WithModelNames(StringValueParser::new()),
        hide_possible_values = true
    )]
    model: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CpuCommand {
    /// Prints what was asked for.
    pub fn run(self) -> Result<(), RunError> {
        let text = match self {
            CpuCommand::List => list(),
            CpuCommand::Show(options) => {
                let shown = Shown::new(&options.model)?;
                if options.json { format!("{:#}\n", shown.json()) } else { shown.text() }
            }
        };
        print_out(text.as_bytes())
    }
}

/// A parser of what begins with a model's name: tells a shell's completion the names.
#[derive(Debug, Clone)]
pub struct WithModelNames<P>(pub P);

impl<P: TypedValueParser> TypedValueParser for WithModelNames<P> {
    type Value = P::Value;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<P::Value, clap::Error> {
        self.0.parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new(MODELS.iter().map(|model| PossibleValue::new(model.name).help(model.summary))))
    }
}

fn list() -> String {
    let width = MODELS.iter().map(|model| model.name.len()).max().unwrap_or_default();
    let line = |model: &NamedModel| {
        let default = if model.name == DEFAULT_CPU_MODEL { " (default)" } else { "" };
        format!("{:width$}  {}{default}\n", model.name, model.summary)
    };
    MODELS.iter().map(line).collect()
}

/// A leaf of CPUID and its sub-leaf; EAX, EBX, ECX, EDX.
type Leaf = (u32, u32, [u32; 4]);

/// A model, as the first processor of a machine with one shows it to an operating system that has enabled all
/// of it.
struct Shown {
    spec: String,
    model: CpuModel,
}

impl Shown {
    fn new(text: &str) -> Result<Self, OptionError> {
        let refused = |problem: String| OptionError::new("emu cpu show", text, problem);
        let spec = text.parse::<CpuSpec>().map_err(refused)?.to_string();
        let model = spec.parse::<CpuModel>().map_err(|error| refused(error.to_string()))?;
        Ok(Shown { spec, model })
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let mut cr4 = Cr4::empty();
        cr4.set(Cr4::OSXSAVE, self.model.has(Feature::Xsave));
        cr4.set(Cr4::PKE, self.model.has(Feature::Pku));
        let context = CpuidContext { apic_id: 0, apic_enabled: true, cr4, xcr0: self.model.xcr0() };
        self.model.cpuid(leaf, subleaf, &context)
    }

    /// The leaves that say something.
    fn leaves(&self) -> Vec<Leaf> {
        let mut ranges = vec![0, 0x8000_0000];
        if self.model.has(Feature::Hypervisor) {
            ranges.insert(1, 0x4000_0000);
        }
        let numbers = ranges.into_iter().flat_map(|first| first..=self.cpuid(first, 0)[0]);
        let leaves = numbers.flat_map(|leaf| {
            let subleaves = if HAVE_SUBLEAVES.contains(&leaf) { 0..SUBLEAVES } else { 0..1 };
            subleaves.map(move |subleaf| (leaf, subleaf))
        });
        let registers = leaves.map(|(leaf, subleaf)| (leaf, subleaf, self.cpuid(leaf, subleaf)));
        registers.filter(|&(leaf, _, registers)| says_something(leaf, registers)).collect()
    }

    /// Limits and values of MSRs, by name.
    fn limits(&self) -> Vec<(&'static str, String)> {
        let model = &self.model;
        let mut limits = vec![
            ("physical address bits", model.physical_address_bits().to_string()),
            ("linear address bits", model.linear_address_bits().to_string()),
            ("TSC", format!("{} MHz", TSC_HERTZ / 1_000_000)),
        ];
        if model.has(Feature::Xsave) {
            limits.push(("XCR0, all of it", format!("{:#x}", model.xcr0().bits())));
        }
        if model.has(Feature::ArchCapabilities) {
            limits.push(("IA32_ARCH_CAPABILITIES", format!("{:#018x}", model.arch_capabilities())));
        }
        limits
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}\n\nFeatures, where a guest sees them, and the least model that has them\n",
            self.spec
        );
        // Writing to a string does not fail, here and below.
        for feature in self.model.features().iter() {
            let _ = writeln!(text, "  {:20}{:28}{}", feature.name(), place(feature), least_model(feature));
        }
        text.push_str("\nLimits\n");
        for (name, value) in self.limits() {
            let _ = writeln!(text, "  {name:24}{value}");
        }
        text.push_str("\nCPUID, of the only processor under a system that has enabled XCR0\n");
        text.push_str("  leaf      sub  EAX       EBX       ECX       EDX\n");
        for (leaf, subleaf, [eax, ebx, ecx, edx]) in self.leaves() {
            let _ = writeln!(text, "  {leaf:08X}  {subleaf:3}  {eax:08X}  {ebx:08X}  {ecx:08X}  {edx:08X}");
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let features: Vec<_> = self
            .model
            .features()
            .iter()
            .map(|feature| {
                json!({ "name": feature.name(), "place": place(feature), "model": least_model(feature) })
            })
            .collect();
        let leaves: Vec<_> = self
            .leaves()
            .into_iter()
            .map(|(leaf, subleaf, [eax, ebx, ecx, edx])| {
                json!({ "leaf": leaf, "subleaf": subleaf, "eax": eax, "ebx": ebx, "ecx": ecx, "edx": edx })
            })
            .collect();
        json!({
            "model": self.spec,
            "features": features,
            "physical_address_bits": self.model.physical_address_bits(),
            "linear_address_bits": self.model.linear_address_bits(),
            "tsc_hertz": TSC_HERTZ,
            "xcr0": self.model.xcr0().bits(),
            "arch_capabilities": self.model.arch_capabilities(),
            "cpuid": leaves,
        })
    }
}

/// Whether a leaf is there at all: the topology's numbers its sub-leaves even beyond the last.
fn says_something(leaf: u32, registers: [u32; 4]) -> bool {
    let level_type = registers[2] >> 8 & 0xFF;
    if leaf == EXTENDED_TOPOLOGY { level_type != 0 } else { registers != [0; 4] }
}

/// Where a guest finds `feature`: register and bit.
fn place(feature: Feature) -> String {
    format!("{}[{}]", feature.row().place, feature.row().bit)
}

fn least_model(feature: Feature) -> &'static str {
    let least = MODELS.iter().find(|model| model.cpu().has(feature));
    least.map_or("", |model| model.name)
}
