//! Saving, restoring, and doing the same again.

use super::{CODE, DATA, kernel, user};
use emu_harness::sandbox::{Error, Exit, Mode, Prot, Sandbox, Until};
use iced_x86::code_asm::*;

/// Everything of the state that a program can see.
fn state(sandbox: &Sandbox<'_>) -> emu_core::state::CpuState {
    sandbox.save().state().clone()
}

#[test]
fn a_restored_sandbox_does_the_same_to_the_instruction() {
    let mut sandbox = kernel(|a| {
        let mut again = a.create_label();
        a.mov(rdi, DATA)?;
        a.set_label(&mut again)?;
        a.rdtsc()?;
        a.add(qword_ptr(rdi), rax)?;
        a.imul_2(rbx, rax)?;
        a.add(rbx, qword_ptr(rdi))?;
        a.divsd(xmm0, xmm1)?;
        a.jmp(again)
    });
    sandbox.run(Until::instructions(777));
    sandbox.interrupt(0x20);
    let context = sandbox.save_all().unwrap();
    sandbox.run(Until::instructions(12_345));
    let (first, sum) = (state(&sandbox), sandbox.read_u64(DATA).unwrap());
    sandbox.restore(&context).unwrap();
    assert_eq!((sandbox.executed(), &state(&sandbox)), (777, context.state()));
    // The same number of instructions in other portions.
    for portion in [1, 44, 2300, 10_000] {
        sandbox.run(Until::instructions(portion));
    }
    assert_eq!((state(&sandbox), sandbox.read_u64(DATA).unwrap()), (first, sum));
}

#[test]
fn memory_is_restored_with_its_map() {
    let mut sandbox = user(|a| {
        a.inc(dword_ptr(DATA))?;
        a.ud2()
    });
    let context = sandbox.save_all().unwrap();
    for _ in 0..3 {
        sandbox.run_from(CODE, Until::forever());
        sandbox.map(0x70_0000, 0x1000, Prot::RW).unwrap();
        sandbox.write_u32(0x70_0000, 9).unwrap();
        sandbox.protect(CODE, 0x1000, Prot::RWX).unwrap();
        sandbox.write_memory(CODE, &[0x0F, 0x0B]).unwrap();
        sandbox.unmap(DATA, 0x1000).unwrap();
        sandbox.restore(&context).unwrap();
        assert!(matches!(sandbox.read_u32(0x70_0000), Err(Error::NotMapped(_))));
        assert_eq!(sandbox.run_from(CODE, Until::instructions(1)), Exit::Limit);
        assert_eq!(sandbox.read_u32(DATA).unwrap(), 1);
    }
    sandbox.map(0x70_0000, 0x1000, Prot::RW).unwrap();
    assert_eq!(sandbox.read_u32(0x70_0000).unwrap(), 0, "fresh memory is zero");
}

#[test]
fn physical_memory_is_restored_as_well() {
    let mut sandbox = Sandbox::new(Mode::Real).unwrap();
    sandbox.map(0x1000, 0x1000, Prot::RWX).unwrap();
    sandbox.write_u32(0x1000, 1).unwrap();
    let context = sandbox.save_all().unwrap();
    sandbox.write_u32(0x1000, 2).unwrap();
    sandbox.map(0x8000, 0x1000, Prot::RWX).unwrap();
    sandbox.write_u32(0x8000, 3).unwrap();
    sandbox.restore(&context).unwrap();
    assert_eq!(sandbox.read_u32(0x1000).unwrap(), 1);
    sandbox.map(0x8000, 0x1000, Prot::RWX).unwrap();
    assert_eq!(sandbox.read_u32(0x8000).unwrap(), 0);
}

#[test]
fn registers_alone_leave_memory_as_it_is() {
    let mut sandbox = user(|a| {
        a.inc(dword_ptr(DATA))?;
        a.inc(rax)?;
        a.ud2()
    });
    let context = sandbox.save();
    sandbox.run(Until::forever());
    sandbox.restore(&context).unwrap();
    assert_eq!((sandbox.reg("rax").unwrap(), sandbox.reg("rip").unwrap()), (0, CODE));
    assert_eq!(sandbox.read_u32(DATA).unwrap(), 1);
}

#[test]
fn another_sandboxes_memory_is_refused() {
    let context = Sandbox::new(Mode::Long64).unwrap().save_all().unwrap();
    let mut other = Sandbox::new(Mode::Real).unwrap();
    assert!(matches!(other.restore(&context), Err(Error::Foreign)));
}
