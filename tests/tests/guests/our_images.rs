//! Kernels of our own that are not Linux: multiboot in ELF and flat, PVH, one that crashes, and a test kernel.

use crate::{PATIENCE, beside_others};
use emu_tests::{
    emulator::Emulator,
    images::{
        Check, debug_exit_value, multiboot_elf, multiboot_flat, pvh_elf, test_kernel_elf, triple_fault_elf,
    },
};
use rstest::rstest;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

const MODULE: &[u8] = b"what the module holds\n";

/// The exit status that QEMU makes of a value written to isa-debug-exit.
fn exit_code(value: u8) -> i32 {
    (i32::from(value) << 1) | 1
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

#[rstest]
#[case::multiboot_elf(multiboot_elf().unwrap(), "multiboot")]
#[case::multiboot_flat(multiboot_flat().unwrap(), "multiboot")]
#[case::pvh_elf(pvh_elf().unwrap(), "pvh")]
fn a_kernel_gets_its_command_line_its_module_and_an_exit_code(
    #[case] image: Vec<u8>,
    #[case] protocol: &str,
) {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", &image);
    let module = file(&folder, "module", MODULE);
    let debugcon = folder.path().join("debugcon");
    let mut guest = Emulator::run()
        .option("--kernel", kernel)
        .option("--initrd", format!("{} for the module", module.display()))
        .option("--append", "for the kernel")
        .option("--debugcon", format!("file:{}", debugcon.display()))
        .flag("--debug-exit")
        .start();

    guest.expect(&format!("started by {protocol}\r\n"), PATIENCE);
    assert!(guest.expect_line("command line: ", PATIENCE).ends_with("for the kernel"));
    assert!(guest.expect_line("module: ", PATIENCE).ends_with("for the module"));
    guest.expect("end\r\n", PATIENCE);
    guest.finish(exit_code(debug_exit_value(MODULE)), PATIENCE);

    assert_eq!(fs::read(debugcon).unwrap(), b"!");
}

#[test]
fn without_a_module_there_is_none() {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", &multiboot_elf().unwrap());

    let guest = Emulator::run().option("--kernel", kernel).flag("--debug-exit").start();

    assert!(!guest.finish(exit_code(0), PATIENCE).contains("module:"));
}

#[test]
fn a_test_kernel_finds_arguments_environment_and_test_devices() {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "apic.flat", &test_kernel_elf().unwrap());
    let environment = file(&folder, "environment", b"CPU=max\nVERBOSE=1\0");
    let mut guest = Emulator::run()
        .option("--kernel", &kernel)
        .option("--initrd", environment)
        .option("--append", "-v one")
        .flag("--debug-exit")
        .flag("--test-device")
        .start();

    let arguments = guest.expect_line("arguments: ", PATIENCE);
    assert_eq!(arguments, format!("{} -v one", kernel.display()));
    guest.expect("environment: CPU=max\nVERBOSE=1\r\n", PATIENCE);
    guest.expect("all checks pass\r\n", PATIENCE);
    guest.finish(exit_code(0), PATIENCE);
}

#[test]
fn without_test_devices_a_test_kernel_says_so() {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", &test_kernel_elf().unwrap());
    let environment = file(&folder, "environment", b"\0");

    let guest = Emulator::run()
        .option("--kernel", kernel)
        .option("--initrd", environment)
        .flag("--debug-exit")
        .start();

    guest.finish(exit_code(Check::FwCfg as u8), PATIENCE);
}

#[test]
fn a_crashed_guest_gives_exit_code_4() {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", &triple_fault_elf().unwrap());

    let guest = Emulator::run().option("--kernel", kernel).flag("--no-reboot").start();

    guest.finish(4, PATIENCE);
}

#[rstest]
#[case("exec", "lidt|int3|out|mov")]
#[case("io", "3f8")]
#[case("interrupts", "")]
#[case("mmu", "")]
fn a_trace_goes_to_its_file_and_changes_nothing(#[case] kind: &str, #[case] any_of: &str) {
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", &multiboot_elf().unwrap());
    let trace = folder.path().join("trace");
    let mut guest = Emulator::run()
        .option("--kernel", kernel)
        .option("--trace", format!("{kind}:{}", trace.display()))
        .flag("--debug-exit")
        .start();

    guest.expect("started by multiboot\r\n", PATIENCE);
    guest.finish(exit_code(0), PATIENCE);

    let trace = fs::read_to_string(&trace).unwrap().to_ascii_lowercase();
    assert!(any_of.split('|').any(|word| trace.contains(word)), "{trace}");
}
