//! What only processors before the 80386 do: divisions of the 8086 and 80286, PUSH SP of the 8086, POP to memory
//! of the 80286, and instructions for a coprocessor that is not there.
//!
//! Sources: Intel 80386 Programmer's Reference, 14.7 (differences from the 8086); 80286 Programmer's Reference,
//! appendix D; results recorded from an 8086 and an 80C286 by SingleStepTests (D. Balsom), where "recorded" is
//! said. Left out: REP before MUL and IMUL, which negates the 8086's product.

use super::{interrupt, stack::Stack};
use crate::{
    arch::{Cr0, Exception, Flags, Seg, Width},
    cpu::{Cpu, LazyFlags, slot},
    cpu_model::Generation,
    decode::{Insn, Kind, flag},
    semantics::{
        Attr, Emitter, Row,
        integer::multiply::{Division, division},
        microcode, microcode_form,
    },
};
use iced_x86::{Code, Mnemonic};

const RAX: u8 = slot::byte_offset(slot::RAX);

/// The register that holds the upper half of a dividend, and the remainder.
const fn upper(w: Width) -> u8 {
    match w {
        Width::W8 => slot::high_byte_offset(slot::RAX),
        _ => slot::byte_offset(slot::RDX),
    }
}

fn operand(cpu: &mut Cpu, i: &Insn) -> Result<u64, Exception> {
    if i.kind[0] == Kind::Gpr { Ok(cpu.reg(i.w(), i.reg[0])) } else { cpu.read_operand(i, i.w(), 0) }
}

fn put_quotient(cpu: &mut Cpu, w: Width, quotient: u64, remainder: u64) {
    cpu.set_reg(w, RAX, quotient);
    cpu.set_reg(w, upper(w), remainder);
}

/// DIV and IDIV of the 8086. A division that fails is an interrupt of type 0 *after* the instruction. IDIV
/// cannot give the most negative quotient, and a repeat prefix negates the one it gives (recorded; A. Jenner,
/// "8086 microcode disassembled").
fn divide_8086<const SIGNED: bool>(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = i.w();
    let divisor = operand(cpu, i)?;
    let (low, high) = (cpu.reg(w, RAX), cpu.reg(w, upper(w)));
    let Division { overflows, quotient, remainder } = division(w, SIGNED);
    let most_negative = 1 << (w.bits() - 1);
    if divisor == 0
        || overflows(low, high, divisor) != 0
        || SIGNED && quotient(low, high, divisor) == most_negative
    {
        return interrupt::divide_error_8086(cpu);
    }
    let (quotient, remainder) = (quotient(low, high, divisor), remainder(low, high, divisor));
    let negated = SIGNED && i.has(flag::REP | flag::REPNE);
    put_quotient(cpu, w, if negated { quotient.wrapping_neg() } else { quotient }, remainder);
    Ok(())
}

/// IDIV r/m8 of the 80286. Only a quotient that is not negative is checked before the division. One that is
/// goes through all of it, loses what does not fit into the partial remainder, and is refused unless its
/// magnitude comes out as 128 or less (recorded).
fn divide_byte_286(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = Width::W8;
    let divisor = operand(cpu, i)?;
    let (low, high) = (cpu.reg(w, RAX), cpu.reg(w, upper(w)));
    if divisor == 0 {
        return Err(Exception::DE);
    }
    let Division { overflows, quotient, remainder } = division(w, true);
    if overflows(low, high, divisor) == 0 {
        let (quotient, remainder) = (quotient(low, high, divisor), remainder(low, high, divisor));
        put_quotient(cpu, w, quotient, remainder);
        return Ok(());
    }
    let (dividend, divisor) = ((high << 8 | low) as u16 as i16, divisor as u8 as i8);
    let (quotient, remainder) = divide_bit_by_bit(dividend.unsigned_abs(), divisor.unsigned_abs());
    if (dividend < 0) == (divisor < 0) || quotient != 0x80 {
        return Err(Exception::DE);
    }
    let remainder = if dividend < 0 { remainder.wrapping_neg() } else { remainder };
    put_quotient(cpu, w, quotient.into(), remainder.into());
    Ok(())
}

/// Restoring division with a partial remainder of 8 bits: quotient and remainder.
fn divide_bit_by_bit(dividend: u16, divisor: u8) -> (u8, u8) {
    let [mut quotient, mut remainder] = dividend.to_le_bytes();
    for _ in 0..8 {
        remainder = remainder << 1 | quotient >> 7;
        quotient <<= 1;
        if remainder >= divisor {
            remainder -= divisor;
            quotient |= 1;
        }
    }
    (quotient, remainder)
}

/// AAM 0 of the 8086 sets the flags as for the result 0 before its interrupt (recorded). AX stays.
fn aam_8086(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    if i.imm as u8 != 0 {
        return super::bcd::aam(cpu, i);
    }
    cpu.flags = LazyFlags::from_flags(Flags::ZF | Flags::PF);
    interrupt::divide_error_8086(cpu)
}

/// AAM 0 of the 80286 leaves the flags of the partial remainder before the last step: AL without its lowest bit
/// (recorded). AX stays.
fn aam_286(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    if i.imm as u8 == 0 {
        let partial = cpu.reg(Width::W8, RAX) >> 1;
        let mut flags = cpu.flags.flags() & Flags::AF;
        flags.set(Flags::ZF, partial == 0);
        flags.set(Flags::PF, partial.count_ones().is_multiple_of(2));
        cpu.flags = LazyFlags::from_flags(flags);
    }
    super::bcd::aam(cpu, i)
}

/// PUSH r/m16 of the 8086: SP is decremented before it is read.
fn push_8086(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let mut value = operand(cpu, i)?;
    if i.kind[0] == Kind::Gpr && i.reg[0] == slot::byte_offset(slot::RSP) {
        value = value.wrapping_sub(2);
    }
    let mut stack = Stack::current(cpu);
    stack.push(cpu, Width::W16, value)?;
    stack.commit(cpu);
    Ok(())
}

/// POP r/m16 of the 80286: a store that faults does not undo the pop (recorded).
fn pop_286(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let mut stack = Stack::current(cpu);
    let value = stack.pop(cpu, Width::W16)?;
    stack.commit(cpu);
    if i.kind[0] == Kind::Gpr {
        cpu.set_reg(Width::W16, i.reg[0], value);
        return Ok(());
    }
    cpu.write_operand(i, Width::W16, 0, value)
}

/// An instruction for the coprocessor: the CPU reads the operand, and nobody takes it.
fn escape(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    if cpu.control.cr0.intersects(Cr0::EM | Cr0::TS) {
        return Err(Exception::NM);
    }
    operand(cpu, i).map(|_| ())
}

/// POP CS.
fn pop_cs(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let mut stack = Stack::current(cpu);
    let selector = stack.pop(cpu, Width::W16)? as u16;
    stack.commit(cpu);
    super::segment_load::load(cpu, Seg::Cs, selector)
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    use Generation::{I8086, I80186, I80286};
    let on_8086 = |row: Row<E>| row.with(Attr::ENDS_BLOCK).only(I8086, I8086);
    vec![
        on_8086(microcode(Mnemonic::Div, divide_8086::<false>)),
        on_8086(microcode(Mnemonic::Idiv, divide_8086::<true>)),
        on_8086(microcode(Mnemonic::Aam, aam_8086)),
        on_8086(microcode_form(Code::Popw_CS, pop_cs)),
        microcode_form(Code::Push_r16, push_8086).only(I8086, I8086),
        microcode_form(Code::Push_rm16, push_8086).only(I8086, I8086),
        microcode_form(Code::Pop_rm16, pop_286).only(I80186, I80286),
        microcode_form(Code::Idiv_rm8, divide_byte_286).only(I80186, I80286),
        microcode(Mnemonic::Aam, aam_286).only(I80186, I80286),
        microcode_form(Code::Nop_rm16, escape).only(I8086, I80286),
    ]
}
