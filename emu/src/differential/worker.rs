//! A machine on its thread, which does what it is told and tells where it stands.

use super::{Engine, Trial};
use crate::{
    config::{EngineSpec, MachineConfig, RtcSpec, SerialSpec},
    exit::RunError,
    machine::{CountedMachine, End, Pace, Standing},
};
use emu_core::memory::PhysicalMemory;
use emu_harness::report::Line;
use parking_lot::Mutex;
use std::{
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

/// The interpreter's handlers call each other: see `machine::vcpu`.
const STACK: usize = 64 << 20;
/// The real-time clock at power-on: 2026-01-01.
const POWER_ON: i64 = 1_767_225_600;

/// What a machine is told to do.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Slices, until so many instructions have been executed since power-on.
    Batch(u64),
    /// So many slices.
    Slices(usize),
    /// On within the slice, at most until so many instructions have been executed since power-on.
    Within(u64, Pace),
    /// Only to tell.
    Stand,
}

/// What it tells.
#[derive(Debug)]
pub struct Report {
    /// Where it stood after each slice, or stands.
    pub standings: Vec<Standing>,
    /// Why it does not go on.
    pub end: Option<End>,
    /// What comes next, if it was told to go on within a slice or to stand.
    pub next: Option<Line>,
}

/// See the module.
pub struct Worker {
    orders: Option<Sender<Order>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
    memory: Arc<PhysicalMemory>,
    printed: Arc<Mutex<Vec<u8>>>,
}

/// What the guest has printed.
struct Transcript(Arc<Mutex<Vec<u8>>>);

impl Write for Transcript {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Worker {
    /// The machine of `trial` on `engine`, at power-on, falsified after instruction `plant`.
    pub fn start(trial: &Trial, engine: Engine, plant: Option<u64>) -> Result<Self, RunError> {
        let (orders, ordered) = mpsc::channel();
        let (tell, reports) = mpsc::channel();
        let (tell_made, made) = mpsc::channel();
        let printed = Arc::<Mutex<Vec<u8>>>::default();
        let (config, transcript) = (config(trial, engine), Transcript(printed.clone()));
        let limit = trial.instructions;
        let body = move || {
            let mut machine = match CountedMachine::new(config, transcript) {
                Ok(machine) => machine,
                // Who is told waits for nothing else.
                Err(error) => return drop(tell_made.send(Err(error))),
            };
            if engine == Engine::Steps {
                machine.step_always();
            }
            if let Some(number) = plant {
                machine.plant(number);
            }
            let _ = tell_made.send(Ok(machine.memory().clone()));
            for order in ordered {
                let _ = tell.send(obey(&mut machine, order, limit));
            }
        };
        let thread = thread::Builder::new().name(engine.name().into()).stack_size(STACK).spawn(body);
        let thread = thread.map_err(|error| anyhow::Error::new(error).context("a machine's thread"))?;
        let memory = made.recv().map_err(gone)??;
        Ok(Worker { orders: Some(orders), reports, thread: Some(thread), memory, printed })
    }

    /// Tells it to do something. It [reports](Self::report) when it is done.
    pub fn order(&self, order: Order) -> Result<(), RunError> {
        self.orders.as_ref().map_or(Ok(()), |orders| orders.send(order)).map_err(gone)
    }

    /// Waits for what it has to tell.
    pub fn report(&self) -> Result<Report, RunError> {
        self.reports.recv().map_err(gone)
    }

    /// Has it do something, and waits until that is done.
    pub fn run(&self, order: Order) -> Result<Report, RunError> {
        self.order(order)?;
        self.report()
    }

    /// Its memory, which nobody changes before the next order.
    pub fn memory(&self) -> &Arc<PhysicalMemory> {
        &self.memory
    }

    /// What the guest has printed.
    pub fn printed(&self) -> Vec<u8> {
        self.printed.lock().clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Whoever waited for a report has heard of a panic.
            let _ = thread.join();
        }
    }
}

/// A panic has been told of already.
fn gone<E: std::error::Error + Send + Sync + 'static>(error: E) -> RunError {
    anyhow::Error::new(error).context("a machine's thread has ended").into()
}

/// The machine of `trial` on `engine`: whatever of it would be another the next time is fixed.
fn config(trial: &Trial, engine: Engine) -> MachineConfig {
    MachineConfig {
        engine: EngineSpec { kind: engine.kind(), jit_threads: 0, ..trial.config.engine },
        cpus: 1,
        serial: vec![SerialSpec::None],
        rtc: RtcSpec::At(POWER_ON),
        ..trial.config.clone()
    }
}

fn obey(machine: &mut CountedMachine, order: Order, limit: u64) -> Report {
    let mut report = Report { standings: Vec::new(), end: None, next: None };
    let (slices, goal) = match order {
        Order::Batch(goal) => (usize::MAX, goal),
        Order::Slices(slices) => (slices, limit),
        Order::Within(goal, pace) => {
            report.end = machine.advance(goal, pace);
            report.standings.push(machine.standing());
            report.next = machine.next_instruction();
            return report;
        }
        Order::Stand => {
            report.standings.push(machine.standing());
            report.next = machine.next_instruction();
            return report;
        }
    };
    while report.standings.len() < slices && report.end.is_none() {
        report.end = machine.advance(limit, Pace::Goal);
        let standing = machine.standing();
        let enough = standing.executed >= goal;
        report.standings.push(standing);
        if enough {
            break;
        }
    }
    machine.drain_output();
    report
}
