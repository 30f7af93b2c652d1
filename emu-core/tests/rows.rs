//! The opcode table against what the CPU models announce.

use emu_core::{
    cpu_model::CpuModel,
    semantics::{Table, effects::Effects},
};
use iced_x86::{Code, Mnemonic};

/// Forms that need no row: defined to be undefined, or (x87) a WAIT and an instruction that has one.
fn needs_none(code: Code) -> bool {
    matches!(code.mnemonic(), Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2) || code.op_code().fwait()
}

#[test]
fn every_instruction_that_a_model_announces_has_a_row() {
    let table = Table::<Effects>::new();
    let max = CpuModel::named("max").unwrap();
    let missing: Vec<Code> = Code::values()
        .filter(|&code| code.op_code().is_instruction() && max.allows(code) && table.find(code).is_none())
        .filter(|&code| !needs_none(code))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
