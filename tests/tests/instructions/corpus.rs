//! Every case of the corpus on the interpreter.

use emu_harness::{
    Executor,
    corpus::{CODE, Case, parse_line},
    interpreter::Interpreter,
};
use std::{fs, path::Path};

/// A case and where it stands.
pub struct Entry {
    /// File and line.
    place: String,
    /// What stands there, up to the expectation.
    text: String,
    /// The case itself.
    pub case: Case,
}

/// The cases of all files.
pub fn cases() -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.map(|(index, line)| {
            let place = format!("{name}:{}", index + 1);
            let case = parse_line(line).unwrap_or_else(|error| panic!("{place}: {error}"));
            Entry { place, text: line.split("=>").next().unwrap_or(line).to_owned(), case }
        }));
    }
    all
}

#[test]
fn the_interpreter_does_what_the_corpus_says() {
    let mut interpreter = Interpreter::new();
    check(&cases(), |case| {
        let setup = case.setup(CODE);
        interpreter.set_generation(case.generation);
        match Executor::execute(&mut interpreter, &setup) {
            Ok(outcome) => case.mismatches(&setup, &outcome),
            Err(unsuitable) => vec![unsuitable.to_string()],
        }
    });
}

/// Runs all cases and tells which ones differ: each as its line, with what was found for what it says wrongly.
pub fn check(entries: &[Entry], mut mismatches: impl FnMut(&Case) -> Vec<String>) {
    let wrong: Vec<String> = entries
        .iter()
        .filter_map(|Entry { place, text, case }| {
            let found = mismatches(case);
            (!found.is_empty()).then(|| format!("{place}: {text}=> {}", found.join(" ")))
        })
        .collect();
    assert!(entries.len() >= 400, "only {} cases", entries.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), entries.len(), wrong.join("\n"));
}
