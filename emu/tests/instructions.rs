//! `emu test insn` and `emu test corpus` as a user meets them.

use rstest::rstest;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn emu(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emu"))
        .arg("test")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

fn insn(arguments: &[&str]) -> String {
    let output = emu(Path::new("."), &[&["insn"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_instruction_is_disassembled_and_its_changes_told() {
    let text = insn(&["--mode", "long", "--bytes", "48 0f af c3", "--set", "rax=7", "--set", "rbx=-3"]);
    for part in ["imul rax,rbx", "rax    7 -> ffffffffffffffeb", "?zf", "rip    10000 -> 10004"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn memory_written_and_an_exception_are_told() {
    let store = ["--bytes", "88 03", "--set", "al=0x5a", "--set", "ebx=0x1001"];
    let written = insn(&[&store[..], &["--mem", "0x1000=112233"]].concat());
    assert!(written.contains("[1001]  22 -> 5a"), "{written}");
    let denied = insn(&[&store[..], &["--mem", "0x1000:r=112233", "--privilege", "3"]].concat());
    assert!(denied.contains("#PF(7): vector 14, error code 7, CR2 1001"), "{denied}");
}

#[test]
fn a_block_from_a_file_ends_at_its_stop_and_has_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    // inc ax; jmp back.
    fs::write(directory.path().join("code"), [0x40, 0xEB, 0xFD]).unwrap();
    let arguments = ["insn", "--mode", "real", "--file", "code", "--limit", "4", "--trace"];
    let output = emu(directory.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("rax  1 -> 2") && text.contains("interp: 4 instructions"), "{text}");
    let stopped = emu(directory.path(), &["insn", "--mode", "real", "--file", "code", "--stop", "0x7c01"]);
    let text = String::from_utf8(stopped.stdout).unwrap();
    assert!(text.contains("interp: 1 instruction\n"), "{text}");
}

#[test]
fn json_has_code_engines_and_differences() {
    let text = insn(&["--bytes", "0f0b", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["code"][0]["text"], "ud2");
    assert_eq!(json["engines"][0]["exception"]["vector"], 6);
    assert_eq!(json["differences"], Value::Array(Vec::new()));
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn two_engines_stand_beside_each_other() {
    let code = ["--bytes", "48 01 d8", "--set", "rax=7", "--set", "rbx=-3"];
    let text = insn(&[&code[..], &["--engine", "interp,native"]].concat());
    for part in ["before", "native", "rax           7", "The engines agree."] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn the_translator_is_an_engine_of_its_own() {
    let code = ["--bytes", "48 01 d8", "--set", "rax=7", "--set", "rbx=-3"];
    let text = insn(&[&code[..], &["--engine", "interp,jit"]].concat());
    for part in ["jit", "rax           7", "The engines agree."] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_corpus_line_that_is_wrong_is_shown_as_it_was_found() {
    let directory = tempfile::tempdir().unwrap();
    let lines = "# two cases\n64 | 90 | nop | =>\n64 | 48 ff c0 | inc rax | rax=1 => rax=3\n";
    fs::write(directory.path().join("cases.txt"), lines).unwrap();
    for path in [".", "cases.txt"] {
        let output = emu(directory.path(), &["corpus", path]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("cases.txt:3: 64 | 48 ff c0 | inc rax | rax=1 => rax=2\n"), "{text}");
        assert!(text.ends_with("interp: 1 passed, 1 failed, 0 left out\n"), "{text}");
    }
}

#[rstest]
#[case(&["insn"], "missing")]
#[case(&["insn", "--bytes", "4"], "--bytes 4: not bytes in hexadecimal")]
#[case(&["insn", "--bytes", "90", "--file", "x"], "--bytes: does not go together with")]
#[case(&["insn", "--bytes", "90", "--mode", "x32"], "--mode x32: no such mode; use real, v86")]
#[case(&["insn", "--bytes", "90", "--set", "rax"], "--set rax: write NAME=VALUE")]
#[case(&["insn", "--bytes", "90", "--set", "rux=1"], "--set rux=1: \"rux\" is neither a register nor a flag")]
#[case(&["insn", "--bytes", "90", "--set", "al=300"], "--set al=300: \"300\" is not a number of 8 bits")]
#[case(&["insn", "--bytes", "90", "--mem", "0x1000"], "--mem 0x1000: write ADDRESS=HEX")]
#[case(&["insn", "--bytes", "90", "--mem", "0x1000:x=00"], "\"x\" are no rights; use r, rw, rx or rwx")]
#[case(&["insn", "--bytes", "90", "--mem", "0x10000=00"], "--mem 0x10000: overlaps what is at 0x10000")]
#[case(&["insn", "--bytes", "90", "--mem", "0x300000=00"], "--engine interp: cannot run this: memory at")]
#[case(&["insn", "--bytes", "90", "--privilege", "4"], "--privilege 4: ")]
#[case(&["insn", "--bytes", "90", "--mode", "real", "--privilege", "3"], "real mode has level 0 alone")]
#[case(&["insn", "--bytes", "90", "--engine", "qemu"], "--engine qemu: not known; use interp, native, kvm or jit")]
#[case(&["insn", "--bytes", "90", "--cpu", "i9"], "--cpu i9: unknown CPU model")]
#[case(&["insn", "--bytes", "90", "--stop", "here"], "--stop here: \"here\" is not a number of 64 bits")]
#[case(&["insn", "--bytes", "90", "--limit", "0"], "--limit 0: ")]
#[case(&["insn", "--file", "missing"], "--file missing: cannot be read (no such file or directory)")]
#[case(&["corpus", "missing.txt"], "missing.txt: cannot be read (no such file or directory)")]
#[case(&["corpus", "missing.moo"], "missing.moo: cannot read")]
#[case(&["corpus"], "missing")]
fn a_mistake_is_one_sentence_and_exit_code_2(#[case] arguments: &[&str], #[case] sentence: &str) {
    let directory = tempfile::tempdir().unwrap();

    let output = emu(directory.path(), arguments);

    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(sentence), "{message}");
    assert!(message.starts_with("emu: ") && message.lines().count() == 1, "{message}");
    assert!(output.stdout.is_empty());
}
