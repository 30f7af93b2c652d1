//! What cannot work is said in one sentence before anything starts.

use emu_tests::emulator::Emulator;
use rstest::rstest;
use std::fs;

/// Exit code of a mistake that the user can put right.
const USER_ERROR: i32 = 2;

/// Runs with `arguments`, and asserts that it ends as a user error with one sentence that has `parts`.
fn is_refused_in_one_sentence(arguments: &[&str], parts: &[&str]) {
    let emulator = arguments.iter().fold(Emulator::run(), |emulator, argument| emulator.flag(argument));

    let output = emulator.output();

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(USER_ERROR), "{said}");
    assert_eq!(output.stdout, b"", "nothing starts");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said:?}");
    }
}

#[rstest]
#[case::no_kernel(&["--kernel", "/nonexistent/vmlinuz"], &["--kernel", "/nonexistent/vmlinuz"])]
#[case::memory_without_a_number(&["--memory", "lots"], &["--memory", "lots"])]
#[case::memory_of_an_unknown_unit(&["--memory", "12Q"], &["--memory", "12Q"])]
#[case::no_memory(&["--memory", "0"], &["--memory", "0"])]
#[case::no_cpu(&["--cpus", "0"], &["--cpus", "0"])]
#[case::too_many_cpus(&["--cpus", "9999"], &["--cpus", "9999"])]
#[case::unknown_cpu(&["--cpu", "pentium-9000"], &["--cpu", "pentium-9000"])]
#[case::unknown_feature(&["--cpu", "max,+flux"], &["--cpu", "flux"])]
#[case::unknown_engine(&["--engine", "qemu"], &["--engine", "qemu", "jit"])]
#[case::thresholds_of_one_number(&["--jit-thresholds", "5"], &["--jit-thresholds", "5"])]
#[case::unknown_to_perf(&["--jit-perf", "graph"], &["--jit-perf", "graph", "dump"])]
#[case::unknown_stress(&["--jit-stress", "cold"], &["--jit-stress", "cold", "evict"])]
#[case::no_room_for_code(&["--jit-cache", "4K"], &["--jit-cache", "4K", "1M"])]
#[case::too_many_translators(&["--jit-threads", "1000"], &["--jit-threads", "1000"])]
#[case::unknown_destination(&["--serial", "modem"], &["--serial", "modem"])]
#[case::unwritable_serial(&["--serial", "file:/nonexistent/log"], &["--serial", "/nonexistent/log"])]
#[case::unwritable_debugcon(&["--debugcon", "file:/nonexistent/log"], &["--debugcon", "/nonexistent/log"])]
#[case::two_at_port_e9(&["--debugcon", "stdio", "--test-device"], &["--debugcon", "--test-device"])]
#[case::unknown_trace(&["--trace", "cpu:/tmp/x"], &["--trace", "cpu"])]
#[case::trace_without_a_file(&["--trace", "exec"], &["--trace", "exec"])]
#[case::unwritable_trace(&["--trace", "exec:/nonexistent/trace"], &["--trace", "/nonexistent/trace"])]
#[case::no_port(&["--gdb", "70000"], &["--gdb", "70000", "65535"])]
#[case::no_place_for_gdb(&["--gdb", "/nonexistent/gdb"], &["--gdb", "/nonexistent/gdb", "path"])]
#[case::unreadable_time(&["--rtc", "yesterday"], &["--rtc", "yesterday"])]
fn a_value_that_cannot_be_used_is_named(#[case] arguments: &[&str], #[case] parts: &[&str]) {
    is_refused_in_one_sentence(arguments, parts);
}

#[test]
fn a_kernel_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("letter.txt");
    fs::write(&kernel, "Dear all,\n".repeat(1000)).unwrap();
    let kernel = kernel.to_str().unwrap();

    is_refused_in_one_sentence(&["--kernel", kernel], &["--kernel", kernel]);
}

#[test]
fn an_initrd_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (kernel, initrd) = (folder.path().join("kernel"), folder.path().join("initrd"));
    fs::write(&kernel, emu_tests::images::multiboot_elf().unwrap()).unwrap();
    // Larger than memory, without taking room on the disk.
    fs::File::create(&initrd).unwrap().set_len(64 << 20).unwrap();
    let (kernel, initrd) = (kernel.to_str().unwrap(), initrd.to_str().unwrap());

    is_refused_in_one_sentence(
        &["--kernel", kernel, "--initrd", initrd, "--memory", "32M"],
        &["--initrd", "--memory 32M"],
    );
}

#[test]
fn an_initrd_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("kernel");
    fs::write(&kernel, emu_tests::images::multiboot_elf().unwrap()).unwrap();

    is_refused_in_one_sentence(
        &["--kernel", kernel.to_str().unwrap(), "--initrd", "/nonexistent/initrd"],
        &["--initrd", "/nonexistent/initrd"],
    );
}

#[test]
fn help_names_every_option_and_is_no_error() {
    let output = Emulator::run().flag("--help").output();

    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for option in [
        "--kernel",
        "--initrd",
        "--append",
        "--memory",
        "--cpus",
        "--cpu",
        "--serial",
        "--debugcon",
        "--debug-exit",
        "--test-device",
        "--no-reboot",
        "--rtc",
        "--log",
        "--trace",
    ] {
        assert!(said.contains(option), "no {option} in {said}");
    }
}
