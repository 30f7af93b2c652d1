//! A CPU with a little memory and a machine of three registers, for the unit tests of microcode.

use crate::{
    arch::{Cr0, Cr4, Efer, Exception, Seg, Segment, Width, attr},
    cpu::{Cpu, slot},
    decode::{Insn, Kind, flag},
    engine::{FewDevices, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A machine without devices; the TSC stands at 1000.
#[derive(Default)]
struct Machine {
    task_priority: AtomicU64,
    apic_base: AtomicU64,
    deadline: AtomicU64,
}

impl FewDevices for Machine {
    fn task_priority(&self) -> u8 {
        self.task_priority.load(Ordering::Relaxed) as u8
    }
    fn set_task_priority(&self, priority: u8) {
        self.task_priority.store(priority.into(), Ordering::Relaxed);
    }
    fn apic_msr_read(&self, _: usize, msr: u32) -> Option<u64> {
        match msr {
            crate::arch::msr::IA32_APIC_BASE => Some(self.apic_base.load(Ordering::Relaxed)),
            crate::arch::msr::IA32_TSC_DEADLINE => Some(self.deadline.load(Ordering::Relaxed)),
            _ => None,
        }
    }
    fn apic_msr_write(&self, msr: u32, value: u64) -> Option<()> {
        match msr {
            crate::arch::msr::IA32_APIC_BASE => self.apic_base.store(value, Ordering::Relaxed),
            crate::arch::msr::IA32_TSC_DEADLINE => self.deadline.store(value, Ordering::Relaxed),
            _ => return None,
        }
        Some(())
    }
    fn time_stamp_counter(&self) -> u64 {
        1000
    }
}

/// A CPU after reset with 1 MiB of RAM and zero in all general-purpose registers.
pub fn reset_cpu(model: &str) -> Box<Cpu> {
    let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(1 << 20).unwrap()));
    let model = Arc::new(model.parse().unwrap());
    let mut cpu = Cpu::new(0, model, memory, Arc::new(VcpuSignal::default()), Arc::new(Machine::default()));
    cpu.regs[slot::RDX] = 0;
    cpu
}

/// A CPU in 64-bit mode at CPL 0, with the first 2 MiB identity-mapped for everyone at levels from 0x8_0000.
pub fn long_cpu(model: &str) -> Box<Cpu> {
    let mut cpu = reset_cpu(model);
    for (at, entry) in [(0x8_0000, 0x8_1007u64), (0x8_1000, 0x8_2007), (0x8_2000, 0x87)] {
        cpu.memory.ram().write(at, &entry.to_le_bytes()).unwrap();
    }
    cpu.control.cr3 = 0x8_0000;
    cpu.control.cr4 = Cr4::PAE | Cr4::OSFXSR;
    cpu.control.cr0 = Cr0::PE | Cr0::PG | Cr0::ET;
    cpu.control.efer = Efer::LME | Efer::LMA;
    let code = attr::P | attr::S | attr::CODE | attr::READABLE | attr::L | attr::G;
    cpu.set_seg(Seg::Cs, Segment { selector: 8, attr: code, limit: u32::MAX, base: 0, unusable: false });
    cpu.mmu.flush_all();
    cpu
}

/// A 64-bit instruction with 64-bit operands (kind, register) and the memory operand `[rsi]`.
pub fn insn(operands: &[(Kind, u8)]) -> Insn {
    extern "C-unwind" fn never(_: &mut Cpu, _: *const Insn) -> u32 {
        0
    }
    let mut i = Insn {
        handler: never,
        imm: 0,
        disp: 0,
        row: 0,
        off: 0,
        base: slot::RSI as u8,
        index: slot::ZERO,
        scale: 0,
        seg: Seg::Ds as u8,
        kind: [Kind::None; 4],
        reg: [0; 4],
        width: [Width::W64; 2],
        asize: Width::W64,
        len: 3,
        flags: flag::MODE64,
        mem_size: 0,
        imm2: 0,
    };
    for (n, &(kind, reg)) in operands.iter().enumerate() {
        (i.kind[n], i.reg[n]) = (kind, reg);
    }
    i
}

/// #GP(0) as a result.
pub fn gp0<T>() -> Result<T, Exception> {
    Err(Exception::GP0)
}
