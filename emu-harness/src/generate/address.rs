//! Memory operands of every kind that the mode's addressing has.

use super::{Form, Random, layout, place};
use crate::encodings::{MemoryOperand, places};
use iced_x86::{CpuidFeature, MemorySize, OpCodeOperandKind as Operand, Register as R};

/// Where a memory operand shall lie, and what its address may be made of.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Size of code: 16, 32 or 64.
    pub bitness: u32,
    /// Size of the address: 16, 32 or 64.
    pub address: u32,
    /// Offset in the segment, or linear address in 64-bit mode.
    pub target: u64,
    /// What the bases of FS and GS add to an address: zero outside 64-bit mode, where all have the same.
    pub extra: [u64; 2],
    /// The index is a vector: a base register is needed, and no index.
    pub vector_index: bool,
}

/// A memory operand, and a value for each register that is part of its address.
pub struct Addressed {
    /// The operand.
    pub operand: MemoryOperand,
    /// Register number and value of the base.
    pub base: Option<(usize, u64)>,
    /// The same of the index.
    pub index: Option<(usize, u64)>,
}

/// Size of what XSAVE stores, and of its part that is always accessed.
const EXTENDED: u64 = 832;
/// See [`EXTENDED`].
const EXTENDED_HEADER: u64 = 576;
const BASES16: [(R, R); 8] = [
    (R::BX, R::SI),
    (R::BX, R::DI),
    (R::BP, R::SI),
    (R::BP, R::DI),
    (R::SI, R::None),
    (R::DI, R::None),
    (R::BP, R::None),
    (R::BX, R::None),
];

/// Mostly that of the code, else the one that the prefix 67 gives.
pub fn size(bitness: u32, random: &mut Random) -> u32 {
    match (bitness, random.below(4)) {
        (64 | 16, 0) => 32,
        (32, 0) => 16,
        _ => bitness,
    }
}

/// A memory operand with its address size, if the form's operand shall be in memory. Nothing at all if the form
/// cannot be made with what was drawn.
pub fn of_form(
    form: &Form,
    origin: u64,
    extra: [u64; 2],
    random: &mut Random,
) -> Option<Option<(Addressed, u32)>> {
    let (registers, memory) = places(form.code);
    if !memory || registers && random.below(2) == 0 {
        return Some(None);
    }
    let bitness = form.mode.bitness();
    let op_code = form.code.op_code();
    let has = |kinds: &[Operand]| (0..op_code.op_count()).any(|k| kinds.contains(&op_code.op_kind(k)));
    use Operand as O;
    let size = size(bitness, random);
    let absolute = has(&[O::mem_offs]);
    let extended = place::is_extended(form.code.mnemonic());
    let bytes = match op_code.memory_size() {
        _ if extended => EXTENDED,
        MemorySize::Unknown => 8,
        size => size.size() as u64,
    };
    let mut target = origin + layout::operand(random, bytes);
    if bitness == 64 && size == 64 && !absolute && random.below(64) == 0 {
        target ^= random.pick(&[1 << 63, 1 << 47, 0xFFFF_8000_0000_0000]);
    }
    if form.code.cpuid_features().contains(&CpuidFeature::SHA) {
        // Intel's processors want the operands of SHA aligned, AMD's do not.
        target &= !0xF;
    }
    if extended && layout::ends_beyond(target.wrapping_sub(origin), EXTENDED_HEADER..EXTENDED) {
        // Whether parts of an area are probed that are not accessed is in no manual.
        return None;
    }
    let wanted = Wanted {
        bitness,
        address: size,
        target,
        extra,
        vector_index: has(&[O::mem_vsib32x, O::mem_vsib32y, O::mem_vsib64x, O::mem_vsib64y]),
    };
    let mut addressed = operand(wanted, random);
    if absolute {
        let extra = match addressed.operand.segment {
            R::FS => wanted.extra[0],
            R::GS => wanted.extra[1],
            _ => 0,
        };
        let displacement = target.wrapping_sub(extra) as i64;
        let operand = MemoryOperand { displacement, ..addressed.operand };
        addressed = Addressed { operand, base: None, index: None };
    }
    let far = i32::try_from(addressed.operand.displacement).is_err();
    (!far || absolute).then_some(Some((addressed, size)))
}

/// An operand that lies where `wanted` says.
fn operand(wanted: Wanted, random: &mut Random) -> Addressed {
    let (base, index) = registers(wanted, random);
    let mask = u64::MAX >> (64 - wanted.address);
    let scale = if wanted.address == 16 || index == R::None { 1 } else { 1 << random.below(4) };
    let index_value = if index == R::None { 0 } else { small(random) };
    let part = index_value.wrapping_mul(u64::from(scale)) & mask;
    let segment = segment(random);
    let extra = match segment {
        R::FS => wanted.extra[0],
        R::GS => wanted.extra[1],
        _ => 0,
    };
    let rest = wanted.target.wrapping_sub(extra).wrapping_sub(part) & mask;
    let displacement = match base {
        // Without a register to take the rest, the displacement does.
        R::None | R::RIP | R::EIP => rest as i64,
        _ => random.pick(&[0, 0, 1, -8, 0x40, -0x80, 0x7F, -0x200, 0x300, 0x7FF0]),
    };
    let base_value = rest.wrapping_sub(displacement as u64) & mask;
    let operand = MemoryOperand { base, index, scale, displacement, segment };
    // What is above the address size does not count.
    let above = random.bits() & !mask;
    let value = |register: R, value: u64| {
        register.is_gpr().then(|| (register.full_register().number(), value & mask | above))
    };
    Addressed { operand, base: value(base, base_value), index: value(index, index_value) }
}

/// An index that moves the operand a little.
fn small(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => random.below(16).wrapping_sub(8),
        _ => random.below(0x1000),
    }
}

fn registers(wanted: Wanted, random: &mut Random) -> (R, R) {
    if wanted.address == 16 {
        return match random.below(9) {
            0 => (R::None, R::None),
            n => BASES16[n as usize - 1],
        };
    }
    let first = if wanted.address == 64 { R::RAX } else { R::EAX };
    let count = if wanted.bitness == 64 { 16 } else { 8 };
    let base = first + random.below(count) as u32;
    if wanted.vector_index {
        return (base, R::None);
    }
    // ESP and RSP cannot be an index; the same register twice could not lead where it shall.
    let index = first + random.below(count) as u32;
    let index = if index == first + 4 || index == base { R::None } else { index };
    match random.below(16) {
        0 if wanted.bitness == 64 => (if wanted.address == 64 { R::RIP } else { R::EIP }, R::None),
        1 => (R::None, R::None),
        2 => (R::None, index),
        3..10 => (base, R::None),
        _ => (base, index),
    }
}

fn segment(random: &mut Random) -> R {
    match random.below(8) {
        0 => random.pick(&[R::ES, R::CS, R::SS, R::DS, R::FS, R::GS]),
        _ => R::None,
    }
}
