//! A difference in words.

use super::Engine;
use crate::machine::Standing;
use emu_core::state::CpuState;
use emu_harness::{corpus::values, report::Line};
use std::fmt;

/// Rows of memory that are told at most.
const MOST_ROWS: usize = 16;
/// Instructions that are told at most: the last ones.
const MOST_LINES: usize = 64;
/// Bytes in a row of memory.
const ROW: usize = 16;

/// Something that is not the same on two engines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    what: String,
    values: [String; 2],
}

/// The first difference between two machines.
#[derive(Debug)]
pub struct Difference {
    /// Where both stood last.
    pub before: Standing,
    /// Where the first machine stands when they differ. It has executed one instruction more, or some in one go.
    pub at: Standing,
    engines: [Engine; 2],
    lines: Vec<Line>,
    rows: Vec<Row>,
}

impl Difference {
    /// Of machines on `engines` that stood the same at the first of `standings`, and no longer at the second, where `pages`
    /// of memory differ; `lines` are what was executed in between.
    pub(super) fn new(
        engines: [Engine; 2],
        standings: (Standing, [Standing; 2]),
        pages: &[(u64, [Vec<u8>; 2])],
        lines: Vec<Line>,
    ) -> Self {
        let (before, after) = standings;
        let mut rows = standing_rows(&after);
        rows.extend(pages.iter().flat_map(|(address, both)| memory_rows(*address, both)).take(MOST_ROWS));
        let [at, _] = after;
        Difference { before, at, engines, lines, rows }
    }

    /// Number of the instruction after which they differ, if it is one alone.
    pub fn instruction(&self) -> Option<u64> {
        (self.lines.len() == 1).then_some(self.at.executed)
    }
}

fn standing_rows(after: &[Standing; 2]) -> Vec<Row> {
    let [first, second] = after;
    let mut rows = Vec::new();
    let mut row = |what: &str, values: [String; 2]| {
        if values[0] != values[1] {
            rows.push(Row { what: what.into(), values });
        }
    };
    row("instructions", [first.executed.to_string(), second.executed.to_string()]);
    row("time", [first.time, second.time].map(|nanos| format!("{nanos} ns")));
    let named = |state: &CpuState| -> Vec<(String, u128)> {
        values(state).into_iter().map(|(register, value)| (register.to_string(), value)).collect()
    };
    let others = named(&second.state);
    for (name, value) in named(&first.state) {
        let other = others.iter().find(|(other, _)| *other == name);
        row(&name, [format!("{value:x}"), other.map_or("-".into(), |(_, value)| format!("{value:x}"))]);
    }
    let flags = |state: &CpuState| format!("{:x}", state.general.rflags.bits());
    row("rflags", [flags(&first.state), flags(&second.state)]);
    row("events", [&first.state, &second.state].map(|state| format!("{:?}", state.events)));
    if rows.is_empty() && first.state != second.state {
        // Something that no line of the corpus can name.
        let words = |state: &CpuState| format!("{:?} {:?} {:?}", state.msrs, state.x87, state.segments);
        rows.push(Row { what: "others".into(), values: [words(&first.state), words(&second.state)] });
    }
    rows
}

fn memory_rows(address: u64, both: &[Vec<u8>; 2]) -> Vec<Row> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let rows = both[0].chunks(ROW).zip(both[1].chunks(ROW)).enumerate();
    rows.filter(|(_, (first, second))| first != second)
        .map(|(number, (first, second))| Row {
            what: format!("[{:x}]", address + (number * ROW) as u64),
            values: [hex(first), hex(second)],
        })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.engines.map(Engine::name);
        match self.instruction() {
            Some(number) => writeln!(f, "{first} and {second} differ after instruction {number}:")?,
            None => {
                let (begin, end) = (self.before.executed + 1, self.at.executed);
                let else_same = "executed one by one they make no difference";
                writeln!(f, "{first} and {second} differ after instructions {begin} to {end}; {else_same}:")?;
            }
        }
        let hidden = self.lines.len().saturating_sub(MOST_LINES);
        for line in &self.lines[hidden..] {
            writeln!(f, "{line}")?;
        }
        let width = |values: &mut dyn Iterator<Item = usize>| values.max().unwrap_or(0);
        let name = width(&mut self.rows.iter().map(|row| row.what.len()));
        let value = width(&mut self.rows.iter().map(|row| row.values[0].len())).max(first.len());
        writeln!(f, "  {:name$}  {first:value$}  {second}", "")?;
        for Row { what, values: [a, b] } in &self.rows {
            writeln!(f, "  {what:name$}  {a:value$}  {b}")?;
        }
        Ok(())
    }
}
