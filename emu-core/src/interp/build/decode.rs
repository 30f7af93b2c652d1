//! Decoding the bytes of a page, up to the end of the block.

use super::{End, MAX_INSNS, WINDOW};
use crate::{
    arch::Exception,
    cpu::{Cpu, Mode},
    decode::{
        Insn,
        early::{self, Early},
    },
    interp::{blocks::key, handlers, hot, liveness::FlagUse},
};
use iced_x86::{Decoder, DecoderError, Instruction};

impl Cpu {
    /// Decodes from `offset` to the end of the block into `scratch`.
    pub(super) fn decode_page(
        &mut self,
        code: &[u8; WINDOW],
        linear: u64,
        physical: u64,
        mode: Mode,
    ) -> Result<End, Exception> {
        let offset = (linear & 0xFFF) as usize;
        let page = linear & !0xFFF;
        self.begin(linear, mode);
        self.begin_counting(physical, mode);
        if self.model.generation().is_16_bit() {
            return Ok(self.decode_early(&code[..(4096 - offset).min(WINDOW)], linear, mode));
        }
        let mut decoder = Decoder::with_ip(
            mode.bitness(),
            &code[..(4096 - offset).min(WINDOW)],
            offset as u64,
            self.model.decoder_options(),
        );
        let mut instruction = Instruction::default();
        let limit = self.longest(mode);
        while self.blocks.scratch.len() < limit {
            let at = offset + decoder.position();
            if at >= 4096 {
                return Ok(End::Before(4096));
            }
            if at != offset && mode.is_observed() && self.observe.wants(page | at as u64) {
                // It begins a block of its own.
                return Ok(End::Before(at));
            }
            decoder.decode_out(&mut instruction);
            if decoder.last_error() == DecoderError::NoMoreBytes {
                // It goes on in the next page.
                return Ok(End::Before(at));
            }
            if self.push(&instruction, &code[at - offset..], at, mode) {
                return Ok(End::Last);
            }
        }
        Ok(End::Before(offset + decoder.position()))
    }

    /// The same for the opcode map of an early processor.
    pub(super) fn decode_early(&mut self, code: &[u8], linear: u64, mode: Mode) -> End {
        let (page, offset) = (linear & !0xFFF, (linear & 0xFFF) as usize);
        let limit = self.longest(mode);
        let mut next = 0;
        while self.blocks.scratch.len() < limit && next < code.len() {
            let at = offset + next;
            if next != 0 && mode.is_observed() && self.observe.wants(page | at as u64) {
                return End::Before(at);
            }
            match early::decode(self.model.generation(), &code[next..], at as u64) {
                Early::Incomplete => return End::Before(at),
                Early::Undefined => self.push_undefined(at, 1, Exception::UD),
                Early::TooLong => self.push_undefined(at, 1, Exception::GP0),
                Early::Instruction(instruction) => {
                    next += instruction.len();
                    if !self.push(&instruction, &[], at, mode) {
                        continue;
                    }
                }
            }
            return End::Last;
        }
        End::Before(offset + next)
    }

    /// Begins the block at `linear`: with a pause, if its first instruction is observed.
    pub(super) fn begin(&mut self, linear: u64, mode: Mode) {
        self.blocks.scratch.clear();
        self.blocks.flag_uses.clear();
        if mode.is_observed() && self.observe.wants(linear) {
            let i = Insn { off: (linear & 0xFFF) as u16, ..Insn::blank(handlers::pause) };
            self.blocks.scratch.push(i);
            self.blocks.flag_uses.push(FlagUse::OPAQUE);
        }
    }

    /// Puts an entry that counts before the block that is to be decoded at `physical`.
    fn begin_counting(&mut self, physical: u64, mode: Mode) {
        if self.hot.is_on() && hot::counts(mode) {
            let key = key(physical, mode);
            let entry = self.hot.entry(key, self.blocks.rewrites(key));
            self.blocks.scratch.push(entry);
            self.blocks.flag_uses.push(FlagUse::OPAQUE);
        }
    }

    /// How many entries a block that has been begun may have.
    fn longest(&self, mode: Mode) -> usize {
        let instructions = if mode.is_stepping() || mode.is_limited() { 1 } else { MAX_INSNS };
        self.blocks.scratch.len() + instructions
    }
}
