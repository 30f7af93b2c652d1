//! Memory accesses by linear or segmented address, with every check: what microcode and the exact interpreter
//! use. Crosses pages, reaches devices, keeps code and breakpoints in view.

use super::Access;
use crate::{
    arch::{Exception, Seg, Width, attr, vector},
    cpu::Cpu,
};

/// On whose behalf memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// The current privilege level.
    Current,
    /// Supervisor, whatever the CPL: descriptor tables, TSS, stacks of inner levels.
    System,
}

impl Cpu {
    fn user(&self, privilege: Privilege) -> bool {
        privilege == Privilege::Current && self.cpl == 3
    }

    /// Offset `offset` of `seg` as a linear address, after the checks for an access of `len` bytes: limit,
    /// type and rights; canonical form in 64-bit mode. SDM vol. 3, 5.3 and 3.3.7.1.
    #[inline]
    pub fn linear(&self, seg: Seg, offset: u64, len: u64, write: bool) -> Result<u64, Exception> {
        if self.mode.is_64bit() {
            let linear =
                self.regs[usize::from(crate::cpu::slot::SEGMENT_BASE) + seg as usize].wrapping_add(offset);
            // A part that is not canonical: the first byte, or the last after a wrap of the canonical half.
            if !self.is_canonical(linear) || !self.is_canonical(linear.wrapping_add(len.wrapping_sub(1))) {
                return Err(if seg == Seg::Ss { Exception::SS0 } else { Exception::GP0 });
            }
            return Ok(linear);
        }
        let linear = self.seg(seg).base.wrapping_add(offset) & 0xFFFF_FFFF;
        if self.mode.is_flat(seg as usize) && (offset & 0xFFFF_FFFF) + len <= 1 << 32 {
            return Ok(linear);
        }
        self.check_segment(seg, offset & 0xFFFF_FFFF, len, write)?;
        Ok(linear)
    }

    /// #GP(0) unless an address is a multiple of `align`, wherever it leads. Zen 4 looks at this before limits and
    /// canonical form.
    pub fn check_aligned(&self, seg: Seg, offset: u64, align: u64) -> Result<(), Exception> {
        let base = self.regs[usize::from(crate::cpu::slot::SEGMENT_BASE) + seg as usize];
        if base.wrapping_add(offset) & (align - 1) == 0 { Ok(()) } else { Err(Exception::GP0) }
    }

    fn check_segment(&self, seg: Seg, offset: u64, len: u64, write: bool) -> Result<(), Exception> {
        let segment = self.seg(seg);
        let fault = Exception::Code(if seg == Seg::Ss { vector::SS } else { vector::GP }, 0);
        if segment.unusable {
            return Err(fault);
        }
        let last = offset + len.wrapping_sub(1);
        let limit = u64::from(segment.limit);
        let code = segment.attr & attr::CODE != 0;
        let expand_down = !code && segment.attr & attr::EXPAND_DOWN != 0;
        if expand_down {
            let top = if segment.attr & attr::D != 0 { 0xFFFF_FFFF } else { 0xFFFF };
            if offset <= limit || last > top {
                return Err(fault);
            }
        } else if last > limit {
            return Err(fault);
        }
        if self.mode.is_protected() {
            let denied = if write {
                code || segment.attr & attr::WRITABLE == 0
            } else {
                code && segment.attr & attr::READABLE == 0
            };
            if denied {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Whether `linear` is canonical for the current paging mode.
    #[inline]
    pub fn is_canonical(&self, linear: u64) -> bool {
        let unused = if self.control.cr4.contains(crate::arch::Cr4::LA57) { 7 } else { 16 };
        ((linear << unused) as i64 >> unused) as u64 == linear
    }

    /// #AC(0) if alignment is checked and `linear` is not aligned to `len` bytes.
    #[inline]
    fn check_alignment(&self, linear: u64, len: u64, privilege: Privilege) -> Result<(), Exception> {
        if self.mode.checks_alignment() && privilege == Privilege::Current && linear & (len - 1) != 0 {
            return Err(Exception::AC0);
        }
        Ok(())
    }

    /// Guest-physical address for an access at `linear` (its page only).
    pub(crate) fn physical(
        &mut self,
        linear: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<u64, Exception> {
        let user = self.user(privilege);
        let walks = self.trace.is_some() && self.mmu.would_walk(linear, access, user);
        let physical = self.mmu.translate(linear, access, user)?;
        if walks {
            let id = self.id;
            if let Some(trace) = &mut self.trace {
                trace.translated(id, linear, physical);
            }
        }
        Ok(physical)
    }

    /// Loads `w` at linear address `linear`.
    pub fn read_linear(&mut self, linear: u64, w: Width, privilege: Privilege) -> Result<u64, Exception> {
        let len = w.bytes();
        self.check_alignment(linear, len, privilege)?;
        if let Some(host) = self.mmu.direct(linear, len, false, self.user(privilege)) {
            // SAFETY: the TLB allows this access directly.
            return Ok(unsafe { load(host, len) });
        }
        if (linear & 0xFFF) + len > 0x1000 {
            return self.read_across(linear, len, privilege);
        }
        let physical = self.physical(linear, Access::Read, privilege)?;
        self.watch_access(linear, len, false);
        let value = self.read_physical(physical, len);
        self.observe_access(linear, &value.to_le_bytes()[..len as usize], Access::Read);
        Ok(value)
    }

    /// Stores the low `w` bits of `value` at `linear`.
    pub fn write_linear(
        &mut self,
        linear: u64,
        w: Width,
        value: u64,
        privilege: Privilege,
    ) -> Result<(), Exception> {
        let len = w.bytes();
        self.check_alignment(linear, len, privilege)?;
        if let Some(host) = self.mmu.direct(linear, len, true, self.user(privilege)) {
            // SAFETY: the TLB allows this access directly.
            unsafe { store(host, len, value) };
            return Ok(());
        }
        if (linear & 0xFFF) + len > 0x1000 {
            return self.write_across(linear, &value.to_le_bytes()[..len as usize], privilege);
        }
        let physical = self.physical(linear, Access::Write, privilege)?;
        self.watch_access(linear, len, true);
        self.observe_access(linear, &value.to_le_bytes()[..len as usize], Access::Write);
        self.write_physical(physical, len, value);
        Ok(())
    }

    fn read_across(&mut self, linear: u64, len: u64, privilege: Privilege) -> Result<u64, Exception> {
        let mut bytes = [0; 8];
        self.read_bytes(linear, &mut bytes[..len as usize], privilege)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write_across(&mut self, linear: u64, bytes: &[u8], privilege: Privilege) -> Result<(), Exception> {
        self.write_bytes(linear, bytes, privilege)
    }

    /// Loads `buffer.len()` bytes (at most two pages) at `linear`, in ascending order. All of it is checked
    /// before any of it is read.
    pub fn read_bytes(
        &mut self,
        linear: u64,
        buffer: &mut [u8],
        privilege: Privilege,
    ) -> Result<(), Exception> {
        let split = (0x1000 - (linear & 0xFFF) as usize).min(buffer.len());
        let second = self.wrap_linear(linear.wrapping_add(split as u64), privilege);
        let first_at = self.physical(linear, Access::Read, privilege)?;
        let second_at =
            if split < buffer.len() { self.physical(second, Access::Read, privilege)? } else { 0 };
        self.watch_access(linear, buffer.len() as u64, false);
        let (first, rest) = buffer.split_at_mut(split);
        self.read_physical_bytes(first_at, first);
        self.read_physical_bytes(second_at, rest);
        self.observe_access(linear, buffer, Access::Read);
        Ok(())
    }

    /// Stores `bytes` (at most two pages) at `linear`. All of it is checked before any of it is written.
    pub fn write_bytes(&mut self, linear: u64, bytes: &[u8], privilege: Privilege) -> Result<(), Exception> {
        let split = (0x1000 - (linear & 0xFFF) as usize).min(bytes.len());
        let second = self.wrap_linear(linear.wrapping_add(split as u64), privilege);
        let first_at = self.physical(linear, Access::Write, privilege)?;
        let second_at =
            if split < bytes.len() { self.physical(second, Access::Write, privilege)? } else { 0 };
        self.watch_access(linear, bytes.len() as u64, true);
        self.observe_access(linear, bytes, Access::Write);
        let (first, rest) = bytes.split_at(split);
        self.write_physical_bytes(first_at, first);
        self.write_physical_bytes(second_at, rest);
        Ok(())
    }

    /// Checks that `len` bytes at `linear` could be written, without writing: for instructions that write in
    /// several parts.
    pub fn probe_write(&mut self, linear: u64, len: u64, privilege: Privilege) -> Result<(), Exception> {
        self.physical(linear, Access::Write, privilege)?;
        if (linear & 0xFFF) + len > 0x1000 {
            // CR2 tells the first byte that is not there.
            let second = self.wrap_linear((linear & !0xFFF).wrapping_add(0x1000), privilege);
            self.physical(second, Access::Write, privilege)?;
        }
        Ok(())
    }

    /// Where an access that runs past the last linear address goes on. System structures of long mode have
    /// 64-bit addresses in compatibility mode too.
    fn wrap_linear(&self, linear: u64, privilege: Privilege) -> u64 {
        if privilege == Privilege::System && self.mode.is_long() { linear } else { linear & self.linear_mask }
    }

    /// Loads `w` from `seg:offset`.
    pub fn read_seg(&mut self, seg: Seg, offset: u64, w: Width) -> Result<u64, Exception> {
        match self.linear(seg, offset, w.bytes(), false) {
            Ok(linear) => self.read_linear(linear, w, Privilege::Current),
            Err(fault) => self.read_around(seg, offset, w, fault),
        }
    }

    /// Stores to `seg:offset`.
    pub fn write_seg(&mut self, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), Exception> {
        match self.linear(seg, offset, w.bytes(), true) {
            Ok(linear) => self.write_linear(linear, w, value, Privilege::Current),
            Err(fault) => self.write_around(seg, offset, w, value, fault),
        }
    }

    /// Loads `buffer.len()` bytes from `seg:offset`.
    pub fn read_seg_bytes(&mut self, seg: Seg, offset: u64, buffer: &mut [u8]) -> Result<(), Exception> {
        let linear = self.linear(seg, offset, buffer.len() as u64, false)?;
        self.read_bytes(linear, buffer, Privilege::Current)
    }

    /// Stores `bytes` to `seg:offset`.
    pub fn write_seg_bytes(&mut self, seg: Seg, offset: u64, bytes: &[u8]) -> Result<(), Exception> {
        let linear = self.linear(seg, offset, bytes.len() as u64, true)?;
        self.write_bytes(linear, bytes, Privilege::Current)
    }

    /// Offset of the memory operand of `i` within its segment, truncated to its address size.
    #[inline]
    pub fn effective_address(&self, i: &crate::decode::Insn) -> u64 {
        if i.has(crate::decode::flag::MOFFS) {
            return i.imm & i.asize.mask();
        }
        let base = self.regs[usize::from(i.base) % crate::cpu::slot::COUNT];
        let index = self.regs[usize::from(i.index) % crate::cpu::slot::COUNT];
        base.wrapping_add(index << (i.scale & 3)).wrapping_add(i.disp) & i.asize.mask()
    }

    /// Loads `w` from the memory operand of `i`, `delta` bytes further.
    pub fn read_operand(&mut self, i: &crate::decode::Insn, w: Width, delta: u64) -> Result<u64, Exception> {
        let offset = self.effective_address(i).wrapping_add(delta) & i.asize.mask();
        self.read_seg(i.segment(), offset, w)
    }

    /// Stores to the memory operand of `i`, `delta` bytes further.
    pub fn write_operand(
        &mut self,
        i: &crate::decode::Insn,
        w: Width,
        delta: u64,
        value: u64,
    ) -> Result<(), Exception> {
        let offset = self.effective_address(i).wrapping_add(delta) & i.asize.mask();
        self.write_seg(i.segment(), offset, w, value)
    }

    /// Loads the memory operand of `i` as bytes.
    pub fn read_operand_bytes(
        &mut self,
        i: &crate::decode::Insn,
        buffer: &mut [u8],
    ) -> Result<(), Exception> {
        let offset = self.effective_address(i);
        self.read_seg_bytes(i.segment(), offset, buffer)
    }

    /// Stores the memory operand of `i` as bytes.
    pub fn write_operand_bytes(&mut self, i: &crate::decode::Insn, bytes: &[u8]) -> Result<(), Exception> {
        let offset = self.effective_address(i);
        self.write_seg_bytes(i.segment(), offset, bytes)
    }

    /// Translates for a read-modify-write of `w` at `linear` that does not cross a page and lies in RAM: its
    /// host address. `None` if it crosses, is not RAM, or an embedder wants to see what is read and written. Code
    /// there is invalidated: the caller will write.
    pub fn writable_host(&mut self, linear: u64, w: Width) -> Result<Option<*mut u8>, Exception> {
        let len = w.bytes();
        self.check_alignment(linear, len, Privilege::Current)?;
        if (linear & 0xFFF) + len > 0x1000 {
            return Ok(None);
        }
        let physical = self.physical(linear, Access::Write, Privilege::Current)?;
        if self.mmu.observes(linear, len) {
            return Ok(None);
        }
        self.watch_access(linear, len, true);
        let host = self.memory.ram().host_ptr(physical);
        if host.is_some() {
            self.before_write(physical, len);
        }
        Ok(host)
    }

    /// Loads `len` (1, 2, 4, 8) bytes at a guest-physical address, within one page.
    #[inline]
    pub fn read_physical(&mut self, physical: u64, len: u64) -> u64 {
        match self.memory.ram().host_ptr(physical) {
            // SAFETY: the access lies within one page, which RAM keeps mapped. Other vCPUs may write it at the
            // same time: that is the guest's race, and each of these is a single load on the host.
            Some(host) => unsafe { load(host, len) },
            None => self.io.mmio_read(self.id, physical, len as u8),
        }
    }

    /// Stores the low `len` (1, 2, 4, 8) bytes of `value` at a guest-physical address, within one page.
    #[inline]
    pub fn write_physical(&mut self, physical: u64, len: u64, value: u64) {
        match self.memory.ram().host_ptr(physical) {
            Some(host) => {
                self.before_write(physical, len);
                // SAFETY: as in `read_physical`.
                unsafe { store(host, len, value) }
            }
            None => self.io.mmio_write(self.id, physical, len as u8, value),
        }
    }

    fn read_physical_bytes(&mut self, physical: u64, buffer: &mut [u8]) {
        if let Some(host) = self.memory.ram().host_ptr(physical) {
            // SAFETY: the bytes lie within one page, which RAM keeps mapped.
            unsafe { std::ptr::copy_nonoverlapping(host, buffer.as_mut_ptr(), buffer.len()) };
            return;
        }
        let mut at = 0;
        while at < buffer.len() {
            let len = device_chunk(physical + at as u64, buffer.len() - at);
            let value = self.io.mmio_read(self.id, physical + at as u64, len as u8);
            buffer[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
            at += len;
        }
    }

    fn write_physical_bytes(&mut self, physical: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(host) = self.memory.ram().host_ptr(physical) {
            self.before_write(physical, bytes.len() as u64);
            // SAFETY: the bytes lie within one page, which RAM keeps mapped.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
            return;
        }
        let mut at = 0;
        while at < bytes.len() {
            let len = device_chunk(physical + at as u64, bytes.len() - at);
            let mut value = [0; 8];
            value[..len].copy_from_slice(&bytes[at..at + len]);
            self.io.mmio_write(self.id, physical + at as u64, len as u8, u64::from_le_bytes(value));
            at += len;
        }
    }

    /// A store to RAM is about to happen: if it touches code, blocks decoded from there are thrown away.
    #[inline]
    pub fn before_write(&mut self, physical: u64, len: u64) {
        let memory = &self.memory;
        if memory.code().has_code(physical) {
            let hit = memory.code().written(self.id, physical, len);
            if hit != 0 {
                self.invalidate_code(physical & !0xFFF, hit);
            }
        }
    }

    /// Notes a data access for the debug registers' breakpoints.
    #[inline]
    fn watch_access(&mut self, linear: u64, len: u64, write: bool) {
        if !self.mmu.watch.is_empty() {
            self.watch_hit(linear, len, write);
        }
    }

    /// Notes a data access for an embedder that wants to see it.
    #[inline]
    fn observe_access(&mut self, linear: u64, bytes: &[u8], access: Access) {
        if !self.mmu.observed.is_empty() && self.mmu.observes(linear, bytes.len() as u64) {
            self.note_access(linear, bytes, access);
        }
    }

    #[cold]
    fn watch_hit(&mut self, linear: u64, len: u64, write: bool) {
        let last = linear + (len - 1);
        for &(from, to, bit, on_reads) in &self.mmu.watch {
            if linear <= to && from <= last && (write || on_reads) {
                self.events.pending_debug |= bit;
                self.leave_block = true;
            }
        }
    }
}

/// Loads `len` (1, 2, 4, 8) bytes, little end first.
///
/// # Safety
/// They are guest RAM.
#[inline]
unsafe fn load(host: *const u8, len: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match len {
            1 => host.read().into(),
            2 => host.cast::<u16>().read_unaligned().into(),
            4 => host.cast::<u32>().read_unaligned().into(),
            _ => host.cast::<u64>().read_unaligned(),
        }
    }
}

/// Stores the low `len` (1, 2, 4, 8) bytes of `value`.
///
/// # Safety
/// As [`load`].
#[inline]
unsafe fn store(host: *mut u8, len: u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match len {
            1 => host.write(value as u8),
            2 => host.cast::<u16>().write_unaligned(value as u16),
            4 => host.cast::<u32>().write_unaligned(value as u32),
            _ => host.cast::<u64>().write_unaligned(value),
        }
    }
}

/// Largest aligned power-of-two access, at most 8 bytes, at `address` within `left` bytes.
fn device_chunk(address: u64, left: usize) -> usize {
    let mut len = 8;
    while len > left || !address.is_multiple_of(len as u64) {
        len /= 2;
    }
    len
}

// The granule of code tracking must divide a page.
const _: () = assert!(4096 % crate::memory::GRANULE == 0);
