//! Local descriptors, which a user process of the host can have as well: for instructions that load selectors, or
//! look at what they name.
//!
//! Each segment register has a descriptor of its own, so that a selector that was loaded tells what it names. There
//! is no global one: of the host's system's, user code can use none but its own.

use super::{Random, layout};
use crate::{Region, Rights, Setup, corpus::Mode};
use emu_core::{
    arch::{Flags, Seg, Segment, attr},
    state::{CpuState, TableRegister},
};
use iced_x86::{Code, Instruction, MemorySize, OpKind};

/// Linear address of the table.
const TABLE: u64 = layout::BASE + 0xC000;
/// Descriptors in it: the first and the last are none.
const COUNT: usize = 8;
/// Bases of FS and GS in 64-bit mode: a descriptor has 32 bits.
pub const EXTRA: [u64; 2] = [0x1230, 0x2340];
/// Table indicator of a selector.
const LOCAL: u16 = 4;

/// Selectors of ES, CS, SS, DS, FS and GS. 64-bit code has the CS and SS that Linux gives every process.
fn selectors(mode: Mode) -> [u16; 6] {
    match mode {
        Mode::Long64 => [0x1F, 0x33, 0x2B, 0x27, 0x2F, 0x37],
        _ => [0x1F, 0x0F, 0x17, 0x27, 0x2F, 0x37],
    }
}

/// Gives `state` local descriptors: ES is read-only, FS code that can be read, GS expands down.
pub fn adopt(state: &mut CpuState, mode: Mode) -> Region {
    let segments = &mut state.segments;
    for (segment, selector) in segments.data.iter_mut().zip(selectors(mode)) {
        segment.selector = selector;
        if selector & LOCAL != 0 {
            // Linux gives local descriptors a limit in pages only if they need it, and marks them.
            let large = if segment.limit > 0xF_FFFF { attr::G } else { 0 };
            segment.attr = segment.attr & !attr::G | attr::AVL | large;
        }
    }
    let [es, .., fs, gs] = &mut segments.data;
    es.attr &= !attr::WRITABLE;
    fs.attr |= attr::CODE;
    if mode == Mode::Long64 {
        [fs.base, gs.base] = EXTRA;
    } else {
        (gs.attr, gs.limit) = (gs.attr | attr::EXPAND_DOWN, 0xFFF);
    }
    segments.gdtr = TableRegister { base: 0, limit: 0 };
    let limit = 8 * COUNT as u32 - 1;
    segments.ldtr = Segment { selector: 0x50, attr: attr::P | 2, limit, base: TABLE, unusable: false };
    let mut table = [0; COUNT];
    for segment in segments.data.iter().filter(|segment| segment.selector & LOCAL != 0) {
        table[usize::from(segment.selector >> 3)] = descriptor(segment);
    }
    let bytes = table.into_iter().flat_map(u64::to_le_bytes).collect();
    Region { address: TABLE, bytes, rights: Rights::ALL }
}

fn descriptor(segment: &Segment) -> u64 {
    let limit = if segment.attr & attr::G != 0 { segment.limit >> 12 } else { segment.limit };
    let (limit, base, attributes) = (u64::from(limit), segment.base, u64::from(segment.attr));
    limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | attributes << 40 | (limit >> 16) << 48 | (base >> 24) << 56
}

/// A selector: of a segment of the case's, null, or of nothing.
fn any(mode: Mode, random: &mut Random) -> u16 {
    let level = random.pick(&[3, 3, 3, 0, 1, 2]);
    of_level(level, mode, random)
}

fn of_level(level: u16, mode: Mode, random: &mut Random) -> u16 {
    let selector = match random.below(8) {
        0 => 0,
        1 => random.pick(&[0x04, 0x08, 0x10, 0x3C, 0x44, 0x84, 0x1000]),
        _ => {
            random.pick(&selectors(mode).map(|selector| if selector & LOCAL != 0 { selector } else { 0x27 }))
        }
    };
    selector & !3 | level
}

/// Puts selectors into the registers that `made` names.
pub fn registers(made: &Instruction, mode: Mode, state: &mut CpuState, random: &mut Random) {
    for k in 0..made.op_count() {
        let register = made.op_register(k);
        if made.op_kind(k) == OpKind::Register && register.is_gpr() {
            let value = &mut state.general.gpr[register.full_register().number()];
            *value = *value & !0xFFFF | u64::from(any(mode, random));
        }
    }
}

/// Puts selectors, far pointers and frames to where `made` takes them from: its operand at `address`, or the stack.
pub fn memory(made: &Instruction, address: u64, setup: &mut Setup, random: &mut Random) {
    if matches!(made.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32) {
        return;
    }
    let in_memory = (0..made.op_count()).any(|k| made.op_kind(k) == OpKind::Memory);
    let stack = &setup.state.segments.data[Seg::Ss as usize];
    let origin = if setup.mode == Mode::Long64 { 0 } else { stack.base };
    let place = if in_memory { address } else { origin.wrapping_add(setup.state.general.gpr[4]) };
    let mut bytes = Vec::new();
    match size_of_offset(made) {
        None => bytes.extend(any(setup.mode, random).to_le_bytes()),
        Some(size) => {
            // Of a return to a more privileged level processors see at different times that it is one.
            let selector = if in_memory { any(setup.mode, random) } else { of_level(3, setup.mode, random) };
            let flags = Flags::from_bits_truncate(random.bits() as u32) - Flags::TF;
            let stack = layout::stack(random);
            let words =
                [layout::TARGET, selector.into(), flags.bits().into(), stack, any(setup.mode, random).into()];
            words.iter().for_each(|word| bytes.extend(&word.to_le_bytes()[..size]));
            if in_memory {
                bytes.truncate(size + 2);
            }
        }
    }
    let region = setup.memory[1..].iter_mut().find_map(|region| {
        let at = place.checked_sub(region.address)? as usize;
        region.bytes.get_mut(at..)
    });
    if let Some(place) = region {
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    }
}

/// Size of the offset of a far pointer, or of a word of a frame; nothing if there is only a selector.
fn size_of_offset(made: &Instruction) -> Option<usize> {
    match (made.memory_size(), made.code()) {
        (MemorySize::SegPtr16, _) | (_, Code::Retfw | Code::Retfw_imm16 | Code::Iretw) => Some(2),
        (MemorySize::SegPtr32, _) | (_, Code::Retfd | Code::Retfd_imm16 | Code::Iretd) => Some(4),
        (MemorySize::SegPtr64, _) | (_, Code::Retfq | Code::Retfq_imm16 | Code::Iretq) => Some(8),
        _ => None,
    }
}

/// A far branch gets a selector of the case's.
pub fn target(made: &mut Instruction, mode: Mode, random: &mut Random) {
    if matches!(made.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32) {
        made.set_far_branch_selector(any(mode, random));
    }
}
