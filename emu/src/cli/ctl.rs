//! `emu ctl`: speaks with a running machine by its control socket.

use super::print_out;
use crate::{
    console::describe_error,
    control::{
        commands::{self, Command, Kind},
        protocol::{Arguments, LONGEST_COMMAND},
    },
    exit::{OptionError, RunError},
};
use clap::{Args, ValueHint, builder::PossibleValuesParser};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// Bytes of the longest answer.
const LONGEST_ANSWER: u64 = 16 << 20;

fn names() -> PossibleValuesParser {
    let value = |command: &Command| clap::builder::PossibleValue::new(command.name).help(command.help);
    PossibleValuesParser::new(commands::ALL.iter().map(value))
}

/// The options of `emu ctl`.
#[derive(Debug, Args)]
pub struct CtlOptions {
    /// The socket that the machine was given by --control
    #[arg(value_hint = ValueHint::FilePath)]
    path: PathBuf,

    /// What to do
    #[arg(value_parser = names())]
    command: String,

    /// The command's arguments, in their order or as NAME=VALUE; numbers may be hexadecimal
    #[arg(allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl CtlOptions {
    /// Has the command done, and prints its result.
    pub fn run(self) -> Result<(), RunError> {
        let command = commands::find(&self.command)
            .map_err(|error| OptionError::new("emu ctl", &self.command, error))?;
        let arguments = read_arguments(command, &self.arguments)?;
        let result = ask("emu ctl", &self.path, command, &arguments)?;
        if result.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(());
        }
        print_out(format!("{result:#}\n").as_bytes())
    }
}

/// Has the machine that listens at `path` carry out `command`, for the user's command `who`. Returns its result.
pub(super) fn ask(
    who: &str,
    path: &Path,
    command: &Command,
    arguments: &Arguments,
) -> Result<Value, OptionError> {
    let refused = |problem: String| OptionError::new(who, path.display(), problem);
    let stream = UnixStream::connect(path).map_err(|error| {
        refused(format!(
            "no machine listens there ({}); name the socket of --control",
            describe_error(&error)
        ))
    })?;
    let mut talk = Talk { reader: BufReader::new(stream) };
    let broken =
        |error: std::io::Error| refused(format!("the machine does not answer ({})", describe_error(&error)));
    let greeting = talk.hear().map_err(broken)?;
    if greeting.get("QMP").is_none() {
        return Err(refused("no machine of emu's answers there".into()));
    }
    talk.ask("qmp_capabilities", &Arguments::new()).map_err(broken)?;
    let mut answer = talk.ask(command.name, arguments).map_err(broken)?;
    match answer.get("error") {
        Some(error) => {
            let text = error["desc"].as_str().unwrap_or("refused");
            Err(OptionError::new(who, command.name, text))
        }
        None => Ok(answer["return"].take()),
    }
}

/// A conversation.
struct Talk {
    reader: BufReader<UnixStream>,
}

impl Talk {
    fn ask(&mut self, name: &str, arguments: &Arguments) -> std::io::Result<Value> {
        let line = json!({ "execute": name, "arguments": arguments });
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes())?;
        loop {
            // Events come in between.
            let answer = self.hear()?;
            if answer.get("return").is_some() || answer.get("error").is_some() {
                return Ok(answer);
            }
        }
    }

    fn hear(&mut self) -> std::io::Result<Value> {
        let mut line = Vec::new();
        (&mut self.reader).take(LONGEST_ANSWER).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// Arguments of `command` as the user writes them.
fn read_arguments(command: &Command, words: &[String]) -> Result<Arguments, OptionError> {
    let mut arguments = Arguments::new();
    let mut places = command.arguments.iter();
    for word in words {
        let refused = |problem: String| OptionError::new(&format!("emu ctl {}", command.name), word, problem);
        if word.len() > LONGEST_COMMAND / 2 {
            return Err(refused("is too long".into()));
        }
        let by_name = word.split_once('=').and_then(|(name, value)| {
            Some((command.arguments.iter().find(|argument| argument.name == name)?, value))
        });
        let Some((argument, value)) = by_name.or_else(|| Some((places.next()?, word.as_str()))) else {
            let takes: Vec<_> = command.arguments.iter().map(|argument| argument.name).collect();
            let takes = if takes.is_empty() { "none".into() } else { takes.join(", ") };
            return Err(refused(format!("one argument too many; it takes {takes}")));
        };
        let value = match argument.kind {
            Kind::Text => Value::from(value),
            Kind::Number => parse_number(value)
                .ok_or_else(|| refused(format!("{} is a number, as in 4096 or 0x1000", argument.name)))?
                .into(),
        };
        arguments.insert(argument.name.into(), value);
    }
    // A file is the user's, wherever the machine was started.
    if let Some(Value::String(name)) = arguments.get_mut("filename")
        && let Ok(path) = std::path::absolute(&*name)
    {
        *name = path.display().to_string();
    }
    command.check(&arguments).map_err(|error| OptionError::new("emu ctl", command.name, error))?;
    Ok(arguments)
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: &str, words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let read = read_arguments(commands::find(command).unwrap(), &words);
        read.map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_come_in_their_order_or_by_name() {
        let expected = json!({ "val": 0x1000, "size": 16, "filename": "/tmp/a" });
        assert_eq!(read("memsave", &["0x1000", "16", "/tmp/a"]), Ok(expected.clone()));
        assert_eq!(read("memsave", &["filename=/tmp/a", "0x1000", "16"]), Ok(expected));
    }

    #[test]
    fn mistakes_are_told_with_what_would_work() {
        assert_eq!(
            read("stop", &["now"]).unwrap_err(),
            "emu ctl stop now: one argument too many; it takes none"
        );
        assert!(read("balloon", &["much"]).unwrap_err().contains("as in 4096 or 0x1000"));
        assert!(read("memsave", &["1"]).unwrap_err().contains("\"size\" is missing: bytes"));
    }
}
