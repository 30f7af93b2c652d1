//! States and outcomes of cases.

use super::{Mode, Register};
use std::fmt;

/// A flag of RFLAGS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// Carry.
    Cf,
    /// Parity.
    Pf,
    /// Auxiliary carry.
    Af,
    /// Zero.
    Zf,
    /// Sign.
    Sf,
    /// Trap.
    Tf,
    /// Interrupt enable.
    If,
    /// Direction.
    Df,
    /// Overflow.
    Of,
    /// Nested task.
    Nt,
    /// Resume.
    Rf,
    /// Alignment check, or access control.
    Ac,
    /// Virtual interrupt.
    Vif,
    /// Virtual interrupt pending.
    Vip,
    /// CPUID can be used.
    Id,
}

impl Flag {
    /// Every flag with its name and its bit in RFLAGS.
    pub const ALL: [(Flag, &'static str, u32); 15] = [
        (Flag::Cf, "cf", 0),
        (Flag::Pf, "pf", 2),
        (Flag::Af, "af", 4),
        (Flag::Zf, "zf", 6),
        (Flag::Sf, "sf", 7),
        (Flag::Tf, "tf", 8),
        (Flag::If, "if", 9),
        (Flag::Df, "df", 10),
        (Flag::Of, "of", 11),
        (Flag::Nt, "nt", 14),
        (Flag::Rf, "rf", 16),
        (Flag::Ac, "ac", 18),
        (Flag::Vif, "vif", 19),
        (Flag::Vip, "vip", 20),
        (Flag::Id, "id", 21),
    ];

    /// The flag called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, flag, _)| *flag == name).map(|(flag, ..)| *flag)
    }

    /// Its bit in RFLAGS, as a mask.
    pub fn mask(self) -> u64 {
        let (.., bit) = Self::ALL.iter().find(|(flag, ..)| *flag == self).expect("the table has every flag");
        1 << bit
    }
}

/// What a case says of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagState {
    /// Set.
    Set,
    /// Clear.
    Clear,
    /// The manual leaves it undefined: not compared.
    Undefined,
}

/// What a case sets, or expects. What it does not name is zero before, and unchanged after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Registers and their values, in the order written.
    pub registers: Vec<(Register, u128)>,
    /// Flags.
    pub flags: Vec<(Flag, FlagState)>,
    /// Memory: linear address and the bytes from there on.
    pub memory: Vec<(u64, Vec<u8>)>,
}

/// An exception, with its error code if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code.
    pub error_code: Option<u16>,
}

impl Exception {
    /// The processor's exceptions: mnemonic, vector, and whether they push an error code. SDM vol. 3, table 6-1.
    const ALL: [(&'static str, u8, bool); 17] = [
        ("DE", 0, false),
        ("DB", 1, false),
        ("BP", 3, false),
        ("OF", 4, false),
        ("BR", 5, false),
        ("UD", 6, false),
        ("NM", 7, false),
        ("DF", 8, true),
        ("TS", 10, true),
        ("NP", 11, true),
        ("SS", 12, true),
        ("GP", 13, true),
        ("PF", 14, true),
        ("MF", 16, false),
        ("AC", 17, true),
        ("MC", 18, false),
        ("XM", 19, false),
    ];

    /// What the core raised, as code in `mode` is told of it: real mode has no error codes. Nothing for what is
    /// no exception.
    pub fn of(raised: emu_core::arch::Exception, mode: Mode) -> Option<Self> {
        use emu_core::arch::{Exception as Raised, vector};
        let code = |code: u32| (mode != Mode::Real).then_some(code as u16);
        let (vector, error_code) = match raised {
            Raised::Plain(vector) => (vector, None),
            Raised::Code(vector, error) => (vector, code(error)),
            Raised::Page(error, _) => (vector::PF, code(error.bits())),
            Raised::Debug(_) => (vector::DB, None),
            Raised::Restart => return None,
        };
        Some(Exception { vector, error_code })
    }

    /// Reads `#GP(0)` or `#UD`; the error code is hexadecimal. The modes without error codes (real) leave it out
    /// of those that have one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('#')?;
        let (mnemonic, code) = match text.split_once('(') {
            Some((mnemonic, code)) => {
                (mnemonic, Some(u16::from_str_radix(code.strip_suffix(')')?, 16).ok()?))
            }
            None => (text, None),
        };
        let (_, vector, has_code) = Self::ALL.iter().find(|(name, ..)| *name == mnemonic)?;
        (code.is_none() || *has_code).then_some(Exception { vector: *vector, error_code: code })
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::ALL.iter().find(|(_, vector, _)| *vector == self.vector) {
            Some((name, ..)) => write!(f, "#{name}")?,
            None => write!(f, "vector {}", self.vector)?,
        }
        self.error_code.map_or(Ok(()), |code| write!(f, "({code:x})"))
    }
}

/// What a case expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exception raised instead of, or after, the instruction.
    pub exception: Option<Exception>,
    /// What has changed.
    pub state: State,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("#GP(0)", 13, Some(0))]
    #[case("#GP(1b)", 13, Some(0x1B))]
    #[case("#PF(2)", 14, Some(2))]
    #[case("#UD", 6, None)]
    #[case("#GP", 13, None)]
    fn an_exception_is_read_and_written_the_same(
        #[case] text: &str,
        #[case] vector: u8,
        #[case] error_code: Option<u16>,
    ) {
        let exception = Exception { vector, error_code };
        assert_eq!(Exception::parse(text), Some(exception));
        assert_eq!(exception.to_string(), text);
    }

    #[rstest]
    #[case("GP(0)")]
    #[case("#GP(0")]
    #[case("#GP(x)")]
    #[case("#UD(0)")]
    #[case("#XX")]
    fn what_no_processor_raises_is_no_exception(#[case] text: &str) {
        assert_eq!(Exception::parse(text), None);
    }

    #[test]
    fn a_flag_has_its_bit() {
        assert_eq!(
            (Flag::named("of").unwrap().mask(), Flag::named("id").unwrap().mask()),
            (0x800, 0x20_0000)
        );
        assert_eq!(Flag::named("carry"), None);
    }
}
