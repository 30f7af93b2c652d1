//! How a run ends: reasons, errors, and the exit codes they become.

use std::fmt;

/// Exit code of an error that the user can put right.
pub const USER_ERROR: u8 = 2;
/// Exit code of an error of the host: memory, threads, a device that failed while running.
pub const HOST_ERROR: u8 = 3;
/// Exit code of a guest that crashed.
pub const GUEST_CRASHED: u8 = 4;

/// Why a machine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// The guest powered off.
    PowerOff,
    /// The guest reset, and `--no-reboot` makes that the end.
    Reset,
    /// The guest wrote this value to the isa-debug-exit port.
    DebugExit(u32),
    /// The guest cannot go on: a triple fault with `--no-reboot`, or a fatal state. The text says what and
    /// where.
    Crashed(String),
    /// The user ended the machine from the console.
    Quit,
}

impl ExitReason {
    /// The process's exit code. isa-debug-exit's is what QEMU makes of it: `(value << 1) | 1`, cut to the
    /// eight bits that a process has.
    pub fn code(&self) -> u8 {
        match self {
            ExitReason::PowerOff | ExitReason::Reset | ExitReason::Quit => 0,
            ExitReason::DebugExit(value) => ((value << 1) | 1) as u8,
            ExitReason::Crashed(_) => GUEST_CRASHED,
        }
    }
}

/// An option whose value cannot be used. Displays as one sentence: the option, the value, and what would work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    option: String,
    value: String,
    problem: String,
}

impl OptionError {
    /// `option` as the user writes it (`--memory`), the `value` given, and the `problem` in words that say
    /// what would work.
    pub fn new(option: &str, value: impl fmt::Display, problem: impl fmt::Display) -> Self {
        // One sentence is one line, whatever the value holds.
        let line = |text: String| text.replace(['\n', '\r'], " ");
        OptionError {
            option: option.to_owned(),
            value: line(value.to_string()),
            problem: line(problem.to_string()),
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.option, self.problem)
        } else {
            write!(f, "{} {}: {}", self.option, self.value, self.problem)
        }
    }
}

impl std::error::Error for OptionError {}

/// Why a machine could not be started, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The user can put it right.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The host failed.
    #[error("{0:#}")]
    Host(#[from] anyhow::Error),
}

impl RunError {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            RunError::Option(_) => USER_ERROR,
            RunError::Host(_) => HOST_ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(ExitReason::PowerOff, 0)]
    #[case(ExitReason::DebugExit(0), 1)]
    #[case(ExitReason::DebugExit(0x31), 0x63)]
    #[case(ExitReason::DebugExit(0xFF), 0xFF)]
    #[case(ExitReason::Crashed("triple fault".into()), 4)]
    fn reasons_become_the_documented_exit_codes(#[case] reason: ExitReason, #[case] code: u8) {
        assert_eq!(reason.code(), code);
    }

    #[test]
    fn an_option_error_is_one_line_that_names_option_and_value() {
        let error = OptionError::new("--kernel", "a\nb", "no such file");
        assert_eq!(error.to_string(), "--kernel a b: no such file");
    }
}
