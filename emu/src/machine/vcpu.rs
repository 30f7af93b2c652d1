//! vCPUs: one host thread each, which runs the CPU from one stop to the next.
//!
//! The threads live as long as the machine. A CPU is made on its own thread, because it holds pointers into its
//! own tables; they are made one after the other, because the record of code numbers them as they come.

use super::{
    debug::{self, Orders, StopPoints},
    engines::Assignment,
};
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
}

/// The threads of all vCPUs.
pub struct Vcpus {
    threads: Vec<Thread>,
    stopped: Receiver<(usize, CpuState)>,
}

struct Thread {
    signal: Arc<VcpuSignal>,
    /// What to do; closed, it ends the thread.
    tasks: Option<Sender<Task>>,
    handle: Option<JoinHandle<()>>,
}

/// What a vCPU is to do.
enum Task {
    /// Change what executes it.
    Assign(Box<Assignment>),
    /// Run.
    Run(Course),
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
            let (tasks, to_do) = mpsc::channel();
            let (tell_ready, ready) = mpsc::channel();
            let stopped = tell_stopped.clone();
            let body = move || {
                let mut vcpu = Vcpu::new(number, parts);
                // Both receivers wait for nothing else; if they are gone, so is the machine.
                let _ = tell_ready.send(());
                for task in to_do {
                    if let Some(state) = vcpu.take(task) {
                        let _ = stopped.send((number, state));
                    }
                }
            };
            let handle = thread::Builder::new().name(format!("vcpu{number}")).stack_size(STACK).spawn(body);
            let handle = handle.map_err(|error| anyhow::Error::new(error).context("a vCPU's thread"))?;
            ready.recv().map_err(|error| anyhow::Error::new(error).context("a vCPU"))?;
            threads.push(Thread { signal, tasks: Some(tasks), handle: Some(handle) });
        }
        Ok(Vcpus { threads, stopped })
    }

    /// Says what executes each vCPU from its next run on. They stand.
    pub fn assign(&self, assignments: Vec<Assignment>) {
        for (thread, assignment) in self.threads.iter().zip(assignments) {
            if let Some(tasks) = &thread.tasks {
                let _ = tasks.send(Task::Assign(Box::new(assignment)));
            }
        }
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
            if let Some(tasks) = &thread.tasks {
                // A vCPU that is gone took the process with it.
                let _ = tasks.send(Task::Run(course));
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
            thread.tasks = None;
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

/// A vCPU, as its own thread has it. Its state is the software CPU's whenever it does not run.
struct Vcpu {
    cpu: Box<Cpu>,
    translator: Option<Arc<dyn Translator>>,
    hardware: Option<emu_accel::engine::Vcpu>,
    /// `hardware` is in use.
    accelerated: bool,
}

impl Vcpu {
    fn new(number: usize, parts: VcpuParts) -> Self {
        let VcpuParts { model, memory, signal, io, trace } = parts;
        let mut cpu = Cpu::new(number, model, memory, signal, io);
        cpu.trace = trace;
        Vcpu { cpu, translator: None, hardware: None, accelerated: false }
    }

    /// Does what is to be done. After a run, returns the state that it ended in.
    fn take(&mut self, task: Task) -> Option<CpuState> {
        match task {
            Task::Assign(assignment) => {
                self.assign(*assignment);
                None
            }
            Task::Run(course) => {
                self.run(course);
                Some(self.cpu.save_state())
            }
        }
    }

    fn assign(&mut self, Assignment { translator, accelerated, hardware }: Assignment) {
        match (&self.translator, &translator) {
            // What it has translated stays.
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => (),
            (_, Some(new)) => self.cpu.set_translator(new.clone()),
            (_, None) => self.cpu.remove_translator(),
        }
        self.translator = translator;
        self.accelerated = accelerated;
        self.hardware = hardware.or_else(|| self.hardware.take());
    }

    /// Runs until asked to stop.
    fn run(&mut self, course: Course) {
        match course.from {
            Origin::Start(state) => {
                // The firmware has written to RAM behind the CPUs' backs.
                self.cpu.forget_code();
                self.cpu.load_state(&state);
            }
            Origin::Changed(state) => self.cpu.load_state(&state),
            Origin::Here => {}
        }
        if let Some(orders) = course.orders {
            return orders.run(&mut self.cpu);
        }
        if self.cpu.is_observed() {
            debug::observe(&mut self.cpu, &StopPoints::default());
        }
        let stop = match &mut self.hardware {
            Some(hardware) if self.accelerated => hardware.run(&mut self.cpu),
            _ => self.cpu.run(),
        };
        assert_eq!(stop, Stop::Requested, "nobody has asked for user code");
    }
}

/// ` at CS:RIP` of a stopped vCPU.
pub fn place(state: &CpuState) -> String {
    let cs = state.segments.data[Seg::Cs as usize].selector;
    format!(" at {cs:04x}:{:016x}", state.general.rip)
}
