//! Every form of the opcode table on the interpreter, exactly and fast, and on the host's processor: a sweep of
//! fixed seed. `emu test sweep` runs larger ones.

use crate::corpus::cases;
use emu_core::cpu_model::CpuModel;
use emu_harness::{coverage::Coverage, sweep::Sweep};

#[test]
fn the_interpreter_does_what_the_host_does_and_every_row_is_exercised() {
    // Arrange
    let sweep = Sweep { cases: 600_000, seed: 0x5EED, ..Sweep::default() };

    // Act
    let report = sweep.run(&CpuModel::named("max").unwrap(), &|_| ());

    // Assert
    let total = report.total();
    println!("{total:?}");
    match &report.no_oracle {
        Some(reason) => println!("not compared with the host: {reason}"),
        None => assert!(total.native > 200_000, "{total:?}"),
    }
    let found: Vec<String> = report
        .findings
        .iter()
        .map(|finding| format!("{}\n    {:?} {:?}", finding.line, finding.against, finding.differences))
        .collect();
    assert!(found.is_empty(), "{} differ\n{}", total.different, found.join("\n"));
    let corpus: Vec<_> = cases().into_iter().map(|entry| entry.case).collect();
    let coverage = Coverage::of(&report, &corpus);
    let idle: Vec<&str> = coverage.unexercised().map(|row| row.name.as_str()).collect();
    assert_eq!(idle, Vec::<&str>::new());
}
