//! The vocabulary that instruction semantics are written in.
//!
//! A semantic function is generic over [`Emitter`]. The interpreter's emitters act at once (`Value = u64`); a
//! translator's append code; [`Effects`](super::effects::Effects) records what is touched. Values are opaque:
//! Rust control flow in a semantic function happens at translation time, [`Arithmetic::select`] and
//! [`Flow::fault_if`] at run time. Facts of the decoded instruction (width, operand kinds, prefixes, mode) are
//! plain Rust values.
//!
//! Contract of all values: an integer value of width `w` is zero-extended to 64 bits. Operations that take a
//! width expect such operands and give such a result. Nothing is committed (no register, flag or memory
//! written) before the last access of the instruction that can fault.

use crate::{
    arch::{Exception, Flags, Seg, Width},
    cpu::Cpu,
    decode::{AddressForm, Insn},
    lane::{FpOperation, FpOperation3, LaneOperation, LaneOperation3},
};

/// What a semantic function returns.
pub type Step<E> = Result<(), <E as Memory>::Fault>;

/// A slow architectural routine on the CPU itself, the same for every tier.
pub type Helper = fn(&mut Cpu, &Insn) -> Result<(), Exception>;

/// A pure function of up to three values; for what has no primitive and is not worth one.
pub type Pure = fn(u64, u64, u64) -> u64;

/// What the flags that have just been set are those of, for emitters that make use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagSource<V> {
    /// All: a - b, of that width.
    Difference(Width, V, V),
    /// All: a + b = r, of that width.
    Sum {
        /// Width.
        w: Width,
        /// An operand.
        a: V,
        /// The other.
        b: V,
        /// The result.
        r: V,
    },
    /// All but CF: one more or less is r; CF is bit 63 of `carry`.
    Step {
        /// Less.
        down: bool,
        /// Width.
        w: Width,
        /// The result.
        r: V,
        /// A word with CF in bit 63.
        carry: V,
    },
    /// All: a, shifted by a constant from 1 to 63, is r.
    Shift {
        /// Which shift, as `integer::shift` numbers them.
        kind: u8,
        /// Width.
        w: Width,
        /// The operand.
        a: V,
        /// By how many bits.
        count: u8,
        /// The result.
        r: V,
    },
    /// ZF and SF: this result, of that width.
    Result(Width, V),
    /// All: CF, PF and ZF are in their places in RFLAGS, the others are clear.
    Order(V),
}

/// Types of one emitter.
pub trait Types {
    /// An integer value, 64 bits, zero-extended.
    type Value: Copy;
    /// A truth value at run time.
    type Cond: Copy;
    /// 128 bits: one lane of a vector register.
    type Lane: Copy;
}

/// Integer arithmetic. Pure: no state is touched.
pub trait Arithmetic: Types {
    /// A constant.
    fn constant(&mut self, value: u64) -> Self::Value;
    /// Sum modulo 2^w.
    fn add(&mut self, w: Width, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Difference modulo 2^w.
    fn sub(&mut self, w: Width, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Bitwise and.
    fn and(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Bitwise or.
    fn or(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Bitwise exclusive or.
    fn xor(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Complement of the low w bits.
    fn not(&mut self, w: Width, a: Self::Value) -> Self::Value;
    /// Shift left modulo 2^w. Total: a count of w or more gives 0.
    fn shl(&mut self, w: Width, a: Self::Value, count: Self::Value) -> Self::Value;
    /// Logical shift right. Total: a count of w or more gives 0.
    fn shr(&mut self, w: Width, a: Self::Value, count: Self::Value) -> Self::Value;
    /// Arithmetic shift right of a w-bit value. Total: a count of w or more gives the sign in every bit.
    fn sar(&mut self, w: Width, a: Self::Value, count: Self::Value) -> Self::Value;
    /// Rotation left within w bits, count taken modulo w.
    fn rol(&mut self, w: Width, a: Self::Value, count: Self::Value) -> Self::Value;
    /// Low w bits of the product.
    fn mul(&mut self, w: Width, a: Self::Value, b: Self::Value) -> Self::Value;
    /// High w bits of the unsigned 2w-bit product.
    fn mul_high_unsigned(&mut self, w: Width, a: Self::Value, b: Self::Value) -> Self::Value;
    /// High w bits of the signed 2w-bit product.
    fn mul_high_signed(&mut self, w: Width, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Low w bits, zero-extended.
    fn truncate(&mut self, w: Width, a: Self::Value) -> Self::Value;
    /// Low `from` bits sign-extended to `to`.
    fn sign_extend(&mut self, from: Width, to: Width, a: Self::Value) -> Self::Value;
    /// Bytes of a w-bit value in reverse order.
    fn swap_bytes(&mut self, w: Width, a: Self::Value) -> Self::Value;
    /// Leading zeros of a w-bit value; w if it is zero.
    fn leading_zeros(&mut self, w: Width, a: Self::Value) -> Self::Value;
    /// Trailing zeros of a w-bit value; w if it is zero.
    fn trailing_zeros(&mut self, w: Width, a: Self::Value) -> Self::Value;
    /// Number of ones.
    fn count_ones(&mut self, a: Self::Value) -> Self::Value;
    /// `f(a, b, c)`: `f` must be pure and must keep the contract of values.
    fn pure(&mut self, f: Pure, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;

    /// A truth value known at translation time.
    fn known(&mut self, value: bool) -> Self::Cond;
    /// a = b.
    fn equal(&mut self, a: Self::Value, b: Self::Value) -> Self::Cond;
    /// a < b, unsigned.
    fn below(&mut self, a: Self::Value, b: Self::Value) -> Self::Cond;
    /// a < b, as signed w-bit values.
    fn less(&mut self, w: Width, a: Self::Value, b: Self::Value) -> Self::Cond;
    /// Bit `n` (0..64, known at translation time).
    fn bit(&mut self, a: Self::Value, n: u32) -> Self::Cond;
    /// Negation.
    fn negate(&mut self, c: Self::Cond) -> Self::Cond;
    /// Conjunction (both are evaluated).
    fn both(&mut self, a: Self::Cond, b: Self::Cond) -> Self::Cond;
    /// Disjunction (both are evaluated).
    fn either(&mut self, a: Self::Cond, b: Self::Cond) -> Self::Cond;
    /// `if c { a } else { b }` (both are evaluated).
    fn select(&mut self, c: Self::Cond, a: Self::Value, b: Self::Value) -> Self::Value;
    /// 1 or 0.
    fn value_of(&mut self, c: Self::Cond) -> Self::Value;

    /// a = 0.
    #[inline(always)]
    fn is_zero(&mut self, a: Self::Value) -> Self::Cond {
        let zero = self.constant(0);
        self.equal(a, zero)
    }
    /// Two's complement negation.
    #[inline(always)]
    fn neg(&mut self, w: Width, a: Self::Value) -> Self::Value {
        let zero = self.constant(0);
        self.sub(w, zero, a)
    }
}

/// Registers and flags.
pub trait Registers: Types {
    /// General-purpose register at byte offset `at` of the register file (see [`crate::cpu::slot`]).
    fn gpr(&mut self, w: Width, at: u8) -> Self::Value;
    /// Writes a general-purpose register: 32-bit writes clear the upper half, narrower ones leave the rest.
    fn set_gpr(&mut self, w: Width, at: u8, value: Self::Value);
    /// The RIP base: RIP of the first byte of the page the instruction begins in.
    fn rip_base(&mut self) -> Self::Value;
    /// Result word of the lazy flags (see [`crate::cpu::LazyFlags`]).
    fn flags_result(&mut self) -> Self::Value;
    /// Auxiliary word of the lazy flags.
    fn flags_aux(&mut self) -> Self::Value;
    /// A word with CF in bit 63. The other bits mean nothing.
    #[inline(always)]
    fn carry_word(&mut self) -> Self::Value
    where
        Self: Arithmetic,
    {
        let carry = match self.flag_source() {
            Some(FlagSource::Difference(_, a, b)) => self.below(a, b),
            Some(FlagSource::Sum { a, r, .. }) => self.below(r, a),
            Some(FlagSource::Step { carry, .. }) => return carry,
            _ => return self.flags_aux(),
        };
        let (carry, top) = (self.value_of(carry), self.constant(63));
        self.shl(Width::W64, carry, top)
    }
    /// Sets both words.
    fn set_flags(&mut self, result: Self::Value, aux: Self::Value);
    /// Tells where the flags come from that were just set: conditions on them can then be found without them.
    #[inline(always)]
    fn note_flags(&mut self, _: FlagSource<Self::Value>) {}
    /// What was told by [`note_flags`](Self::note_flags), if it still holds.
    #[inline(always)]
    fn flag_source(&mut self) -> Option<FlagSource<Self::Value>> {
        None
    }
    /// System flags (RFLAGS without the arithmetic ones, in place).
    fn system_flags(&mut self) -> Self::Value;
    /// Sets DF (true) or clears it.
    fn set_direction(&mut self, down: bool);
    /// Lane `lane` (0: bits 127:0) of vector register `register`.
    fn vector(&mut self, register: u8, lane: usize) -> Self::Lane;
    /// Writes one lane; the other lanes stay.
    fn set_vector(&mut self, register: u8, lane: usize, value: Self::Lane);
    /// MMX register, which is the mantissa of an x87 register. Does not touch the x87 tags.
    fn mmx(&mut self, register: u8) -> Self::Value;
    /// Writes an MMX register: the exponent becomes all ones.
    fn set_mmx(&mut self, register: u8, value: Self::Value);
    /// Enters MMX mode: x87 TOP becomes 0 and all tags valid. Before any MMX register is written.
    fn enter_mmx(&mut self);
}

/// Memory. Every access can fault; see the rule on commitment above.
pub trait Memory: Types + Sized {
    /// What a fault is: an exception, or nothing if faults leave by a side exit.
    type Fault;
    /// Offset of the memory operand within its segment, truncated to the address size (what LEA gives).
    fn effective_address(&mut self, i: &Insn) -> Self::Value;
    /// Loads `w` from the memory operand plus `delta` bytes.
    fn load(&mut self, i: &Insn, form: AddressForm, w: Width, delta: u64)
    -> Result<Self::Value, Self::Fault>;
    /// Stores to the memory operand plus `delta` bytes.
    fn store(
        &mut self,
        i: &Insn,
        form: AddressForm,
        w: Width,
        delta: u64,
        value: Self::Value,
    ) -> Result<(), Self::Fault>;
    /// Reads, changes and writes the memory operand; atomically if the instruction is locked. `change` may run
    /// more than once and must be pure. Returns (old, new).
    fn update(
        &mut self,
        i: &Insn,
        form: AddressForm,
        w: Width,
        change: impl Fn(&mut Self, Self::Value) -> Self::Value,
    ) -> Result<(Self::Value, Self::Value), Self::Fault>;
    /// Like [`update`](Self::update), of the operand displaced by a run-time byte offset (bit tests).
    fn update_at(
        &mut self,
        i: &Insn,
        w: Width,
        displacement: Self::Value,
        change: impl Fn(&mut Self, Self::Value) -> Self::Value,
    ) -> Result<(Self::Value, Self::Value), Self::Fault>;
    /// Loads from `seg:offset`, offset as the mode's widest.
    fn load_at(&mut self, seg: Seg, offset: Self::Value, w: Width) -> Result<Self::Value, Self::Fault>;
    /// Stores to `seg:offset`.
    fn store_at(
        &mut self,
        seg: Seg,
        offset: Self::Value,
        w: Width,
        value: Self::Value,
    ) -> Result<(), Self::Fault>;
    /// Loads `N` lanes (1 or 2) from the memory operand. Alignment to all of them is checked where the row says
    /// so.
    fn load_lanes<const N: usize>(
        &mut self,
        i: &Insn,
        form: AddressForm,
    ) -> Result<[Self::Lane; N], Self::Fault>;
    /// Stores `N` lanes (1 or 2), all of them or none.
    fn store_lanes<const N: usize>(
        &mut self,
        i: &Insn,
        form: AddressForm,
        value: [Self::Lane; N],
    ) -> Result<(), Self::Fault>;
}

/// Control flow.
pub trait Flow: Memory {
    /// An unconditional fault.
    fn raise(&mut self, exception: Exception) -> Self::Fault;
    /// Faults if `c` holds.
    fn fault_if(&mut self, c: Self::Cond, exception: Exception) -> Result<(), Self::Fault>;
    /// Once the instruction has completed, control goes to its target (its immediate). Faults if that is outside
    /// the limit of CS or not canonical, so it must precede what the instruction commits.
    fn jump(&mut self, i: &Insn) -> Result<(), Self::Fault>;
    /// The same if `c` holds, else control goes on to the next instruction.
    fn jump_if(&mut self, c: Self::Cond, i: &Insn) -> Result<(), Self::Fault>;
    /// The same to the offset `target` in CS (already truncated to the operand size).
    fn jump_to(&mut self, i: &Insn, target: Self::Value) -> Result<(), Self::Fault>;
    /// Runs a slow routine. It sees all state up to date and may change any of it.
    fn helper(&mut self, i: &Insn, f: Helper) -> Result<(), Self::Fault>;
}

/// Vector lane operations. What each does to values is told in [`crate::lane`].
pub trait Vectors: Memory {
    /// A lane from two 64-bit halves.
    fn lane_from(&mut self, low: Self::Value, high: Self::Value) -> Self::Lane;
    /// Low 64 bits of a lane.
    fn lane_low(&mut self, a: Self::Lane) -> Self::Value;
    /// High 64 bits of a lane.
    fn lane_high(&mut self, a: Self::Lane) -> Self::Value;
    /// The pure operation `O`.
    fn lane_op<O: LaneOperation>(&mut self, a: Self::Lane, b: Self::Lane, imm: u8) -> Self::Lane;
    /// The pure operation `O` on three lanes.
    fn lane_op3<O: LaneOperation3>(
        &mut self,
        a: Self::Lane,
        b: Self::Lane,
        c: Self::Lane,
        imm: u8,
    ) -> Self::Lane;
    /// The floating-point operation `O` on each of `N` lanes (1 or 2) under the guest's MXCSR, in which it sets
    /// flags. Faults with #XM (or #UD with CR4.OSXMMEXCPT clear) if an exception is not masked. The lanes of one
    /// instruction are one operation: a fault in one does not hide the other's flags.
    fn fp_lanes<O: FpOperation, const N: usize>(
        &mut self,
        a: [Self::Lane; N],
        b: [Self::Lane; N],
        imm: u8,
    ) -> Result<[Self::Lane; N], Self::Fault>;
    /// The operation `O` on three operands, otherwise as [`fp_lanes`](Self::fp_lanes).
    fn fp_lanes3<O: FpOperation3, const N: usize>(
        &mut self,
        a: [Self::Lane; N],
        b: [Self::Lane; N],
        c: [Self::Lane; N],
    ) -> Result<[Self::Lane; N], Self::Fault>;
    /// [`fp_lanes`](Self::fp_lanes) on one lane.
    #[inline(always)]
    fn fp_op<O: FpOperation>(
        &mut self,
        a: Self::Lane,
        b: Self::Lane,
        imm: u8,
    ) -> Result<Self::Lane, Self::Fault> {
        self.fp_lanes::<O, 1>([a], [b], imm).map(|[r]| r)
    }
    /// Lets a pending x87 exception be raised, as every MMX instruction does first.
    fn check_x87(&mut self) -> Result<(), Self::Fault>;
}

/// Everything a semantic function needs.
pub trait Emitter: Arithmetic + Registers + Memory + Flow + Vectors {
    /// All arithmetic flags at once: `flags` has them in RFLAGS' places. For instructions whose flags do not
    /// follow from one result.
    #[inline(always)]
    fn set_flags_explicit(&mut self, flags: Self::Value) {
        let one = self.constant(1);
        let take = |e: &mut Self, bit: Flags, to: u32| {
            let from = bit.bits().trailing_zeros();
            let count = e.constant(from.into());
            let v = e.shr(Width::W64, flags, count);
            let v = e.and(v, one);
            let count = e.constant(to.into());
            e.shl(Width::W64, v, count)
        };
        let zf = take(self, Flags::ZF, 8);
        let not_zero = self.constant(1 << 8);
        let result = self.xor(zf, not_zero);
        let cf = take(self, Flags::CF, 63);
        let po = take(self, Flags::CF, 62);
        let of = take(self, Flags::OF, 62);
        let af = take(self, Flags::AF, 3);
        let sf = take(self, Flags::SF, 0);
        let pf = take(self, Flags::PF, 8);
        let odd = self.xor(pf, not_zero);
        let po = self.xor(po, of);
        let mut aux = self.or(cf, po);
        for part in [af, sf, odd] {
            aux = self.or(aux, part);
        }
        self.set_flags(result, aux);
    }
}

impl<E: Arithmetic + Registers + Memory + Flow + Vectors> Emitter for E {}
