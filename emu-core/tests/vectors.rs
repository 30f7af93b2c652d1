//! What vector instructions do beyond values: exceptions, MXCSR, the x87's tags, memory at page boundaries.

use emu_core::{
    arch::{Cr0, Cr4, Efer, Segment},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::CpuIo,
    memory::{GuestMemory, PhysicalMemory},
    state::TableRegister,
};
use iced_x86::code_asm::*;
use rstest::rstest;
use std::sync::Arc;

struct NoDevices;

impl CpuIo for NoDevices {
    fn port_read(&self, _: usize, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn port_write(&self, _: usize, _: u16, _: u8, _: u32) {}
    fn mmio_read(&self, _: usize, _: u64, _: u8) -> u64 {
        u64::MAX
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
    fn set_ferr(&self, _: usize, _: bool) -> bool {
        false
    }
    fn shutdown(&self, _: usize) {}
}

const GDT: u64 = 0x7000;
const IDT: u64 = 0x8000;
/// The handler of vector v is at this plus 16 v.
const HANDLERS: u64 = 0x9000;
const CODE: u64 = 0x10_0000;
const DATA: u64 = 0x11_0000;
const STACK: u64 = 0x20_0000;
/// Linear pages from here on are absent.
const ABSENT: u64 = 16 << 20;

const XM: u64 = 19;
const MF: u64 = 16;
const PF: u64 = 14;
const GP: u64 = 13;
const NM: u64 = 7;
const UD: u64 = 6;

/// A CPU in 64-bit mode at CPL 0, the first 16 MiB mapped to themselves, with a gate for each exception.
fn long_mode() -> Box<Cpu> {
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
    let mut cpu = Cpu::new(0, model, Arc::new(PhysicalMemory::new(ram)), Arc::default(), Arc::new(NoDevices));
    let mut state = cpu.save_state();
    state.control.cr0 = Cr0::PE | Cr0::PG | Cr0::ET | Cr0::NE | Cr0::WP;
    state.control.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
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

/// Steps through what `build` assembles (the same each time: decoded code is not looked at again). The vector of the exception that ended it, if one did.
fn run(cpu: &mut Cpu, build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Option<u64> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    build(&mut assembler).unwrap();
    let count = assembler.instructions().len();
    let code = assembler.assemble(CODE).unwrap();
    cpu.memory.ram().write(CODE, &code).unwrap();
    cpu.rip = CODE;
    for _ in 0..count {
        cpu.step();
        if (HANDLERS..HANDLERS + 0x200).contains(&cpu.rip) {
            return Some((cpu.rip - HANDLERS) / 16);
        }
    }
    None
}

const ONE: u128 = 0x3FF0 << 48;
const THREE: u128 = 0x4008 << 48;

#[rstest]
#[case::handled(Cr4::OSXMMEXCPT, XM)]
#[case::not_handled(Cr4::empty(), UD)]
fn an_unmasked_exception_faults_and_changes_mxcsr_alone(#[case] handled: Cr4, #[case] vector: u64) {
    // Arrange: zero divide unmasked.
    let mut cpu = long_mode();
    cpu.control.cr4 = Cr4::PAE | Cr4::OSFXSR | handled;
    cpu.simd.vector[0][0] = ONE;
    cpu.load_mxcsr(0x1F80 & !(1 << 9));
    // Act
    let raised = run(&mut cpu, |a| a.divsd(xmm0, xmm1));
    // Assert
    assert_eq!(raised, Some(vector));
    assert_eq!(cpu.simd.vector[0][0], ONE);
    assert_eq!(cpu.simd.mxcsr, 0x1F80 & !(1 << 9) | 1 << 2);
    assert_eq!(cpu.read_physical(cpu.regs[4], 8), CODE, "a fault: RIP is the instruction's");
}

#[test]
fn stmxcsr_sees_the_flags_and_ldmxcsr_forgets_them() {
    let mut cpu = long_mode();
    (cpu.simd.vector[0][0], cpu.simd.vector[1][0]) = (ONE, THREE);
    cpu.memory.ram().write(DATA, &0x1F80u32.to_le_bytes()).unwrap();
    let raised = run(&mut cpu, |a| {
        a.divsd(xmm0, xmm1)?;
        a.stmxcsr(dword_ptr(rdi + 4))?;
        a.ldmxcsr(dword_ptr(rdi))?;
        a.stmxcsr(dword_ptr(rdi + 8))
    });
    assert_eq!(raised, None);
    assert_eq!(cpu.read_physical(DATA + 4, 4), 0x1FA0);
    assert_eq!(cpu.read_physical(DATA + 8, 4), 0x1F80);
}

#[test]
fn flags_of_the_thread_before_do_not_become_the_guests() {
    let mut cpu = long_mode();
    emu_core::lane::fp::mxcsr::set_host(0x1FBF);
    run(&mut cpu, |a| a.addsd(xmm0, xmm1));
    assert_eq!(cpu.save_state().simd.mxcsr, 0x1F80);
}

#[rstest]
#[case::movaps(|a: &mut CodeAssembler| a.movaps(xmm0, xmmword_ptr(rdi + 8)), Some(GP))]
#[case::movaps_aligned(|a: &mut CodeAssembler| a.movaps(xmm0, xmmword_ptr(rdi + 16)), None)]
#[case::movups(|a: &mut CodeAssembler| a.movups(xmm0, xmmword_ptr(rdi + 8)), None)]
#[case::movdqa_store(|a: &mut CodeAssembler| a.movdqa(xmmword_ptr(rdi + 1), xmm0), Some(GP))]
#[case::paddb(|a: &mut CodeAssembler| a.paddb(xmm0, xmmword_ptr(rdi + 4)), Some(GP))]
#[case::addsd(|a: &mut CodeAssembler| a.addsd(xmm0, qword_ptr(rdi + 4)), None)]
#[case::addpd(|a: &mut CodeAssembler| a.addpd(xmm0, xmmword_ptr(rdi + 4)), Some(GP))]
#[case::cvtps2pd(|a: &mut CodeAssembler| a.cvtps2pd(xmm0, qword_ptr(rdi + 4)), None)]
#[case::pmovzxbw(|a: &mut CodeAssembler| a.pmovzxbw(xmm0, qword_ptr(rdi + 4)), None)]
#[case::pcmpistri(|a: &mut CodeAssembler| a.pcmpistri(xmm0, xmmword_ptr(rdi + 4), 0), None)]
#[case::aesenc(|a: &mut CodeAssembler| a.aesenc(xmm0, xmmword_ptr(rdi + 4)), Some(GP))]
fn alignment_is_asked_of_whole_lanes_unless_the_form_says_otherwise(
    #[case] build: fn(&mut CodeAssembler) -> Result<(), IcedError>,
    #[case] vector: Option<u64>,
) {
    // Twice: the first access fills the TLB, the second is direct.
    let mut cpu = long_mode();
    assert_eq!(run(&mut cpu, build), vector);
    assert_eq!(run(&mut cpu, build), vector);
}

#[rstest]
#[case::sse_without_fxsr(Cr0::empty(), Cr4::PAE, UD)]
#[case::emulated(Cr0::EM, Cr4::PAE.union(Cr4::OSFXSR), UD)]
#[case::task_switched(Cr0::TS, Cr4::PAE.union(Cr4::OSFXSR), NM)]
fn control_bits_make_sse_fault(#[case] also: Cr0, #[case] control: Cr4, #[case] vector: u64) {
    let mut cpu = long_mode();
    cpu.control.cr0 |= also;
    cpu.control.cr4 = control;
    cpu.mode_changed();
    assert_eq!(run(&mut cpu, |a| a.pxor(xmm0, xmm0)), Some(vector));
}

#[test]
fn mmx_waits_for_a_pending_x87_exception() {
    // Arrange: zero divide pending and unmasked.
    let mut cpu = long_mode();
    (cpu.x87.fcw, cpu.x87.fsw) = (0x37B, 0x8084);
    assert_eq!(run(&mut cpu, |a| a.paddb(mm0, mm1)), Some(MF));
    assert_eq!(cpu.x87.r[0].significand, 0);
}

#[test]
fn mmx_takes_the_x87_registers_over() {
    let mut cpu = long_mode();
    (cpu.x87.fcw, cpu.x87.top, cpu.x87.valid) = (0x37F, 3, 0);
    cpu.regs[0] = 0x1122_3344;
    let raised = run(&mut cpu, |a| {
        a.movd(mm2, eax)?;
        a.psllq(mm2, 4)
    });
    assert_eq!(raised, None);
    assert_eq!((cpu.x87.top, cpu.x87.valid), (0, 0xFF));
    assert_eq!((cpu.x87.r[2].significand, cpu.x87.r[2].sign_exponent), (0x1_1223_3440, 0xFFFF));
}

#[test]
fn a_lane_across_pages_is_whole_or_not_there_at_all() {
    let mut cpu = long_mode();
    cpu.simd.vector[0][0] = 0x0123_4567_89AB_CDEF_1122_3344_5566_7788;
    cpu.regs[3] = DATA + 0xFF8;
    let program = |a: &mut CodeAssembler| {
        a.movdqu(xmmword_ptr(rbx), xmm0)?;
        a.movdqu(xmm1, xmmword_ptr(rbx))
    };
    assert_eq!(run(&mut cpu, program), None);
    assert_eq!(cpu.simd.vector[1][0], cpu.simd.vector[0][0]);
    cpu.regs[3] = ABSENT - 8;
    assert_eq!(run(&mut cpu, program), Some(PF));
    assert_eq!((cpu.control.cr2, cpu.read_physical(ABSENT - 8, 8)), (ABSENT, 0));
}

#[test]
fn a_masked_store_writes_chosen_bytes_and_checks_them_first() {
    // Arrange: bytes 0, 7 and 15 are chosen.
    let mut cpu = long_mode();
    cpu.simd.vector[0][0] = 0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_FEFF;
    cpu.simd.vector[1][0] = 0x80 | 0x80 << 56 | 0xFF << 120;
    assert_eq!(run(&mut cpu, |a| a.maskmovdqu(xmm0, xmm1)), None);
    let halves = [cpu.read_physical(DATA, 8), cpu.read_physical(DATA + 8, 8)];
    assert_eq!(halves, [0xF800_0000_0000_00FF, 0xF000_0000_0000_0000]);
    cpu.regs[7] = ABSENT - 8;
    assert_eq!(run(&mut cpu, |a| a.maskmovdqu(xmm0, xmm1)), Some(PF));
    assert_eq!(cpu.read_physical(ABSENT - 8, 8), 0);
}
