//! The JSON format: an array of tests. Which processor they are of stands in the collection's `metadata.json`.

use super::{Exception, Register, Registers, State, Test};
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    idx: u32,
    name: String,
    bytes: Vec<u8>,
    initial: Side,
    #[serde(rename = "final")]
    last: Side,
    exception: Option<Raised>,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Side {
    #[serde(default)]
    regs: HashMap<String, u32>,
    #[serde(default)]
    ram: Vec<(u32, u8)>,
}

#[derive(Deserialize)]
struct Raised {
    number: u8,
    flag_address: u32,
}

impl From<Side> for State {
    fn from(side: Side) -> State {
        let mut registers = Registers::default();
        for (name, value) in side.regs {
            if let Some(register) = Register::named(&name) {
                registers.set(register, value);
            }
        }
        State { registers, masks: Registers::default(), ram: side.ram }
    }
}

impl From<Entry> for Test {
    fn from(entry: Entry) -> Test {
        Test {
            index: entry.idx,
            name: entry.name,
            bytes: entry.bytes,
            initial: entry.initial.into(),
            last: entry.last.into(),
            exception: entry
                .exception
                .map(|raised| Exception { vector: raised.number, flags_address: raised.flag_address }),
            hash: entry.hash.as_deref().and_then(parse_hash),
        }
    }
}

/// Forty hexadecimal digits.
pub fn parse_hash(text: &str) -> Option<[u8; 20]> {
    let digits = text.trim();
    if digits.len() != 40 || !digits.is_ascii() {
        return None;
    }
    let mut hash = [0; 20];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Vec<Test>, serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes)?;
    Ok(entries.into_iter().map(Test::from).collect())
}
