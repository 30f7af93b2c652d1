//! The flags that the manuals leave undefined, per form: used where a collection says nothing.
//! Intel 8086 Family User's Manual, table 2-21; 80286 Programmer's Reference, appendix C; 80386 Programmer's
//! Reference, appendix C.

use super::Processor;

const CF: u32 = 1 << 0;
const PF: u32 = 1 << 2;
const AF: u32 = 1 << 4;
const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;
const OF: u32 = 1 << 11;
const ALL: u32 = CF | PF | AF | ZF | SF | OF;

/// The flags that are defined after `opcode` (two-byte ones are 0F00 and above) with the register field `reg`.
pub fn defined_flags(processor: Processor, opcode: u16, reg: u8) -> u32 {
    !undefined_flags(processor, opcode, reg)
}

fn undefined_flags(processor: Processor, opcode: u16, reg: u8) -> u32 {
    let is_8086 = processor == Processor::I8086;
    match (opcode, reg) {
        // The logical operations.
        (0x08..=0x0D | 0x20..=0x25 | 0x30..=0x35 | 0x84 | 0x85 | 0xA8 | 0xA9, _) => AF,
        (0x80..=0x83, 1 | 4 | 6) | (0xF6 | 0xF7, 0 | 1) => AF,
        (0x27 | 0x2F, _) => OF,
        (0x37 | 0x3F, _) => OF | SF | ZF | PF,
        (0xD4 | 0xD5, _) => OF | AF | CF,
        (0x69 | 0x6B, _) if !is_8086 => SF | ZF | AF | PF,
        (0x0FAF, _) => SF | ZF | AF | PF,
        (0xF6 | 0xF7, 4 | 5) => SF | ZF | AF | PF,
        (0xF6 | 0xF7, 6 | 7) => ALL,
        // SETMO is in no manual.
        (0xD0..=0xD3, 6) if is_8086 => ALL,
        (0xD0 | 0xD1, 4..) => AF,
        (0xD2 | 0xD3, 0..=3) => OF,
        // Beyond the operand's size CF is undefined where the count is masked.
        (0xD2 | 0xD3, _) if is_8086 => OF | AF,
        (0xD2 | 0xD3, _) => OF | AF | CF,
        (0xC0 | 0xC1, 0..=3) if !is_8086 => OF,
        (0xC0 | 0xC1, _) if !is_8086 => OF | AF,
        // BSF, BSR; BT and its kin; SHLD, SHRD.
        (0x0FBC | 0x0FBD, _) => ALL & !ZF,
        (0x0FA3 | 0x0FAB | 0x0FB3 | 0x0FBB | 0x0FBA, _) => ALL & !CF,
        (0x0FA4 | 0x0FA5 | 0x0FAC | 0x0FAD, _) => OF | AF,
        _ => 0,
    }
}
