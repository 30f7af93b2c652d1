//! The corpus is right: what it says of kernel code is what the host's KVM does, as far as that can be believed.

use crate::corpus::{Found, cases, check, mismatches, state_before, wanted_memory};
use emu_core::state::CpuState;
use emu_harness::{
    Executor, Region, Rights, Setup, Unsuitable, corpus::Case, interpreter::Interpreter, kvm::Kvm,
};
use std::collections::BTreeMap;

#[test]
fn kvm_does_what_the_corpus_says() {
    let mut kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut interpreter = Interpreter::new();
    let mut compared = 0;
    let mut reasons = BTreeMap::<String, usize>::new();
    check(&cases(), |case| {
        let before = state_before(&mut interpreter, case);
        match on_kvm(&mut kvm, case, &before) {
            Ok(found) => {
                compared += 1;
                mismatches(case, &before, &found)
            }
            Err(Unsuitable(reason)) => {
                *reasons.entry(reason).or_default() += 1;
                Vec::new()
            }
        }
    });
    println!("{compared} cases compared; left out: {reasons:#?}");
}

fn on_kvm(kvm: &mut Kvm, case: &Case, before: &CpuState) -> Result<Found, Unsuitable> {
    let memory = regions(case, before);
    let end = before.general.rip + case.code.len() as u64;
    let instructions = iced_x86::Decoder::new(case.mode.bitness(), &case.code, 0).iter().count() as u32;
    let setup = Setup { mode: case.mode, state: before.clone(), memory, instructions, stop: Some(end) };
    let outcome = kvm.execute(&setup)?;
    let byte = |address: u64| {
        setup.memory.iter().zip(&outcome.memory).find_map(|(region, bytes)| {
            bytes.get(usize::try_from(address.checked_sub(region.address)?).ok()?).copied()
        })
    };
    let memory =
        wanted_memory(case).into_keys().filter_map(|address| Some((address, byte(address)?))).collect();
    Ok(Found { state: outcome.state, exception: outcome.exception, memory })
}

/// Code and the memory that the case names, as pieces that do not overlap.
fn regions(case: &Case, before: &CpuState) -> Vec<Region> {
    let code = before.segments.data[1].base + before.general.rip;
    let mut bytes: BTreeMap<u64, u8> = wanted_memory(case).into_keys().map(|address| (address, 0)).collect();
    for (address, content) in case.before.memory.iter().chain([&(code, case.code.clone())]) {
        bytes.extend(content.iter().zip(*address..).map(|(byte, address)| (address, *byte)));
    }
    let rights = Rights { user: case.privilege == 3, ..Rights::ALL };
    let mut regions: Vec<Region> = Vec::new();
    for (address, byte) in bytes {
        match regions.last_mut() {
            Some(last) if last.address + last.bytes.len() as u64 == address => last.bytes.push(byte),
            _ => regions.push(Region { address, bytes: vec![byte], rights }),
        }
    }
    regions
}
