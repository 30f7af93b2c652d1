//! Gathers and masked moves at faults. What they do without is compared with the host in `vectors_native`, single
//! instructions with page faults are in the corpus.

use super::{Elements, gather, masked_move};
use crate::{
    arch::{Exception, Seg, Segment, Width, attr},
    cpu::{Cpu, slot},
    decode::{Insn, Kind, flag},
    microcode::{
        segment_load::put,
        testing::{get_u64, insn, long, protected, put_u64},
    },
};

const DATA: u64 = 0x5000;
/// Destination, index and mask of gathers; destination or source and mask of moves.
const TO: u8 = 1;
const INDEX: u8 = 2;
const MASK: u8 = 3;
const SIGN: u64 = 1 << 63;

/// A 256-bit instruction on memory at RBX.
fn at_rbx(kind: [Kind; 3], reg: [u8; 3]) -> Insn {
    Insn {
        kind: [kind[0], kind[1], kind[2], Kind::None],
        reg: [reg[0], reg[1], reg[2], 0],
        base: slot::RBX as u8,
        asize: Width::W64,
        flags: flag::VEX | flag::L256,
        ..insn()
    }
}

fn gather_insn() -> Insn {
    let kinds = [Kind::Vector, Kind::Mem, Kind::Vector];
    Insn { index: INDEX, scale: 3, ..at_rbx(kinds, [TO, 0, MASK]) }
}

fn quads(cpu: &mut Cpu, register: u8) -> [u64; 4] {
    let elements = Elements::of(cpu, register, Width::W64);
    [0, 1, 2, 3].map(|k| elements.get(k))
}

fn set_quads(cpu: &mut Cpu, register: u8, values: [u64; 4]) {
    for (k, value) in (0..).zip(values) {
        Elements::of(cpu, register, Width::W64).set(k, value);
    }
}

/// Quadwords 10, 11, 12, 13 at RBX; the destination has other values.
fn cpu_with_data() -> Box<Cpu> {
    let mut cpu = long(0);
    cpu.regs[slot::RBX] = DATA;
    for k in 0..4 {
        put_u64(&cpu, DATA + 8 * k, 10 + k);
    }
    set_quads(&mut cpu, TO, [1, 2, 3, 4]);
    cpu
}

#[test]
fn a_gather_goes_on_behind_the_elements_that_it_has_done() {
    // Arrange: the third address is not canonical.
    let mut cpu = cpu_with_data();
    set_quads(&mut cpu, INDEX, [3, 2, 1 << 50, 0]);
    set_quads(&mut cpu, MASK, [SIGN, 5, SIGN | 6, SIGN | 7]);

    // Act
    let first = gather::qword_by_qword(&mut cpu, &gather_insn());
    let between = (quads(&mut cpu, TO), quads(&mut cpu, MASK));
    put_u64(&cpu, DATA + 24, 99);
    set_quads(&mut cpu, INDEX, [3, 2, 1, 0]);
    let second = gather::qword_by_qword(&mut cpu, &gather_insn());

    // Assert: the first element is not loaded again.
    assert_eq!((first, second), (Err(Exception::GP0), Ok(())));
    assert_eq!(between, ([13, 2, 3, 4], [0, 0, SIGN | 6, SIGN | 7]));
    assert_eq!((quads(&mut cpu, TO), quads(&mut cpu, MASK)), ([13, 2, 11, 10], [0; 4]));
}

#[test]
fn elements_narrower_than_indices_leave_the_upper_half_zero() {
    let mut cpu = cpu_with_data();
    set_quads(&mut cpu, INDEX, [0, 1, 2, 3]);
    set_quads(&mut cpu, MASK, [u64::MAX; 4]);
    gather::dword_by_qword(&mut cpu, &gather_insn()).unwrap();
    assert_eq!(quads(&mut cpu, TO), [10 | 11 << 32, 12 | 13 << 32, 0, 0]);
    assert_eq!(quads(&mut cpu, MASK), [0; 4]);
}

#[test]
fn a_masked_store_past_the_limit_stores_nothing() {
    // Arrange: the segment ends behind the first two elements.
    let mut cpu = protected(0);
    let rights = attr::P | attr::S | attr::WRITABLE | attr::ACCESSED | attr::D;
    let limit = DATA as u32 + 15;
    put(&mut cpu, Seg::Ds, Segment { selector: 0x10, attr: rights, limit, base: 0, unusable: false });
    cpu.mode_changed();
    cpu.regs[slot::RBX] = DATA;
    set_quads(&mut cpu, TO, [1, 2, 3, 4]);
    let store = Insn { asize: Width::W32, ..at_rbx([Kind::Mem, Kind::Vector, Kind::Vector], [0, MASK, TO]) };

    // Act
    set_quads(&mut cpu, MASK, [SIGN, SIGN, SIGN, 0]);
    let beyond = masked_move::store_qwords(&mut cpu, &store);
    let untouched = (get_u64(&cpu, DATA), get_u64(&cpu, DATA + 8));
    set_quads(&mut cpu, MASK, [SIGN, 0, 0, 0]);
    let within = masked_move::store_qwords(&mut cpu, &store);

    // Assert
    assert_eq!((beyond, within), (Err(Exception::GP0), Ok(())));
    assert_eq!(untouched, (0, 0));
    assert_eq!((get_u64(&cpu, DATA), get_u64(&cpu, DATA + 8)), (1, 0));
}

#[test]
fn a_masked_load_that_faults_leaves_its_destination() {
    let mut cpu = cpu_with_data();
    let load = at_rbx([Kind::Vector, Kind::Vector, Kind::Mem], [TO, MASK, 0]);
    // The last bytes below the hole of addresses.
    cpu.regs[slot::RBX] = (1 << 47) - 16;
    set_quads(&mut cpu, MASK, [0, 0, SIGN, 0]);
    assert_eq!(masked_move::load_qwords(&mut cpu, &load), Err(Exception::GP0));
    assert_eq!(quads(&mut cpu, TO), [1, 2, 3, 4]);
    set_quads(&mut cpu, MASK, [0; 4]);
    assert_eq!(masked_move::load_qwords(&mut cpu, &load), Ok(()));
    assert_eq!(quads(&mut cpu, TO), [0; 4]);
}
