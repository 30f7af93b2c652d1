//! Lines of the control protocol.

use emu_core::clock::wall_clock;
use serde_json::{Map, Value, json};

/// Bytes of the longest line that a client may send.
pub const LONGEST_LINE: usize = 64 * 1024;

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

/// Reads a client's line. An error comes with the id, if there was one to be found.
pub fn parse(line: &[u8]) -> Result<Request, (Failure, Option<Value>)> {
    let failed = |text: &str, id: Option<Value>| Err((Failure::new(text), id));
    let mut object = match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return failed("a command is a JSON object", None),
        Err(error) => return failed(&format!("a line is one JSON object: {error}"), None),
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

/// Where the first command ends: behind its last brace, or behind a newline, whichever comes first outside of a string.
/// Clients need not end a command with a newline.
pub fn end_of_command(input: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, &byte) in input.iter().enumerate() {
        match byte {
            b'\n' if depth == 0 => return Some(at + 1),
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    None
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
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| line.len() <= LONGEST_LINE) {
        let line = match parse(line) {
            Ok(request) => {
                let checked = super::commands::find(&request.name)
                    .and_then(|command| command.check(&request.arguments));
                answer(checked.map(|()| json!({})), request.id)
            }
            Err((failure, id)) => answer(Err(failure), id),
        };
        assert!(!line.to_string().contains('\n'));
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
        fuzz(&b"[".repeat(LONGEST_LINE));
        fuzz(&br#"{"a":"#.repeat(LONGEST_LINE / 5));
        fuzz(b"\xFF\x00\n{\"execute\":\"\xFF\"}\n{\"execute\":\"memsave\",\"arguments\":{\"val\":-1}}");
        assert!(parse(&b"[".repeat(LONGEST_LINE)).is_err());
    }
}
