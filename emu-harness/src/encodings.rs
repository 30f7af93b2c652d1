//! Instructions of every form: for a `Code` of iced-x86, random operands that its encoding allows.

use iced_x86::{Code, Encoder, Instruction, OpCodeOperandKind as Operand, OpKind, Register};

/// A small reproducible source of numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    /// The sequence that begins with `seed`, which is not zero.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.bits() >> 11) % n
    }

    /// One of `values`.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }

    /// A number as instructions find them hard: near the ends of the widths, with one bit or few, or any.
    pub fn edge(&mut self) -> u64 {
        let width = self.pick(&[8, 16, 32, 64]);
        let near = self.below(5).wrapping_sub(2);
        match self.below(6) {
            0 => near,
            1 => (1u64 << (width - 1)).wrapping_add(near),
            2 => (u64::MAX >> (64 - width)).wrapping_add(near),
            3 => 1 << self.below(64),
            4 => self.bits() >> self.below(64),
            _ => self.bits(),
        }
    }
}

/// What operands are made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Size of code: 16, 32 or 64.
    pub bitness: u32,
    /// Base register of a memory operand, if operands that may be in memory are.
    pub base: Option<Register>,
    /// Displacement of a memory operand.
    pub displacement: i32,
}

/// An instruction of the form `code`, or nothing if the form has no such operands.
pub fn instruction(code: Code, shape: Shape, random: &mut Random) -> Option<Instruction> {
    let form = code.op_code();
    let available = match shape.bitness {
        16 => form.mode16(),
        32 => form.mode32(),
        _ => form.mode64(),
    };
    if !form.is_instruction() || !available {
        return None;
    }
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut memory = false;
    for k in 0..form.op_count() {
        memory |= set_operand(&mut instruction, k, form.op_kind(k), shape, random)?;
    }
    // Without a memory operand a second shape would be the same again.
    (memory == shape.base.is_some()).then_some(instruction)
}

/// The instruction's bytes at `rip`.
pub fn encode(instruction: &Instruction, bitness: u32, rip: u64) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(bitness);
    encoder.encode(instruction, rip).ok()?;
    Some(encoder.take_buffer())
}

/// Fills in operand `k`; returns whether it is in memory.
fn set_operand(
    i: &mut Instruction,
    k: u32,
    kind: Operand,
    shape: Shape,
    random: &mut Random,
) -> Option<bool> {
    use Operand as O;
    if let Some(first) = either(kind)
        && shape.base.is_none()
    {
        set_register(i, k, first, shape, random);
        return Some(false);
    }
    match kind {
        O::mem
        | O::r8_or_mem
        | O::r16_or_mem
        | O::r32_or_mem
        | O::r64_or_mem
        | O::mm_or_mem
        | O::xmm_or_mem
        | O::ymm_or_mem => {
            i.set_op_kind(k, OpKind::Memory);
            i.set_memory_base(shape.base?);
            i.set_memory_displacement64(i64::from(shape.displacement) as u64);
            i.set_memory_displ_size(if shape.bitness == 64 { 8 } else { shape.bitness / 8 });
            return Some(true);
        }
        O::seg_rSI => {
            i.set_op_kind(
                k,
                string(shape, [OpKind::MemorySegSI, OpKind::MemorySegESI, OpKind::MemorySegRSI]),
            );
        }
        O::es_rDI => {
            i.set_op_kind(k, string(shape, [OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI]));
        }
        O::seg_rDI => {
            i.set_op_kind(
                k,
                string(shape, [OpKind::MemorySegDI, OpKind::MemorySegEDI, OpKind::MemorySegRDI]),
            );
        }
        O::seg_rBX_al => {
            i.set_op_kind(k, OpKind::Memory);
            i.set_memory_base(match shape.bitness {
                16 => Register::BX,
                32 => Register::EBX,
                _ => Register::RBX,
            });
            i.set_memory_index(Register::AL);
        }
        O::imm8
        | O::imm8sex16
        | O::imm8sex32
        | O::imm8sex64
        | O::imm16
        | O::imm32
        | O::imm32sex64
        | O::imm64 => {
            set_immediate(i, k, kind, random);
        }
        O::imm8_const_1 => {
            i.set_op_kind(k, OpKind::Immediate8);
            i.set_immediate8(1);
        }
        O::br16_1 | O::br16_2 => {
            i.set_op_kind(k, OpKind::NearBranch16);
            i.set_near_branch16(0x1040);
        }
        O::br32_1 | O::br32_4 => {
            i.set_op_kind(k, OpKind::NearBranch32);
            i.set_near_branch32(0x1040);
        }
        O::br64_1 | O::br64_4 => {
            i.set_op_kind(k, OpKind::NearBranch64);
            i.set_near_branch64(0x10_1040);
        }
        _ => {
            let first = register_of(kind)?;
            set_register(i, k, first, shape, random);
        }
    }
    Some(false)
}

fn string(shape: Shape, kinds: [OpKind; 3]) -> OpKind {
    match shape.bitness {
        16 => kinds[0],
        32 => kinds[1],
        _ => kinds[2],
    }
}

fn set_immediate(i: &mut Instruction, k: u32, kind: Operand, random: &mut Random) {
    use Operand as O;
    let value = random.edge();
    let taken = (0..k).any(|other| {
        matches!(i.op_kind(other), OpKind::Immediate8 | OpKind::Immediate16 | OpKind::Immediate32)
    });
    let op = match kind {
        O::imm8 if taken => OpKind::Immediate8_2nd,
        O::imm8 => OpKind::Immediate8,
        O::imm8sex16 => OpKind::Immediate8to16,
        O::imm8sex32 => OpKind::Immediate8to32,
        O::imm8sex64 => OpKind::Immediate8to64,
        O::imm16 => OpKind::Immediate16,
        O::imm32 => OpKind::Immediate32,
        O::imm32sex64 => OpKind::Immediate32to64,
        _ => OpKind::Immediate64,
    };
    i.set_op_kind(k, op);
    match op {
        OpKind::Immediate8 => i.set_immediate8(value as u8),
        OpKind::Immediate8_2nd => i.set_immediate8_2nd(value as u8),
        OpKind::Immediate8to16 => i.set_immediate8to16((value as i8).into()),
        OpKind::Immediate8to32 => i.set_immediate8to32((value as i8).into()),
        OpKind::Immediate8to64 => i.set_immediate8to64((value as i8).into()),
        OpKind::Immediate16 => i.set_immediate16(value as u16),
        OpKind::Immediate32 => i.set_immediate32(value as u32),
        OpKind::Immediate32to64 => i.set_immediate32to64((value as i32).into()),
        _ => i.set_immediate64(value),
    }
}

/// First register of the file of an operand that may be in memory.
fn either(kind: Operand) -> Option<Register> {
    match kind {
        Operand::r8_or_mem => Some(Register::AL),
        Operand::r16_or_mem => Some(Register::AX),
        Operand::r32_or_mem => Some(Register::EAX),
        Operand::r64_or_mem => Some(Register::RAX),
        Operand::mm_or_mem => Some(Register::MM0),
        Operand::xmm_or_mem => Some(Register::XMM0),
        Operand::ymm_or_mem => Some(Register::YMM0),
        _ => None,
    }
}

/// First register of the file of a register operand, or the one register it can be.
fn register_of(kind: Operand) -> Option<Register> {
    use Operand as O;
    Some(match kind {
        O::r8_reg | O::r8_opcode => Register::AL,
        O::r16_reg | O::r16_reg_mem | O::r16_rm | O::r16_opcode => Register::AX,
        O::r32_reg | O::r32_reg_mem | O::r32_rm | O::r32_opcode | O::r32_vvvv => Register::EAX,
        O::r64_reg | O::r64_reg_mem | O::r64_rm | O::r64_opcode | O::r64_vvvv => Register::RAX,
        O::mm_reg | O::mm_rm => Register::MM0,
        O::xmm_reg | O::xmm_rm | O::xmm_vvvv | O::xmm_is4 => Register::XMM0,
        O::ymm_reg | O::ymm_rm | O::ymm_vvvv | O::ymm_is4 => Register::YMM0,
        O::st0 => Register::ST0,
        O::sti_opcode => Register::ST0,
        O::al => Register::AL,
        O::cl => Register::CL,
        O::ax => Register::AX,
        O::dx => Register::DX,
        O::eax => Register::EAX,
        O::rax => Register::RAX,
        O::es => Register::ES,
        O::cs => Register::CS,
        O::ss => Register::SS,
        O::ds => Register::DS,
        O::fs => Register::FS,
        O::gs => Register::GS,
        _ => return None,
    })
}

fn set_register(i: &mut Instruction, k: u32, first: Register, shape: Shape, random: &mut Random) {
    let kind = i.code().op_code().op_kind(k);
    let any = either(kind).is_some()
        || !matches!(
            kind,
            Operand::st0
                | Operand::al
                | Operand::cl
                | Operand::ax
                | Operand::dx
                | Operand::eax
                | Operand::rax
                | Operand::es
                | Operand::cs
                | Operand::ss
                | Operand::ds
                | Operand::fs
                | Operand::gs
        );
    let few = shape.bitness != 64 || first == Register::MM0 || first == Register::ST0;
    let count = match any {
        false => 1,
        true if few => 8,
        true => 16,
    };
    let number = random.below(count) as u32;
    let register = if first == Register::AL && any { BYTES[number as usize] } else { first + number };
    i.set_op_kind(k, OpKind::Register);
    i.set_op_register(k, register);
}

/// Byte registers: the first eight are those without REX.
const BYTES: [Register; 16] = [
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::AH,
    Register::CH,
    Register::DH,
    Register::BH,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R9L,
    Register::R14L,
    Register::R15L,
];
