//! System instructions in kernel code on KVM, against the interpreter: agreement, or a reason.

mod cases;
mod compare;

use super::*;
use crate::interpreter::Interpreter;
use cases::Named;
use compare::differences;
use std::collections::BTreeMap;

/// A processor, or nothing after saying why there is none.
fn oracle() -> Option<Kvm> {
    Kvm::open().map_err(|reason| println!("skipped: {reason}")).ok()
}

/// Runs all cases on both, and asserts that at least `compared` of them could be compared and none differs.
fn agree(cases: Vec<Named>, compared: usize) {
    let Some(mut kvm) = oracle() else { return };
    let mut interpreter = Interpreter::new();
    let (mut same, mut wrong) = (0, Vec::new());
    let mut reasons = BTreeMap::<String, usize>::new();
    for Named { name, setup } in cases {
        let ours = Executor::execute(&mut interpreter, &setup).expect("the interpreter runs any of these");
        match kvm.execute(&setup) {
            Ok(theirs) => match differences(&ours, &theirs) {
                found if found.is_empty() => same += 1,
                found => wrong.push(format!("{name}: {}", found.join(", "))),
            },
            Err(Unsuitable(reason)) => *reasons.entry(reason).or_default() += 1,
        }
    }
    println!("{same} agree; left out: {reasons:#?}");
    assert!(wrong.is_empty(), "{} differ (ours, KVM's):\n{}", wrong.len(), wrong.join("\n"));
    assert!(same >= compared, "only {same} compared: {reasons:#?}");
}

#[test]
fn control_and_debug_registers_agree() {
    agree(cases::control_registers(), 100);
}

#[test]
fn descriptor_tables_agree() {
    agree(cases::tables(), 10);
}

#[test]
fn loads_of_selectors_agree() {
    agree(cases::selectors(), 50);
}

#[test]
fn far_transfers_agree() {
    agree(cases::far_transfers(), 50);
}

#[test]
fn model_specific_registers_agree() {
    agree(cases::msrs(), 40);
}

#[test]
fn page_faults_and_accessed_and_dirty_bits_agree() {
    agree(cases::paging(), 100);
}

#[test]
fn real_mode_agrees() {
    agree(cases::real_mode(), 20);
}

#[test]
fn what_user_code_shows_is_refused() {
    let Some(mut kvm) = oracle() else { return };
    let mut setup = cases::long(&[0x90]);
    for segment in &mut setup.state.segments.data {
        segment.attr |= attr::DPL;
    }
    assert!(kvm.execute(&setup).is_err());
}

#[test]
fn a_hole_is_a_reason_and_no_result() {
    let Some(mut kvm) = oracle() else { return };
    // tzcnt eax,ecx
    let result = kvm.execute(&cases::long(&[0xF3, 0x0F, 0xBC, 0xC1]));
    match kvm.holes().contains(&Hole::CountZeros) {
        true => assert_eq!(result, Err(Unsuitable(Hole::CountZeros.to_string()))),
        false => assert_eq!(result.map(|outcome| outcome.state.general.gpr[0]), Ok(32)),
    }
}
