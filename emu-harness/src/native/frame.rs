//! The signal frame: where the kernel keeps the registers of the interrupted code, and restores them from.
//!
//! General-purpose registers, RIP, RFLAGS, CS and SS are in the machine context. x87, SSE and wider are in an
//! XSAVE area behind it (SDM vol. 1, 13.4), whose header says which components are not in their initial state.
//! The software bytes that make it an extended frame (magic numbers, size, components) are the kernel's, and
//! stay. DS, ES, FS and GS are in no frame: the handler loads and reads them itself.

use super::shared::Registers;
use libc::{REG_CR2, REG_CSGSFS, REG_EFL, REG_ERR, REG_RIP, REG_TRAPNO};
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// TF.
pub const TRAP: u64 = 1 << 8;
/// Frame flags: SS is kept, and is restored as it stands there.
const RESTORE_SS: u64 = 2 | 4;
/// Offset of the XSAVE header.
const HEADER: usize = 512;
/// Components: x87, SSE, AVX.
const LEGACY: u64 = 3;
const AVX: u64 = 1 << 2;
/// AVX-512's: opmasks, upper halves of ZMM0 to 15, ZMM16 to 31.
const WIDE: [u32; 3] = [5, 6, 7];

/// Places of registers in a frame, in the order of their encoding.
const PLACES: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Where the host's XSAVE area has what.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Offset of the upper halves of the YMM registers, if the host has them.
    pub upper: Option<usize>,
    /// Offset and size of the components of AVX-512 that the host has.
    wide: [(usize, usize); 3],
}

impl Layout {
    /// Asks the host.
    pub fn of_host() -> Self {
        let enabled = if __cpuid(1).ecx >> 27 & 1 != 0 { __cpuid_count(0xD, 0).eax } else { 0 };
        let component = |number: u32| {
            let part = __cpuid_count(0xD, number);
            (enabled >> number & 1 != 0).then_some((part.ebx as usize, part.eax as usize))
        };
        Layout {
            upper: component(2).map(|(offset, _)| offset),
            wide: WIDE.map(|number| component(number).unwrap_or((0, 0))),
        }
    }
}

/// Where DS, ES, FS, GS and the bases of the latter two go beside the frame.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selectors {
    /// ES, CS, SS, DS, FS, GS.
    pub all: [u16; 6],
    /// Bases to load over those of the descriptors; those found.
    pub bases: [u64; 2],
}

/// A signal frame.
pub struct Frame<'a> {
    context: &'a mut libc::ucontext_t,
    layout: Layout,
}

impl<'a> Frame<'a> {
    /// The frame that a handler was called with.
    pub fn new(context: &'a mut libc::ucontext_t, layout: Layout) -> Self {
        Frame { context, layout }
    }

    /// General-purpose registers and the rest of the machine context.
    pub fn registers(&mut self) -> &mut [i64; 23] {
        &mut self.context.uc_mcontext.gregs
    }

    fn get(&self, place: libc::c_int) -> u64 {
        self.context.uc_mcontext.gregs[place as usize] as u64
    }

    /// Vector of the exception that raised the signal.
    pub fn vector(&self) -> u32 {
        self.get(REG_TRAPNO) as u32
    }

    /// Its error code.
    pub fn error(&self) -> u64 {
        self.get(REG_ERR)
    }

    /// Address of the last page fault.
    pub fn cr2(&self) -> u64 {
        self.get(REG_CR2)
    }

    /// RIP.
    pub fn rip(&self) -> u64 {
        self.get(REG_RIP)
    }

    /// RSP.
    pub fn rsp(&self) -> u64 {
        self.get(libc::REG_RSP)
    }

    /// RFLAGS.
    pub fn rflags(&self) -> u64 {
        self.get(REG_EFL)
    }

    /// Puts RIP before the breakpoint that it is behind.
    pub fn step_back(&mut self) {
        self.context.uc_mcontext.gregs[REG_RIP as usize] -= 1;
    }

    /// Has the interrupted code go on for one more instruction.
    pub fn set_trap(&mut self) {
        self.context.uc_mcontext.gregs[REG_EFL as usize] |= TRAP as i64;
    }

    /// CS and SS.
    pub fn code_and_stack(&self) -> (u16, u16) {
        let both = self.get(REG_CSGSFS);
        (both as u16, (both >> 48) as u16)
    }

    /// Has the interrupted code go on with `registers`, and its CS and SS.
    pub fn load(&mut self, registers: &Registers, code: u16, stack: u16) {
        let gregs = &mut self.context.uc_mcontext.gregs;
        for (value, place) in registers.gpr.iter().zip(PLACES) {
            gregs[place as usize] = *value as i64;
        }
        gregs[REG_RIP as usize] = registers.rip as i64;
        gregs[REG_EFL as usize] = registers.rflags as i64;
        gregs[REG_CSGSFS as usize] = (u64::from(code) | u64::from(stack) << 48) as i64;
        self.context.uc_flags |= RESTORE_SS;
        let area = self.area();
        // SAFETY: offsets within the FXSAVE image (SDM vol. 1, 10.5.1), the header of XSAVE behind it if the
        // host has one, and the component whose offset it told.
        unsafe {
            area.cast::<u16>().write_unaligned(registers.fcw);
            area.add(2).cast::<u16>().write_unaligned(registers.fsw);
            area.add(4).write(registers.valid as u8);
            area.add(24).cast::<u32>().write_unaligned(registers.mxcsr);
            area.add(32).cast::<[u128; 8]>().write_unaligned(registers.st);
            let low = area.add(160).cast::<u128>();
            for (k, [value, _]) in registers.vector.iter().enumerate() {
                low.add(k).write_unaligned(*value);
            }
            let Some(upper) = self.layout.upper else { return };
            let upper = area.add(upper).cast::<u128>();
            for (k, [_, value]) in registers.vector.iter().enumerate() {
                upper.add(k).write_unaligned(*value);
            }
            area.add(HEADER).cast::<u64>().write_unaligned(LEGACY | AVX);
        }
    }

    /// Takes the registers of the interrupted code; says whether those beyond YMM are all zero, as they were.
    pub fn store(&self, registers: &mut Registers) -> bool {
        registers.gpr = PLACES.map(|place| self.get(place));
        (registers.rip, registers.rflags) = (self.rip(), self.rflags());
        let area = self.area();
        // SAFETY: as in `load`.
        unsafe {
            registers.fcw = area.cast::<u16>().read_unaligned();
            registers.fsw = area.add(2).cast::<u16>().read_unaligned();
            registers.valid = area.add(4).read().into();
            registers.mxcsr = area.add(24).cast::<u32>().read_unaligned();
            registers.st = area.add(32).cast::<[u128; 8]>().read_unaligned();
            let low = area.add(160).cast::<u128>();
            for (k, [value, _]) in registers.vector.iter_mut().enumerate() {
                *value = low.add(k).read_unaligned();
            }
            let Some(upper) = self.layout.upper else { return true };
            let present = area.add(HEADER).cast::<u64>().read_unaligned();
            let upper = area.add(upper).cast::<u128>();
            for (k, [_, value]) in registers.vector.iter_mut().enumerate() {
                *value = if present & AVX != 0 { upper.add(k).read_unaligned() } else { 0 };
            }
            WIDE.iter().zip(self.layout.wide).all(|(number, (offset, size))| {
                present >> number & 1 == 0
                    || std::slice::from_raw_parts(area.add(offset), size).iter().all(|byte| *byte == 0)
            })
        }
    }

    /// The XSAVE area.
    pub fn area(&self) -> *mut u8 {
        self.context.uc_mcontext.fpregs.cast()
    }

    /// Has x87 and SSE restored from the FXSAVE image that stands in the area, and everything else initial.
    pub fn keep_legacy(&mut self) {
        if self.layout.upper.is_some() {
            // SAFETY: the header of XSAVE.
            unsafe { self.area().add(HEADER).cast::<u64>().write_unaligned(LEGACY) };
        }
    }
}

impl Selectors {
    /// Reads the segment registers of this process.
    pub fn read(&mut self) {
        let (es, ds, fs, gs): (u16, u16, u16, u16);
        // SAFETY: reads registers; the host's kernel allows RDFSBASE, which `Native::start` has made sure of.
        unsafe {
            std::arch::asm!(
                "mov {es:x}, es", "mov {ds:x}, ds", "mov {fs:x}, fs", "mov {gs:x}, gs",
                "rdfsbase {fs_base}", "rdgsbase {gs_base}",
                es = out(reg) es, ds = out(reg) ds, fs = out(reg) fs, gs = out(reg) gs,
                fs_base = out(reg) self.bases[0], gs_base = out(reg) self.bases[1],
                options(nomem, nostack, preserves_flags),
            );
        }
        (self.all[0], self.all[3], self.all[4], self.all[5]) = (es, ds, fs, gs);
    }

    /// Loads them; the bases of FS and GS as well if `bases`.
    ///
    /// # Safety
    /// The selectors are null or those of descriptors that are there; nothing may use thread-local storage
    /// until the old ones are back.
    pub unsafe fn load(&self, bases: bool) {
        // SAFETY: up to the caller.
        unsafe {
            std::arch::asm!(
                "mov es, {es:x}", "mov ds, {ds:x}", "mov fs, {fs:x}", "mov gs, {gs:x}",
                es = in(reg) self.all[0], ds = in(reg) self.all[3],
                fs = in(reg) self.all[4], gs = in(reg) self.all[5],
                options(nostack, preserves_flags),
            );
            if bases {
                std::arch::asm!(
                    "wrfsbase {fs_base}", "wrgsbase {gs_base}",
                    fs_base = in(reg) self.bases[0], gs_base = in(reg) self.bases[1],
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}
