//! What blocks are made of, and how they become bytes.

use super::COUNTERS;
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, FastFormatter, Instruction, InstructionBlock, MemoryOperand,
    Register,
};
use std::fmt;

/// A piece of a block. Branches lead over pieces that follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// One instruction, with what prepares its operands before it and what gives undefined flags a value after.
    Instructions(Vec<Instruction>),
    /// A conditional jump with this condition code over so many of the pieces that follow.
    Branch {
        /// As in the opcode: 0 is O, 15 is G.
        condition: u8,
        /// Pieces jumped over, at least 1.
        over: usize,
    },
    /// So many of the pieces that follow are executed `times` times.
    Loop {
        /// Number of pieces, at least 1.
        pieces: usize,
        /// At least 1.
        times: u32,
    },
    /// An addition of a constant, whose constant `Patch` changes.
    Target {
        /// The register added to.
        register: Register,
        /// The constant.
        constant: u32,
    },
    /// Writes `value` into the lowest byte of the constant of the nearest [`Target`](Self::Target) (the one that
    /// follows, if `ahead`; else the one before). Without one it does nothing.
    Patch {
        /// Which way to look.
        ahead: bool,
        /// What is written.
        value: u8,
    },
}

/// A block: pieces, and where they are put.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Address of the first instruction.
    pub start: u64,
    /// In order.
    pub pieces: Vec<Piece>,
}

/// Marks instructions that stand at a piece's beginning: `ip` is its number, which branches name as target.
struct Listing {
    instructions: Vec<Instruction>,
    /// Instruction at which each piece begins; one more for the end.
    begin: Vec<usize>,
    /// (instruction of a patch, number of the target's instruction).
    patches: Vec<(usize, usize)>,
    /// (branch instruction, piece it leads to).
    branches: Vec<(usize, usize)>,
}

impl Block {
    /// The same without piece `at`; branches and loops over it become shorter.
    pub fn without(&self, at: usize) -> Block {
        let mut pieces = self.pieces.clone();
        pieces.remove(at);
        for (number, piece) in pieces.iter_mut().enumerate().take(at) {
            if let Piece::Branch { over: reach, .. } | Piece::Loop { pieces: reach, .. } = piece
                && number + *reach >= at
            {
                *reach = (*reach - 1).max(1);
            }
        }
        Block { start: self.start, pieces }
    }

    /// Its bytes at `start`, and the address where it ends.
    ///
    /// # Panics
    /// If a piece holds an instruction that cannot be encoded: generators make none.
    pub fn assemble(&self) -> (Vec<u8>, u64) {
        let mut listing = self.listing();
        let end = listing.instructions.len();
        for (number, instruction) in listing.instructions.iter_mut().enumerate() {
            instruction.set_ip(number as u64 + 1);
        }
        for (branch, piece) in &listing.branches {
            let target = listing.begin[*piece] as u64 + 1;
            listing.instructions[*branch].set_near_branch64(target);
        }
        // The constants' places are known when the lengths are.
        let (_, offsets) = encode(&listing.instructions, self.start);
        for (patch, target) in &listing.patches {
            let next = offsets.get(target + 1).copied().unwrap_or(0);
            let place = self.start + u64::from(next) - 4;
            listing.instructions[*patch].set_memory_displacement64(place);
        }
        let (mut bytes, offsets) = encode(&listing.instructions, self.start);
        let stop = offsets[end - 1];
        bytes.truncate(stop as usize + 1);
        (bytes, self.start + u64::from(stop))
    }

    fn listing(&self) -> Listing {
        let mut listing = Listing {
            instructions: Vec::new(),
            begin: Vec::new(),
            patches: Vec::new(),
            branches: Vec::new(),
        };
        let mut targets = Vec::new();
        let mut wanted = Vec::new();
        // (piece after the body, counter, piece of the loop)
        let mut loops: Vec<(usize, u64, usize)> = Vec::new();
        for (number, piece) in self.pieces.iter().enumerate() {
            listing.close_loops(&mut loops, number);
            listing.begin.push(listing.instructions.len());
            match piece {
                Piece::Instructions(list) => listing.instructions.extend(list),
                Piece::Branch { condition, over } => {
                    let to = (number + 1 + over).min(self.pieces.len());
                    listing.branches.push((listing.instructions.len(), to));
                    listing.instructions.push(jump(*condition));
                }
                Piece::Loop { pieces, times } => {
                    let counter = COUNTERS + 8 * number as u64;
                    listing.instructions.push(counted(Code::Mov_rm32_imm32, counter, *times));
                    loops.push(((number + 1 + pieces).min(self.pieces.len()), counter, number));
                }
                Piece::Target { register, constant } => {
                    targets.push(listing.instructions.len());
                    listing.instructions.push(add(*register, *constant));
                }
                Piece::Patch { ahead, value } => {
                    wanted.push((listing.instructions.len(), *ahead));
                    listing.instructions.push(counted(Code::Mov_rm8_imm8, super::CODE, (*value).into()));
                }
            }
        }
        listing.close_loops(&mut loops, self.pieces.len());
        listing.begin.push(listing.instructions.len());
        listing.instructions.push(Instruction::with(Code::Nopd));
        for (patch, ahead) in wanted {
            let before = targets.iter().rev().find(|target| **target < patch);
            let after = targets.iter().find(|target| **target > patch);
            if let Some(target) = if ahead { after } else { before } {
                listing.patches.push((patch, *target));
            }
        }
        listing
    }
}

impl Listing {
    /// Ends the loops whose body ends before piece `number`, the inner ones first.
    fn close_loops(&mut self, loops: &mut Vec<(usize, u64, usize)>, number: usize) {
        while let Some(at) = loops.iter().rposition(|(end, ..)| *end == number) {
            let (_, counter, piece) = loops.remove(at);
            self.instructions.push(counted(Code::Sub_rm32_imm8, counter, 1));
            self.branches.push((self.instructions.len(), piece + 1));
            self.instructions.push(jump(5));
        }
    }
}

/// Jcc; BlockEncoder makes it short or near.
fn jump(condition: u8) -> Instruction {
    const CODES: [Code; 16] = [
        Code::Jo_rel32_64,
        Code::Jno_rel32_64,
        Code::Jb_rel32_64,
        Code::Jae_rel32_64,
        Code::Je_rel32_64,
        Code::Jne_rel32_64,
        Code::Jbe_rel32_64,
        Code::Ja_rel32_64,
        Code::Js_rel32_64,
        Code::Jns_rel32_64,
        Code::Jp_rel32_64,
        Code::Jnp_rel32_64,
        Code::Jl_rel32_64,
        Code::Jge_rel32_64,
        Code::Jle_rel32_64,
        Code::Jg_rel32_64,
    ];
    let code = CODES[usize::from(condition & 15)];
    Instruction::with_branch(code, 0).expect("a conditional jump")
}

/// An instruction on memory at the absolute address and an immediate.
fn counted(code: Code, address: u64, value: u32) -> Instruction {
    let memory = MemoryOperand::with_displ(address, 4);
    Instruction::with2(code, memory, value).expect("memory and an immediate")
}

fn add(register: Register, constant: u32) -> Instruction {
    Instruction::with2(Code::Add_rm32_imm32, register, constant).expect("a register and an immediate")
}

/// Bytes at `start`, and the offset of each instruction.
fn encode(instructions: &[Instruction], start: u64) -> (Vec<u8>, Vec<u32>) {
    let block = InstructionBlock::new(instructions, start);
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let encoded = BlockEncoder::encode(64, block, options).unwrap_or_else(|error| panic!("{error}"));
    (encoded.code_buffer, encoded.new_instruction_offsets)
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, stop) = self.assemble();
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(f, "; --mode long --stop {stop:#x} --bytes '{}'", hex.join(" "))?;
        let mut decoder = iced_x86::Decoder::with_ip(64, &bytes, self.start, 0);
        let mut formatter = FastFormatter::new();
        while decoder.can_decode() && decoder.ip() < stop {
            let instruction = decoder.decode();
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            writeln!(f, "{:x}: {text}", instruction.ip())?;
        }
        Ok(())
    }
}
