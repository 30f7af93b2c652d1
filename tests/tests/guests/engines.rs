//! Engines: user code on the host's KVM, and engines that change under a running guest.

use crate::{PATIENCE, beside_others, clocks};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use rstest::rstest;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};
use xtask::{
    bench::command_line,
    guests::{Guest, Variant},
};

/// The engines that this host has: kvm only where its KVM is good for something.
fn engines() -> Vec<&'static str> {
    let output = Emulator::accel().flag("--json").output();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let has_kvm = found["kvm"]["engine"].as_str().is_some_and(|engine| engine.starts_with("kvm"));
    if has_kvm { vec!["kvm", "jit", "interp"] } else { vec!["jit", "interp"] }
}

/// A conversation at a control socket.
struct Control {
    stream: UnixStream,
    lines: Lines<BufReader<UnixStream>>,
}

impl Control {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut control = Control { stream, lines };
        control.ask("qmp_capabilities", &json!({}));
        control
    }

    #[track_caller]
    fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        loop {
            let mut answer: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            assert!(answer.get("error").is_none(), "{answer}");
            if let Some(result) = answer.get_mut("return") {
                return result.take();
            }
        }
    }
}

/// Stock kernels come up, pass their checks and power off, with user code on KVM whenever it computes.
#[rstest]
#[case::of_64_bits(Guest::LinuxCloud, "1")]
#[case::on_two_processors(Guest::LinuxCloud, "2")]
#[case::of_32_bits(Guest::Linux686Pae, "1")]
fn a_kernel_passes_its_checks_with_kvm(#[case] guest: Guest, #[case] cpus: &str) {
    if !engines().contains(&"kvm") {
        return skip("this host has no KVM that executes user code");
    }
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check))
        .option("--engine", "kvm")
        .option("--cpus", cpus)
        .option("--memory", "512M")
        .start();
    guest.expect("emu-guest: done failures=0", PATIENCE);
    guest.finish(0, PATIENCE);
}

/// Programs that compute do so on the host's processor: long enough to say so, and with the same results as the translator.
#[test]
fn programs_that_compute_do_so_on_kvm() {
    if !engines().contains(&"kvm") {
        return skip("this host has no KVM that executes user code");
    }
    let Some(files) = guest_or_skip(Guest::Benchmark) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let run = |engine: &str| {
        let names = "sieve,bytecode,recursion,sse2,x87,chase";
        let mut guest = Emulator::run()
            .option("--kernel", files.kernel())
            .option("--initrd", files.benchmark_initrd())
            .option("--append", command_line(names, 100))
            .option("--memory", "1G")
            .option("--engine", engine)
            .option("--control", &socket)
            .start();
        let (mut sums, mut report) = (BTreeSet::new(), Value::Null);
        for name in names.split(',') {
            // The guest powers off behind the last one.
            guest.expect(&format!("BEGIN {name}"), PATIENCE);
            report = Control::connect(&socket).ask("query-accel", &json!({}));
            sums.insert((name.to_owned(), guest.expect_line(&format!("END {name} "), PATIENCE)));
        }
        guest.finish(0, PATIENCE);
        (sums, report)
    };
    let (jit, _) = run("jit");
    let (kvm, report) = run("kvm");
    assert_eq!(kvm, jit);
    assert_eq!((&report["engine"], &report["mode"]), (&json!("kvm"), &json!("user")));
    let nanos = report["counts"]["nanoseconds"].as_u64().unwrap();
    assert!(nanos > 300_000_000, "only {nanos} ns on the host's processor: {report}");
}

/// Changes of the engine while the guest measures.
const CHANGES: usize = 1000;

#[test]
fn a_thousand_changes_of_the_engine_are_not_seen_by_the_guest() {
    let engines = engines();
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Shell))
        .option("--cpus", "2")
        .option("--control", &socket)
        .start_on_terminal();
    // While it boots, too: from when the socket is there.
    while !socket.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut control = Control::connect(&socket);
    let mut change = |number: usize| {
        let engine = engines[number % engines.len()];
        control.ask("set-accel", &json!({ "engine": engine }));
        assert_eq!(control.ask("query-accel", &json!({}))["engine"], engine);
    };
    (0..100).for_each(&mut change);
    guest.expect("emu-guest: ready", PATIENCE);
    guest.expect("# ", PATIENCE);
    // One that computes and knows the result.
    guest.send(
        "(while true; do i=0; s=0; while [ $i -lt 3000 ]; do s=$((s + i * i % 7)); i=$((i + 1)); done; \
         [ $s = 5999 ] || echo wro''ng=$s; done) & \r",
    );
    clocks::watch(&mut guest);
    for number in 0..CHANGES {
        change(number);
        std::thread::sleep(Duration::from_millis((number % 7) as u64));
    }
    clocks::assert_steady(&mut guest);
    guest.send("poweroff\r");
    let said = guest.finish(0, PATIENCE);
    assert!(!said.contains("wrong="), "{said}");
}
