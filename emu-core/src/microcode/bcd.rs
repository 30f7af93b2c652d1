//! Decimal adjustments: AAA AAS AAD AAM DAA DAS. SDM vol. 1, 7.3.2.5 and vol. 2.
//!
//! The 8086's differ, as recorded from one (SingleStepTests 8086).
//!
//! Flags: those the manual leaves undefined follow the result as processors do (SF, ZF, PF from AL; OF clear).

use crate::{
    arch::{Exception, Flags, Width},
    cpu::{Cpu, slot},
    cpu_model::Generation,
    decode::Insn,
    semantics::{Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

fn accumulator(cpu: &Cpu) -> (u8, u8) {
    let ax = cpu.gpr(Width::W16, slot::RAX);
    (ax as u8, (ax >> 8) as u8)
}

fn set_accumulator(cpu: &mut Cpu, al: u8, ah: u8) {
    cpu.set_gpr(Width::W16, slot::RAX, u64::from(ah) << 8 | u64::from(al));
}

/// Sets SF, ZF and PF by `al`, AF and CF as told, and clears OF.
fn set_flags(cpu: &mut Cpu, al: u8, af: bool, cf: bool) {
    let mut flags = Flags::empty();
    flags.set(Flags::SF, al & 0x80 != 0);
    flags.set(Flags::ZF, al == 0);
    flags.set(Flags::PF, al.count_ones().is_multiple_of(2));
    flags.set(Flags::AF, af);
    flags.set(Flags::CF, cf);
    cpu.flags = crate::cpu::LazyFlags::from_flags(flags);
}

fn adjust_unpacked(cpu: &mut Cpu, subtract: bool) {
    let (al, ah) = accumulator(cpu);
    let adjust = al & 0xF > 9 || cpu.flags.flags().contains(Flags::AF);
    let ax = u16::from(ah) << 8 | u16::from(al);
    let ax = match (adjust, subtract) {
        (false, _) => ax,
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(0x106),
    };
    let al = ax as u8 & 0xF;
    set_accumulator(cpu, al, (ax >> 8) as u8);
    set_flags(cpu, al, adjust, adjust);
}

fn aaa(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    adjust_unpacked(cpu, false);
    Ok(())
}

fn aas(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    adjust_unpacked(cpu, true);
    Ok(())
}

fn adjust_packed(cpu: &mut Cpu, subtract: bool) {
    let (old, ah) = accumulator(cpu);
    let flags = cpu.flags.flags();
    let (low, carry) = (old & 0xF > 9 || flags.contains(Flags::AF), flags.contains(Flags::CF));
    let high = old > 0x99 || carry;
    let mut al = old;
    // DAS keeps a borrow of its first step; of DAA the second step decides alone.
    let mut cf = high;
    if low {
        cf |= subtract && old < 6;
        al = if subtract { al.wrapping_sub(6) } else { al.wrapping_add(6) };
    }
    if high {
        al = if subtract { al.wrapping_sub(0x60) } else { al.wrapping_add(0x60) };
    }
    set_accumulator(cpu, al, ah);
    set_flags(cpu, al, low, cf);
}

fn daa(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    adjust_packed(cpu, false);
    Ok(())
}

fn das(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    adjust_packed(cpu, true);
    Ok(())
}

pub fn aam(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let (al, _) = accumulator(cpu);
    let base = i.imm as u8;
    let quotient = al.checked_div(base).ok_or(Exception::DE)?;
    let remainder = al % base;
    set_accumulator(cpu, remainder, quotient);
    set_flags(cpu, remainder, false, false);
    Ok(())
}

fn aad(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let (al, ah) = accumulator(cpu);
    let sum = al.wrapping_add(ah.wrapping_mul(i.imm as u8));
    set_accumulator(cpu, sum, 0);
    set_flags(cpu, sum, false, false);
    Ok(())
}

/// AAA and AAS of the 8086 (recorded): nothing is carried from AL to AH.
fn adjust_unpacked_8086<const SUBTRACT: bool>(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let (al, ah) = accumulator(cpu);
    let adjust = al & 0xF > 9 || cpu.flags.flags().contains(Flags::AF);
    let (al, ah) = match (adjust, SUBTRACT) {
        (false, _) => (al, ah),
        (true, false) => (al.wrapping_add(6), ah.wrapping_add(1)),
        (true, true) => (al.wrapping_sub(6), ah.wrapping_sub(1)),
    };
    set_accumulator(cpu, al & 0xF, ah);
    set_flags(cpu, al & 0xF, adjust, adjust);
    Ok(())
}

/// DAA and DAS of the 8086 (recorded): AL is compared with 9F instead of 99 if AF is set, and a borrow of DAS's
/// first step is lost.
fn adjust_packed_8086<const SUBTRACT: bool>(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let (old, ah) = accumulator(cpu);
    let flags = cpu.flags.flags();
    let af = flags.contains(Flags::AF);
    let low = old & 0xF > 9 || af;
    let high = old > if af { 0x9F } else { 0x99 } || flags.contains(Flags::CF);
    let adjustment = if low { 6 } else { 0 } + if high { 0x60 } else { 0 };
    let al = if SUBTRACT { old.wrapping_sub(adjustment) } else { old.wrapping_add(adjustment) };
    set_accumulator(cpu, al, ah);
    set_flags(cpu, al, low, high);
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    use Generation::I8086;
    vec![
        microcode(Mnemonic::Aaa, aaa),
        microcode(Mnemonic::Aas, aas),
        microcode(Mnemonic::Daa, daa),
        microcode(Mnemonic::Das, das),
        microcode(Mnemonic::Aam, aam),
        microcode(Mnemonic::Aad, aad),
        microcode(Mnemonic::Aaa, adjust_unpacked_8086::<false>).only(I8086, I8086),
        microcode(Mnemonic::Aas, adjust_unpacked_8086::<true>).only(I8086, I8086),
        microcode(Mnemonic::Daa, adjust_packed_8086::<false>).only(I8086, I8086),
        microcode(Mnemonic::Das, adjust_packed_8086::<true>).only(I8086, I8086),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu;

    #[test]
    fn packed_sums_and_differences_are_adjusted_as_in_the_manuals_examples() {
        let mut cpu = test_cpu::reset_cpu("max");
        // 0x79 + 0x35 = 0xAE: DAA gives 14 with carry.
        cpu.set_gpr(Width::W16, slot::RAX, 0x00AE);
        adjust_packed(&mut cpu, false);
        assert_eq!((cpu.gpr(Width::W8, slot::RAX), cpu.flags.cf()), (0x14, true));
        // 0x35 - 0x47 = 0xEE with borrow and AF: DAS gives 88 with carry.
        cpu.set_gpr(Width::W16, slot::RAX, 0x00EE);
        cpu.flags = crate::cpu::LazyFlags::from_flags(Flags::CF | Flags::AF);
        adjust_packed(&mut cpu, true);
        assert_eq!((cpu.gpr(Width::W8, slot::RAX), cpu.flags.cf()), (0x88, true));
    }
}
