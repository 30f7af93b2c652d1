//! Registers and flags: the CPU's.

use super::{Interp, Path};
use crate::{
    arch::{Flags, Width},
    cpu::{LazyFlags, slot},
    lane::{self, Lane},
    memory::host::{load_plain, store_plain},
    semantics::Registers,
};

impl<P: Path> Registers for Interp<P> {
    #[inline(always)]
    fn gpr(&mut self, w: Width, at: u8) -> u64 {
        debug_assert!(usize::from(at) + w.bytes() as usize <= slot::COUNT * 8);
        // SAFETY: the decoder only writes byte offsets of registers, which lie in `regs`.
        unsafe { load_plain(self.cpu.regs.as_ptr().cast::<u8>().add(usize::from(at)), w) }
    }
    #[inline(always)]
    fn set_gpr(&mut self, w: Width, at: u8, value: u64) {
        debug_assert!(usize::from(at) + w.bytes() as usize <= slot::COUNT * 8);
        // SAFETY: as above. A 32-bit write stores 64 bits at an offset that is a multiple of 8.
        unsafe {
            let register = self.cpu.regs.as_mut_ptr().cast::<u8>().add(usize::from(at));
            match w {
                Width::W32 => store_plain(register, Width::W64, value & w.mask()),
                _ => store_plain(register, w, value),
            }
        }
    }
    #[inline(always)]
    fn rip_base(&mut self) -> u64 {
        self.cpu.regs[usize::from(slot::RIP_BASE)]
    }
    #[inline(always)]
    fn flags_result(&mut self) -> u64 {
        self.cpu.flags.result
    }
    #[inline(always)]
    fn flags_aux(&mut self) -> u64 {
        self.cpu.flags.aux
    }
    #[inline(always)]
    fn set_flags(&mut self, result: u64, aux: u64) {
        if P::FLAGS {
            self.cpu.flags = LazyFlags { result, aux };
        }
    }
    fn system_flags(&mut self) -> u64 {
        self.cpu.eflags.bits().into()
    }
    #[inline(always)]
    fn set_direction(&mut self, down: bool) {
        self.cpu.eflags.set(Flags::DF, down);
    }
    #[inline(always)]
    fn vector(&mut self, register: u8, lane: usize) -> Lane {
        lane::lane(self.cpu.simd.vector[usize::from(register & 15)][lane & 1])
    }
    #[inline(always)]
    fn set_vector(&mut self, register: u8, lane: usize, value: Lane) {
        self.cpu.simd.vector[usize::from(register & 15)][lane & 1] = lane::bits(value);
    }
    fn mmx(&mut self, register: u8) -> u64 {
        self.cpu.x87.r[usize::from(register & 7)].significand
    }
    fn set_mmx(&mut self, register: u8, value: u64) {
        let r = &mut self.cpu.x87.r[usize::from(register & 7)];
        (r.significand, r.sign_exponent) = (value, 0xFFFF);
    }
    fn enter_mmx(&mut self) {
        self.cpu.x87.enter_mmx();
    }
}
