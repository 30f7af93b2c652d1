//! Every mode: arithmetic and stack in its widths, its exceptions, and its registers.

use super::{CODE, STACK, prepare};
use emu_harness::sandbox::{Error, Exit, Mode, Paging, Prot, Sandbox, Unmapped, Until};
use iced_x86::code_asm::*;
use rstest::rstest;

#[rstest]
#[case::real(Mode::Real, 0, 2)]
#[case::v86(Mode::V86, 3, 2)]
#[case::p16(Mode::Protected16, 0, 2)]
#[case::p16_user(Mode::Protected16, 3, 2)]
#[case::p32(Mode::Protected32, 0, 4)]
#[case::p32_level_1(Mode::Protected32, 1, 4)]
#[case::p32_user(Mode::Protected32, 3, 4)]
#[case::c16(Mode::Compatibility16, 3, 2)]
#[case::c32(Mode::Compatibility32, 3, 4)]
#[case::long(Mode::Long64, 0, 8)]
#[case::long_user(Mode::Long64, 3, 8)]
fn code_runs_in_every_mode_at_every_level(#[case] mode: Mode, #[case] level: u8, #[case] entry: u64) {
    // 16-bit code is below 64 KiB: CS 1000h in the modes of the 8086, else a base.
    let mut sandbox = Sandbox::builder(mode).privilege(level).build().unwrap();
    prepare(&mut sandbox, mode.bitness(), |a| {
        a.mov(ax, 40)?;
        a.add(ax, cx)?;
        a.push(bx)?;
        a.ud2()
    });
    if mode.bitness() == 16 {
        match mode {
            Mode::Real | Mode::V86 => sandbox.set_reg("cs", CODE >> 4).unwrap(),
            _ => sandbox.set_reg("cs.base", CODE).unwrap(),
        }
        sandbox.set_reg("rip", 0u32).unwrap();
    }
    sandbox.set_reg("cx", 2u32).unwrap();
    sandbox.set_reg("bx", 0xBEEFu32).unwrap();
    assert_eq!(sandbox.next_instruction(), CODE);
    let exit = sandbox.run(Until::forever());
    assert_eq!(exit, Exit::Exception { vector: 6, error_code: None, cr2: None });
    assert_eq!(sandbox.reg("rax").unwrap(), 42);
    assert_eq!(sandbox.reg("cpl").unwrap(), u64::from(level));
    assert_eq!(sandbox.read_u32(STACK - 2).unwrap_or(0xBEEF) & 0xFFFF, 0xBEEF);
    // A return address as wide as the mode's.
    let before = sandbox.reg("rsp").unwrap();
    sandbox.push(0x1234).unwrap();
    assert_eq!(before - sandbox.reg("rsp").unwrap(), entry);
}

#[test]
fn real_mode_has_permissions_without_paging() {
    let mut sandbox = Sandbox::new(Mode::Real).unwrap();
    prepare(&mut sandbox, 16, |a| {
        a.mov(word_ptr(0), ax)?;
        a.mov(word_ptr(si), ax)
    });
    sandbox.set_reg("cs", CODE >> 4).unwrap();
    sandbox.set_reg("ds", 0x1000u32).unwrap();
    sandbox.set_reg("ip", 0u32).unwrap();
    let Exit::Unmapped(Unmapped { address: CODE, protected: true, .. }) = sandbox.run(Until::forever())
    else {
        panic!("code cannot be written");
    };
    sandbox.protect(CODE, 0x1000, Prot::RWX).unwrap();
    sandbox.set_reg("si", 0x8000u32).unwrap();
    let Exit::Unmapped(Unmapped { address: 0x1_8000, protected: false, .. }) = sandbox.run(Until::forever())
    else {
        panic!("nothing is there");
    };
}

#[test]
fn real_mode_interrupts_go_through_its_vector_table() {
    let mut sandbox = Sandbox::new(Mode::Real).unwrap();
    prepare(&mut sandbox, 16, |a| {
        a.int(0x21)?;
        a.hlt()
    });
    sandbox.set_reg("cs", CODE >> 4).unwrap();
    sandbox.set_reg("ip", 0u32).unwrap();
    sandbox.install_tables(0).unwrap();
    let handler = CODE + 0x1000;
    sandbox.write_memory(handler, &[0xB0, 0x4C, 0xCF]).unwrap();
    sandbox.set_gate(0x21, handler, 0).unwrap();
    assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
    assert_eq!(sandbox.reg("al").unwrap(), 0x4C);
}

#[rstest]
#[case(Mode::Real, Paging::Own)]
#[case(Mode::Long64, Paging::Off)]
#[case(Mode::Compatibility32, Paging::Off)]
fn paging_that_a_mode_cannot_have_is_refused(#[case] mode: Mode, #[case] paging: Paging) {
    assert!(matches!(Sandbox::builder(mode).paging(paging).build(), Err(Error::Paging { .. })));
}

#[test]
fn protected_mode_has_paging_or_not() {
    for paging in [Paging::Own, Paging::Off] {
        let mut sandbox = Sandbox::builder(Mode::Protected32).paging(paging).build().unwrap();
        prepare(&mut sandbox, 32, |a| {
            a.mov(eax, cr0)?;
            a.hlt()
        });
        assert_eq!(sandbox.run(Until::forever()), Exit::Halted);
        assert_eq!(sandbox.reg("eax").unwrap() >> 31, u64::from(paging == Paging::Own));
    }
}

#[test]
fn registers_are_what_they_were_set_to() {
    let mut sandbox = Sandbox::new(Mode::Long64).unwrap();
    let numbers = [
        ("rax", 0x1122_3344_5566_7788u64),
        ("r15", 15),
        ("bh", 0xAB),
        ("spl", 0x10),
        ("fs.base", 0x7000_0000_0000),
        ("gs", 0x33),
        ("ds.limit", 0xFFFF),
        ("rflags", 0x246),
        ("df", 1),
        ("iopl", 3),
        ("cr2", 0x1234),
        ("cr8", 5),
        ("dr0", 0x4000),
        ("mxcsr", 0x1FA0),
        ("mm3", 0x0102_0304),
        ("fcw", 0x27F),
        ("fsw", 0x3800),
        ("gdtr.limit", 0x7F),
        ("msr:c0000082", 0xFFFF_8000_0000_1000),
    ];
    for (name, value) in numbers {
        sandbox.set_reg(name, value).unwrap();
        assert_eq!(sandbox.reg(name).unwrap(), value, "{name}");
    }
    let pi = 0x4000_C90F_DAA2_2168_C235u128;
    sandbox.set_reg("st2", pi).unwrap();
    assert_eq!(sandbox.read_register("st2").unwrap().low, pi);
    sandbox.set_reg("ymm9", [3, 4]).unwrap();
    sandbox.set_reg("xmm9", 5u32).unwrap();
    assert_eq!(sandbox.read_register("ymm9").unwrap(), [5, 4].into());
    sandbox.set_reg("eax", u32::MAX).unwrap();
    assert_eq!(sandbox.reg("rax").unwrap(), u64::from(u32::MAX), "a 32-bit write clears the upper half");
}
