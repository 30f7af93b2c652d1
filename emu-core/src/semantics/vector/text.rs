//! String comparisons and CRC32 of SSE4.2. SDM vol. 1, 12.10 and 12.11.
//!
//! Flags of the comparisons: CF, ZF, SF and OF say what was found, AF and PF become zero. CRC32 has none. The
//! comparisons do not need an aligned operand.

use super::{
    AVX, Meaning, Rows, SSE,
    operand::{Encoding, Legacy, Vex, extend, read_lane},
};
use crate::{
    arch::Width,
    cpu::slot,
    decode::{Insn, Kind},
    lane::{ExpandMask, Pcmpestr, Pcmpistr, Pxor, crc32},
    semantics::{AnyForm, Attr, Emitter, Form, Step, operand::read},
};
use iced_x86::Code;
use std::marker::PhantomData;

const RAX: u8 = slot::byte_offset(slot::RAX);
const RCX: u8 = slot::byte_offset(slot::RCX);
const RDX: u8 = slot::byte_offset(slot::RDX);

/// A comparison: lengths explicit in xAX and xDX (`EXPLICIT`), as 64-bit numbers (`WIDE`); the result an index
/// in ECX or a mask in XMM0 (`MASK`).
struct Compare<V, const EXPLICIT: bool, const WIDE: bool, const MASK: bool>(PhantomData<V>);

impl<V: Encoding, const EXPLICIT: bool, const WIDE: bool, const MASK: bool> Meaning
    for Compare<V, EXPLICIT, WIDE, MASK>
{
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_lane::<E, F>(e, i, 1)?;
        let a = e.vector(i.reg[0], 0);
        let imm = i.imm as u8;
        let found = if EXPLICIT {
            let lengths = lengths::<E, WIDE>(e);
            e.lane_op3::<Pcmpestr>(a, b, lengths, imm)
        } else {
            e.lane_op::<Pcmpistr>(a, b, imm)
        };
        let found = e.lane_low(found);
        let (mask, count) = (e.constant(0xFFFF), e.constant(32));
        let bits = e.and(found, mask);
        let flags = e.shr(Width::W64, found, count);
        if MASK {
            let bits = extend(e, bits);
            let expanded = e.lane_op::<ExpandMask>(bits, bits, imm);
            e.set_vector(0, 0, expanded);
            if V::CLEARS {
                let zero = e.lane_op::<Pxor>(expanded, expanded, 0);
                e.set_vector(0, 1, zero);
            }
        } else {
            let index = index(e, bits, imm);
            e.set_gpr(Width::W32, RCX, index);
        }
        e.set_flags_explicit(flags);
        Ok(())
    }
}

/// Lengths of both operands in the halves of a lane.
fn lengths<E: Emitter, const WIDE: bool>(e: &mut E) -> E::Lane {
    let w = if WIDE { Width::W64 } else { Width::W32 };
    let (a, b) = (e.gpr(w, RAX), e.gpr(w, RDX));
    let (a, b) = (e.sign_extend(w, Width::W64, a), e.sign_extend(w, Width::W64, b));
    e.lane_from(a, b)
}

/// The lowest or (imm\[6\]) highest bit set; the number of elements if there is none.
fn index<E: Emitter>(e: &mut E, bits: E::Value, imm: u8) -> E::Value {
    let elements = e.constant(if imm & 1 != 0 { 8 } else { 16 });
    let none = e.is_zero(bits);
    let position = if imm & 0x40 != 0 {
        let zeros = e.leading_zeros(Width::W32, bits);
        let top = e.constant(31);
        e.sub(Width::W32, top, zeros)
    } else {
        e.trailing_zeros(Width::W32, bits)
    };
    e.select(none, elements, position)
}

/// CRC32.
struct Crc32;

impl Meaning for Crc32 {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = match F::kind(i, 1) {
            Kind::Mem => e.load(i, F::ADDRESS, i.width[1], 0)?,
            _ => read::<E, AnyForm>(e, i, 1)?,
        };
        let crc = e.gpr(Width::W32, i.reg[0]);
        let width = e.constant(i.width[1] as u64);
        let r = e.pure(crc32, crc, value, width);
        e.set_gpr(Width::W64, i.reg[0], r);
        Ok(())
    }
}

/// A comparison: legacy SSE, VEX.128.
fn both<const EXPLICIT: bool, const WIDE: bool, const MASK: bool>(
    rows: &mut impl Rows,
    [sse, vex]: [Code; 2],
) {
    rows.add::<Compare<Legacy, EXPLICIT, WIDE, MASK>>(sse, SSE);
    rows.add_rare::<Compare<Vex, EXPLICIT, WIDE, MASK>>(vex, AVX);
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    both::<false, false, false>(
        rows,
        [Code::Pcmpistri_xmm_xmmm128_imm8, Code::VEX_Vpcmpistri_xmm_xmmm128_imm8],
    );
    both::<false, false, true>(
        rows,
        [Code::Pcmpistrm_xmm_xmmm128_imm8, Code::VEX_Vpcmpistrm_xmm_xmmm128_imm8],
    );
    both::<true, false, false>(
        rows,
        [Code::Pcmpestri_xmm_xmmm128_imm8, Code::VEX_Vpcmpestri_xmm_xmmm128_imm8],
    );
    both::<true, false, true>(
        rows,
        [Code::Pcmpestrm_xmm_xmmm128_imm8, Code::VEX_Vpcmpestrm_xmm_xmmm128_imm8],
    );
    both::<true, true, false>(
        rows,
        [Code::Pcmpestri64_xmm_xmmm128_imm8, Code::VEX_Vpcmpestri64_xmm_xmmm128_imm8],
    );
    both::<true, true, true>(
        rows,
        [Code::Pcmpestrm64_xmm_xmmm128_imm8, Code::VEX_Vpcmpestrm64_xmm_xmmm128_imm8],
    );
    for code in [
        Code::Crc32_r32_rm8,
        Code::Crc32_r64_rm8,
        Code::Crc32_r32_rm16,
        Code::Crc32_r32_rm32,
        Code::Crc32_r64_rm64,
    ] {
        rows.add::<Crc32>(code, Attr::empty());
    }
}
