//! `--gdb`: what gdb itself makes of a guest, in every mode and with more than one processor.

mod protocol;

use crate::{PATIENCE, beside_others};
use emu_tests::{
    emulator::{Emulator, LINUX_CONSOLE, guest_or_skip, skip},
    session::Session,
};
use std::{
    fs,
    io::{Read, Seek},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use xtask::guests::{Guest, Variant};

/// Where the embedded guest's code of each mode begins.
const REAL: u64 = 0x7C00;
const PROTECTED: u64 = 0x8000;
const LONG: u64 = 0x8400;

/// Whether there is a gdb; else says that the test is skipped.
fn has_gdb() -> bool {
    let has = Command::new("gdb").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        skip("there is no gdb");
    }
    has
}

/// gdb connected to `place`, with the symbols of a file if one is given: what it says to `commands`.
fn gdb(symbols: Option<&Path>, place: &Path, commands: &[&str]) -> String {
    let connect = format!("target remote {}", place.display());
    let setting = ["set pagination off", "set confirm off", "set width 0", &connect];
    // One file, so that what is said stays in order.
    let mut heard = tempfile::tempfile().unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &PATIENCE.as_secs().to_string(), "gdb", "-nx", "-batch"]);
    command.args(symbols);
    // If the last one fails, so does gdb.
    for line in setting.iter().chain(commands).chain(&["echo that is all\\n"]) {
        command.args(["-ex", line]);
    }
    command.stdin(Stdio::null()).stdout(heard.try_clone().unwrap()).stderr(heard.try_clone().unwrap());
    let status = command.status().unwrap();
    let mut said = Vec::new();
    heard.rewind().unwrap();
    heard.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(status.success() && said.contains("that is all"), "gdb ended with {status}:\n{said}");
    said
}

/// Asserts that `said` has each of `texts`, in this order.
#[track_caller]
fn says(said: &str, texts: &[&str]) {
    let mut rest = said;
    for text in texts {
        let Some(at) = rest.find(text) else { panic!("gdb does not say {text:?} there:\n{said}") };
        rest = &rest[at + text.len()..];
    }
}

/// The embedded guest, which stands at its first instruction.
fn embedded(socket: &Path) -> Session {
    Emulator::run().option("--gdb", format!("{},wait", socket.display())).start_on_terminal()
}

/// Address of the first `code` in the embedded guest at or behind `from`.
fn find(code: &[u8], from: u64) -> u64 {
    let image = &emu::embedded::IMAGE[(from - REAL) as usize..];
    from + image.windows(code.len()).position(|window| window == code).unwrap() as u64
}

#[test]
fn gdb_debugs_real_mode_code_at_linear_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb");
    if !has_gdb() {
        return;
    }
    let _host = beside_others();
    let guest = embedded(&socket);
    // JMP 2000:0010; there MOV CX, 1234h; MOV [40h], CX; JMP $
    let said = gdb(
        None,
        &socket,
        &[
            "show architecture",
            "x/4i $pc",
            "stepi",
            "set var {unsigned char[5]}$pc = {0xea, 0x10, 0, 0, 0x20}",
            "set var {unsigned char[9]}0x20010 = {0xb9, 0x34, 0x12, 0x89, 0x0e, 0x40, 0, 0xeb, 0xfe}",
            "break *0x20013",
            "continue",
            "x/2i $pc",
            "printf \"cx=%x ip=%x base=%x pc=%x\\n\", $ecx & 0xffff, $ip, $cs_base, $pc",
            "monitor mode",
            "set var $ds = 0x3000",
            "watch *(short *) 0x30040",
            "continue",
            "printf \"pc=%x\\n\", $pc",
            "kill",
        ],
    );
    says(&said, &["(currently \"i8086\")", "cli", "cld", "xor    %ax,%ax", "mov    %ax,%ds"]);
    says(&said, &["Breakpoint 1, 0x00020013", "mov    %cx,0x40", "jmp    0x20017"]);
    says(&said, &["cx=1234 ip=13 base=20000 pc=20013", "real mode; set architecture i8086"]);
    says(&said, &["Old value = 0", "New value = 4660", "pc=20017"]);
    guest.finish(0, PATIENCE);
    assert!(!socket.exists(), "the socket is gone with the machine");
}

#[test]
fn gdb_steps_into_protected_and_into_long_mode() {
    /// MOV CR0, EAX: the far jump is behind it.
    const SWITCH: [u8; 3] = [0x0F, 0x22, 0xC0];
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb");
    if !has_gdb() {
        return;
    }
    let _host = beside_others();
    let mut guest = embedded(&socket);
    let to_protected = format!("break *{:#x}", find(&SWITCH, REAL));
    let to_long = format!("break *{:#x}", find(&SWITCH, PROTECTED));
    let said = gdb(
        None,
        &socket,
        &[
            &to_protected,
            "continue",
            "monitor mode",
            "stepi",
            "monitor mode",
            "stepi",
            "monitor mode",
            // gdb asks for the description again.
            "unset tdesc filename",
            "show architecture",
            "printf \"at %x\\n\", $pc",
            "x/2i $pc",
            &to_long,
            "continue",
            "stepi",
            "monitor mode",
            "stepi",
            "monitor mode",
            // Without being asked, too.
            "set architecture i386:x86-64",
            "printf \"at %lx, efer %lx\\n\", $rip, $efer",
            "x/1i $pc",
            "monitor translate 0x8400 0x100000000",
        ],
    );
    says(&said, &["real mode", "protected mode, 16-bit code", "protected mode, 32-bit code"]);
    says(&said, &["(currently \"i386\")", &format!("at {PROTECTED:x}"), "mov    $0x10,%eax", "%eax,%ds"]);
    says(&said, &["compatibility mode, 32-bit code", "64-bit mode; set architecture i386:x86-64"]);
    says(&said, &[&format!("at {LONG:x}, efer 500"), "mov    $0x", ",%esi"]);
    says(&said, &["0x8400: 0x8400", "0x100000000: not mapped"]);
    // gdb has left; the guest goes on.
    guest.expect("million instructions per second", PATIENCE);
    guest.send("q");
    guest.finish(0, PATIENCE);
}

/// A file with the symbols `names` of the kernel that `guest` runs, which tells their addresses.
fn symbols_of(guest: &mut Session, names: &[&str], folder: &Path) -> Option<PathBuf> {
    /// Where the kernel's image is linked to, and how much of it at most.
    const BASE: u64 = 0xFFFF_FFFF_8100_0000;
    const SIZE: u64 = 64 << 20;
    guest.shell("echo 0 > /proc/sys/kernel/kptr_restrict", PATIENCE);
    let mut source = format!(
        ".section .kernel, \"awx\", @nobits\nbase:\n.skip {SIZE}\n.globl _start\n.set _start, base\n"
    );
    for name in names {
        let said = guest.shell(&format!("grep ' {name}$' /proc/kallsyms"), PATIENCE);
        let line = said
            .lines()
            .find(|line| line.trim_end().ends_with(&format!(" {name}")) && line.starts_with("ffff"));
        let address = u64::from_str_radix(&line.unwrap()[..16], 16).unwrap();
        let offset = address - BASE;
        source += &format!(".globl {name}\n.type {name}, @function\n.set {name}, base + {offset}\n");
    }
    let (assembly, file) = (folder.join("symbols.s"), folder.join("symbols"));
    fs::write(&assembly, source).unwrap();
    let linked = Command::new("gcc")
        .args(["-nostdlib", "-static", "-no-pie"])
        .arg(format!("-Wl,--section-start=.kernel={BASE:#x}"))
        .args([&assembly, Path::new("-o"), &file])
        .output();
    match linked {
        Ok(output) if output.status.success() => Some(file),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skip(&format!("gcc: {error}"));
            None
        }
    }
}

/// A Linux guest of two processors, at the same addresses every time.
fn start_linux(place: &str) -> Option<Session> {
    let files = guest_or_skip(Guest::LinuxCloud)?;
    let guest = Emulator::run()
        .option("--kernel", files.kernel())
        .option("--initrd", files.initrd(Variant::Shell))
        .option("--append", format!("{LINUX_CONSOLE} nokaslr"))
        .option("--cpus", "2")
        .option("--gdb", place)
        .start_on_terminal();
    Some(guest)
}

/// The same, with its shell.
fn linux(socket: &Path) -> Option<Session> {
    let mut guest = start_linux(&socket.display().to_string())?;
    guest.expect("emu-guest: ready", PATIENCE);
    guest.expect("# ", PATIENCE);
    Some(guest)
}

#[test]
fn gdb_breaks_in_a_function_of_linux_by_its_symbol_and_watches_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb");
    if !has_gdb() {
        return;
    }
    let _host = beside_others();
    let Some(mut guest) = linux(&socket) else { return };
    let names = ["do_sys_openat2", "jiffies_64", "start_kernel", "do_exit"];
    let Some(symbols) = symbols_of(&mut guest, &names, folder.path()) else { return };
    guest.shell("(while :; do cat /proc/uptime; usleep 50000; done > /dev/null &)", PATIENCE);
    let said = gdb(
        Some(&symbols),
        &socket,
        &[
            "break do_sys_openat2",
            "continue",
            "x/s $rsi",
            "monitor info",
            "delete",
            "hbreak do_exit",
            "continue",
            "delete",
            "watch *(unsigned long *) &jiffies_64",
            "continue",
            "delete",
            "rwatch *(unsigned long *) &jiffies_64",
            "continue",
            "delete",
            "x/2gx 0",
            "x/1gx 0xfee00000",
            "monitor phys on",
            "x/1gx 0",
            "x/1gx 0xfee00000",
            "monitor phys off",
            "monitor nonsense",
            "p/x $cr0 & 0x80000001",
            "p/x $cs",
            "p $xmm0.v4_int32",
            "p $fctrl",
            "set var $xmm15.uint128 = 77",
            "p $xmm15.uint128",
            "set var $cs = 0",
        ],
    );
    says(&said, &["Breakpoint 1, 0xffffffff", "in do_sys_openat2 ()"]);
    says(&said, &["debug, ", "processor 0: ", "processor 1: ", "Breakpoint 2, ", "in do_exit ()"]);
    says(&said, &["hit Hardware watchpoint 3", "New value = ", "hit Hardware read watchpoint 4", "Value = "]);
    says(&said, &["Cannot access memory at address 0x0", "Cannot access memory at address 0xfee00000"]);
    says(&said, &["gdb's addresses are physical", "0x0:\t0x", "Cannot access memory at address 0xfee00000"]);
    says(&said, &["nonsense: no such command", "= 0x80000001", "= 0x10", "= {", "= 77"]);
    says(&said, &["Could not write register \"cs\""]);

    let there = gdb(Some(&symbols), &socket, &["break do_sys_openat2", "continue", "detach"]);
    says(&there, &["Breakpoint 1, ", "in do_sys_openat2 ()", "detached"]);
    assert!(guest.shell("echo $((6 * 7))", PATIENCE).contains("42"), "the guest goes on");
    guest.send("poweroff -f\r");
    guest.finish(0, PATIENCE);

    // From the first instruction on, where the kernel is not mapped yet.
    let Some(guest) = start_linux(&format!("{},wait", socket.display())) else { return };
    let commands =
        ["break *start_kernel", "continue", "x/i $pc", "printf \"lma=%d\\n\", $efer >> 10 & 1", "kill"];
    let said = gdb(Some(&symbols), &socket, &commands);
    says(
        &said,
        &["Breakpoint 1, 0xffffffff", "in start_kernel ()", "=> 0xffffffff", "<start_kernel>", "lma=1"],
    );
    guest.finish(0, PATIENCE);
}

#[test]
fn threads_are_processors_and_one_can_step_while_the_other_stands() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb");
    if !has_gdb() {
        return;
    }
    let _host = beside_others();
    let Some(mut guest) = linux(&socket) else { return };
    guest.shell("(while :; do :; done &) ; (while :; do :; done &)", PATIENCE);
    let registers = "printf \"%lx %lx %lx %lx %lx\\n\", $rip, $rsp, $rax, $rcx, $rdx";
    let said = gdb(
        None,
        &socket,
        &[
            "info threads",
            "echo --\\n",
            registers,
            "set scheduler-locking on",
            "thread 2",
            "echo --\\n",
            registers,
            "stepi 5",
            "echo --\\n",
            registers,
            "thread 1",
            "echo --\\n",
            registers,
            "echo --\\n",
            "set scheduler-locking off",
            "stepi",
            "echo --\\n",
            registers,
            "echo --\\n",
            "kill",
        ],
    );
    says(&said, &["* 1 ", "(CPU 0, ", "  2 ", "(CPU 1, "]);
    let values: Vec<&str> =
        said.split("--\n").skip(1).map(|part| part.lines().next().unwrap_or_default()).collect();
    let [first, second, stepped, first_after, _, first_stepped, ..] = values[..] else { panic!("{said}") };
    assert_ne!(second, stepped, "thread 2 has stepped:\n{said}");
    assert_eq!(first, first_after, "thread 1 stood:\n{said}");
    assert_ne!(first, first_stepped, "thread 1 has stepped:\n{said}");
    guest.finish(0, PATIENCE);
}
