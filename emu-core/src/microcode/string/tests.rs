//! Bulk does what iterations one by one do.

use super::*;
use crate::microcode::test_cpu::{insn, long_cpu};
use rstest::rstest;

/// Where the two rows lie: around the ends of pages.
const ROWS: [u64; 2] = [0x1_2000, 0x2_2000];
/// A page that is not there, in the second row.
const HOLE: u64 = 0x2_4000;

/// Numbers that only look random (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A 64-bit CPU of which page `HOLE` is not mapped, and all else is to itself.
fn cpu() -> Box<Cpu> {
    let mut cpu = long_cpu("max");
    cpu.memory.ram().write(0x8_2000, &0x8_3007u64.to_le_bytes()).unwrap();
    for page in 0..256u64 {
        let present = if page << 12 == HOLE { 0 } else { 7 };
        cpu.memory.ram().write(0x8_3000 + 8 * page, &(page << 12 | present).to_le_bytes()).unwrap();
    }
    cpu.mode_changed();
    cpu
}

/// One start of a string instruction.
#[derive(Debug, Clone, Copy)]
struct Start {
    rsi: u64,
    rdi: u64,
    rcx: u64,
    rax: u64,
    down: bool,
    flags: u16,
    asize: Width,
}

/// All that can be seen after the instruction, which is begun again as long as it wants that.
type Seen = (Result<(), Exception>, [u64; 4], u64, Vec<u8>);

fn run(cpu: &mut Cpu, start: &Start, operation: &Operation) -> Seen {
    let i = Insn { asize: start.asize, flags: flag::MODE64 | start.flags, ..insn(&[]) };
    for (register, value) in
        [(slot::RSI, start.rsi), (slot::RDI, start.rdi), (slot::RCX, start.rcx), (slot::RAX, start.rax)]
    {
        cpu.regs[register] = value;
    }
    cpu.set_rflags(Flags::FIXED);
    cpu.eflags.set(Flags::DF, start.down);
    let result = loop {
        match drive(cpu, &i, operation) {
            Err(Exception::Restart) => {}
            result => break result,
        }
    };
    let mut memory = vec![0; 0x3000];
    cpu.memory.ram().read(ROWS[1] - 0x1000, &mut memory).unwrap();
    let registers = [slot::RSI, slot::RDI, slot::RCX, slot::RAX].map(|register| cpu.regs[register]);
    (result, registers, cpu.rflags().bits().into(), memory)
}

/// Both rows, equal but for some bytes, of few values.
fn fill(cpu: &Cpu, numbers: &mut Numbers) {
    let odd = [1, 8, 200, 9000][numbers.below(4) as usize];
    let mut rows = [vec![0x55; 0x3000], vec![0x55; 0x3000]];
    for _ in 0..0x6000 / odd {
        rows[numbers.below(2) as usize][numbers.below(0x3000) as usize] =
            [0x54, 0x80, 0, 0xFF][numbers.below(4) as usize];
    }
    for (row, bytes) in ROWS.iter().zip(&rows) {
        cpu.memory.ram().write(row - 0x1000, bytes).unwrap();
    }
}

fn some_start(numbers: &mut Numbers, flags: u16, w: Width) -> Start {
    let mut at = |row: u64| {
        let near = [0x1000, 64, 16][numbers.below(3) as usize];
        (row + numbers.below(2 * near)).wrapping_sub(near)
    };
    let (rsi, rdi) = (at(ROWS[0]), at(ROWS[1]));
    let lengths = [2, 8, 40, 0x1800];
    let length = lengths[numbers.below(4) as usize];
    Start {
        rsi,
        rdi,
        rcx: numbers.below(length) + 1,
        rax: [0x5555_5555_5555_5555, 0, numbers.next()][numbers.below(3) as usize] & w.mask(),
        down: numbers.below(2) == 0,
        flags,
        asize: [Width::W64, Width::W64, Width::W32][numbers.below(3) as usize],
    }
}

#[rstest]
#[case::scas(SCAS, 1)]
#[case::cmps(CMPS, 2)]
#[case::movs(MOVS, 3)]
#[case::stos(STOS, 4)]
fn bulk_is_as_one_by_one(
    #[case] operation: Operation,
    #[case] seed: u64,
    #[values(Width::W8, Width::W16, Width::W32, Width::W64)] width: Width,
    #[values(flag::REP, flag::REPNE)] flags: u16,
) {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ seed << 8 | 1 | u64::from(flags) << 32 ^ width as u64);
    let mut cpu = cpu();
    let bulk = Operation { width, ..operation };
    let one_by_one = Operation { bulk: None, ..bulk };
    for _ in 0..400 {
        let start = some_start(&mut numbers, flags, width);
        let contents = numbers.next() | 1;
        fill(&cpu, &mut Numbers(contents));
        let expected = run(&mut cpu, &start, &one_by_one);
        fill(&cpu, &mut Numbers(contents));

        let seen = run(&mut cpu, &start, &bulk);

        assert!(
            seen == expected,
            "{start:x?}: {:x?}, expected {:x?}",
            (&seen.0, &seen.1, seen.2),
            (&expected.0, &expected.1, expected.2)
        );
    }
}

#[test]
fn of_pages_that_are_watched_every_element_is_looked_at() {
    let mut cpu = cpu();
    cpu.mmu.watch.push((ROWS[1] + 5, ROWS[1] + 5, 1, true));
    cpu.mmu.flush_all();
    let start =
        Start { rsi: 0, rdi: ROWS[1], rcx: 20, rax: 1, down: false, flags: flag::REPNE, asize: Width::W64 };

    let (result, registers, ..) = run(&mut cpu, &start, &SCAS);

    assert_eq!((result, registers[2], cpu.events.pending_debug), (Ok(()), 0, 1));
}

#[test]
fn a_repetition_is_left_where_it_is_when_something_is_requested() {
    let mut cpu = cpu();
    cpu.regs[slot::RDI] = ROWS[1] - 0x800;
    cpu.regs[slot::RCX] = 0x1800;
    cpu.regs[slot::RAX] = 1;
    let i = Insn { flags: flag::MODE64 | flag::REPNE, ..insn(&[]) };
    cpu.signal.raise(crate::engine::request::NMI);

    let result = drive(&mut cpu, &i, &SCAS);

    assert_eq!(result, Err(Exception::Restart));
    assert_eq!((cpu.regs[slot::RDI], cpu.regs[slot::RCX]), (ROWS[1], 0x1000), "the rest of the page");
}

#[rstest]
#[case(MOVS)]
#[case(STOS)]
#[case(SCAS)]
#[case(CMPS)]
fn a_single_step_is_one_element(#[case] operation: Operation) {
    let mut cpu = cpu();
    (cpu.regs[slot::RSI], cpu.regs[slot::RDI], cpu.regs[slot::RCX]) = (ROWS[0], ROWS[1], 9);
    let i = Insn { flags: flag::MODE64 | flag::REP, ..insn(&[]) };
    cpu.eflags.insert(Flags::TF);
    cpu.mode_changed();

    let result = drive(&mut cpu, &i, &operation);

    assert_eq!((result, cpu.regs[slot::RCX]), (Err(Exception::Restart), 8));
}
