//! The JIT names no x86 instruction: what instructions mean is written once, in emu-core, and the JIT only knows
//! the primitives. This looks for mnemonics in the words of its identifiers.

use super::sizes::rust_files;
use anyhow::{Context, Result};
use iced_x86::Mnemonic;
use std::{collections::BTreeSet, fs, path::Path};

/// Mnemonics that are also words of Rust, of English, of Cranelift's IR or of the primitives, and so prove nothing.
const ORDINARY_WORDS: &[&str] = &[
    "add", "and", "bswap", "call", "clear", "div", "enter", "fadd", "fdiv", "fmul", "fsub", "getsec", "halt",
    "imul", "in", "int", "into", "invalid", "leave", "loop", "mov", "movs", "mul", "neg", "nop", "not", "or",
    "out", "pause", "pop", "popcnt", "push", "ret", "rol", "sal", "sar", "shl", "shr", "std", "str", "sub",
    "test", "wait", "xor",
];

/// Sentences about mnemonics in `source`; none if there is no such folder.
pub fn check(source: &Path) -> Result<Vec<String>> {
    if !source.exists() {
        return Ok(Vec::new());
    }
    let mnemonics = mnemonics();
    let mut violations = Vec::new();
    // What the assembler of the baseline compiler encodes, its tests hold against a disassembler's text.
    let files = rust_files(source)?.into_iter().filter(|file| !file.ends_with("x64_tests.rs"));
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for (index, line) in text.lines().enumerate() {
            let found = named_in(line, &mnemonics);
            violations.extend(found.into_iter().map(|word| {
                format!("{}:{}: the JIT names the x86 instruction {word}", file.display(), index + 1)
            }));
        }
    }
    Ok(violations)
}

fn mnemonics() -> BTreeSet<String> {
    Mnemonic::values()
        .map(|mnemonic| format!("{mnemonic:?}").to_ascii_lowercase())
        .filter(|name| !ORDINARY_WORDS.contains(&name.as_str()))
        .collect()
}

/// The mnemonics among the words of a line's code. Comments may name instructions, and so do features of the host;
/// identifiers in `x86_` are names of Cranelift's operations, and numbers are none.
fn named_in(line: &str, mnemonics: &BTreeSet<String>) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    if code.contains("is_x86_feature_detected!") {
        return Vec::new();
    }
    let is_of_identifier = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let identifiers = code
        .split(|c| !is_of_identifier(c))
        .filter(|name| !name.starts_with("x86_") && !name.starts_with(|c: char| c.is_ascii_digit()));
    identifiers.flat_map(words).filter(|word| mnemonics.contains(word)).collect()
}

/// The words of identifiers in lower case: `emit_pshufb`, `EmitPshufb` and `PSHUFB` all contain `pshufb`.
fn words(code: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous_lower = false;
    for c in code.chars().chain([' ']) {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && previous_lower) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("fn emit_pshufb(&mut self) {", Some("pshufb"))]
    #[case("Op::Cmpxchg16b => {}", Some("cmpxchg16b"))]
    #[case("const CPUID: u32 = 1;", Some("cpuid"))]
    #[case("self.iadd(a, b); // ADC adds the carry", None)]
    #[case("self.builder.ins().x86_pshufb(a, b)", None)]
    #[case("list.push(builder.ins().load(address));", None)]
    fn mnemonics_are_found_in_code_whatever_its_case(#[case] line: &str, #[case] word: Option<&str>) {
        assert_eq!(named_in(line, &mnemonics()), Vec::from_iter(word));
    }

    #[test]
    fn a_missing_folder_breaks_no_rule() {
        assert!(check(Path::new("/nonexistent/emu-jit")).unwrap().is_empty());
    }
}
