//! The commands. Each is an entry with its documented arguments; a new one is a function in one of the files here, and a
//! line in [`ALL`].

mod engine;
mod inspect;
mod power;
mod query;
mod run;

use super::{
    Reply,
    protocol::{Arguments, Failure},
};
use crate::machine::MachineHandle;
use serde_json::Value;

/// A command.
pub struct Command {
    /// As clients write it.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// What it takes.
    pub arguments: &'static [Argument],
    /// It has the machine stand, if only for a moment.
    pub(super) stands: bool,
    pub(super) run: fn(&MachineHandle, &Arguments, Reply),
}

/// An argument of a command.
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// It may be left out.
    pub optional: bool,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that is not negative.
    Number,
    /// Text.
    Text,
}

/// Every command but `qmp_capabilities`, in the order in which they are listed.
pub const ALL: &[Command] = &[
    run::STOP,
    run::CONT,
    power::SYSTEM_RESET,
    power::SYSTEM_POWERDOWN,
    power::QUIT,
    query::STATUS,
    query::VERSION,
    query::CPUS_FAST,
    query::COMMANDS,
    query::BALLOON,
    power::BALLOON,
    engine::QUERY,
    engine::SET,
    inspect::REGISTERS,
    inspect::MEMSAVE,
    inspect::PMEMSAVE,
];

/// The command of this name.
pub fn find(name: &str) -> Result<&'static Command, Failure> {
    let known = ALL.iter().find(|command| command.name == name);
    known.ok_or_else(|| Failure::CommandNotFound(format!("The command {name} has not been found")))
}

impl Command {
    /// Whether `arguments` are what this command takes.
    pub fn check(&self, arguments: &Arguments) -> Result<(), Failure> {
        for (name, value) in arguments {
            let Some(argument) = self.arguments.iter().find(|argument| argument.name == name) else {
                return Err(Failure::new(format!("{} has no argument {name:?}", self.name)));
            };
            let (fits, kind) = match argument.kind {
                Kind::Number => (value.is_u64(), "a number that is not negative"),
                Kind::Text => (value.is_string(), "a string"),
            };
            if !fits {
                return Err(Failure::new(format!("argument {name:?} is {kind}")));
            }
        }
        let missing = |argument: &&Argument| !argument.optional && !arguments.contains_key(argument.name);
        match self.arguments.iter().find(missing) {
            Some(Argument { name, help, .. }) => {
                Err(Failure::new(format!("argument {name:?} is missing: {help}")))
            }
            None => Ok(()),
        }
    }
}

/// An argument that [`Command::check`] has found to be a number, or `default`.
fn number(arguments: &Arguments, name: &str, default: u64) -> u64 {
    arguments.get(name).and_then(Value::as_u64).unwrap_or(default)
}

/// An argument that [`Command::check`] has found to be text.
fn text(arguments: &Arguments, name: &str) -> String {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_checked_against_what_is_documented() {
        let command = find("pmemsave").unwrap();
        let check = |value: Value| command.check(value.as_object().unwrap());
        assert_eq!(check(json!({ "val": 1, "size": 2, "filename": "a" })), Ok(()));
        assert!(check(json!({ "val": 1, "size": 2 })).is_err());
        assert!(check(json!({ "val": -1, "size": 2, "filename": "a" })).is_err());
        assert!(check(json!({ "val": 1, "size": 2, "filename": "a", "more": 1 })).is_err());
        assert!(find("nonsense").is_err());
    }
}
