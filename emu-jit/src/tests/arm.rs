//! What the translator makes for a host that is no x86, of which only this much is looked at: it is made at all, and
//! keeps the order of accesses that an x86 guest relies on.

use super::{golden::codes, machine};
use crate::{code::CodeMemory, host::Host, region};
use cranelift_codegen::{Context, ir::Opcode};
use cranelift_frontend::FunctionBuilderContext;
use emu_core::region::{Source, Tier};
use rstest::rstest;

fn arm() -> Host {
    Host::fixed("aarch64", &[]).expect("the code generator for Arm")
}

fn x86() -> Host {
    Host::fixed("x86_64", &["x86-64-v3"]).expect("the code generator for x86-64")
}

/// The operations of the region that is made of `source`, and its machine code.
fn made(host: &Host, source: &Source, optimise: bool) -> Option<(Vec<Opcode>, Vec<u8>)> {
    let mut context = Context::new();
    let memory = CodeMemory::new(1 << 20).expect("memory for code");
    let facts = region::build(host, &memory, source, &mut context.func, &mut FunctionBuilderContext::new())?;
    let function = &context.func;
    let insts = function.layout.blocks().flat_map(|block| function.layout.block_insts(block));
    let operations = insts.map(|inst| function.dfg.insts[inst].opcode()).collect();
    let code = host.compile(&mut context, optimise, &facts.opaque).expect("code");
    Some((operations, code))
}

#[rstest]
fn all_golden_code_can_be_compiled_for_arm(#[values(false, true)] optimise: bool) {
    let host = arm();
    let mut regions = 0;
    for code in codes() {
        let source = Source { tier: Tier::Hot, ..machine::source(code.long, &code.bytes) };
        if let Some((_, bytes)) = made(&host, &source, optimise) {
            assert!(bytes.len().is_multiple_of(4), "{:02x?}", code.bytes);
            regions += 1;
        }
    }
    assert!(regions >= 30, "only {regions}");
}

#[rstest]
#[case::load(&[0x8B, 0x03], &[(Opcode::AtomicLoad, 1), (Opcode::Fence, 1)])]
#[case::load_of_a_byte(&[0x8A, 0x03], &[(Opcode::AtomicLoad, 1), (Opcode::Fence, 0)])]
#[case::store(&[0x48, 0x89, 0x03], &[(Opcode::AtomicStore, 1), (Opcode::Fence, 1)])]
#[case::update(&[0x01, 0x03], &[(Opcode::AtomicLoad, 1), (Opcode::AtomicStore, 1), (Opcode::Fence, 2)])]
#[case::locked(&[0xF0, 0x01, 0x03], &[(Opcode::AtomicCas, 1), (Opcode::Fence, 1)])]
#[case::lanes_loaded(&[0x0F, 0x10, 0x03], &[(Opcode::AtomicLoad, 0), (Opcode::Fence, 1)])]
#[case::lanes_stored(&[0x0F, 0x11, 0x03], &[(Opcode::AtomicStore, 0), (Opcode::Fence, 1)])]
fn loads_acquire_and_stores_release_where_the_host_has_another_order(
    #[case] bytes: &[u8],
    #[case] expected: &[(Opcode, usize)],
) {
    let source = Source { tier: Tier::Hot, ..machine::source(true, bytes) };
    let count = |host: &Host, operation: Opcode| {
        let (operations, _) = made(host, &source, true).expect("a region");
        operations.into_iter().filter(|found| *found == operation).count()
    };

    for &(operation, times) in expected {
        assert_eq!(count(&arm(), operation), times, "{operation}");
        let on_x86 = if operation == Opcode::AtomicCas { 1 } else { 0 };
        assert_eq!(count(&x86(), operation), on_x86, "{operation}");
    }
}

#[test]
fn the_x87_is_left_to_the_interpreter() {
    // FADD ST(1), six times.
    let source = Source { tier: Tier::Hot, ..machine::source(true, &[0xD8, 0xC1].repeat(6)) };
    let calls = |host: &Host| {
        let (operations, _) = made(host, &source, true).expect("a region");
        operations.into_iter().filter(|found| *found == Opcode::CallIndirect).count()
    };

    assert_eq!(calls(&arm()), 6, "each executed exactly");
    assert!(calls(&x86()) < 6, "all in one sequence, between two that move the state");
}
