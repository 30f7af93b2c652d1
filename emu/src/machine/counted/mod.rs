//! A machine in counted time: an instruction takes a nanosecond, an access to a device what `io` says, and nothing else
//! takes any. Its one processor runs on the caller's thread, and so do its timers. What it does follows from its
//! configuration alone, on every engine and every time.
//!
//! It runs in *slices*: until the next timer is due, or a number of instructions. Time goes on, timers fire and what the
//! guest asked for is looked at where a slice ends, which is at the same instruction whatever the engine. So a processor
//! that polls a device sees it change, but an interrupt of a timer that was set in a slice comes at its end at the
//! earliest.
//!
//! Left out: more than one processor, disks, networks, input of any kind. A reset ends the run.

mod io;

use super::{
    board::{Board, BoardPorts},
    engines::Engines,
    lifecycle::{Event, Next},
};
use crate::{config::MachineConfig, console::ByteSink, exit::RunError};
use emu_core::{
    arch::Flags,
    clock::VmClock,
    cpu::Cpu,
    engine::request,
    interp::Pause,
    memory::PhysicalMemory,
    microcode::random::Random,
    state::{Activity, CpuState},
};
use emu_harness::report::{Line, disassemble};
use io::CountedIo;
use std::{fmt, io::Write, sync::Arc};

/// Instructions in a slice at most.
const SLICE: u64 = 50_000;
/// Machine time without any instruction after which nothing is going to wake the processor: it waits for a key.
const LONGEST_SLEEP: u64 = 600_000_000_000;
/// What random numbers begin with.
const SEED: u64 = 1;
/// The longest instruction.
const MAX_BYTES: u64 = 15;

/// Where a machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Instructions executed since power-on.
    pub executed: u64,
    /// Machine time, in nanoseconds.
    pub time: u64,
    /// The processor.
    pub state: CpuState,
}

/// Why a machine does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest has powered it off.
    PowerOff,
    /// The guest has reset it.
    Reset,
    /// The guest has written this to the debug exit port.
    DebugExit(u32),
    /// A triple fault.
    TripleFault,
    /// The processor sleeps, and nothing is going to wake it.
    Asleep,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::PowerOff => f.write_str("the guest powered off"),
            End::Reset => f.write_str("the guest reset the machine"),
            End::DebugExit(value) => write!(f, "the guest wrote {value:#x} to the debug exit port"),
            End::TripleFault => f.write_str("triple fault"),
            End::Asleep => f.write_str("the guest sleeps until a key is pressed"),
        }
    }
}

/// How a machine advances within a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// To the goal.
    Goal,
    /// As little as its engine can after so many instructions: see [`Cpu::run_piece`].
    Piece(u64),
}

/// A slice that has been begun.
#[derive(Clone, Copy)]
struct Slice {
    begin: u64,
    end: u64,
}

/// See the module.
pub struct CountedMachine {
    board: Board,
    cpu: Box<Cpu>,
    output: ByteSink,
    slice: Option<Slice>,
    /// Machine time since the last instruction.
    slept: u64,
    /// Each instruction is executed by itself.
    stepping: bool,
    /// After this instruction the processor is falsified.
    plant: Option<u64>,
}

impl CountedMachine {
    /// A machine at power-on, the guest in its memory. What COM1 is sent goes to `output`. Its processor stays on the thread
    /// that makes it.
    pub fn new(config: MachineConfig, output: impl Write + Send + 'static) -> Result<Self, RunError> {
        let output = ByteSink::to_writer("COM1", output)
            .map_err(|error| anyhow::Error::new(error).context("the console"))?;
        let others = config.serial.iter().skip(1).map(|_| ByteSink::nowhere());
        let serial = std::iter::once(output.clone()).chain(others).collect();
        let ports = BoardPorts { serial, ..BoardPorts::default() };
        let board = Board::new(config, VmClock::counted(0), ports)?;
        let states = board.power_on()?;
        let io = Arc::new(CountedIo { machine: board.io(None), clock: board.timers.clock().clone() });
        let mut cpu = Cpu::new(0, board.model.clone(), board.memory.clone(), board.signals[0].clone(), io);
        let assignments = Engines::new(&board.config, &board.memory).first(&board.model)?;
        if let Some(translator) = assignments.into_iter().find_map(|assignment| assignment.translator) {
            cpu.set_translator(translator);
        }
        cpu.random = Random::Sequence(SEED);
        cpu.load_state(&states[0]);
        Ok(CountedMachine { board, cpu, output, slice: None, slept: 0, stepping: false, plant: None })
    }

    /// From now on each instruction is looked up and executed by itself.
    pub fn step_always(&mut self) {
        self.stepping = true;
    }

    /// Has the processor falsified after instruction `number`, in a register that no guest uses: see `falsify`.
    pub fn plant(&mut self, number: u64) {
        self.plant = Some(number);
    }

    /// Its memory.
    pub fn memory(&self) -> &Arc<PhysicalMemory> {
        &self.board.memory
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        let time = self.board.timers.clock().now();
        let mut state = self.cpu.save_state();
        // A note from one step of the processor to the end of the same step.
        state.events.no_single_step = false;
        Standing { executed: self.cpu.executed, time, state }
    }

    /// The instruction that comes next, unless an event does.
    pub fn next_instruction(&self) -> Option<Line> {
        let state = self.cpu.save_state();
        let linear = self.cpu.code_address();
        // It may go on in another page.
        let bytes = (0..MAX_BYTES).map_while(|at| {
            let physical = self.board.linear_to_physical(&state, linear.wrapping_add(at))?;
            let mut byte = [0];
            self.board.memory.ram().read(physical, &mut byte).ok()?;
            Some(byte[0])
        });
        let bytes: Vec<u8> = bytes.collect();
        disassemble(self.cpu.mode.bitness(), state.general.rip, &bytes).into_iter().next()
    }

    /// Waits until all that the guest has printed is written.
    pub fn drain_output(&self) {
        self.output.drain(None);
    }

    /// Runs on, at most to the end of the slice or until `goal` instructions have been executed since power-on. Says so if
    /// the machine has come to its end.
    pub fn advance(&mut self, goal: u64, pace: Pace) -> Option<End> {
        let slice = self.slice.unwrap_or_else(|| self.begin_slice());
        let pause = self.run_to(goal.min(slice.end), pace);
        if pause == Pause::Limit && self.cpu.executed < slice.end {
            self.slice = Some(slice);
            return None;
        }
        self.slice = None;
        self.end_slice(slice, pause)
    }

    fn begin_slice(&self) -> Slice {
        let timers = &self.board.timers;
        let now = timers.clock().now();
        let due = timers.next_deadline().map_or(SLICE, |deadline| deadline.saturating_sub(now).max(1));
        Slice { begin: self.cpu.executed, end: self.cpu.executed + due.min(SLICE) }
    }

    fn run_to(&mut self, goal: u64, pace: Pace) -> Pause {
        loop {
            let executed = self.cpu.executed;
            let stop = self.plant.filter(|plant| executed < *plant && *plant < goal).unwrap_or(goal);
            let left = stop - executed;
            let pause = match pace {
                Pace::Piece(budget) => {
                    self.cpu.run_piece(budget, if self.stepping { left.min(1) } else { left })
                }
                Pace::Goal => self.cpu.run_observed(if self.stepping { left.min(1) } else { left }, false),
            };
            if executed < self.cpu.executed && self.plant == Some(self.cpu.executed) {
                falsify(&mut self.cpu);
            }
            if pause != Pause::Limit || pace != Pace::Goal || self.cpu.executed == goal {
                return pause;
            }
        }
    }

    fn end_slice(&mut self, slice: Slice, pause: Pause) -> Option<End> {
        let ran = self.cpu.executed - slice.begin;
        let timers = &self.board.timers;
        timers.clock().advance(ran);
        if ran != 0 {
            self.slept = 0;
        }
        let end = match pause {
            Pause::Limit => None,
            Pause::Requested => self.serve(),
            Pause::Inactive(activity) => self.sleep(activity),
            other => unreachable!("nobody asked for {other:?}"),
        };
        self.board.timers.fire_due();
        end
    }

    /// What the guest has asked for.
    fn serve(&self) -> Option<End> {
        match self.board.lifecycle.next() {
            Next::Event(Event::PowerOff | Event::Quit) => Some(End::PowerOff),
            Next::Event(Event::Reset | Event::UserReset) => Some(End::Reset),
            Next::Event(Event::DebugExit(value)) => Some(End::DebugExit(value)),
            Next::Event(Event::TripleFault(_)) => Some(End::TripleFault),
            Next::Task(_) | Next::Run => None,
        }
    }

    /// Lets time go on to the next timer.
    fn sleep(&mut self, activity: Activity) -> Option<End> {
        let signal = &self.board.signals[0];
        let wakes = self.cpu.eflags.contains(Flags::IF) && activity == Activity::Halted;
        if wakes && signal.requests() & request::INTERRUPT != 0 {
            signal.poll_again();
            return None;
        }
        let timers = &self.board.timers;
        let now = timers.clock().now();
        let Some(deadline) = timers.next_deadline().filter(|_| wakes) else { return Some(End::Asleep) };
        let wait = deadline.saturating_sub(now);
        self.slept += wait;
        timers.clock().advance(wait);
        (self.slept > LONGEST_SLEEP).then_some(End::Asleep)
    }
}

/// Flips a bit of DR3. No guest uses it while its breakpoint is disabled, so the falsehood stays, and does no more.
fn falsify(cpu: &mut Cpu) {
    cpu.control.dr[3] ^= 1;
}
