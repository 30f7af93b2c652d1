//! Registers by name and by type.

use std::{fmt, str::FromStr};

use super::Error;

/// Which bits of a general-purpose register a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All 64: RAX.
    Whole,
    /// Bits 31:0, EAX. Writing clears the upper half, as instructions do.
    Low32,
    /// Bits 15:0: AX.
    Low16,
    /// Bits 7:0: AL, SPL.
    Low8,
    /// Bits 15:8: AH.
    High8,
}

/// A register. [`FromStr`] and [`Display`](fmt::Display) give each the name that the manuals have for it.
///
/// ```
/// use emu_harness::sandbox::{Part, Register};
/// assert_eq!("r8d".parse::<Register>()?, Register::General(8, Part::Low32));
/// assert_eq!(Register::Base(4).to_string(), "fs.base");
/// # Ok::<(), emu_harness::sandbox::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Register {
    /// A general-purpose register in the order of encoding (0 is RAX, 4 is RSP), or a part of it.
    General(u8, Part),
    /// RIP. `eip` and `ip` mean the same register.
    Rip,
    /// RFLAGS; `eflags` and `flags` mean the same register.
    Flags,
    /// One flag by its bit in RFLAGS: `cf`, `zf`, `df` and so on; `iopl` has two bits.
    Flag(u8),
    /// A segment selector in the order of encoding: ES CS SS DS FS GS. In real and virtual-8086 mode writing
    /// it sets the base too; elsewhere the hidden part stays (it has names of its own), and no descriptor is
    /// loaded.
    Selector(u8),
    /// Base of a segment: `fs.base`.
    Base(u8),
    /// Limit of a segment in bytes: `cs.limit`.
    Limit(u8),
    /// Access rights of a segment, as `emu_core::arch::attr` numbers them: `ss.attr`.
    Attributes(u8),
    /// A control register: 0, 2, 3, 4 or 8. Writing one is checked as MOV to CR is.
    Control(u8),
    /// A debug register: 0 to 3, 6 or 7.
    Debug(u8),
    /// XCR0.
    Xcr0,
    /// Current privilege level; read only.
    Cpl,
    /// A 128-bit vector register. Writing it leaves the upper half of its YMM register.
    Xmm(u8),
    /// A 256-bit vector register.
    Ymm(u8),
    /// SSE control and status.
    Mxcsr,
    /// A 64-bit MMX register.
    Mm(u8),
    /// An 80-bit x87 register, counted from the top of the stack. Writing makes it not empty.
    St(u8),
    /// x87 control word.
    Fcw,
    /// x87 status word, with the top of the stack.
    Fsw,
    /// x87 tag word as FXSAVE writes it: bit n says that physical register n is not empty.
    Ftw,
    /// Base of GDTR: `gdtr.base`.
    GdtrBase,
    /// Limit of GDTR: `gdtr.limit`.
    GdtrLimit,
    /// Base of IDTR: `idtr.base`.
    IdtrBase,
    /// Limit of IDTR: `idtr.limit`.
    IdtrLimit,
    /// A model-specific register: `msr:c0000082`, in hexadecimal. Reading and writing are checked as RDMSR
    /// and WRMSR are.
    Msr(u32),
}

const WHOLE: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const LOW32: [&str; 16] = [
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d",
    "r14d", "r15d",
];
const LOW16: [&str; 16] = [
    "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w",
    "r15w",
];
const LOW8: [&str; 16] = [
    "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b",
    "r15b",
];
const HIGH8: [&str; 4] = ["ah", "ch", "dh", "bh"];
const PARTS: [(Part, &[&str]); 5] = [
    (Part::Whole, &WHOLE),
    (Part::Low32, &LOW32),
    (Part::Low16, &LOW16),
    (Part::Low8, &LOW8),
    (Part::High8, &HIGH8),
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
/// Flags by bit.
const FLAGS: [(&str, u8); 17] = [
    ("cf", 0),
    ("pf", 2),
    ("af", 4),
    ("zf", 6),
    ("sf", 7),
    ("tf", 8),
    ("if", 9),
    ("df", 10),
    ("of", 11),
    ("iopl", 12),
    ("nt", 14),
    ("rf", 16),
    ("vm", 17),
    ("ac", 18),
    ("vif", 19),
    ("vip", 20),
    ("id", 21),
];
/// Registers that are alone of their kind.
const SINGLE: [(&str, Register); 17] = [
    ("rip", Register::Rip),
    ("eip", Register::Rip),
    ("ip", Register::Rip),
    ("rflags", Register::Flags),
    ("eflags", Register::Flags),
    ("flags", Register::Flags),
    ("xcr0", Register::Xcr0),
    ("cpl", Register::Cpl),
    ("mxcsr", Register::Mxcsr),
    ("fcw", Register::Fcw),
    ("fsw", Register::Fsw),
    ("ftw", Register::Ftw),
    ("gdtr.base", Register::GdtrBase),
    ("gdtr.limit", Register::GdtrLimit),
    ("idtr.base", Register::IdtrBase),
    ("idtr.limit", Register::IdtrLimit),
    ("efer", Register::Msr(emu_core::arch::msr::IA32_EFER)),
];

impl Register {
    /// RAX.
    pub const RAX: Self = Register::General(0, Part::Whole);
    /// RCX.
    pub const RCX: Self = Register::General(1, Part::Whole);
    /// RDX.
    pub const RDX: Self = Register::General(2, Part::Whole);
    /// RBX.
    pub const RBX: Self = Register::General(3, Part::Whole);
    /// RSP.
    pub const RSP: Self = Register::General(4, Part::Whole);
    /// RBP.
    pub const RBP: Self = Register::General(5, Part::Whole);
    /// RSI.
    pub const RSI: Self = Register::General(6, Part::Whole);
    /// RDI.
    pub const RDI: Self = Register::General(7, Part::Whole);

    /// Its width in bits.
    pub fn bits(self) -> u32 {
        match self {
            Register::Ymm(_) => 256,
            Register::Xmm(_) => 128,
            Register::St(_) => 80,
            Register::General(_, Part::Low32) | Register::Flags => 32,
            Register::Limit(_) | Register::Mxcsr => 32,
            Register::General(_, Part::Low16) => 16,
            Register::Selector(_) | Register::Attributes(_) => 16,
            Register::Fcw | Register::Fsw | Register::GdtrLimit | Register::IdtrLimit => 16,
            Register::General(_, Part::Low8 | Part::High8) | Register::Ftw => 8,
            Register::Flag(12) | Register::Cpl => 2,
            Register::Flag(_) => 1,
            Register::General(_, Part::Whole)
            | Register::Rip
            | Register::Base(_)
            | Register::Control(_)
            | Register::Debug(_)
            | Register::Xcr0
            | Register::Mm(_)
            | Register::GdtrBase
            | Register::IdtrBase
            | Register::Msr(_) => 64,
        }
    }

    fn named(name: &str) -> Option<Self> {
        if let Some((_, register)) = SINGLE.iter().find(|(known, _)| *known == name) {
            return Some(*register);
        }
        if let Some((_, bit)) = FLAGS.iter().find(|(known, _)| *known == name) {
            return Some(Register::Flag(*bit));
        }
        let position = |names: &[&str], name: &str| names.iter().position(|n| *n == name).map(|n| n as u8);
        for (part, names) in PARTS {
            if let Some(number) = position(names, name) {
                return Some(Register::General(number, part));
            }
        }
        if let Some(number) = position(&SEGMENTS, name) {
            return Some(Register::Selector(number));
        }
        if let Some((segment, part)) = name.split_once('.') {
            let number = position(&SEGMENTS, segment)?;
            return match part {
                "base" => Some(Register::Base(number)),
                "limit" => Some(Register::Limit(number)),
                "attr" => Some(Register::Attributes(number)),
                _ => None,
            };
        }
        if let Some(number) = name.strip_prefix("msr:") {
            return u32::from_str_radix(number, 16).ok().map(Register::Msr);
        }
        Self::numbered(name)
    }

    fn numbered(name: &str) -> Option<Self> {
        let (family, number) = name.split_at(name.find(|c: char| c.is_ascii_digit())?);
        let number: u8 = number.parse().ok()?;
        match (family, number) {
            ("cr", 0 | 2 | 3 | 4 | 8) => Some(Register::Control(number)),
            ("dr", 0..=3 | 6 | 7) => Some(Register::Debug(number)),
            ("xmm", 0..=15) => Some(Register::Xmm(number)),
            ("ymm", 0..=15) => Some(Register::Ymm(number)),
            ("mm", 0..=7) => Some(Register::Mm(number)),
            ("st", 0..=7) => Some(Register::St(number)),
            _ => None,
        }
    }
}

impl FromStr for Register {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Register::named(&name.to_ascii_lowercase()).ok_or_else(|| Error::Register(name.to_owned()))
    }
}

impl TryFrom<&str> for Register {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = |number: u8| SEGMENTS.get(usize::from(number)).copied().unwrap_or("?");
        match *self {
            Register::General(number, part) => {
                let names = PARTS.iter().find(|(known, _)| *known == part).map(|(_, names)| *names);
                f.write_str(names.and_then(|names| names.get(usize::from(number))).unwrap_or(&"?"))
            }
            Register::Flag(bit) => {
                f.write_str(FLAGS.iter().find(|(_, known)| *known == bit).map_or("?", |(name, _)| name))
            }
            Register::Selector(number) => f.write_str(segment(number)),
            Register::Base(number) => write!(f, "{}.base", segment(number)),
            Register::Limit(number) => write!(f, "{}.limit", segment(number)),
            Register::Attributes(number) => write!(f, "{}.attr", segment(number)),
            Register::Control(number) => write!(f, "cr{number}"),
            Register::Debug(number) => write!(f, "dr{number}"),
            Register::Xmm(number) => write!(f, "xmm{number}"),
            Register::Ymm(number) => write!(f, "ymm{number}"),
            Register::Mm(number) => write!(f, "mm{number}"),
            Register::St(number) => write!(f, "st{number}"),
            Register::Msr(number) => write!(f, "msr:{number:08x}"),
            single => f.write_str(
                SINGLE.iter().find(|(_, register)| *register == single).map_or("?", |(name, _)| name),
            ),
        }
    }
}

/// The contents of a register, as wide as the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Value {
    /// Bits 127:0.
    pub low: u128,
    /// Bits 255:128, of YMM registers.
    pub high: u128,
}

impl Value {
    pub(super) fn fits(self, bits: u32) -> bool {
        match bits {
            256 => true,
            128 => self.high == 0,
            _ => self.high == 0 && self.low >> bits == 0,
        }
    }
}

impl From<u128> for Value {
    fn from(low: u128) -> Self {
        Value { low, high: 0 }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        u128::from(value).into()
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        u128::from(value).into()
    }
}

impl From<[u128; 2]> for Value {
    fn from([low, high]: [u128; 2]) -> Self {
        Value { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("rax", Register::RAX)]
    #[case("r15b", Register::General(15, Part::Low8))]
    #[case("bh", Register::General(3, Part::High8))]
    #[case("zf", Register::Flag(6))]
    #[case("fs.base", Register::Base(4))]
    #[case("ss.attr", Register::Attributes(2))]
    #[case("ymm3", Register::Ymm(3))]
    #[case("st0", Register::St(0))]
    #[case("cr8", Register::Control(8))]
    #[case("idtr.limit", Register::IdtrLimit)]
    #[case("msr:c0000082", Register::Msr(0xC000_0082))]
    fn a_name_goes_both_ways(#[case] name: &str, #[case] register: Register) {
        assert_eq!(name.parse::<Register>().unwrap(), register);
        assert_eq!(register.to_string(), name);
    }

    #[rstest]
    #[case("r16")]
    #[case("cr1")]
    #[case("xmm16")]
    #[case("cs.type")]
    #[case("")]
    fn what_is_no_register_is_said(#[case] name: &str) {
        let message = name.parse::<Register>().unwrap_err().to_string();
        assert!(message.starts_with(&format!("unknown register \"{name}\"")), "{message}");
    }
}
