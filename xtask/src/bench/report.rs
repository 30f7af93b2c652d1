//! The comparison as a table.

use super::run::Results;

/// The least time that counts: below it the ratio would be noise.
const RESOLUTION: f64 = 1e-4;

/// One emulator and the best of its runs.
#[derive(Debug)]
pub struct Side {
    /// What it is called in the table.
    pub name: &'static str,
    /// The command that runs the guest.
    pub command: Vec<String>,
    boot: f64,
    best: Vec<Best>,
}

#[derive(Debug)]
struct Best {
    name: String,
    seconds: f64,
    checksum: String,
    /// Two runs of the same work gave different results.
    unstable: bool,
}

impl Side {
    /// A side that has not run yet.
    pub fn new(name: &'static str, command: Vec<String>) -> Self {
        Side { name, command, boot: f64::INFINITY, best: Vec::new() }
    }

    /// Takes in one run.
    pub fn add(&mut self, results: &Results) {
        self.boot = self.boot.min(results.boot);
        for (name, seconds, checksum) in &results.benchmarks {
            match self.best.iter_mut().find(|best| best.name == *name) {
                Some(best) => {
                    best.seconds = best.seconds.min(*seconds);
                    best.unstable |= best.checksum != *checksum;
                }
                None => self.best.push(Best {
                    name: name.clone(),
                    seconds: *seconds,
                    checksum: checksum.clone(),
                    unstable: false,
                }),
            }
        }
    }
}

/// Prints the table, and returns how many benchmarks are wrong.
pub fn print(emu: &Side, peer: Option<&Side>) -> usize {
    let (lines, wrong) = table(emu, peer);
    for line in lines {
        println!("{line}");
    }
    wrong
}

fn table(emu: &Side, peer: Option<&Side>) -> (Vec<String>, usize) {
    let Some(peer) = peer else {
        let rows = emu.best.iter().map(|best| format!("{:14}{:10.3}", best.name, best.seconds));
        let head = [format!("{:14}{:>10}", "benchmark", "emu s"), format!("{:14}{:10.3}", "boot", emu.boot)];
        return (
            head.into_iter().chain(rows).collect(),
            emu.best.iter().filter(|best| best.unstable).count(),
        );
    };
    let mut lines = vec![
        format!("{:14}{:>10}{:>10}{:>8}", "benchmark", "peer s", "emu s", "ratio"),
        format!("{:14}{:10.3}{:10.3}{:8.2}", "boot", peer.boot, emu.boot, ratio(peer.boot, emu.boot)),
    ];
    let (mut wrong, mut ratios) = (0, Vec::new());
    for theirs in &peer.best {
        let Some(ours) = emu.best.iter().find(|best| best.name == theirs.name) else {
            lines.push(format!(
                "{:14}{:10.3}{:>10}{:>8}  missing on emu",
                theirs.name, theirs.seconds, "-", "-"
            ));
            wrong += 1;
            continue;
        };
        let is_wrong = ours.unstable || ours.checksum != theirs.checksum;
        wrong += usize::from(is_wrong);
        let ratio = ratio(theirs.seconds, ours.seconds);
        ratios.push(ratio);
        lines.push(format!(
            "{:14}{:10.3}{:10.3}{ratio:8.2}{}",
            theirs.name,
            theirs.seconds,
            ours.seconds,
            if is_wrong { "  WRONG checksum" } else { "" }
        ));
    }
    if !ratios.is_empty() {
        lines.push(format!(
            "geometric mean of {} ratios: {:.2} (above 1: emu takes less CPU time of the host)",
            ratios.len(),
            geometric_mean(&ratios)
        ));
    }
    (lines, wrong)
}

fn ratio(peer: f64, emu: f64) -> f64 {
    peer.max(RESOLUTION) / emu.max(RESOLUTION)
}

fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &'static str, runs: &[&[(&str, f64, &str)]]) -> Side {
        let mut side = Side::new(name, Vec::new());
        for run in runs {
            let benchmarks = run.iter().map(|(name, s, sum)| ((*name).to_owned(), *s, (*sum).to_owned()));
            let mut results = Results::default();
            results.benchmarks.extend(benchmarks);
            results.boot = 1.0;
            side.add(&results);
        }
        side
    }

    #[test]
    fn the_least_of_the_runs_is_compared() {
        let emu = side("emu", &[&[("a", 2.0, "1"), ("b", 1.0, "2")], &[("a", 4.0, "1"), ("b", 0.5, "2")]]);
        let peer = side("peer", &[&[("a", 1.0, "1"), ("b", 1.0, "2")]]);
        let (lines, wrong) = table(&emu, Some(&peer));
        assert_eq!(wrong, 0);
        assert!(lines[2].ends_with("0.50") && lines[3].ends_with("2.00"), "{lines:#?}");
        assert!(lines[4].starts_with("geometric mean of 2 ratios: 1.00"), "{lines:#?}");
    }

    #[test]
    fn a_different_checksum_is_wrong() {
        let (emu, peer) = (side("emu", &[&[("a", 1.0, "1")]]), side("peer", &[&[("a", 1.0, "2")]]));
        let (lines, wrong) = table(&emu, Some(&peer));
        assert_eq!(wrong, 1);
        assert!(lines[2].ends_with("WRONG checksum"));
    }

    #[test]
    fn a_checksum_that_changes_between_runs_is_wrong_even_without_a_peer() {
        let emu = side("emu", &[&[("a", 1.0, "1")], &[("a", 1.0, "2")]]);
        assert_eq!(table(&emu, None).1, 1);
    }

    #[test]
    fn a_benchmark_that_emu_did_not_finish_is_wrong() {
        let (emu, peer) = (side("emu", &[&[]]), side("peer", &[&[("a", 1.0, "2")]]));
        assert_eq!(table(&emu, Some(&peer)).1, 1);
    }
}
