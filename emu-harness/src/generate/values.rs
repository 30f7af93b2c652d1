//! Values that instructions find hard: carries and signs turn over, numbers are not numbers, or hardly.

use super::Random;
use emu_core::{
    arch::Flags,
    state::{Extended, X87},
};
use iced_x86::MemorySize;

/// What the elements of vectors and data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Integers.
    Integer,
    /// Half precision.
    Half,
    /// Single precision.
    Single,
    /// Double precision.
    Double,
    /// Double extended precision, 10 bytes.
    Extended,
    /// Packed decimal of 10 bytes.
    Decimal,
}

impl Element {
    /// What a form with memory operands of `size` works on. Some of the time something else: bits are bits.
    pub fn of(size: MemorySize, random: &mut Random) -> Self {
        use iced_x86::MemorySize as S;
        if random.below(8) == 0 {
            return random.pick(&[Element::Integer, Element::Single, Element::Double]);
        }
        match size.element_type() {
            S::Float16 => Element::Half,
            S::Float32 => Element::Single,
            S::Float64 => Element::Double,
            S::Float80 => Element::Extended,
            S::Bcd => Element::Decimal,
            _ => Element::Integer,
        }
    }
}

const SINGLES: [u32; 26] = [
    0,
    0x8000_0000,
    0x3F80_0000,
    0xBFC0_0000,
    0x3F00_0000,
    0x4020_0000,
    0x7F7F_FFFF,
    0xFF7F_FFFF,
    0x0080_0000,
    0x8080_0000,
    1,
    0x8000_0001,
    0x007F_FFFF,
    0x807F_FFFF,
    0x7F80_0000,
    0xFF80_0000,
    0x7FC0_0000,
    0xFFC0_0000,
    0x7FC1_2345,
    0x7F80_0001,
    0xFFA5_5555,
    0x4F00_0000,
    0xCF00_0000,
    0x4EFF_FFFF,
    0x5F00_0000,
    0x4F80_0000,
];
const DOUBLES: [u64; 26] = [
    0,
    1 << 63,
    0x3FF0_0000_0000_0000,
    0xBFF8_0000_0000_0000,
    0x3FE0_0000_0000_0000,
    0x4004_0000_0000_0000,
    0x7FEF_FFFF_FFFF_FFFF,
    0xFFEF_FFFF_FFFF_FFFF,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0000,
    1,
    0x8000_0000_0000_0001,
    0x000F_FFFF_FFFF_FFFF,
    0x3810_0000_0000_0000,
    0x7FF0_0000_0000_0000,
    0xFFF0_0000_0000_0000,
    0x7FF8_0000_0000_0000,
    0xFFF8_0000_0000_0000,
    0x7FF8_1234_5678_9ABC,
    0x7FF0_0000_0000_0001,
    0xFFF5_5555_5555_5555,
    0x41DF_FFFF_FFC0_0000,
    0xC1E0_0000_0020_0000,
    0x43E0_0000_0000_0000,
    0x47EF_FFFF_F000_0000,
    0x36A0_0000_0000_0000,
];
const HALVES: [u16; 14] =
    [0, 0x8000, 0x3C00, 0xBE00, 0x7BFF, 0x0400, 1, 0x8001, 0x03FF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFD55];

/// A single-precision number.
pub fn single(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => random.bits() as u32,
        // Near one another, so that sums and products are exact, or just not.
        1 => 0x3F00_0000 + (random.bits() as u32 & 0x81FF_FFFF),
        _ => random.pick(&SINGLES),
    }
}

/// A double-precision number.
pub fn double(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.bits(),
        1 => 0x3FE0_0000_0000_0000 + (random.bits() & 0x807F_FFFF_FFFF_FFFF),
        2 => f64::from(f32::from_bits(random.pick(&SINGLES))).to_bits(),
        _ => random.pick(&DOUBLES),
    }
}

/// A number of the x87: of every class, those without a meaning among them.
pub fn extended(random: &mut Random) -> Extended {
    let integer = 1 << 63;
    let number = |significand, sign_exponent| Extended { significand, sign_exponent };
    let sign = (random.below(2) as u16) << 15;
    match random.below(16) {
        0 => number(0, sign),
        1 => number(integer, sign | 0x3FFF),
        2 => number(integer, sign | 0x7FFF),
        // Quiet and signalling.
        3 => number(integer | 1 << 62 | random.bits() >> 2, sign | 0x7FFF),
        4 => number(integer | random.bits() >> 2 | 1, sign | 0x7FFF),
        // Denormal and pseudo-denormal.
        5 => number(random.bits() >> 1, sign),
        6 => number(integer | random.bits() >> 1, sign),
        // Unnormal, pseudo-infinity, pseudo-NaN.
        7 => number(random.bits() >> 1, sign | random.pick(&[1, 0x3FFF, 0x7FFE, 0x7FFF])),
        8 => number(u64::MAX, sign | random.pick(&[0x7FFE, 0x3FFE, 1])),
        // Integers, and halves between them.
        9..12 => number(integer | random.edge() << 32, sign | (0x3FFE + random.below(66) as u16)),
        12 | 13 => number(integer | random.bits(), sign | (0x3FF0 + random.below(32) as u16)),
        14 => number(integer | random.bits(), sign | random.below(0x7FFF) as u16),
        _ => number(random.edge(), random.bits() as u16),
    }
}

/// 64 bits of elements.
fn half_lane(element: Element, random: &mut Random) -> u64 {
    match element {
        Element::Half => (0..4).fold(0, |all, _| all << 16 | u64::from(random.pick(&HALVES))),
        Element::Single => u64::from(single(random)) << 32 | u64::from(single(random)),
        Element::Double => double(random),
        _ => random.edge(),
    }
}

/// 128 bits of elements.
pub fn lane(element: Element, random: &mut Random) -> u128 {
    u128::from(half_lane(element, random)) << 64 | u128::from(half_lane(element, random))
}

/// Fills `bytes` with elements: those of 10 bytes at 16 bytes each, so that aligned operands find one.
pub fn fill(element: Element, bytes: &mut [u8], random: &mut Random) {
    for place in bytes.chunks_mut(16) {
        let all = match element {
            Element::Extended => {
                let Extended { significand, sign_exponent } = extended(random);
                u128::from(sign_exponent) << 64 | u128::from(significand)
            }
            Element::Decimal => {
                let sign = random.pick(&[0, 0x80, 0x7F]);
                let digits = (0..9).fold(0, |all, _| all << 8 | random.below(10) << 4 | random.below(10));
                u128::from(digits) | sign << 72
            }
            _ => lane(element, random),
        };
        place.copy_from_slice(&all.to_le_bytes()[..place.len()]);
    }
}

/// Data of every kind, made once: what is around the operands of a trial is a piece of it.
pub struct Stock {
    kinds: [Vec<u8>; KINDS.len()],
}

const KINDS: [Element; 6] =
    [Element::Integer, Element::Half, Element::Single, Element::Double, Element::Extended, Element::Decimal];

impl Stock {
    const SIZE: usize = 0x4000;

    /// The same always.
    pub fn new() -> Self {
        let mut random = Random::new(0x5A17_5A17);
        let kinds = KINDS.map(|element| {
            let mut bytes = vec![0; Self::SIZE];
            fill(element, &mut bytes, &mut random);
            bytes
        });
        Stock { kinds }
    }

    /// A piece of `len` bytes that begins with a whole element.
    pub fn piece(&self, element: Element, len: usize, random: &mut Random) -> &[u8] {
        let from = 16 * random.below(((Self::SIZE - len) / 16) as u64) as usize;
        &self.kinds[element as usize][from..from + len]
    }
}

/// RFLAGS of user code: any arithmetic flags, DF; interrupts are enabled, as user code of an operating system
/// always has them.
pub fn flags(random: &mut Random) -> Flags {
    let any = Flags::from_bits_truncate(random.bits() as u32) & (Flags::ARITHMETIC | Flags::DF);
    any | Flags::IF | Flags::FIXED
}

/// MXCSR: every way of rounding, denormals as they are or as zero, sticky flags, seldom an exception unmasked.
pub fn mxcsr(random: &mut Random) -> u32 {
    let rounding = (random.below(4) as u32) << 13;
    let zero = random.pick(&[0, 0, 0, 0x40, 0x8000, 0x8040]);
    let sticky = if random.below(4) == 0 { random.bits() as u32 & 0x3F } else { 0 };
    let masks = if random.below(8) == 0 { (random.bits() as u32 & 0x3F) << 7 } else { 0x1F80 };
    // An exception that is unmasked is not pending: it would not have been left so.
    rounding | zero | masks | sticky & masks >> 7
}

/// The x87 after some use: any stack, control words of every precision and rounding; seldom an exception
/// unmasked, or pending.
pub fn x87(random: &mut Random) -> X87 {
    let rounding = (random.below(4) as u16) << 10;
    let precision = random.pick(&[0x300, 0x300, 0x300, 0x200, 0]);
    let masks = if random.below(8) == 0 { random.bits() as u16 & 0x3F } else { 0x3F };
    let conditions = random.bits() as u16 & 0x4700;
    let mut exceptions = if random.below(4) == 0 { random.bits() as u16 & 0x7F & (masks | 0x40) } else { 0 };
    if random.below(32) == 0 {
        exceptions |= random.bits() as u16 & 0x3F;
    }
    // The summary, and the copy of it that was "busy" once.
    let summary = if exceptions & !masks & 0x3F != 0 { 0x8080 } else { 0 };
    let some = random.bits() as u8;
    X87 {
        r: std::array::from_fn(|_| extended(random)),
        fcw: 0x40 | rounding | precision | masks,
        fsw: conditions | exceptions | summary,
        top: random.below(8) as u8,
        valid: random.pick(&[0xFF, 0xFF, 0xFF, 0xFF, 0, some, some]),
        ..X87::reset()
    }
}

/// The flags that [`flags`] chooses.
pub fn all_flags() -> Flags {
    Flags::ARITHMETIC | Flags::DF | Flags::IF | Flags::FIXED
}
