//! No instruction commits anything before its last access that can fault.
//!
//! Microcode is one effect here, all or nothing by its own promise. Of gathers that is not true: by the manual they
//! commit each element before the next, which may fault. They are tested in `microcode/vector`.

use emu_core::{
    cpu::{Cpu, Mode},
    decode::{Insn, lower},
    semantics::{
        Attr, Run, Table,
        effects::{Effect, Effects},
    },
};
use emu_harness::encodings::{MemoryOperand, Random, Shape, encode, instruction};
use iced_x86::{Code, Decoder, Mnemonic, Register};

/// The handler of instructions that are not executed.
extern "C-unwind" fn never(_: &mut Cpu, _: *const Insn) -> u32 {
    0
}

/// The form `code` with every kind of operand that it has, as recorded.
fn recorded(table: &Table<Effects>, code: Code) -> Vec<(Insn, Effects)> {
    let Some(row) = table.find(code).map(|number| table.row(number)) else { return Vec::new() };
    let mut random = Random::new(0x5EED);
    let mut all = Vec::new();
    for (bitness, base) in [(64, Register::RBX), (32, Register::EBX), (16, Register::BX)] {
        for base in [None, Some(base)] {
            let memory = base.map(|base| MemoryOperand::at(base, 0x10));
            let Some(made) = instruction(code, Shape::new(bitness, memory), &mut random) else { continue };
            let Some(bytes) = encode(&made, bitness, 0x1000) else { continue };
            let decoded = Decoder::with_ip(bitness, &bytes, 0x1000, 0).decode();
            let i = lower(&decoded, Attr::empty(), Mode::default(), &Insn::blank(never));
            all.push((i, Effects::of(row, &i)));
        }
    }
    all
}

#[test]
fn nothing_is_committed_before_the_last_access_that_can_fault() {
    // Arrange
    let table = Table::<Effects>::new();

    // Act
    let (mut forms, mut wrong) = (0, Vec::new());
    for code in Code::values() {
        for (_, effects) in recorded(&table, code) {
            forms += 1;
            if let Some((early, last)) = effects.committed_too_early() {
                wrong.push(format!("{code:?}: {early:?} before {last:?}"));
            }
            if let Some(effect) = effects.impure {
                wrong.push(format!("{code:?}: {effect:?} within an update"));
            }
        }
    }

    // Assert
    assert!(forms > 1000, "only {forms} forms could be made");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_in_the_vocabulary_is_reached_by_a_form() {
    let table = Table::<Effects>::new();
    let mut reached = vec![false; table.rows().len()];
    for code in Code::values() {
        if !recorded(&table, code).is_empty() {
            reached[usize::from(table.find(code).unwrap())] = true;
        }
    }
    let missing: Vec<String> = table
        .rows()
        .iter()
        .zip(reached)
        .filter(|(row, reached)| matches!(row.run, Run::Emit(_)) && row.only.is_none() && !reached)
        .map(|(row, _)| format!("{:?}", row.key))
        .collect();
    // What ends a block that just stops is no instruction.
    let pseudo = format!("{:?}", emu_core::semantics::Key::Mnemonic(Mnemonic::Zero_bytes));
    assert_eq!(missing, [pseudo]);
}

#[test]
fn a_push_from_memory_loads_stores_and_moves_the_pointer_last() {
    let table = Table::<Effects>::new();
    let all = recorded(&table, Code::Push_rm64);
    let (_, effects) = all.iter().find(|(_, e)| e.record.contains(&Effect::Load(8))).unwrap();
    let kept: Vec<Effect> = effects.record.iter().copied().filter(|e| e.can_fault() || e.commits()).collect();
    assert!(matches!(kept[..], [Effect::Load(8), Effect::Store(8), Effect::WriteGpr(_, 32)]), "{kept:?}");
}
