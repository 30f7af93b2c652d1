//! The log: one line per message on standard error or in a file, never in the guest's console.

use crate::{
    console::{describe_error, terminal},
    exit::OptionError,
};
use env_logger::{Builder, Target};
use log::LevelFilter;
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

/// The filter when none is given.
pub const DEFAULT_FILTER: &str = "warn";

/// Parts of emu that a filter can name: the crates.
const PARTS: [&str; 6] = ["emu", "emu_accel", "emu_core", "emu_devices", "emu_jit", "firmware"];

/// Code generators, which tell of every function that they make. What they refuse `emu_jit` tells.
const NOT_OURS: [&str; 3] = ["cranelift_codegen", "cranelift_frontend", "regalloc2"];

/// Checks a filter: levels, or parts with levels, separated by commas. The logging library itself would take
/// any word for the name of a part, and a misspelled level would silently log nothing.
pub fn parse_filter(text: &str) -> Result<String, String> {
    for directive in text.split(',') {
        let (part, level) = match directive.split_once('=') {
            Some((part, level)) => (Some(part), Some(level)),
            None if directive.parse::<LevelFilter>().is_ok() => (None, Some(directive)),
            None => (Some(directive), None),
        };
        let known_level = level.is_none_or(|level| level.parse::<LevelFilter>().is_ok());
        let known_part = part.is_none_or(|part| PARTS.contains(&part.split("::").next().unwrap_or_default()));
        if !known_level || !known_part {
            return Err(format!(
                "\"{directive}\" is neither a level (off, error, warn, info, debug, trace) nor a part with a \
                 level; use for example info or warn,emu_devices=debug ({})",
                PARTS.join(", ")
            ));
        }
    }
    Ok(text.to_owned())
}

/// Starts logging what `filter` lets through, to `file` or standard error.
pub fn start(filter: &str, file: Option<&Path>) -> Result<(), OptionError> {
    let target: Box<dyn Write + Send> = match file {
        None => Box::new(TerminalLines),
        Some(path) => Box::new(File::create(path).map_err(|error| {
            let problem = format!("cannot be written ({}); name a file that can", describe_error(&error));
            OptionError::new("--log-file", path.display(), problem)
        })?),
    };
    let mut builder = Builder::new();
    builder.parse_filters(filter);
    for part in NOT_OURS {
        builder.filter_module(part, LevelFilter::Off);
    }
    let logger = builder
        .target(Target::Pipe(target))
        .format(|out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            writeln!(out, "emu: {level}: {}: {}", record.target(), record.args())
        })
        .try_init();
    // A logger that is there already stays: only tests in one process get here twice.
    drop(logger);
    Ok(())
}

/// Standard error, with the carriage returns that a terminal in raw mode needs.
struct TerminalLines;

impl Write for TerminalLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if terminal::is_raw() {
            io::stderr().write_all(&with_carriage_returns(bytes))?;
        } else {
            io::stderr().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn with_carriage_returns(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() + 8);
    for &byte in bytes {
        if byte == b'\n' {
            lines.push(b'\r');
        }
        lines.push(byte);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("info", true)]
    #[case("warn,emu_devices=debug", true)]
    #[case("emu_core::mmu=trace", true)]
    #[case("emu_devices", true)]
    #[case("loud", false)]
    #[case("warn,emu=loud", false)]
    #[case("kvm=info", false)]
    #[case("", false)]
    fn only_filters_that_select_something_are_taken(#[case] text: &str, #[case] good: bool) {
        assert_eq!(parse_filter(text).is_ok(), good);
    }

    #[test]
    fn every_line_returns_the_carriage_on_a_raw_terminal() {
        assert_eq!(with_carriage_returns(b"a\nb\n"), b"a\r\nb\r\n");
    }
}
