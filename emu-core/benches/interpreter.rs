//! Time the interpreter takes for what costs time in it. Results count guest instructions (or page walks, or
//! bytes) as elements: `Melem/s` are MIPS.
//!
//! `cargo bench -p emu-core` measures all kernels, `cargo bench -p emu-core -- tlb` those with `tlb` in their
//! names. On a machine that does other things too, the example `kernels` counts host instructions instead.

mod kernels;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernels::{KERNELS, Machine, Unit};
use std::time::Duration;

fn interpreter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("interpreter");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for kernel in KERNELS {
        let mut machine = Machine::new(kernel);
        let amount = machine.run();
        group.throughput(match kernel.unit {
            Unit::Byte(_) => Throughput::Bytes(amount),
            _ => Throughput::Elements(amount),
        });
        group.bench_function(kernel.name, |bencher| bencher.iter(|| machine.run()));
    }
    group.finish();
}

criterion_group!(benches, interpreter);
criterion_main!(benches);
