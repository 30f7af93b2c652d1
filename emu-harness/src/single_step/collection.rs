//! What stands beside the files of a collection: `metadata.json` and `revocation_list.txt`.

use super::{Processor, json::parse_hash};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// `metadata.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// The processor's name.
    pub cpu: String,
    #[serde(default)]
    opcodes: HashMap<String, Opcode>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Opcode {
    status: Option<String>,
    #[serde(rename = "flags-mask")]
    flags_mask: Option<u32>,
    #[serde(default)]
    reg: HashMap<String, Opcode>,
}

impl Metadata {
    /// The processor that it is about.
    pub fn processor(&self) -> Option<Processor> {
        Processor::named(&self.cpu)
    }

    /// The flags that are compared after `opcode` with the register field `reg`, if it says.
    pub fn flags_mask(&self, opcode: u16, reg: u8) -> Option<u32> {
        let name = if opcode < 0x100 { format!("{opcode:02X}") } else { format!("{opcode:04X}") };
        let entry = self.opcodes.get(&name)?;
        let entry = entry.reg.get(&reg.to_string()).unwrap_or(entry);
        entry.status.as_ref()?;
        Some(entry.flags_mask.unwrap_or(u32::MAX))
    }
}

/// The hashes of a revocation list: one a line, others are comments.
pub fn revoked(text: &str) -> HashSet<[u8; 20]> {
    text.lines().filter_map(parse_hash).collect()
}
