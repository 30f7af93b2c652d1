//! x87 instructions that translated code lets the host's own x87 execute.
//!
//! While a region runs that has such instructions, the guest's x87 state, tags and sticky flags included, is in the
//! host's x87: [`enter`] and [`leave`] move it. That is possible as long as the guest masks all exceptions, so that
//! nothing traps; results, flags and stack faults are the hardware's then, as they are in the interpreter
//! (`microcode::x87::host`). What the hardware does not keep as the guest would see it, the pointers to the last
//! instruction and its operand, translated code keeps itself.
//!
//! Sequences of instructions are made and called: the instructions themselves, their memory operands at the addresses
//! that are the arguments, and a return. They change no register but those of the x87 and flags. Between them translated
//! code and what it calls must not use the x87.
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

/// What the memory operand of an instruction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// There is none.
    None,
    /// It is read, that many bytes.
    Load(u8),
    /// It is written.
    Store(u8),
}

/// What an instruction tells the rest of the CPU. Its argument is then where to store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// CF, ZF and PF, a byte each.
    Flags,
    /// The status word, for the register that is its operand.
    Status,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// This ModRM byte.
    Registers(u8),
    /// A memory operand, and this field.
    Memory(u8),
}

/// An instruction as the host's x87 executes it.
#[derive(Debug, Clone, Copy)]
pub struct Native {
    opcode: u8,
    form: Form,
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

/// Prepares `image` with the state of `cpu`, for [`LOAD`]. Returns 0 if the host's x87 cannot stand for the guest's now.
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
        let Extended { significand, sign_exponent } = x87.r[(usize::from(x87.top) + n) & 7];
        let at = REGISTERS + 10 * n;
        image[at..at + 8].copy_from_slice(&significand.to_le_bytes());
        image[at + 8..at + 10].copy_from_slice(&sign_exponent.to_le_bytes());
    }
    1
}

/// Takes the state of `cpu` from `image`, which [`SAVE`] has stored.
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
        x87.r[(usize::from(x87.top) + n) & 7] =
            Extended { significand: u64::from_le_bytes(significand), sign_exponent: word(at + 8) };
    }
    0
}

/// General-purpose registers that a sequence has its arguments in, as ModRM numbers them: those of the System V
/// convention, without those that need a prefix.
const ARGUMENTS: [u8; 4] = [7, 6, 2, 1];

/// How many arguments a sequence can have.
pub const MOST_ARGUMENTS: usize = ARGUMENTS.len();

/// What a sequence ends with.
pub const RETURN: &[u8] = &[0xC3];

/// The sequence that loads the image at its argument to the host's x87.
pub const LOAD: &[u8] = &[0xDD, 4 << 3 | ARGUMENTS[0], 0xC3];

/// The sequence that stores the host's x87 to the image at its argument, and leaves it as compiled code has it.
pub const SAVE: &[u8] = &[0xDD, 6 << 3 | ARGUMENTS[0], 0xC3];

impl Native {
    /// Appends the instruction, its argument in argument `n`.
    pub fn encode(&self, code: &mut Vec<u8>, n: usize) {
        let base = ARGUMENTS[n % MOST_ARGUMENTS];
        match self.form {
            Form::Registers(modrm) => code.extend([self.opcode, modrm]),
            Form::Memory(field) => code.extend([self.opcode, field << 3 | base]),
        }
        if self.tells == Tells::Flags {
            // SETB, SETE, SETP.
            code.extend([0x0F, 0x92, base, 0x0F, 0x94, 0x40 | base, 1, 0x0F, 0x9A, 0x40 | base, 2]);
        }
    }
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
        opcode,
        form: Form::Memory(field),
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
    let native = |opcode, modrm| Native {
        opcode,
        form: Form::Registers(modrm),
        operand: Operand::None,
        tells: Tells::Nothing,
        noted: true,
    };
    let comparing = |opcode, modrm| Some(Native { tells: Tells::Flags, ..native(opcode, modrm) });
    // With the destination at the top, or else the source: there subtractions and divisions change places.
    let to_top = |modrm: u8, other: u8| {
        Some(match first {
            0 => native(0xD8, modrm + second),
            _ => native(0xDC, other + first),
        })
    };
    let alone = |opcode, modrm| Some(native(opcode, modrm));
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
        M::Fucomi => comparing(0xDB, 0xE8 + second),
        M::Fcomi => comparing(0xDB, 0xF0 + second),
        M::Fucomip => comparing(0xDF, 0xE8 + second),
        M::Fcomip => comparing(0xDF, 0xF0 + second),
        M::Fld => alone(0xD9, 0xC0 + first),
        M::Fxch => alone(0xD9, 0xC8 + second),
        M::Fst => alone(0xDD, 0xD0 + first),
        M::Fstp => alone(0xDD, 0xD8 + first),
        M::Ffree => alone(0xDD, 0xC0 + first),
        M::Fnstsw => {
            Some(Native { form: Form::Memory(7), tells: Tells::Status, noted: false, ..native(0xDD, 0) })
        }
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
