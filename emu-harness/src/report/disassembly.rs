//! Code in Intel's syntax.

use iced_x86::{Decoder, DecoderOptions, FastFormatter};
use serde::Serialize;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// RIP.
    pub rip: u64,
    /// Its bytes in hexadecimal.
    pub bytes: String,
    /// Mnemonic and operands.
    pub text: String,
}

/// The instructions in `code`, which begins at `rip`, decoded with operands of `bitness` bits.
pub fn disassemble(bitness: u32, rip: u64, code: &[u8]) -> Vec<Line> {
    let mut decoder = Decoder::with_ip(bitness, code, rip, DecoderOptions::NONE);
    let mut formatter = FastFormatter::new();
    let mut lines = Vec::new();
    while decoder.can_decode() {
        let start = decoder.position();
        let instruction = decoder.decode();
        let bytes: Vec<String> =
            code[start..decoder.position()].iter().map(|byte| format!("{byte:02x}")).collect();
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        lines.push(Line { rip: instruction.ip(), bytes: bytes.join(" "), text });
    }
    lines
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8x}  {:<24}  {}", self.rip, self.bytes, self.text)
    }
}
