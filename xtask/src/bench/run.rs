//! One run of the benchmark guest: starts the emulator, reads the guest's lines, and takes the emulator's CPU time
//! at each.

use anyhow::{Context, Result};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// What one run gave.
#[derive(Debug, Default, PartialEq)]
pub struct Results {
    /// For each benchmark in the order run: name, CPU seconds of the host, checksum.
    pub benchmarks: Vec<(String, f64, String)>,
    /// CPU seconds from the emulator's start to the first benchmark.
    pub boot: f64,
    /// Whether the guest said that it is done.
    pub complete: bool,
    /// The last line that was not empty.
    pub last_line: String,
    started: Option<(String, f64)>,
}

impl Results {
    /// Takes in a line of the guest, printed when the emulator had used `cpu` seconds.
    fn line(&mut self, line: &str, cpu: f64) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["BEGIN", name] => {
                if self.benchmarks.is_empty() {
                    self.boot = cpu;
                }
                self.started = Some((name.to_owned(), cpu));
            }
            ["END", name, checksum] => {
                if let Some((started, from)) = self.started.take()
                    && started == name
                {
                    self.benchmarks.push((started, cpu - from, checksum.to_owned()));
                }
            }
            ["DONE"] => self.complete = true,
            _ => {}
        }
        if !words.is_empty() {
            line.trim().clone_into(&mut self.last_line);
        }
    }
}

/// Runs `command` until it ends, or until the guest has said nothing for `patience`.
pub fn run_guest(command: &[String], patience: Duration) -> Result<Results> {
    let (program, arguments) = command.split_first().context("the command is empty")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let output = child.stdout.take().context("the emulator has no standard output")?;
    let (sender, lines) = mpsc::channel();
    let id = child.id();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // At once, in the thread that reads: the time belongs to the line.
            let cpu = cpu_seconds(id);
            if sender.send((String::from_utf8_lossy(&line).into_owned(), cpu)).is_err() {
                return;
            }
        }
    });
    let mut results = Results::default();
    while let Ok((line, cpu)) = lines.recv_timeout(patience) {
        results.line(&line, cpu);
    }
    end(&mut child)?;
    drop(lines);
    reader.join().map_err(|_| anyhow::anyhow!("the thread that reads the guest's output panicked"))?;
    Ok(results)
}

/// Lets a guest that has closed its output come to its end; ends it if it does not.
fn end(child: &mut Child) -> Result<()> {
    for _ in 0..50 {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().context("cannot end the emulator")?;
    child.wait()?;
    Ok(())
}

/// CPU seconds, user and system, of all threads of a process and of its children. Nanoseconds from schedstat:
/// the ticks of /proc/PID/stat are too coarse for a benchmark of a tenth of a second.
fn cpu_seconds(process: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    // A thread may end between being listed and being read: it has no time then.
    let tasks = tasks.filter_map(Result::ok).map(|task| task.path());
    tasks
        .map(|task| {
            let own = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let own = own.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|id| id.parse().ok());
            own / 1e9 + children.map(cpu_seconds).sum::<f64>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn benchmarks_are_timed_between_their_lines() {
        let mut results = Results::default();
        for (line, cpu) in
            [("Linux", 0.5), ("BEGIN a\r", 1.0), ("END a 00ff\r", 1.5), ("BEGIN b", 2.0), ("END b 1", 5.0)]
        {
            results.line(line, cpu);
        }
        assert_eq!(results.benchmarks, [("a".into(), 0.5, "00ff".into()), ("b".into(), 3.0, "1".into())]);
        assert_eq!((results.boot, results.complete), (1.0, false));
    }

    #[test]
    fn an_end_without_its_begin_is_no_result() {
        let mut results = Results::default();
        results.line("BEGIN a", 1.0);
        results.line("END b 1", 2.0);
        assert_eq!(results.benchmarks, []);
    }

    #[test]
    fn work_between_the_lines_costs_cpu_time() {
        let busy = "echo BEGIN x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo END x 7; echo DONE; sleep 0.2";
        let results = run_guest(&shell(busy), Duration::from_secs(60)).unwrap();
        assert!(results.complete);
        assert!(results.benchmarks[0].1 > 0.0, "{results:?}");
    }

    #[test]
    fn a_silent_guest_is_ended_and_incomplete() {
        let results = run_guest(&shell("echo BEGIN x; exec sleep 1000"), Duration::from_millis(300)).unwrap();
        assert_eq!((results.complete, results.last_line.as_str()), (false, "BEGIN x"));
    }
}
