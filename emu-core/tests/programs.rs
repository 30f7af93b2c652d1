//! Small programs, assembled here and run on the interpreter: loops, calls, memory, flags, self-modification.

use emu_core::{
    arch::{Cr0, Cr4, Efer, Segment},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::{FewDevices, NoDevices, VcpuSignal, request},
    memory::{GuestMemory, PhysicalMemory},
};
use iced_x86::code_asm::*;
use rstest::rstest;
use std::sync::Arc;

const CODE: u64 = 0x10_0000;
const STACK: u64 = 0x20_0000;

/// A CPU in 64-bit mode at CPL 0, the first GiB mapped to itself, about to run `code`.
fn long_mode(code: &[u8]) -> Box<Cpu> {
    let ram = GuestMemory::new(16 << 20).unwrap();
    ram.write(0x1000, &0x2003u64.to_le_bytes()).unwrap();
    ram.write(0x2000, &0x3003u64.to_le_bytes()).unwrap();
    for n in 0..8u64 {
        ram.write(0x3000 + 8 * n, &(n << 21 | 0x83).to_le_bytes()).unwrap();
    }
    ram.write(CODE, code).unwrap();
    let signal = Arc::<VcpuSignal>::default();
    let memory = Arc::new(PhysicalMemory::new(ram));
    let model = Arc::new(CpuModel::named("max").unwrap());
    let mut cpu = Cpu::new(0, model, memory, signal.clone(), Arc::new(NoDevices::stopping_at(0xF4, signal)));
    let mut state = cpu.save_state();
    state.control.cr0 = Cr0::PE | Cr0::PG | Cr0::ET | Cr0::NE | Cr0::WP;
    state.control.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    state.control.efer = Efer::LME | Efer::LMA | Efer::NXE | Efer::SCE;
    state.control.cr3 = 0x1000;
    state.segments.data =
        [Segment { selector: 0x10, attr: 0xC093, limit: u32::MAX, base: 0, unusable: false }; 6];
    state.segments.data[1] = Segment { selector: 8, attr: 0xA09B, limit: u32::MAX, base: 0, unusable: false };
    state.general.rip = CODE;
    state.general.gpr[4] = STACK;
    cpu.load_state(&state);
    cpu
}

fn run(build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Box<Cpu> {
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a).unwrap();
    a.out(0xf4, al).unwrap();
    let mut cpu = long_mode(&a.assemble(CODE).unwrap());
    cpu.run();
    cpu
}

#[test]
fn a_counted_loop_sums() {
    let cpu = run(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 1000)?;
        a.xor(eax, eax)?;
        a.set_label(&mut again)?;
        a.add(rax, rcx)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.mov(rbx, rax)
    });
    assert_eq!(cpu.regs[3], 500_500);
}

#[test]
fn recursion_uses_the_stack() {
    let cpu = run(|a| {
        let (mut fib, mut base, mut over) = (a.create_label(), a.create_label(), a.create_label());
        a.mov(edi, 20)?;
        a.call(fib)?;
        a.jmp(over)?;
        a.set_label(&mut fib)?;
        a.cmp(edi, 2)?;
        a.jb(base)?;
        a.push(rdi)?;
        a.dec(edi)?;
        a.call(fib)?;
        a.pop(rdi)?;
        a.push(rax)?;
        a.sub(edi, 2)?;
        a.call(fib)?;
        a.pop(rdx)?;
        a.add(rax, rdx)?;
        a.ret()?;
        a.set_label(&mut base)?;
        a.mov(eax, edi)?;
        a.ret()?;
        a.set_label(&mut over)?;
        a.mov(rbx, rax)
    });
    assert_eq!(cpu.regs[3], 6765);
    assert_eq!(cpu.regs[4], STACK);
}

#[test]
fn memory_crosses_pages_and_widths() {
    let cpu = run(|a| {
        a.mov(rsi, 0x30_0FFCu64)?;
        a.mov(rax, 0x1122_3344_5566_7788u64)?;
        a.mov(qword_ptr(rsi), rax)?;
        a.mov(rbx, qword_ptr(rsi + 1))?;
        a.movzx(ecx, word_ptr(rsi + 3))?;
        a.add(byte_ptr(rsi + 2), 0x70)?;
        a.movsx(rdx, byte_ptr(rsi + 2))?;
        a.lock().xadd(dword_ptr(rsi + 2), ecx)
    });
    assert_eq!(cpu.regs[3], 0x0011_2233_4455_6677);
    assert_eq!(cpu.regs[2], (0x66 + 0x70) | 0xFFFF_FFFF_FFFF_FF00);
    assert_eq!(cpu.regs[1], 0x3344_55D6);
}

#[test]
fn code_that_rewrites_itself_runs_as_rewritten() {
    let cpu = run(|a| {
        let (mut again, mut patched) = (a.create_label(), a.create_label());
        a.xor(ebx, ebx)?;
        a.xor(ecx, ecx)?;
        a.set_label(&mut again)?;
        a.lea(rsi, ptr(patched))?;
        a.mov(dword_ptr(rsi + 1), ecx)?;
        a.set_label(&mut patched)?;
        a.mov(eax, 0x7777_7777)?;
        a.add(ebx, eax)?;
        a.inc(ecx)?;
        a.cmp(ecx, 1000)?;
        a.jb(again)?;
        Ok(())
    });
    assert_eq!(cpu.regs[3], 499_500);
}

#[test]
fn the_same_instruction_pointer_in_another_code_segment_is_another_place() {
    let ram = GuestMemory::new(16 << 20).unwrap();
    // 1000:0100  mov ax, 200h; jmp ax          1000:0200  inc bx; jmp 2000:0100
    ram.write(0x1_0100, &[0xB8, 0x00, 0x02, 0xFF, 0xE0]).unwrap();
    ram.write(0x1_0200, &[0x43, 0xEA, 0x00, 0x01, 0x00, 0x20]).unwrap();
    // 2000:0100  mov ax, 200h; jmp ax          2000:0200  add bx, 10h; out F4h, al
    ram.write(0x2_0100, &[0xB8, 0x00, 0x02, 0xFF, 0xE0]).unwrap();
    ram.write(0x2_0200, &[0x83, 0xC3, 0x10, 0xE6, 0xF4]).unwrap();
    let signal = Arc::<VcpuSignal>::default();
    let model = Arc::new(CpuModel::named("max").unwrap());
    let mut cpu = Cpu::new(
        0,
        model,
        Arc::new(PhysicalMemory::new(ram)),
        signal.clone(),
        Arc::new(NoDevices::stopping_at(0xF4, signal)),
    );
    let mut state = cpu.save_state();
    state.segments.data[1] = Segment { attr: 0x9B, ..Segment::real(0x1000) };
    state.general.rip = 0x100;
    state.general.gpr[3] = 0;
    cpu.load_state(&state);

    cpu.run();

    assert_eq!(cpu.regs[3], 0x11);
}

/// Raises an interrupt when port 80h is accessed, or memory of a device, which reads as zero.
struct Interrupting(Arc<VcpuSignal>);

impl FewDevices for Interrupting {
    fn port_read(&self, _: u16, _: u8) -> u32 {
        self.0.raise(request::INTERRUPT);
        0
    }
    fn mmio_read(&self, _: u64, _: u8) -> u64 {
        self.0.raise(request::INTERRUPT);
        0
    }
    fn mmio_write(&self, _: u64, _: u8, _: u64) {
        self.0.raise(request::INTERRUPT);
    }
    fn port_write(&self, port: u16, _: u8, _: u32) {
        self.0.raise(if port == 0x80 { request::INTERRUPT } else { request::STOP });
    }
    fn acknowledge_interrupt(&self) -> Option<u8> {
        self.0.clear(request::INTERRUPT);
        Some(0x20)
    }
}

/// A CPU in real mode at 1000:0100, where `code` is, with `handler` for interrupt 20h.
fn interrupted(code: &[u8], handler: &[u8]) -> Box<Cpu> {
    let ram = GuestMemory::new(16 << 20).unwrap();
    ram.write(0x1_0100, code).unwrap();
    ram.write(0x1_0200, handler).unwrap();
    ram.write(4 * 0x20, &[0x00, 0x02, 0x00, 0x10]).unwrap();
    let signal = Arc::<VcpuSignal>::default();
    let model = Arc::new(CpuModel::named("max").unwrap());
    let memory = Arc::new(PhysicalMemory::new(ram));
    let mut cpu = Cpu::new(0, model, memory, signal.clone(), Arc::new(Interrupting(signal)));
    let mut state = cpu.save_state();
    state.segments.data[1] = Segment { attr: 0x9B, ..Segment::real(0x1000) };
    state.segments.data[2] = Segment { attr: 0x93, ..Segment::real(0x3000) };
    // The VGA window, which is memory of a device.
    state.segments.data[3] = Segment { attr: 0x93, ..Segment::real(0xA000) };
    state.general.rip = 0x100;
    // CX = 1, DX = 80h, SP = 1000h.
    state.general.gpr[..8].copy_from_slice(&[0, 1, 0x80, 0, 0x1000, 0, 0x500, 0x600]);
    cpu.load_state(&state);
    cpu
}

#[rstest]
#[case::store(&[0xA2, 0, 0])]
#[case::load(&[0xA0, 0, 0])]
#[case::update(&[0x01, 0x06, 0, 0])]
#[case::vector_store(&[0x0F, 0x11, 0x06, 0, 0])]
#[case::movsb_from(&[0xA4])]
#[case::port_write(&[0xE6, 0x80])]
#[case::port_read(&[0xE4, 0x80])]
#[case::outsb(&[0x26, 0x6E])]
#[case::insb(&[0x6C])]
#[case::rep_outsb(&[0x26, 0xF3, 0x6E])]
fn an_interrupt_that_an_access_raises_comes_before_the_next_instruction(#[case] access: &[u8]) {
    // sti; nop; (the access); inc ax; inc ax; nop; nop; out F4h, al
    let code = [&[0xFB, 0x90], access, &[0x40, 0x40, 0x90, 0x90, 0xE6, 0xF4]].concat();
    // The handler: mov bx, ax; inc bx; iret
    let mut cpu = interrupted(&code, &[0x89, 0xC3, 0x43, 0xCF]);
    let mut state = cpu.save_state();
    state.control.cr4 = Cr4::OSFXSR;
    cpu.load_state(&state);

    cpu.run();

    assert_eq!((cpu.regs[0], cpu.regs[3]), (2, 1));
}

#[test]
fn an_interrupt_that_sti_lets_in_comes_after_one_more_instruction() {
    // mov cx, 3; again: cli; out 80h, al; sti; inc ax; inc ax; inc ax; nop; dec cx; jnz again; out F4h, al
    let code = [0xB9, 3, 0, 0xFA, 0xE6, 0x80, 0xFB, 0x40, 0x40, 0x40, 0x90, 0x49, 0x75, 0xF5, 0xE6, 0xF4];
    // The handler: add bx, ax; iret
    let mut cpu = interrupted(&code, &[0x01, 0xC3, 0xCF]);

    cpu.run();

    assert_eq!((cpu.regs[0], cpu.regs[3]), (9, 1 + 4 + 7));
}
