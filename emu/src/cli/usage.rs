//! Mistakes on the command line, each told in one sentence that names the option and what would work.

use super::Arguments;
use crate::exit::{OptionError, USER_ERROR};
use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};
use std::{env, error::Error as _, process::ExitCode};

/// Prints what the parser found, which may be that help was asked for; returns the exit code.
pub fn report(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone away (`| head`) has what it wanted.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(USER_ERROR)
        }
        _ => {
            eprintln!("emu: {}", sentence(error));
            ExitCode::from(USER_ERROR)
        }
    }
}

fn sentence(error: &Error) -> OptionError {
    // The parser names an argument with its value's name, as in `--memory <SIZE>`: keep what the user types.
    let argument = strings(error, ContextKind::InvalidArg).into_iter().next().unwrap_or_default();
    let option = argument.split([' ', '=']).next().unwrap_or_default();
    let value = strings(error, ContextKind::InvalidValue).into_iter().next().unwrap_or_default();
    let known = strings(error, ContextKind::ValidValue);
    match error.kind() {
        ErrorKind::InvalidValue if value.is_empty() => OptionError::new(option, "", "needs a value"),
        ErrorKind::InvalidValue => {
            OptionError::new(option, value, format!("not known; use {}", alternatives(&known)))
        }
        ErrorKind::ValueValidation => {
            let problem = error.source().map_or_else(|| "not a value".into(), ToString::to_string);
            OptionError::new(option, value, problem)
        }
        ErrorKind::UnknownArgument => {
            let similar = strings(error, ContextKind::SuggestedArg);
            let advice = match similar.first() {
                Some(similar) => format!("did you mean {similar}?"),
                None => "--help shows those there are".into(),
            };
            let what = if option.starts_with('-') { "no such option" } else { "one argument too many" };
            OptionError::new(&argument, "", format!("{what}; {advice}"))
        }
        ErrorKind::InvalidSubcommand => {
            let command =
                strings(error, ContextKind::InvalidSubcommand).into_iter().next().unwrap_or_default();
            let problem = format!("no such command; use {}", alternatives(&known_commands(env::args())));
            OptionError::new(&command, "", problem)
        }
        ErrorKind::TooManyValues => OptionError::new(option, &value, "takes no value; give the option alone"),
        ErrorKind::ArgumentConflict => {
            let other = strings(error, ContextKind::PriorArg).into_iter().next().unwrap_or_default();
            if other.is_empty() || other == argument {
                OptionError::new(option, "", "given more than once; give it once")
            } else {
                OptionError::new(
                    option,
                    "",
                    format!("does not go together with {other}; leave one of them out"),
                )
            }
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = strings(error, ContextKind::InvalidArg).join(" ");
            OptionError::new(&missing, "", "missing; --help shows what it can be")
        }
        _ => {
            // Whatever else the parser may say: its first line is its sentence.
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            OptionError::new(&first, "", "--help shows how to write it")
        }
    }
}

fn strings(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The commands there are where `words`, the process's arguments, ceased to be commands.
fn known_commands(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut command = Arguments::command();
    for word in words.skip(1) {
        let Some(found) = command.find_subcommand(&word) else { break };
        command = found.clone();
    }
    command.get_subcommands().map(|known| known.get_name().to_owned()).collect()
}

fn alternatives(words: &[String]) -> String {
    match words {
        [] => "another value".into(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
