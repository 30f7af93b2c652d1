//! Commands, answers and events of the control protocol.

use emu_core::clock::wall_clock;
use serde_json::{Map, Value, json};

/// Bytes of the longest command that a client may send.
pub const LONGEST_COMMAND: usize = 64 * 1024;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The command.
    pub name: String,
    /// Its arguments.
    pub arguments: Arguments,
    /// What the answer carries, so that the client knows it.
    pub id: Option<Value>,
}

/// Arguments by name.
pub type Arguments = Map<String, Value>;

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no such command, or not now.
    #[error("{0}")]
    CommandNotFound(String),
    /// Everything else.
    #[error("{0}")]
    Generic(String),
}

impl Failure {
    /// A [`Failure::Generic`].
    pub fn new(text: impl Into<String>) -> Failure {
        Failure::Generic(text.into())
    }

    fn class(&self) -> &'static str {
        match self {
            Failure::CommandNotFound(_) => "CommandNotFound",
            Failure::Generic(_) => "GenericError",
        }
    }
}

/// Reads a client's command. An error comes with the id, if there was one to be found.
pub fn parse(command: &[u8]) -> Result<Request, (Failure, Option<Value>)> {
    let failed = |text: &str, id: Option<Value>| Err((Failure::new(text), id));
    let mut object = match serde_json::from_slice(command) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return failed("a command is a JSON object", None),
        Err(error) => return failed(&format!("a command is one JSON object: {error}"), None),
    };
    let id = object.remove("id");
    let name = match object.remove("execute") {
        Some(Value::String(name)) => name,
        Some(_) => return failed("\"execute\" is a command's name", id),
        None => return failed("\"execute\" is missing", id),
    };
    let arguments = match object.remove("arguments") {
        None => Arguments::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return failed("\"arguments\" is a JSON object", id),
    };
    match object.keys().next() {
        Some(other) => failed(&format!("{other:?} is not a part of a command"), id),
        None => Ok(Request { name, arguments, id }),
    }
}

/// What a client has sent and nobody has read yet, cut into commands: one ends behind its last brace, or behind a newline,
/// whichever comes first outside of a string. Clients need not end a command with a newline.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// As far as it has been looked at; behind a command, if there is a whole one.
    seen: usize,
    whole: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Input {
    /// Takes what has come.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.look();
    }

    /// Whether there is a whole command.
    pub fn has_command(&self) -> bool {
        self.whole
    }

    /// Whether what has come is longer than any command, and none.
    pub fn is_too_long(&self) -> bool {
        !self.whole && self.bytes.len() > LONGEST_COMMAND
    }

    /// Takes the first command.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if !self.whole {
            return None;
        }
        let rest = self.bytes.split_off(self.seen);
        let command = std::mem::replace(self, Input { bytes: rest, ..Input::default() }).bytes;
        self.look();
        Some(command)
    }

    /// Looks for the end of the first command, at each byte once.
    fn look(&mut self) {
        while !self.whole && self.seen < self.bytes.len() {
            self.whole = self.ends(self.bytes[self.seen]);
            self.seen += 1;
        }
    }

    /// Whether a command ends with `byte`, which is the next.
    fn ends(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' if self.depth == 0 => return true,
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth <= 1 => return true,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        false
    }
}

/// What a client is greeted with.
pub fn greeting() -> Value {
    json!({ "QMP": { "version": version(), "capabilities": [] } })
}

/// Versions as QMP has them.
pub fn version() -> Value {
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let (major, minor) = (number(env!("CARGO_PKG_VERSION_MAJOR")), number(env!("CARGO_PKG_VERSION_MINOR")));
    let micro = number(env!("CARGO_PKG_VERSION_PATCH"));
    let package = concat!("emu ", env!("CARGO_PKG_VERSION"));
    json!({ "qemu": { "major": major, "minor": minor, "micro": micro }, "package": package })
}

/// The answer to the command with `id`.
pub fn answer(result: Result<Value, Failure>, id: Option<Value>) -> Value {
    let mut answer = match result {
        Ok(value) => json!({ "return": value }),
        Err(failure) => json!({ "error": { "class": failure.class(), "desc": failure.to_string() } }),
    };
    if let Some(id) = id {
        answer["id"] = id;
    }
    answer
}

/// Something that has happened now.
pub fn event(name: &str, data: Option<Value>) -> Value {
    let now = wall_clock();
    let timestamp = json!({ "seconds": now.as_secs(), "microseconds": now.subsec_micros() });
    let mut event = json!({ "event": name, "timestamp": timestamp });
    if let Some(data) = data {
        event["data"] = data;
    }
    event
}

/// Reads whatever bytes a client may send, as the server does: for fuzzing. Must not panic.
pub fn fuzz(bytes: &[u8]) {
    let mut input = Input::default();
    for piece in bytes.chunks(7) {
        input.extend(piece);
        if input.is_too_long() {
            return;
        }
        while let Some(command) = input.take() {
            let answer = fuzz_command(&command);
            assert!(!answer.to_string().contains('\n'));
        }
    }
}

fn fuzz_command(command: &[u8]) -> Value {
    match parse(command) {
        Ok(request) => {
            let command = super::commands::find(&request.name);
            let checked = command.and_then(|command| command.check(&request.arguments));
            answer(checked.map(|()| json!({})), request.id)
        }
        Err((failure, id)) => answer(Err(failure), id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_command_has_a_name_arguments_and_an_id() {
        let request = parse(br#"{"execute": "memsave", "arguments": {"val": 1}, "id": [7]}"#).unwrap();
        assert_eq!((request.name.as_str(), &request.arguments["val"]), ("memsave", &json!(1)));
        assert_eq!(answer(Ok(json!({})), request.id).to_string(), r#"{"id":[7],"return":{}}"#);
    }

    #[rstest]
    #[case("")]
    #[case("7")]
    #[case("{}")]
    #[case(r#"{"execute": 7}"#)]
    #[case(r#"{"execute": "stop", "arguments": []}"#)]
    #[case(r#"{"execute": "stop", "more": 1}"#)]
    #[case(r#"{"execute": "stop"} {"execute": "stop"}"#)]
    fn what_is_no_command_is_refused(#[case] line: &str) {
        assert!(parse(line.as_bytes()).is_err());
    }

    #[test]
    fn deep_nesting_and_noise_are_no_more_than_errors() {
        fuzz(&b"[".repeat(LONGEST_COMMAND));
        fuzz(&br#"{"a":"#.repeat(LONGEST_COMMAND / 5));
        fuzz(b"\xFF\x00\n{\"execute\":\"\xFF\"}\n{\"execute\":\"memsave\",\"arguments\":{\"val\":-1}}");
        assert!(parse(&b"[".repeat(LONGEST_COMMAND)).is_err());
    }

    /// The commands in `pieces`, which come one after another.
    fn commands(pieces: &[&str]) -> Vec<String> {
        let mut input = Input::default();
        let mut commands = Vec::new();
        for piece in pieces {
            input.extend(piece.as_bytes());
            while let Some(command) = input.take() {
                commands.push(String::from_utf8(command).unwrap());
            }
        }
        commands
    }

    #[rstest]
    #[case(&["{\"a\":{}}{}"], &["{\"a\":{}}", "{}"])]
    #[case(&["{\"a", "\":[1]", "}", "\r\n"], &["{\"a\":[1]}", "\r\n"])]
    #[case(&["{\"}\\\"}\":1}"], &["{\"}\\\"}\":1}"])]
    #[case(&["noise\n{}"], &["noise\n", "{}"])]
    #[case(&["{\n}\n", "]", "{"], &["{\n}", "\n", "]"])]
    fn a_command_ends_with_its_last_brace_however_it_comes(
        #[case] pieces: &[&str],
        #[case] expected: &[&str],
    ) {
        assert_eq!(commands(pieces), expected);
        let bytes: Vec<String> = pieces.concat().chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(commands(&bytes), expected, "byte by byte");
    }

    #[test]
    fn what_never_ends_is_too_long_in_the_end() {
        let mut input = Input::default();
        input.extend(b"{\"");
        input.extend(&vec![b'a'; LONGEST_COMMAND - 2]);
        assert!(!input.is_too_long());
        input.extend(b"a");
        assert!(input.is_too_long() && !input.has_command());
    }
}
