//! Memory accesses by linear or segmented address, with every check: what microcode and the exact interpreter
//! use. Crosses pages, reaches devices, keeps code and breakpoints in view.

use super::Access;
use crate::{
    arch::{Exception, Seg, Width, attr, vector},
    cpu::Cpu,
    memory::host,
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
            return Ok(unsafe { host::load(host, w) });
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
            unsafe { host::store(host, w, value) };
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
