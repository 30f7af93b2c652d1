//! What the oracle shows, and what it survives.

use super::*;
use crate::{Region, Rights, corpus::Exception, interpreter::Interpreter};
use emu_core::{arch::Flags, state::CpuState};
use rstest::rstest;

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x2_0000;
const READ_ONLY: Rights = Rights { write: false, ..Rights::ALL };
const NO_EXECUTE: Rights = Rights { execute: false, ..Rights::ALL };

fn native() -> Native {
    Native::start().expect("this host has user-mode code executed")
}

fn state(mode: Mode) -> CpuState {
    let mut state = Interpreter::new().state_in(mode, 3, 0, &[]);
    state.general.rip = CODE;
    state
}

fn region(address: u64, bytes: &[u8], rights: Rights) -> Region {
    Region { address, bytes: bytes.to_vec(), rights }
}

/// `code` in 64-bit mode, `RBX` and `RSP` leading to data.
fn setup(code: &[u8]) -> Setup {
    let mut state = state(Mode::Long64);
    (state.general.gpr[3], state.general.gpr[4]) = (DATA, DATA + 0x800);
    Setup {
        mode: Mode::Long64,
        state,
        memory: vec![region(CODE, code, READ_ONLY), region(DATA, &[0x11; 16], NO_EXECUTE)],
        instructions: 1,
        stop: None,
    }
}

/// The native outcome, which must be the interpreter's in all that both show.
fn both(native: &mut Native, setup: &Setup) -> Outcome {
    let outcome = native.execute(setup).unwrap();
    let mut expected = Interpreter::new();
    let mut expected = Executor::execute(&mut expected, setup).unwrap();
    let x87 = outcome.state.x87;
    // Pointers to the last x87 instruction are not observed.
    (expected.state.x87.fip, expected.state.x87.fdp, expected.state.x87.fop) = (x87.fip, x87.fdp, x87.fop);
    (expected.state.x87.fcs, expected.state.x87.fds) = (x87.fcs, x87.fds);
    expected.state.general.rflags &= !Flags::RF;
    expected.state.events = outcome.state.events;
    assert_eq!(outcome, expected);
    outcome
}

#[rstest]
#[case::add(&[0x48, 0x01, 0x03])]
#[case::undefined(&[0x0F, 0x0B])]
#[case::privileged(&[0xF4])]
#[case::interrupt(&[0xCD, 0x21])]
#[case::push_flags(&[0x9C])]
#[case::x87(&[0xD9, 0xEB])]
#[case::vector(&[0x66, 0x0F, 0x76, 0xC0])]
#[case::no_execute(&[0xFF, 0xE3])]
#[case::far_away(&[0x48, 0x8B, 0x40, 0xFF])]
fn one_instruction_does_what_it_does_on_the_interpreter(#[case] code: &[u8]) {
    both(&mut native(), &setup(code));
}

#[test]
fn a_store_to_a_read_only_page_faults_with_its_address() {
    let mut setup = setup(&[0x88, 0x43, 0x05]);
    setup.memory[1].rights = READ_ONLY;

    let outcome = both(&mut native(), &setup);

    assert_eq!(outcome.exception, Some(Exception { vector: 14, error_code: Some(7) }));
    assert_eq!(outcome.state.control.cr2, DATA + 5);
}

#[test]
fn upper_halves_of_vectors_go_in_and_come_out() {
    // vpaddd ymm0,ymm1,ymm1; then the same with 128 bits, which clears the upper half.
    let mut wide = setup(&[0xC5, 0xF5, 0xFE, 0xC1]);
    wide.state.control.cr4 |= emu_core::arch::Cr4::OSXSAVE;
    wide.state.simd.vector[0] = [7; 2];
    wide.state.simd.vector[1] = [3, 1 << 96 | 5];
    let mut narrow = wide.clone();
    narrow.memory[0].bytes[1] = 0xF1;
    let mut native = native();
    if native.layout.upper.is_none() {
        return;
    }

    let [wide, narrow] = [wide, narrow].map(|setup| native.execute(&setup).unwrap().state.simd.vector);

    assert_eq!((wide[0], wide[1]), ([6, 2 << 96 | 10], [3, 1 << 96 | 5]));
    assert_eq!(narrow[0], [6, 0]);
}

#[test]
fn a_batch_does_what_its_setups_do_and_none_sees_another() {
    let store = setup(&[0x48, 0x89, 0x5B, 0x20]);
    let load = setup(&[0x48, 0x8B, 0x43, 0x20]);
    let mut absent = load.clone();
    absent.memory.pop();
    let mut native = native();

    let outcomes = native.execute_batch(&[store, load.clone(), absent, load]);

    let rax: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().state.general.gpr[0]).collect();
    assert_eq!(rax, [0, 0, 0, 0]);
    let raised: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().exception).collect();
    assert_eq!(raised, [None, None, Some(Exception { vector: 14, error_code: Some(4) }), None]);
}

#[test]
fn a_block_ends_at_its_limit_its_stop_or_its_fault() {
    // inc rax; jmp back
    let mut endless = setup(&[0x48, 0xFF, 0xC0, 0xEB, 0xFB]);
    endless.instructions = 9;
    let mut stopped = endless.clone();
    stopped.stop = Some(CODE + 3);
    // A self-modifying block runs into UD2.
    let mut faulting = setup(&[0x66, 0xC7, 0x05, 0x00, 0x00, 0x00, 0x00, 0x0F, 0x0B, 0x90, 0x90]);
    (faulting.memory[0].rights, faulting.instructions) = (Rights::ALL, 5);
    let mut native = native();

    let counts = [endless, stopped, faulting].map(|setup| {
        let outcome = both(&mut native, &setup);
        (outcome.instructions, outcome.exception.map(|raised| raised.vector))
    });

    assert_eq!(counts, [(9, None), (1, None), (1, Some(6))]);
}

#[test]
fn a_repeated_instruction_is_one() {
    let mut setup = setup(&[0xF3, 0xAA]);
    (setup.state.general.gpr[1], setup.state.general.gpr[7]) = (16, DATA);

    let outcome = both(&mut native(), &setup);

    assert_eq!((outcome.memory[1].as_slice(), outcome.instructions), ([0; 16].as_slice(), 1));
}

#[rstest]
#[case(Mode::Compatibility16, &[0x66, 0x01, 0x07])]
#[case(Mode::Compatibility32, &[0x01, 0x03])]
#[case(Mode::Compatibility32, &[0x9C])]
#[case(Mode::Compatibility32, &[0xCE])]
#[case(Mode::Compatibility32, &[0x1E])]
#[case(Mode::Compatibility32, &[0x8E, 0xE0])]
fn compatibility_mode_has_its_segments(#[case] mode: Mode, #[case] code: &[u8]) {
    let mut state = Interpreter::new().state_in(mode, 3, 0x1_0000, &[]);
    adopt_selectors(&mut state, mode);
    state.segments.data.iter_mut().for_each(|segment| segment.limit = 0x1_7FFF);
    (state.general.rip, state.general.gpr[3]) = (0, 0x1000);
    state.general.gpr[4] = 0x1800;
    let memory = vec![region(CODE, code, READ_ONLY), region(CODE + 0x1000, &[0x55; 16], NO_EXECUTE)];

    both(&mut native(), &Setup { mode, state, memory, instructions: 1, stop: None });
}

#[test]
fn bases_of_fs_and_gs_are_the_setups() {
    let mut setup = setup(&[0x64, 0x8A, 0x04, 0x25, 1, 0, 0, 0]);
    setup.state.segments.data[4].base = DATA;

    assert_eq!(both(&mut native(), &setup).state.general.gpr[0], 0x11);
}

#[rstest]
#[case(&[0x0F, 0x05], "system call")]
#[case(&[0xCD, 0x80], "system call")]
fn what_would_leave_the_sandbox_is_refused(#[case] code: &[u8], #[case] reason: &str) {
    let mut native = native();

    let refused = native.execute(&setup(code)).unwrap_err();

    assert!(refused.0.contains(reason), "{refused}");
    both(&mut native, &setup(&[0x90]));
}

#[test]
fn a_load_of_ss_ends_at_a_breakpoint_but_cannot_be_stepped() {
    let mut native = native();
    let mut load = setup(&[0x8E, 0xD0]);

    let null = native.execute(&load).unwrap();
    load.instructions = 2;
    let refused = native.execute(&load).unwrap_err();

    assert_eq!(null.exception, Some(Exception { vector: 13, error_code: Some(0) }));
    assert!(refused.0.contains("load of SS"), "{refused}");
}

#[rstest]
#[case::stepped(Rights::ALL)]
#[case::landing(READ_ONLY)]
fn stepping_and_a_breakpoint_show_the_same(#[case] rights: Rights) {
    let codes: [&[u8]; 6] =
        [&[0x9C], &[0x9D], &[0xF3, 0xAA], &[0x48, 0x8B, 0x05, 1, 0, 0, 0], &[0xCC], &[0x48, 0x11, 0xC8]];
    let mut native = native();
    for code in codes {
        let mut setup = setup(code);
        setup.memory[0].rights = rights;
        (setup.state.general.gpr[1], setup.state.general.gpr[7]) = (3, DATA);
        (setup.state.general.gpr[0], setup.state.general.rflags) = (9, Flags::FIXED | Flags::CF);
        let outcome = both(&mut native, &setup);
        assert_eq!(outcome.memory[0], code);
    }
}

#[test]
fn a_killed_child_is_reported_and_replaced() {
    let mut native = native();
    let pid = native.child.as_ref().unwrap().pid();
    // SAFETY: our own child.
    unsafe { libc::kill(pid, libc::SIGKILL) };

    let outcomes = native.execute_batch(&[setup(&[0x90]), setup(&[0x90])]);

    assert!(outcomes[0].as_ref().unwrap_err().0.contains("killed the child process by signal 9"));
    assert!(outcomes[1].is_ok());
}

#[test]
fn other_modes_are_refused_with_a_reason() {
    let mut real = setup(&[0x90]);
    (real.mode, real.state) = (Mode::Real, state(Mode::Real));
    assert!(native().execute(&real).unwrap_err().0.contains("no other mode"));
}
