//! Host instructions that the interpreter takes for each guest instruction, for the kernels of the benchmark
//! `interpreter`: the same on a busy machine as on an idle one. Needs valgrind.
//!
//!     cargo run -p emu-core --profile fast --example kernels [NAME...]
//!
//! To see where a kernel's instructions go:
//!
//!     valgrind --tool=callgrind --toggle-collect='*measured*' target/fast/examples/kernels --run tlb-miss
//!     callgrind_annotate callgrind.out.*

#[path = "../benches/kernels/mod.rs"]
mod kernels;

use kernels::{KERNELS, Kernel, Machine, Unit};
use std::{
    env, fs,
    process::{Command, ExitCode, Stdio},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match &*arguments {
        [run, name] if run == "--run" => find(name).map(|kernel| {
            run_once(kernel);
        }),
        names => count_all(names),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("kernels: {message}");
            ExitCode::FAILURE
        }
    }
}

fn find(name: &str) -> Result<&'static Kernel, String> {
    KERNELS.iter().find(|kernel| kernel.name == name).ok_or_else(|| {
        let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        format!("no kernel {name}; there are {}", names.join(", "))
    })
}

/// Runs a kernel twice, the second time to be measured.
fn run_once(kernel: &Kernel) -> u64 {
    let mut machine = Machine::new(kernel);
    machine.run();
    measured(&mut machine)
}

/// What callgrind counts. Its name is all that callgrind knows it by.
#[inline(never)]
fn measured(machine: &mut Machine) -> u64 {
    machine.run()
}

fn count_all(names: &[String]) -> Result<(), String> {
    let chosen: Vec<&Kernel> = match names {
        [] => KERNELS.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
    };
    println!("{:16} {:>12} {:>12} {:>8}", "kernel", "guest", "host", "ratio");
    for kernel in chosen {
        let amount = run_once(kernel);
        let host = count(kernel)?;
        let ratio = host as f64 / amount as f64;
        println!("{:16} {amount:12} {host:12} {ratio:8.2} per {}", kernel.name, unit_name(kernel.unit));
    }
    Ok(())
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Instruction => "guest instruction",
        Unit::Walk(_) => "page walk",
        Unit::Byte(_) => "byte",
    }
}

/// Host instructions of one run, counted by callgrind.
fn count(kernel: &Kernel) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let file = env::temp_dir().join(format!("kernels-{}-{}.callgrind", std::process::id(), kernel.name));
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--toggle-collect=*measured*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--run", kernel.name])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run valgrind (is it installed?): {error}"))?;
    if !status.success() {
        return Err(format!("valgrind failed ({status})"));
    }
    let counts =
        fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    fs::remove_file(&file).map_err(|error| format!("cannot remove {}: {error}", file.display()))?;
    counts
        .lines()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| "callgrind wrote no total".to_owned())
}
