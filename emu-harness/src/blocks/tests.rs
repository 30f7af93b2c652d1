use super::*;
use crate::free_running::FreeRunning;
use iced_x86::Register;

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
