//! The machine that the tests here run on.

use emu_core::{
    arch::{Cr0, Cr4, Efer, Segment, Xcr0},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::NoDevices,
    memory::{GuestMemory, PhysicalMemory},
    state::TableRegister,
};
use iced_x86::code_asm::*;
use std::sync::Arc;

const GDT: u64 = 0x7000;
const IDT: u64 = 0x8000;
/// The handler of vector v is at this plus 16 v.
const HANDLERS: u64 = 0x9000;
pub const CODE: u64 = 0x10_0000;
pub const DATA: u64 = 0x11_0000;
const STACK: u64 = 0x20_0000;
/// Linear pages from here on are absent.
pub const ABSENT: u64 = 16 << 20;

pub const XM: u64 = 19;
pub const MF: u64 = 16;
pub const PF: u64 = 14;
pub const GP: u64 = 13;
pub const NM: u64 = 7;
pub const UD: u64 = 6;

/// CR4 of [`long_mode`]: everything that vectors need.
pub const CR4: Cr4 = Cr4::PAE.union(Cr4::OSFXSR).union(Cr4::OSXMMEXCPT).union(Cr4::OSXSAVE);

/// A CPU in 64-bit mode at CPL 0, the first 16 MiB mapped to themselves, with a gate for each exception.
pub fn long_mode() -> Box<Cpu> {
    let ram = GuestMemory::new(16 << 20).unwrap();
    ram.write(0x1000, &0x2003u64.to_le_bytes()).unwrap();
    ram.write(0x2000, &0x3003u64.to_le_bytes()).unwrap();
    for n in 0..8u64 {
        ram.write(0x3000 + 8 * n, &(n << 21 | 0x83).to_le_bytes()).unwrap();
    }
    ram.write(GDT + 8, &0x00AF_9B00_0000_FFFFu64.to_le_bytes()).unwrap();
    for vector in 0..32 {
        let offset = HANDLERS + 16 * vector;
        ram.write(IDT + 16 * vector, &(offset & 0xFFFF | 8 << 16 | 0x8E00 << 32).to_le_bytes()).unwrap();
    }
    let model = Arc::new(CpuModel::named("max").unwrap());
    let mut cpu =
        Cpu::new(0, model, Arc::new(PhysicalMemory::new(ram)), Arc::default(), Arc::new(NoDevices::new()));
    let mut state = cpu.save_state();
    state.control.cr0 = Cr0::PE | Cr0::PG | Cr0::ET | Cr0::NE | Cr0::WP;
    state.control.cr4 = CR4;
    state.control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX;
    state.control.efer = Efer::LME | Efer::LMA;
    state.control.cr3 = 0x1000;
    state.segments.data =
        [Segment { selector: 0x10, attr: 0xC093, limit: u32::MAX, base: 0, unusable: false }; 6];
    state.segments.data[1] = Segment { selector: 8, attr: 0xA09B, limit: u32::MAX, base: 0, unusable: false };
    state.segments.gdtr = TableRegister { base: GDT, limit: 0xFF };
    state.segments.idtr = TableRegister { base: IDT, limit: 0xFFF };
    state.general.gpr[4] = STACK;
    state.general.gpr[7] = DATA;
    cpu.load_state(&state);
    cpu
}

/// Steps through what `build` assembles (the same each time: decoded code is not looked at again). The vector of the
/// exception that ended it, if one did.
pub fn run(cpu: &mut Cpu, build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Option<u64> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    build(&mut assembler).unwrap();
    let count = assembler.instructions().len();
    let code = assembler.assemble(CODE).unwrap();
    run_bytes(cpu, &code, count)
}

/// Steps through `count` instructions of `code`. The vector of the exception that ended it, if one did.
pub fn run_bytes(cpu: &mut Cpu, code: &[u8], count: usize) -> Option<u64> {
    cpu.memory.ram().write(CODE, code).unwrap();
    cpu.rip = CODE;
    for _ in 0..count {
        cpu.step();
        if (HANDLERS..HANDLERS + 0x200).contains(&cpu.rip) {
            return Some((cpu.rip - HANDLERS) / 16);
        }
    }
    None
}
