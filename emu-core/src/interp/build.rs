//! Finding the block at RIP, and decoding it when it is not there.

use super::{
    blocks::{BlockRef, TABLE, key},
    handlers, hot,
    jumps::JumpEntry,
    liveness::{FlagUse, silence},
    specialise, vector,
};
use crate::{
    arch::{Exception, Seg},
    cpu::{Cpu, Mode, slot},
    cpu_model::Generation,
    decode::{
        Insn, Kind,
        early::{self, Early},
        flag, lower,
    },
    memory::CodeMap,
    semantics::{Attr, NO_ROW, Run},
};
use iced_x86::{Code, Decoder, DecoderError, Instruction, Mnemonic};

/// Longest block, in instructions.
pub(super) const MAX_INSNS: usize = 48;
/// Longest instruction, in bytes.
const MAX_BYTES: usize = 15;
/// Longest block, in bytes.
const WINDOW: usize = MAX_INSNS * MAX_BYTES;

/// A block, and the RIP base to run it under.
pub struct Found {
    /// First instruction.
    pub entry: *const Insn,
    /// RIP base.
    pub rip_base: u64,
    /// How long it stays there: see [`Mmu::is_current`](crate::mmu::Mmu::is_current).
    pub stamp: u32,
    /// See [`BlockRef::second_page`].
    pub second_page: Option<u64>,
}

/// Why decoding stopped.
enum End {
    /// At an instruction that must be the last.
    Last,
    /// Before an instruction at this offset in the page.
    Before(usize),
}

impl Cpu {
    /// Finds or decodes the block at `self.rip`, in the mode that the CPU is in. Fails with the exception that
    /// fetching it raises.
    pub fn look_up(&mut self) -> Result<Found, Exception> {
        self.look_up_in(self.mode)
    }

    /// The same for another mode (stepping).
    pub fn look_up_in(&mut self, mode: Mode) -> Result<Found, Exception> {
        let JumpEntry { rip, rip_base, entry, mode: known_in, stamp, .. } =
            *self.blocks.jumps.entry(self.rip);
        let known = rip == self.rip && known_in == mode.bits() && !mode.is_limited();
        if known && self.mmu.is_current(stamp) && handlers::is_usable(entry) {
            return Ok(Found { entry, rip_base, stamp, second_page: None });
        }
        self.look_up_anew(mode)
    }

    fn look_up_anew(&mut self, mode: Mode) -> Result<Found, Exception> {
        let linear = self.fetch_address()?;
        let physical = self.mmu.translate_fetch(linear)?;
        let rip_base = self.rip.wrapping_sub(physical & 0xFFF);
        let variant = self.observe.mode_at(linear, mode);
        let block = match self.blocks.find(key(physical, variant)) {
            Some(block) if self.continues_as_decoded(linear, &block) => block,
            _ => self.build(linear, physical, variant)?,
        };
        // SAFETY: the entry of a block that was just found or made; behind a pause, which has no length, is the
        // instruction that it is for.
        let len = unsafe {
            let first = &*block.entry;
            if first.len == 0 { (*block.entry.add(1)).len } else { first.len }
        };
        self.check_limit(len.into())?;
        let stamp = self.mmu.link_stamp(linear);
        if block.second_page.is_none() {
            self.blocks.jumps.set(JumpEntry {
                door: std::ptr::null(),
                rip: self.rip,
                rip_base,
                entry: block.entry,
                mode: mode.bits(),
                stamp,
            });
        }
        Ok(Found { entry: block.entry, rip_base, stamp, second_page: block.second_page })
    }

    /// Linear address of the next instruction.
    fn fetch_address(&mut self) -> Result<u64, Exception> {
        if self.mode.is_64bit() {
            return if self.is_canonical(self.rip) { Ok(self.rip) } else { Err(Exception::GP0) };
        }
        if self.rip > u64::from(self.seg(Seg::Cs).limit) {
            if self.model.generation() != Generation::I8086 {
                return Err(Exception::GP0);
            }
            // There is no limit: IP has 16 bits.
            self.rip &= 0xFFFF;
        }
        Ok(self.seg(Seg::Cs).base.wrapping_add(self.rip) & 0xFFFF_FFFF)
    }

    /// Whether the `len` bytes at RIP are within the limit of CS.
    fn check_limit(&self, len: u64) -> Result<(), Exception> {
        let inside = self.mode.is_64bit() || self.rip + len <= u64::from(self.seg(Seg::Cs).limit) + 1;
        if inside || self.model.generation() == Generation::I8086 { Ok(()) } else { Err(Exception::GP0) }
    }

    /// Whether a block that is one instruction across two pages still continues in the same page.
    fn continues_as_decoded(&mut self, linear: u64, block: &BlockRef) -> bool {
        match block.second_page {
            None => true,
            Some(page) => {
                let next = (linear & !0xFFF).wrapping_add(0x1000) & self.linear_mask;
                self.mmu.translate_fetch(next).is_ok_and(|physical| physical == page)
            }
        }
    }

    fn build(&mut self, linear: u64, physical: u64, mode: Mode) -> Result<BlockRef, Exception> {
        if self.blocks.is_full() {
            self.blocks.flush();
            self.hot.forget_all();
            self.mmu.flush_all();
        }
        let offset = (physical & 0xFFF) as usize;
        let page = physical & !0xFFF;
        loop {
            let mut code = [0; WINDOW];
            self.read_code(page, offset, &mut code);
            let end = self.decode_page(&code, linear, physical, mode)?;
            let next = match end {
                End::Before(next) => next,
                End::Last => {
                    self.blocks.scratch.last().map_or(offset, |i| usize::from(i.off) + usize::from(i.len))
                }
            };
            if self.blocks.scratch.iter().all(|i| i.len == 0) {
                return self.build_across(linear, physical, &code, mode);
            }
            let len = next.max(offset + 1) - offset;
            self.claim(physical, len as u64);
            // Another CPU may have written between the read and the mark.
            let mut again = [0; WINDOW];
            self.read_code(page, offset, &mut again);
            if code[..len] != again[..len] {
                continue;
            }
            silence(&mut self.blocks.scratch, &self.blocks.flag_uses);
            specialise::fuse(&mut self.blocks.scratch);
            if let End::Before(next) = end {
                self.fall_through(next);
            }
            let granules = CodeMap::granules(physical, len as u64);
            let insns = std::mem::take(&mut self.blocks.scratch);
            let block = self.blocks.insert(key(physical, mode), &insns, &[(page, granules)], None);
            self.blocks.scratch = insns;
            return Ok(block);
        }
    }

    /// Marks code before it is used. A page that held none gives up direct writes.
    fn claim(&mut self, physical: u64, len: u64) {
        if self.memory.code().mark(self.id, physical, len) {
            self.mmu.protect_from_writes(physical & !0xFFF);
        }
    }

    /// The bytes of the page at `page` from `offset` on, as many as a block can have.
    fn read_code(&mut self, page: u64, offset: usize, code: &mut [u8; WINDOW]) {
        let len = (4096 - offset).min(WINDOW);
        if let Some(host) = self.memory.ram().host_ptr(page) {
            // SAFETY: the page is RAM, which stays mapped.
            unsafe { std::ptr::copy_nonoverlapping(host.add(offset), code.as_mut_ptr(), len) };
            return;
        }
        // Code in device memory: only as much as one instruction may need.
        for (at, byte) in code[..len].iter_mut().enumerate().take(MAX_BYTES) {
            *byte = self.io.mmio_read(self.id, page + (offset + at) as u64, 1) as u8;
        }
    }

    /// Decodes from `offset` to the end of the block into `scratch`.
    fn decode_page(
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
    fn decode_early(&mut self, code: &[u8], linear: u64, mode: Mode) -> End {
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

    /// One instruction that begins in one page and ends in the next (or is too long).
    fn build_across(
        &mut self,
        linear: u64,
        physical: u64,
        code: &[u8; WINDOW],
        mode: Mode,
    ) -> Result<BlockRef, Exception> {
        let offset = (physical & 0xFFF) as usize;
        let here = 4096 - offset;
        // Before the page it would go on in is looked for.
        self.check_limit(here as u64 + 1)?;
        let next_linear = (linear & !0xFFF).wrapping_add(0x1000) & self.linear_mask;
        let second = self.mmu.translate_fetch(next_linear)?;
        let mut bytes = [0; 2 * MAX_BYTES];
        let here = here.min(MAX_BYTES);
        bytes[..here].copy_from_slice(&code[..here]);
        self.claim(physical, here as u64);
        self.claim(second, MAX_BYTES as u64);
        let mut more = [0; WINDOW];
        self.read_code(second & !0xFFF, 0, &mut more);
        bytes[here..here + MAX_BYTES].copy_from_slice(&more[..MAX_BYTES]);
        self.begin(linear, mode);
        let end = if self.model.generation().is_16_bit() {
            self.decode_early(&bytes[..here + MAX_BYTES], linear, mode.stepping())
        } else {
            let bytes = &bytes[..here + MAX_BYTES];
            let mut decoder =
                Decoder::with_ip(mode.bitness(), bytes, offset as u64, self.model.decoder_options());
            let instruction = decoder.decode();
            if self.push(&instruction, bytes, offset, mode) {
                End::Last
            } else {
                End::Before(offset + instruction.len())
            }
        };
        if let End::Before(next) = end {
            self.fall_through(next);
        }
        let insns = std::mem::take(&mut self.blocks.scratch);
        let pages = [
            (physical & !0xFFF, CodeMap::granules(physical, here as u64)),
            (second & !0xFFF, CodeMap::granules(second, MAX_BYTES as u64)),
        ];
        // Another process may go on elsewhere from the same page.
        self.blocks.forget_regions(key(physical, mode), &mut self.hot);
        let block = self.blocks.insert(key(physical, mode), &insns, &pages, Some(second));
        self.blocks.scratch = insns;
        Ok(block)
    }

    /// Begins the block at `linear`: with a pause, if its first instruction is observed.
    fn begin(&mut self, linear: u64, mode: Mode) {
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

    /// Lowers one instruction and chooses its handler. Returns whether it is the last of its block.
    fn push(&mut self, instruction: &Instruction, bytes: &[u8], at: usize, mode: Mode) -> bool {
        let template = Insn::blank(handlers::undefined);
        if instruction.is_invalid() {
            let too_long = prefixes(bytes) >= MAX_BYTES;
            self.push_undefined(at, 1, if too_long { Exception::GP0 } else { Exception::UD });
            return true;
        }
        let facts = self.blocks.checks.facts(instruction.code(), &TABLE, &self.model);
        let fault =
            if facts.row == NO_ROW { Some(Exception::UD) } else { crate::decode::fault_of(facts.attr, mode) };
        if let Some(exception) = fault {
            self.push_undefined(at, instruction.len() as u8, exception);
            return true;
        }
        let mut i = lower(instruction, facts.attr, mode, &template);
        i.row = facts.row;
        let special = if facts.general { None } else { specialise::handler(instruction, &i, mode) };
        i.handler = special
            .or_else(|| vector::handler(instruction, &i, mode))
            .unwrap_or_else(|| general_handler(facts.attr, facts.row));
        self.blocks.scratch.push(i);
        let silent = || if facts.general { None } else { specialise::silent_handler(instruction, &i, mode) };
        self.blocks.flag_uses.push(FlagUse::of(instruction, &i, facts.attr, silent));
        facts.attr.intersects(Attr::ENDS_BLOCK | Attr::BRANCH | Attr::INDIRECT)
    }

    /// An instruction of `len` bytes that only raises `exception`: #UD, #NM or #GP(0).
    fn push_undefined(&mut self, at: usize, len: u8, exception: Exception) {
        let imm = match exception {
            Exception::UD => 0,
            Exception::NM => 1,
            _ => 2,
        };
        let i = Insn { off: at as u16, len, imm, ..Insn::blank(handlers::undefined) };
        self.blocks.scratch.push(i);
        self.blocks.flag_uses.push(FlagUse::OPAQUE);
    }

    /// Ends a block that just stops with a jump to the offset `next` in the page.
    fn fall_through(&mut self, next: usize) {
        let mut i = Insn::blank(specialise::FALL_THROUGH);
        i.row = TABLE.find(Code::Zero_bytes).unwrap_or(NO_ROW);
        (i.off, i.len) = (next as u16, 0);
        self.blocks.scratch.push(i);
    }

    /// Throws away what was decoded from `granules` of `page`, which is about to change.
    #[cold]
    pub fn invalidate_code(&mut self, page: u64, granules: u32) {
        if self.blocks.invalidate(page, granules, &mut self.hot) {
            self.leave_block = true;
        }
    }
}

/// Handler of a row that has no specialised one.
fn general_handler(attr: Attr, row: u16) -> crate::decode::Handler {
    if attr.contains(Attr::ENDS_BLOCK) {
        handlers::ends_block
    } else if attr.contains(Attr::INDIRECT) {
        handlers::indirect_exact
    } else if attr.contains(Attr::BRANCH) {
        handlers::branch_exact
    } else if attr.intersects(Attr::X87_WAITS | Attr::MMX) {
        handlers::waiting
    } else {
        debug_assert!(matches!(TABLE.row(row).run, Run::Emit(_) | Run::Microcode(_)));
        handlers::general
    }
}

/// Number of prefix bytes at the start: an instruction longer than 15 bytes raises #GP, not #UD.
fn prefixes(bytes: &[u8]) -> usize {
    let is_prefix = |byte: &&u8| matches!(byte, 0x26 | 0x2E | 0x36 | 0x3E | 0x40..=0x4F | 0x64..=0x67 | 0xF0 | 0xF2 | 0xF3);
    bytes.iter().take_while(is_prefix).count()
}

impl Insn {
    /// An instruction without operands.
    pub fn blank(handler: crate::decode::Handler) -> Self {
        use crate::arch::Width;
        Insn {
            handler,
            imm: 0,
            disp: 0,
            row: NO_ROW,
            off: 0,
            base: slot::ZERO,
            index: slot::ZERO,
            scale: 0,
            seg: 3,
            kind: [Kind::None; 4],
            reg: [0; 4],
            width: [Width::W32; 2],
            asize: Width::W64,
            len: 0,
            flags: 0,
            mem_size: 0,
            imm2: 0,
        }
    }

    /// Whether the decoder saw this mnemonic's row (used by fusing).
    pub fn is_row_of(&self, mnemonic: Mnemonic) -> bool {
        matches!(TABLE.row(self.row).key, crate::semantics::Key::Mnemonic(m) if m == mnemonic)
            && !self.has(flag::LOCK)
    }
}
