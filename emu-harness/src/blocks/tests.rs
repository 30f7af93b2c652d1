use super::*;
use crate::free_running::FreeRunning;
use emu_jit::Stress;
use iced_x86::Register;
use rstest::rstest;

const BLOCKS: u64 = 4000;

/// Fails with the block if they differ, or if hardly anything was compared.
fn agree(first: &mut dyn Executor, second: &mut dyn Executor, seed: u64) {
    let report = run(first, second, seed, BLOCKS);
    if let Some(difference) = report.difference {
        panic!("{} and {}: {difference}", first.name(), second.name());
    }
    assert!(report.agreed > BLOCKS * 9 / 10, "{report:?}");
}

#[test]
fn chained_blocks_do_what_single_instructions_do() {
    agree(&mut Interpreter::new(), &mut FreeRunning::new(None), 0x1111_2222_3333_4445);
}

#[test]
fn interrupts_between_blocks_are_not_noticed() {
    agree(&mut Interpreter::new(), &mut FreeRunning::new(Some(0x77)), 0x2222_3333_4444_5557);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn blocks_do_what_they_do_on_the_host() {
    match crate::native::Native::start() {
        Ok(mut native) => agree(&mut Interpreter::new(), &mut native, 0x4444_5555_6666_7779),
        Err(reason) => println!("skipped: {reason}"),
    }
}

#[test]
fn a_block_that_changes_its_own_loop_runs_as_changed() {
    let session = Session::new(&mut Random::new(1));
    let block = Block {
        start: CODE,
        pieces: vec![
            Piece::Loop { pieces: 2, times: 3 },
            Piece::Target { register: Register::EAX, constant: 1 },
            Piece::Patch { ahead: false, value: 0x10 },
        ],
    };
    let mut setup = session.setup(&block);
    setup.state.general.gpr[0] = 0;

    let single = Executor::execute(&mut Interpreter::new(), &setup).unwrap();
    let chained = FreeRunning::new(None).execute(&setup).unwrap();

    assert_eq!((single.state.general.gpr[0], single.exception), (0x21, None));
    assert!(differences(&single, &chained).is_empty());
}

/// An executor that is wrong about one instruction.
struct Wrong(Interpreter);

impl Executor for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }
    fn execute(&mut self, setup: &Setup) -> Result<Outcome, crate::Unsuitable> {
        let mut outcome = Executor::execute(&mut self.0, setup)?;
        let code = &setup.memory[0].bytes[(setup.state.general.rip - CODE) as usize..];
        // add r8d, constant
        if code.windows(3).any(|bytes| bytes == [0x41, 0x81, 0xC0]) {
            outcome.state.general.gpr[8] ^= 1;
        }
        Ok(outcome)
    }
}

#[test]
fn a_difference_is_shrunk_to_the_piece_that_makes_it() {
    let mut wrong = Wrong(Interpreter::new());

    let report = run(&mut Interpreter::new(), &mut wrong, 0x3333_4444_5555_6667, 100_000);

    let difference = report.difference.expect("a wrong executor is found");
    let Piece::Target { register, .. } = difference.block.pieces[0] else { panic!("{difference}") };
    assert_eq!((difference.block.pieces.len(), register), (1, Register::R8D));
    assert!(difference.what[0].starts_with("r8: "), "{difference}");
}

#[test]
fn translated_blocks_do_what_single_instructions_do() {
    let mut translated = FreeRunning::translated(None, None).unwrap();
    agree(&mut Interpreter::new(), &mut translated, 0x3333_4444_5555_6661);
}

#[test]
fn interrupts_between_translated_blocks_are_not_noticed() {
    let mut translated = FreeRunning::translated(Some(0x88), None).unwrap();
    agree(&mut Interpreter::new(), &mut translated, 0x4444_5555_6666_7773);
}

#[rstest]
fn stress_is_not_noticed(
    #[values(Stress::Warm, Stress::Hot, Stress::Evict, Stress::Invalidate)] stress: Stress,
    #[values(None, Some(0x99))] interrupts: Option<u64>,
) {
    let mut translated = FreeRunning::translated(interrupts, Some(stress)).unwrap();
    let report = run(&mut Interpreter::new(), &mut translated, 0x5555_6666_7777_8881, 300);
    assert!(report.difference.is_none(), "{}", report.difference.unwrap());
}

/// A loop that calls a function in the next page, in which the interpreter executes an instruction.
#[test]
fn a_region_of_two_pages_leaves_and_comes_back_in_either() {
    let page = |address, code: &[u8]| Region { address, bytes: code.to_vec(), rights: Rights::ALL };
    // 101000: call 102000; dec ebx; jnz 101000
    let main = [0xE8, 0xFB, 0x0F, 0, 0, 0xFF, 0xCB, 0x75, 0xF7];
    // 102000: mov rdi,r8; mov ecx,8; rep stosb; add r9,rdi; ret
    let function = [0x4C, 0x89, 0xC7, 0xB9, 8, 0, 0, 0, 0xF3, 0xAA, 0x49, 0x01, 0xF9, 0xC3];
    let mut state = Interpreter::new().state_in(Mode::Long64, 3, 0, &[]);
    state.general.rip = CODE;
    let gpr = &mut state.general.gpr;
    (gpr[0], gpr[3], gpr[4], gpr[8]) = (0x41, 300, DATA + 0x800, DATA);
    let setup = Setup {
        mode: Mode::Long64,
        state,
        memory: vec![page(CODE, &main), page(CODE + 0x1000, &function), page(DATA, &[0; 0x1000])],
        instructions: 10_000,
        stop: Some(CODE + main.len() as u64),
    };

    let single = Executor::execute(&mut Interpreter::new(), &setup).unwrap();
    let translated = FreeRunning::translated(None, None).unwrap().execute(&setup).unwrap();

    assert_eq!((single.exception, single.state.general.gpr[3]), (None, 0));
    assert_eq!(differences(&single, &translated), Vec::<String>::new());
}
