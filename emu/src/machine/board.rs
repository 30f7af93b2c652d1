//! The board: RAM, time, chipset and what is in memory when the processors start. All of a machine but its processors and
//! what turns them: threads and the host's clock in a [`Machine`](super::Machine), instructions that are counted in a
//! [`CountedMachine`](super::CountedMachine).

use super::{
    boot::{self, Guest},
    chipset::{Chipset, ChipsetParts},
    cpu_io::MachineIo,
    firmware_setup, layout,
    lifecycle::Lifecycle,
    network,
    trace::TraceOutput,
};
use crate::{
    config::{CpuSpec, MIB, MachineConfig},
    console::{ByteSink, DiskPort, NetworkPort, VirtioPorts},
    exit::{OptionError, RunError},
};
use emu_core::{
    clock::{TimerQueue, VmClock},
    cpu_model::CpuModel,
    engine::VcpuSignal,
    memory::{GuestMemory, MemoryError, PhysicalMemory},
    mmu,
    state::CpuState,
};
use firmware::MachineLayout;
use std::sync::Arc;

/// What the board's devices are connected to.
#[derive(Default)]
pub struct BoardPorts {
    /// Outputs of COM1, COM2, ...
    pub serial: Vec<ByteSink>,
    /// The debug console.
    pub debugcon: Option<ByteSink>,
    /// The disks, in the order in which the guest finds them.
    pub disks: Vec<DiskPort>,
    /// The network cards, in the order in which the guest finds them.
    pub networks: Vec<NetworkPort>,
    /// What virtio devices are connected to.
    pub virtio: VirtioPorts,
}

/// See the module.
pub struct Board {
    /// What the user asked for.
    pub config: MachineConfig,
    /// What CPUID says.
    pub model: Arc<CpuModel>,
    /// Guest-physical memory.
    pub memory: Arc<PhysicalMemory>,
    /// All devices.
    pub chipset: Chipset,
    /// Who hears of power-off and reset.
    pub lifecycle: Arc<Lifecycle>,
    /// Machine time, and what happens in it.
    pub timers: Arc<TimerQueue>,
    /// Wires into the vCPUs.
    pub signals: Vec<Arc<VcpuSignal>>,
    guest: Guest,
    layout: MachineLayout,
}

impl Board {
    /// Makes everything; time is `clock`'s.
    pub fn new(config: MachineConfig, clock: VmClock, ports: BoardPorts) -> Result<Self, RunError> {
        let model = Arc::new(cpu_model(&config.cpu)?.with_cpus(config.cpus));
        let guest = Guest::of(&config);
        let memory = Arc::new(PhysicalMemory::new(guest_memory(config.memory, &model)?));
        let layout = layout::describe(&config, &model, memory.ram());
        let signals: Vec<Arc<VcpuSignal>> = (0..config.cpus).map(|_| Arc::default()).collect();
        let lifecycle = Arc::new(Lifecycle::new(signals.clone()));
        let timers = TimerQueue::new(clock);
        let parts = ChipsetParts {
            config: &config,
            model: &model,
            memory: &memory,
            timers: &timers,
            signals: &signals,
            lifecycle: &lifecycle,
        };
        let BoardPorts { serial, debugcon, disks, networks, virtio } = ports;
        let networks = networks.into_iter().map(|port| network::captured(port, timers.clock()));
        let networks = networks.collect::<Result<_, _>>()?;
        let chipset = Chipset::new(&parts, serial, debugcon, disks, networks, virtio);
        let chipset = chipset.map_err(anyhow::Error::new)?;
        Ok(Board { config, model, memory, chipset, lifecycle, timers, signals, guest, layout })
    }

    /// What its vCPUs reach of it; accesses are told to `trace`.
    pub fn io(&self, trace: Option<TraceOutput>) -> MachineIo {
        MachineIo::new(&self.chipset, self.timers.clock().clone(), self.lifecycle.clone(), trace)
    }

    /// What a PC's firmware does between power-on and the kernel. Returns the first state of each vCPU.
    pub fn power_on(&self) -> Result<Vec<CpuState>, RunError> {
        firmware_setup::program(&self.chipset);
        let bsp = self.guest.prepare(self.memory.ram(), &self.layout, self.model.signature());
        let bsp = bsp.map_err(|error| error.for_user(&self.config))?;
        Ok(boot::all_vcpus(bsp, self.config.cpus, &self.model))
    }

    /// The physical address that `linear` leads to on a processor in `state`; `None` if nothing is mapped there.
    pub fn linear_to_physical(&self, state: &CpuState, linear: u64) -> Option<u64> {
        mmu::linear_to_physical(&state.control, self.model.physical_address_bits(), &self.memory, linear)
    }
}

fn cpu_model(spec: &CpuSpec) -> Result<CpuModel, OptionError> {
    let text = spec.to_string();
    text.parse().map_err(|error| OptionError::new("--cpu", &text, error))
}

fn guest_memory(size: u64, model: &CpuModel) -> Result<GuestMemory, OptionError> {
    let refused = |problem: String| OptionError::new("--memory", format!("{}M", size / MIB), problem);
    let memory = GuestMemory::new(size).map_err(|error| match error {
        MemoryError::Reserve(_) => refused("the host cannot reserve that much; give less".into()),
        error => refused(error.to_string()),
    })?;
    let end = memory.ranges().map(|(start, len)| start + len).max().unwrap_or(0);
    let reach = 1_u64 << model.physical_address_bits();
    if end > reach {
        // What does not fit below 4 GiB continues above the hole there.
        let most = (reach - (end - size)) / MIB;
        return Err(refused(format!("more than this CPU model can address; give at most {most}M")));
    }
    Ok(memory)
}
