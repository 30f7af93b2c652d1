//! `emu run`.

use super::{check, cpu::WithModelNames, network::NetworkOptions};
use crate::{
    config::{
        BalloonSpec, CdromSpec, CpuSpec, DEFAULT_CPU_MODEL, DiskSpec, EngineKind, EngineSpec, GdbSpec,
        JitPerf, JitStress, MIB, MachineConfig, Module, RtcSpec, SerialSpec, ShareSpec, TraceSpec,
        VirtioPortSpec, VsockSpec, parse_code_size, parse_cpus, parse_memory,
    },
    console::{HostPorts, drain_all, flush_all, terminal::GiveBack},
    exit::{ExitReason, OptionError, RunError},
    logger,
};
use clap::{Args, ValueHint};
use emu_core::region::Thresholds;
use emu_devices::virtio::MAX_PORTS;
use std::{path::PathBuf, str::FromStr, time::Duration};

const EXAMPLES: &str = "\
Examples:
  emu run
  emu run --kernel vmlinuz --initrd initrd.gz --append 'console=ttyS0 quiet' --memory 1G --cpus 2
  emu run --kernel vmlinuz --initrd initrd.img --disk debian.qcow2
  emu run --kernel test.elf --debug-exit --debugcon stdio --serial none --no-reboot
  emu run --kernel apic.flat --initrd environment --append verbose --debug-exit --test-device
  emu run --kernel xen --initrd 'vmlinuz console=hvc0' --initrd initrd.gz
  emu run --kernel vmlinuz --append console=ttyS0 --trace interrupts:trace.txt --log debug

On a terminal, Ctrl-A x ends the machine and Ctrl-A h shows the other keys.";

/// The options of `emu run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunOptions {
    /// Kernel: a bzImage, an ELF with a PVH note or a multiboot header, or a flat multiboot image
    #[arg(long, value_name = "FILE", help_heading = "Boot", value_hint = ValueHint::FilePath)]
    kernel: Option<PathBuf>,

    /// Initial ramdisk; for multiboot a module, with a command line after a space; repeatable
    #[arg(long, value_name = "FILE[ TEXT]", help_heading = "Boot", value_hint = ValueHint::FilePath)]
    initrd: Vec<Module>,

    /// The kernel's command line [default with --disk: the serial console, and the first disk as root file system]
    #[arg(long, value_name = "TEXT", help_heading = "Boot", allow_hyphen_values = true)]
    append: Option<String>,

    /// End the run, instead of rebooting, when the guest resets
    #[arg(long, help_heading = "Boot")]
    no_reboot: bool,

    /// Memory: a number of MiB, or a size such as 128M or 4G
    #[arg(long, value_name = "SIZE", help_heading = "Machine", default_value = "128M", value_parser = parse_memory)]
    memory: u64,

    /// Number of processors
    #[arg(long, value_name = "N", help_heading = "Machine", default_value = "1", value_parser = parse_cpus)]
    cpus: u32,

    /// Processor model (emu cpu list shows them), with features added and taken away
    #[arg(
        long,
        value_name = "MODEL[,+F,-F]",
        help_heading = "Machine",
        default_value = DEFAULT_CPU_MODEL,
        value_parser = WithModelNames(CpuSpec::from_str),
        hide_possible_values = true
    )]
    cpu: CpuSpec,

    /// What executes the guest's code
    #[arg(long, value_name = "ENGINE", help_heading = "Engine", default_value = "auto")]
    engine: EngineKind,

    /// Threads that translate hot code; with 0 the processors do it themselves
    #[arg(long, value_name = "N", help_heading = "Engine", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=64))]
    jit_threads: u32,

    /// Translated code that is kept at most
    #[arg(long, value_name = "SIZE", help_heading = "Engine", default_value = "256M", value_parser = parse_code_size)]
    jit_cache: u64,

    /// When code is translated: after a block has been entered WARM times, and better after about HOT instructions in its
    /// loops; code that gains most by it counts for more
    #[arg(
        long,
        value_name = "WARM,HOT",
        help_heading = "Engine",
        default_value = "800,3000000",
        value_parser = parse_thresholds
    )]
    jit_thresholds: Thresholds,

    /// Tell Linux's perf of translated code: RIP, mode and tier of each region
    #[arg(long, value_name = "KIND", help_heading = "Engine")]
    jit_perf: Option<JitPerf>,

    /// Overdo something, to test the translator
    #[arg(long, value_name = "KIND", help_heading = "Engine")]
    jit_stress: Option<JitStress>,

    /// The real-time clock at power-on: utc, local, seconds since 1970, or a date such as 2026-01-31T23:59:59
    #[arg(long, value_name = "TIME", help_heading = "Machine", default_value = "utc")]
    rtc: RtcSpec,

    /// A disk: an image with format=raw or another, bus=virtio, nvme, ahci or ide, readonly, overlay, cache=writeback, none
    /// or unsafe, discard, serial=TEXT behind it; repeatable
    #[arg(long, value_name = "FILE[,...]", help_heading = "Machine")]
    disk: Vec<DiskSpec>,

    /// A CD-ROM drive with this image in it, and bus=ahci or ide behind it; repeatable
    #[arg(long, value_name = "FILE[,...]", help_heading = "Machine")]
    cdrom: Vec<CdromSpec>,

    #[command(flatten)]
    network: NetworkOptions,

    /// Connect the next serial port to stdio, file:PATH, pty or none; repeatable [default: stdio]
    #[arg(long, value_name = "DEST", help_heading = "Ports")]
    serial: Vec<SerialSpec>,

    /// Add a virtio console (hvc0), connected as a serial port is
    #[arg(long, value_name = "DEST", help_heading = "Ports")]
    virtio_console: Option<SerialSpec>,

    /// Add a virtio port that the guest finds as /dev/virtio-ports/NAME, connected to socket=PATH, file=PATH, pty or stdio;
    /// repeatable
    #[arg(long, value_name = "name=NAME,DEST", help_heading = "Ports")]
    virtio_port: Vec<VirtioPortSpec>,

    /// Add a virtio socket device: the guest's address, and the Unix socket that leads to its ports. The guest reaches port P
    /// of the host at the Unix socket PATH_P
    #[arg(long, value_name = "cid=N,socket=PATH", help_heading = "Ports")]
    vsock: Option<VsockSpec>,

    /// Share a folder: the guest mounts it by its tag (mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt); repeatable
    #[arg(long, value_name = "DIR[,tag=TAG][,readonly]", help_heading = "Machine")]
    share: Vec<ShareSpec>,

    /// Add a virtio source of randomness
    #[arg(long, help_heading = "Machine")]
    rng: bool,

    /// Add a memory balloon, by which memory that the guest does not use goes back to the host; with a size, the guest is
    /// asked to make do with that much of its memory
    #[arg(long, value_name = "SIZE|on", help_heading = "Machine")]
    balloon: Option<BalloonSpec>,

    /// Add a debug console at port 0xE9, to stdio, file:PATH, pty or none
    #[arg(long, value_name = "DEST", help_heading = "Ports")]
    debugcon: Option<SerialSpec>,

    /// Add the isa-debug-exit port 0xF4: a guest that writes V ends with status (V << 1) | 1
    #[arg(long, help_heading = "Ports")]
    debug_exit: bool,

    /// Add the test devices of QEMU that test kernels use: pc-testdev, pci-testdev, fw_cfg
    // Both have port 0xE9.
    #[arg(long, help_heading = "Ports", conflicts_with = "debugcon")]
    test_device: bool,

    /// Listen at a Unix socket for emu ctl, and for programs that speak QMP
    #[arg(long, value_name = "PATH", help_heading = "Ports", value_hint = ValueHint::FilePath)]
    control: Option<PathBuf>,

    /// Let gdb debug the guest: at a TCP port of this host, or at a Unix socket (target remote in gdb). With wait, the
    /// machine stands at its first instruction until gdb lets it go on
    #[arg(long, value_name = "PATH|[HOST:]PORT[,wait]", help_heading = "Diagnosis")]
    gdb: Option<GdbSpec>,

    /// What emu tells of itself: a level from off to trace, or parts with levels (warn,emu_devices=debug)
    #[arg(
        long,
        value_name = "FILTER",
        help_heading = "Diagnosis",
        default_value = logger::DEFAULT_FILTER,
        value_parser = logger::parse_filter
    )]
    log: String,

    /// Write the log to a file instead of standard error
    #[arg(long, value_name = "FILE", help_heading = "Diagnosis", value_hint = ValueHint::FilePath)]
    log_file: Option<PathBuf>,

    /// Trace exec, interrupts, io or mmu to a file; repeatable
    #[arg(long, value_name = "KIND:FILE", help_heading = "Diagnosis")]
    trace: Vec<TraceSpec>,
}

/// Parses when code is translated.
pub fn parse_thresholds(text: &str) -> Result<Thresholds, String> {
    let numbers = text.split_once(',').and_then(|(warm, hot)| Some((warm.parse().ok()?, hot.parse().ok()?)));
    match numbers {
        Some((warm, hot)) if warm > 0 => Ok(Thresholds { warm, hot }),
        _ => Err("use two numbers, of which the first is at least 1, as in 30000,3000000".into()),
    }
}

impl RunOptions {
    /// Runs the machine to its end.
    pub fn run(self) -> Result<ExitReason, RunError> {
        logger::start(&self.log, self.log_file.as_deref())?;
        run_machine(self.into_config()?)
    }

    fn into_config(self) -> Result<MachineConfig, OptionError> {
        if self.kernel.is_none() {
            let without = |option, value: &dyn std::fmt::Display| {
                Err(OptionError::new(option, value, "has no kernel to go with; add --kernel FILE"))
            };
            if let Some(module) = self.initrd.first() {
                return without("--initrd", &module.path.display());
            }
            if let Some(text) = &self.append {
                return without("--append", text);
            }
        }
        if let Some(extra) = self.serial.get(crate::config::MAX_SERIAL_PORTS) {
            let problem = "one port too many; a machine has 4 serial ports";
            return Err(OptionError::new("--serial", spelled(extra), problem));
        }
        let most_ports = MAX_PORTS - usize::from(self.virtio_console.is_some());
        if let Some(extra) = self.virtio_port.get(most_ports) {
            let problem = format!("one port too many; a virtio console has {MAX_PORTS} ports");
            return Err(OptionError::new("--virtio-port", &extra.name, problem));
        }
        let mut names: Vec<&str> = self.virtio_port.iter().map(|port| port.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.array_windows().find(|[a, b]| a == b) {
            let problem = "two ports have this name; give each its own";
            return Err(OptionError::new("--virtio-port", pair[0], problem));
        }
        if let Some(BalloonSpec { memory: Some(size) }) = self.balloon
            && size > self.memory
        {
            let problem = format!("more than --memory; give at most {}M", self.memory / MIB);
            return Err(OptionError::new("--balloon", format!("{}M", size / MIB), problem));
        }
        // One of the two has the terminal; whoever asks for it by name does not mean the other.
        let taken = self.virtio_console == Some(SerialSpec::Stdio);
        let first_serial = if taken { SerialSpec::None } else { SerialSpec::Stdio };
        let machine_name = machine_name(self.disk.first());
        Ok(MachineConfig {
            kernel: self.kernel,
            initrd: self.initrd,
            append: self.append.or_else(|| self.disk.first().map(command_line_for)).unwrap_or_default(),
            memory: self.memory,
            cpus: self.cpus,
            engine: EngineSpec {
                kind: self.engine,
                jit_threads: self.jit_threads,
                jit_cache: self.jit_cache,
                thresholds: self.jit_thresholds,
                perf: self.jit_perf,
                stress: self.jit_stress,
            },
            cpu: self.cpu,
            serial: if self.serial.is_empty() { vec![first_serial] } else { self.serial },
            debugcon: self.debugcon,
            debug_exit: self.debug_exit,
            test_device: self.test_device,
            no_reboot: self.no_reboot,
            rtc: self.rtc,
            trace: self.trace,
            virtio_console: self.virtio_console,
            virtio_ports: self.virtio_port,
            rng: self.rng,
            balloon: self.balloon,
            shares: self.share,
            vsock: self.vsock,
            disks: self.disk,
            cdroms: self.cdrom,
            networks: self.network.cards(&machine_name)?,
            control: self.control,
            gdb: self.gdb,
        })
    }
}

/// What tells a machine from others, in every run: its first disk, if it has one.
pub fn machine_name(disk: Option<&DiskSpec>) -> String {
    let path = disk.map(|disk| disk.path.canonicalize().unwrap_or_else(|_| disk.path.clone()));
    path.map_or_else(|| "emu".to_owned(), |path| path.display().to_string())
}

/// The command line of a Linux system whose root file system is all of `disk`.
pub fn command_line_for(disk: &DiskSpec) -> String {
    let access = if disk.readonly { "ro" } else { "rw" };
    format!("console=ttyS0,115200 root={} {access}", disk.bus.first_in_linux())
}

fn spelled(serial: &SerialSpec) -> String {
    match serial {
        SerialSpec::Stdio => "stdio".into(),
        SerialSpec::Pty => "pty".into(),
        SerialSpec::None => "none".into(),
        SerialSpec::File(path) => format!("file:{}", path.display()),
    }
}

/// Checks what can be checked, opens the host's side, runs the machine, and leaves the host as it was.
pub fn run_machine(config: MachineConfig) -> Result<ExitReason, RunError> {
    check::files(&config)?;
    let ports = HostPorts::open(&config)?;
    let _terminal = GiveBack;
    let result = start_machine(config, ports);
    // Whoever ends the machine by hand does not want to wait for a slow reader.
    match result {
        Ok(ExitReason::Quit) => flush_all(Duration::from_secs(1)),
        _ => drain_all(),
    }
    result
}

/// The seam to the machine: builds it from plain data, connects it to the host's ports, and runs it until it
/// stops.
fn start_machine(config: MachineConfig, ports: HostPorts) -> Result<ExitReason, RunError> {
    crate::machine::run(config, ports)
}
