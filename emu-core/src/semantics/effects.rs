//! [`Effects`]: the emitter that does nothing but record what an instruction touches.
//!
//! It shows, without executing anything, which registers, flags and memory a form reads and writes, and whether
//! it commits anything before its last access that can fault: the rule on which exact exceptions, the fast
//! path's fall-back and a translator's side exits rest. Both sides of a `select` are recorded, as both are
//! evaluated; an unmet condition of `fault_if` ends nothing.

use super::{
    emitter::{Arithmetic, FlagSource, Flow, Helper, Memory, Pure, Registers, Step, Types, Vectors},
    table::Row,
};
use crate::{
    arch::{Exception, Seg, Width},
    decode::{AddressForm, Insn},
    lane::{FpOperation, FpOperation3, LaneOperation, LaneOperation3},
    semantics::Run,
};

/// One thing that an instruction does to the CPU or to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A general-purpose register is read: width and byte offset in the register file.
    ReadGpr(Width, u8),
    /// A general-purpose register is written.
    WriteGpr(Width, u8),
    /// The RIP base is read.
    ReadRip,
    /// Arithmetic flags are read.
    ReadFlags,
    /// Arithmetic flags are written.
    WriteFlags,
    /// The arithmetic flags that were just written are all those of this.
    FlagsOf(FlagSource<()>),
    /// System flags are read.
    ReadSystemFlags,
    /// DF is written.
    WriteDirection,
    /// A lane of a vector register is read: register, lane.
    ReadVector(u8, usize),
    /// A lane of a vector register is written.
    WriteVector(u8, usize),
    /// An MMX register is read.
    ReadMmx(u8),
    /// An MMX register is written.
    WriteMmx(u8),
    /// TOP and the tags of the x87 are written.
    EnterMmx,
    /// The address of the memory operand is computed.
    Address,
    /// Bytes are loaded.
    Load(u64),
    /// Bytes are stored.
    Store(u64),
    /// Bytes are read and written as one access.
    Update(u64),
    /// An exception may be raised, or is.
    Fault(Exception),
    /// MXCSR is read and its sticky flags are set, which an exception does not undo; an unmasked one faults.
    FloatingPoint,
    /// A pending x87 exception may be raised.
    CheckX87,
    /// Jumps to a known target, perhaps conditionally.
    Jump,
    /// Jumps to a computed target, which may fault. RIP changes when the instruction is through.
    JumpTo,
    /// Microcode: all or nothing, by its own promise.
    Helper,
}

impl Effect {
    /// Whether the instruction may end here with a fault.
    pub fn can_fault(self) -> bool {
        use Effect::{CheckX87, Fault, FloatingPoint, Helper, JumpTo, Load, Store, Update};
        matches!(self, Load(_) | Store(_) | Update(_) | Fault(_) | FloatingPoint | CheckX87 | JumpTo | Helper)
    }

    /// Whether the guest can see from now on that the instruction has begun.
    pub fn commits(self) -> bool {
        use Effect::{
            EnterMmx, Helper, Store, Update, WriteDirection, WriteFlags, WriteGpr, WriteMmx, WriteVector,
        };
        matches!(
            self,
            WriteGpr(..)
                | WriteFlags
                | WriteDirection
                | WriteVector(..)
                | WriteMmx(_)
                | EnterMmx
                | Store(_)
                | Update(_)
                | Helper
        )
    }
}

/// A fault has been recorded that ends the instruction.
#[derive(Debug)]
pub struct Raised;

/// See the module.
#[derive(Debug, Default)]
pub struct Effects {
    /// What the instruction does, in order.
    pub record: Vec<Effect>,
    /// A `change` function given to an update, which must be pure, did this.
    pub impure: Option<Effect>,
}

impl Effects {
    /// Effects of `i` by the semantics of `row`. Microcode is one effect.
    pub fn of(row: &Row<Effects>, i: &Insn) -> Self {
        let mut effects = Effects::default();
        match row.run {
            // A recorded fault is the end of the record; there is nothing else to tell about it.
            Run::Emit(run) => drop(run(&mut effects, i)),
            Run::Microcode(_) => effects.record.push(Effect::Helper),
        }
        effects
    }

    /// The first effect that is committed although a later one (the second) can still fault.
    pub fn committed_too_early(&self) -> Option<(Effect, Effect)> {
        let last = self.record.iter().rposition(|effect| effect.can_fault())?;
        let early = self.record[..last].iter().find(|effect| effect.commits())?;
        Some((*early, self.record[last]))
    }

    fn note(&mut self, effect: Effect) {
        self.record.push(effect);
    }

    /// Records an update, and what its function reads, before it.
    fn update_of(&mut self, w: Width, change: impl Fn(&mut Self, ())) {
        let before = self.record.len();
        change(self, ());
        self.impure =
            self.impure.or(self.record[before..].iter().copied().find(|e| e.commits() || e.can_fault()));
        self.note(Effect::Update(w.bytes()));
    }
}

impl Types for Effects {
    type Value = ();
    type Cond = ();
    type Lane = ();
}

impl Arithmetic for Effects {
    fn constant(&mut self, _: u64) {}
    fn add(&mut self, _: Width, (): (), (): ()) {}
    fn sub(&mut self, _: Width, (): (), (): ()) {}
    fn and(&mut self, (): (), (): ()) {}
    fn or(&mut self, (): (), (): ()) {}
    fn xor(&mut self, (): (), (): ()) {}
    fn not(&mut self, _: Width, (): ()) {}
    fn shl(&mut self, _: Width, (): (), (): ()) {}
    fn shr(&mut self, _: Width, (): (), (): ()) {}
    fn sar(&mut self, _: Width, (): (), (): ()) {}
    fn rol(&mut self, _: Width, (): (), (): ()) {}
    fn mul(&mut self, _: Width, (): (), (): ()) {}
    fn mul_high_unsigned(&mut self, _: Width, (): (), (): ()) {}
    fn mul_high_signed(&mut self, _: Width, (): (), (): ()) {}
    fn truncate(&mut self, _: Width, (): ()) {}
    fn sign_extend(&mut self, _: Width, _: Width, (): ()) {}
    fn swap_bytes(&mut self, _: Width, (): ()) {}
    fn leading_zeros(&mut self, _: Width, (): ()) {}
    fn trailing_zeros(&mut self, _: Width, (): ()) {}
    fn count_ones(&mut self, (): ()) {}
    fn pure(&mut self, _: Pure, (): (), (): (), (): ()) {}
    fn known(&mut self, _: bool) {}
    fn equal(&mut self, (): (), (): ()) {}
    fn below(&mut self, (): (), (): ()) {}
    fn less(&mut self, _: Width, (): (), (): ()) {}
    fn bit(&mut self, (): (), _: u32) {}
    fn negate(&mut self, (): ()) {}
    fn both(&mut self, (): (), (): ()) {}
    fn either(&mut self, (): (), (): ()) {}
    fn select(&mut self, (): (), (): (), (): ()) {}
    fn value_of(&mut self, (): ()) {}
}

impl Registers for Effects {
    fn gpr(&mut self, w: Width, at: u8) {
        self.note(Effect::ReadGpr(w, at));
    }
    fn set_gpr(&mut self, w: Width, at: u8, (): ()) {
        self.note(Effect::WriteGpr(w, at));
    }
    fn rip_base(&mut self) {
        self.note(Effect::ReadRip);
    }
    fn flags_result(&mut self) {
        self.note(Effect::ReadFlags);
    }
    fn flags_aux(&mut self) {
        self.note(Effect::ReadFlags);
    }
    fn set_flags(&mut self, (): (), (): ()) {
        self.note(Effect::WriteFlags);
    }
    fn note_flags(&mut self, source: FlagSource<()>) {
        self.note(Effect::FlagsOf(source));
    }
    fn system_flags(&mut self) {
        self.note(Effect::ReadSystemFlags);
    }
    fn set_direction(&mut self, _: bool) {
        self.note(Effect::WriteDirection);
    }
    fn vector(&mut self, register: u8, lane: usize) {
        self.note(Effect::ReadVector(register, lane));
    }
    fn set_vector(&mut self, register: u8, lane: usize, (): ()) {
        self.note(Effect::WriteVector(register, lane));
    }
    fn mmx(&mut self, register: u8) {
        self.note(Effect::ReadMmx(register));
    }
    fn set_mmx(&mut self, register: u8, (): ()) {
        self.note(Effect::WriteMmx(register));
    }
    fn enter_mmx(&mut self) {
        self.note(Effect::EnterMmx);
    }
}

impl Memory for Effects {
    type Fault = Raised;

    fn effective_address(&mut self, _: &Insn) {
        self.note(Effect::Address);
    }
    fn load(&mut self, _: &Insn, _: AddressForm, w: Width, _: u64) -> Result<(), Raised> {
        self.note(Effect::Load(w.bytes()));
        Ok(())
    }
    fn store(&mut self, _: &Insn, _: AddressForm, w: Width, _: u64, (): ()) -> Step<Self> {
        self.note(Effect::Store(w.bytes()));
        Ok(())
    }
    fn update(
        &mut self,
        _: &Insn,
        _: AddressForm,
        w: Width,
        change: impl Fn(&mut Self, ()),
    ) -> Result<((), ()), Raised> {
        self.update_of(w, change);
        Ok(((), ()))
    }
    fn update_at(
        &mut self,
        _: &Insn,
        w: Width,
        (): (),
        change: impl Fn(&mut Self, ()),
    ) -> Result<((), ()), Raised> {
        self.update_of(w, change);
        Ok(((), ()))
    }
    fn load_at(&mut self, _: Seg, (): (), w: Width) -> Result<(), Raised> {
        self.note(Effect::Load(w.bytes()));
        Ok(())
    }
    fn store_at(&mut self, _: Seg, (): (), w: Width, (): ()) -> Step<Self> {
        self.note(Effect::Store(w.bytes()));
        Ok(())
    }
    fn load_lanes<const N: usize>(&mut self, _: &Insn, _: AddressForm) -> Result<[(); N], Raised> {
        self.note(Effect::Load(16 * N as u64));
        Ok([(); N])
    }
    fn store_lanes<const N: usize>(&mut self, _: &Insn, _: AddressForm, _: [(); N]) -> Step<Self> {
        self.note(Effect::Store(16 * N as u64));
        Ok(())
    }
}

impl Flow for Effects {
    fn raise(&mut self, exception: Exception) -> Raised {
        self.note(Effect::Fault(exception));
        Raised
    }
    fn fault_if(&mut self, (): (), exception: Exception) -> Step<Self> {
        self.note(Effect::Fault(exception));
        Ok(())
    }
    fn jump(&mut self, _: &Insn) -> Step<Self> {
        self.note(Effect::Jump);
        Ok(())
    }
    fn jump_if(&mut self, (): (), _: &Insn) -> Step<Self> {
        self.note(Effect::Jump);
        Ok(())
    }
    fn jump_to(&mut self, _: &Insn, (): ()) -> Step<Self> {
        self.note(Effect::JumpTo);
        Ok(())
    }
    fn helper(&mut self, _: &Insn, _: Helper) -> Step<Self> {
        self.note(Effect::Helper);
        Ok(())
    }
}

impl Vectors for Effects {
    fn lane_from(&mut self, (): (), (): ()) {}
    fn lane_low(&mut self, (): ()) {}
    fn lane_high(&mut self, (): ()) {}
    fn lane_op<O: LaneOperation>(&mut self, (): (), (): (), _: u8) {}
    fn lane_op3<O: LaneOperation3>(&mut self, (): (), (): (), (): (), _: u8) {}
    fn fp_lanes<O: FpOperation, const N: usize>(
        &mut self,
        _: [(); N],
        _: [(); N],
        _: u8,
    ) -> Result<[(); N], Raised> {
        self.note(Effect::FloatingPoint);
        Ok([(); N])
    }
    fn fp_lanes3<O: FpOperation3, const N: usize>(
        &mut self,
        _: [(); N],
        _: [(); N],
        _: [(); N],
    ) -> Result<[(); N], Raised> {
        self.note(Effect::FloatingPoint);
        Ok([(); N])
    }
    fn check_x87(&mut self) -> Step<Self> {
        self.note(Effect::CheckX87);
        Ok(())
    }
}
