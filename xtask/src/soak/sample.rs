//! What a process has of the host's: memory, threads, files.

use anyhow::{Context, Result};
use std::{fs, path::PathBuf};

/// What a process had at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the load began.
    pub second: u64,
    /// Memory, in KiB.
    pub resident: u64,
    pub threads: u64,
    pub files: u64,
    /// Hundredths of a second of processors' time so far.
    pub ticks: u64,
}

/// Looks at a process.
pub fn take(pid: u32, second: u64) -> Result<Sample> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    let files = fs::read_dir(folder.join("fd")).context("cannot list the open files")?.count() as u64;
    let field = |name: &str| field(&status, name).with_context(|| format!("no {name} in /proc/{pid}/status"));
    let ticks = ticks(&stat).with_context(|| format!("no times in /proc/{pid}/stat"))?;
    Ok(Sample { second, resident: field("VmRSS:")?, threads: field("Threads:")?, files, ticks })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User's and system's time: fields 14 and 15. The program's name, field 2, may have blanks in it.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// One of the figures.
type Figure = fn(&Sample) -> u64;

/// What has grown from the beginning, when all that is only made once had been made, to the end. Figures go up and down
/// with the load: the greatest of each stretch is compared. A sentence for each that has grown by more than `slack`.
pub fn growth(samples: &[Sample], warm_up: u64, slack: u64) -> Vec<String> {
    let Some(last) = samples.last() else { return Vec::new() };
    let stretch = (last.second.saturating_sub(warm_up)) / 4;
    let early = |sample: &&Sample| (warm_up..=warm_up + stretch).contains(&sample.second);
    let late = |sample: &&Sample| sample.second + stretch >= last.second;
    let figures: [(&str, Figure, u64); 3] = [
        ("KiB of memory", |sample| sample.resident, slack),
        ("threads", |sample| sample.threads, 8),
        ("files", |sample| sample.files, 16),
    ];
    let mut grown = Vec::new();
    for (name, figure, slack) in figures {
        let before = samples.iter().filter(early).map(figure).max().unwrap_or(0);
        let after = samples.iter().filter(late).map(figure).max().unwrap_or(0);
        if after > before + slack {
            grown.push(format!("{before} {name} became {after}"));
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_threads() {
        let sample = take(std::process::id(), 7).unwrap();
        assert!(sample.second == 7 && sample.resident > 100 && sample.threads > 0 && sample.files > 0);
    }

    #[test]
    fn times_are_found_behind_a_name_with_blanks() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 300 44 0 0 20";
        assert_eq!(ticks(stat), Some(344));
    }

    #[test]
    fn growth_is_told_from_warming_up() {
        let sample = |second, resident, files| Sample { second, resident, threads: 3, files, ticks: 0 };
        let flat: Vec<_> = (0..100).map(|n| sample(n, 1000.min(n * 100), 20)).collect();
        assert_eq!(growth(&flat, 20, 50), Vec::<String>::new());
        let leaking: Vec<_> = (0..100).map(|n| sample(n, 1000 + n * 10, 20 + n)).collect();
        let grown = growth(&leaking, 20, 50);
        assert_eq!(grown, ["1390 KiB of memory became 1990", "59 files became 119"]);
    }
}
