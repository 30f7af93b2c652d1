//! The machine: RAM, bus, chipset and vCPUs, made from a [`MachineConfig`] and run to its end.
//!
//! Life of a machine: [`Machine::build`] makes everything and starts nothing. [`Machine::run`] lets the firmware
//! prepare RAM, gives each vCPU its first state, and sleeps until something happens that a vCPU cannot deal with
//! itself ([`lifecycle`]): power-off, reset, a crash, the user's wish, a host disk that is full. Then all vCPUs stop, and
//! with them machine time and its timers. A reset puts devices and vCPUs back to power-on and starts over; RAM keeps
//! what nobody overwrites, as on a PC. A pause ([`run_state`]) ends where it began, and the guest does not see it.
//! Disks and networks may work on meanwhile: into memory, and with interrupts that wait.
//!
//! Threads: one for each vCPU ([`vcpu`]), one that fires the timers of devices, and the console's. Each device has
//! its own lock; nothing is locked while a guest computes.

mod a20;
mod ata;
mod board;
mod boot;
mod chipset;
mod counted;
mod cpu_io;
pub mod debug;
mod engines;
mod firmware_setup;
mod handle;
mod isa;
mod layout;
mod lifecycle;
mod network;
mod pci_setup;
mod pci_slots;
mod relocation;
mod run_state;
mod serial;
mod storage;
mod test_devices;
mod trace;
mod vcpu;
mod virtio;

pub use counted::{CountedMachine, End, Pace, Standing};
pub use engines::{Engine, EngineReport};
pub use handle::MachineHandle;
pub use lifecycle::{Happening, Observer};
pub use run_state::RunState;

use crate::{
    config::MachineConfig,
    console::{HostPorts, HostSpace, Room},
    control::{ControlServer, ControlSocket},
    exit::{ExitReason, RunError},
    gdb::{GdbServer, GdbSocket},
};
use board::{Board, BoardPorts};
use debug::{DebugPort, Orders};
use emu_core::{clock::VmClock, engine::CpuIo, memory::PhysicalMemory, state::CpuState};
use engines::Engines;
use lifecycle::{Event, Lifecycle, Next};
use run_state::Holds;
use serial::Console;
use std::{collections::BTreeSet, sync::Arc, thread};
use trace::Traces;
use vcpu::{Course, Origin, VcpuParts, Vcpus};

/// Builds the machine, connects it to the host's ports, and runs it until it stops.
pub fn run(config: MachineConfig, ports: HostPorts) -> Result<ExitReason, RunError> {
    Machine::build(config, ports)?.run()
}

/// A machine, as its own thread has it.
pub struct Machine {
    board: Board,
    engines: Engines,
    vcpus: Vcpus,
    /// Where the vCPUs stand, or stood last.
    states: Vec<CpuState>,
    /// They begin from there, after power-on or a reset.
    starts: bool,
    /// vCPUs whose state is not what they stopped in.
    changed: BTreeSet<usize>,
    console: Console,
    control: Option<ControlSocket>,
    debug: Option<Arc<DebugPort>>,
    gdb: Option<GdbSocket>,
}

impl Machine {
    fn build(config: MachineConfig, ports: HostPorts) -> Result<Self, RunError> {
        let HostPorts { serial, debugcon, traces, virtio, disks, networks, space, control, gdb } = ports;
        let (serial, inputs) = serial.into_iter().map(|port| (port.output, port.input)).unzip();
        let ports = BoardPorts { serial, debugcon, disks, networks, virtio };
        let board = Board::new(config, VmClock::real(0), ports)?;
        pause_without_room(&space, &board.lifecycle);
        let traces = Traces::new(traces);
        let console = Console::new(inputs, &board.chipset, &board.lifecycle);
        let io: Arc<dyn CpuIo> = Arc::new(board.io(traces.io()));
        let mut engines = Engines::new(&board.config, &board.memory);
        let assignments = engines.first(&board.model)?;
        let parts = board.signals.iter().map(|signal| VcpuParts {
            model: board.model.clone(),
            memory: board.memory.clone(),
            signal: signal.clone(),
            io: io.clone(),
            trace: traces.of_vcpu(),
        });
        let vcpus = Vcpus::start(parts)?;
        vcpus.assign(assignments);
        let debug = gdb.is_some().then(|| DebugPort::new(board.lifecycle.clone()));
        let (states, starts, changed) = (Vec::new(), true, BTreeSet::new());
        Ok(Machine { board, engines, vcpus, states, starts, changed, console, control, debug, gdb })
    }

    fn run(mut self) -> Result<ExitReason, RunError> {
        // The first start finds the user's mistakes, so it comes before the terminal is taken.
        self.states = self.board.power_on()?;
        if let Some(notice) = self.engines.notice() {
            eprintln!("emu: {notice}");
        }
        let timers = self.board.timers.clone();
        let timer_thread = thread::Builder::new()
            .name("timers".into())
            .spawn(move || timers.run())
            .map_err(|error| anyhow::Error::new(error).context("the timers' thread"))?;
        self.console.start().map_err(|error| anyhow::Error::new(error).context("the console"))?;
        let streams = self.board.chipset.virtio.start(&self.board.lifecycle);
        streams.map_err(|error| anyhow::Error::new(error).context("the ports of the virtio console"))?;
        let handle = MachineHandle::of(&self);
        let control = self.control.take().map(|socket| ControlServer::start(socket, handle)).transpose();
        let control = control.map_err(|error| anyhow::Error::new(error).context("the control socket"))?;
        let gdb = self.gdb.take().zip(self.debug.clone());
        let gdb = gdb.map(|(socket, port)| GdbServer::start(socket, port, MachineHandle::of(&self)));
        let gdb = gdb.transpose().map_err(|error| anyhow::Error::new(error).context("the debugger"))?;
        let result = self.run_to_end();
        self.board.lifecycle.end(!matches!(result, Ok(ExitReason::Quit) | Err(_)));
        drop(control);
        if let Some(gdb) = gdb {
            gdb.end(result.as_ref().ok());
        }
        self.board.timers.stop();
        // A panicked thread has ended the process already.
        let _ = timer_thread.join();
        result
    }

    /// Where the vCPUs stand.
    pub fn states(&self) -> &[CpuState] {
        &self.states
    }

    /// The physical address that `linear` leads to on a processor in `state`; `None` if nothing is mapped there.
    pub fn linear_to_physical(&self, state: &CpuState, linear: u64) -> Option<u64> {
        self.board.linear_to_physical(state, linear)
    }

    /// What executes it.
    pub fn engine(&self) -> EngineReport {
        self.engines.report()
    }

    /// Has `engine` execute it from here on. Every vCPU stands.
    ///
    /// # Errors
    /// Why that cannot be, as one sentence; then everything stays as it is.
    pub fn set_engine(&mut self, engine: Engine) -> Result<(), String> {
        self.vcpus.assign(self.engines.change(engine, &self.board.model)?);
        Ok(())
    }

    /// Memory.
    pub fn memory(&self) -> &PhysicalMemory {
        &self.board.memory
    }

    /// Does what there is to do while the vCPUs stand, and lets them run when there is nothing.
    fn run_to_end(&mut self) -> Result<ExitReason, RunError> {
        loop {
            match self.board.lifecycle.next() {
                Next::Event(event) => {
                    log::debug!("{event:?}");
                    if let Some(reason) = self.serve(event)? {
                        return Ok(reason);
                    }
                }
                Next::Task(task) => task(self),
                Next::Run => self.run_for_a_while()?,
            }
        }
    }

    /// Lets time and vCPUs run until there is something to do.
    fn run_for_a_while(&mut self) -> anyhow::Result<()> {
        self.board.timers.resume();
        let changed = std::mem::take(&mut self.changed);
        let starts = std::mem::replace(&mut self.starts, false);
        let courses = self.states.iter().enumerate().map(|(vcpu, state)| {
            let from = match () {
                () if starts => Origin::Start(Box::new(state.clone())),
                () if changed.contains(&vcpu) => Origin::Changed(Box::new(state.clone())),
                () => Origin::Here,
            };
            Course { from, orders: Orders::of(self.debug.as_ref(), vcpu) }
        });
        if starts {
            self.vcpus.run(courses);
        } else {
            self.vcpus.go_on(courses);
        }
        self.board.lifecycle.wait();
        self.states = self.vcpus.stop()?;
        self.board.timers.pause();
        Ok(())
    }

    /// Ends the machine, returning the reason, or resets it.
    fn serve(&mut self, event: Event) -> Result<Option<ExitReason>, RunError> {
        if let Some(reason) = self.end(event) {
            return Ok(Some(reason));
        }
        let lifecycle = self.board.lifecycle.clone();
        while !self.board.chipset.storage.wait_until_idle(|| lifecycle.is_urged()) {
            // A disk may have to wait for room on the host, and only the user can make some.
            if lifecycle.take_quit() {
                return Ok(Some(ExitReason::Quit));
            }
            while let Some(task) = lifecycle.next_task() {
                task(self);
            }
        }
        self.board.chipset.reset();
        self.states = self.board.power_on()?;
        self.starts = true;
        self.changed.clear();
        lifecycle.tell(&Happening::Reset(event != Event::UserReset));
        Ok(None)
    }

    /// Whether the machine ends after `event`. `None`: it resets.
    fn end(&self, event: Event) -> Option<ExitReason> {
        match event {
            Event::PowerOff => Some(ExitReason::PowerOff),
            Event::Quit => Some(ExitReason::Quit),
            Event::DebugExit(value) => Some(ExitReason::DebugExit(value)),
            Event::Reset | Event::UserReset if self.board.config.no_reboot => Some(ExitReason::Reset),
            Event::Reset | Event::UserReset => {
                let who = if event == Event::Reset { "guest" } else { "user" };
                log::info!("the {who} resets the machine");
                None
            }
            Event::TripleFault(vcpu) => {
                let place = self.states.get(vcpu).map_or_else(String::new, vcpu::place);
                let what = format!("triple fault on CPU {vcpu}{place}");
                if self.board.config.no_reboot {
                    return Some(ExitReason::Crashed(what));
                }
                log::warn!("{what}: the machine resets");
                None
            }
        }
    }
}

/// Holds the machine while a disk finds no room on the host.
fn pause_without_room(space: &HostSpace, lifecycle: &Arc<Lifecycle>) {
    let lifecycle = lifecycle.clone();
    space.connect(move |room| match room {
        Room::None { disk, reason } => {
            lifecycle.tell(&Happening::NoRoom { disk, reason });
            lifecycle.hold(Holds::SPACE);
            false
        }
        Room::Again => lifecycle.release(Holds::SPACE),
    });
}
