use super::*;
use crate::{
    Executor,
    corpus::{CODE, parse_line},
    interpreter::Interpreter,
};

/// What the interpreter makes of a corpus line.
fn report(line: &str) -> Report {
    let setup = parse_line(line).unwrap().setup(CODE);
    let outcome = Executor::execute(&mut Interpreter::new(), &setup).unwrap();
    Report::new("interp", &setup, &outcome)
}

#[test]
fn only_what_changed_is_told_and_undefined_flags_as_such() {
    let report = report("64 | 48 0f af c3 | imul rax,rbx | rax=7 rbx=fffffffffffffffd =>");
    assert_eq!(
        report.to_string(),
        "interp: 1 instruction\n  rip    1000 -> 1004\n  rax    7 -> ffffffffffffffeb\n  \
         flags  - -> ?pf ?af ?zf ?sf\n"
    );
}

#[test]
fn an_exception_has_vector_error_code_and_cr2() {
    let report = report("64/3 | 48 89 03 | mov [rbx],rax | rbx=5000 =>");
    let raised = report.exception.as_ref().unwrap();
    assert_eq!((raised.vector, raised.error_code, raised.cr2), (14, Some(6), Some(0x5000)));
    assert!(report.to_string().contains("#PF(6): vector 14, error code 6, CR2 5000"));
}

#[test]
fn memory_is_told_in_runs_of_bytes() {
    let report = report("64 | 89 03 | mov [rbx],eax | rax=11223344 rbx=2001 [2000]=0044002200ff =>");
    let change = |what: &str, before: &str, after: &str| Change {
        what: what.into(),
        before: before.into(),
        after: after.into(),
    };
    assert_eq!(report.memory, [change("[2002]", "00", "33"), change("[2004]", "00", "11")]);
}

#[test]
fn engines_are_compared_row_by_row() {
    let one = report("64 | 48 ff c0 | inc rax | =>");
    let mut other = Report { engine: "other".into(), ..one.clone() };
    other.registers.retain(|change| change.what != "rax");
    let reports = [one, other];

    let differences = differences(&reports);

    assert_eq!(differences.len(), 1);
    assert_eq!((differences[0].what.as_str(), differences[0].after.join("/")), ("rax", "1/0".into()));
    assert!(table(&reports).contains("* rax           0       1       0\n"), "{}", table(&reports));
}

#[test]
fn a_trace_has_every_instruction_and_ends_as_the_whole() {
    let case =
        parse_line("64 | 48 ff c0 50 58 | inc rax; push rax; pop rax | rsp=2008 [2000]=00 =>").unwrap();
    let setup = case.setup(CODE);
    let mut interpreter = Interpreter::new();
    let whole = Executor::execute(&mut interpreter, &setup).unwrap();
    let mut rips = Vec::new();

    let traced = step_by_step(&mut interpreter, &setup, |step, _| rips.push(step.state.general.rip)).unwrap();

    assert_eq!(rips, [0x1000, 0x1003, 0x1004]);
    assert_eq!(traced, whole);
}
