//! The translator does what the interpreter does: what the corpus says, and a bounded sweep of every form, each
//! instruction as a region of its own, in both tiers. (Regions of several blocks: `emu_harness::blocks`.)

use crate::corpus::{cases, check};
use emu_core::{cpu_model::CpuModel, region::Tier};
use emu_harness::{
    Executor,
    corpus::CODE,
    jit::Translated,
    sweep::{Subject, Sweep},
};
use rstest::rstest;

#[rstest]
#[case::warm(Tier::Warm)]
#[case::hot(Tier::Hot)]
fn the_translator_does_what_the_corpus_says(#[case] tier: Tier) {
    let mut translated = Translated::new(tier).unwrap();
    check(&cases(), |case| {
        let setup = case.setup(CODE);
        translated.set_generation(case.generation);
        match translated.execute(&setup) {
            Ok(outcome) => case.mismatches(&setup, &outcome),
            Err(unsuitable) => vec![unsuitable.to_string()],
        }
    });
    assert!(translated.translated() >= 1000, "only {} instructions translated", translated.translated());
}

#[test]
fn the_translator_does_what_the_interpreter_does_with_every_form() {
    let sweep = Sweep { subject: Subject::Translator, cases: 60_000, seed: 0x5EED, ..Sweep::default() };
    let report = sweep.run(&CpuModel::named("max").unwrap(), &|_| ());
    let found: Vec<String> = report
        .findings
        .iter()
        .map(|finding| format!("{}\n    {:?}", finding.line, finding.differences))
        .collect();
    assert!(report.total().trials >= 50_000, "{:?}", report.total());
    assert!(found.is_empty(), "{} differ\n{}", report.total().different, found.join("\n"));
}
