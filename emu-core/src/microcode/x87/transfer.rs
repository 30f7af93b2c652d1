//! FLD, FST, FSTP, FILD, FIST, FISTP, FISTTP, FBLD, FBSTP, FXCH, FCMOVcc and the constants. SDM vol. 1, 8.3.3
//! and 8.3.4.

use super::{
    soft::{
        self, BCD_INDEFINITE, Class, ControlWord, INDEFINITE, Outcome, Rounding, classify, extended,
        status::{IE, OE, UE},
    },
    stack::{OVERFLOW, UNDERFLOW, note, note_memory, report},
};
use crate::{
    arch::{Exception, Flags, Width},
    cpu::Cpu,
    decode::{Insn, Kind},
    state::Extended,
};

type Done = Result<(), Exception>;

/// Pushes what a load read. `status` is what its conversion raised; only an invalid operation keeps a load from
/// completing, a denormal operand, unmasked too, does not.
#[inline]
fn push(cpu: &mut Cpu, i: &Insn, value: Extended, status: u16) {
    let (value, status) = if cpu.x87.is_full() { (INDEFINITE, OVERFLOW) } else { (value, status) };
    report(cpu, i, status);
    if cpu.x87.control().unmasked(status & IE) == 0 {
        cpu.x87.push(value);
    }
}

/// FLD: m32fp, m64fp, m80fp, ST(i).
pub fn fld(cpu: &mut Cpu, i: &Insn) -> Done {
    let (wide, denormal) = match (i.kind[0], i.mem_size) {
        (Kind::Mem, 4) => soft::widen_f32(cpu.read_operand(i, Width::W32, 0)? as u32),
        (Kind::Mem, 8) => soft::widen_f64(cpu.read_operand(i, Width::W64, 0)?),
        (Kind::Mem, _) => {
            let mut bytes = [0; 10];
            cpu.read_operand_bytes(i, &mut bytes)?;
            let value = extended_from(&bytes);
            note_memory(cpu, i);
            push(cpu, i, value, 0);
            return Ok(());
        }
        _ => return fld_register(cpu, i),
    };
    note_memory(cpu, i);
    let signalling = classify(wide) == Class::Signalling;
    let value = if signalling { soft::quiet(wide) } else { wide };
    let outcome =
        Outcome { value, status: if signalling { IE } else { 0 } }.settled(denormal, cpu.x87.control());
    push(cpu, i, outcome.value, outcome.status);
    Ok(())
}

fn fld_register(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    let source = i.reg[0];
    if !cpu.x87.is_empty(source) {
        let value = cpu.x87.st(source);
        push(cpu, i, value, 0);
    } else if report(cpu, i, UNDERFLOW) {
        // Reading an empty register counts before pushing onto one in use.
        cpu.x87.push(INDEFINITE);
    }
    Ok(())
}

/// The register format from memory.
pub fn extended_from(bytes: &[u8; 10]) -> Extended {
    let [a, b, c, d, e, f, g, h, low, high] = *bytes;
    Extended {
        significand: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        sign_exponent: u16::from_le_bytes([low, high]),
    }
}

/// The register format in memory.
pub fn extended_bytes(x: Extended) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&x.significand.to_le_bytes());
    bytes[8..].copy_from_slice(&x.sign_exponent.to_le_bytes());
    bytes
}

/// Finishes a store to memory: `bytes` unless an unmasked exception forbids it, then the flags, then the pop.
#[inline]
fn store(cpu: &mut Cpu, i: &Insn, bytes: &[u8], status: u16, pop: bool) -> Done {
    let stored = cpu.x87.control().unmasked(status) & (IE | OE | UE) == 0;
    if stored {
        match *bytes {
            [a, b] => cpu.write_operand(i, Width::W16, 0, u16::from_le_bytes([a, b]).into())?,
            [a, b, c, d] => cpu.write_operand(i, Width::W32, 0, u32::from_le_bytes([a, b, c, d]).into())?,
            [a, b, c, d, e, f, g, h] => {
                cpu.write_operand(i, Width::W64, 0, u64::from_le_bytes([a, b, c, d, e, f, g, h]))?;
            }
            _ => cpu.write_operand_bytes(i, bytes)?,
        }
    } else {
        // Whether it could be stored is found out first, as on Zen 4.
        let (offset, len) = (cpu.effective_address(i), bytes.len() as u64);
        let linear = cpu.linear(i.segment(), offset, len, true)?;
        cpu.probe_write(linear, len, crate::mmu::Privilege::Current)?;
    }
    note_memory(cpu, i);
    report(cpu, i, status);
    if stored && pop {
        cpu.x87.pop();
    }
    Ok(())
}

/// FST: m32fp, m64fp, ST(i).
pub fn fst(cpu: &mut Cpu, i: &Insn) -> Done {
    store_real(cpu, i, false)
}

/// FSTP: m32fp, m64fp, m80fp, ST(i) with its aliases.
pub fn fstp(cpu: &mut Cpu, i: &Insn) -> Done {
    store_real(cpu, i, true)
}

#[inline]
fn store_real(cpu: &mut Cpu, i: &Insn, pop: bool) -> Done {
    if i.kind[0] != Kind::Mem {
        return store_register(cpu, i, pop);
    }
    let (value, cw) = (cpu.x87.st(0), cpu.x87.control());
    let empty = cpu.x87.is_empty(0);
    // The indefinite converts to the narrower indefinite.
    let (value, fault) = if empty { (INDEFINITE, UNDERFLOW) } else { (value, 0) };
    match i.mem_size {
        4 => {
            let (bits, status) = soft::narrow_f32(value, cw);
            store(cpu, i, &bits.to_le_bytes(), status | fault, pop)
        }
        8 => {
            let (bits, status) = soft::narrow_f64(value, cw);
            store(cpu, i, &bits.to_le_bytes(), status | fault, pop)
        }
        _ => store(cpu, i, &extended_bytes(value), fault, pop),
    }
}

fn store_register(cpu: &mut Cpu, i: &Insn, pop: bool) -> Done {
    note(cpu, i);
    let empty = cpu.x87.is_empty(0);
    if report(cpu, i, if empty { UNDERFLOW } else { 0 }) {
        let value = if empty { INDEFINITE } else { cpu.x87.st(0) };
        cpu.x87.set_st(i.reg[0], value);
        if pop {
            cpu.x87.pop();
        }
    }
    Ok(())
}

/// FSTPNCE: FSTP ST(i) without a stack fault ("no check for empty"): an empty ST(0) is popped all the same.
pub fn fstpnce(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    report(cpu, i, 0);
    if !cpu.x87.is_empty(0) {
        let value = cpu.x87.st(0);
        cpu.x87.set_st(i.reg[0], value);
    }
    cpu.x87.pop();
    Ok(())
}

/// FILD: m16int, m32int, m64int.
pub fn fild(cpu: &mut Cpu, i: &Insn) -> Done {
    let value = read_integer(cpu, i)?;
    note_memory(cpu, i);
    push(cpu, i, value, 0);
    Ok(())
}

/// The integer memory operand, in the register format.
#[inline]
pub fn read_integer(cpu: &mut Cpu, i: &Insn) -> Result<Extended, Exception> {
    let width = i.width[0];
    let bits = cpu.read_operand(i, width, 0)?;
    Ok(soft::from_i64(width.sign_extend(bits) as i64))
}

/// FIST.
pub fn fist(cpu: &mut Cpu, i: &Insn) -> Done {
    let cw = cpu.x87.control();
    store_integer(cpu, i, cw, false)
}

/// FISTP.
pub fn fistp(cpu: &mut Cpu, i: &Insn) -> Done {
    let cw = cpu.x87.control();
    store_integer(cpu, i, cw, true)
}

/// FISTTP.
pub fn fisttp(cpu: &mut Cpu, i: &Insn) -> Done {
    let cw = cpu.x87.control().truncating();
    store_integer(cpu, i, cw, true)
}

#[inline]
fn store_integer(cpu: &mut Cpu, i: &Insn, cw: ControlWord, pop: bool) -> Done {
    let width = i.width[0];
    let empty = cpu.x87.is_empty(0);
    // The indefinite converts to the integer indefinite.
    let value = if empty { INDEFINITE } else { cpu.x87.st(0) };
    let (integer, status) = soft::to_integer(value, width.bits(), cw);
    let fault = if empty { UNDERFLOW } else { 0 };
    store(cpu, i, &integer.to_le_bytes()[..width.bytes() as usize], status | fault, pop)
}

/// FBLD.
pub fn fbld(cpu: &mut Cpu, i: &Insn) -> Done {
    let mut bytes = [0; 10];
    cpu.read_operand_bytes(i, &mut bytes)?;
    note_memory(cpu, i);
    push(cpu, i, soft::from_bcd(&bytes), 0);
    Ok(())
}

/// FBSTP.
pub fn fbstp(cpu: &mut Cpu, i: &Insn) -> Done {
    let (bytes, status) = if cpu.x87.is_empty(0) {
        (BCD_INDEFINITE, UNDERFLOW)
    } else {
        soft::to_bcd(cpu.x87.st(0), cpu.x87.control())
    };
    store(cpu, i, &bytes, status, true)
}

/// FXCH. Empty registers are filled with the indefinite first.
pub fn fxch(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    let other = i.reg[1];
    let (top_empty, other_empty) = (cpu.x87.is_empty(0), cpu.x87.is_empty(other));
    if report(cpu, i, if top_empty || other_empty { UNDERFLOW } else { 0 }) {
        let top = if top_empty { INDEFINITE } else { cpu.x87.st(0) };
        let below = if other_empty { INDEFINITE } else { cpu.x87.st(other) };
        cpu.x87.set_st(0, below);
        cpu.x87.set_st(other, top);
    }
    Ok(())
}

fn conditional_move(cpu: &mut Cpu, i: &Insn, condition: bool) -> Done {
    note(cpu, i);
    let source = i.reg[1];
    if cpu.x87.is_empty(0) || cpu.x87.is_empty(source) {
        if report(cpu, i, UNDERFLOW) {
            cpu.x87.set_st(0, INDEFINITE);
        }
    } else if condition {
        let value = cpu.x87.st(source);
        cpu.x87.set_st(0, value);
    }
    Ok(())
}

/// FCMOVB.
pub fn fcmovb(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = cpu.flags.cf();
    conditional_move(cpu, i, condition)
}
/// FCMOVNB.
pub fn fcmovnb(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = !cpu.flags.cf();
    conditional_move(cpu, i, condition)
}
/// FCMOVE.
pub fn fcmove(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = cpu.rflags().contains(Flags::ZF);
    conditional_move(cpu, i, condition)
}
/// FCMOVNE.
pub fn fcmovne(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = !cpu.rflags().contains(Flags::ZF);
    conditional_move(cpu, i, condition)
}
/// FCMOVBE.
pub fn fcmovbe(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = cpu.rflags().intersects(Flags::CF | Flags::ZF);
    conditional_move(cpu, i, condition)
}
/// FCMOVNBE.
pub fn fcmovnbe(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = !cpu.rflags().intersects(Flags::CF | Flags::ZF);
    conditional_move(cpu, i, condition)
}
/// FCMOVU.
pub fn fcmovu(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = cpu.flags.pf();
    conditional_move(cpu, i, condition)
}
/// FCMOVNU.
pub fn fcmovnu(cpu: &mut Cpu, i: &Insn) -> Done {
    let condition = !cpu.flags.pf();
    conditional_move(cpu, i, condition)
}

/// A constant of the unit: truncated significand, and whether the next bits round it up to nearest.
struct Constant {
    exponent: u16,
    truncated: u64,
    nearest_is_up: bool,
}

impl Constant {
    /// As RC has it. All are positive.
    fn rounded(&self, cw: ControlWord) -> Extended {
        let up = match cw.rounding() {
            Rounding::Nearest => self.nearest_is_up,
            Rounding::Up => true,
            Rounding::Down | Rounding::Zero => false,
        };
        extended(false, self.exponent, self.truncated + u64::from(up))
    }
}

fn constant(cpu: &mut Cpu, i: &Insn, constant: &Constant) -> Done {
    note(cpu, i);
    let value = constant.rounded(cpu.x87.control());
    push(cpu, i, value, 0);
    Ok(())
}

/// FLD1.
pub fn fld1(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    push(cpu, i, soft::ONE, 0);
    Ok(())
}
/// FLDZ.
pub fn fldz(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    push(cpu, i, soft::zero(false), 0);
    Ok(())
}
/// FLDPI.
pub fn fldpi(cpu: &mut Cpu, i: &Insn) -> Done {
    constant(cpu, i, &Constant { exponent: 0x4000, truncated: 0xC90F_DAA2_2168_C234, nearest_is_up: true })
}
/// FLDL2T: log2(10).
pub fn fldl2t(cpu: &mut Cpu, i: &Insn) -> Done {
    constant(cpu, i, &Constant { exponent: 0x4000, truncated: 0xD49A_784B_CD1B_8AFE, nearest_is_up: false })
}
/// FLDL2E: log2(e).
pub fn fldl2e(cpu: &mut Cpu, i: &Insn) -> Done {
    constant(cpu, i, &Constant { exponent: 0x3FFF, truncated: 0xB8AA_3B29_5C17_F0BB, nearest_is_up: true })
}
/// FLDLG2: log10(2).
pub fn fldlg2(cpu: &mut Cpu, i: &Insn) -> Done {
    constant(cpu, i, &Constant { exponent: 0x3FFD, truncated: 0x9A20_9A84_FBCF_F798, nearest_is_up: true })
}
/// FLDLN2: ln(2).
pub fn fldln2(cpu: &mut Cpu, i: &Insn) -> Done {
    constant(cpu, i, &Constant { exponent: 0x3FFE, truncated: 0xB172_17F7_D1CF_79AB, nearest_is_up: true })
}
