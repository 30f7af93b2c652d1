//! Reports as text: what changed, and engines beside each other.

use super::{Change, Raised, Report};
use serde::Serialize;
use std::fmt::{self, Write};

/// One thing as it was, and as several engines leave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// A register, `flags`, memory, `exception` or `instructions`.
    pub what: String,
    /// Value before.
    pub before: String,
    /// Value after, for each engine in the order of the reports.
    pub after: Vec<String>,
}

impl Row {
    /// Whether the engines agree.
    pub fn agrees(&self) -> bool {
        self.after.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Everything that changed for any of `reports`, which are of one setup.
fn rows(reports: &[Report]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for change in reports.iter().flat_map(changes) {
        if rows.iter().any(|row| row.what == change.what && row.before == change.before) {
            continue;
        }
        let after = reports.iter().map(|report| {
            let same = |other: &&Change| other.what == change.what && other.before == change.before;
            changes(report).find(same).map_or(&change.before, |found| &found.after).clone()
        });
        rows.push(Row { what: change.what.clone(), before: change.before.clone(), after: after.collect() });
    }
    rows
}

fn changes(report: &Report) -> impl Iterator<Item = &Change> {
    report.registers.iter().chain(&report.memory)
}

/// What the engines of `reports` do not agree on.
pub fn differences(reports: &[Report]) -> Vec<Row> {
    let mut all = vec![
        row("instructions", reports, |report| report.instructions.to_string()),
        row("exception", reports, |report| exception(report.exception.as_ref())),
    ];
    all.extend(rows(reports));
    all.retain(|row| !row.agrees());
    all
}

fn row(what: &str, reports: &[Report], value: impl Fn(&Report) -> String) -> Row {
    Row { what: what.into(), before: String::new(), after: reports.iter().map(value).collect() }
}

fn exception(raised: Option<&Raised>) -> String {
    raised.map_or("none".into(), |raised| match raised.cr2 {
        Some(address) => format!("{}, CR2 {address:x}", raised.name),
        None => raised.name.clone(),
    })
}

/// The engines of `reports` beside each other; rows in which they differ are marked.
pub fn table(reports: &[Report]) -> String {
    let mut rows = rows(reports);
    rows.insert(0, row("exception", reports, |report| exception(report.exception.as_ref())));
    rows.insert(0, row("instructions", reports, |report| report.instructions.to_string()));
    let names: Vec<String> = reports.iter().map(|report| report.engine.clone()).collect();
    rows.insert(0, Row { what: String::new(), before: "before".into(), after: names });
    let column = |cell: &dyn Fn(&Row) -> usize| rows.iter().map(cell).max().unwrap_or(0);
    let what = column(&|row| row.what.len());
    let before = column(&|row| row.before.len());
    let widths: Vec<usize> = (0..reports.len()).map(|k| column(&|row| row.after[k].len())).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mark = if number > 0 && !row.agrees() { '*' } else { ' ' };
        let mut line = format!("{mark} {:what$}  {:before$}", row.what, row.before);
        for (cell, width) in row.after.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "  {cell:width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.instructions == 1 { "" } else { "s" };
        writeln!(f, "{}: {} instruction{plural}", self.engine, self.instructions)?;
        if let Some(raised) = &self.exception {
            write!(f, "  {}: vector {}", raised.name, raised.vector)?;
            if let Some(code) = raised.error_code {
                write!(f, ", error code {code:x}")?;
            }
            if let Some(address) = raised.cr2 {
                write!(f, ", CR2 {address:x}")?;
            }
            writeln!(f)?;
        }
        let width = changes(self).map(|change| change.what.len()).max().unwrap_or(0);
        for Change { what, before, after } in changes(self) {
            writeln!(f, "  {what:width$}  {before} -> {after}")?;
        }
        Ok(())
    }
}
