//! A CPU and RAM without devices.

use super::{CODE, Kernel, RAM, STACK, Unit};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Segment},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::{NoDevices, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
    state::Activity,
};
use iced_x86::code_asm::{CodeAssembler, al};
use std::sync::Arc;

/// Port that stops the CPU.
const STOP_PORT: u16 = 0xF4;

/// A CPU about to run a kernel, any number of times.
pub struct Machine {
    cpu: Box<Cpu>,
    unit: Unit,
    cold: bool,
}

impl Machine {
    /// A CPU in 64-bit mode at CPL 0 with `kernel` in its memory.
    pub fn new(kernel: &Kernel) -> Self {
        let mut assembler = CodeAssembler::new(64).expect("64 is a bitness");
        (kernel.build)(&mut assembler).expect("kernels are made of encodable instructions");
        assembler.out(u32::from(STOP_PORT), al).expect("the port fits in a byte");
        let code = assembler.assemble(CODE).expect("kernels have no unplaced labels");

        let ram = GuestMemory::new(RAM).expect("the host has 32 MiB");
        write_page_tables(&ram);
        ram.write(CODE, &code).expect("kernels are smaller than RAM");
        let signal = Arc::<VcpuSignal>::default();
        let model = Arc::new(CpuModel::named("max").expect("a model of that name exists"));
        let io = Arc::new(NoDevices::stopping_at(STOP_PORT, signal.clone()));
        let mut cpu = Cpu::new(0, model, Arc::new(PhysicalMemory::new(ram)), signal, io);
        enter_long_mode(&mut cpu);
        Machine { cpu, unit: kernel.unit, cold: kernel.cold }
    }

    /// Runs the kernel once, from its first instruction; returns how many of its units it took.
    pub fn run(&mut self) -> u64 {
        self.cpu.rip = CODE;
        if self.cold {
            self.cpu.blocks.flush();
            self.cpu.mmu.flush_all();
        }
        let before = self.cpu.executed;
        self.cpu.run();
        assert_ne!(self.cpu.events.activity, Activity::Shutdown, "the kernel has faulted three times over");
        match self.unit {
            Unit::Instruction => self.cpu.executed - before,
            Unit::Walk(count) | Unit::Byte(count) => count,
        }
    }
}

/// Maps RAM to itself by pages of 4 KiB, as an operating system would: a miss is a walk of four levels.
fn write_page_tables(ram: &GuestMemory) {
    const PRESENT_WRITABLE_USED: u64 = 0x63;
    const TABLES: u64 = 0x4000;
    let entry = |at: u64, to: u64| {
        ram.write(at, &(to | PRESENT_WRITABLE_USED).to_le_bytes()).expect("tables lie in RAM");
    };
    entry(0x1000, 0x2000);
    entry(0x2000, 0x3000);
    for page in 0..RAM >> 12 {
        if page % 512 == 0 {
            entry(0x3000 + 8 * (page / 512), TABLES + 8 * page);
        }
        entry(TABLES + 8 * page, page << 12);
    }
}

fn enter_long_mode(cpu: &mut Cpu) {
    let mut state = cpu.save_state();
    state.control.cr0 = Cr0::PE | Cr0::PG | Cr0::ET | Cr0::NE | Cr0::WP;
    state.control.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    state.control.efer = Efer::LME | Efer::LMA | Efer::NXE | Efer::SCE;
    state.control.cr3 = 0x1000;
    let flat = Segment { selector: 0x10, attr: 0xC093, limit: u32::MAX, base: 0, unusable: false };
    state.segments.data = [flat; 6];
    state.segments.data[1] = Segment { selector: 8, attr: 0xA09B, ..flat };
    state.general.rip = CODE;
    state.general.gpr[4] = STACK;
    cpu.load_state(&state);
}
