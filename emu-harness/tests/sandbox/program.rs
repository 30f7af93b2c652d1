//! Programs without an operating system: calls, hooks, missing memory, permissions.

use super::{CODE, DATA, STACK, user};
use emu_harness::sandbox::{
    Access, Error, Exit, Mode, Prot, Resolution, Sandbox, Unmapped, Until, Verdict, Watch,
};
use iced_x86::code_asm::*;
use std::cell::{Cell, RefCell};

#[test]
fn a_function_is_called_with_arguments_and_returns() {
    let mut sandbox = user(|a| {
        a.lea(rax, qword_ptr(rdi + rsi * 2))?;
        a.ret()
    });
    for (x, y) in [(10, 16), (1, 2), (u64::MAX, 1)] {
        sandbox.set_reg("rdi", x).unwrap();
        sandbox.set_reg("rsi", y).unwrap();
        sandbox.push(0x1234).unwrap();
        assert_eq!(sandbox.run_from(CODE, Until::address(0x1234)), Exit::Reached);
        assert_eq!(sandbox.reg("rax").unwrap(), x.wrapping_add(y * 2));
        assert_eq!(sandbox.reg("rsp").unwrap(), STACK);
    }
}

#[test]
fn a_limit_is_exact_wherever_it_falls() {
    let build = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        for _ in 0..6 {
            a.inc(rax)?;
        }
        a.jmp(again)
    };
    for limit in [1, 5, 7, 48, 49, 50, 1000, 100_003] {
        let mut sandbox = user(build);
        assert_eq!(sandbox.run(Until::instructions(limit)), Exit::Limit);
        assert_eq!(sandbox.executed(), limit);
        assert_eq!(sandbox.reg("rax").unwrap(), limit - limit / 7, "of {limit}");
    }
}

#[test]
fn an_exception_in_the_middle_of_a_block_counts_what_came_before_it() {
    let mut sandbox = user(|a| {
        a.inc(rax)?;
        a.inc(rax)?;
        a.ud2()
    });
    assert_eq!(sandbox.run(Until::forever()), Exit::Exception { vector: 6, error_code: None, cr2: None });
    assert_eq!((sandbox.executed(), sandbox.reg("rip").unwrap()), (2, CODE + 6));
}

#[test]
fn a_loop_ends_where_it_began() {
    let mut sandbox = user(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(rax)?;
        a.jmp(again)
    });
    for round in 1..4 {
        assert_eq!(sandbox.run(Until::address(CODE)), Exit::Reached);
        assert_eq!(sandbox.reg("rax").unwrap(), round);
    }
}

#[test]
fn memory_is_mapped_on_demand_and_the_access_is_done_again() {
    let seen = RefCell::new(Vec::new());
    let mut sandbox = user(|a| {
        a.mov(rbx, 0x7000_0FFCu64)?;
        a.mov(qword_ptr(rbx), rcx)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(rdx, 0x9000_0000u64)?;
        a.jmp(rdx)
    });
    sandbox.on_unmapped(|sandbox, unmapped| {
        seen.borrow_mut().push((unmapped.address, unmapped.access));
        let page = unmapped.address & !0xFFF;
        sandbox.map(page, 0x1000, Prot::RWX).unwrap();
        sandbox.write_memory(page, &[0xF4]).unwrap();
        Resolution::Retry
    });
    sandbox.set_reg("rcx", 0x1122_3344_5566_7788u64).unwrap();
    // HLT at privilege level 3.
    let exit = sandbox.run(Until::forever());
    assert_eq!(exit, Exit::Exception { vector: 13, error_code: Some(0), cr2: None });
    assert_eq!(sandbox.reg("rax").unwrap(), 0x1122_3344_5566_7788);
    assert_eq!(sandbox.executed(), 5);
    drop(sandbox);
    let expected = [(0x7000_0FFC, Access::Write), (0x7000_1000, Access::Write), (0x9000_0000, Access::Fetch)];
    assert_eq!(seen.into_inner(), expected);
}

#[test]
fn what_is_not_mapped_ends_the_run_at_its_instruction() {
    let mut sandbox = user(|a| a.mov(eax, dword_ptr(0x66_6000)));
    let unmapped = Unmapped { address: 0x66_6000, access: Access::Read, protected: false };
    assert_eq!(sandbox.run(Until::forever()), Exit::Unmapped(unmapped));
    assert_eq!(sandbox.reg("rip").unwrap(), CODE);
    sandbox.map(0x66_6000, 0x1000, Prot::R).unwrap();
    assert_eq!(sandbox.step(), Exit::Limit);
}

#[test]
fn permissions_are_page_faults_to_who_violates_them() {
    let mut sandbox = user(|a| {
        a.mov(dword_ptr(DATA), eax)?;
        a.jmp(rcx)
    });
    let fault = |code, address| Exit::Exception { vector: 14, error_code: Some(code), cr2: Some(address) };
    sandbox.protect(DATA, 0x1000, Prot::R).unwrap();
    assert_eq!(sandbox.run(Until::forever()), fault(7, DATA));
    sandbox.protect(DATA, 0x1000, Prot::RW | Prot::SUPERVISOR).unwrap();
    assert_eq!(sandbox.run(Until::forever()), fault(7, DATA));
    sandbox.protect(DATA, 0x1000, Prot::empty()).unwrap();
    assert_eq!(sandbox.run(Until::forever()), fault(6, DATA));
    sandbox.protect(DATA, 0x1000, Prot::RW).unwrap();
    sandbox.set_reg("rcx", DATA).unwrap();
    assert_eq!(sandbox.run(Until::forever()), fault(0x15, DATA), "data is not code");
}

#[test]
fn every_instruction_is_seen_once_and_in_order() {
    let seen = RefCell::new(Vec::new());
    let mut sandbox = user(|a| {
        let mut over = a.create_label();
        a.mov(ecx, 2)?;
        a.test(ecx, ecx)?;
        a.jz(over)?;
        a.nop()?;
        a.set_label(&mut over)?;
        a.ud2()
    });
    sandbox.on_code(0..=u64::MAX, |_, address| seen.borrow_mut().push(address - CODE));
    sandbox.run(Until::forever());
    drop(sandbox);
    assert_eq!(seen.into_inner(), [0, 5, 7, 9, 10]);
}

#[test]
fn hooks_see_their_range_alone_and_may_change_registers_and_rip() {
    let calls = Cell::new(0);
    let mut sandbox = user(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(rax)?;
        a.ud2()?;
        a.cmp(rax, 10)?;
        a.jne(again)
    });
    sandbox.on_code(CODE + 3..=CODE + 3, |sandbox, address| {
        calls.set(calls.get() + 1);
        // Over the UD2.
        sandbox.set_reg("rip", address + 2).unwrap();
    });
    assert_eq!(sandbox.run(Until::address(CODE + 13)), Exit::Reached);
    assert_eq!((calls.get(), sandbox.reg("rax").unwrap()), (10, 10));
}

#[test]
fn a_run_stopped_by_a_hook_goes_on_behind_it() {
    let mut sandbox = user(|a| {
        a.inc(rax)?;
        a.inc(rax)?;
        a.inc(rax)
    });
    let hook = sandbox.on_code(CODE + 3..=CODE + 3, |sandbox, _| sandbox.stop());
    assert_eq!(sandbox.run(Until::address(CODE + 9)), Exit::Stopped);
    assert_eq!(sandbox.reg("rax").unwrap(), 1);
    assert_eq!(sandbox.run(Until::address(CODE + 9)), Exit::Reached);
    assert_eq!(sandbox.reg("rax").unwrap(), 3);
    assert!(sandbox.remove(hook) && !sandbox.remove(hook));
    assert_eq!(sandbox.run_from(CODE, Until::address(CODE + 9)), Exit::Reached);
}

#[test]
fn watchpoints_tell_who_accessed_what() {
    let reads = Cell::new(0);
    let seen = RefCell::new(Vec::new());
    let mut sandbox = user(|a| {
        a.mov(rsi, DATA)?;
        a.mov(eax, dword_ptr(rsi + 4))?; // +10
        a.add(word_ptr(rsi + 6), 5)?; // +13
        a.mov(qword_ptr(rsi + 8), rax)?; // +18: beside it
        a.movdqu(xmmword_ptr(rsi), xmm0)?; // +22
        a.mov(rdi, DATA + 3)?; // +26
        a.mov(ecx, 2)?; // +36
        a.rep().stosb()?; // +41
        a.ud2()
    });
    sandbox.write_memory(DATA + 4, &[1, 2, 3, 4]).unwrap();
    let range = DATA + 4..=DATA + 7;
    sandbox.on_memory(Watch::Accesses, range.clone(), |_, access| {
        let kind = if access.access == Access::Read { 'r' } else { 'w' };
        seen.borrow_mut().push((
            access.instruction - CODE,
            kind,
            access.address - DATA,
            access.size,
            access.value,
        ));
    });
    sandbox.on_memory(Watch::Reads, range, |_, _| reads.set(reads.get() + 1));
    assert!(matches!(sandbox.run(Until::forever()), Exit::Exception { vector: 6, .. }));
    assert_eq!(sandbox.executed(), 8);
    drop(sandbox);
    let expected = [
        (10, 'r', 4, 4, 0x0403_0201),
        (13, 'r', 6, 2, 0x0403),
        (13, 'w', 6, 2, 0x0408),
        (22, 'w', 0, 16, 0),
        (41, 'w', 4, 1, 1),
    ];
    assert_eq!(seen.into_inner(), expected);
    assert_eq!(reads.get(), 2);
}

#[test]
fn an_access_of_an_instruction_that_faults_is_told_when_it_is_done() {
    let seen = Cell::new(0);
    let mut sandbox = user(|a| {
        a.mov(rsi, DATA)?;
        a.mov(rdi, 0x50_0000u64)?;
        a.movsb()
    });
    sandbox.on_memory(Watch::Reads, DATA..=DATA, |_, _| seen.set(seen.get() + 1));
    assert!(matches!(sandbox.run(Until::forever()), Exit::Unmapped(_)));
    assert_eq!(seen.get(), 0);
    sandbox.map(0x50_0000, 0x1000, Prot::RW).unwrap();
    sandbox.step();
    assert_eq!(seen.get(), 1);
}

#[test]
fn fetches_are_watched_like_data() {
    let seen = RefCell::new(Vec::new());
    let mut sandbox = user(|a| {
        a.nop()?;
        a.nop()?;
        a.ud2()
    });
    sandbox.on_memory(Watch::Fetches, CODE + 1..=CODE + 1, |_, access| seen.borrow_mut().push(*access));
    sandbox.run(Until::forever());
    drop(sandbox);
    let seen = seen.into_inner();
    assert_eq!((seen.len(), seen[0].address, seen[0].access), (1, CODE + 1, Access::Fetch));
}

#[test]
fn software_interrupts_are_system_calls_to_a_hook() {
    let mut sandbox = user(|a| {
        a.mov(eax, 4)?;
        a.int(0x80)?;
        a.add(eax, 1)?;
        a.int3()
    });
    sandbox.on_event(|sandbox, event| {
        if event.vector != 0x80 {
            return Verdict::Pass;
        }
        let number = sandbox.reg("rax").unwrap();
        sandbox.set_reg("rax", number * 10).unwrap();
        Verdict::Swallow
    });
    assert_eq!(sandbox.run(Until::forever()), Exit::Interrupt { vector: 3 });
    assert_eq!(sandbox.reg("rax").unwrap(), 41);
}

#[test]
fn a_swallowed_fault_is_executed_again_and_does_not_outlast_the_limit() {
    let faults = Cell::new(0);
    let mut sandbox = user(|a| a.ud2());
    sandbox.on_event(|_, _| {
        faults.set(faults.get() + 1);
        Verdict::Swallow
    });
    assert_eq!(sandbox.run(Until::instructions(10)), Exit::Limit);
    assert_eq!((faults.get(), sandbox.executed()), (10, 0));
}

#[test]
fn code_changed_from_outside_is_the_code_that_runs() {
    let mut sandbox = user(|a| {
        a.mov(eax, 1)?;
        a.ud2()
    });
    sandbox.run(Until::forever());
    sandbox.write_memory(CODE + 1, &[2]).unwrap();
    sandbox.run_from(CODE, Until::forever());
    assert_eq!(sandbox.reg("rax").unwrap(), 2);
    sandbox.unmap(CODE, 0x2000).unwrap();
    assert!(matches!(sandbox.run_from(CODE, Until::forever()), Exit::Unmapped(_)));
    sandbox.map(CODE, 0x1000, Prot::RX).unwrap();
    sandbox.write_memory(CODE, &[0xB8, 3, 0, 0, 0, 0x0F, 0x0B]).unwrap();
    sandbox.run_from(CODE, Until::forever());
    assert_eq!(sandbox.reg("rax").unwrap(), 3);
}

#[test]
fn mistakes_are_said() {
    let mut sandbox = Sandbox::new(Mode::Long64).unwrap();
    assert!(matches!(sandbox.map(0x123, 0x1000, Prot::R), Err(Error::NotPages { .. })));
    assert!(matches!(sandbox.map(0x8000_0000_0000, 0x1000, Prot::R), Err(Error::Beyond { bits: 48, .. })));
    sandbox.map(0xFFFF_8000_0000_0000, 0x1000, Prot::R).unwrap();
    assert!(matches!(sandbox.map(0xFFFF_8000_0000_0000, 0x2000, Prot::R), Err(Error::Mapped(_))));
    assert!(matches!(sandbox.map(0, 1 << 40, Prot::R), Err(Error::Exhausted(_))));
    assert!(matches!(sandbox.unmap(0x1000, 0x1000), Err(Error::NotMapped(0x1000))));
    assert!(matches!(sandbox.read_u64(0x1000), Err(Error::NotMapped(0x1000))));
    assert!(matches!(sandbox.set_reg("al", 0x100u32), Err(Error::Width { bits: 8, .. })));
    assert!(matches!(sandbox.reg("xmm0"), Err(Error::Wide { bits: 128, .. })));
    assert!(matches!(sandbox.set_reg("cr4", u64::MAX), Err(Error::Refused { .. })));
    let refused = Sandbox::builder(Mode::V86).privilege(0).build().err().unwrap();
    assert_eq!(refused.to_string(), "v86 code runs at privilege level 3, not 0");
}
