//! What the opcode maps of the 16-bit processors have that iced-x86 does not know: on the 8086 every byte means
//! something, because its decoder looks only at the bits that distinguish the documented instructions. Such an
//! alias is rewritten to the documented encoding of the same length before iced sees it.
//!
//! The 8086's aliases: "8086/88 undocumented opcodes" as collected from its microcode (A. Jenner, reenigne.org,
//! "8086 microcode disassembled", 2020) and confirmed on hardware (SingleStepTests 8086 and 8088, D. Balsom).
//! The 80186's and 80286's undefined opcodes: Intel 80286 Programmer's Reference, appendix B.
//!
//! Left out: what depends on registers that no program can see. On the 8086 LEA, LES, LDS and far CALL and JMP
//! of a register use the address that was computed last; here they do nothing. FE /2../7 are FF's with half an
//! operand; here the whole one is used. `F1 0F 04`, the 80286's STOREALL, writes to the memory of an in-circuit
//! emulator that does not exist; F1 is LOCK here.

use crate::cpu_model::Generation;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Register};

/// Longest instruction of the 80186 and 80286; #GP beyond. The 8086 has no limit; prefixes are looked at up to
/// this many.
const MAX_LEN: usize = 15;
/// See [`MAX_LEN`].
const MAX_LEN_286: usize = 10;

/// What an instruction of an early processor is.
#[derive(Debug)]
pub enum Early {
    /// This.
    Instruction(Instruction),
    /// It continues beyond the bytes given.
    Incomplete,
    /// Undefined: #UD.
    Undefined,
    /// Longer than the processor allows: #GP(0).
    TooLong,
}

/// Decodes the instruction at the start of `bytes` as `generation` does (one of 16 bits), at the offset `ip` in
/// its page.
pub fn decode(generation: Generation, bytes: &[u8], ip: u64) -> Early {
    let mut image = [0; MAX_LEN];
    let len = bytes.len().min(MAX_LEN);
    image[..len].copy_from_slice(&bytes[..len]);
    let Some(at) = opcode(generation, &mut image[..len]) else { return Early::Incomplete };
    if is_undefined(generation, &image[at..]) {
        return Early::Undefined;
    }
    if generation == Generation::I8086 {
        if image[at] == 0x0F {
            return Early::Instruction(pop_cs(at, ip));
        }
        rewrite_alias(&mut image[at..]);
    }
    let escape = rewrite_escape(generation, &mut image[at..]);
    // LOCK may precede anything, and MOV CS is what it says.
    let mut decoder = Decoder::with_ip(16, &image[..len], ip, DecoderOptions::NO_INVALID_CHECK);
    let mut instruction = decoder.decode();
    if instruction.is_invalid() {
        let incomplete = decoder.last_error() == iced_x86::DecoderError::NoMoreBytes && len < MAX_LEN;
        return if incomplete { Early::Incomplete } else { Early::Undefined };
    }
    if generation != Generation::I8086 && instruction.len() > MAX_LEN_286 {
        return Early::TooLong;
    }
    if escape {
        instruction.set_code(Code::Nop_rm16);
    } else if instruction.code() == Code::Pause {
        instruction.set_code(Code::Nopw);
    }
    if !instruction.op_code().can_use_lock_prefix() {
        instruction.set_has_lock_prefix(false);
    }
    Early::Instruction(instruction)
}

/// Offset of the opcode behind its prefixes, F1 among which becomes the LOCK that it is. A byte that is missing
/// reads as zero and is found missing by the decoder.
fn opcode(generation: Generation, image: &mut [u8]) -> Option<usize> {
    for (at, byte) in image.iter_mut().enumerate() {
        match *byte {
            0x26 | 0x2E | 0x36 | 0x3E | 0xF0 | 0xF2 | 0xF3 => {}
            0xF1 if generation != Generation::I80186 => *byte = 0xF0,
            _ => return Some(at),
        }
    }
    None
}

/// Whether the 80186 or 80286 does not know an opcode that iced takes for a prefix, or for an instruction that
/// its checks would have refused.
fn is_undefined(generation: Generation, code: &[u8]) -> bool {
    let reg = code.get(1).map_or(0, |modrm| modrm >> 3 & 7);
    match code[0] {
        _ if generation == Generation::I8086 => false,
        0x64..=0x67 | 0xF1 => true,
        0x8C => reg > 3,
        0x8E => reg > 3 || reg == 1,
        _ => false,
    }
}

/// POP CS, which later processors gave up for more opcodes.
fn pop_cs(prefixes: usize, ip: u64) -> Instruction {
    let mut instruction = Instruction::default();
    instruction.set_code(Code::Popw_CS);
    instruction.set_op0_register(Register::CS);
    instruction.set_len(prefixes + 1);
    instruction.set_ip(ip);
    instruction.set_next_ip(ip + prefixes as u64 + 1);
    instruction
}

/// Rewrites what the 8086 takes for a documented instruction as that instruction.
fn rewrite_alias(code: &mut [u8]) {
    const SEGMENT_BIT: u8 = 0x20;
    const REG: u8 = 0x38;
    let (opcode, rest) = code.split_at_mut(1);
    let mut none = 0;
    let modrm = rest.first_mut().unwrap_or(&mut none);
    let (is_register, reg) = (*modrm >> 6 == 3, *modrm >> 3 & 7);
    match opcode[0] {
        // Bit 4 of a conditional jump is not looked at; nor is bit 1 of the returns.
        0x60..=0x6F => opcode[0] |= 0x10,
        0xC0 | 0xC1 | 0xC8 | 0xC9 => opcode[0] |= 0x02,
        0x8C | 0x8E => *modrm &= !SEGMENT_BIT,
        0x8F | 0xC6 | 0xC7 => *modrm &= !REG,
        0x8D | 0xC4 | 0xC5 if is_register => do_nothing(opcode, modrm),
        0xFE if reg > 1 => {
            opcode[0] = 0xFF;
            rewrite_alias(code);
        }
        0xFF if is_register && matches!(reg, 3 | 5) => do_nothing(opcode, modrm),
        // PUSH.
        0xFF if reg == 7 => *modrm &= !0x08,
        _ => {}
    }
}

/// TEST AX, AX would touch flags; MOV AX, AX does not.
fn do_nothing(opcode: &mut [u8], modrm: &mut u8) {
    (opcode[0], *modrm) = (0x8B, 0xC0);
}

/// Rewrites an instruction for a coprocessor that is not there as one with the same operand. Returns whether it
/// was one.
fn rewrite_escape(generation: Generation, code: &mut [u8]) -> bool {
    let escape = generation.is_16_bit() && matches!(code[0], 0xD8..=0xDF);
    if let (true, [opcode, modrm, ..]) = (escape, code) {
        (*opcode, *modrm) = (0xFF, *modrm & !0x38 | 6 << 3);
    }
    escape
}
