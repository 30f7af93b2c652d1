//! What the user asks for, as plain data: the interface between the command line and the machine.
//!
//! Parsing gives only values that make sense by themselves. What depends on the files named, or on the CPU
//! models there are, is checked where that knowledge is.

use emu_core::{clock::wall_clock_seconds, cpu_model, region::Thresholds};
use std::{fmt, path::PathBuf, str::FromStr};

mod disk;
mod gdb;
mod network;
mod share;
mod timestamp;
mod virtio;

pub use disk::{CdromSpec, DiskBus, DiskSpec};
pub use gdb::{GdbPlace, GdbSpec};
pub use network::{NetOption, NetworkCardSpec, NetworkModel, problem as network_problem};
pub use share::ShareSpec;
pub use timestamp::RtcSpec;
pub use virtio::{BalloonSpec, PortDestination, VirtioPortSpec, VsockSpec};

/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// The least memory a machine has.
pub const MIN_MEMORY: u64 = MIB;
/// The most memory a machine has: what a 40-bit guest-physical address reaches.
pub const MAX_MEMORY: u64 = 1 << 40;
/// The most memory for translated code.
const MAX_CODE: u64 = 64 << 30;
/// The most vCPUs: APIC ids are eight bits wide, and 255 is the broadcast.
pub const MAX_CPUS: u32 = 254;
/// The most serial ports a PC has.
pub const MAX_SERIAL_PORTS: usize = 4;
/// The CPU model when none is named.
pub const DEFAULT_CPU_MODEL: &str = cpu_model::DEFAULT.name;

/// A whole machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// What to boot; `None` is the embedded guest.
    pub kernel: Option<PathBuf>,
    /// Initial ramdisk, or multiboot modules in order.
    pub initrd: Vec<Module>,
    /// The kernel's command line.
    pub append: String,
    /// RAM in bytes, a multiple of 4 KiB.
    pub memory: u64,
    /// Number of vCPUs.
    pub cpus: u32,
    /// What executes the guest's code.
    pub engine: EngineSpec,
    /// CPU model and features.
    pub cpu: CpuSpec,
    /// Where COM1, COM2, ... are connected.
    pub serial: Vec<SerialSpec>,
    /// Where port 0xE9 prints; `None` leaves the port out of the machine.
    pub debugcon: Option<SerialSpec>,
    /// Whether the isa-debug-exit port 0xF4 exists.
    pub debug_exit: bool,
    /// Whether the devices that test kernels look for exist: pc-testdev, pci-testdev, fw_cfg.
    pub test_device: bool,
    /// Whether a reset ends the run.
    pub no_reboot: bool,
    /// What the real-time clock shows at power-on.
    pub rtc: RtcSpec,
    /// Traces to write.
    pub trace: Vec<TraceSpec>,
    /// Where the virtio console is connected.
    pub virtio_console: Option<SerialSpec>,
    /// Its named ports.
    pub virtio_ports: Vec<VirtioPortSpec>,
    /// Whether the guest has the host's randomness by virtio.
    pub rng: bool,
    /// The memory balloon.
    pub balloon: Option<BalloonSpec>,
    /// Folders of the host that the guest shares.
    pub shares: Vec<ShareSpec>,
    /// The virtio socket device.
    pub vsock: Option<VsockSpec>,
    /// Disks, in the order in which the guest finds them.
    pub disks: Vec<DiskSpec>,
    /// CD-ROM drives, which are behind the disks of the same bus.
    pub cdroms: Vec<CdromSpec>,
    /// Network cards, in the order in which the guest finds them.
    pub networks: Vec<NetworkCardSpec>,
    /// Where the control socket is.
    pub control: Option<PathBuf>,
    /// Where a debugger finds the machine.
    pub gdb: Option<GdbSpec>,
}

impl Default for MachineConfig {
    fn default() -> Self {
        MachineConfig {
            kernel: None,
            initrd: Vec::new(),
            append: String::new(),
            memory: 128 * MIB,
            cpus: 1,
            engine: EngineSpec::default(),
            cpu: CpuSpec::default(),
            serial: vec![SerialSpec::Stdio],
            debugcon: None,
            debug_exit: false,
            test_device: false,
            no_reboot: false,
            rtc: RtcSpec::Utc,
            trace: Vec::new(),
            virtio_console: None,
            virtio_ports: Vec::new(),
            rng: false,
            balloon: None,
            shares: Vec::new(),
            vsock: None,
            disks: Vec::new(),
            cdroms: Vec::new(),
            networks: Vec::new(),
            control: None,
            gdb: None,
        }
    }
}

/// What executes the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSpec {
    /// Which engine.
    pub kind: EngineKind,
    /// Threads of the translator.
    pub jit_threads: u32,
    /// Bytes of translated code that are kept at most.
    pub jit_cache: u64,
    /// When code is translated.
    pub thresholds: Thresholds,
    /// What is told to `perf`.
    pub perf: Option<JitPerf>,
    /// What the translator overdoes.
    pub stress: Option<JitStress>,
}

impl Default for EngineSpec {
    fn default() -> Self {
        EngineSpec {
            kind: EngineKind::default(),
            jit_threads: 1,
            jit_cache: 256 * MIB,
            thresholds: emu_jit::Options::default().thresholds,
            perf: None,
            stress: None,
        }
    }
}

/// Engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum EngineKind {
    /// The fastest one that this host has: kvm, jit or interp, in this order
    #[default]
    Auto,
    /// The host's processor, as far as its KVM can be trusted with the guest, and jit for the rest; or an error
    Kvm,
    /// The interpreter alone
    Interp,
    /// The interpreter, and translated code where code is hot
    Jit,
}

/// What `perf` is told of translated code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum JitPerf {
    /// Addresses and names in /tmp/perf-PID.map, for perf report
    Map,
    /// The code too, in /tmp/jit-PID.dump, for perf inject --jit
    Dump,
}

/// What the translator does more of than is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum JitStress {
    /// Translate what is executed again at once, and never better
    Warm,
    /// Translate everything as the hottest code at once
    Hot,
    /// Let go of all translated code again and again
    Evict,
    /// Take code for written again and again
    Invalidate,
}

impl From<JitPerf> for emu_jit::Perf {
    fn from(perf: JitPerf) -> Self {
        match perf {
            JitPerf::Map => emu_jit::Perf::Map,
            JitPerf::Dump => emu_jit::Perf::Dump,
        }
    }
}

impl From<JitStress> for emu_jit::Stress {
    fn from(stress: JitStress) -> Self {
        match stress {
            JitStress::Warm => emu_jit::Stress::Warm,
            JitStress::Hot => emu_jit::Stress::Hot,
            JitStress::Evict => emu_jit::Stress::Evict,
            JitStress::Invalidate => emu_jit::Stress::Invalidate,
        }
    }
}

/// An initial ramdisk or a multiboot module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The file.
    pub path: PathBuf,
    /// The module's own command line; Linux has no use for one.
    pub command_line: String,
}

impl FromStr for Module {
    type Err = String;

    /// `FILE`, or `FILE TEXT` where the text is the module's command line. A file whose name has spaces is
    /// taken whole when it exists.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("needs a file name".into());
        }
        let (path, command_line) = match text.split_once(' ') {
            Some(parts) if !PathBuf::from(text).exists() => parts,
            _ => (text, ""),
        };
        Ok(Module { path: path.into(), command_line: command_line.trim().to_owned() })
    }
}

/// A CPU model with features added and taken away. Names are checked by whoever has the model table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSpec {
    /// Name of the model, in lower case.
    pub model: String,
    /// Features added.
    pub plus: Vec<String>,
    /// Features taken away.
    pub minus: Vec<String>,
}

impl Default for CpuSpec {
    fn default() -> Self {
        CpuSpec { model: DEFAULT_CPU_MODEL.into(), plus: Vec::new(), minus: Vec::new() }
    }
}

impl FromStr for CpuSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write MODEL[,+feature,-feature], as in x86-64-v3,+aes,-avx2";
        let lower = text.to_ascii_lowercase();
        let mut parts = lower.split(',').map(str::trim);
        let model = parts.next().unwrap_or_default();
        if model.is_empty() || model.starts_with(['+', '-']) {
            return Err(format!("the model is missing; {SHAPE}"));
        }
        let mut spec = CpuSpec { model: model.to_owned(), plus: Vec::new(), minus: Vec::new() };
        for part in parts {
            let (list, other, name) = match (part.strip_prefix('+'), part.strip_prefix('-')) {
                (Some(name), _) => (&mut spec.plus, &spec.minus, name),
                (None, Some(name)) => (&mut spec.minus, &spec.plus, name),
                (None, None) => return Err(format!("\"{part}\" starts with neither + nor -; {SHAPE}")),
            };
            if name.is_empty() {
                return Err(format!("a feature has no name; {SHAPE}"));
            }
            if other.iter().any(|feature| feature == name) {
                return Err(format!("{name} is both added and taken away; say one of the two"));
            }
            list.push(name.to_owned());
        }
        Ok(spec)
    }
}

impl fmt::Display for CpuSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        for (sign, features) in [('+', &self.plus), ('-', &self.minus)] {
            features.iter().try_for_each(|feature| write!(f, ",{sign}{feature}"))?;
        }
        Ok(())
    }
}

/// What a serial port or the debug console is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SerialSpec {
    /// This process's standard input and output.
    Stdio,
    /// Output to a file; no input.
    File(PathBuf),
    /// A pseudo-terminal.
    Pty,
    /// Nothing.
    None,
}

impl FromStr for SerialSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "stdio" => Ok(SerialSpec::Stdio),
            None if text == "pty" => Ok(SerialSpec::Pty),
            None if text == "none" => Ok(SerialSpec::None),
            Some(("file", path)) if !path.is_empty() => Ok(SerialSpec::File(path.into())),
            _ => Err("not a destination; use stdio, file:PATH, pty or none".into()),
        }
    }
}

/// What a trace records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TraceKind {
    /// Every instruction executed.
    Exec,
    /// Exceptions and interrupts.
    Interrupts,
    /// Port and MMIO accesses.
    Io,
    /// TLB fills and flushes, page faults.
    Mmu,
}

impl TraceKind {
    /// Every kind.
    pub const ALL: [TraceKind; 4] = [Self::Exec, Self::Interrupts, Self::Io, Self::Mmu];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            TraceKind::Exec => "exec",
            TraceKind::Interrupts => "interrupts",
            TraceKind::Io => "io",
            TraceKind::Mmu => "mmu",
        }
    }
}

/// A trace and the file it goes to. Several kinds may share a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSpec {
    /// What is recorded.
    pub kind: TraceKind,
    /// Where to.
    pub path: PathBuf,
}

impl FromStr for TraceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once(':').unwrap_or((text, ""));
        let Some(kind) = TraceKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            return Err(format!(
                "\"{name}\" is not a trace; use exec, interrupts, io or mmu with a file, as in exec:trace.txt"
            ));
        };
        if path.is_empty() {
            return Err(format!("the file is missing; write {name}:FILE"));
        }
        Ok(TraceSpec { kind, path: path.into() })
    }
}

/// A size in bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "use a number of MiB or a size, as in 512, 128M or 4G";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("not a size; {SHAPE}"));
    }
    let unit = match suffix.trim().to_ascii_uppercase().as_str() {
        "K" | "KB" | "KIB" => 1 << 10,
        "" | "M" | "MB" | "MIB" => MIB,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => return Err(format!("\"{}\" is not a unit; {SHAPE}", suffix.trim())),
    };
    // A number that does not even fit is too much like any other.
    Ok(number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).unwrap_or(u64::MAX))
}

/// Parses the size of the memory for translated code.
pub fn parse_code_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        bytes if bytes < MIB => Err("too small; translated code needs at least 1M".into()),
        bytes if bytes > MAX_CODE => Err("too large; translated code gets at most 64G".into()),
        bytes => Ok(bytes),
    }
}

/// Parses a size of memory: a plain number is MiB; K, M, G and T (also KiB, KB, ...) are powers of 1024.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if bytes < MIN_MEMORY {
        return Err("too small; a machine needs at least 1M".into());
    }
    if bytes > MAX_MEMORY {
        return Err("too large; a machine has at most 1T".into());
    }
    Ok(bytes & !0xFFF)
}

/// Parses a number of vCPUs.
pub fn parse_cpus(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(cpus @ 1..=MAX_CPUS) => Ok(cpus),
        _ => Err(format!("not a number of CPUs; use 1 to {MAX_CPUS}")),
    }
}

impl RtcSpec {
    /// The time that the real-time clock shows now, at power-on, in seconds since 1970 as if it were UTC.
    pub fn power_on_seconds(&self) -> i64 {
        let now = i64::try_from(wall_clock_seconds()).unwrap_or(i64::MAX);
        match *self {
            RtcSpec::Utc => now,
            RtcSpec::Local => now.saturating_add(timestamp::local_offset(now)),
            RtcSpec::At(seconds) => seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("128M", 128 * MIB)]
    #[case("512", 512 * MIB)]
    #[case("4G", 4 << 30)]
    #[case("1048576K", 1 << 30)]
    #[case("6GiB", 6 << 30)]
    #[case("1T", 1 << 40)]
    fn sizes_are_read_in_their_unit(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(parse_memory(text), Ok(bytes));
    }

    #[rstest]
    #[case("", "not a size")]
    #[case("lots", "not a size")]
    #[case("-1", "not a size")]
    #[case("12Q", "not a unit")]
    #[case("1.5G", "not a unit")]
    #[case("0", "too small")]
    #[case("640K", "too small")]
    #[case("2T", "too large")]
    #[case("99999999999999999999999", "too large")]
    #[case("18446744073709551615T", "too large")]
    fn bad_sizes_are_refused_with_the_reason(#[case] text: &str, #[case] reason: &str) {
        assert!(parse_memory(text).unwrap_err().contains(reason));
    }

    #[test]
    fn a_cpu_model_takes_features_away_and_adds_some() {
        let spec: CpuSpec = "X86-64-v1,+SHA,-sse3,+aes".parse().unwrap();
        assert_eq!(spec.model, "x86-64-v1");
        assert_eq!(spec.to_string(), "x86-64-v1,+sha,+aes,-sse3");
        assert_eq!((spec.plus, spec.minus), (vec!["sha".into(), "aes".into()], vec!["sse3".into()]));
    }

    #[rstest]
    #[case("")]
    #[case("+avx")]
    #[case("max,avx")]
    #[case("max,+")]
    #[case("max,+avx,-avx")]
    fn a_malformed_cpu_model_is_refused(#[case] text: &str) {
        assert!(text.parse::<CpuSpec>().is_err());
    }

    #[rstest]
    #[case("stdio", Some(SerialSpec::Stdio))]
    #[case("file:a:b", Some(SerialSpec::File("a:b".into())))]
    #[case("pty", Some(SerialSpec::Pty))]
    #[case("none", Some(SerialSpec::None))]
    #[case("file:", None)]
    #[case("stdio:x", None)]
    #[case("", None)]
    fn serial_destinations_are_the_documented_ones(#[case] text: &str, #[case] spec: Option<SerialSpec>) {
        assert_eq!(text.parse().ok(), spec);
    }

    #[test]
    fn a_module_has_its_own_command_line() {
        let module: Module = "mod.bin one two".parse().unwrap();
        assert_eq!(module, Module { path: "mod.bin".into(), command_line: "one two".into() });
    }

    #[test]
    fn a_trace_needs_a_known_kind_and_a_file() {
        assert_eq!("io:/a".parse(), Ok(TraceSpec { kind: TraceKind::Io, path: "/a".into() }));
        assert!("io".parse::<TraceSpec>().is_err());
        assert!("cpu:/a".parse::<TraceSpec>().is_err());
    }

    #[test]
    fn a_given_time_is_what_the_clock_shows() {
        assert_eq!(RtcSpec::At(5).power_on_seconds(), 5);
    }
}
