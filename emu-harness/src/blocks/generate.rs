//! Random pieces.

use super::{Block, CODE, DATA, Piece};
use crate::encodings::{MemoryOperand, Random, Shape, encode, instruction};
use emu_core::{
    cpu_model::CpuModel,
    semantics::{Attr, Run, Table, effects::Effects},
};
use iced_x86::{Code, CpuidFeature, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Bases of memory operands.
const BASES: [Register; 6] =
    [Register::RBX, Register::RSI, Register::RDI, Register::R9, Register::R12, Register::R13];
/// Registers of patched additions.
const SUMS: [Register; 4] = [Register::EAX, Register::EDX, Register::R8D, Register::R15D];
/// Blocks begin in the first page of code, so that they may reach into the second, and end within it.
const STARTS: u64 = 0x1000;

/// Makes blocks of all forms that user code may execute, and whose results do not depend on the machine.
pub struct Generator {
    codes: Vec<Code>,
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl Generator {
    /// The forms of the model `max`.
    ///
    /// # Panics
    /// Never: there is that model.
    pub fn new() -> Self {
        let table = Table::<Effects>::new();
        let model = CpuModel::named("max").expect("there is such a model");
        let codes = Code::values().filter(|code| suits(*code, &table, &model)).collect();
        Generator { codes }
    }

    /// The next block of the sequence.
    pub fn block(&self, random: &mut Random) -> Block {
        let start = CODE + random.below(STARTS);
        let count = 1 + random.below(10) as usize;
        let pieces = (0..count).map(|number| self.piece(count - number - 1, random)).collect();
        Block { start, pieces }
    }

    fn piece(&self, following: usize, random: &mut Random) -> Piece {
        let some = |random: &mut Random| 1 + random.below(following.min(4) as u64) as usize;
        match random.below(16) {
            0 | 1 if following > 0 => Piece::Branch { condition: random.below(16) as u8, over: some(random) },
            2 if following > 0 => Piece::Loop { pieces: some(random), times: 1 + random.below(6) as u32 },
            3 => Piece::Target { register: random.pick(&SUMS), constant: random.edge() as u32 },
            4 => Piece::Patch { ahead: random.below(2) == 0, value: random.edge() as u8 },
            _ => Piece::Instructions(self.instructions(random)),
        }
    }

    fn instructions(&self, random: &mut Random) -> Vec<Instruction> {
        loop {
            let code = random.pick(&self.codes);
            let base = random.pick(&BASES);
            let displacement = random.pick(&[0, 1, -8, 0x40]);
            let in_memory = random.below(2) == 0;
            let memory = in_memory.then(|| MemoryOperand::at(base, displacement.into()));
            let shape = Shape::new(64, memory);
            let Some(made) = instruction(code, shape, random) else { continue };
            if encode(&made, 64, CODE).is_none() || writes_stack_pointer(&made) {
                continue;
            }
            let mut list = Vec::new();
            if in_memory {
                let place = if random.below(8) == 0 { random.below(0x1000) } else { random.below(0x80) * 16 };
                let address = (DATA + 0x400 + place).wrapping_sub(i64::from(displacement) as u64);
                list.push(set(base, address));
            }
            if let Some(register) = bit_index(&made) {
                list.push(set(register, random.below(0x400)));
            }
            let undefined = made.rflags_undefined() != 0;
            list.push(made);
            if undefined {
                list.push(compare());
            }
            return list;
        }
    }
}

fn suits(code: Code, table: &Table<Effects>, model: &CpuModel) -> bool {
    use Mnemonic as M;
    let Some(row) = table.find(code).map(|number| table.row(number)) else { return false };
    let control = Attr::BRANCH | Attr::INDIRECT | Attr::ENDS_BLOCK | Attr::CPL0;
    let plain = matches!(row.run, Run::Emit(_)) && !row.attr.intersects(control);
    // PUSH SP and friends are left out by operand; these by what they do. BSWAP and MOVSXD of 16 bits, and SHLD
    // of 16 bits by more, are undefined; BSF and BSR leave their destination to the processor.
    let excluded = matches!(
        code.mnemonic(),
        M::Leave
            | M::Xlatb
            | M::Maskmovq
            | M::Maskmovdqu
            | M::Vmaskmovdqu
            | M::Rdsspd
            | M::Rdsspq
            | M::Bsf
            | M::Bsr
    ) || matches!(
        code,
        Code::Bswap_r16
            | Code::Movsxd_r16_rm16
            | Code::Shld_rm16_r16_imm8
            | Code::Shld_rm16_r16_CL
            | Code::Shrd_rm16_r16_imm8
            | Code::Shrd_rm16_r16_CL
    );
    let next = code.flow_control() == FlowControl::Next;
    let sha = code.cpuid_features().contains(&CpuidFeature::SHA);
    plain && next && !excluded && !sha && code.op_code().mode64() && model.allows(code)
}

/// The stack pointer stays where the session wants it, but for pushes and pops.
fn writes_stack_pointer(made: &Instruction) -> bool {
    (0..made.op_count())
        .any(|k| made.op_kind(k) == OpKind::Register && made.op_register(k).full_register() == Register::RSP)
}

/// A bit test's index into memory reaches far.
fn bit_index(made: &Instruction) -> Option<Register> {
    let tests = matches!(made.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc);
    let far = tests && made.op0_kind() == OpKind::Memory && made.op1_kind() == OpKind::Register;
    far.then(|| made.op1_register().full_register()).filter(|index| *index != made.memory_base())
}

fn set(register: Register, value: u64) -> Instruction {
    Instruction::with2(Code::Mov_r64_imm64, register, value).expect("a register and an immediate")
}

/// CMP R15, R15: every arithmetic flag has a value.
fn compare() -> Instruction {
    Instruction::with2(Code::Cmp_rm64_r64, Register::R15, Register::R15).expect("two registers")
}
