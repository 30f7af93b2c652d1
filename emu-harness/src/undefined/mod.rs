//! What the manuals leave undefined after an instruction, and what processors do about it.
//!
//! [`table`] says for each flag that a manual leaves undefined what the processors of each vendor make of it,
//! as far as that is known, and the same of a few other results. Where all of them do the same there is nothing
//! to leave out: emu does it too, and it is compared. [`of`] masks the rest, and only that.

mod table;

pub use table::{Entry, Rule, TABLE, What, When};

use emu_core::{
    arch::{Flags, Seg, attr},
    state::CpuState,
};
use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// What is not compared after an instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undefined {
    /// Flags.
    pub flags: u32,
    /// Bits of a general-purpose register, by number.
    pub general: Option<(usize, u64)>,
    /// Bits of bytes in memory, by linear address.
    pub memory: Vec<(u64, u8)>,
    /// Bits of the x87's status word.
    pub status: u16,
    /// TOP and the tags of the x87.
    pub stack: bool,
    /// Bits of MXCSR.
    pub mxcsr: u32,
    /// Which byte of the operand a page fault names in CR2.
    pub fault_address: bool,
}

/// What no model fixes after `instruction` in `state`, whose data segments begin at `base`.
pub fn of(instruction: &Instruction, state: &CpuState, base: u64) -> Undefined {
    let mut undefined = listed(instruction, state);
    let result = result_bits(instruction, state);
    if result != 0 && instruction.op0_kind() == OpKind::Register {
        undefined.general = Some((instruction.op0_register().full_register().number(), result));
    } else if result != 0 {
        let address = address(instruction, state, base);
        let bytes = result.to_le_bytes().into_iter().zip(address..);
        undefined.memory.extend(bytes.map(|(mask, address)| (address, mask)));
    }
    undefined.memory.extend(image(instruction, state, base));
    undefined
}

/// Width of the destination in bits.
fn width(instruction: &Instruction) -> u64 {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size() as u64 * 8,
        _ => instruction.memory_size().size() as u64 * 8,
    }
}

/// The count of a shift, as the processor masks it.
fn count(instruction: &Instruction, state: &CpuState) -> u64 {
    let last = instruction.op_count().saturating_sub(1);
    let count = match instruction.op_kind(last) {
        OpKind::Immediate8 => instruction.immediate8().into(),
        _ => state.general.gpr[1] & 0xFF,
    };
    count & if width(instruction) == 64 { 63 } else { 31 }
}

/// What the table has of the instruction.
fn listed(instruction: &Instruction, state: &CpuState) -> Undefined {
    let mut undefined = Undefined::default();
    let mut flags_listed = false;
    for entry in TABLE.iter().filter(|entry| entry.mnemonics.contains(&instruction.mnemonic())) {
        flags_listed |= matches!(entry.what, What::Flags(_)) && entry.when != When::InvalidUnmasked;
        if entry.is_fixed() || !holds(entry.when, instruction, state) {
            continue;
        }
        match entry.what {
            What::Flags(flags) => undefined.flags |= flags.bits(),
            What::Status(bits) => undefined.status |= bits,
            What::Mxcsr(bits) => undefined.mxcsr |= bits,
            What::Stack => undefined.stack = true,
            What::PushedHalf => undefined.memory.extend(pushed_half(state).map(|address| (address, 0xFF))),
            What::FaultAddress => undefined.fault_address = true,
        }
    }
    if !flags_listed {
        undefined.flags |= documented(instruction);
    }
    if has_unmasked_overflow(instruction, state) {
        undefined.mxcsr |= PRECISION;
    }
    undefined
}

fn holds(when: When, instruction: &Instruction, state: &CpuState) -> bool {
    match when {
        When::Always => true,
        When::CountNotZero => count(instruction, state) != 0,
        When::CountAboveOne => count(instruction, state) > 1,
        When::CountReachesWidth => count(instruction, state) >= width(instruction),
        When::CountBeyondWidth => count(instruction, state) > width(instruction),
        When::InvalidUnmasked => state.x87.fcw & 1 == 0,
        When::SegmentInDoubleword => {
            instruction.op0_register().is_segment_register() && instruction.stack_pointer_increment() == -4
        }
        When::SimdUnmasked => state.simd.mxcsr & 0x1F80 != 0x1F80,
    }
}

/// Linear addresses of the upper half of a doubleword that is pushed.
fn pushed_half(state: &CpuState) -> impl Iterator<Item = u64> {
    let stack = state.segments.data[Seg::Ss as usize];
    let mask = if stack.attr & attr::D == 0 { 0xFFFF } else { 0xFFFF_FFFF };
    let pointer = state.general.gpr[4];
    [2, 1].into_iter().map(move |below| stack.base.wrapping_add(pointer.wrapping_sub(below) & mask))
}

/// PE of MXCSR.
const PRECISION: u32 = 1 << 5;

/// An SSE operation whose overflow or underflow is unmasked: whether PE is set beside OE or UE. SDM vol. 1,
/// 11.5.3.2 does not tell; on Zen 4 it is not.
fn has_unmasked_overflow(instruction: &Instruction, state: &CpuState) -> bool {
    const OVERFLOW_AND_UNDERFLOW: u32 = 3 << 10;
    let masked = state.simd.mxcsr & OVERFLOW_AND_UNDERFLOW;
    masked != OVERFLOW_AND_UNDERFLOW && instruction.code().op_code().is_instruction()
}

/// Flags that the manual leaves undefined, of instructions that are not in the table.
fn documented(instruction: &Instruction) -> u32 {
    let undefined = instruction.rflags_undefined();
    let pairs = [
        (RflagsBits::OF, Flags::OF),
        (RflagsBits::SF, Flags::SF),
        (RflagsBits::ZF, Flags::ZF),
        (RflagsBits::AF, Flags::AF),
        (RflagsBits::CF, Flags::CF),
        (RflagsBits::PF, Flags::PF),
    ];
    pairs.iter().filter(|(theirs, _)| undefined & theirs != 0).map(|(_, ours)| ours.bits()).sum()
}

/// Bits of the destination that are undefined. SDM vol. 2, SHLD and SHRD: "if the count is greater than the
/// operand size, the result is undefined"; BSWAP: "when the BSWAP instruction references a 16-bit register, the
/// result is undefined".
fn result_bits(instruction: &Instruction, state: &CpuState) -> u64 {
    let all = u64::MAX >> (64 - width(instruction).clamp(1, 64));
    match instruction.mnemonic() {
        Mnemonic::Shld | Mnemonic::Shrd if count(instruction, state) > width(instruction) => all,
        Mnemonic::Bswap if width(instruction) == 16 => all,
        _ => 0,
    }
}

/// Linear address of the memory operand of `instruction`; `base` is that of all segments, but for FS and GS in
/// 64-bit mode, where it is 0.
pub fn address(instruction: &Instruction, state: &CpuState, base: u64) -> u64 {
    let register = |register: Register, _, _| {
        if register.is_segment_register() {
            let segment = &state.segments.data[register.number()];
            return Some(if base == 0 && register.number() >= 4 { segment.base } else { 0 });
        }
        let number = register.full_register().number();
        let value = if register.is_gpr() { state.general.gpr[number] } else { return Some(0) };
        let bits = 8 * register.size() as u32;
        Some(value & (u64::MAX >> (64 - bits)))
    };
    let operand = (0..instruction.op_count()).find(|k| instruction.op_kind(*k) == OpKind::Memory);
    let offset = operand.and_then(|k| instruction.virtual_address(k, 0, register)).unwrap_or(0);
    base.wrapping_add(offset)
}

/// Parts of images of the FPU. Processors of AMD write the pointers only while an exception is pending (APM vol. 2,
/// 11.4.4), those of Intel always, with a selector of zero or without (CPUID.7:EBX[13]). MXCSR_MASK is each
/// model's own: AMD's have bit 17, MM.
fn image(instruction: &Instruction, state: &CpuState, base: u64) -> impl Iterator<Item = (u64, u8)> {
    use iced_x86::Code as C;
    let fxsave = matches!(
        instruction.code(),
        C::Fxsave_m512byte
            | C::Fxsave64_m512byte
            | C::Xsave_mem
            | C::Xsave64_mem
            | C::Xsaveopt_mem
            | C::Xsaveopt64_mem
            | C::Xsavec_mem
            | C::Xsavec64_mem
    );
    let range = match instruction.code() {
        // FOP, FIP, FCS, FDP, FDS.
        _ if fxsave => 6..24,
        C::Fnstenv_m14byte | C::Fnsave_m94byte => 6..14,
        C::Fnstenv_m28byte | C::Fnsave_m108byte => 12..28,
        _ => 0..0,
    };
    let start = if range.is_empty() { 0 } else { address(instruction, state, base) };
    let mask = if fxsave { 28..32 } else { 0..0 };
    range.chain(mask).map(move |at| (start.wrapping_add(at), 0xFF))
}
