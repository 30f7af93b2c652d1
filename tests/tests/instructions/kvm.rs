//! The corpus is right: what it says of kernel code is what the host's KVM does, as far as that can be believed.

use crate::corpus::{cases, check};
use emu_harness::{
    Executor, Unsuitable,
    corpus::{CODE, Exception},
    kvm::Kvm,
};
use std::collections::BTreeMap;

const UNDEFINED: Exception = Exception { vector: 6, error_code: None };

#[test]
fn kvm_does_what_the_corpus_says() {
    let mut kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut compared = 0;
    let mut reasons = BTreeMap::<String, usize>::new();
    check(&cases(), |case| {
        if case.generation.is_some() {
            return Vec::new();
        }
        let setup = case.setup(CODE);
        match kvm.execute(&setup) {
            // KVM may be without an instruction of the model `max`.
            Ok(outcome) if outcome.exception == Some(UNDEFINED) && case.after.exception.is_none() => {
                Vec::new()
            }
            Ok(outcome) => {
                compared += 1;
                case.mismatches(&setup, &outcome)
            }
            Err(Unsuitable(reason)) => {
                *reasons.entry(reason).or_default() += 1;
                Vec::new()
            }
        }
    });
    println!("{compared} cases compared; left out: {reasons:#?}");
}
