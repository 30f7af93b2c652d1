//! x87 instructions that translated code lets the host's own x87 execute.
//!
//! While a region runs that has such instructions, the guest's x87 state, tags and sticky flags included, is in the
//! host's x87: [`enter`] and [`leave`] move it. That is possible as long as the guest masks all exceptions, so that
//! nothing traps; results, flags and stack faults are the hardware's then, as they are in the interpreter
//! (`microcode::x87::host`). What the hardware does not keep as the guest would see it, the pointers to the last
//! instruction and its operand, translated code keeps itself.
//!
//! Every instruction has a stub: the instruction itself, its memory operand at the address in the first argument's
//! register, and a return. Stubs change no register but those of the x87 and flags. Between them translated code and
//! what it calls must not use the x87.
//!
//! Left out, and executed exactly: control and environment instructions, BCD, conditional moves.

use crate::{
    cpu::Cpu,
    decode::{Insn, Kind},
    semantics::{Key, Table, effects::Effects},
    state::Extended,
};
use iced_x86::Mnemonic;
use std::sync::LazyLock;

/// What the memory operand of a stub is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// There is none.
    None,
    /// It is read, that many bytes.
    Load(u8),
    /// It is written.
    Store(u8),
}

/// What an instruction tells the rest of the CPU. The stub's argument is then where to store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// CF, ZF and PF, a byte each.
    Flags,
    /// The status word, for the register that is its operand.
    Status,
}

/// An instruction as the host's x87 executes it.
#[derive(Debug, Clone, Copy)]
pub struct Native {
    /// The stub: a function of the address of the operand.
    pub stub: *const (),
    /// Its memory operand.
    pub operand: Operand,
    /// What else it tells than the state of the x87.
    pub tells: Tells,
    /// It is one that the pointers to the last instruction and operand tell of.
    pub noted: bool,
}

/// The state as FNSAVE stores it.
#[repr(C, align(16))]
pub struct Image(pub [u8; IMAGE]);

/// Bytes of an [`Image`].
pub const IMAGE: usize = 108;

const CONTROL: usize = 0;
const STATUS: usize = 4;
const TAGS: usize = 8;
const REGISTERS: usize = 28;
const ALL_MASKED: u16 = 0x3F;
const SUMMARY: u16 = 1 << 7;
const TOP_SHIFT: u32 = 11;

/// Prepares `image` with the state of `cpu`, for [`load`]. Returns 0 if the host's x87 cannot stand for the guest's now.
///
/// # Safety
/// Both are what translated code was given or has on its stack.
pub unsafe extern "C" fn enter(cpu: *const Cpu, image: *mut Image) -> u64 {
    // SAFETY: the caller's promise.
    let (x87, image) = unsafe { (&(*cpu).x87, &mut (*image).0) };
    if x87.fcw & ALL_MASKED != ALL_MASKED || x87.fsw & SUMMARY != 0 {
        return 0;
    }
    image[..REGISTERS].fill(0);
    let control = x87.fcw & 0xF3F | 0x40;
    image[CONTROL..CONTROL + 2].copy_from_slice(&control.to_le_bytes());
    image[STATUS..STATUS + 2].copy_from_slice(&x87.status().to_le_bytes());
    let tags = (0..8).filter(|n| x87.valid >> n & 1 == 0).fold(0u16, |tags, n| tags | 3 << (2 * n));
    image[TAGS..TAGS + 2].copy_from_slice(&tags.to_le_bytes());
    for n in 0..8 {
        let Extended { significand, sign_exponent } = x87.r[usize::from(x87.top) + n & 7];
        let at = REGISTERS + 10 * n;
        image[at..at + 8].copy_from_slice(&significand.to_le_bytes());
        image[at + 8..at + 10].copy_from_slice(&sign_exponent.to_le_bytes());
    }
    1
}

/// Takes the state of `cpu` from `image`, which [`save`] has stored.
///
/// # Safety
/// As [`enter`].
pub unsafe extern "C" fn leave(cpu: *mut Cpu, image: *const Image) -> u64 {
    // SAFETY: the caller's promise.
    let (x87, image) = unsafe { (&mut (*cpu).x87, &(*image).0) };
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let status = word(STATUS);
    x87.top = (status >> TOP_SHIFT & 7) as u8;
    x87.fsw = status & !(7 << TOP_SHIFT);
    let tags = word(TAGS);
    x87.valid = (0..8).filter(|n| tags >> (2 * n) & 3 != 3).fold(0, |valid, n| valid | 1 << n);
    for n in 0..8 {
        let at = REGISTERS + 10 * n;
        let mut significand = [0; 8];
        significand.copy_from_slice(&image[at..at + 8]);
        x87.r[usize::from(x87.top) + n & 7] =
            Extended { significand: u64::from_le_bytes(significand), sign_exponent: word(at + 8) };
    }
    0
}

/// The stub that loads an image to the host's x87.
pub fn load() -> *const () {
    memory(0xDD, 4)
}

/// The stub that stores the host's x87 to an image, and leaves it as compiled code has it.
pub fn save() -> *const () {
    memory(0xDD, 6)
}

// Four bytes for every opcode from D8 to DF with a memory operand, then for those with registers, then sixteen for
// those that compare into flags.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".balign 16",
    ".hidden emu_x87_stubs",
    ".globl emu_x87_stubs",
    "emu_x87_stubs:",
    ".set op, 0xD8",
    ".rept 8",
    ".set field, 0",
    ".rept 8",
    ".byte op, field * 8 + 7, 0xC3, 0xCC",
    ".set field, field + 1",
    ".endr",
    ".set op, op + 1",
    ".endr",
    ".set op, 0xD8",
    ".rept 8",
    ".set field, 0xC0",
    ".rept 64",
    ".byte op, field, 0xC3, 0xCC",
    ".set field, field + 1",
    ".endr",
    ".set op, op + 1",
    ".endr",
    ".set op, 0xDB",
    ".rept 2",
    ".set field, 0xE8",
    ".rept 16",
    ".byte op, field",
    "setb [rdi]",
    "sete [rdi + 1]",
    "setp [rdi + 2]",
    "ret",
    ".balign 16, 0xCC",
    ".set field, field + 1",
    ".endr",
    ".set op, 0xDF",
    ".endr",
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    #[link_name = "emu_x87_stubs"]
    static STUBS: u8;
}

fn stub(at: usize) -> *const () {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: within the table.
    unsafe {
        (&raw const STUBS).add(at).cast()
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::ptr::without_provenance(at)
}

fn memory(opcode: u8, field: u8) -> *const () {
    stub(4 * (usize::from(opcode - 0xD8) * 8 + usize::from(field)))
}

fn registers(opcode: u8, modrm: u8) -> *const () {
    stub(4 * 64 + 4 * (usize::from(opcode - 0xD8) * 64 + usize::from(modrm - 0xC0)))
}

fn comparing(pops: bool, modrm: u8) -> *const () {
    stub(4 * 64 + 4 * 512 + 16 * (usize::from(pops) * 16 + usize::from(modrm - 0xE8)))
}

static ROWS: LazyLock<Table<Effects>> = LazyLock::new(Table::new);

/// How the host's x87 executes `i`, if it can.
pub fn native(i: &Insn) -> Option<Native> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let Key::Mnemonic(mnemonic) = ROWS.row(i.row).key else { return None };
    if i.kind[0] == Kind::Mem { in_memory(mnemonic, i.mem_size) } else { in_registers(mnemonic, i) }
}

/// Arithmetic and comparisons, in the order of their field.
const ARITHMETIC: [[Mnemonic; 8]; 2] = {
    use Mnemonic::{
        Fadd, Fcom, Fcomp, Fdiv, Fdivr, Fiadd, Ficom, Ficomp, Fidiv, Fidivr, Fimul, Fisub, Fisubr, Fmul,
        Fsub, Fsubr,
    };
    [
        [Fadd, Fmul, Fcom, Fcomp, Fsub, Fsubr, Fdiv, Fdivr],
        [Fiadd, Fimul, Ficom, Ficomp, Fisub, Fisubr, Fidiv, Fidivr],
    ]
};

fn in_memory(mnemonic: Mnemonic, size: u8) -> Option<Native> {
    let native = |opcode, field, operand| Native {
        stub: memory(opcode, field),
        operand,
        tells: Tells::Nothing,
        noted: mnemonic != Mnemonic::Fnstsw,
    };
    for (kind, row) in ARITHMETIC.iter().enumerate() {
        if let Some(field) = row.iter().position(|m| *m == mnemonic) {
            let opcode = match (kind, size) {
                (0, 4) => 0xD8,
                (0, 8) => 0xDC,
                (1, 4) => 0xDA,
                (1, 2) => 0xDE,
                _ => return None,
            };
            return Some(native(opcode, field as u8, Operand::Load(size)));
        }
    }
    let (opcode, field, stores) = match (mnemonic, size) {
        (Mnemonic::Fld, 4) => (0xD9, 0, false),
        (Mnemonic::Fld, 8) => (0xDD, 0, false),
        (Mnemonic::Fld, 10) => (0xDB, 5, false),
        (Mnemonic::Fild, 2) => (0xDF, 0, false),
        (Mnemonic::Fild, 4) => (0xDB, 0, false),
        (Mnemonic::Fild, 8) => (0xDF, 5, false),
        (Mnemonic::Fst, 4) => (0xD9, 2, true),
        (Mnemonic::Fst, 8) => (0xDD, 2, true),
        (Mnemonic::Fstp, 4) => (0xD9, 3, true),
        (Mnemonic::Fstp, 8) => (0xDD, 3, true),
        (Mnemonic::Fstp, 10) => (0xDB, 7, true),
        (Mnemonic::Fist, 2) => (0xDF, 2, true),
        (Mnemonic::Fist, 4) => (0xDB, 2, true),
        (Mnemonic::Fistp, 2) => (0xDF, 3, true),
        (Mnemonic::Fistp, 4) => (0xDB, 3, true),
        (Mnemonic::Fistp, 8) => (0xDF, 7, true),
        (Mnemonic::Fisttp, 2) => (0xDF, 1, true),
        (Mnemonic::Fisttp, 4) => (0xDB, 1, true),
        (Mnemonic::Fisttp, 8) => (0xDD, 1, true),
        (Mnemonic::Fnstsw, 2) => (0xDD, 7, true),
        _ => return None,
    };
    Some(native(opcode, field, if stores { Operand::Store(size) } else { Operand::Load(size) }))
}

fn in_registers(mnemonic: Mnemonic, i: &Insn) -> Option<Native> {
    use Mnemonic as M;
    let (first, second) = (i.reg[0] & 7, i.reg[1] & 7);
    let native = |stub| Native { stub, operand: Operand::None, tells: Tells::Nothing, noted: true };
    let comparing =
        |pops, modrm| Some(Native { tells: Tells::Flags, ..native(self::comparing(pops, modrm)) });
    // With the destination at the top, or else the source: there subtractions and divisions change places.
    let to_top = |modrm: u8, other: u8| {
        Some(native(match first {
            0 => registers(0xD8, modrm + second),
            _ => registers(0xDC, other + first),
        }))
    };
    let alone = |opcode, modrm| Some(native(registers(opcode, modrm)));
    match mnemonic {
        M::Fadd => to_top(0xC0, 0xC0),
        M::Fmul => to_top(0xC8, 0xC8),
        M::Fsub => to_top(0xE0, 0xE8),
        M::Fsubr => to_top(0xE8, 0xE0),
        M::Fdiv => to_top(0xF0, 0xF8),
        M::Fdivr => to_top(0xF8, 0xF0),
        M::Faddp => alone(0xDE, 0xC0 + first),
        M::Fmulp => alone(0xDE, 0xC8 + first),
        M::Fsubrp => alone(0xDE, 0xE0 + first),
        M::Fsubp => alone(0xDE, 0xE8 + first),
        M::Fdivrp => alone(0xDE, 0xF0 + first),
        M::Fdivp => alone(0xDE, 0xF8 + first),
        M::Fcom => alone(0xD8, 0xD0 + second),
        M::Fcomp => alone(0xD8, 0xD8 + second),
        M::Fcompp => alone(0xDE, 0xD9),
        M::Fucom => alone(0xDD, 0xE0 + second),
        M::Fucomp => alone(0xDD, 0xE8 + second),
        M::Fucompp => alone(0xDA, 0xE9),
        M::Fucomi => comparing(false, 0xE8 + second),
        M::Fcomi => comparing(false, 0xF0 + second),
        M::Fucomip => comparing(true, 0xE8 + second),
        M::Fcomip => comparing(true, 0xF0 + second),
        M::Fld => alone(0xD9, 0xC0 + first),
        M::Fxch => alone(0xD9, 0xC8 + second),
        M::Fst => alone(0xDD, 0xD0 + first),
        M::Fstp => alone(0xDD, 0xD8 + first),
        M::Ffree => alone(0xDD, 0xC0 + first),
        M::Fnstsw => Some(Native { tells: Tells::Status, noted: false, ..native(memory(0xDD, 7)) }),
        _ => alone(0xD9, on_top(mnemonic)?),
    }
}

/// The second byte of an instruction on the top of the stack.
fn on_top(mnemonic: Mnemonic) -> Option<u8> {
    use Mnemonic as M;
    Some(match mnemonic {
        M::Fnop => 0xD0,
        M::Fchs => 0xE0,
        M::Fabs => 0xE1,
        M::Ftst => 0xE4,
        M::Fxam => 0xE5,
        M::Fld1 => 0xE8,
        M::Fldl2t => 0xE9,
        M::Fldl2e => 0xEA,
        M::Fldpi => 0xEB,
        M::Fldlg2 => 0xEC,
        M::Fldln2 => 0xED,
        M::Fldz => 0xEE,
        M::F2xm1 => 0xF0,
        M::Fyl2x => 0xF1,
        M::Fptan => 0xF2,
        M::Fpatan => 0xF3,
        M::Fxtract => 0xF4,
        M::Fprem1 => 0xF5,
        M::Fdecstp => 0xF6,
        M::Fincstp => 0xF7,
        M::Fprem => 0xF8,
        M::Fyl2xp1 => 0xF9,
        M::Fsqrt => 0xFA,
        M::Fsincos => 0xFB,
        M::Frndint => 0xFC,
        M::Fscale => 0xFD,
        M::Fsin => 0xFE,
        M::Fcos => 0xFF,
        _ => return None,
    })
}
