//! Finding the block at RIP: RIP is checked and translated, and the block is decoded if it is not there.

use crate::{
    arch::{Exception, Seg},
    cpu::{Cpu, Mode},
    cpu_model::Generation,
    decode::Insn,
    interp::{
        blocks::{BlockRef, key},
        handlers,
        jumps::JumpEntry,
    },
};

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
    pub(super) fn check_limit(&self, len: u64) -> Result<(), Exception> {
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
}
