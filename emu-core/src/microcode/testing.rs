//! CPUs in every mode, with tables in a small RAM, for the tests of this folder.

use crate::{
    arch::{Cr0, Cr4, Efer, Flags, Seg, Segment, Width, attr},
    cpu::{Cpu, slot},
    cpu_model::CpuModel,
    decode::Insn,
    engine::{FewDevices, VcpuSignal, request},
    memory::{GuestMemory, PhysicalMemory},
    microcode::{segment_load::put, vm86 as virtual_8086},
    state::TableRegister,
};
use std::sync::Arc;

pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x4000;
/// Top of the stack of level 0.
pub const STACK0: u64 = 0x9000;
/// Top of the second interrupt stack of long mode.
pub const IST2: u64 = 0xA000;
/// What every port reads as.
pub const PORT_VALUE: u64 = 0xA5B6_C7D8;

pub const KERNEL_CS: u16 = 0x08;
pub const KERNEL_DS: u16 = 0x10;
pub const KERNEL_CS64: u16 = 0x18;
pub const USER_CS: u16 = 0x23;
pub const USER_DS: u16 = 0x2B;
pub const USER_CS64: u16 = 0x33;
pub const KERNEL_CS16: u16 = 0x38;
pub const ABSENT_DS: u16 = 0x40;
pub const TSS_SELECTOR: u16 = 0x48;
/// Code segment of [`real`].
pub const REAL_CS: u64 = 0x100;

/// An OUT to this port ends [`Cpu::run`].
pub const STOP_PORT: u8 = 0xF4;
/// A load from here raises an NMI and gives [`KERNEL_DS`].
pub const NMI_REGISTER: u32 = 0xFEC0_0000;

struct Machine {
    signal: Arc<VcpuSignal>,
}

impl FewDevices for Machine {
    fn port_read(&self, _: u16, _: u8) -> u32 {
        PORT_VALUE as u32
    }
    fn port_write(&self, port: u16, _: u8, _: u32) {
        if port == u16::from(STOP_PORT) {
            self.signal.raise(request::STOP);
        }
    }
    fn mmio_read(&self, address: u64, _: u8) -> u64 {
        if address != u64::from(NMI_REGISTER) {
            return u64::MAX;
        }
        self.signal.raise(request::NMI);
        KERNEL_DS.into()
    }
    fn apic_msr_read(&self, vcpu: usize, _: u32) -> Option<u64> {
        // IA32_APIC_BASE: the first one is the bootstrap processor.
        Some(0xFEE0_0800 | u64::from(vcpu == 0) << 8)
    }
    fn shutdown(&self) {
        self.signal.raise(request::STOP);
    }
}

fn blank(id: usize) -> Box<Cpu> {
    let ram = GuestMemory::new(1 << 20).expect("1 MiB can be reserved");
    let memory = Arc::new(PhysicalMemory::new(ram));
    let model = Arc::new(CpuModel::named("max").expect("there is such a model"));
    let signal = Arc::new(VcpuSignal::default());
    Cpu::new(id, model, memory, signal.clone(), Arc::new(Machine { signal }))
}

/// vCPU `id` after reset.
pub fn after_reset(id: usize) -> Box<Cpu> {
    blank(id)
}

/// Real mode: CS 0x100, SS 0x4000, an interrupt vector table at 0.
pub fn real() -> Box<Cpu> {
    let mut cpu = blank(0);
    put(&mut cpu, Seg::Cs, Segment::real(REAL_CS as u16));
    put(&mut cpu, Seg::Ss, Segment::real(0x4000));
    cpu.segments.idtr = TableRegister { base: 0, limit: 0x3FF };
    cpu.mode_changed();
    cpu
}

fn with_tables(tss: u64) -> Box<Cpu> {
    let cpu = blank(0);
    let descriptors: [(u16, u64); 9] = [
        (KERNEL_CS, 0x00CF_9B00_0000_FFFF),
        (KERNEL_DS, 0x00CF_9300_0000_FFFF),
        (KERNEL_CS64, 0x00AF_9B00_0000_FFFF),
        (USER_CS, 0x00CF_FB00_0000_FFFF),
        (USER_DS, 0x00CF_F300_0000_FFFF),
        (USER_CS64, 0x00AF_FB00_0000_FFFF),
        (KERNEL_CS16, 0x0000_9B00_0000_FFFF),
        (ABSENT_DS, 0x00CF_1300_0000_FFFF),
        (TSS_SELECTOR, tss),
    ];
    for (selector, raw) in descriptors {
        put_u64(&cpu, GDT + u64::from(selector & !7), raw);
    }
    cpu
}

fn enter(cpu: &mut Cpu, level: u8, cs: [u64; 2], limit: u16) {
    cpu.segments.gdtr = TableRegister { base: GDT, limit: 0xFF };
    cpu.segments.idtr = TableRegister { base: IDT, limit };
    let attr = attr::P | 11;
    cpu.segments.tr = Segment { selector: TSS_SELECTOR, attr, limit: 0x8F, base: TSS, unusable: false };
    cpu.control.cr0.insert(Cr0::PE);
    cpu.cpl = level;
    let flat = |selector: u64, attr: u16| Segment {
        selector: selector as u16,
        attr: attr | u16::from(level) << attr::DPL_SHIFT,
        limit: u32::MAX,
        base: 0,
        unusable: false,
    };
    let data = if level == 0 { KERNEL_DS } else { USER_DS };
    put(cpu, Seg::Cs, flat(cs[usize::from(level != 0)], if limit == 0xFFF { 0xA09B } else { 0xC09B }));
    for seg in [Seg::Es, Seg::Ss, Seg::Ds] {
        put(cpu, seg, flat(data.into(), 0xC093));
    }
    for seg in [Seg::Fs, Seg::Gs] {
        put(cpu, seg, super::segment_load::null_segment(0, 0));
    }
    cpu.regs[slot::RSP] = 0x8000;
    cpu.rip = 0x1000;
    cpu.mode_changed();
}

/// 32-bit protected mode without paging at level 0 or 3.
pub fn protected(level: u8) -> Box<Cpu> {
    let mut cpu = with_tables(0x0000_8B00_4000_0067);
    put_u32(&cpu, TSS + 4, STACK0 as u32);
    put_u32(&cpu, TSS + 8, KERNEL_DS.into());
    enter(&mut cpu, level, [KERNEL_CS.into(), USER_CS.into()], 0x7FF);
    cpu
}

/// Virtual-8086 mode, IOPL 0: CS 0x1000, all others 0x2000.
pub fn vm86() -> Box<Cpu> {
    let mut cpu = protected(3);
    cpu.set_rflags(Flags::VM);
    for seg in Seg::ALL {
        cpu.set_seg(seg, virtual_8086::segment(if seg == Seg::Cs { 0x1000 } else { 0x2000 }));
    }
    cpu
}

/// 64-bit mode at level 0 or 3. Translation is left off, so that addresses stay what they are.
pub fn long(level: u8) -> Box<Cpu> {
    let mut cpu = with_tables(0x0000_8B00_4000_0067);
    put_u64(&cpu, TSS + 4, STACK0);
    put_u64(&cpu, TSS + 28 + 2 * 8, IST2);
    cpu.control.efer.insert(Efer::LME | Efer::LMA);
    cpu.control.cr4.insert(Cr4::PAE);
    enter(&mut cpu, level, [KERNEL_CS64.into(), USER_CS64.into()], 0xFFF);
    cpu
}

/// Puts a gate of type `kind`, DPL 0, into the 32-bit IDT.
pub fn set_gate(cpu: &Cpu, vector: u8, kind: u64, selector: u16, offset: u64) {
    let high = offset & 0xFFFF_0000 | (0x80 | kind) << 8;
    put_u64(cpu, IDT + u64::from(vector) * 8, high << 32 | u64::from(selector) << 16 | offset & 0xFFFF);
}

/// Puts a gate to 64-bit kernel code into the IDT of long mode.
pub fn set_long_gate(cpu: &Cpu, vector: u8, kind: u64, ist: u64, dpl: u64, offset: u64) {
    let high = offset & 0xFFFF_0000 | (0x80 | dpl << 5 | kind) << 8 | ist;
    let at = IDT + u64::from(vector) * 16;
    put_u64(cpu, at, high << 32 | u64::from(KERNEL_CS64) << 16 | offset & 0xFFFF);
    put_u64(cpu, at + 8, offset >> 32);
}

pub fn put_u64(cpu: &Cpu, address: u64, value: u64) {
    cpu.memory.ram().write(address, &value.to_le_bytes()).expect("tests stay in RAM");
}

pub fn put_u32(cpu: &Cpu, address: u64, value: u32) {
    cpu.memory.ram().write(address, &value.to_le_bytes()).expect("tests stay in RAM");
}

pub fn get_u64(cpu: &Cpu, address: u64) -> u64 {
    let mut bytes = [0; 8];
    cpu.memory.ram().read(address, &mut bytes).expect("tests stay in RAM");
    u64::from_le_bytes(bytes)
}

pub fn get_u32(cpu: &Cpu, address: u64) -> u32 {
    get_u64(cpu, address) as u32
}

/// Puts code at `address`.
pub fn put_code(cpu: &Cpu, address: u64, code: &[u8]) {
    cpu.memory.ram().write(address, code).expect("tests stay in RAM");
}

/// An instruction without operands.
pub fn insn() -> Insn {
    /// Never called: the tests call routines themselves.
    ///
    /// # Safety
    /// None needed.
    unsafe extern "C-unwind" fn handler(_: &mut Cpu, _: *const Insn) -> u32 {
        0
    }
    Insn { row: 0, asize: Width::W32, len: 1, ..Insn::blank(handler) }
}
