//! What is booted, and the state each vCPU starts in.
//!
//! Files are read at each start and not kept: a guest of some size would otherwise be in memory twice.

use crate::{
    config::{MIB, MachineConfig},
    console::describe_error,
    embedded,
    exit::{OptionError, RunError},
};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Seg, Segment},
    cpu_model::CpuModel,
    memory::{GuestMemory, MemoryError, RAM_BELOW_4G_MAX},
    state::{Activity, CpuState, TableRegister},
};
use firmware::{BootError, BootState, GuestImage, MachineLayout, Module};
use std::{fs, io, path::PathBuf};

/// A guest and where it comes from.
pub enum Guest {
    /// The one that is built in.
    Embedded,
    /// Files.
    Files {
        /// Kernel.
        kernel: PathBuf,
        /// Initrds or modules with their command lines.
        modules: Vec<(PathBuf, String)>,
        /// The kernel's command line.
        command_line: String,
    },
}

/// Why a guest cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The firmware refuses.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Guest memory cannot be written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Guest {
    /// The guest that `config` asks for.
    pub fn of(config: &MachineConfig) -> Self {
        match &config.kernel {
            None => Guest::Embedded,
            Some(kernel) => Guest::Files {
                kernel: kernel.clone(),
                modules: config.initrd.iter().map(|m| (m.path.clone(), m.command_line.clone())).collect(),
                command_line: config.append.clone(),
            },
        }
    }

    /// Does the firmware's work: writes tables and guest to RAM. Returns the first state of the bootstrap
    /// processor, whose CPUID.1:EAX is `signature`.
    pub fn prepare(
        &self,
        ram: &GuestMemory,
        layout: &MachineLayout,
        signature: u32,
    ) -> Result<CpuState, StartError> {
        let Guest::Files { kernel, modules, command_line } = self else {
            return prepare_embedded(ram, layout, signature);
        };
        let name = kernel.to_string_lossy();
        let kernel = read("--kernel", kernel)?;
        let contents: Vec<Vec<u8>> =
            modules.iter().map(|(path, _)| read("--initrd", path)).collect::<Result<_, _>>()?;
        let names: Vec<_> = modules.iter().map(|(path, _)| path.to_string_lossy()).collect();
        let modules: Vec<Module> = contents
            .iter()
            .zip(modules)
            .zip(&names)
            .map(|((bytes, (_, cmdline)), name)| Module { bytes, cmdline, name })
            .collect();
        let image = GuestImage { kernel: &kernel, modules: &modules, cmdline: command_line, name: &name };
        let boot = firmware::prepare(ram, &image, layout)?;
        Ok(state_at_entry(&boot, signature))
    }
}

fn read(option: &'static str, path: &PathBuf) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::File { option, path: path.clone(), source })
}

fn prepare_embedded(
    ram: &GuestMemory,
    layout: &MachineLayout,
    signature: u32,
) -> Result<CpuState, StartError> {
    match firmware::write_tables(ram, layout) {
        // It finds its way without them.
        Ok(_) | Err(BootError::TooLittleMemory { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    ram.write(embedded::LOAD_ADDRESS, embedded::IMAGE)?;
    let mut state = CpuState::reset(signature);
    state.segments.data[Seg::Cs as usize] = Segment::real(embedded::ENTRY_CS);
    state.general.rip = embedded::ENTRY_IP.into();
    Ok(state)
}

/// The processor's state that a boot protocol asks for.
fn state_at_entry(boot: &BootState, signature: u32) -> CpuState {
    let mut state = CpuState::reset(signature);
    let gpr = &mut state.general.gpr;
    // RAX, RCX, RDX, RBX, RSP, RBP, RSI as instructions number them.
    gpr.fill(0);
    (gpr[0], gpr[3], gpr[4], gpr[6]) = (boot.rax, boot.rbx, boot.rsp, boot.rsi);
    state.general.rip = boot.rip;
    state.general.rflags = Flags::from_bits_truncate(boot.rflags as u32) | Flags::FIXED;
    state.segments.data = [segment(&boot.data); 6];
    state.segments.data[Seg::Cs as usize] = segment(&boot.cs);
    state.segments.tr = segment(&boot.tr);
    state.segments.ldtr = Segment { unusable: true, ..state.segments.ldtr };
    state.segments.gdtr = TableRegister { base: boot.gdt.base, limit: boot.gdt.limit };
    state.segments.idtr = TableRegister { base: boot.idt.base, limit: boot.idt.limit };
    state.control.cr0 = Cr0::from_bits_truncate(boot.cr0);
    state.control.cr3 = boot.cr3;
    state.control.cr4 = Cr4::from_bits_truncate(boot.cr4);
    state.control.efer = Efer::from_bits_truncate(boot.efer);
    state
}

fn segment(from: &firmware::boot::Segment) -> Segment {
    let firmware::boot::Segment { selector, base, limit, attributes } = *from;
    Segment { selector, attr: attributes, limit, base, unusable: false }
}

/// First states of all vCPUs: `bsp`, and application processors that wait for their start.
pub fn all_vcpus(bsp: CpuState, cpus: u32, model: &CpuModel) -> Vec<CpuState> {
    let mut ap = CpuState::reset(model.signature());
    ap.events.activity = Activity::WaitForStartup;
    let mut states = vec![ap; cpus as usize];
    states[0] = bsp;
    for state in &mut states {
        state.msrs.set_firmware_memory_types(RAM_BELOW_4G_MAX, model.physical_address_bits());
    }
    states
}

impl StartError {
    /// The error as the user of `config` is told of it.
    pub fn for_user(self, config: &MachineConfig) -> RunError {
        let memory = || format!("{}M", config.memory / MIB);
        let kernel = || config.kernel.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let option =
            |option, value: String, problem: &BootError| OptionError::new(option, value, problem).into();
        match self {
            StartError::File { option, path, source } => {
                let problem = format!("cannot be read ({}); name a file that can", describe_error(&source));
                OptionError::new(option, path.display(), problem).into()
            }
            StartError::Memory(error) | StartError::Boot(BootError::Memory(error)) => {
                RunError::Host(anyhow::Error::new(error).context("guest memory"))
            }
            StartError::Boot(error) => match &error {
                BootError::TooLargeForRam { .. }
                | BootError::NoRoom { .. }
                | BootError::TooLittleMemory { .. } => option("--memory", memory(), &error),
                BootError::CommandLineTooLong { .. } => option("--append", shortened(&config.append), &error),
                BootError::NeedsLongMode => option("--cpu", config.cpu.model.clone(), &error),
                _ => option("--kernel", kernel(), &error),
            },
        }
    }
}

/// The beginning of a text that is too long to show.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_CPU_MODEL;
    use firmware::boot::{BootMode, DescriptorTable};

    fn boot_state() -> BootState {
        let code = firmware::boot::Segment { selector: 0x10, base: 0, limit: u32::MAX, attributes: 0xA09B };
        let data = firmware::boot::Segment { selector: 0x18, attributes: 0xC093, ..code };
        BootState {
            mode: BootMode::Long64,
            rip: 0x100_0200,
            rsp: 0x9000,
            rax: 1,
            rbx: 2,
            rsi: 3,
            rflags: 2,
            cr0: 0x8000_0011,
            cr3: 0xA000,
            cr4: 0x20,
            efer: 0x500,
            cs: code,
            data,
            tr: data,
            gdt: DescriptorTable { base: 0x8000, limit: 47 },
            idt: DescriptorTable { base: 0, limit: 0 },
        }
    }

    #[test]
    fn the_bootstrap_processor_is_in_long_mode_at_the_entry() {
        let state = state_at_entry(&boot_state(), 0x6A3);
        assert_eq!(state.general.gpr[..7], [1, 0, 0, 2, 0x9000, 0, 3]);
        assert_eq!((state.general.rip, state.control.cr3), (0x100_0200, 0xA000));
        assert!(state.control.efer.contains(Efer::LMA) && state.control.cr0.contains(Cr0::PG | Cr0::PE));
        assert!(state.segments.data[Seg::Ss as usize].is_flat_data());
        assert!(state.segments.data[Seg::Cs as usize].is_code());
    }

    #[test]
    fn only_the_first_processor_starts_and_all_have_the_same_memory_types() {
        let model = CpuModel::default();
        let states = all_vcpus(CpuState::reset(0), 3, &model);
        let activities: Vec<_> = states.iter().map(|state| state.events.activity).collect();
        assert_eq!(activities, [Activity::Active, Activity::WaitForStartup, Activity::WaitForStartup]);
        assert!(states.iter().all(|state| state.msrs == states[0].msrs));
        assert_eq!(states[0].msrs.mtrr_physmask[0], 0xFF_C000_0800);
    }

    #[test]
    fn an_embedded_guest_starts_in_real_mode_even_in_one_mebibyte() {
        let ram = GuestMemory::new(1 << 20).unwrap();
        let config = MachineConfig { memory: 1 << 20, ..MachineConfig::default() };
        let layout = super::super::layout::describe(&config, &CpuModel::default(), &ram);
        let state = Guest::Embedded.prepare(&ram, &layout, 0).unwrap();
        assert_eq!((state.general.rip, state.segments.data[1].base), (0x7C00, 0));
        let mut first = [0; 2];
        ram.read(0x7C00, &mut first).unwrap();
        assert_eq!(first, embedded::IMAGE[..2]);
    }

    #[test]
    fn each_mistake_is_put_down_to_its_option() {
        let config = MachineConfig { kernel: Some("k".into()), ..MachineConfig::default() };
        let message = |error: BootError| StartError::Boot(error).for_user(&config).to_string();
        assert!(message(BootError::NotAKernel("empty")).starts_with("--kernel k: the kernel file is empty"));
        assert!(message(BootError::NeedsLongMode).starts_with(&format!("--cpu {DEFAULT_CPU_MODEL}: ")));
        let no_room = BootError::NoRoom { what: "initrd", need_mib: 200, ram_mib: 128 };
        assert!(message(no_room).starts_with("--memory 128M: the initrd needs 200 MiB"));
    }
}
