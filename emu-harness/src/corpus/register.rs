//! Names of registers in the corpus.

use super::state::has_msr;
use std::fmt;

/// A register that a case sets or expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Register {
    /// A general-purpose register, 64 bits: 0 is RAX, in the order of encoding.
    General(u8),
    /// RIP, or the 16 or 32 bits of it that the mode has.
    Rip,
    /// A segment selector, in the order of encoding: ES CS SS DS FS GS.
    Selector(u8),
    /// Base of a segment.
    Base(u8),
    /// Limit of a segment, in bytes.
    Limit(u8),
    /// A control register: 0, 2, 3, 4 or 8.
    Control(u8),
    /// A debug register: 0 to 3, 6 or 7.
    Debug(u8),
    /// XCR0.
    Xcr0,
    /// A 128-bit vector register.
    Xmm(u8),
    /// Bits 255 to 128 of a YMM register, whose lower half is the XMM register.
    YmmHigh(u8),
    /// A 64-bit MMX register.
    Mm(u8),
    /// An 80-bit x87 register, counted from the top of the stack.
    St(u8),
    /// SSE control and status.
    Mxcsr,
    /// x87 control word.
    Fcw,
    /// x87 status word, with the top of the stack.
    Fsw,
    /// x87 tag word as FNSAVE writes it: two bits a register.
    Ftw,
    /// IOPL, the two bits of RFLAGS.
    Iopl,
    /// A model-specific register by its number.
    Msr(u32),
}

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

impl Register {
    /// The register called `name`.
    pub fn named(name: &str) -> Option<Self> {
        let position = |names: &[&str], name: &str| names.iter().position(|n| *n == name).map(|n| n as u8);
        if let Some(number) = position(&GENERAL, name) {
            return Some(Register::General(number));
        }
        if let Some(number) = position(&SEGMENTS, name) {
            return Some(Register::Selector(number));
        }
        if let Some(number) = name.strip_prefix("ymm").and_then(|rest| rest.strip_suffix(".high")) {
            return number.parse().ok().filter(|number| *number < 16).map(Register::YmmHigh);
        }
        if let Some((segment, part)) = name.split_once('.') {
            let number = position(&SEGMENTS, segment)?;
            return match part {
                "base" => Some(Register::Base(number)),
                "limit" => Some(Register::Limit(number)),
                _ => None,
            };
        }
        if let Some(number) = name.strip_prefix("msr:") {
            let number = u32::from_str_radix(number, 16).ok().filter(|number| has_msr(*number));
            return number.map(Register::Msr);
        }
        match name {
            "rip" => return Some(Register::Rip),
            "xcr0" => return Some(Register::Xcr0),
            "mxcsr" => return Some(Register::Mxcsr),
            "fcw" => return Some(Register::Fcw),
            "fsw" => return Some(Register::Fsw),
            "ftw" => return Some(Register::Ftw),
            "iopl" => return Some(Register::Iopl),
            _ => {}
        }
        let digits = name.find(|c: char| c.is_ascii_digit())?;
        let (family, number) = name.split_at(digits);
        let number: u8 = number.parse().ok()?;
        match (family, number) {
            ("cr", 0 | 2 | 3 | 4 | 8) => Some(Register::Control(number)),
            ("dr", 0..=3 | 6 | 7) => Some(Register::Debug(number)),
            ("xmm", 0..=15) => Some(Register::Xmm(number)),
            ("mm", 0..=7) => Some(Register::Mm(number)),
            ("st", 0..=7) => Some(Register::St(number)),
            _ => None,
        }
    }

    /// Its width in bits: a value that is wider is a mistake.
    pub fn bits(self) -> u32 {
        match self {
            Register::Xmm(_) | Register::YmmHigh(_) => 128,
            Register::St(_) => 80,
            Register::Limit(_) | Register::Mxcsr => 32,
            Register::Selector(_) | Register::Fcw | Register::Fsw | Register::Ftw => 16,
            Register::Iopl => 2,
            Register::General(_)
            | Register::Rip
            | Register::Base(_)
            | Register::Control(_)
            | Register::Debug(_)
            | Register::Xcr0
            | Register::Mm(_)
            | Register::Msr(_) => 64,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Register::General(n) => f.write_str(GENERAL[usize::from(n)]),
            Register::Selector(n) => f.write_str(SEGMENTS[usize::from(n)]),
            Register::Base(n) => write!(f, "{}.base", SEGMENTS[usize::from(n)]),
            Register::Limit(n) => write!(f, "{}.limit", SEGMENTS[usize::from(n)]),
            Register::Control(n) => write!(f, "cr{n}"),
            Register::Debug(n) => write!(f, "dr{n}"),
            Register::Xmm(n) => write!(f, "xmm{n}"),
            Register::YmmHigh(n) => write!(f, "ymm{n}.high"),
            Register::Mm(n) => write!(f, "mm{n}"),
            Register::St(n) => write!(f, "st{n}"),
            Register::Msr(n) => write!(f, "msr:{n:x}"),
            Register::Rip => f.write_str("rip"),
            Register::Xcr0 => f.write_str("xcr0"),
            Register::Mxcsr => f.write_str("mxcsr"),
            Register::Fcw => f.write_str("fcw"),
            Register::Fsw => f.write_str("fsw"),
            Register::Ftw => f.write_str("ftw"),
            Register::Iopl => f.write_str("iopl"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("rax", Register::General(0))]
    #[case("r15", Register::General(15))]
    #[case("fs", Register::Selector(4))]
    #[case("gs.base", Register::Base(5))]
    #[case("cs.limit", Register::Limit(1))]
    #[case("cr8", Register::Control(8))]
    #[case("xmm15", Register::Xmm(15))]
    #[case("ymm3.high", Register::YmmHigh(3))]
    #[case("mm7", Register::Mm(7))]
    #[case("st0", Register::St(0))]
    #[case("msr:c0000080", Register::Msr(0xC000_0080))]
    #[case("mxcsr", Register::Mxcsr)]
    fn a_register_has_one_name_both_ways(#[case] name: &str, #[case] register: Register) {
        assert_eq!(Register::named(name), Some(register));
        assert_eq!(register.to_string(), name);
    }

    #[rstest]
    #[case("eax")]
    #[case("r16")]
    #[case("cr1")]
    #[case("dr4")]
    #[case("xmm16")]
    #[case("ymm16.high")]
    #[case("ymm0.low")]
    #[case("cs.type")]
    #[case("msr:xyz")]
    #[case("")]
    fn what_is_no_register_has_no_meaning(#[case] name: &str) {
        assert_eq!(Register::named(name), None);
    }
}
