//! Golden files: the IR made for instructions, and how many host instructions become of them, in texts for review.
//!
//! A file `tests/golden/FAMILY.txt` has an entry for each piece of guest code: a line with the mode (64 or 32) and the
//! bytes, which is what people write, and below it what the test makes of it. `UPDATE_GOLDEN=1 cargo test -p emu-jit`
//! makes it anew; what has changed is for `git diff` to show.
//!
//! Fields of the CPU are named, and addresses of functions are not told, so that neither layout nor loading matters.
//! Host instructions are counted for the baseline compiler (`warm`), and for Cranelift with what x86-64-v3 has (`hot`,
//! whose IR it is), whatever the host:
//!
//! | word | tells |
//! |---|---|
//! | `alone` | host instructions executed in a region of that code alone, entry and exit included |
//! | `each` | how many more if the code is there twice: what it costs within a region |
//! | `all` | host instructions in the region, cold ones too |

use super::machine;
use crate::{
    baseline::{self, gates::Gates},
    code::CodeMemory,
    host::Host,
    region,
};
use cranelift_codegen::{Context, ir::Function};
use cranelift_frontend::FunctionBuilderContext;
use emu_core::{
    cpu::slot,
    region::{Source, Tier, layout},
};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, Instruction, NasmFormatter};
use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

/// Where a line of the IR has a host address.
const HOST_ADDRESSES: std::ops::Range<u64> = 0x1000_0000_0000..0x8000_0000_0000;

/// Where the baseline compiler's gates are taken to be.
const GATES: usize = 0x1000_0000_0000;

#[test]
fn golden_files_are_what_the_translator_makes() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let host = Host::fixed("x86_64", &["x86-64-v3"]).expect("the code generator for x86-64");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut entries = 0;
    for file in fs::read_dir(&folder).expect("the golden files") {
        let path = file.expect("a golden file").path();
        let found = fs::read_to_string(&path).expect("a golden file");
        let (preface, codes) = parse(&found);
        entries += codes.len();
        let made: String = codes.iter().map(|code| code.entry(&host)).collect();
        let made = preface + &made;
        if update {
            fs::write(&path, made).expect("a golden file");
        } else if let Some(line) = first_difference(&found, &made) {
            panic!("{}:{line} (UPDATE_GOLDEN=1 makes it anew)", path.display());
        }
    }
    assert!(entries >= 30, "only {entries} entries");
}

/// Where the texts differ: number and both lines.
fn first_difference(found: &str, made: &str) -> Option<String> {
    let (mut found, mut made) = (found.lines(), made.lines());
    for number in 1.. {
        match (found.next(), made.next()) {
            (None, None) => return None,
            (found, made) if found == made => {}
            (found, made) => {
                return Some(format!("{number}: golden {found:?}, made {made:?}"));
            }
        }
    }
    None
}

/// What an entry is of.
pub struct Code {
    pub long: bool,
    pub bytes: Vec<u8>,
}

/// The code of all entries.
pub fn codes() -> Vec<Code> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(&folder).expect("the golden files");
    let texts =
        files.map(|file| fs::read_to_string(file.expect("a golden file").path()).expect("a golden file"));
    texts.flat_map(|text| parse(&text).1).collect()
}

/// The lines before the first entry, and the entries.
fn parse(text: &str) -> (String, Vec<Code>) {
    let is_entry = |line: &&str| line.starts_with("== ");
    let preface = text.lines().take_while(|line| !is_entry(line));
    let preface = preface.map(|line| format!("{line}\n")).collect();
    let codes = text.lines().filter(is_entry).map(|line| {
        let words = line.split_whitespace().skip(1);
        let mut numbers = words.map_while(|word| u8::from_str_radix(word, 16).ok());
        // "64" and "32" are read as hexadecimal too.
        let long = match numbers.next() {
            Some(0x64) => true,
            Some(0x32) => false,
            _ => panic!("{line:?} does not tell the mode"),
        };
        Code { long, bytes: numbers.collect() }
    });
    (preface, codes.collect())
}

impl Code {
    fn entry(&self, host: &Host) -> String {
        let mut text = String::from("==");
        for byte in [if self.long { 0x64 } else { 0x32 }].iter().chain(&self.bytes) {
            write!(text, " {byte:02X}").expect("a string");
        }
        writeln!(text, " | {}", disassembled(self.long, &self.bytes).join("; ")).expect("a string");
        let once = machine::source(self.long, &self.bytes);
        let straight = once.blocks.len() == 1 && once.blocks[0].next == [emu_core::region::Next::Unknown; 2];
        let twice = straight.then(|| machine::source(self.long, &self.bytes.repeat(2)));
        for (tier, name) in [(Tier::Warm, "warm"), (Tier::Hot, "hot")] {
            let of = |source: &Source| match tier {
                Tier::Warm => Made::plainly(source),
                Tier::Hot => Made::of(host, &Source { tier, ..source.clone() }),
            };
            let Some(made) = of(&once) else {
                writeln!(text, "{name}: left to the interpreter").expect("a string");
                continue;
            };
            let (alone, all) = (made.executed(), made.all());
            write!(text, "{name}: alone {alone}").expect("a string");
            if let Some(twice) = twice.as_ref().and_then(of) {
                write!(text, ", each {}", twice.executed() as i64 - alone as i64).expect("a string");
            }
            writeln!(text, ", all {all}").expect("a string");
            text += &made.ir;
        }
        text + "\n"
    }
}

fn disassembled(long: bool, bytes: &[u8]) -> Vec<String> {
    let mut formatter = NasmFormatter::new();
    let bitness = if long { 64 } else { 32 };
    let decoder = Decoder::with_ip(bitness, bytes, machine::CODE, DecoderOptions::NONE);
    let text = |instruction: Instruction| {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        text
    };
    decoder.into_iter().map(text).collect()
}

/// What has been made of a region.
struct Made {
    ir: String,
    host: Vec<Instruction>,
}

impl Made {
    /// By the baseline compiler.
    fn plainly(source: &Source) -> Option<Self> {
        let made = baseline::compile(source, Gates::at(GATES))?;
        let host = Decoder::new(64, &made.bytes, DecoderOptions::NONE).into_iter().collect();
        Some(Made { ir: String::new(), host })
    }

    fn of(host: &Host, source: &Source) -> Option<Self> {
        let mut context = Context::new();
        let memory = CodeMemory::new(1 << 20).expect("memory for code");
        let function = &mut context.func;
        let facts = region::build(host, &memory, source, function, &mut FunctionBuilderContext::new())?;
        let ir = named(&context.func);
        let bytes = host.compile(&mut context, true, &facts.opaque).expect("code");
        // Constants are behind the code, after its last return.
        let all: Vec<Instruction> = Decoder::new(64, &bytes, DecoderOptions::NONE).into_iter().collect();
        let last = all.iter().rposition(|i| i.flow_control() == FlowControl::Return).expect("a return");
        Some(Made { ir, host: all[..=last].to_vec() })
    }

    /// Host instructions in it.
    fn all(&self) -> usize {
        self.host.len()
    }

    /// Host instructions executed from entry to return, or to where a handler goes on. Conditional branches are taken only where the code would go
    /// round in a circle otherwise: what is not taken leads to cold code.
    fn executed(&self) -> usize {
        let mut seen = BTreeSet::new();
        let (mut at, mut branches) = (0, Vec::new());
        while let Ok(n) = self.host.binary_search_by_key(&at, Instruction::ip) {
            let i = &self.host[n];
            let again = !seen.insert(at);
            at = match i.flow_control() {
                FlowControl::Return | FlowControl::IndirectBranch => break,
                _ if again => match branches.pop() {
                    Some(target) => target,
                    None => break,
                },
                FlowControl::UnconditionalBranch => i.near_branch_target(),
                FlowControl::ConditionalBranch => {
                    branches.push(i.near_branch_target());
                    i.next_ip()
                }
                _ => i.next_ip(),
            };
        }
        seen.len()
    }
}

/// The blocks of `function`, with names for what changes from build to build.
fn named(function: &Function) -> String {
    let mut function = function.clone();
    function.dfg.resolve_all_aliases();
    let text = function.display().to_string();
    let blocks = text.lines().skip_while(|line| !line.starts_with("block")).take_while(|line| *line != "}");
    blocks.filter(|line| !line.trim().is_empty()).map(|line| named_line(line) + "\n").collect()
}

fn named_line(line: &str) -> String {
    let code = line.split("  ;").next().unwrap_or_default().trim_end();
    let words = code.split(' ').map(|word| {
        let (word, comma) = word.strip_suffix(',').map_or((word, ""), |word| (word, ","));
        let name = match word.split_once('+') {
            Some(("v0", offset)) => offset.parse().ok().map(|offset| format!("cpu.{}", field(offset))),
            None if word == "v0" => Some("cpu.r0".into()),
            _ => number(word).filter(|n| HOST_ADDRESSES.contains(n)).map(|_| "<function>".into()),
        };
        name.unwrap_or_else(|| word.to_owned()) + comma
    });
    // All accesses to the CPU are the same in this.
    words.collect::<Vec<_>>().join(" ").replace(" notrap aligned region0 cpu.", " cpu.")
}

/// A constant as the IR's text has it.
fn number(word: &str) -> Option<u64> {
    u64::from_str_radix(&word.strip_prefix("0x")?.replace('_', ""), 16).ok()
}

/// Name of the CPU's field at `offset`.
fn field(offset: usize) -> String {
    let registers = layout::REGS..layout::REGS + 8 * slot::COUNT;
    let vectors = layout::VECTOR..layout::VECTOR + 16 * 32;
    match offset {
        layout::FLAGS_RESULT => "flags.result".into(),
        layout::FLAGS_AUX => "flags.aux".into(),
        layout::BUDGET => "budget".into(),
        layout::RIP => "rip".into(),
        layout::EFLAGS => "eflags".into(),
        layout::ATTENTION => "attention".into(),
        layout::TLB => "tlb".into(),
        layout::X87_STATUS => "x87.status".into(),
        layout::X87_TOP => "x87.top".into(),
        layout::X87_VALID => "x87.valid".into(),
        _ if registers.contains(&offset) => match (offset - layout::REGS) / 8 {
            n if n == usize::from(slot::RIP_BASE) => "rip_base".into(),
            n if n > usize::from(slot::RIP_BASE) => {
                format!("segment_base{}", n - usize::from(slot::SEGMENT_BASE))
            }
            n => format!("r{n}"),
        },
        _ if vectors.contains(&offset) => {
            let at = offset - layout::VECTOR;
            format!("v{}.{}", at / 32, at / 16 % 2)
        }
        _ => match (0..8).find(|n| layout::mmx(*n) == offset || layout::mmx_exponent(*n) == offset) {
            Some(n) if layout::mmx(n) == offset => format!("mm{n}"),
            Some(n) => format!("mm{n}.exponent"),
            None => "elsewhere".into(),
        },
    }
}
