//! The corpus is right: what it says of user code is what the host's processor does.
//!
//! Cases that only a kernel can set up, or whose result depends on what only a kernel sees, are left out.

use crate::corpus::{cases, check};
use emu_harness::{
    Executor,
    corpus::{CODE, Case, Exception, Mode, Register},
    native::Native,
};

const UNDEFINED: Exception = Exception { vector: 6, error_code: None };
/// Where 64-bit code goes that does not say where it is: a host may have no memory at the usual place.
const LOW_CODE: u64 = 0x10_1000;

#[test]
fn the_host_does_what_the_corpus_says() {
    let mut native = match Native::start() {
        Ok(native) => native,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut compared = 0;
    check(&cases(), |case| {
        if !in_reach(case) {
            return Vec::new();
        }
        let setup = case.setup(if case.mode == Mode::Long64 { LOW_CODE } else { CODE });
        let Ok(outcome) = native.execute(&setup) else { return Vec::new() };
        // The processor may be older than the model `max`.
        if outcome.exception == Some(UNDEFINED) && case.after.exception.is_none() {
            return Vec::new();
        }
        compared += 1;
        case.mismatches(&setup, &outcome)
    });
    println!("{compared} cases compared");
}

/// Whether user mode shows all that the case names: it has no say in selectors, control registers and MSRs.
fn in_reach(case: &Case) -> bool {
    if case.generation.is_some() {
        return false;
    }
    let mut words = case.before.registers.iter().chain(&case.after.state.registers);
    words.all(|(register, _)| {
        matches!(
            register,
            Register::General(_)
                | Register::Rip
                | Register::Xmm(_)
                | Register::YmmHigh(_)
                | Register::Mm(_)
                | Register::St(_)
                | Register::Mxcsr
                | Register::Fcw
                | Register::Fsw
                | Register::Ftw
                | Register::Control(2)
        )
    })
}
