//! A host without sense: any access to any register, any bytes in memory, a disk that is done whenever.

use super::*;
use emu_core::bus::Snapshot;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Write(u64, u8, u64),
    Read(u64, u8),
    Configure(u16, u32),
    Memory(u64, Vec<u8>),
    Command(usize, [u32; 16]),
    Finish(usize),
    Reset,
    Restore,
}

fn words() -> impl Strategy<Value = u32> {
    let address = (0_u32..0x400).prop_map(|page| page * 0x1000);
    prop_oneof![4 => 0_u32..16, 2 => address, 1 => any::<u32>(), 1 => (0_u32..32).prop_map(|bit| 1 << bit)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let register = prop_oneof![(0_u64..0x40), (0x1000_u64..0x1040), (0x2000_u64..0x3010), any::<u64>()];
    let register = prop_oneof![4 => register.clone().prop_map(|at| at & !3), 1 => register];
    let size = prop_oneof![1 => Just(1_u8), 1 => Just(2), 8 => Just(4), 1 => Just(8)];
    let value = prop_oneof![4 => words().prop_map(u64::from), 1 => Just(u64::from(ENABLED)), 1 => Just(0)];
    let opcodes = prop_oneof![0_u32..14, any::<u8>().prop_map(u32::from)];
    let command = (opcodes, proptest::array::uniform15(words())).prop_map(|(opcode, rest)| {
        let mut words = [opcode; 16];
        words[1..].copy_from_slice(&rest);
        // Most commands are for the namespace and have no high address bits.
        (words[1], words[7], words[9]) = (words[1] % 3, words[7] & 1, words[9] & 1);
        words
    });
    let step = prop_oneof![
        6 => (register.clone(), size.clone(), value).prop_map(|(at, size, value)| Step::Write(at, size, value)),
        1 => (register, size).prop_map(|(at, size)| Step::Read(at, size)),
        1 => (0_u16..0x100, any::<u32>()).prop_map(|(at, value)| Step::Configure(at, value)),
        2 => (0_u64..RAM, proptest::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Step::Memory(at, bytes)),
        8 => (0_usize..2, command).prop_map(|(queue, words)| Step::Command(queue, words)),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => Just(Step::Reset),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, 1..120)
}

fn perform(bench: &mut Bench, step: Step) {
    // What is refused is answered; so is what is outside of memory.
    match step {
        Step::Write(at, size, value) => _ = bench.nvme.lock().mmio_write(BAR, at, size, value),
        Step::Read(at, size) => _ = bench.nvme.lock().mmio_read(BAR, at, size),
        Step::Configure(at, value) => bench.configure(at, 4, value),
        Step::Memory(at, bytes) => _ = bench.dma.write(at, &bytes),
        Step::Command(queue, words) => _ = bench.submit(queue, &[words]),
        Step::Finish(number) if bench.disk.waiting() != 0 => {
            bench.disk.finish(number % bench.disk.waiting());
        }
        Step::Finish(_) => {}
        Step::Reset => bench.nvme.lock().reset(),
        Step::Restore => {
            let state = bench.nvme.lock().save();
            bench.disk = Arc::new(Disk::new(64 << 10));
            let args = Bench::args(&bench.dma, &bench.disk, &bench.messages, &bench.wire);
            bench.nvme = Nvme::restore(args, state).expect("what a controller saved").connect();
        }
    }
    assert!(bench.disk.waiting() <= outstanding::MOST_OUTSTANDING + outstanding::MOST_ADMIN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_host_breaks_the_controller(steps in steps()) {
        let mut bench = Bench::running();
        for step in steps {
            perform(&mut bench, step);
        }
        // And it recovers.
        bench.disk.finish_all();
        bench.nvme.lock().reset();
        bench.configure(pci_reg::COMMAND as u16, 2, pci_command::MEMORY | pci_command::BUS_MASTER);
        bench.disk.finish_all();
        bench.enable();
        bench.use_messages();
        bench.make_queues(1, 8);
        prop_assert_eq!(bench.io(blocks(2, 0, 1)), 0);
    }
}
