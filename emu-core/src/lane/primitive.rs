//! What a translator may do by an operation of its own instead of calling [`LaneOperation::apply`].
//!
//! Only operations that are the same to the bit are here. What is missing is called.
//!
//! [`LaneOperation::apply`]: super::LaneOperation::apply

use super::{FpOp, LaneOp};

/// Integer elements of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "sizes")]
pub enum Element {
    I8,
    I16,
    I32,
    I64,
}

/// An operation on the elements of two lanes.
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
            | O::Blendpd => P::Shuffle,
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
            _ => return None,
        })
    }
}
