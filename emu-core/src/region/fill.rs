//! Filling the TLB from within translated code, which has looked into it and not found what it needs.
//!
//! Only an access to RAM that is going to be done anyway may be asked for: its page walk sets accessed and dirty bits,
//! as it would in the interpreter. Nothing else of the CPU changes, and no fault is raised: whatever cannot be done
//! directly, translated code leaves to the interpreter, at the instruction.

use crate::{
    cpu::Cpu,
    mmu::{Access, Privilege},
};

/// What translated code is about to access, and which addresses around it it wants to access directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes accessed, from 1 to 32.
    pub size: u8,
    /// The access is a write, or a read and a write.
    pub write: bool,
    /// Where the range begins, in bytes before the access.
    pub before: u16,
    /// Bytes of the range, which has the access in it.
    pub length: u16,
    /// The range is to be written.
    pub write_range: bool,
}

impl Wanted {
    /// An access of `size` bytes alone.
    pub const fn one(size: u8, write: bool) -> Self {
        Wanted { size, write, before: 0, length: size as u16, write_range: write }
    }
    /// As one word.
    pub const fn pack(self) -> u64 {
        let Wanted { size, write, before, length, write_range } = self;
        size as u64
            | (write as u64) << 8
            | (write_range as u64) << 9
            | (before as u64) << 16
            | (length as u64) << 32
    }
    /// From that word.
    pub const fn unpack(word: u64) -> Self {
        Wanted {
            size: word as u8,
            write: word >> 8 & 1 != 0,
            write_range: word >> 9 & 1 != 0,
            before: (word >> 16) as u16,
            length: (word >> 32) as u16,
        }
    }
}

/// The access cannot be done directly: a fault, a device, two pages, code in the page, somebody who watches.
pub const NO: u64 = 0;
/// The TLB now allows the whole range.
pub const ALL: u64 = 1;
/// The access can be done directly, though not the whole range.
pub const PART: u64 = 2;

/// Fills the TLB for the access at `linear` that `wanted` tells (see [`Wanted::pack`]). The answer, [`NO`], [`ALL`] or
/// [`PART`], is also stored to the CPU, at [`FILLED`](super::layout::FILLED).
///
/// It changes the table that the CPU uses now, in one entry at most, and not its place; what was in that entry remains
/// a valid translation. Registers and flags need not be stored to the CPU.
///
/// # Safety
/// `cpu` is what the region's host code was given, and nothing else refers to it.
pub unsafe extern "C" fn fill(cpu: *mut Cpu, linear: u64, wanted: u64) -> u64 {
    // SAFETY: the caller's promise; host code holds no reference to the CPU.
    let cpu = unsafe { &mut *cpu };
    cpu.filled = cpu.fill_tlb(linear, Wanted::unpack(wanted));
    cpu.filled
}

/// [`fill`] for callers that keep values in every register: it preserves all that it can use, flags apart, and has no
/// result but the one at [`FILLED`](super::layout::FILLED).
///
/// # Safety
/// As [`fill`]. The stack is aligned as for any function.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub unsafe extern "C" fn fill_preserving(cpu: *mut Cpu, linear: u64, wanted: u64) {
    // Nine registers and the space for the others keep the alignment. Regions use no more than the low halves of
    // vector registers, and compiled Rust leaves the others alone.
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "sub rsp, 264",
        "movaps [rsp], xmm0",
        "movaps [rsp + 16], xmm1",
        "movaps [rsp + 32], xmm2",
        "movaps [rsp + 48], xmm3",
        "movaps [rsp + 64], xmm4",
        "movaps [rsp + 80], xmm5",
        "movaps [rsp + 96], xmm6",
        "movaps [rsp + 112], xmm7",
        "movaps [rsp + 128], xmm8",
        "movaps [rsp + 144], xmm9",
        "movaps [rsp + 160], xmm10",
        "movaps [rsp + 176], xmm11",
        "movaps [rsp + 192], xmm12",
        "movaps [rsp + 208], xmm13",
        "movaps [rsp + 224], xmm14",
        "movaps [rsp + 240], xmm15",
        "call {fill}",
        "movaps xmm0, [rsp]",
        "movaps xmm1, [rsp + 16]",
        "movaps xmm2, [rsp + 32]",
        "movaps xmm3, [rsp + 48]",
        "movaps xmm4, [rsp + 64]",
        "movaps xmm5, [rsp + 80]",
        "movaps xmm6, [rsp + 96]",
        "movaps xmm7, [rsp + 112]",
        "movaps xmm8, [rsp + 128]",
        "movaps xmm9, [rsp + 144]",
        "movaps xmm10, [rsp + 160]",
        "movaps xmm11, [rsp + 176]",
        "movaps xmm12, [rsp + 192]",
        "movaps xmm13, [rsp + 208]",
        "movaps xmm14, [rsp + 224]",
        "movaps xmm15, [rsp + 240]",
        "add rsp, 264",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "pop rbp",
        "ret",
        fill = sym fill,
    )
}

/// An access that [`fill_requested`] is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    /// Linear address.
    pub linear: u64,
    /// See [`Wanted::pack`].
    pub wanted: u64,
}

/// [`fill_preserving`] of what has been stored to the CPU, at [`FILL_LINEAR`](super::layout::FILL_LINEAR) and
/// [`FILL_WANTED`](super::layout::FILL_WANTED): for callers whose registers should not be chosen by the arguments of a
/// rare call.
///
/// # Safety
/// As [`fill_preserving`].
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub unsafe extern "C" fn fill_requested(cpu: *mut Cpu) {
    std::arch::naked_asm!(
        "push rsi",
        "push rdx",
        "sub rsp, 8",
        "mov rsi, [rdi + {linear}]",
        "mov rdx, [rdi + {wanted}]",
        "call {fill}",
        "add rsp, 8",
        "pop rdx",
        "pop rsi",
        "ret",
        linear = const super::layout::FILL_LINEAR,
        wanted = const super::layout::FILL_WANTED,
        fill = sym fill_preserving,
    )
}

impl Cpu {
    fn fill_tlb(&mut self, linear: u64, wanted: Wanted) -> u64 {
        let first = linear.wrapping_sub(wanted.before.into());
        if self.mmu.is_direct(first, wanted.length.into(), wanted.write_range) {
            return ALL;
        }
        if !self.mmu.is_direct(linear, wanted.size.into(), wanted.write)
            && !self.make_direct(linear, wanted.size.into(), wanted.write)
        {
            return NO;
        }
        if self.mmu.is_direct(first, wanted.length.into(), wanted.write_range) { ALL } else { PART }
    }

    /// Does the page walk of an access of `size` bytes at `linear`. Returns whether it can now be done directly.
    fn make_direct(&mut self, linear: u64, size: u64, write: bool) -> bool {
        let crosses = (linear & 0xFFF) + size > 0x1000;
        // What is not canonical must not be translated at all.
        if crosses || self.mode.is_64bit() && !self.is_canonical(linear) {
            return false;
        }
        let access = if write { Access::Write } else { Access::Read };
        // The interpreter will be denied it again, and then tell.
        let denied = self.mmu.denied;
        let translated = self.physical(linear, access, Privilege::Current).is_ok();
        self.mmu.denied = denied;
        translated && self.mmu.is_direct(linear, size, write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu::long_cpu;

    /// Address of the page-directory entry for the second 2 MiB of [`long_cpu`].
    const ENTRY: u64 = 0x8_2008;
    const MAPPED: u64 = 0x83;
    const ACCESSED: u64 = 0x20;
    const DIRTY: u64 = 0x40;

    fn fill_now(cpu: &mut Cpu, linear: u64, wanted: Wanted) -> u64 {
        // SAFETY: the CPU is borrowed for the call.
        let answer = unsafe { fill(cpu, linear, wanted.pack()) };
        assert_eq!((answer, cpu.raised, cpu.control.cr2), (cpu.filled, None, 0));
        answer
    }

    #[test]
    fn the_walk_is_that_of_the_access_and_no_more() {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.write_physical(ENTRY, 8, MAPPED);
        let write_behind = Wanted { size: 8, write: false, before: 0, length: 16, write_range: true };
        assert_eq!(fill_now(&mut cpu, 2 << 20, write_behind), PART, "the page is not dirty");
        assert_eq!(cpu.read_physical(ENTRY, 8), MAPPED | ACCESSED);
        assert_eq!(fill_now(&mut cpu, 2 << 20, Wanted::one(8, true)), ALL);
        assert_eq!(cpu.read_physical(ENTRY, 8), MAPPED | ACCESSED | DIRTY);
        assert_eq!(fill_now(&mut cpu, 2 << 20, write_behind), ALL);
    }

    #[test]
    fn what_faults_or_is_in_two_pages_is_left_alone() {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.write_physical(ENTRY, 8, 0);
        let one = Wanted::one(8, false);
        assert_eq!(fill_now(&mut cpu, 2 << 20, one), NO, "not present");
        assert_eq!(fill_now(&mut cpu, 0x1FFC, one), NO, "two pages");
        assert_eq!(fill_now(&mut cpu, 1 << 62, one), NO, "not canonical");
        let range = Wanted { before: 8, length: 32, ..one };
        assert_eq!(fill_now(&mut cpu, 0x1FF0, range), PART);
        assert_eq!(fill_now(&mut cpu, 0x1FE8, range), ALL);
    }

    #[test]
    fn what_is_wanted_survives_packing() {
        let wanted = Wanted { size: 32, write: false, before: 4000, length: 4096, write_range: true };
        assert_eq!(Wanted::unpack(wanted.pack()), wanted);
        assert_eq!(Wanted::unpack(Wanted::one(8, true).pack()), Wanted::one(8, true));
    }
}
