//! vCPUs: one host thread each, which runs the CPU from one stop to the next.
//!
//! The threads live as long as the machine. A CPU is made on its own thread, because it holds pointers into its
//! own tables; they are made one after the other, because the record of code numbers them as they come.

use super::debug::{self, Orders, StopPoints};
use emu_core::{
    arch::Seg,
    cpu::{Cpu, Trace},
    cpu_model::CpuModel,
    engine::{CpuIo, VcpuSignal, request},
    interp::Stop,
    memory::PhysicalMemory,
    region::Translator,
    state::CpuState,
};
use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

/// The interpreter's handlers call each other; where the compiler does not make jumps of these calls, a slice of
/// instructions needs a deep stack. The host only provides what is touched.
const STACK: usize = 64 << 20;
/// Requests that do not survive a reset. (Others that came while a vCPU stood wait for it.)
const EDGES: u32 = request::NMI | request::SMI | request::INIT | request::STARTUP | request::STOP;

/// What a vCPU is made of.
pub struct VcpuParts {
    /// What CPUID says.
    pub model: Arc<CpuModel>,
    /// Memory.
    pub memory: Arc<PhysicalMemory>,
    /// Wires into it.
    pub signal: Arc<VcpuSignal>,
    /// The machine around it.
    pub io: Arc<dyn CpuIo>,
    /// Its trace.
    pub trace: Option<Box<dyn Trace>>,
    /// What translates its hot code.
    pub translator: Option<Arc<dyn Translator>>,
}

/// The threads of all vCPUs.
pub struct Vcpus {
    threads: Vec<Thread>,
    stopped: Receiver<(usize, CpuState)>,
}

struct Thread {
    signal: Arc<VcpuSignal>,
    /// How to run; closed, it ends the thread.
    runs: Option<Sender<Course>>,
    handle: Option<JoinHandle<()>>,
}

/// How a vCPU runs.
pub struct Course {
    /// Where from.
    pub from: Origin,
    /// What a debugger wants of it, for which it executes in software.
    pub orders: Option<Orders>,
}

/// Where a vCPU runs from.
pub enum Origin {
    /// This state, in memory that was written behind its back.
    Start(Box<CpuState>),
    /// This state, to which somebody has changed its own.
    Changed(Box<CpuState>),
    /// Where it stopped.
    Here,
}

impl Vcpus {
    /// Makes the vCPUs. They do not run yet.
    pub fn start(parts: impl IntoIterator<Item = VcpuParts>) -> anyhow::Result<Self> {
        let (tell_stopped, stopped) = mpsc::channel();
        let mut threads = Vec::new();
        for (number, parts) in parts.into_iter().enumerate() {
            let signal = parts.signal.clone();
            let (runs, courses) = mpsc::channel();
            let (tell_ready, ready) = mpsc::channel();
            let stopped = tell_stopped.clone();
            let body = move || {
                let mut cpu = make(number, parts);
                // Both receivers wait for nothing else; if they are gone, so is the machine.
                let _ = tell_ready.send(());
                for course in courses {
                    let _ = stopped.send((number, run(&mut cpu, course)));
                }
            };
            let handle = thread::Builder::new().name(format!("vcpu{number}")).stack_size(STACK).spawn(body);
            let handle = handle.map_err(|error| anyhow::Error::new(error).context("a vCPU's thread"))?;
            ready.recv().map_err(|error| anyhow::Error::new(error).context("a vCPU"))?;
            threads.push(Thread { signal, runs: Some(runs), handle: Some(handle) });
        }
        Ok(Vcpus { threads, stopped })
    }

    /// Lets every vCPU run its course, after a reset.
    pub fn run(&self, courses: impl Iterator<Item = Course>) {
        self.set_off(EDGES, courses);
    }

    /// Lets every vCPU go on. What was asked of it meanwhile, or before and not yet served, it serves now.
    pub fn go_on(&self, courses: impl Iterator<Item = Course>) {
        self.set_off(request::STOP, courses);
    }

    fn set_off(&self, forgotten: u32, courses: impl Iterator<Item = Course>) {
        for thread in &self.threads {
            thread.signal.clear(forgotten);
            // A vCPU that stops has seen its attention word, but not served what else was requested.
            thread.signal.poll_again();
        }
        for (thread, course) in self.threads.iter().zip(courses) {
            if let Some(runs) = &thread.runs {
                // A vCPU that is gone took the process with it.
                let _ = runs.send(course);
            }
        }
    }

    /// Stops all vCPUs, which are running, at the end of an instruction. Returns the states they stopped in.
    pub fn stop(&self) -> anyhow::Result<Vec<CpuState>> {
        for thread in &self.threads {
            thread.signal.raise(request::STOP);
        }
        let mut states: Vec<Option<CpuState>> = self.threads.iter().map(|_| None).collect();
        for _ in &self.threads {
            let (number, state) =
                self.stopped.recv().map_err(|error| anyhow::Error::new(error).context("a vCPU"))?;
            states[number] = Some(state);
        }
        Ok(states.into_iter().flatten().collect())
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            thread.runs = None;
            thread.signal.raise(request::STOP);
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // A panic has ended the process already.
                let _ = handle.join();
            }
        }
    }
}

fn make(number: usize, parts: VcpuParts) -> Box<Cpu> {
    let VcpuParts { model, memory, signal, io, trace, translator } = parts;
    let mut cpu = Cpu::new(number, model, memory, signal, io);
    cpu.trace = trace;
    if let Some(translator) = translator {
        cpu.set_translator(translator);
    }
    cpu
}

/// Runs until asked to stop.
fn run(cpu: &mut Cpu, course: Course) -> CpuState {
    match course.from {
        Origin::Start(state) => {
            // The firmware has written to RAM behind the CPUs' backs.
            cpu.forget_code();
            cpu.load_state(&state);
        }
        Origin::Changed(state) => cpu.load_state(&state),
        Origin::Here => {}
    }
    match course.orders {
        Some(orders) => orders.run(cpu),
        None => {
            if cpu.is_observed() {
                debug::observe(cpu, &StopPoints::default());
            }
            let Stop::Requested = cpu.run();
        }
    }
    cpu.save_state()
}

/// ` at CS:RIP` of a stopped vCPU.
pub fn place(state: &CpuState) -> String {
    let cs = state.segments.data[Seg::Cs as usize].selector;
    format!(" at {cs:04x}:{:016x}", state.general.rip)
}
