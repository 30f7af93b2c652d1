//! How emitters reach memory, and what they do about what is rare.

#[cfg(doc)]
use crate::semantics::{Flow, Memory};
use crate::{
    arch::{Exception, Seg, Width},
    cpu::Cpu,
    decode::{AddressForm, Insn, flag},
    lane::FpResult,
    semantics::Helper,
};

/// How an emitter reaches memory.
pub trait Path {
    /// What a fault is.
    type Fault;
    /// Whether anybody will look at the flags this instruction sets.
    const FLAGS: bool = true;
    /// Whether the target of a conditional jump is checked here. If not, it is when the jump is taken for the
    /// first time (see `handlers::leave`): nothing else is committed by then.
    const CHECKS_CONDITIONAL_JUMPS: bool = true;
    /// See [`Memory::load`].
    fn load(cpu: &mut Cpu, i: &Insn, form: AddressForm, w: Width, delta: u64) -> Result<u64, Self::Fault>;
    /// See [`Memory::store`].
    fn store(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
        w: Width,
        delta: u64,
        value: u64,
    ) -> Result<(), Self::Fault>;
    /// See [`Memory::load_at`].
    fn load_at(cpu: &mut Cpu, i: Seg, offset: u64, w: Width) -> Result<u64, Self::Fault>;
    /// See [`Memory::store_at`].
    fn store_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), Self::Fault>;
    /// Linear address of the memory operand plus a displacement, for an update of `w`.
    fn update_address(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
        w: Width,
        displacement: u64,
    ) -> Result<u64, Self::Fault>;
    /// The operand of an update that has no address of its own because of `fault`: see [`Cpu::read_around`].
    fn read_around(_: &mut Cpu, _: &Insn, _: Width, fault: Self::Fault) -> Result<u64, Self::Fault> {
        Err(fault)
    }
    /// Host address for an update of `w` at `linear`; `None`: not RAM within one page.
    fn update_host(cpu: &mut Cpu, linear: u64, w: Width) -> Result<Option<*mut u8>, Self::Fault>;
    /// See [`Memory::load_lanes`].
    fn load_lanes<const N: usize>(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
    ) -> Result<[u128; N], Self::Fault>;
    /// See [`Memory::store_lanes`].
    fn store_lanes<const N: usize>(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
        value: [u128; N],
    ) -> Result<(), Self::Fault>;
    /// An exception as a fault.
    fn fault(exception: Exception) -> Self::Fault;
    /// See [`Flow::helper`].
    fn helper(cpu: &mut Cpu, i: &Insn, f: Helper) -> Result<(), Self::Fault>;
    /// See [`Vectors::fp_lanes`](crate::semantics::Vectors::fp_lanes): does `apply`, whose results are of `kind`;
    /// the guest's control word is not the default.
    fn floating_point<const N: usize>(
        cpu: &mut Cpu,
        kind: FpResult,
        apply: impl Fn() -> [u128; N],
    ) -> Result<[u128; N], Self::Fault>;
    /// See [`Vectors::check_x87`](crate::semantics::Vectors::check_x87).
    fn check_x87(cpu: &mut Cpu) -> Result<(), Self::Fault>;
    /// Checks the target of a jump.
    fn check_target(cpu: &mut Cpu, target: u64) -> Result<(), Self::Fault>;
    /// A 64-bit access that is not one host access, read then written.
    fn slow_read(cpu: &mut Cpu, linear: u64, w: Width) -> Result<u64, Self::Fault>;
    /// Its second half.
    fn slow_write(cpu: &mut Cpu, linear: u64, w: Width, value: u64) -> Result<(), Self::Fault>;
}

/// Whether an operand of `N` lanes at `linear` must be aligned to its size and is not.
#[inline(always)]
pub(super) fn misaligned<const N: usize>(i: &Insn, linear: u64) -> bool {
    i.has(flag::ALIGNED) && linear & (16 * N as u64 - 1) != 0
}
