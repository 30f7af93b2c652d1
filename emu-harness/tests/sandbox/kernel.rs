//! Ring 0: interrupts, page faults and task switches that the guest handles itself.

use super::{CODE, DATA, STACK, assemble, kernel, prepare};
use emu_harness::sandbox::{
    Delivery, EventKind, Exit, Mode, Paging, Prot, Resolution, Sandbox, TSS_SELECTOR, Until, Verdict,
    code_selector, data_selector,
};
use iced_x86::code_asm::*;
use std::cell::{Cell, RefCell};

const HANDLER: u64 = CODE + 0x1000;

fn put_handler(
    sandbox: &mut Sandbox<'_>,
    build: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) {
    sandbox.write_memory(HANDLER, &assemble(64, HANDLER, build)).unwrap();
}

#[test]
fn a_timer_interrupts_a_counting_kernel() {
    let mut sandbox = kernel(|a| {
        let mut again = a.create_label();
        a.sti()?;
        a.set_label(&mut again)?;
        a.inc(rax)?;
        a.jmp(again)
    });
    put_handler(&mut sandbox, |a| {
        a.inc(rbx)?;
        a.iretq()
    });
    sandbox.set_gate(0x20, HANDLER, 0).unwrap();
    for _ in 0..5 {
        assert_eq!(sandbox.run(Until::instructions(10_000)), Exit::Limit);
        sandbox.interrupt(0x20);
    }
    assert_eq!(sandbox.run(Until::instructions(2)), Exit::Limit);
    assert_eq!((sandbox.reg("rbx").unwrap(), sandbox.executed()), (5, 50_002));
}

#[test]
fn an_interrupt_waits_until_it_is_allowed_and_ends_hlt() {
    let mut sandbox = kernel(|a| {
        a.nop()?;
        a.nop()?;
        a.sti()?;
        a.hlt()?;
        a.mov(ecx, 1)?;
        a.hlt()
    });
    put_handler(&mut sandbox, |a| {
        a.mov(rbx, qword_ptr(rsp))?;
        a.iretq()
    });
    sandbox.set_gate(0x31, HANDLER, 0).unwrap();
    sandbox.interrupt(0x31);
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!(sandbox.reg("rbx").unwrap(), CODE + 4, "STI holds it back for one instruction");
    assert_eq!(sandbox.reg("rcx").unwrap(), 1);
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
}

#[test]
fn a_nonmaskable_interrupt_needs_no_flag() {
    let mut sandbox = kernel(|a| {
        a.nop()?;
        a.hlt()
    });
    put_handler(&mut sandbox, |a| {
        a.inc(rbx)?;
        a.iretq()
    });
    sandbox.set_gate(2, HANDLER, 0).unwrap();
    sandbox.line().nmi();
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!(sandbox.reg("rbx").unwrap(), 1);
}

#[test]
fn a_page_fault_handler_sees_the_fault_and_repairs_it() {
    let mut sandbox = kernel(|a| {
        a.mov(rdi, DATA)?;
        a.mov(dword_ptr(rdi), 0x1234)?;
        a.hlt()
    });
    put_handler(&mut sandbox, |a| {
        a.mov(rbx, cr2)?;
        a.pop(rcx)?;
        a.mov(rdi, DATA + 0x1000)?;
        a.iretq()
    });
    sandbox.set_gate(14, HANDLER, 0).unwrap();
    sandbox.protect(DATA, 0x1000, Prot::R).unwrap();
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!((sandbox.reg("rbx").unwrap(), sandbox.reg("rcx").unwrap()), (DATA, 3));
    assert_eq!(sandbox.read_u32(DATA + 0x1000).unwrap(), 0x1234);
}

#[test]
fn user_code_enters_the_kernel_on_the_kernels_stack_and_returns() {
    let mut sandbox = Sandbox::builder(Mode::Long64).privilege(3).build().unwrap();
    prepare(&mut sandbox, 64, |a| {
        a.int(0x80)?;
        a.mov(edx, 1)?;
        a.hlt()
    });
    sandbox.install_tables(0x5000).unwrap();
    sandbox.map(0x9000, 0x1000, Prot::RW | Prot::SUPERVISOR).unwrap();
    sandbox.map(0x3_0000, 0x1000, Prot::RX | Prot::SUPERVISOR).unwrap();
    let handler = assemble(64, 0x3_0000, |a| {
        a.mov(rbx, rsp)?;
        a.mov(rcx, qword_ptr(rsp + 8))?;
        a.iretq()
    });
    sandbox.write_memory(0x3_0000, &handler).unwrap();
    sandbox.set_kernel_stack(0xA000).unwrap();
    sandbox.set_gate(0x80, 0x3_0000, 3).unwrap();
    // HLT at level 3: #GP, for which there is no gate: a double fault, then a triple fault.
    assert_eq!(sandbox.run(Until::forever()), Exit::Shutdown);
    assert_eq!(sandbox.reg("rbx").unwrap(), 0xA000 - 40);
    assert_eq!(sandbox.reg("rcx").unwrap(), u64::from(code_selector(3)));
    assert_eq!(sandbox.reg("rdx").unwrap(), 1);
}

#[test]
fn hooks_see_events_on_their_way_and_may_take_them() {
    let seen = RefCell::new(Vec::new());
    let mut sandbox = kernel(|a| {
        a.int3()?;
        a.ud2()?;
        a.hlt()
    });
    put_handler(&mut sandbox, |a| a.iretq());
    sandbox.set_gate(3, HANDLER, 0).unwrap();
    sandbox.on_event(|sandbox, event| {
        seen.borrow_mut().push((event.vector, event.kind));
        match event.vector {
            6 => {
                let rip = sandbox.reg("rip").unwrap();
                sandbox.set_reg("rip", rip + 2).unwrap();
                Verdict::Swallow
            }
            _ => Verdict::Pass,
        }
    });
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    drop(sandbox);
    assert_eq!(seen.into_inner(), [(3, EventKind::Software), (6, EventKind::Fault)]);
}

#[test]
fn an_interrupt_whose_stack_is_missing_is_delivered_when_it_is_there() {
    let misses = Cell::new(0);
    let mut sandbox = kernel(|a| {
        a.sti()?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    put_handler(&mut sandbox, |a| {
        a.inc(rbx)?;
        a.iretq()
    });
    sandbox.set_gate(0x20, HANDLER, 0).unwrap();
    sandbox.set_reg("rsp", 0x7000_0000u64).unwrap();
    sandbox.on_unmapped(|sandbox, unmapped| {
        misses.set(misses.get() + 1);
        sandbox.map(unmapped.address & !0xFFF, 0x1000, Prot::RW).unwrap();
        Resolution::Retry
    });
    sandbox.interrupt(0x20);
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!((misses.get(), sandbox.reg("rbx").unwrap()), (1, 1));
}

#[test]
fn single_stepping_by_the_guest_traps_after_each_instruction() {
    let mut sandbox = kernel(|a| {
        a.pushfq()?;
        a.or(dword_ptr(rsp), 0x100)?;
        a.popfq()?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    put_handler(&mut sandbox, |a| {
        a.inc(rbx)?;
        a.cmp(rbx, 2)?;
        let mut over = a.create_label();
        a.jb(over)?;
        a.and(dword_ptr(rsp + 16), !0x100)?;
        a.set_label(&mut over)?;
        a.iretq()
    });
    sandbox.set_gate(1, HANDLER, 0).unwrap();
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!(sandbox.reg("rbx").unwrap(), 2);
}

#[test]
fn a_hardware_task_switch_saves_one_task_and_loads_the_other() {
    const OTHER: u64 = 0x3_0000;
    const OTHER_SELECTOR: u16 = 0x68;
    let mut sandbox = Sandbox::new(Mode::Protected32).unwrap();
    prepare(&mut sandbox, 32, |a| {
        a.mov(eax, 0x11)?;
        a.db(&[0x9A, 0, 0, 0, 0, OTHER_SELECTOR as u8, 0])?; // call far 68:0
        a.mov(ebx, 0x22)?;
        a.hlt()
    });
    sandbox.install_tables(0x5000).unwrap();
    sandbox.map(OTHER, 0x1000, Prot::RW).unwrap();
    // An available 32-bit TSS, 68 bytes: descriptor, then what it loads.
    let descriptor = 0x0000_8903_0000_0067u64;
    sandbox.write_u64(0x5000 + u64::from(OTHER_SELECTOR), descriptor).unwrap();
    let root = sandbox.reg("cr3").unwrap() as u32;
    let fields = [
        (0x1C, root),
        (0x20, HANDLER as u32),
        (0x24, 2),
        (0x28, 0x77),
        (0x38, STACK as u32 - 0x1000),
        (0x48, data_selector(0).into()),
        (0x4C, code_selector(0).into()),
        (0x50, data_selector(0).into()),
        (0x54, data_selector(0).into()),
        (0x58, data_selector(0).into()),
        (0x5C, data_selector(0).into()),
        (0x64, 0x68 << 16),
    ];
    for (at, value) in fields {
        sandbox.write_u32(OTHER + at, value).unwrap();
    }
    let task = assemble(32, HANDLER, |a| {
        a.mov(dword_ptr(DATA as u32), eax)?;
        a.iretd()
    });
    sandbox.write_memory(HANDLER, &task).unwrap();
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!(sandbox.read_u32(DATA).unwrap(), 0x77, "EAX of the other task");
    assert_eq!((sandbox.reg("eax").unwrap(), sandbox.reg("ebx").unwrap()), (0x11, 0x22));
    assert_eq!(sandbox.read_u32(OTHER).unwrap() as u16, TSS_SELECTOR, "the link back");
}

#[test]
fn a_guest_may_have_page_tables_of_its_own() {
    let mut sandbox = Sandbox::builder(Mode::Long64).paging(Paging::Tables(0x10_0000)).build().unwrap();
    // 4000_0000 to 4020_0000 is the first 2 MiB.
    for (at, entry) in [(0x10_0000, 0x10_1003u64), (0x10_1008, 0x10_2003), (0x10_2000, 0x83)] {
        sandbox.write_physical(at, &entry.to_le_bytes()).unwrap();
    }
    sandbox.map(CODE, 0x1000, Prot::RX).unwrap();
    let at = 0x4000_0000 + CODE;
    let code = assemble(64, at, |a| {
        a.mov(eax, 5)?;
        a.mov(dword_ptr(rsi), eax)
    });
    sandbox.write_memory(at, &code).unwrap();
    sandbox.set_reg("rsi", 0x4000_0000 + DATA).unwrap();
    // Its page table has a page there, but there is no memory behind it.
    let Exit::Unmapped(unmapped) = sandbox.run_from(at, Until::forever()) else { panic!("mapped") };
    assert_eq!((unmapped.address, unmapped.protected), (0x4000_0000 + DATA, false));
    sandbox.map(DATA, 0x1000, Prot::R).unwrap();
    let Exit::Unmapped(unmapped) = sandbox.run(Until::forever()) else { panic!("writable") };
    assert!(unmapped.protected);
    sandbox.protect(DATA, 0x1000, Prot::RW).unwrap();
    assert_eq!(sandbox.run(Until::instructions(1)), Exit::Limit);
    assert_eq!(sandbox.read_u32(0x4000_0000 + DATA).unwrap(), 5);
    // Beyond its tables it is a page fault, the guest's own.
    sandbox.set_reg("rsi", 0x5000_0000u64).unwrap();
    let exit = sandbox.run_from(at, Until::forever());
    assert_eq!(exit, Exit::Exception { vector: 14, error_code: Some(2), cr2: Some(0x5000_0000) });
}

#[test]
fn without_tables_a_delivered_exception_is_a_shutdown() {
    let mut sandbox = Sandbox::builder(Mode::Long64).delivery(Delivery::ToGuest).build().unwrap();
    prepare(&mut sandbox, 64, |a| a.ud2());
    assert_eq!(sandbox.run(Until::forever()), Exit::Shutdown);
}
