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
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// One of `values`.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }

    /// A number as instructions find them hard: near the ends of the widths, with one bit or few, or any.
    pub fn edge(&mut self) -> u64 {
        let choice = self.bits();
        let below = |n: u64, at: u32| ((choice >> at & 0xFFFF) * n) >> 16;
        let width = 8 << (choice & 3);
        let near = below(5, 2).wrapping_sub(2);
        let shift = choice >> 58;
        match below(6, 18) {
            0 => near,
            1 => (1u64 << (width - 1)).wrapping_add(near),
            2 => (u64::MAX >> (64 - width)).wrapping_add(near),
            3 => 1 << shift,
            4 => self.bits() >> shift,
            _ => self.bits(),
        }
    }
}

/// A memory operand: base + index * scale + displacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryOperand {
    /// Base register, RIP and EIP included; or none.
    pub base: Register,
    /// Index register, or none. Forms with a vector of indices choose it themselves.
    pub index: Register,
    /// Factor of the index: 1, 2, 4 or 8.
    pub scale: u32,
    /// Displacement; relative to RIP the address itself.
    pub displacement: i64,
    /// Segment by prefix, or none.
    pub segment: Register,
}

impl MemoryOperand {
    /// `[base + displacement]`.
    pub fn at(base: Register, displacement: i64) -> Self {
        let none = Register::None;
        MemoryOperand { base, index: none, scale: 1, displacement, segment: none }
    }
}

/// What operands are made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Size of code: 16, 32 or 64.
    pub bitness: u32,
    /// Size of addresses: 16, 32 or 64.
    pub address: u32,
    /// The memory operand, if operands that may be in memory are.
    pub memory: Option<MemoryOperand>,
}

impl Shape {
    /// Operands in registers, or in memory; addresses have the size of the code.
    pub fn new(bitness: u32, memory: Option<MemoryOperand>) -> Self {
        Shape { bitness, address: bitness, memory }
    }
}

/// Whether the mode with code of `bitness` has the form.
pub fn available(code: Code, bitness: u32) -> bool {
    let form = code.op_code();
    let mode = match bitness {
        16 => form.mode16(),
        32 => form.mode32(),
        _ => form.mode64(),
    };
    form.is_instruction() && mode
}

/// Where a form's operands may be: in registers alone, in memory.
pub fn places(code: Code) -> (bool, bool) {
    let form = code.op_code();
    let kinds = (0..form.op_count()).map(|k| form.op_kind(k));
    let memory = |kind| is_memory(kind) || either(kind).is_some();
    (!kinds.clone().any(is_memory), kinds.clone().any(memory))
}

/// An instruction of the form `code`, or nothing if the form has no such operands.
pub fn instruction(code: Code, shape: Shape, random: &mut Random) -> Option<Instruction> {
    if !available(code, shape.bitness) {
        return None;
    }
    let form = code.op_code();
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut memory = false;
    for k in 0..form.op_count() {
        memory |= set_operand(&mut instruction, k, form.op_kind(k), shape, random)?;
    }
    // Without a memory operand a second shape would be the same again.
    (memory == shape.memory.is_some()).then_some(instruction)
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
        && shape.memory.is_none()
    {
        set_register(i, k, first, shape, random);
        return Some(false);
    }
    if either(kind).is_some() || is_memory(kind) {
        i.set_op_kind(k, OpKind::Memory);
        set_memory(i, kind, shape, random)?;
        return Some(true);
    }
    let string = |kinds: [OpKind; 3]| kinds[address_class(shape)];
    match kind {
        O::seg_rSI => {
            i.set_op_kind(k, string([OpKind::MemorySegSI, OpKind::MemorySegESI, OpKind::MemorySegRSI]));
        }
        O::es_rDI => i.set_op_kind(k, string([OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI])),
        O::seg_rDI => {
            i.set_op_kind(k, string([OpKind::MemorySegDI, OpKind::MemorySegEDI, OpKind::MemorySegRDI]));
        }
        O::seg_rBX_al => {
            i.set_op_kind(k, OpKind::Memory);
            i.set_memory_base([Register::BX, Register::EBX, Register::RBX][address_class(shape)]);
            i.set_memory_index(Register::AL);
        }
        O::imm8_const_1 => {
            i.set_op_kind(k, OpKind::Immediate8);
            i.set_immediate8(1);
        }
        O::imm4_m2z
        | O::imm8
        | O::imm8sex16
        | O::imm8sex32
        | O::imm8sex64
        | O::imm16
        | O::imm32
        | O::imm32sex64
        | O::imm64 => set_immediate(i, k, kind, random),
        O::br16_1 | O::br16_2 | O::br32_1 | O::br32_4 | O::br64_1 | O::br64_4 => set_branch(i, k, kind),
        O::farbr2_2 | O::farbr4_2 => set_far_branch(i, k, kind, random),
        _ => {
            let first = register_of(kind)?;
            set_register(i, k, first, shape, random);
        }
    }
    Some(false)
}

fn address_class(shape: Shape) -> usize {
    match shape.address {
        16 => 0,
        32 => 1,
        _ => 2,
    }
}

fn set_memory(i: &mut Instruction, kind: Operand, shape: Shape, random: &mut Random) -> Option<()> {
    let memory = shape.memory?;
    i.set_segment_prefix(memory.segment);
    i.set_memory_displacement64(memory.displacement as u64);
    i.set_memory_displ_size(shape.address / 8);
    if kind == Operand::mem_offs {
        return Some(());
    }
    i.set_memory_base(memory.base);
    i.set_memory_index(memory.index);
    i.set_memory_index_scale(memory.scale);
    let first = match kind {
        Operand::mem_vsib32x | Operand::mem_vsib64x => Register::XMM0,
        Operand::mem_vsib32y | Operand::mem_vsib64y => Register::YMM0,
        _ => return Some(()),
    };
    // A vector of indices takes the place of the index.
    let count = if shape.bitness == 64 { 16 } else { 8 };
    i.set_memory_index(first + random.below(count) as u32);
    (shape.address != 16 && !memory.base.is_ip()).then_some(())
}

/// Target of direct branches.
const TARGET: u64 = 0x1040;

fn set_branch(i: &mut Instruction, k: u32, kind: Operand) {
    use Operand as O;
    match kind {
        O::br16_1 | O::br16_2 => {
            i.set_op_kind(k, OpKind::NearBranch16);
            i.set_near_branch16(TARGET as u16);
        }
        O::br32_1 | O::br32_4 => {
            i.set_op_kind(k, OpKind::NearBranch32);
            i.set_near_branch32(TARGET as u32);
        }
        _ => {
            i.set_op_kind(k, OpKind::NearBranch64);
            i.set_near_branch64(0x10_0000 + TARGET);
        }
    }
}

fn set_far_branch(i: &mut Instruction, k: u32, kind: Operand, random: &mut Random) {
    let selector = random.pick(&[0, 3, 8, 0xB, 0x10, 0x13, 0x4B, 0x1000]);
    i.set_far_branch_selector(selector);
    if kind == Operand::farbr2_2 {
        i.set_op_kind(k, OpKind::FarBranch16);
        i.set_far_branch16(TARGET as u16);
    } else {
        i.set_op_kind(k, OpKind::FarBranch32);
        i.set_far_branch32(TARGET as u32);
    }
}

fn set_immediate(i: &mut Instruction, k: u32, kind: Operand, random: &mut Random) {
    use Operand as O;
    let value = random.edge();
    let taken = (0..k).any(|other| {
        matches!(i.op_kind(other), OpKind::Immediate8 | OpKind::Immediate16 | OpKind::Immediate32)
    });
    let op = match kind {
        O::imm4_m2z | O::imm8 if taken => OpKind::Immediate8_2nd,
        O::imm4_m2z | O::imm8 => OpKind::Immediate8,
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

/// Whether the operand is always in memory, at an address of its own.
fn is_memory(kind: Operand) -> bool {
    use Operand as O;
    matches!(kind, O::mem | O::mem_offs | O::mem_vsib32x | O::mem_vsib64x | O::mem_vsib32y | O::mem_vsib64y)
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
        O::xmm_reg | O::xmm_rm | O::xmm_vvvv | O::xmm_is4 | O::xmm_is5 => Register::XMM0,
        O::ymm_reg | O::ymm_rm | O::ymm_vvvv | O::ymm_is4 | O::ymm_is5 => Register::YMM0,
        O::seg_reg => Register::ES,
        O::cr_reg => Register::CR0,
        O::dr_reg => Register::DR0,
        O::st0 | O::sti_opcode => Register::ST0,
        _ => return fixed(kind),
    })
}

/// The register of an operand that can be no other.
fn fixed(kind: Operand) -> Option<Register> {
    use Operand as O;
    Some(match kind {
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
    let any = fixed(kind).is_none() && kind != Operand::st0;
    let few = shape.bitness != 64 || first == Register::MM0 || first == Register::ST0;
    let register = match first {
        _ if !any => first,
        Register::ES => first + random.below(6) as u32,
        Register::CR0 => random.pick(&[Register::CR0, Register::CR2, Register::CR3, Register::CR4]),
        Register::AL => BYTES[random.below(if few { 8 } else { 16 }) as usize],
        _ => first + random.below(if few { 8 } else { 16 }) as u32,
    };
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
