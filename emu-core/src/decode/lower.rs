//! Lays out an iced-x86 instruction as an [`Insn`].

use super::insn::{Insn, Kind, flag};
use crate::{
    arch::Width,
    cpu::{Mode, slot},
    semantics::Attr,
};
use iced_x86::{Code, CodeSize, EncodingKind, Instruction, Mnemonic, OpKind, Register};

/// Lowers `instruction`, decoded with its IP set to its offset in the page, for `mode`. Handler and row are
/// the caller's to set.
pub fn lower(instruction: &Instruction, attr: Attr, mode: Mode, template: &Insn) -> Insn {
    let mut i = Insn {
        row: template.row,
        off: instruction.ip() as u16,
        len: instruction.len() as u8,
        ..Insn::blank(template.handler)
    };
    i.flags = flags(instruction, attr, mode);
    let mut immediates = 0;
    for k in 0..instruction.op_count().min(4) {
        let (kind, reg, width) = operand(&mut i, instruction, k, &mut immediates);
        i.kind[k as usize] = kind;
        i.reg[k as usize] = reg;
        if k < 2 {
            i.width[k as usize] = width;
        }
    }
    if instruction.op_count() < 2 {
        i.width[1] = i.width[0];
    }
    implied_sizes(&mut i, instruction.code());
    i
}

/// Operand and address sizes of instructions whose operands do not tell them.
fn implied_sizes(i: &mut Insn, code: Code) {
    use Code as C;
    match code {
        C::Retnw | C::Retnw_imm16 | C::Leavew | C::Pushaw | C::Popaw => i.imm2 = Width::W16 as u8,
        C::Retnd | C::Retnd_imm16 | C::Leaved | C::Pushad | C::Popad => i.imm2 = Width::W32 as u8,
        C::Retnq | C::Retnq_imm16 | C::Leaveq => i.imm2 = Width::W64 as u8,
        C::Enterw_imm16_imm8 | C::Pushw_imm8 | C::Push_imm16 => i.width = [Width::W16; 2],
        C::Enterd_imm16_imm8 | C::Pushd_imm8 | C::Pushd_imm32 => i.width = [Width::W32; 2],
        C::Enterq_imm16_imm8 | C::Pushq_imm8 | C::Pushq_imm32 => i.width = [Width::W64; 2],
        _ => match code.mnemonic() {
            Mnemonic::Loop
            | Mnemonic::Loope
            | Mnemonic::Loopne
            | Mnemonic::Jcxz
            | Mnemonic::Jecxz
            | Mnemonic::Jrcxz => {
                i.asize = match code.op_code().address_size() {
                    16 => Width::W16,
                    32 => Width::W32,
                    _ => Width::W64,
                };
            }
            _ => {}
        },
    }
}

fn flags(instruction: &Instruction, attr: Attr, mode: Mode) -> u16 {
    let mut flags = 0;
    let mut set = |condition: bool, bit: u16| flags |= if condition { bit } else { 0 };
    // XCHG with memory is locked without the prefix.
    let exchange =
        instruction.mnemonic() == iced_x86::Mnemonic::Xchg && instruction.op0_kind() == OpKind::Memory;
    set(instruction.has_lock_prefix() || exchange, flag::LOCK);
    set(instruction.has_rep_prefix(), flag::REP);
    set(instruction.has_repne_prefix(), flag::REPNE);
    let form = instruction.op_code();
    let vex = form.encoding() == EncodingKind::VEX;
    set(vex, flag::VEX);
    // Of a form that ignores the vector length iced says 0.
    set(vex && form.l() == 1, flag::L256);
    set(attr.contains(Attr::ALIGNED), flag::ALIGNED);
    set(mode.is_64bit(), flag::MODE64);
    set(!mode.is_64bit() && mode.stack_is_32bit(), flag::SP32);
    set(!mode.is_64bit() && !mode.stack_is_32bit(), flag::SP16);
    flags
}

fn operand(i: &mut Insn, instruction: &Instruction, k: u32, immediates: &mut u32) -> (Kind, u8, Width) {
    match instruction.op_kind(k) {
        OpKind::Register => register(instruction.op_register(k)),
        OpKind::Memory => (Kind::Mem, 0, memory(i, instruction)),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            i.imm = instruction.near_branch_target();
            let width = match instruction.op_kind(k) {
                OpKind::NearBranch16 => Width::W16,
                OpKind::NearBranch32 => Width::W32,
                _ => Width::W64,
            };
            (Kind::Imm, 0, width)
        }
        OpKind::FarBranch16 => {
            i.imm =
                u64::from(instruction.far_branch_selector()) << 32 | u64::from(instruction.far_branch16());
            (Kind::Imm, 0, Width::W16)
        }
        OpKind::FarBranch32 => {
            i.imm =
                u64::from(instruction.far_branch_selector()) << 32 | u64::from(instruction.far_branch32());
            (Kind::Imm, 0, Width::W32)
        }
        kind @ (OpKind::MemorySegSI
        | OpKind::MemorySegESI
        | OpKind::MemorySegRSI
        | OpKind::MemorySegDI
        | OpKind::MemorySegEDI
        | OpKind::MemorySegRDI
        | OpKind::MemoryESDI
        | OpKind::MemoryESEDI
        | OpKind::MemoryESRDI) => string_memory(i, instruction, kind),
        kind => {
            let width = immediate_width(kind);
            let value = instruction.immediate(k) & width.mask();
            if *immediates == 0 {
                i.imm = value;
            } else {
                i.imm2 = value as u8;
            }
            *immediates += 1;
            (Kind::Imm, 0, width)
        }
    }
}

fn immediate_width(kind: OpKind) -> Width {
    match kind {
        OpKind::Immediate8 | OpKind::Immediate8_2nd => Width::W8,
        OpKind::Immediate16 | OpKind::Immediate8to16 => Width::W16,
        OpKind::Immediate32 | OpKind::Immediate8to32 => Width::W32,
        _ => Width::W64,
    }
}

/// (kind, number as the kind numbers it, width)
fn register(register: Register) -> (Kind, u8, Width) {
    let number = register.number() as u8;
    let gpr = slot::byte_offset(usize::from(number));
    if register.is_gpr8() {
        return match register {
            Register::AH | Register::CH | Register::DH | Register::BH => (
                Kind::Gpr,
                slot::high_byte_offset(usize::from(register as u8 - Register::AH as u8)),
                Width::W8,
            ),
            _ => (Kind::Gpr, slot::byte_offset(register.full_register().number()), Width::W8),
        };
    }
    if register.is_gpr16() {
        (Kind::Gpr, gpr, Width::W16)
    } else if register.is_gpr32() {
        (Kind::Gpr, gpr, Width::W32)
    } else if register.is_gpr64() {
        (Kind::Gpr, gpr, Width::W64)
    } else if register.is_segment_register() {
        (Kind::Segment, number, Width::W16)
    } else if register.is_vector_register() {
        (Kind::Vector, number, Width::W64)
    } else if register.is_mm() {
        (Kind::Mmx, number, Width::W64)
    } else if register.is_st() {
        (Kind::St, number, Width::W64)
    } else if register.is_cr() {
        (Kind::Control, number, Width::W64)
    } else if register.is_dr() {
        (Kind::Debug, number, Width::W64)
    } else {
        (Kind::Mask, number, Width::W64)
    }
}

/// Fills in the memory operand; returns its width if it has one of an integer.
fn memory(i: &mut Insn, instruction: &Instruction) -> Width {
    i.seg = segment(instruction);
    i.disp = instruction.memory_displacement64();
    i.mem_size = u8::try_from(instruction.memory_size().size()).unwrap_or(0);
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    i.asize = if instruction.memory_base().is_gpr16() || instruction.memory_index().is_gpr16() {
        Width::W16
    } else if base.is_gpr32() || index.is_gpr32() || base == Register::EIP {
        Width::W32
    } else if base.is_gpr64() || index.is_gpr64() || base == Register::RIP {
        Width::W64
    } else {
        match instruction.memory_displ_size() {
            2 => Width::W16,
            4 => Width::W32,
            // In 64-bit code a 4-byte displacement without base has size 8 after sign extension.
            _ => Width::W64,
        }
    };
    if matches!(base, Register::RIP | Register::EIP) {
        i.base = slot::RIP_BASE;
    } else if base != Register::None {
        i.base = base.number() as u8;
    }
    if index != Register::None {
        i.index = index.number() as u8;
        i.scale = instruction.memory_index_scale().trailing_zeros() as u8;
    }
    i.disp = match i.asize {
        Width::W16 => i.disp & 0xFFFF,
        // The sum is truncated afterwards; sign-extended it also serves a 64-bit sum.
        Width::W32 => Width::W32.sign_extend(i.disp),
        _ => i.disp,
    };
    Width::from_bytes(usize::from(i.mem_size)).unwrap_or(Width::W64)
}

/// Memory operands of string instructions: only segment, address size and width matter.
fn string_memory(i: &mut Insn, instruction: &Instruction, kind: OpKind) -> (Kind, u8, Width) {
    i.asize = match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Width::W16,
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Width::W32,
        _ => Width::W64,
    };
    let source = !matches!(kind, OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI);
    if source {
        i.seg = segment(instruction);
    }
    i.mem_size = u8::try_from(instruction.memory_size().size()).unwrap_or(0);
    (Kind::Mem, 0, Width::from_bytes(usize::from(i.mem_size)).unwrap_or(Width::W64))
}

/// Segment of the memory operand. In 64-bit mode the prefixes for ES, CS, SS and DS mean nothing, not even for
/// the choice between #SS and #GP (SDM vol. 1, 3.3.7.1).
fn segment(instruction: &Instruction) -> u8 {
    let segment = instruction.memory_segment();
    let ignored =
        instruction.code_size() == CodeSize::Code64 && !matches!(segment, Register::FS | Register::GS);
    if !ignored {
        return segment_number(segment);
    }
    let stack =
        matches!(instruction.memory_base(), Register::RSP | Register::RBP | Register::ESP | Register::EBP);
    segment_number(if stack { Register::SS } else { Register::DS })
}

fn segment_number(register: Register) -> u8 {
    match register {
        Register::ES => 0,
        Register::CS => 1,
        Register::SS => 2,
        Register::FS => 4,
        Register::GS => 5,
        _ => 3,
    }
}
