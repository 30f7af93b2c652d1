//! The interpreter, one instruction at a time: a CPU in any mode with a little memory, no machine around it.

use crate::corpus::Mode;
use emu_core::{
    arch::{Cr0, Cr4, Efer, Exception, Flags, Seg, Segment},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::{CpuIo, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
    state::{CpuState, TableRegister, X87},
};
use std::sync::Arc;

/// Size of RAM.
pub const RAM: u64 = 4 << 20;
/// Where paging structures are; not mapped.
const TABLES: u64 = 0x30_0000;
/// Base of the GDT of cases that name its descriptors as memory.
pub const GDT: u64 = 0x8000;

/// A machine without devices: all ports and addresses read as ones.
struct Bare;

impl CpuIo for Bare {
    fn port_read(&self, _: usize, _: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    fn port_write(&self, _: usize, _: u16, _: u8, _: u32) {}
    fn mmio_read(&self, _: usize, _: u64, size: u8) -> u64 {
        u64::MAX >> (64 - 8 * u32::from(size))
    }
    fn mmio_write(&self, _: usize, _: u64, _: u8, _: u64) {}
    fn acknowledge_interrupt(&self, _: usize) -> Option<u8> {
        None
    }
    fn task_priority(&self, _: usize) -> u8 {
        0
    }
    fn set_task_priority(&self, _: usize, _: u8) {}
    fn apic_msr_read(&self, _: usize, _: u32) -> Option<u64> {
        None
    }
    fn apic_msr_write(&self, _: usize, _: u32, _: u64) -> Option<()> {
        None
    }
    fn time_stamp_counter(&self) -> u64 {
        0
    }
    fn set_ferr(&self, _: usize, _: bool) {}
    fn shutdown(&self, _: usize) {}
}

/// A CPU of the model `max`, its memory in reach.
pub struct Interpreter {
    /// The CPU.
    pub cpu: Box<Cpu>,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new()
    }
}

impl Interpreter {
    /// After reset.
    pub fn new() -> Self {
        let ram = GuestMemory::new(RAM).expect("the host has a few megabytes");
        let model = Arc::new(CpuModel::named("max").expect("there is such a model"));
        let memory = Arc::new(PhysicalMemory::new(ram));
        Interpreter { cpu: Cpu::new(0, model, memory, Arc::new(VcpuSignal::default()), Arc::new(Bare)) }
    }

    /// Writes `bytes` at a linear address, which is the physical one; what is not RAM is left out. Code that
    /// is overwritten must be forgotten by [`forget`](Self::forget).
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        // An access beyond RAM is to a page that is not mapped: there is nothing to write.
        let _beyond = self.cpu.memory.ram().write(address, bytes);
    }

    /// `len` bytes at a linear address; nothing beyond RAM.
    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self.cpu.memory.ram().read(address, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Forgets all decoded code and all translations.
    pub fn forget(&mut self) {
        self.cpu.blocks.flush();
        self.cpu.mmu.flush_all();
    }

    /// State at rest in `mode` at privilege level `level`: segments of the mode's size at `base` (0 in 64-bit
    /// mode), the pages that hold the addresses `present` mapped to themselves. Registers are zero.
    pub fn state_in(&mut self, mode: Mode, level: u8, base: u64, present: &[u64]) -> CpuState {
        let mut state = CpuState::reset(0);
        state.general.gpr = [0; 16];
        state.general.rflags = Flags::FIXED;
        state.x87 = X87 { fcw: 0x37F, valid: 0, ..X87::reset() };
        state.simd.mxcsr = 0x1F80;
        let long = matches!(mode, Mode::Long64 | Mode::Compatibility32 | Mode::Compatibility16);
        let control = &mut state.control;
        (control.cr0, control.cr4) = (Cr0::ET | Cr0::NE, Cr4::OSFXSR | Cr4::OSXMMEXCPT);
        (control.dr6, control.dr7) = (0xFFFF_0FF0, 0x400);
        if mode != Mode::Real {
            control.cr0 |= Cr0::PE | Cr0::PG | Cr0::WP;
            control.cr3 = TABLES;
            if long {
                control.cr4 |= Cr4::PAE;
                control.efer = Efer::LME | Efer::LMA | Efer::SCE;
            }
            self.map(long, level == 3, present);
        }
        if mode == Mode::V86 {
            state.general.rflags |= Flags::VM;
        }
        state.segments.gdtr = TableRegister { base: GDT, limit: 0xFFF };
        state.segments.idtr = TableRegister { base: 0, limit: 0 };
        state.segments.data = segments(mode, level, base);
        state
    }

    fn map(&mut self, long: bool, user: bool, present: &[u64]) {
        let rights = if user { 7 } else { 3 };
        self.write(TABLES, &[0; 0x4000]);
        // 4 MiB: two page tables in long mode, one otherwise.
        let table = if long {
            for (at, to) in [(0, 0x1000), (0x1000, 0x2000), (0x2000, 0x3000)] {
                self.write(TABLES + at, &((TABLES + to) | 7).to_le_bytes());
            }
            TABLES + 0x3000
        } else {
            self.write(TABLES, &((TABLES + 0x1000) as u32 | 7).to_le_bytes());
            TABLES + 0x1000
        };
        let size = if long { 8 } else { 4 };
        let reach = if long { 2 << 20 } else { RAM };
        for address in present.iter().filter(|address| **address < reach) {
            let entry = (address & !0xFFF | rights).to_le_bytes();
            self.write(table + (address >> 12) * size, &entry[..size as usize]);
        }
    }

    /// Executes one instruction, all of its repetitions. An exception leaves the state as it was.
    pub fn execute(&mut self) -> Result<(), Exception> {
        loop {
            match self.cpu.execute_one() {
                Err(Exception::Restart) => {}
                result => return result,
            }
        }
    }
}

fn segments(mode: Mode, level: u8, base: u64) -> [Segment; 6] {
    let dpl = u16::from(level) << 5;
    let (code, data, limit) = match mode {
        Mode::Real => (0x93, 0x93, 0xFFFF),
        Mode::V86 => (0xF3, 0xF3, 0xFFFF),
        Mode::Protected16 | Mode::Compatibility16 => (0x9B | dpl, 0x93 | dpl, 0xFFFF),
        Mode::Protected32 | Mode::Compatibility32 => (0xC09B | dpl, 0xC093 | dpl, u32::MAX),
        Mode::Long64 => (0xA09B | dpl, 0xC093 | dpl, u32::MAX),
    };
    let (cs, ds) = match mode {
        Mode::Real | Mode::V86 => (0, 0),
        _ => (0x8 | u16::from(level), 0x10 | u16::from(level)),
    };
    let segment = |selector, attr| Segment { selector, attr, limit, base, unusable: false };
    let mut all = [segment(ds, data); 6];
    all[Seg::Cs as usize] = segment(cs, code);
    all
}
