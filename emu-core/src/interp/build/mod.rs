//! Finding the block at RIP, and decoding it when it is not there.

mod decode;
mod instruction;
mod look_up;

use super::{
    blocks::{BlockRef, key},
    liveness::silence,
    specialise,
};
use crate::{
    arch::Exception,
    cpu::{Cpu, Mode},
    memory::CodeMap,
};
use iced_x86::Decoder;
pub use look_up::Found;

/// Longest block, in instructions.
pub(super) const MAX_INSNS: usize = 48;
/// Longest instruction, in bytes.
const MAX_BYTES: usize = 15;
/// Longest block, in bytes.
const WINDOW: usize = MAX_INSNS * MAX_BYTES;

/// Why decoding stopped.
enum End {
    /// At an instruction that must be the last.
    Last,
    /// Before an instruction at this offset in the page.
    Before(usize),
}

impl Cpu {
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
    pub(crate) fn claim(&mut self, physical: u64, len: u64) {
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

    /// Throws away what was decoded from `granules` of `page`, which is about to change.
    #[cold]
    pub fn invalidate_code(&mut self, page: u64, granules: u32) {
        self.mmu.code_changes(page);
        if self.blocks.invalidate(page, granules, &mut self.hot) {
            self.leave_block = true;
        }
    }
}
