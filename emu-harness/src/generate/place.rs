//! Pointers, counts and targets that lead somewhere, for instructions that would hardly do anything with any
//! others.

use super::{Random, layout, values};
use emu_core::state::CpuState;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI as numbered in encodings.
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;

/// Gives implied operands of `made` values. Pointers are offsets from `origin`.
pub fn registers(made: &Instruction, bitness: u32, origin: u64, state: &mut CpuState, random: &mut Random) {
    use Mnemonic as M;
    let gpr = &mut state.general.gpr;
    gpr[RSP] = origin + layout::stack(random);
    if goes_by_value(made) && random.below(16) != 0 {
        let stack = gpr[RSP];
        *gpr = [origin + layout::TARGET; 16];
        gpr[RSP] = stack;
    }
    let masked = matches!(made.mnemonic(), M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu);
    if made.is_string_instruction() {
        let size = made.memory_size().size() as u64;
        // Which of two faults comes first no manual tells: one pointer is good.
        let (good, any) = (layout::safe(random, 128), layout::operand(random, size));
        let (source, target) = if random.below(2) == 0 { (good, any) } else { (any, good) };
        (gpr[RSI], gpr[RDI]) = (origin + source, origin + target);
        if made.has_rep_prefix() || made.has_repne_prefix() {
            // With a count of zero AMD's processors check the right to access ports, Intel's do not.
            let least = u64::from(is_port(made));
            gpr[RCX] = least + random.below(12);
        }
    } else if masked {
        // Bytes that the mask leaves out may fault or not.
        gpr[RDI] = origin + layout::safe(random, 16);
    }
    match made.mnemonic() {
        M::Leave | M::Enter => gpr[RBP] = origin + layout::stack(random),
        M::Xlatb => gpr[RBX] = origin + layout::operand(random, 256),
        M::Clzero | M::Monitor => gpr[RAX] = origin + layout::safe(random, 64),
        M::Loop | M::Loope | M::Loopne | M::Jcxz | M::Jecxz | M::Jrcxz => {
            gpr[RCX] = random.pick(&[0, 1, 2, 0x1_0000, 0x1_0000_0000, gpr[RCX]]);
        }
        M::Div | M::Idiv if random.below(4) != 0 => divide(made, gpr, random),
        M::Shld | M::Shrd | M::Shl | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr
            if random.below(2) == 0 =>
        {
            gpr[RCX] = gpr[RCX] & !0xFF | random.below(u64::from(bitness) + 2);
        }
        _ if is_extended(made.mnemonic()) => {
            gpr[RAX] = gpr[RAX] & !0xFFFF_FFFF | components(random);
        }
        M::Bt | M::Bts | M::Btr | M::Btc if made.op0_kind() == OpKind::Memory => bit_index(made, gpr, random),
        _ => {}
    }
}

/// Whether the instruction saves or restores state components by EDX:EAX.
pub fn is_extended(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Xsave
            | M::Xsave64
            | M::Xsaveopt
            | M::Xsaveopt64
            | M::Xsavec
            | M::Xsavec64
            | M::Xrstor
            | M::Xrstor64
    )
}

/// Some of the components that a case has, and of those that no processor has now.
fn components(random: &mut Random) -> u64 {
    random.bits() & random.pick(&[0x1F, 7, 7, 7])
}

fn is_port(made: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(made.mnemonic(), M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd)
}

/// The register that BT with a memory operand counts bits by: not too far away.
fn bit_index(made: &Instruction, gpr: &mut [u64; 16], random: &mut Random) {
    if made.op1_kind() == OpKind::Register {
        let index = made.op1_register().full_register().number();
        gpr[index] = random.below(0x2000).wrapping_sub(0x1000);
    }
}

/// A dividend whose quotient is more likely to fit.
fn divide(made: &Instruction, gpr: &mut [u64; 16], random: &mut Random) {
    let size = match made.op0_kind() {
        OpKind::Register => made.op0_register().size(),
        _ => made.memory_size().size(),
    };
    let signs = made.mnemonic() == Mnemonic::Idiv && random.below(2) == 0;
    let above = if signs { u64::MAX } else { random.below(2) };
    match size {
        1 => gpr[RAX] = gpr[RAX] & !0xFF00 | (above & 0xFF) << 8,
        size => {
            let mask = u64::MAX >> (64 - 8 * size as u32);
            gpr[RDX] = gpr[RDX] & !mask | above & mask;
        }
    }
}

/// Whether the instruction goes where a register or memory says.
pub fn goes_by_value(made: &Instruction) -> bool {
    matches!(
        made.flow_control(),
        FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
    )
}

/// Whether a register is both part of the address and a number that was placed: then one would spoil the other.
pub fn collides(made: &Instruction) -> bool {
    let base = made.memory_base().full_register();
    let index = made.memory_index().full_register();
    let is_part = |register: Register| register != Register::None && (register == base || register == index);
    match made.mnemonic() {
        // Whether a bad target or a bad stack comes first the manuals do not agree on.
        Mnemonic::Call => base == Register::RSP,
        _ if is_extended(made.mnemonic()) => is_part(Register::RAX),
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc => {
            made.op1_kind() == OpKind::Register && is_part(made.op1_register().full_register())
        }
        _ => false,
    }
}

/// Elements of the vector of indices, so that they lead near `[base + displacement]`; and of the mask of
/// elements that are loaded, which is the last operand of a gather.
pub fn gather(made: &Instruction, state: &mut CpuState, random: &mut Random) {
    let index = made.memory_index();
    if !index.is_vector_register() {
        return;
    }
    let wide = made.op_code().mnemonic_has_64bit_indices();
    for lane in &mut state.simd.vector[index.number()] {
        let mut element = |shift: u32| {
            let value = random.below(0x30).wrapping_sub(8);
            if wide { value } else { (value & 0xFFFF_FFFF) << shift }
        };
        let half = |a: u64, b: u64| if wide { a } else { a | b };
        let (low, high) = (half(element(0), element(32)), half(element(0), element(32)));
        *lane = u128::from(high) << 64 | u128::from(low);
    }
}

/// Whether the vector of indices of a gather has 64-bit elements.
trait Indices {
    fn mnemonic_has_64bit_indices(&self) -> bool;
}

impl Indices for iced_x86::OpCodeInfo {
    fn mnemonic_has_64bit_indices(&self) -> bool {
        use iced_x86::OpCodeOperandKind as O;
        (0..self.op_count()).any(|k| matches!(self.op_kind(k), O::mem_vsib64x | O::mem_vsib64y))
    }
}

/// Writes to the memory operand, at `bytes`, what makes the instruction do more than with any data.
pub fn memory(made: &Instruction, state: &CpuState, bytes: &mut [u8], random: &mut Random) {
    use Mnemonic as M;
    let gpr = &state.general.gpr;
    match made.mnemonic() {
        M::Cmpxchg if random.below(2) == 0 => put(bytes, 0, &gpr[RAX].to_le_bytes()),
        M::Cmpxchg8b if random.below(2) == 0 => {
            put(bytes, 0, &gpr[RAX].to_le_bytes()[..4]);
            put(bytes, 4, &gpr[RDX].to_le_bytes()[..4]);
        }
        M::Cmpxchg16b if random.below(2) == 0 => {
            put(bytes, 0, &gpr[RAX].to_le_bytes());
            put(bytes, 8, &gpr[RDX].to_le_bytes());
        }
        M::Ldmxcsr | M::Vldmxcsr => put_mxcsr(bytes, 0, random),
        M::Fxrstor | M::Fxrstor64 => put_mxcsr(bytes, 24, random),
        M::Xrstor | M::Xrstor64 => {
            put_mxcsr(bytes, 24, random);
            // XSTATE_BV and XCOMP_BV, and what must be zero.
            let compacted = if random.below(2) == 0 { 1 << 63 | components(random) } else { 0 };
            put(bytes, 512, &components(random).to_le_bytes());
            put(bytes, 520, &u64::to_le_bytes(compacted));
            if random.below(16) != 0 {
                put(bytes, 528, &[0; 48]);
            }
        }
        _ => {}
    }
}

/// A value for MXCSR: mostly good, but never with bit 17, which AMD's processors have (misaligned accesses).
fn put_mxcsr(bytes: &mut [u8], at: usize, random: &mut Random) {
    let value = if random.below(4) != 0 { values::mxcsr(random) } else { random.bits() as u32 & !(1 << 17) };
    put(bytes, at, &value.to_le_bytes());
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
