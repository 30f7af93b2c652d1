//! How the oracle learns of an exception: it has the IDT for itself. Each vector leads to an address of its own,
//! and where the processor is after the step tells the vector; the frame on the stack tells the rest.
//!
//! In IA-32e mode tables, handlers and a stack (by way of the interrupt stack table) are at the top of the
//! address space, where no setup has anything, in physical pages beyond the setups'. The other modes push the
//! frame where the setup's stack is; what was there is put back.
//!
//! So IDTR and TR are not the setup's while it runs, nor is GDTR unless the instruction looks at descriptors. The
//! setup's own come back afterwards unless it has loaded others. An instruction that tells one of them (SIDT, STR)
//! gets the setup's, and its exceptions cannot be delivered.

use crate::{
    Setup, Unsuitable,
    corpus::{Exception, Mode},
    interpreter::Interpreter,
};
use emu_core::{
    arch::{Efer, Flags, Seg},
    state::{CpuState, General, TableRegister},
};
use iced_x86::{Instruction, Mnemonic as M, OpKind, Register};

/// Physical pages: paging structures, then what they map.
const STRUCTURES: u64 = 0x3E_0000;
const PAGES: u64 = 0x3F_0000;
/// Where these pages are in IA-32e mode.
const LINEAR: u64 = 0xFFFF_FF80_0000_0000;
/// Offset of the last entry of the top-level structure, which maps them.
const TOP_ENTRY: u64 = 0xFF8;
/// Offsets of the tables in `PAGES`.
const IDT: u64 = 0;
const HANDLERS: u64 = 0x1000;
const GDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const STACK_TOP: u64 = 0x5000;
const MAPPED: u64 = 6;
/// Handlers of real mode: FFFF:0010, at 1 MiB.
const REAL_SEGMENT: u16 = 0xFFFF;
const REAL_OFFSET: u64 = 0x10;
const REAL_HANDLERS: u64 = 0x10_0000;
/// Bytes of each handler, and what they are: NOP.
const SPACING: u64 = 4;
const HANDLER: u8 = 0x90;
const VECTORS: u64 = 32;
/// The handlers' code segment: the last entry of a GDT of a whole page, which setups leave free.
const SELECTOR: u16 = 0xFF8;
const CODE64: u64 = 0x00AF_9B00_0000_FFFF;
const CODE32: u64 = 0x00CF_9B00_0000_FFFF;
const TABLE_LIMIT: u16 = 0xFFF;
/// Gates: present, interrupt gate of 32 or 64 bits, first entry of the interrupt stack table.
const GATE: u64 = 0x8E00;
const IST1: u64 = 1;
/// Bytes below the stack pointer that a frame of the other modes can take.
const FRAME: u64 = 32;
/// Exceptions with an error code.
const WITH_CODE: u32 = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;

/// Flags that the image on the stack does not have as the instruction found them.
const PUSHED_OTHERWISE: Flags = Flags::RF.union(Flags::TF);

/// What is arranged for one instruction.
pub(super) struct Delivery {
    /// The setup's state with the oracle's tables.
    pub(super) state: CpuState,
    kind: Kind,
    /// Physical addresses and what was there before.
    before: Vec<(u64, Vec<u8>)>,
}

/// Where the frame goes, and how wide it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Real,
    Protected,
    Long,
}

/// An exception that was delivered, and the registers before it was.
pub(super) struct Delivered {
    pub(super) exception: Exception,
    pub(super) general: General,
}

/// Whether the setup leaves the oracle's places alone.
pub(super) fn check_memory(setup: &Setup) -> Result<(), Unsuitable> {
    let handlers = REAL_HANDLERS..REAL_HANDLERS + SPACING * VECTORS;
    let taken = |region: &&crate::Region| {
        region.address < handlers.end && handlers.start < region.address + region.bytes.len() as u64
    };
    match setup.memory.iter().find(taken) {
        Some(region) if setup.mode == Mode::Real => {
            Err(Unsuitable(format!("memory at {:#x} is the oracle's in real mode", region.address)))
        }
        _ => Ok(()),
    }
}

impl Delivery {
    /// Arranges tables in `memory` for instruction `i` in `state`.
    pub(super) fn arrange(memory: &mut Interpreter, mode: Mode, state: &CpuState, i: &Instruction) -> Self {
        let kind = match mode {
            Mode::Real => Kind::Real,
            _ if state.control.efer.contains(Efer::LMA) => Kind::Long,
            _ => Kind::Protected,
        };
        let mut delivery = Delivery { state: state.clone(), kind, before: Vec::new() };
        match kind {
            Kind::Real => delivery.real(memory),
            Kind::Protected => delivery.protected(memory, i),
            Kind::Long => delivery.long(memory, i),
        }
        // Tables that the instruction tells, or whose rest it keeps, are the setup's.
        if matches!(i.mnemonic(), M::Sidt) {
            delivery.state.segments.idtr = state.segments.idtr;
        }
        if matches!(i.mnemonic(), M::Str) {
            delivery.state.segments.tr = state.segments.tr;
        }
        delivery
    }

    fn write(&mut self, memory: &mut Interpreter, address: u64, bytes: &[u8]) {
        self.before.push((address, memory.read(address, bytes.len())));
        memory.write(address, bytes);
    }

    fn real(&mut self, memory: &mut Interpreter) {
        for vector in 0..VECTORS {
            let offset = (REAL_OFFSET + SPACING * vector) as u16;
            let entry = [offset.to_le_bytes(), REAL_SEGMENT.to_le_bytes()].concat();
            memory.write(PAGES + IDT + 4 * vector, &entry);
        }
        memory.write(REAL_HANDLERS, &[HANDLER; (SPACING * VECTORS) as usize]);
        self.state.segments.idtr = TableRegister { base: PAGES + IDT, limit: 0x3FF };
        self.keep_stack(memory, 0xFFFF);
    }

    fn protected(&mut self, memory: &mut Interpreter, i: &Instruction) {
        for vector in 0..VECTORS {
            let handler = PAGES + HANDLERS + SPACING * vector;
            let gate = gate(handler, GATE);
            memory.write(PAGES + IDT + 8 * vector, &gate.to_le_bytes());
        }
        memory.write(PAGES + HANDLERS, &[HANDLER; (SPACING * VECTORS) as usize]);
        self.tables(memory, PAGES, CODE32, i);
        let big = self.state.segments.data[Seg::Ss as usize].attr & emu_core::arch::attr::D != 0;
        self.keep_stack(memory, if big { u64::from(u32::MAX) } else { 0xFFFF });
    }

    fn long(&mut self, memory: &mut Interpreter, i: &Instruction) {
        let top = (self.state.control.cr3 & !0xFFF) + TOP_ENTRY;
        let present_writable = 3;
        self.write(memory, top, &(STRUCTURES | present_writable).to_le_bytes());
        for level in 0..2 {
            let entry = (STRUCTURES + 0x1000 * (level + 1)) | present_writable;
            memory.write(STRUCTURES + 0x1000 * level, &entry.to_le_bytes());
        }
        for page in 0..MAPPED {
            let entry = (PAGES + 0x1000 * page) | present_writable;
            memory.write(STRUCTURES + 0x2000 + 8 * page, &entry.to_le_bytes());
        }
        for vector in 0..VECTORS {
            let handler = LINEAR + HANDLERS + SPACING * vector;
            let gate = u128::from(gate(handler, GATE | IST1)) | u128::from(handler >> 32) << 64;
            memory.write(PAGES + IDT + 16 * vector, &gate.to_le_bytes());
        }
        memory.write(PAGES + HANDLERS, &[HANDLER; (SPACING * VECTORS) as usize]);
        // IST1 of a 64-bit task state segment.
        memory.write(PAGES + TSS + 0x24, &(LINEAR + STACK_TOP).to_le_bytes());
        let tr = &mut self.state.segments.tr;
        (tr.base, tr.limit) = (LINEAR + TSS, 0x67);
        self.tables(memory, LINEAR, CODE64, i);
    }

    /// IDTR, and GDTR or a descriptor in the setup's GDT.
    fn tables(&mut self, memory: &mut Interpreter, base: u64, code: u64, i: &Instruction) {
        let segments = &mut self.state.segments;
        segments.idtr = TableRegister { base: base + IDT, limit: TABLE_LIMIT };
        if looks_at_descriptors(i) {
            let entry = segments.gdtr.base + u64::from(SELECTOR);
            self.write(memory, entry, &code.to_le_bytes());
        } else {
            segments.gdtr = TableRegister { base: base + GDT, limit: TABLE_LIMIT };
            memory.write(PAGES + GDT + u64::from(SELECTOR), &code.to_le_bytes());
        }
    }

    /// Remembers what a frame would overwrite.
    fn keep_stack(&mut self, memory: &Interpreter, mask: u64) {
        let ss = &self.state.segments.data[Seg::Ss as usize];
        for below in 1..=FRAME {
            let address = ss.base + (self.state.general.gpr[4].wrapping_sub(below) & mask);
            self.before.push((address, memory.read(address, 1)));
        }
    }

    /// The exception that led to where `found` is, if one did.
    pub(super) fn delivered(&self, memory: &Interpreter, found: &CpuState) -> Option<Delivered> {
        let (selector, first) = match self.kind {
            Kind::Real => (REAL_SEGMENT, REAL_OFFSET),
            Kind::Protected => (SELECTOR, PAGES + HANDLERS),
            Kind::Long => (SELECTOR, LINEAR + HANDLERS),
        };
        let offset = found.general.rip.wrapping_sub(first);
        if found.segments.data[Seg::Cs as usize].selector != selector || offset >= SPACING * VECTORS {
            return None;
        }
        let vector = offset / SPACING;
        let code = self.kind != Kind::Real && WITH_CODE & 1 << vector != 0;
        // The handler has changed nothing: the frame is where the stack pointer is.
        let width = match self.kind {
            Kind::Real => 2,
            Kind::Protected => 4,
            Kind::Long => 8,
        };
        let word = |index: u64| self.frame_word(memory, found, width, index);
        let skip = u64::from(code);
        // A faulting instruction has committed nothing, but a repeated one its iterations.
        let mut general = found.general;
        general.rip = word(skip);
        general.gpr[4] = self.state.general.gpr[4];
        // In the image on the stack RF is the delivery's, and TF the single-step's.
        let before = self.state.general.rflags & PUSHED_OTHERWISE;
        general.rflags = Flags::from_bits_retain(word(skip + 2) as u32) - PUSHED_OTHERWISE | before;
        let error_code = code.then(|| word(0) as u16);
        Some(Delivered { exception: Exception { vector: vector as u8, error_code }, general })
    }

    /// Word `index` of the frame.
    fn frame_word(&self, memory: &Interpreter, found: &CpuState, width: u64, index: u64) -> u64 {
        let rsp = found.general.gpr[4];
        let address = match self.kind {
            Kind::Long => rsp.wrapping_sub(LINEAR).wrapping_add(PAGES) + width * index,
            Kind::Real => {
                found.segments.data[Seg::Ss as usize].base + (rsp.wrapping_add(width * index) & 0xFFFF)
            }
            Kind::Protected => found.segments.data[Seg::Ss as usize].base + rsp + width * index,
        };
        let bytes = memory.read(address, width as usize);
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Puts back what was there, in memory and in the registers of `found` that the instruction has not loaded
    /// from `old`.
    pub(super) fn clear_away(&self, memory: &mut Interpreter, old: &CpuState, found: &mut CpuState) {
        let delivered = self.delivered(memory, found).is_some();
        for (address, bytes) in &self.before {
            // The stack is only the oracle's if it was used.
            if delivered || bytes.len() > 1 {
                memory.write(*address, bytes);
            }
        }
        let (theirs, ours) = (&mut found.segments, &self.state.segments);
        if theirs.idtr == ours.idtr {
            theirs.idtr = old.segments.idtr;
        }
        if theirs.gdtr == ours.gdtr {
            theirs.gdtr = old.segments.gdtr;
        }
        if theirs.tr == ours.tr {
            theirs.tr = old.segments.tr;
        }
    }
}

/// The low half of a gate to `handler`.
fn gate(handler: u64, kind: u64) -> u64 {
    handler & 0xFFFF | u64::from(SELECTOR) << 16 | kind << 32 | (handler >> 16 & 0xFFFF) << 48
}

/// Whether the instruction reads GDTR or a descriptor.
fn looks_at_descriptors(i: &Instruction) -> bool {
    let loads_segment = i.op0_kind() == OpKind::Register
        && matches!(
            i.op0_register(),
            Register::ES | Register::CS | Register::SS | Register::DS | Register::FS | Register::GS
        );
    let far = matches!(i.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32) || i.is_jmp_far_indirect();
    let named = matches!(
        i.mnemonic(),
        M::Sgdt
            | M::Lgdt
            | M::Lar
            | M::Lsl
            | M::Verr
            | M::Verw
            | M::Lldt
            | M::Ltr
            | M::Retf
            | M::Iret
            | M::Iretd
            | M::Iretq
            | M::Lds
            | M::Les
            | M::Lfs
            | M::Lgs
            | M::Lss
    );
    named || far || i.is_call_far_indirect() || loads_segment
}
