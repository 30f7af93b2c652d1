//! What is set by hand before code executes: `rax=7`, `al=0x80`, `xmm0=0x1`, `cf`, `!zf`.

use crate::corpus::{Flag, Mode, Register, set};
use emu_core::{arch::Flags, state::CpuState};

/// Why something cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// It has not the form.
    #[error("write NAME=VALUE, or a flag's name alone, as in rax=7, al=0x80, xmm0=0x1 or cf")]
    Shape,
    /// There is no such register.
    #[error(
        "\"{0}\" is neither a register nor a flag; use a name such as rax, eax, al, xmm0, st0, cs.base or cf"
    )]
    Name(String),
    /// The value is no number, or does not fit.
    #[error("\"{value}\" is not a number of {bits} bits; write decimal digits, or hexadecimal ones after 0x")]
    Value {
        /// As written.
        value: String,
        /// Width of the register.
        bits: u32,
    },
}

/// Sets what `text` says in `state`, which is of `mode`. Outside 64-bit mode, general-purpose registers have 32
/// bits.
///
/// # Errors
/// What is wrong with `text`.
pub fn assign(state: &mut CpuState, mode: Mode, text: &str) -> Result<(), AssignmentError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.trim())),
        None => (text.trim().to_ascii_lowercase(), None),
    };
    let (cleared, flag) = name.strip_prefix('!').map_or((false, name.as_str()), |flag| (true, flag));
    if let Some(flag) = Flag::named(flag) {
        let on = value.map_or(Ok(1), |value| number(value, 1))? != 0;
        state.general.rflags.set(Flags::from_bits_truncate(flag.mask() as u32), on != cleared);
        return Ok(());
    }
    let value = value.ok_or(AssignmentError::Shape)?;
    if let Some(Register::Xmm(whole)) =
        name.strip_prefix('y').and_then(|rest| Register::named(&format!("x{rest}")))
    {
        let halves = wide(value)?;
        set(state, Register::Xmm(whole), halves[0]);
        set(state, Register::YmmHigh(whole), halves[1]);
        return Ok(());
    }
    if let Some(register) = Register::named(&name) {
        let general = matches!(register, Register::General(_));
        let bits = if general && mode != Mode::Long64 { 32 } else { register.bits() };
        set(state, register, number(value, bits)?);
        return Ok(());
    }
    let part = Part::named(&name).ok_or(AssignmentError::Name(name))?;
    let value = number(value, part.bits)? as u64;
    let mask = (u64::MAX >> (64 - part.bits)) << part.shift;
    let whole = &mut state.general.gpr[part.register];
    *whole = *whole & !mask | value << part.shift;
    Ok(())
}

/// A part of a general-purpose register.
struct Part {
    register: usize,
    shift: u32,
    bits: u32,
}

impl Part {
    fn named(name: &str) -> Option<Self> {
        let same = |register: &iced_x86::Register| format!("{register:?}").eq_ignore_ascii_case(name);
        let register = iced_x86::Register::values().filter(|register| register.is_gpr()).find(same)?;
        let high = matches!(
            register,
            iced_x86::Register::AH | iced_x86::Register::CH | iced_x86::Register::DH | iced_x86::Register::BH
        );
        Some(Part {
            register: register.full_register().number(),
            shift: if high { 8 } else { 0 },
            bits: register.size() as u32 * 8,
        })
    }
}

/// A number of up to `bits` bits: decimal, perhaps negative, or hexadecimal after `0x`; `_` groups digits.
///
/// # Errors
/// If it is none.
pub fn number(text: &str, bits: u32) -> Result<u128, AssignmentError> {
    let wrong = || AssignmentError::Value { value: text.to_owned(), bits };
    let digits = text.replace('_', "");
    let (negative, digits) = digits.strip_prefix('-').map_or((false, digits.as_str()), |rest| (true, rest));
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(wrong());
    }
    let value = u128::from_str_radix(digits, radix).map_err(|_| wrong())?;
    let most = u128::MAX >> (128 - bits);
    let least = 1 << (bits - 1);
    match negative {
        false if value <= most => Ok(value),
        true if value <= least => Ok(value.wrapping_neg() & most),
        _ => Err(wrong()),
    }
}

/// 256 bits, low half first: hexadecimal after `0x`, or a number that fits 128.
fn wide(text: &str) -> Result<[u128; 2], AssignmentError> {
    let digits = text.replace('_', "");
    let wrong = || AssignmentError::Value { value: text.to_owned(), bits: 256 };
    match digits.strip_prefix("0x") {
        Some(hex) if hex.is_ascii() && hex.len() > 32 => {
            let (high, low) = hex.split_at(hex.len() - 32);
            let half = |digits: &str| number(&format!("0x{digits}"), 128).map_err(|_| wrong());
            Ok([half(low)?, half(high)?])
        }
        _ => Ok([number(text, 128).map_err(|_| wrong())?, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::Interpreter;
    use rstest::rstest;

    fn state() -> CpuState {
        Interpreter::new().state_in(Mode::Long64, 0, 0, &[])
    }

    #[rstest]
    #[case("rbx=-3", 3, u64::MAX - 2)]
    #[case("eax=0xffff_ffff", 0, 0xFFFF_FFFF)]
    #[case("ah=0x12", 0, 0x1200)]
    #[case("R9W=9", 9, 9)]
    #[case("sil=-1", 6, 0xFF)]
    fn parts_of_registers_are_set(#[case] text: &str, #[case] register: usize, #[case] expected: u64) {
        let mut state = state();
        assign(&mut state, Mode::Long64, text).unwrap();
        assert_eq!(state.general.gpr[register], expected);
    }

    #[test]
    fn flags_and_vectors_are_set() {
        let mut state = state();
        for text in ["cf", "zf=1", "!if", "ymm2=0x1_00000000_00000000_00000000_00000002", "xmm1=-1"] {
            assign(&mut state, Mode::Long64, text).unwrap();
        }
        assert_eq!(state.general.rflags, Flags::FIXED | Flags::CF | Flags::ZF);
        assert_eq!((state.simd.vector[2], state.simd.vector[1]), ([2, 1], [u128::MAX, 0]));
    }

    #[rstest]
    #[case("rax")]
    #[case("rax=")]
    #[case("rax=7h")]
    #[case("al=256")]
    #[case("al=-129")]
    #[case("rex=1")]
    #[case("cf=2")]
    #[case("ymm0=0xé")]
    fn a_mistake_changes_nothing(#[case] text: &str) {
        let mut state = state();
        assert!(assign(&mut state, Mode::Long64, text).is_err());
        assert_eq!(state, self::state());
    }
}
