//! The x87: instructions that the host's own executes, with the guest's state in it (`emu_core::region::x87`).
//!
//! The state is there from the region's entry to its exits. Which instruction and operand were the last ones is known
//! within a block, and stored at its end and at exits.

use super::{Translator, pages};
use crate::code::{Code, CodeMemory};
use cranelift_codegen::{
    ir::{
        AbiParam, InstBuilder, Signature, StackSlot, StackSlotData, StackSlotKind, Value,
        types::{I16, I64},
    },
    isa::CallConv,
};
use emu_core::{
    arch::{Flags, Seg, Width},
    decode::Insn,
    region::{
        Point, exit, layout,
        x87::{self, Native, Operand, Tells},
    },
    semantics::{Emitter, FlagSource, Memory, Registers},
};

use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The guest's state is in the host's x87.
pub struct Resident {
    /// Where it is moved through, and where instructions store what they tell.
    slot: StackSlot,
    note: Option<Note>,
    /// A sequence that is not called yet.
    code: Vec<u8>,
    arguments: Vec<Value>,
    placed: Sequences,
}

/// Sequences of instructions of a region.
pub struct Sequences {
    memory: Arc<CodeMemory>,
    codes: FxHashMap<Vec<u8>, Code>,
    /// There was no room for one: the region is not to be used.
    pub failed: bool,
}

impl Sequences {
    fn address(&mut self, code: &[u8]) -> *const u8 {
        if let Some(code) = self.codes.get(code) {
            return code.address();
        }
        let Some(placed) = self.memory.place(code) else {
            self.failed = true;
            return std::ptr::null();
        };
        let address = placed.address();
        self.codes.insert(code.to_vec(), placed);
        address
    }
}

/// What was executed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The instruction, from the first block's page.
    instruction: u64,
    /// Offset and segment of the operand, if there was one in this block.
    operand: Option<(Value, u8)>,
}

impl Translator {
    /// At the region's entry: moves the state to the host's x87, or leaves.
    pub fn enter_x87(&mut self, memory: &Arc<CodeMemory>) {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, x87::IMAGE as u32, 4);
        let slot = self.builder.create_sized_stack_slot(data);
        let placed = Sequences { memory: memory.clone(), codes: FxHashMap::default(), failed: false };
        self.x87 = Some(Resident { slot, note: None, code: Vec::new(), arguments: Vec::new(), placed });
        let first = Point { block: 0, insn: 0 };
        let first = exit::pack(exit::AT, self.exits.number(first));
        self.load_x87(slot, first, 0);
    }

    /// The same after an instruction that was executed exactly.
    pub(super) fn enter_x87_again(&mut self, last: bool) {
        let Some(&Resident { slot, .. }) = self.x87.as_ref() else { return };
        let next = Point { insn: self.at.insn + 1, ..self.at };
        if last {
            let way = self.way(false);
            return self.load_x87(slot, way, self.block_count);
        }
        let next = exit::pack(exit::AT, self.exits.number(next));
        self.load_x87(slot, next, 0);
    }

    /// Everything else must be stored. If it cannot be done, the region is left by `exit`, which accounts for `count`
    /// instructions.
    fn load_x87(&mut self, slot: StackSlot, exit: u64, count: i64) {
        let image = self.builder.ins().stack_addr(I64, slot, 0);
        let done = self.call(x87::enter as *const (), &[self.cpu, image]);
        let (leave, go_on) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(leave);
        self.builder.ins().brif(done, go_on, [], leave, []);
        self.builder.switch_to_block(leave);
        self.builder.seal_block(leave);
        if count != 0 {
            let budget = self.field(I64, layout::BUDGET);
            let budget = self.builder.ins().iadd_imm_s(budget, -count);
            self.set_field(layout::BUDGET, budget);
        }
        let exit = self.builder.ins().iconst(I64, exit as i64);
        self.builder.ins().return_(&[exit]);
        self.builder.switch_to_block(go_on);
        self.builder.seal_block(go_on);
        self.call_sequence(x87::LOAD, &[image]);
    }

    /// Moves the state back to the CPU.
    pub(super) fn leave_x87(&mut self) {
        let Some(&Resident { slot, .. }) = self.x87.as_ref() else { return };
        let image = self.builder.ins().stack_addr(I64, slot, 0);
        self.call_sequence(x87::SAVE, &[image]);
        self.call(x87::leave as *const (), &[self.cpu, image]);
    }

    fn call_sequence(&mut self, code: &[u8], arguments: &[Value]) {
        let Some(resident) = &mut self.x87 else { return };
        let address = resident.placed.address(code);
        let mut signature = Signature::new(CallConv::PreserveAll);
        signature.params.extend(arguments.iter().map(|_| AbiParam::new(I64)));
        let signature = self.builder.import_signature(signature);
        let callee = self.builder.ins().iconst(I64, address as i64);
        self.builder.ins().call_indirect(signature, callee, arguments);
    }

    /// Calls what is waiting. Before everything that can leave the region, or tell.
    pub(super) fn call_waiting(&mut self) {
        let Some(resident) = &mut self.x87 else { return };
        if resident.code.is_empty() {
            return;
        }
        let (mut code, arguments) =
            (std::mem::take(&mut resident.code), std::mem::take(&mut resident.arguments));
        code.extend(x87::RETURN);
        self.call_sequence(&code, &arguments);
    }

    /// Before an instruction that is not the x87's: what waits may access the same memory.
    pub fn before_other(&mut self) {
        if self.x87.as_ref().is_some_and(|resident| !resident.arguments.is_empty()) {
            self.call_waiting();
        }
    }

    /// Lets the host's x87 execute `i`, now or before anything can tell.
    pub fn native(&mut self, i: &Insn, native: Native) {
        let mut operand = None;
        let argument = match native.operand {
            Operand::Load(size) | Operand::Store(size) => {
                let offset = self.effective_address(i);
                let linear = self.linear(i.seg.into(), offset);
                operand = Some((offset, i.seg));
                let write = matches!(native.operand, Operand::Store(_));
                Some(self.host_address(linear, size.into(), write, pages::base_of(i)))
            }
            Operand::None if native.tells == Tells::Nothing => None,
            Operand::None => {
                let Some(&Resident { slot, .. }) = self.x87.as_ref() else { return };
                Some(self.builder.ins().stack_addr(I64, slot, 0))
            }
        };
        if self.x87.as_ref().is_some_and(|resident| resident.arguments.len() == x87::MOST_ARGUMENTS) {
            self.call_waiting();
        }
        let Some(resident) = &mut self.x87 else { return };
        native.encode(&mut resident.code, resident.arguments.len());
        resident.arguments.extend(argument);
        if native.noted {
            self.note_instruction(i, operand);
        }
        if native.tells != Tells::Nothing {
            self.call_waiting();
        }
        match (native.tells, argument) {
            (Tells::Flags, Some(told)) => self.flags_told(told),
            (Tells::Status, Some(told)) => {
                let status = self.builder.ins().uload16(I64, self.spaces.stack, told, 0);
                self.set_gpr(Width::W16, i.reg[0], status);
            }
            _ => {}
        }
    }

    fn flags_told(&mut self, told: Value) {
        let mut flags = None;
        for (at, flag) in [Flags::CF, Flags::ZF, Flags::PF].into_iter().enumerate() {
            let set = self.builder.ins().uload8(I64, self.spaces.stack, told, at as i32);
            let placed = self.builder.ins().ishl_imm_u(set, i64::from(flag.bits().trailing_zeros()));
            flags = Some(match flags {
                Some(flags) => self.builder.ins().bor(flags, placed),
                None => placed,
            });
        }
        if let Some(flags) = flags {
            self.set_flags_explicit(flags);
            self.note_flags(FlagSource::Order(flags));
        }
    }

    fn note_instruction(&mut self, i: &Insn, operand: Option<(Value, u8)>) {
        let instruction = self.page_distance.wrapping_add(i.off.into());
        if let Some(Resident { note, .. }) = &mut self.x87 {
            let before = note.and_then(|note| note.operand);
            *note = Some(Note { instruction, operand: operand.or(before) });
        }
    }

    /// The sequences that were made.
    pub fn into_sequences(self) -> Option<Sequences> {
        self.x87.map(|resident| resident.placed)
    }

    /// What has to be stored at an exit.
    pub(super) fn note(&self) -> Option<Note> {
        self.x87.as_ref().and_then(|resident| resident.note)
    }

    /// Stores what was executed last.
    pub(super) fn store_note(&mut self) {
        let note = self.x87.as_mut().and_then(|resident| resident.note.take());
        self.store(note);
    }

    pub(super) fn store(&mut self, note: Option<Note>) {
        let Some(Note { instruction, operand }) = note else { return };
        let rip = self.base_of(instruction);
        self.set_field(layout::X87_FIP, rip);
        let selector = self.field(I16, layout::selector(Seg::Cs as usize));
        self.set_field(layout::X87_FCS, selector);
        if let Some((offset, seg)) = operand {
            self.set_field(layout::X87_FDP, offset);
            let selector = self.field(I16, layout::selector(seg.into()));
            self.set_field(layout::X87_FDS, selector);
        }
    }
}
