//! The command as a user meets it: every mistake is one sentence and exit code 2, before anything starts.

use rstest::rstest;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn emu(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emu")).args(arguments).current_dir(directory).output().unwrap()
}

/// A directory with the files that the mistakes are about.
fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, data: &[u8]| fs::write(directory.path().join(name), data).unwrap();
    write("kernel", &[0x90; 4096]);
    write("empty", b"");
    write("big", &vec![1; 3 << 20]);
    let whole = emu::guests::Initramfs::new()
        .file("/init", 0o755, "#!/bin/sh\necho a script of some length\n")
        .write_gzip(Vec::new())
        .unwrap();
    write("cut.gz", &whole[..whole.len() - 20]);
    directory
}

#[rstest]
// Options and commands.
#[case(&["walk"], "walk: no such command; use run, demo, cpu, ")]
#[case(&["run", "--kernl", "x"], "did you mean --kernel?")]
#[case(&["run", "kernel"], "kernel: one argument too many")]
#[case(&["run", "--memory"], "--memory: needs a value")]
#[case(&["run", "--no-reboot=yes"], "--no-reboot yes: takes no value")]
#[case(&["run", "--cpus", "1", "--cpus", "2"], "--cpus: given more than once")]
// Machine.
#[case(&["run", "--memory", "12Q"], "--memory 12Q: \"Q\" is not a unit")]
#[case(&["run", "--memory", "0"], "--memory 0: too small")]
#[case(&["run", "--memory", "2T"], "--memory 2T: too large")]
#[case(&["run", "--cpus", "0"], "--cpus 0: not a number of CPUs; use 1 to")]
#[case(&["run", "--cpus", "many"], "--cpus many: not a number of CPUs")]
#[case(&["run", "--cpu", "max,avx"], "--cpu max,avx: \"avx\" starts with neither + nor -")]
#[case(&["run", "--cpu", ""], "--cpu")]
#[case(&["run", "--rtc", "yesterday"], "--rtc yesterday: not a time; use utc, local")]
// Boot.
#[case(&["run", "--kernel", "missing"], "--kernel missing: cannot be read (no such file or directory)")]
#[case(&["run", "--kernel", "."], "--kernel .: is a directory")]
#[case(&["run", "--kernel", "empty"], "--kernel empty: is empty")]
#[case(&["run", "--kernel", "/dev/null"], "--kernel /dev/null: is not a regular file")]
#[case(&["run", "--kernel", "big", "--memory", "2"], "--memory 2M: too little to hold the kernel; give at least 4M")]
#[case(&["run", "--initrd", "big"], "--initrd big: has no kernel to go with")]
#[case(&["run", "--append", "quiet"], "--append quiet: has no kernel to go with")]
#[case(&["run", "--kernel", "kernel", "--initrd", "missing"], "--initrd missing: cannot be read")]
#[case(&["run", "--kernel", "kernel", "--initrd", "cut.gz"], "--initrd cut.gz: the archive is cut off")]
#[case(&["run", "--kernel", "kernel", "--initrd", "big", "--memory", "3M"], "give at least 5M")]
// A guest on two engines.
#[case(&["test", "diff", "--engines", "jit"], "--engines jit: it takes two engines; name them as in jit,interp")]
#[case(&["test", "diff", "--engines", "jit,kvm"], "--engines kvm: not known; use interp, steps")]
#[case(&["test", "diff", "--append", "quiet"], "--append quiet: has no kernel to go with")]
#[case(&["test", "diff", "--kernel", "missing"], "--kernel missing: cannot be read")]
#[case(&["test", "diff", "--plant", "0"], "--plant 0: ")]
// Ports.
#[case(&["run", "--serial", "tcp:1"], "--serial tcp:1: not a destination; use stdio, file:PATH, pty or none")]
#[case(&["run", "--serial", "stdio", "--serial", "stdio"], "only one port can have standard input")]
#[case(&["run", "--serial", "file:/nonexistent/log"], "--serial /nonexistent/log: cannot be written")]
#[case(&["run", "--debugcon", "printer"], "--debugcon printer: not a destination")]
#[case(&["run", "--debugcon", "file:."], "--debugcon .: cannot be written (is a directory)")]
#[case(
    &["run", "--serial", "none", "--serial", "none", "--serial", "none", "--serial", "none", "--serial", "pty"],
    "--serial pty: one port too many"
)]
// Disks, networks, shares.
#[case(&["run", "--disk", "missing"], "--disk missing: ")]
#[case(&["run", "--disk", "kernel,bus=isa"], "is no bus; use virtio, nvme, ahci or ide")]
#[case(&["run", "--net", "wifi"], "--net wifi: ")]
#[case(&["run", "--forward", "tcp:22"], "--forward tcp:22: ")]
#[case(&["run", "--net", "none", "--pcap", "x"], "--pcap x: has no network card to go with; add --net user")]
#[case(&["run", "--mac", "01:00:5e:00:00:01"], "--mac 01:00:5e:00:00:01: ")]
#[case(&["run", "--share", "missing"], "--share missing: cannot be opened")]
#[case(&["run", "--share", "kernel"], "is not a folder")]
// Diagnosis.
#[case(&["run", "--log", "loud"], "--log loud: \"loud\" is neither a level")]
#[case(&["run", "--log-file", "/nonexistent/log"], "--log-file /nonexistent/log: cannot be written")]
#[case(&["run", "--trace", "cpu:x"], "--trace cpu:x: \"cpu\" is not a trace; use exec, interrupts, io or mmu")]
#[case(&["run", "--trace", "exec"], "--trace exec: the file is missing; write exec:FILE")]
#[case(&["run", "--trace", "io:/nonexistent/x"], "--trace /nonexistent/x: cannot be written")]
// The other commands.
#[case(&["demo", "--cpus", "0"], "--cpus 0: not a number of CPUs")]
#[case(&["cpu", "walk"], "walk: no such command; use list or show")]
#[case(&["cpu", "show", "pentium"], "emu cpu show pentium: unknown CPU model \"pentium\"; there are x86-64-v1, ")]
#[case(&["cpu", "show", "max,+flux"], "emu cpu show max,+flux: unknown CPU feature \"flux\"")]
#[case(&["cpu", "show", "max,avx"], "emu cpu show max,avx: \"avx\" starts with neither + nor -")]
#[case(&["cpu", "show", "max", "host"], "host: one argument too many")]
#[case(&["completions", "basic"], "basic: not known; use bash, elvish, fish, powershell or zsh")]
#[case(&["completions"], "<SHELL>: missing")]
#[case(&["man", "/nonexistent/dir"], "/nonexistent/dir: the pages cannot be written there")]
fn a_mistake_is_one_sentence_and_exit_code_2(#[case] arguments: &[&str], #[case] sentence: &str) {
    let directory = files();

    let output = emu(directory.path(), arguments);

    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(sentence), "{message}");
    assert!(message.starts_with("emu: ") && message.lines().count() == 1, "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_demo_cache_that_cannot_be_used_is_named() {
    let directory = files();
    let output = emu(directory.path(), &["demo", "--cache", "kernel"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        message.lines().last().unwrap().starts_with("emu: --cache kernel/demo: cannot be used"),
        "{message}"
    );
}

#[test]
fn without_apt_the_demo_explains_what_to_pass_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_emu"))
        .args(["demo", "--cache"])
        .arg(directory.path())
        .env("PATH", directory.path())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(message.contains("apt-cache is not installed here"), "{message}");
    assert!(message.contains("emu run --memory 256M --kernel vmlinuz --initrd initrd.gz"), "{message}");
}

#[test]
fn a_demo_that_is_prepared_needs_no_apt_and_prints_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let guest = directory.path().join("demo");
    fs::create_dir(&guest).unwrap();
    fs::write(guest.join("vmlinuz"), "kernel").unwrap();
    fs::write(guest.join("initrd.gz"), "initrd").unwrap();
    let cache = directory.path().to_str().unwrap();
    let output = emu(directory.path(), &["demo", "--prepare", "--cache", cache, "--cpus", "2"]);
    let command = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(command.starts_with("emu run --memory 256M --cpus 2 --kernel "), "{command}");
}

#[rstest]
#[case("bash", "complete -F _emu")]
#[case("zsh", "#compdef emu")]
#[case("fish", "complete -c emu")]
fn completions_know_the_options(#[case] shell: &str, #[case] marker: &str) {
    let output = emu(Path::new("."), &["completions", shell]);
    let script = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(script.contains(marker) && script.contains("debugcon"), "{script}");
}

#[rstest]
#[case("bash")]
#[case("zsh")]
#[case("fish")]
fn completions_know_the_models(#[case] shell: &str) {
    let output = emu(Path::new("."), &["completions", shell]);
    let script = String::from_utf8(output.stdout).unwrap();
    assert!(script.contains("x86-64-v3") && script.contains("host"), "{script}");
}

/// What `emu` prints when nothing is wrong.
fn printed(arguments: &[&str]) -> String {
    let output = emu(Path::new("."), arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_list_of_models_has_a_line_for_each_and_one_default() {
    let list = printed(&["cpu", "list"]);
    let names: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["x86-64-v1", "x86-64-v2", "x86-64-v3", "max", "host"]);
    assert_eq!(list.matches("(default)").count(), 1, "{list}");
}

#[rstest]
#[case("x86-64-v3", "  avx2                CPUID.07H.0:EBX[5]          x86-64-v3")]
#[case("x86-64-v3", "  rdcl_no             IA32_ARCH_CAPABILITIES[0]   x86-64-v1")]
#[case("x86-64-v3", "  XCR0, all of it         0x7")]
#[case("x86-64-v3", "  0000000D    2  00000100  00000240  00000000  00000000")]
#[case("x86-64-v1,+aes", "  aes                 CPUID.01H:ECX[25]           max")]
#[case("max,-avx", "  XCR0, all of it         0x203")]
fn a_model_shows_what_a_guest_sees(#[case] model: &str, #[case] line: &str) {
    let shown = printed(&["cpu", "show", model]);
    assert!(shown.starts_with(model) && shown.lines().any(|shown| shown == line), "{shown}");
}

#[test]
fn a_model_without_a_feature_does_not_show_it() {
    let shown = printed(&["cpu", "show", "x86-64-v3,-avx"]);
    assert!(!shown.contains("avx ") && !shown.contains("avx2 ") && shown.contains("bmi2 "), "{shown}");
    assert!(!printed(&["cpu", "show", "max,-xsave"]).contains("XCR0, all"));
}

#[test]
fn a_model_in_json_has_the_same_features() {
    let json: serde_json::Value = serde_json::from_str(&printed(&["cpu", "show", "host", "--json"])).unwrap();
    let shown = printed(&["cpu", "show", "host"]);
    let features = json["features"].as_array().unwrap();
    assert!(features.len() > 50);
    for feature in features {
        assert!(shown.contains(&format!("  {} ", feature["name"].as_str().unwrap())), "{feature}");
    }
    assert_eq!(json["model"], "host");
    assert_eq!(json["cpuid"][0]["eax"], 0x16);
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let output = emu(directory.path(), &["man", "."]);
    assert_eq!(output.status.code(), Some(0));
    for (page, text) in [
        ("emu.1", "Exit status"),
        ("emu-run.1", "memory"),
        ("emu-demo.1", "cache"),
        ("emu-cpu-show.1", "JSON"),
    ] {
        let page = fs::read_to_string(directory.path().join(page)).unwrap();
        assert!(page.contains(".TH") && page.contains(text), "{page}");
    }
    let printed = emu(directory.path(), &["man"]);
    assert!(String::from_utf8(printed.stdout).unwrap().contains(".TH emu 1"));
}

#[rstest]
#[case(&["--help"], &["Usage: emu", "Examples:", "Exit status:"])]
#[case(&["run", "--help"], &["Boot:", "Machine:", "Ports:", "Diagnosis:", "Examples:", "Ctrl-A x"])]
#[case(&["--version"], &["emu 0."])]
fn help_is_grouped_and_has_examples(#[case] arguments: &[&str], #[case] parts: &[&str]) {
    let output = emu(Path::new("."), arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in parts {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn no_command_shows_help_as_a_mistake() {
    let output = emu(Path::new("."), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Usage: emu"));
}
