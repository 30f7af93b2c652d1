//! What a sandbox costs: programs of the interpreter's benchmark on the bare engine, in a sandbox without hooks,
//! and with each kind of hook; and the fixed costs of a run. Elements are instructions of the guest (or calls).
//!
//! First comes the overhead without hooks by runs in turn, which holds on a busy machine as well.
//!
//! `cargo bench -p emu-harness --bench sandbox` measures everything, `-- float` what has that in its name.

#[path = "../../emu-core/benches/kernels/mod.rs"]
mod kernels;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emu_harness::sandbox::{Exit, Mode, Prot, Sandbox, Until, Watch};
use iced_x86::code_asm::CodeAssembler;
use kernels::{CODE, DATA, KERNELS, Kernel, Machine, STACK};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Kernels that run in a page or two.
const MEASURED: [&str; 6] = ["branches", "indirect-calls", "recursion", "tlb-hit-base", "float", "vector"];

fn sandbox_of<'h>(kernel: &Kernel) -> (Sandbox<'h>, Until) {
    let mut assembler = CodeAssembler::new(64).expect("64 is a bitness");
    (kernel.build)(&mut assembler).expect("kernels are made of encodable instructions");
    let code = assembler.assemble(CODE).expect("kernels have no unplaced labels");
    let mut sandbox = Sandbox::new(Mode::Long64).expect("the host has memory");
    sandbox.map(CODE, 0x10_0000, Prot::RX).expect("nothing is mapped");
    sandbox.map(STACK - 0x1_0000, 0x1_0000, Prot::RW).expect("nothing is mapped here");
    sandbox.map(DATA, 0x80_0000, Prot::RW).expect("nothing is mapped here");
    sandbox.write_memory(CODE, &code).expect("the kernel fits");
    sandbox.set_reg("rsp", STACK).expect("there is such a register");
    (sandbox, Until::address(CODE + code.len() as u64))
}

fn run(sandbox: &mut Sandbox<'_>, until: Until) {
    let exit = sandbox.run_from(CODE, until);
    assert_eq!(exit, Exit::Reached, "kernels run to their ends");
}

fn against_the_engine(criterion: &mut Criterion) {
    for kernel in KERNELS.iter().filter(|kernel| MEASURED.contains(&kernel.name)) {
        let mut group = criterion.benchmark_group(kernel.name);
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        let mut machine = Machine::new(kernel);
        group.throughput(Throughput::Elements(machine.run()));
        group.bench_function("engine", |bencher| bencher.iter(|| machine.run()));

        let (mut sandbox, until) = sandbox_of(kernel);
        group.bench_function("sandbox", |bencher| bencher.iter(|| run(&mut sandbox, until)));

        let seen = Cell::new(0u64);
        let (mut sandbox, until) = sandbox_of(kernel);
        sandbox.on_code(0x5000..=0x5FFF, |_, _| seen.set(seen.get() + 1));
        group.bench_function("code-hook-elsewhere", |bencher| bencher.iter(|| run(&mut sandbox, until)));

        let (mut sandbox, until) = sandbox_of(kernel);
        sandbox.on_code(0..=u64::MAX, |_, _| seen.set(seen.get() + 1));
        group.bench_function("code-hook-everywhere", |bencher| bencher.iter(|| run(&mut sandbox, until)));

        let (mut sandbox, until) = sandbox_of(kernel);
        sandbox.on_memory(Watch::Accesses, DATA + 0x5000..=DATA + 0x5FFF, |_, _| seen.set(seen.get() + 1));
        group.bench_function("memory-hook-elsewhere", |bencher| bencher.iter(|| run(&mut sandbox, until)));

        let (mut sandbox, until) = sandbox_of(kernel);
        sandbox.on_memory(Watch::Accesses, 0..=u64::MAX, |_, _| seen.set(seen.get() + 1));
        group.bench_function("memory-hook-everywhere", |bencher| bencher.iter(|| run(&mut sandbox, until)));
        group.finish();
    }
}

/// What a sandbox without hooks costs: runs in turn, of which the fastest tenths are compared. What else the machine
/// does meets both alike, and the slow ones are its.
#[expect(clippy::disallowed_methods, reason = "the host's time is what is measured")]
fn overhead(_: &mut Criterion) {
    const PAIRS: usize = 1000;
    for kernel in KERNELS.iter().filter(|kernel| MEASURED.contains(&kernel.name)) {
        let mut machine = Machine::new(kernel);
        let (mut sandbox, until) = sandbox_of(kernel);
        let (mut engine, mut sandboxed) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let start = Instant::now();
            machine.run();
            let between = Instant::now();
            run(&mut sandbox, until);
            engine.push(between - start);
            sandboxed.push(between.elapsed());
        }
        let fast = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[PAIRS / 10].as_secs_f64()
        };
        let overhead = fast(&mut sandboxed) / fast(&mut engine) - 1.0;
        println!("{:<23} overhead: {:+.2} %", kernel.name, 100.0 * overhead);
    }
}

fn fixed_costs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fixed");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.bench_function("new", |bencher| bencher.iter(|| Sandbox::new(Mode::Long64).map(drop)));

    let nothing = Kernel { build: |a| a.nop(), ..KERNELS[0] };
    let (mut sandbox, until) = sandbox_of(&nothing);
    group.bench_function("call-of-one-instruction", |bencher| bencher.iter(|| run(&mut sandbox, until)));
    group.bench_function("step", |bencher| {
        bencher.iter(|| sandbox.run_from(CODE, Until::instructions(1)));
    });
    let cpu = sandbox.save();
    group.bench_function("restore-cpu", |bencher| bencher.iter(|| sandbox.restore(&cpu)));

    let mut small = Sandbox::new(Mode::Long64).expect("the host has memory");
    small.map(CODE, 16 << 12, Prot::RWX).expect("nothing is mapped");
    let all = small.save_all().expect("what is mapped can be read");
    group.bench_function("restore-16-pages", |bencher| bencher.iter(|| small.restore(&all)));
    group.finish();
}

criterion_group!(benches, overhead, against_the_engine, fixed_costs);
criterion_main!(benches);
