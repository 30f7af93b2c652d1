//! What a translator may do by an operation of its own instead of calling [`LaneOperation::apply`].
//!
//! Only operations that are the same to the bit are here. What is missing is called.
//!
//! [`LaneOperation::apply`]: super::LaneOperation::apply

use super::{FpOp, LaneOp, LaneOp3};

/// Integer elements of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "sizes")]
pub enum Element {
    I8,
    I16,
    I32,
    I64,
}

/// An operation on the elements of two lanes. Those on one have it as their second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanePrimitive {
    /// Sum, wrapping.
    Add(Element),
    /// Difference, wrapping.
    Sub(Element),
    /// Low half of the product.
    MulLow(Element),
    /// All ones where equal, else zero.
    Equal(Element),
    /// All ones where a > b, signed, else zero.
    GreaterSigned(Element),
    /// Smaller, signed.
    MinSigned(Element),
    /// Smaller, unsigned.
    MinUnsigned(Element),
    /// Greater, signed.
    MaxSigned(Element),
    /// Greater, unsigned.
    MaxUnsigned(Element),
    /// Sum, saturating, signed.
    AddSigned(Element),
    /// Sum, saturating, unsigned.
    AddUnsigned(Element),
    /// Difference, saturating, signed.
    SubSigned(Element),
    /// Difference, saturating, unsigned.
    SubUnsigned(Element),
    /// Average, unsigned, rounded up.
    Average(Element),
    /// a & b.
    And,
    /// !a & b.
    AndNot,
    /// a | b.
    Or,
    /// a ^ b.
    Xor,
    /// Moves bytes of both operands, which ones is known from the immediate: applied to the numbers 0 to 31 it
    /// gives the places that they come from.
    Shuffle,
    /// Elements shifted left by the low 64 bits of b; all zeros if that is too much.
    ShiftLeft(Element),
    /// Elements shifted right, logically.
    ShiftRight(Element),
    /// Elements shifted right, the sign in every bit that becomes free.
    ShiftRightSigned(Element),
    /// The whole lane shifted left by as many bytes as the immediate says.
    ShiftBytesLeft,
    /// The same to the right.
    ShiftBytesRight,
    /// As many bytes to the right, of the 32 bytes with `a` above `b`.
    Align,
    /// Bytes of `a` that those of `b` choose by their low four bits; zero where the highest bit is set.
    Choose,
    /// Elements of that size made half as wide, saturating, signed: those of `a`, then those of `b`.
    PackSigned(Element),
    /// The same to unsigned ones, from signed ones.
    PackUnsigned(Element),
    /// The lower elements of that size widened to the second, by sign.
    WidenSigned(Element, Element),
    /// The lower elements widened with zeros.
    WidenUnsigned(Element, Element),
    /// Absolute values.
    Absolute(Element),
    /// Sums of neighbouring elements, wrapping: those of `a`, then those of `b`.
    AddPairs(Element),
    /// Products of the lower half of each 64-bit element, signed.
    MulEvenSigned,
    /// The same, unsigned.
    MulEvenUnsigned,
    /// Products of signed words, neighbours added, wrapping.
    MulAddWords,
    /// Products of a's unsigned and b's signed bytes, neighbours added, saturating.
    MulAddBytes,
    /// Products of signed words, their highest bits rounded.
    MulRounded,
    /// Sums of the absolute differences of bytes, of each half.
    SumDifferences,
    /// The element of `b` that the immediate names, and zeros.
    Extract(Element),
    /// `a` with the lowest element of `b` in the place that the immediate names.
    Insert(Element),
    /// The highest bit of each element of `b`.
    SignBits(Element),
    /// ZF in bit 6: no bit of `b` is set in `a`. CF in bit 0: every one is.
    Test,
}

/// An operation on the elements of three lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanePrimitive3 {
    /// Elements of `b` where the highest bit of that of `c` is set, else of `a`.
    Blend(Element),
}

/// Floating-point elements of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floats {
    /// Double precision, not single.
    pub double: bool,
    /// The lowest element alone; the rest is a's.
    pub scalar: bool,
}

/// An operation on floating-point elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FpPrimitive {
    /// Sum.
    Add(Floats),
    /// Difference.
    Sub(Floats),
    /// Product.
    Mul(Floats),
    /// Quotient.
    Div(Floats),
    /// Square root of b.
    Root(Floats),
    /// a where it is less than b, else b.
    Min(Floats),
    /// a where it is greater than b, else b.
    Max(Floats),
    /// All ones where the immediate's predicate holds, else zero.
    Compare(Floats),
    /// The order of the lowest elements as ZF, PF and CF, in their places in RFLAGS. `quiet`: a quiet NaN does not
    /// raise an exception.
    Order {
        /// Double precision.
        double: bool,
        /// See above.
        quiet: bool,
    },
    /// The lowest integer of `b`, as the lowest element of a's.
    FromInteger {
        /// To double precision.
        double: bool,
        /// From 64 bits, not 32.
        wide: bool,
    },
    /// The lowest element of `b`, as an integer rounded towards zero, and zeros.
    Truncate {
        /// From double precision.
        double: bool,
        /// To 64 bits, not 32.
        wide: bool,
    },
    /// Integers of 32 bits as elements; of double precision: the lower two.
    FromIntegers {
        /// To double precision.
        double: bool,
    },
    /// Single-precision elements as integers of 32 bits, rounded towards zero.
    TruncateAll,
    /// To double precision: the lowest element alone or the two lower ones.
    Widen {
        /// The rest is a's.
        scalar: bool,
    },
    /// To single precision: the lowest element alone, or both, and zeros.
    Narrow {
        /// The rest is a's.
        scalar: bool,
    },
}

/// Whether a predicate is one of the eight that legacy comparisons have.
pub const fn is_simple_predicate(imm: u8) -> bool {
    imm & 0x1F < 8
}

impl LaneOp {
    /// See the module.
    pub const fn primitive(self) -> Option<LanePrimitive> {
        use Element::{I8, I16, I32, I64};
        use LaneOp as O;
        use LanePrimitive as P;
        Some(match self {
            O::Paddb => P::Add(I8),
            O::Paddw => P::Add(I16),
            O::Paddd => P::Add(I32),
            O::Paddq => P::Add(I64),
            O::Psubb => P::Sub(I8),
            O::Psubw => P::Sub(I16),
            O::Psubd => P::Sub(I32),
            O::Psubq => P::Sub(I64),
            O::Paddsb => P::AddSigned(I8),
            O::Paddsw => P::AddSigned(I16),
            O::Paddusb => P::AddUnsigned(I8),
            O::Paddusw => P::AddUnsigned(I16),
            O::Psubsb => P::SubSigned(I8),
            O::Psubsw => P::SubSigned(I16),
            O::Psubusb => P::SubUnsigned(I8),
            O::Psubusw => P::SubUnsigned(I16),
            O::Pmullw => P::MulLow(I16),
            O::Pmulld => P::MulLow(I32),
            O::Pcmpeqb => P::Equal(I8),
            O::Pcmpeqw => P::Equal(I16),
            O::Pcmpeqd => P::Equal(I32),
            O::Pcmpeqq => P::Equal(I64),
            O::Pcmpgtb => P::GreaterSigned(I8),
            O::Pcmpgtw => P::GreaterSigned(I16),
            O::Pcmpgtd => P::GreaterSigned(I32),
            O::Pcmpgtq => P::GreaterSigned(I64),
            O::Pminsb => P::MinSigned(I8),
            O::Pminsw => P::MinSigned(I16),
            O::Pminsd => P::MinSigned(I32),
            O::Pminub => P::MinUnsigned(I8),
            O::Pminuw => P::MinUnsigned(I16),
            O::Pminud => P::MinUnsigned(I32),
            O::Pmaxsb => P::MaxSigned(I8),
            O::Pmaxsw => P::MaxSigned(I16),
            O::Pmaxsd => P::MaxSigned(I32),
            O::Pmaxub => P::MaxUnsigned(I8),
            O::Pmaxuw => P::MaxUnsigned(I16),
            O::Pmaxud => P::MaxUnsigned(I32),
            O::Pavgb => P::Average(I8),
            O::Pavgw => P::Average(I16),
            O::Pand => P::And,
            O::Pandn => P::AndNot,
            O::Por => P::Or,
            O::Pxor => P::Xor,
            O::Psllw => P::ShiftLeft(I16),
            O::Pslld => P::ShiftLeft(I32),
            O::Psllq => P::ShiftLeft(I64),
            O::Psrlw => P::ShiftRight(I16),
            O::Psrld => P::ShiftRight(I32),
            O::Psrlq => P::ShiftRight(I64),
            O::Psraw => P::ShiftRightSigned(I16),
            O::Psrad => P::ShiftRightSigned(I32),
            O::Pslldq => P::ShiftBytesLeft,
            O::Psrldq => P::ShiftBytesRight,
            O::Palignr => P::Align,
            O::Pshufb => P::Choose,
            O::Packsswb => P::PackSigned(I16),
            O::Packssdw => P::PackSigned(I32),
            O::Packuswb => P::PackUnsigned(I16),
            O::Packusdw => P::PackUnsigned(I32),
            O::Pmovsxbw => P::WidenSigned(I8, I16),
            O::Pmovsxbd => P::WidenSigned(I8, I32),
            O::Pmovsxbq => P::WidenSigned(I8, I64),
            O::Pmovsxwd => P::WidenSigned(I16, I32),
            O::Pmovsxwq => P::WidenSigned(I16, I64),
            O::Pmovsxdq => P::WidenSigned(I32, I64),
            O::Pmovzxbw => P::WidenUnsigned(I8, I16),
            O::Pmovzxbd => P::WidenUnsigned(I8, I32),
            O::Pmovzxbq => P::WidenUnsigned(I8, I64),
            O::Pmovzxwd => P::WidenUnsigned(I16, I32),
            O::Pmovzxwq => P::WidenUnsigned(I16, I64),
            O::Pmovzxdq => P::WidenUnsigned(I32, I64),
            O::Pabsb => P::Absolute(I8),
            O::Pabsw => P::Absolute(I16),
            O::Pabsd => P::Absolute(I32),
            O::Phaddw => P::AddPairs(I16),
            O::Phaddd => P::AddPairs(I32),
            O::Pmuldq => P::MulEvenSigned,
            O::Pmuludq => P::MulEvenUnsigned,
            O::Pmaddwd => P::MulAddWords,
            O::Pmaddubsw => P::MulAddBytes,
            O::Pmulhrsw => P::MulRounded,
            O::Psadbw => P::SumDifferences,
            O::Pextrb => P::Extract(I8),
            O::Pextrw => P::Extract(I16),
            O::Pextrd => P::Extract(I32),
            O::Pextrq => P::Extract(I64),
            O::Pinsrb => P::Insert(I8),
            O::Pinsrw => P::Insert(I16),
            O::Pinsrd => P::Insert(I32),
            O::Pinsrq => P::Insert(I64),
            O::Pmovmskb => P::SignBits(I8),
            O::Movmskps => P::SignBits(I32),
            O::Movmskpd => P::SignBits(I64),
            O::Ptest => P::Test,
            O::Punpcklbw
            | O::Punpcklwd
            | O::Punpckldq
            | O::Punpcklqdq
            | O::Punpckhbw
            | O::Punpckhwd
            | O::Punpckhdq
            | O::Punpckhqdq
            | O::Pshufd
            | O::Pshuflw
            | O::Pshufhw
            | O::Shufps
            | O::Shufpd
            | O::Movshdup
            | O::Movsldup
            | O::Pblendw
            | O::Blendps
            | O::Blendpd
            | O::Vpermilpd
            | O::Vpermq
            | O::Vpbroadcastb
            | O::Vpbroadcastw => P::Shuffle,
            _ => return None,
        })
    }
}

impl LaneOp3 {
    /// See the module.
    pub const fn primitive(self) -> Option<LanePrimitive3> {
        Some(match self {
            LaneOp3::Pblendvb => LanePrimitive3::Blend(Element::I8),
            LaneOp3::Blendvps => LanePrimitive3::Blend(Element::I32),
            LaneOp3::Blendvpd => LanePrimitive3::Blend(Element::I64),
            _ => return None,
        })
    }
}

impl FpOp {
    /// See the module.
    pub const fn primitive(self) -> Option<FpPrimitive> {
        use FpOp as O;
        use FpPrimitive as P;
        const PS: Floats = Floats { double: false, scalar: false };
        const PD: Floats = Floats { double: true, scalar: false };
        const SS: Floats = Floats { double: false, scalar: true };
        const SD: Floats = Floats { double: true, scalar: true };
        Some(match self {
            O::Addps => P::Add(PS),
            O::Addpd => P::Add(PD),
            O::Addss => P::Add(SS),
            O::Addsd => P::Add(SD),
            O::Subps => P::Sub(PS),
            O::Subpd => P::Sub(PD),
            O::Subss => P::Sub(SS),
            O::Subsd => P::Sub(SD),
            O::Mulps => P::Mul(PS),
            O::Mulpd => P::Mul(PD),
            O::Mulss => P::Mul(SS),
            O::Mulsd => P::Mul(SD),
            O::Divps => P::Div(PS),
            O::Divpd => P::Div(PD),
            O::Divss => P::Div(SS),
            O::Divsd => P::Div(SD),
            O::Sqrtps => P::Root(PS),
            O::Sqrtpd => P::Root(PD),
            O::Sqrtss => P::Root(SS),
            O::Sqrtsd => P::Root(SD),
            O::Minps => P::Min(PS),
            O::Minpd => P::Min(PD),
            O::Minss => P::Min(SS),
            O::Minsd => P::Min(SD),
            O::Maxps => P::Max(PS),
            O::Maxpd => P::Max(PD),
            O::Maxss => P::Max(SS),
            O::Maxsd => P::Max(SD),
            O::Cmpps | O::Vcmpps => P::Compare(PS),
            O::Cmppd | O::Vcmppd => P::Compare(PD),
            O::Cmpss | O::Vcmpss => P::Compare(SS),
            O::Cmpsd | O::Vcmpsd => P::Compare(SD),
            O::Comiss => P::Order { double: false, quiet: false },
            O::Comisd => P::Order { double: true, quiet: false },
            O::Ucomiss => P::Order { double: false, quiet: true },
            O::Ucomisd => P::Order { double: true, quiet: true },
            O::Cvtsi2ss32 => P::FromInteger { double: false, wide: false },
            O::Cvtsi2ss64 => P::FromInteger { double: false, wide: true },
            O::Cvtsi2sd32 => P::FromInteger { double: true, wide: false },
            O::Cvtsi2sd64 => P::FromInteger { double: true, wide: true },
            O::Cvttss2si32 => P::Truncate { double: false, wide: false },
            O::Cvttss2si64 => P::Truncate { double: false, wide: true },
            O::Cvttsd2si32 => P::Truncate { double: true, wide: false },
            O::Cvttsd2si64 => P::Truncate { double: true, wide: true },
            O::Cvtdq2ps => P::FromIntegers { double: false },
            O::Cvtdq2pd => P::FromIntegers { double: true },
            O::Cvttps2dq => P::TruncateAll,
            O::Cvtss2sd => P::Widen { scalar: true },
            O::Cvtps2pd => P::Widen { scalar: false },
            O::Cvtsd2ss => P::Narrow { scalar: true },
            O::Cvtpd2ps => P::Narrow { scalar: false },
            _ => return None,
        })
    }
}
