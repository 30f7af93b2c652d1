//! Every encoding of D8 to DF, on random states, against the host's x87: FRSTOR of the same state, the same
//! instruction bytes, FNSAVE. Pointers, images and what the manual leaves undefined are not compared.

use super::{
    agreement::Operands,
    soft::status::{C0, C1, C2, C3, CONDITIONS, ES},
    tests::{Bench, DATA},
    transfer::{extended_bytes, extended_from},
};
use crate::{
    arch::Flags,
    cpu::{LazyFlags, slot},
    state::X87,
};
use iced_x86::{Code, Mnemonic};
use std::arch::{asm, global_asm};

// For each opcode: 64 register forms and 8 memory forms on [rdx], four bytes each.
global_asm!(
    ".p2align 4",
    "emu_x87_native_forms:",
    ".set opcode, 0xD8",
    ".rept 8",
    ".set modrm, 0xC0",
    ".rept 64",
    ".byte opcode, modrm",
    "ret",
    ".byte 0xCC",
    ".set modrm, modrm + 1",
    ".endr",
    ".set modrm, 0x02",
    ".rept 8",
    ".byte opcode, modrm",
    "ret",
    ".byte 0xCC",
    ".set modrm, modrm + 8",
    ".endr",
    ".set opcode, opcode + 1",
    ".endr",
);

unsafe extern "C" {
    static emu_x87_native_forms: u8;
}

/// What the instruction sees and leaves.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct World {
    image: [u8; 112],
    memory: [u8; 16],
    rax: u64,
    flags: u64,
}

/// Runs form `index` of the table on `world`.
fn run_native(index: usize, world: &mut World) {
    // SAFETY: `index` is a valid form of the table, which leaves alone all memory but the 16 bytes at RDX; the
    // state loaded has no pending exception, and FNSAVE, which does not wait, leaves the stack empty and the
    // control word as compiled code expects it. The call's return address goes below the red zone.
    unsafe {
        let form = (&raw const emu_x87_native_forms).add(index * 4);
        asm!(
            "sub rsp, 128",
            "frstor [{world}]",
            "push [{world} + 136]",
            "popfq",
            "call {form}",
            "pushfq",
            "pop [{world} + 136]",
            "fnsave [{world}]",
            "add rsp, 128",
            world = in(reg) world, form = in(reg) form,
            in("rdx") &raw mut world.memory, inout("rax") world.rax,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
        );
    }
}

fn image_of(x87: &X87) -> [u8; 112] {
    let mut image = [0; 112];
    image[..2].copy_from_slice(&x87.fcw.to_le_bytes());
    image[4..6].copy_from_slice(&x87.status().to_le_bytes());
    image[8..10].copy_from_slice(&x87.tags().to_le_bytes());
    for k in 0..8 {
        image[28 + 10 * k..][..10].copy_from_slice(&extended_bytes(x87.st(k as u8)));
    }
    image
}

/// ST(i) where not empty, status and control word of a native image.
fn seen_in(image: &[u8; 112]) -> (Vec<Option<[u8; 10]>>, u16, u16) {
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let (fcw, fsw, tags) = (word(0), word(4), word(8));
    let register = |k: usize| {
        let physical = (usize::from(fsw >> 11) + k) & 7;
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&image[28 + 10 * k..][..10]);
        (tags >> (2 * physical) & 3 != 3).then_some(bytes)
    };
    ((0..8).map(register).collect(), fsw, fcw)
}

fn seen_on(x87: &X87) -> (Vec<Option<[u8; 10]>>, u16, u16) {
    let register = |k: u8| (!x87.is_empty(k)).then(|| extended_bytes(x87.st(k)));
    ((0..8).map(register).collect(), x87.status(), x87.fcw)
}

/// Comparisons.
fn compares(code: Code) -> bool {
    use Mnemonic::{
        Fcom, Fcomi, Fcomip, Fcomp, Fcompp, Ficom, Ficomp, Ftst, Fucom, Fucomi, Fucomip, Fucomp, Fucompp,
    };
    matches!(
        code.mnemonic(),
        Fcom | Fcomi
            | Fcomip
            | Fcomp
            | Fcompp
            | Ficom
            | Ficomp
            | Ftst
            | Fucom
            | Fucomi
            | Fucomip
            | Fucomp
            | Fucompp
    )
}

/// Condition codes that the manual defines after the instruction, and processors agree on.
fn defined(code: Code, invalid: bool) -> u16 {
    use Mnemonic::{
        Fcom, Fcomi, Fcomip, Fcomp, Fcompp, Fcos, Ffree, Ffreep, Ficom, Ficomp, Fnclex, Fprem, Fprem1, Fptan,
        Fsin, Fsincos, Ftst, Fucom, Fucomi, Fucomip, Fucomp, Fucompp, Fxam,
    };
    match code.mnemonic() {
        Fcom | Fcomp | Fcompp | Fucom | Fucomp | Fucompp | Ficom | Ficomp | Ftst | Fxam => CONDITIONS,
        Fprem | Fprem1 if invalid => C2,
        Fprem | Fprem1 => CONDITIONS,
        Fcomi | Fcomip | Fucomi | Fucomip | Ffree | Ffreep | Fnclex => 0,
        Fsin | Fcos | Fptan | Fsincos => C1 | C2,
        _ => C1,
    }
}

fn random_state(operands: &mut Operands) -> X87 {
    let mut x87 = X87::reset();
    x87.fcw = operands.control().0;
    // Flags that are masked only: the instruction must be able to begin.
    x87.fsw = operands.bits() as u16 & (x87.fcw & 0x3F | 0x40 | C0 | C1 | C2 | C3);
    x87.top = operands.bits() as u8 & 7;
    x87.valid = if operands.bits().is_multiple_of(4) {
        operands.bits() as u8
    } else {
        operands.pick([0x7F, 0xFF, 0xFE]) as u8
    };
    x87.valid = x87.valid.rotate_left(x87.top.into());
    x87.r = std::array::from_fn(|_| operands.value());
    x87
}

fn random_memory(operands: &mut Operands) -> [u8; 16] {
    let mut memory = [0; 16];
    let [low, high] = [operands.bits(), operands.bits()];
    memory[..8].copy_from_slice(&low.to_le_bytes());
    memory[8..].copy_from_slice(&high.to_le_bytes());
    match operands.bits() % 6 {
        // A register-format value.
        0 | 1 => memory[..10].copy_from_slice(&extended_bytes(operands.value())),
        // Interesting singles and doubles: zero, denormal, one, infinity, NaNs.
        2 => {
            let pattern =
                operands.pick([0, 1, 0x3F80_0000, 0x7F80_0000, 0x7F80_0001, 0x7FC0_0001, 0xFF80_0000]);
            memory[..4].copy_from_slice(&(pattern as u32).to_le_bytes());
        }
        3 => {
            let pattern = operands.pick([0, 1, 0x3FF0 << 48, 0x7FF0 << 48, (0x7FF0 << 48) + 1, 0x7FF8 << 48]);
            memory[..8].copy_from_slice(&pattern.to_le_bytes());
        }
        // Decimal digits, and small integers.
        4 => memory[..9].iter_mut().for_each(|byte| *byte = (((*byte >> 4) % 10) << 4) | ((*byte & 15) % 10)),
        _ => memory[1..].fill(0),
    }
    memory
}

/// Instructions whose effect is on pointers, images or nothing.
fn is_comparable(code: Code) -> bool {
    use Mnemonic::{Fldenv, Fnsave, Fnstenv, Frstor};
    !matches!(code.mnemonic(), Fldenv | Fnsave | Fnstenv | Frstor)
}

#[test]
fn every_encoding_does_what_the_host_does() {
    let mut bench = Bench::protected();
    let mut operands = Operands::new(3);
    let mut wrong = Vec::new();
    for (index, (opcode, modrm)) in (0xD8..=0xDF_u8)
        .flat_map(|o| (0xC0..=0xFF).chain((0x02..0x40).step_by(8)).map(move |m| (o, m)))
        .enumerate()
    {
        let Some((code, _)) = bench.decode(&[opcode, modrm]).filter(|(code, _)| is_comparable(*code)) else {
            continue;
        };
        for _ in 0..400 {
            let (x87, memory) = (random_state(&mut operands), random_memory(&mut operands));
            let flags = operands.bits() & u64::from(Flags::ARITHMETIC.bits()) | 2;
            let mut world = World { image: image_of(&x87), memory, rax: 0x5555, flags };
            bench.cpu.x87 = x87;
            bench.cpu.regs[slot::RAX] = 0x5555;
            bench.cpu.flags = LazyFlags::from_flags(Flags::from_bits_truncate(flags as u32));
            bench.write(DATA, &memory);

            run_native(index, &mut world);
            bench.run(&[opcode, modrm]).expect("x87 errors are deferred");

            let (mut expected, mut found) = (seen_in(&world.image), seen_on(&bench.cpu.x87));
            let invalid = expected.1 & 0x40 != 0 || expected.0[0].is_some_and(|x| is_nan(&x));
            let undefined = CONDITIONS & !defined(code, invalid);
            expected.1 &= !undefined;
            found.1 &= !undefined;
            let beside = |memory: [u8; 16], flags: u32, rax: u64| {
                (memory, flags & Flags::ARITHMETIC.bits(), rax & 0xFFFF)
            };
            // The manual has no result of a comparison then; some processors write one.
            let unordered_unmasked = compares(code) && world.image[4] & !world.image[0] & 1 != 0;
            let expected_beside = beside(world.memory, world.flags as u32, world.rax);
            let found_beside = beside(bench.read(DATA), bench.cpu.rflags().bits(), bench.cpu.regs[slot::RAX]);
            if (expected != found || expected_beside != found_beside) && !unordered_unmasked {
                wrong.push(format!(
                    "{code:?} {opcode:x} {modrm:x} fcw {:x} fsw {:x} top {} valid {:02x} st {:x?} {:x?} memory {memory:x?}\n  host  {:x?} {:04x} {expected_beside:x?}\n  found {:x?} {:04x} {found_beside:x?}",
                    x87.fcw, x87.fsw, x87.top, x87.valid, x87.st(0), x87.st(1), expected.0, expected.1, found.0, found.1
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} forms differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn is_nan(bytes: &[u8; 10]) -> bool {
    super::soft::classify(extended_from(bytes)).is_nan_like()
}

// The summary bit is compared with the rest of the status word.
const _: () = assert!(CONDITIONS & ES == 0);
