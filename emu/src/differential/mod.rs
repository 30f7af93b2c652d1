//! One guest on two engines, in lock step: whether they do the same, and if not, the first instruction after which they do
//! not.
//!
//! Each engine has a machine of its own in counted time (`machine::counted`), which does the same every time. Both run for
//! a batch of slices; then the processors are compared as they stood at the end of every slice, and all of memory. Where
//! something differs, both begin anew and run to the last slice before it, to be compared in smaller and smaller portions
//! ([`search`]).
//!
//! What is not compared: devices, but by what the guest reads of them and when they interrupt.

mod report;
mod search;
#[cfg(test)]
mod tests;
mod worker;

pub use report::Difference;

use crate::{
    config::{EngineKind, MachineConfig},
    exit::RunError,
    machine::{End, Standing},
};
use clap::ValueEnum;
use emu_core::memory::PhysicalMemory;
use std::sync::Arc;
use worker::{Order, Report, Worker};

/// Instructions in a batch: all of memory is compared after each.
const BATCH: u64 = 1 << 24;
/// Bytes of memory that are compared at once.
const CHUNK: usize = 1 << 16;
/// The unit in which differences of memory are told.
const PAGE: usize = 4096;

/// What executes a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The interpreter as guests run on it, blocks chained
    Interp,
    /// The interpreter, each instruction looked up and executed by itself
    Steps,
    /// The interpreter, and translated code where code is hot
    Jit,
}

impl Engine {
    /// As it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Interp => "interp",
            Engine::Steps => "steps",
            Engine::Jit => "jit",
        }
    }

    fn kind(self) -> EngineKind {
        match self {
            Engine::Interp | Engine::Steps => EngineKind::Interp,
            Engine::Jit => EngineKind::Jit,
        }
    }
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The machine, but for its engine.
    pub config: MachineConfig,
    /// The engines.
    pub engines: [Engine; 2],
    /// Instructions after which it is enough.
    pub instructions: u64,
    /// It is enough, too, when the guest has printed this.
    pub until: Option<String>,
    /// After this instruction the second machine is falsified.
    pub plant: Option<u64>,
}

/// What has come of it.
#[derive(Debug)]
pub struct Comparison {
    /// Where both stood last, or the first where they differ.
    pub last: Standing,
    /// Slices compared.
    pub slices: usize,
    /// Why the guest did not go on, if it did not.
    pub end: Option<End>,
    /// What COM1 was sent by the first machine.
    pub printed: Vec<u8>,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// Two machines, each on its thread.
struct Pair([Worker; 2]);

impl Pair {
    fn start(trial: &Trial) -> Result<Self, RunError> {
        let [first, second] = trial.engines;
        Ok(Pair([Worker::start(trial, first, None)?, Worker::start(trial, second, trial.plant)?]))
    }

    /// Both do `order` at the same time.
    fn both(&self, order: Order) -> Result<[Report; 2], RunError> {
        self.0.iter().try_for_each(|worker| worker.order(order))?;
        let [first, second] = &self.0;
        Ok([first.report()?, second.report()?])
    }

    fn memories(&self) -> [&Arc<PhysicalMemory>; 2] {
        self.0.each_ref().map(Worker::memory)
    }

    /// Pages of memory, by their addresses, that differ.
    fn differing_pages(&self) -> Vec<u64> {
        let ranges: Vec<(u64, u64)> = self.memories()[0].ram().ranges().collect();
        let chunks = ranges.iter().flat_map(|&(start, len)| (start..start + len).step_by(CHUNK));
        let mut pages = Vec::new();
        for address in chunks {
            let [first, second] = self.memories().map(|memory| read(memory, address, CHUNK));
            if first != second {
                let both = first.chunks(PAGE).zip(second.chunks(PAGE)).enumerate();
                let differ = both.filter(|(_, (first, second))| first != second);
                pages.extend(differ.map(|(number, _)| address + (number * PAGE) as u64));
            }
        }
        pages
    }

    /// The page at `address` with what is in it, if it differs.
    fn differing_page(&self, address: u64) -> Option<(u64, [Vec<u8>; 2])> {
        let both = self.memories().map(|memory| read(memory, address, PAGE));
        (both[0] != both[1]).then_some((address, both))
    }
}

/// Memory at `address`, as much of `len` bytes as there is.
fn read(memory: &PhysicalMemory, address: u64, len: usize) -> Vec<u8> {
    let there = memory.ram().ranges().find(|(start, size)| (*start..start + size).contains(&address));
    let left = there.map_or(0, |(start, size)| start + size - address);
    let mut bytes = vec![0; len.min(left as usize)];
    // The range has just been looked up.
    let _ = memory.ram().read(address, &mut bytes);
    bytes
}

/// Runs `trial` to its end, or to the first difference. `progress` hears of instructions executed.
pub fn compare(trial: &Trial, progress: impl Fn(u64)) -> Result<Comparison, RunError> {
    let pair = Pair::start(trial)?;
    let mut slices = 0;
    let mut executed = 0;
    loop {
        let goal = trial.instructions.min(executed + BATCH);
        let [first, second] = pair.both(Order::Batch(goal))?;
        let equal = first.standings.iter().zip(&second.standings).take_while(|(a, b)| a == b).count();
        let parted = equal != first.standings.len() || equal != second.standings.len();
        if parted || first.end != second.end || !pair.differing_pages().is_empty() {
            let printed = pair.0[0].printed();
            drop(pair);
            return search::locate(trial, slices, slices + equal + 1).map(|difference| Comparison {
                last: difference.at.clone(),
                slices: slices + equal,
                end: None,
                printed,
                difference: Some(difference),
            });
        }
        slices += equal;
        let Some(last) = first.standings.into_iter().next_back() else {
            unreachable!("a batch has a slice at least")
        };
        executed = last.executed;
        progress(executed);
        let printed = pair.0[0].printed();
        let enough = trial.until.as_ref().is_some_and(|text| contains(&printed, text.as_bytes()));
        if enough || first.end.is_some() || executed >= trial.instructions {
            return Ok(Comparison { last, slices, end: first.end, printed, difference: None });
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}
