//! `cargo xtask handlers`: do the interpreter's handlers continue with each other by jumps?
//!
//! A specialised handler ends by calling the next instruction's. The optimiser makes that a jump unless
//! something of the handler's own must outlive it: a local whose address was given away, say to a function
//! that was not inlined. Nothing breaks then: between two looks around a chain is at most 50,000 instructions
//! long, for which the stack of a vCPU's thread (64 MiB) is enough. But each such instruction costs a call, a
//! return and a piece of stack that leaves the cache, and nobody would notice; so this reads the machine code.
//!
//! The successor's address comes from the instruction that it is to execute. A call of an address out of the
//! global offset table, perhaps kept in a register, is one of a known function and does not count.

use crate::workspace::{TEST_PROFILE, build_emu};
use anyhow::{Context, Result, bail};
use clap::Args;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

/// Where the handlers are.
const MODULE: &str = "emu_core::interp::handlers::";
/// Those that are made for one instruction each: what the time goes into.
const SPECIALISED: [&str; 5] = ["fast", "quiet", "fused", "branch", "indirect"];

/// Registers that a call may change.
const VOLATILE: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// What `cargo xtask handlers` takes.
#[derive(Args)]
pub struct Options {
    /// Profile to build emu with; an optimising one
    #[arg(long, default_value = TEST_PROFILE)]
    profile: String,
}

/// What was found in a program.
struct Findings {
    /// Specialised handlers seen.
    handlers: usize,
    /// Those that call the next, with the address of the call.
    calling: Vec<(String, u64)>,
}

/// Builds emu and checks it.
pub fn run(options: &Options) -> Result<()> {
    check(&build_emu(&options.profile)?)
}

/// Checks the handlers of `program`, which is not stripped.
pub fn check(program: &Path) -> Result<()> {
    let image = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let findings = inspect(&image).with_context(|| format!("cannot make out {}", program.display()))?;
    verdict(&findings).with_context(|| format!("{} fails", program.display()))
}

/// Reports what was found; fails if it is not as it should be.
fn verdict(findings: &Findings) -> Result<()> {
    if findings.handlers == 0 {
        bail!("no handlers by name: is it stripped, or a debug build?");
    }
    for (handler, address) in &findings.calling {
        eprintln!("handlers: {handler} calls its successor at {address:#x}");
    }
    if !findings.calling.is_empty() {
        bail!(
            "{} of {} handlers do not end in a jump; to see what for, build with \
             RUSTFLAGS=-Csymbol-mangling-version=v0",
            findings.calling.len(),
            findings.handlers
        );
    }
    println!("handlers: all {} end in jumps", findings.handlers);
    Ok(())
}

/// Reads the handlers in an ELF image.
fn inspect(image: &[u8]) -> Result<Findings> {
    let file = object::File::parse(image)?;
    if file.architecture() != Architecture::X86_64 {
        bail!("only code for x86-64 can be read");
    }
    let text = file.section_by_name(".text").context("it has no section .text")?;
    let (start, code) = (text.address(), text.data()?);
    // Identical handlers share one address.
    let mut handlers = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
        if is_specialised(&name) {
            handlers.insert(symbol.address(), (name, symbol.size()));
        }
    }
    let mut findings = Findings { handlers: handlers.len(), calling: Vec::new() };
    for (address, (name, size)) in handlers {
        let at = address.checked_sub(start).context("a handler lies before the code")? as usize;
        let body = code.get(at..).and_then(|rest| rest.get(..size as usize));
        let body = body.with_context(|| format!("{name} lies outside the code"))?;
        if let Some(call) = successor_call(body, address) {
            findings.calling.push((name, call));
        }
    }
    Ok(findings)
}

/// Whether `name` is a specialised handler: the function itself, with or without its type, but nothing in it. It may
/// be in a module below [`MODULE`].
fn is_specialised(name: &str) -> bool {
    let Some(name) = name.strip_prefix(MODULE) else { return false };
    let (path, types) = name.split_at(name.find('<').unwrap_or(name.len()));
    let whole = types.is_empty() || types.ends_with('>');
    let path = path.strip_suffix("::").unwrap_or(path);
    whole && path.rsplit("::").next().is_some_and(|function| SPECIALISED.contains(&function))
}

/// Address of the first call in `body` that is not of a known function.
fn successor_call(body: &[u8], address: u64) -> Option<u64> {
    let mut known = KnownFunctions { registers: HashSet::new(), info: InstructionInfoFactory::new() };
    for instruction in &mut Decoder::with_ip(64, body, address, DecoderOptions::NONE) {
        if instruction.flow_control() == FlowControl::IndirectCall && !known.has_target_of(&instruction) {
            return Some(instruction.ip());
        }
        known.follow(&instruction);
    }
    None
}

/// The registers that hold addresses from the global offset table, as far as reading from top to bottom tells.
struct KnownFunctions {
    registers: HashSet<Register>,
    info: InstructionInfoFactory,
}

impl KnownFunctions {
    /// Whether `instruction`, a call or a move, takes its last operand from the table.
    fn has_target_of(&self, instruction: &Instruction) -> bool {
        let source = instruction.op_count() - 1;
        match instruction.op_kind(source) {
            OpKind::Memory => instruction.memory_base() == Register::RIP,
            OpKind::Register => self.registers.contains(&instruction.op_register(source)),
            _ => false,
        }
    }

    /// Takes note of what `instruction` does to registers.
    fn follow(&mut self, instruction: &Instruction) {
        let loads = instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Register
            && self.has_target_of(instruction);
        for used in self.info.info(instruction).used_registers() {
            if !matches!(used.access(), OpAccess::Read | OpAccess::CondRead) {
                self.registers.remove(&used.register().full_register());
            }
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                for register in VOLATILE {
                    self.registers.remove(&register);
                }
            }
            _ if loads => {
                self.registers.insert(instruction.op0_register());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("emu_core::interp::handlers::fast", true)]
    #[case("emu_core::interp::handlers::fast::<emu_core::semantics::integer::Mov>", true)]
    #[case("emu_core::interp::handlers::fused<A, B>", true)]
    #[case("emu_core::interp::handlers::branch::branch::<A>", true)]
    #[case("emu_core::interp::handlers::branch::branch_exact", false)]
    #[case("emu_core::interp::handlers::straight::fast::<A>::{closure#0}", false)]
    #[case("emu_core::interp::handlers::branch_exact", false)]
    #[case("emu_core::interp::handlers::fast::{closure#0}", false)]
    #[case("emu_core::interp::handlers::exact", false)]
    #[case("emu::handlers::fast", false)]
    fn specialised_handlers_are_known_by_name(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_specialised(name), expected);
    }

    #[rstest]
    #[case::next_by_call(&[0x90, 0xFF, 0x53, 0x30, 0xC3], Some(0x1001))]
    #[case::next_by_call_of_a_register(&[0xFF, 0xD0, 0xC3], Some(0x1000))]
    #[case::next_by_jump(&[0xFF, 0x63, 0x30], None)]
    #[case::helper_by_address(&[0xE8, 0, 0, 0, 0, 0xFF, 0x63, 0x30], None)]
    #[case::helper_by_table(&[0xFF, 0x15, 0, 0, 0, 0, 0xFF, 0x63, 0x30], None)]
    // mov rax, [rip]; mov rcx, rax; call rcx
    #[case::helper_kept_in_a_register(&[0x48, 0x8B, 5, 0, 0, 0, 0, 0x48, 0x89, 0xC1, 0xFF, 0xD1], None)]
    // mov rax, [rip]; mov rax, [rbx + 48]; call rax
    #[case::next_over_a_helper(&[0x48, 0x8B, 5, 0, 0, 0, 0, 0x48, 0x8B, 0x43, 0x30, 0xFF, 0xD0], Some(0x100B))]
    // mov rax, [rip]; call rax; call rax
    #[case::what_a_helper_returns(&[0x48, 0x8B, 5, 0, 0, 0, 0, 0xFF, 0xD0, 0xFF, 0xD0], Some(0x1009))]
    fn calls_of_the_next_handler_are_found(#[case] body: &[u8], #[case] expected: Option<u64>) {
        assert_eq!(successor_call(body, 0x1000), expected);
    }

    #[rstest]
    #[case::stripped(0, &[], false)]
    #[case::chained(3, &[], true)]
    #[case::one_calls(3, &["fast"], false)]
    fn only_a_program_whose_handlers_all_jump_passes(
        #[case] handlers: usize,
        #[case] calling: &[&str],
        #[case] passes: bool,
    ) {
        let calling = calling.iter().map(|name| (name.to_string(), 0x1000)).collect();

        assert_eq!(verdict(&Findings { handlers, calling }).is_ok(), passes);
    }
}
