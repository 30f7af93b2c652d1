//! The CPU's mode, as far as decoding depends on it. It is part of the key under which blocks are cached.

use super::Cpu;
use crate::arch::{Cr0, Cr4, Efer, Flags, Seg, attr};

/// Bits of the mode that change what a byte sequence means or which handler may run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct Mode(u32);

impl Mode {
    const CODE32: u32 = 1 << 0;
    const CODE64: u32 = 1 << 1;
    const STACK32: u32 = 1 << 2;
    /// x87 instructions raise #NM.
    const NO_X87: u32 = 1 << 3;
    /// SSE instructions raise #UD.
    const SSE_OFF: u32 = 1 << 4;
    /// SSE and MMX instructions raise #NM.
    const TASK_SWITCHED: u32 = 1 << 5;
    /// MMX instructions raise #UD.
    const MMX_OFF: u32 = 1 << 6;
    const PROTECTED: u32 = 1 << 7;
    const VM86: u32 = 1 << 8;
    const USER: u32 = 1 << 9;
    const AVX_OFF: u32 = 1 << 10;
    const LONG: u32 = 1 << 11;
    /// WAIT raises #NM.
    const WAIT_NM: u32 = 1 << 12;
    /// Accesses are checked for alignment.
    const ALIGNMENT: u32 = 1 << 13;
    /// One instruction per block: single-step, interrupt shadow, execution trace.
    pub const STEP: u32 = 1 << 14;
    /// Code can run against the limit of CS.
    const LIMITED: u32 = 1 << 15;
    /// Bit 16 + n: segment n needs no check of limit or rights.
    const FLAT_SHIFT: u32 = 16;
    /// Bit 22 + n: the base of segment n is zero (or counts as such).
    const ZERO_SHIFT: u32 = 22;

    /// An embedder pauses at instructions in the page: see `Observe`.
    const OBSERVED: u32 = 1 << 31;

    /// As a number, for hashing.
    pub const fn bits(self) -> u32 {
        self.0
    }
    /// The same mode, one instruction per block.
    pub const fn stepping(self) -> Self {
        Mode(self.0 | Self::STEP)
    }
    /// One instruction per block?
    pub const fn is_stepping(self) -> bool {
        self.0 & Self::STEP != 0
    }
    /// The same mode, with pauses before observed instructions.
    pub const fn observed(self) -> Self {
        Mode(self.0 | Self::OBSERVED)
    }
    /// Pauses before observed instructions?
    pub const fn is_observed(self) -> bool {
        self.0 & Self::OBSERVED != 0
    }
    /// An instruction pointer of the size of code can lie beyond the limit of CS.
    pub const fn is_limited(self) -> bool {
        self.0 & Self::LIMITED != 0
    }
    /// 16, 32 or 64: the size of code.
    pub const fn bitness(self) -> u32 {
        if self.is_64bit() {
            64
        } else if self.0 & Self::CODE32 != 0 {
            32
        } else {
            16
        }
    }
    /// 64-bit mode (not compatibility mode).
    pub const fn is_64bit(self) -> bool {
        self.0 & Self::CODE64 != 0
    }
    /// Long mode, either sub-mode.
    pub const fn is_long(self) -> bool {
        self.0 & Self::LONG != 0
    }
    /// ESP, not SP (64-bit mode apart).
    pub const fn stack_is_32bit(self) -> bool {
        self.0 & Self::STACK32 != 0
    }
    /// Protected mode, virtual-8086 mode excluded.
    pub const fn is_protected(self) -> bool {
        self.0 & (Self::PROTECTED | Self::VM86) == Self::PROTECTED
    }
    /// Real or virtual-8086 mode.
    pub const fn is_real_or_vm86(self) -> bool {
        !self.is_protected()
    }
    /// Virtual-8086 mode.
    pub const fn is_vm86(self) -> bool {
        self.0 & Self::VM86 != 0
    }
    /// CPL 3.
    pub const fn is_user(self) -> bool {
        self.0 & Self::USER != 0
    }
    /// x87 instructions raise #NM (CR0.EM or CR0.TS).
    pub const fn x87_unavailable(self) -> bool {
        self.0 & Self::NO_X87 != 0
    }
    /// WAIT raises #NM (CR0.MP and CR0.TS).
    pub const fn wait_unavailable(self) -> bool {
        self.0 & Self::WAIT_NM != 0
    }
    /// SSE instructions raise #UD (CR0.EM, or CR4.OSFXSR clear).
    pub const fn sse_undefined(self) -> bool {
        self.0 & Self::SSE_OFF != 0
    }
    /// MMX instructions raise #UD (CR0.EM).
    pub const fn mmx_undefined(self) -> bool {
        self.0 & Self::MMX_OFF != 0
    }
    /// VEX instructions raise #UD (OSXSAVE or XCR0.AVX clear, or not protected mode).
    pub const fn avx_undefined(self) -> bool {
        self.0 & Self::AVX_OFF != 0
    }
    /// SSE and MMX instructions raise #NM (CR0.TS).
    pub const fn task_switched(self) -> bool {
        self.0 & Self::TASK_SWITCHED != 0
    }
    /// Alignment checks are on (CR0.AM, EFLAGS.AC, CPL 3).
    pub const fn checks_alignment(self) -> bool {
        self.0 & Self::ALIGNMENT != 0
    }
    /// Any offset in `seg` passes the limit and rights checks.
    pub const fn is_flat(self, seg: usize) -> bool {
        self.0 >> (Self::FLAT_SHIFT + seg as u32) & 1 != 0
    }
    /// The base of `seg` is zero (or counts as such).
    pub const fn is_zero_based(self, seg: usize) -> bool {
        self.0 >> (Self::ZERO_SHIFT + seg as u32) & 1 != 0
    }
}

impl Cpu {
    /// Recomputes what depends on CR0, CR4, EFER, segments, RFLAGS and CPL. Every change of those calls this, or
    /// [`level_changed`](Self::level_changed).
    pub fn mode_changed(&mut self) {
        self.compute_mode();
        self.mmu.set_context(&self.control, self.eflags, self.cpl == 3);
        self.look_for_user_code();
    }

    /// As [`mode_changed`](Self::mode_changed), where control registers are what they were.
    pub fn level_changed(&mut self) {
        self.compute_mode();
        self.mmu.set_privilege(self.eflags, self.cpl == 3);
        self.look_for_user_code();
    }

    fn compute_mode(&mut self) {
        let (cr0, cr4) = (self.control.cr0, self.control.cr4);
        let cs = self.seg(Seg::Cs);
        let vm86 = self.eflags.contains(Flags::VM);
        let long = self.control.efer.contains(Efer::LMA);
        let code64 = long && cs.attr & attr::L != 0 && !vm86;
        let user = self.cpl == 3;
        let mut bits = 0;
        let mut set = |condition: bool, bit: u32| bits |= if condition { bit } else { 0 };
        set(cs.attr & attr::D != 0 && !code64, Mode::CODE32);
        set(code64, Mode::CODE64);
        let reach = if cs.attr & attr::D != 0 { u32::MAX } else { 0xFFFF };
        set(!code64 && cs.limit < reach, Mode::LIMITED);
        // SS means nothing in 64-bit mode, where it has D after SYSCALL but not after an interrupt: without this there
        // would be two translations of all of a kernel.
        set(!code64 && self.seg(Seg::Ss).attr & attr::D != 0, Mode::STACK32);
        set(cr0.intersects(Cr0::EM | Cr0::TS), Mode::NO_X87);
        set(cr0.contains(Cr0::MP | Cr0::TS), Mode::WAIT_NM);
        set(cr0.contains(Cr0::EM) || !cr4.contains(Cr4::OSFXSR), Mode::SSE_OFF);
        set(cr0.contains(Cr0::EM), Mode::MMX_OFF);
        set(cr0.contains(Cr0::TS), Mode::TASK_SWITCHED);
        set(cr0.contains(Cr0::PE), Mode::PROTECTED);
        set(vm86, Mode::VM86);
        set(user, Mode::USER);
        set(long, Mode::LONG);
        let avx = crate::arch::Xcr0::SSE | crate::arch::Xcr0::AVX;
        set(
            !cr4.contains(Cr4::OSXSAVE) || !self.control.xcr0.contains(avx) || !cr0.contains(Cr0::PE) || vm86,
            Mode::AVX_OFF,
        );
        set(cr0.contains(Cr0::AM) && self.eflags.contains(Flags::AC) && user, Mode::ALIGNMENT);
        set(self.eflags.contains(Flags::TF) || self.has_execution_breakpoints(), Mode::STEP);
        if code64 {
            // FS and GS change their base without a change of mode: never assumed to be zero.
            bits |= 0x3F << Mode::FLAT_SHIFT | 0xF << Mode::ZERO_SHIFT;
        } else {
            for seg in Seg::ALL {
                set(self.seg(seg).is_flat_data(), 1 << (Mode::FLAT_SHIFT + seg as u32));
                set(self.seg(seg).base == 0, 1 << (Mode::ZERO_SHIFT + seg as u32));
            }
        }
        self.mode = Mode(bits);
        self.linear_mask = if code64 { u64::MAX } else { u32::MAX.into() };
        // In 64-bit mode the bases of ES, CS, SS and DS count as zero.
        let slot_of = |seg: Seg| usize::from(super::slot::SEGMENT_BASE) + seg as usize;
        let code_base = if code64 { 0 } else { self.seg(Seg::Cs).base };
        if self.regs[slot_of(Seg::Cs)] != code_base {
            // What is known by instruction pointer is known no more.
            self.mmu.new_generation();
        }
        for seg in [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds] {
            let base = if code64 { 0 } else { self.seg(seg).base };
            self.regs[slot_of(seg)] = base;
        }
    }

    /// Wraps an instruction pointer to the size of code.
    #[inline]
    pub fn wrap_ip(&self, rip: u64) -> u64 {
        match self.mode.bitness() {
            64 => rip,
            // In 16-bit code EIP can be beyond 64 KiB with a large limit: only branches truncate to 16 bits.
            _ => rip & 0xFFFF_FFFF,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu::long_cpu;

    #[test]
    fn the_size_of_the_stack_segment_makes_no_other_mode_of_64_bit_code() {
        let mut cpu = long_cpu("x86-64-v2");
        let [with, without] = [attr::D, 0].map(|size| {
            let ss = &mut cpu.segments.data[Seg::Ss as usize];
            ss.attr = ss.attr & !attr::D | size;
            cpu.mode_changed();
            cpu.mode
        });
        assert_eq!(with, without);
    }
}
