//! The interpreter's emitters: semantics done at once on the [`Cpu`].

use crate::{
    arch::{Exception, Flags, Seg, Width},
    cpu::{Cpu, LazyFlags, slot},
    decode::{AddressForm, Insn, flag},
    lane::{self, FpResult, Lane},
    semantics::{Arithmetic, Flow, Helper, Memory, Pure, Registers, Types},
};
use std::marker::PhantomData;

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

impl Cpu {
    /// Where the direct branch `i` leads if it is taken: an offset in CS.
    #[inline(always)]
    pub(super) fn direct_target(&self, i: &Insn) -> u64 {
        let target = self.regs[usize::from(slot::RIP_BASE)].wrapping_add(i.imm);
        match i.width[0] {
            Width::W16 => target & 0xFFFF,
            _ => target & self.linear_mask,
        }
    }

    /// Whether code can be at `target`: within the limit of CS, or canonical.
    pub(super) fn can_jump_to(&self, target: u64) -> bool {
        if self.mode.is_64bit() {
            self.is_canonical(target)
        } else {
            target <= u64::from(self.seg(Seg::Cs).limit)
        }
    }

    /// Acts on this CPU by the emitter's vocabulary: for microcode that needs a piece of semantics.
    pub fn with_emitter<R>(&mut self, act: impl FnOnce(&mut Exact) -> R) -> R {
        // SAFETY: the emitter is gone when this returns; `act` can only borrow it.
        act(&mut unsafe { Exact::new(self) })
    }
}

/// An emitter that acts at once, reaching memory by path `P`.
pub struct Interp<P: 'static> {
    /// The CPU acted on. Not really static: see [`Interp::new`].
    pub cpu: &'static mut Cpu,
    /// Of a direct branch: taken.
    pub taken: bool,
    /// Of an indirect branch: where to.
    pub target: u64,
    path: PhantomData<P>,
}

impl<P> Interp<P> {
    /// An emitter for one instruction.
    ///
    /// The opcode table holds functions of one emitter type, which therefore cannot have a lifetime.
    ///
    /// # Safety
    /// The emitter must not be used after the borrow of `cpu` ends.
    #[inline(always)]
    pub unsafe fn new(cpu: &mut Cpu) -> Self {
        // SAFETY: the caller's promise.
        let cpu = unsafe { &mut *std::ptr::from_mut(cpu) };
        Interp { cpu, taken: false, target: 0, path: PhantomData }
    }
}

/// Everything, exactly.
pub struct ExactPath;
/// What is common; anything else bails out. Without `FLAGS`, for instructions whose flags are overwritten
/// before anything can see them.
pub struct FastPath<const FLAGS: bool>;
/// The exact interpreter's emitter.
pub type Exact = Interp<ExactPath>;
/// The fast one.
pub type Fast = Interp<FastPath<true>>;
/// The fast one for instructions whose flags nobody sees.
pub type Quiet = Interp<FastPath<false>>;

/// The fast path does not know how: run the instruction again on the exact one.
pub struct Bail;

/// Host address of `w` at `linear` if the current TLB table allows direct reads there.
#[inline(always)]
fn direct_read(cpu: &Cpu, linear: u64, w: u64) -> Option<*const u8> {
    let entry = cpu.mmu.entry(linear);
    (linear.wrapping_sub(entry.read) <= 4096 - w).then(|| linear.wrapping_add(entry.addend) as *const u8)
}

/// The same for writes.
#[inline(always)]
fn direct_write(cpu: &Cpu, linear: u64, w: u64) -> Option<*mut u8> {
    let entry = cpu.mmu.entry(linear);
    (linear.wrapping_sub(entry.write) <= 4096 - w).then(|| linear.wrapping_add(entry.addend) as *mut u8)
}

/// Loads `w` from the host.
///
/// # Safety
/// `host` must be valid for reads of `w` bytes. Other vCPUs may write there at the same time: that is the
/// guest's race, and each load is a single one on the host.
#[inline(always)]
unsafe fn host_load(host: *const u8, w: Width) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match w {
            Width::W8 => host.read().into(),
            Width::W16 => host.cast::<u16>().read_unaligned().into(),
            Width::W32 => host.cast::<u32>().read_unaligned().into(),
            Width::W64 => host.cast::<u64>().read_unaligned(),
        }
    }
}

/// Stores the low `w` bits to the host.
///
/// # Safety
/// `host` must be valid for writes of `w` bytes; see [`host_load`].
#[inline(always)]
unsafe fn host_store(host: *mut u8, w: Width, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match w {
            Width::W8 => host.write(value as u8),
            Width::W16 => host.cast::<u16>().write_unaligned(value as u16),
            Width::W32 => host.cast::<u32>().write_unaligned(value as u32),
            Width::W64 => host.cast::<u64>().write_unaligned(value),
        }
    }
}

/// Flat linear address of the memory operand.
#[inline(always)]
fn flat_address(cpu: &Cpu, i: &Insn, form: AddressForm) -> u64 {
    let base = register_slot(cpu, i.base);
    let linear = match form {
        AddressForm::Base => base.wrapping_add(i.disp),
        _ => {
            let index = register_slot(cpu, i.index);
            let segment = register_slot(cpu, slot::SEGMENT_BASE + i.seg);
            base.wrapping_add(index << (i.scale & 3)).wrapping_add(i.disp).wrapping_add(segment)
        }
    };
    linear & cpu.linear_mask
}

/// Whether an operand of `N` lanes at `linear` must be aligned to its size and is not.
#[inline(always)]
fn misaligned<const N: usize>(i: &Insn, linear: u64) -> bool {
    i.has(flag::ALIGNED) && linear & (16 * N as u64 - 1) != 0
}

/// Address of a vector operand, after all checks that need no translation. One that is misaligned and beyond
/// the limit of SS is misaligned in the first place, as on Zen 4.
fn aligned_address<const N: usize>(cpu: &mut Cpu, i: &Insn, write: bool) -> Result<u64, Exception> {
    let offset = cpu.effective_address(i);
    let base = cpu.regs[usize::from(slot::SEGMENT_BASE) + i.segment() as usize];
    if misaligned::<N>(i, base.wrapping_add(offset)) {
        return Err(Exception::GP0);
    }
    cpu.linear(i.segment(), offset, 16 * N as u64, write)
}

#[inline(always)]
fn register_slot(cpu: &Cpu, number: u8) -> u64 {
    debug_assert!(usize::from(number) < slot::COUNT);
    // SAFETY: the decoder only writes slot numbers below COUNT (see `lower`).
    unsafe { *cpu.regs.get_unchecked(usize::from(number)) }
}

impl<const FLAGS: bool> Path for FastPath<FLAGS> {
    type Fault = Bail;
    const FLAGS: bool = FLAGS;
    const CHECKS_CONDITIONAL_JUMPS: bool = false;

    #[inline(always)]
    fn load(cpu: &mut Cpu, i: &Insn, form: AddressForm, w: Width, delta: u64) -> Result<u64, Bail> {
        let linear = flat_address(cpu, i, form).wrapping_add(delta);
        let host = direct_read(cpu, linear, w.bytes()).ok_or(Bail)?;
        // SAFETY: a TLB hit: the access lies in one page of RAM.
        Ok(unsafe { host_load(host, w) })
    }
    #[inline(always)]
    fn store(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
        w: Width,
        delta: u64,
        value: u64,
    ) -> Result<(), Bail> {
        let linear = flat_address(cpu, i, form).wrapping_add(delta);
        let host = direct_write(cpu, linear, w.bytes()).ok_or(Bail)?;
        // SAFETY: as above, and the page may be written directly.
        unsafe { host_store(host, w, value) };
        Ok(())
    }
    #[inline(always)]
    fn load_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width) -> Result<u64, Bail> {
        let linear =
            offset.wrapping_add(register_slot(cpu, slot::SEGMENT_BASE + seg as u8)) & cpu.linear_mask;
        let host = direct_read(cpu, linear, w.bytes()).ok_or(Bail)?;
        // SAFETY: a TLB hit.
        Ok(unsafe { host_load(host, w) })
    }
    #[inline(always)]
    fn store_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), Bail> {
        let linear =
            offset.wrapping_add(register_slot(cpu, slot::SEGMENT_BASE + seg as u8)) & cpu.linear_mask;
        let host = direct_write(cpu, linear, w.bytes()).ok_or(Bail)?;
        // SAFETY: a TLB hit for writing.
        unsafe { host_store(host, w, value) };
        Ok(())
    }
    #[inline(always)]
    fn update_address(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
        _: Width,
        displacement: u64,
    ) -> Result<u64, Bail> {
        Ok(flat_address(cpu, i, form).wrapping_add(displacement) & cpu.linear_mask)
    }
    #[inline(always)]
    fn update_host(cpu: &mut Cpu, linear: u64, w: Width) -> Result<Option<*mut u8>, Bail> {
        direct_write(cpu, linear, w.bytes()).map(Some).ok_or(Bail)
    }
    #[inline(always)]
    fn load_lanes<const N: usize>(cpu: &mut Cpu, i: &Insn, form: AddressForm) -> Result<[u128; N], Bail> {
        let linear = flat_address(cpu, i, form);
        let host = direct_read(cpu, linear, 16 * N as u64).ok_or(Bail)?;
        if misaligned::<N>(i, linear) {
            return Err(Bail);
        }
        // SAFETY: a TLB hit: the bytes lie in one page of RAM.
        Ok(unsafe { host.cast::<[u128; N]>().read_unaligned() })
    }
    #[inline(always)]
    fn store_lanes<const N: usize>(
        cpu: &mut Cpu,
        i: &Insn,
        form: AddressForm,
        value: [u128; N],
    ) -> Result<(), Bail> {
        let linear = flat_address(cpu, i, form);
        let host = direct_write(cpu, linear, 16 * N as u64).ok_or(Bail)?;
        if misaligned::<N>(i, linear) {
            return Err(Bail);
        }
        // SAFETY: a TLB hit for writing.
        unsafe { host.cast::<[u128; N]>().write_unaligned(value) };
        Ok(())
    }
    #[inline(always)]
    fn fault(_: Exception) -> Bail {
        Bail
    }
    #[inline(always)]
    fn helper(_: &mut Cpu, _: &Insn, _: Helper) -> Result<(), Bail> {
        Err(Bail)
    }
    #[inline(always)]
    fn floating_point<const N: usize>(
        _: &mut Cpu,
        _: FpResult,
        _: impl Fn() -> [u128; N],
    ) -> Result<[u128; N], Bail> {
        // Anything that needs stack would keep the handler from ending in a jump.
        Err(Bail)
    }
    #[inline(always)]
    fn check_x87(cpu: &mut Cpu) -> Result<(), Bail> {
        const ES: u16 = 1 << 7;
        if cpu.x87.fsw & ES == 0 { Ok(()) } else { Err(Bail) }
    }
    #[inline(always)]
    fn check_target(cpu: &mut Cpu, target: u64) -> Result<(), Bail> {
        // Lower-half canonical, or the kernel's half: whatever else there is, the exact path judges.
        let canonical = (target as i64) << 16 >> 16 == target as i64;
        if canonical
            && (cpu.linear_mask != u64::from(u32::MAX) || target <= u64::from(cpu.seg(Seg::Cs).limit))
        {
            Ok(())
        } else {
            Err(Bail)
        }
    }
    fn slow_read(_: &mut Cpu, _: u64, _: Width) -> Result<u64, Bail> {
        Err(Bail)
    }
    fn slow_write(_: &mut Cpu, _: u64, _: Width, _: u64) -> Result<(), Bail> {
        Err(Bail)
    }
}

impl Path for ExactPath {
    type Fault = Exception;

    #[inline]
    fn load(cpu: &mut Cpu, i: &Insn, _: AddressForm, w: Width, delta: u64) -> Result<u64, Exception> {
        let offset = cpu.effective_address(i).wrapping_add(delta) & i.asize.mask();
        Self::load_at(cpu, i.segment(), offset, w)
    }
    #[inline]
    fn store(
        cpu: &mut Cpu,
        i: &Insn,
        _: AddressForm,
        w: Width,
        delta: u64,
        value: u64,
    ) -> Result<(), Exception> {
        let offset = cpu.effective_address(i).wrapping_add(delta) & i.asize.mask();
        Self::store_at(cpu, i.segment(), offset, w, value)
    }
    #[inline]
    fn load_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width) -> Result<u64, Exception> {
        let linear = match cpu.linear(seg, offset, w.bytes(), false) {
            Ok(linear) => linear,
            Err(fault) => return cpu.read_around(seg, offset, w, fault),
        };
        if let Some(host) = direct_read(cpu, linear, w.bytes()).filter(|_| !cpu.mode.checks_alignment()) {
            // SAFETY: a TLB hit: the access lies in one page of RAM.
            return Ok(unsafe { host_load(host, w) });
        }
        cpu.read_linear(linear, w, crate::mmu::Privilege::Current)
    }
    #[inline]
    fn store_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), Exception> {
        let linear = match cpu.linear(seg, offset, w.bytes(), true) {
            Ok(linear) => linear,
            Err(fault) => return cpu.write_around(seg, offset, w, value, fault),
        };
        if let Some(host) = direct_write(cpu, linear, w.bytes()).filter(|_| !cpu.mode.checks_alignment()) {
            // SAFETY: a TLB hit for writing.
            unsafe { host_store(host, w, value) };
            return Ok(());
        }
        cpu.write_linear(linear, w, value, crate::mmu::Privilege::Current)
    }
    #[inline]
    fn update_address(
        cpu: &mut Cpu,
        i: &Insn,
        _: AddressForm,
        w: Width,
        displacement: u64,
    ) -> Result<u64, Exception> {
        let offset = cpu.effective_address(i).wrapping_add(displacement) & i.asize.mask();
        cpu.linear(i.segment(), offset, w.bytes(), true)
    }
    fn read_around(cpu: &mut Cpu, i: &Insn, w: Width, fault: Exception) -> Result<u64, Exception> {
        let offset = cpu.effective_address(i);
        cpu.read_around(i.segment(), offset, w, fault)
    }
    #[inline]
    fn update_host(cpu: &mut Cpu, linear: u64, w: Width) -> Result<Option<*mut u8>, Exception> {
        if let Some(host) = direct_write(cpu, linear, w.bytes()).filter(|_| !cpu.mode.checks_alignment()) {
            return Ok(Some(host));
        }
        cpu.writable_host(linear, w)
    }
    fn load_lanes<const N: usize>(cpu: &mut Cpu, i: &Insn, _: AddressForm) -> Result<[u128; N], Exception> {
        let linear = aligned_address::<N>(cpu, i, false)?;
        if let Some(host) = direct_read(cpu, linear, 16 * N as u64) {
            // SAFETY: a TLB hit: the bytes lie in one page of RAM.
            return Ok(unsafe { host.cast::<[u128; N]>().read_unaligned() });
        }
        let mut bytes = [[0; 16]; N];
        cpu.read_bytes(linear, bytes.as_flattened_mut(), crate::mmu::Privilege::Current)?;
        Ok(bytes.map(u128::from_le_bytes))
    }
    fn store_lanes<const N: usize>(
        cpu: &mut Cpu,
        i: &Insn,
        _: AddressForm,
        value: [u128; N],
    ) -> Result<(), Exception> {
        let linear = aligned_address::<N>(cpu, i, true)?;
        if let Some(host) = direct_write(cpu, linear, 16 * N as u64) {
            // SAFETY: a TLB hit for writing.
            unsafe { host.cast::<[u128; N]>().write_unaligned(value) };
            return Ok(());
        }
        let bytes = value.map(u128::to_le_bytes);
        cpu.write_bytes(linear, bytes.as_flattened(), crate::mmu::Privilege::Current)
    }
    fn fault(exception: Exception) -> Exception {
        exception
    }
    fn helper(cpu: &mut Cpu, i: &Insn, f: Helper) -> Result<(), Exception> {
        f(cpu, i)
    }
    fn floating_point<const N: usize>(
        cpu: &mut Cpu,
        kind: FpResult,
        apply: impl Fn() -> [u128; N],
    ) -> Result<[u128; N], Exception> {
        super::vector::under_guest_control(cpu, kind, apply)
    }
    fn check_x87(cpu: &mut Cpu) -> Result<(), Exception> {
        crate::microcode::x87::check_pending(cpu)
    }
    fn check_target(cpu: &mut Cpu, target: u64) -> Result<(), Exception> {
        if cpu.can_jump_to(target) { Ok(()) } else { Err(Exception::GP0) }
    }
    fn slow_read(cpu: &mut Cpu, linear: u64, w: Width) -> Result<u64, Exception> {
        // The write is checked first, so that the read does not happen if it would fault.
        cpu.probe_write(linear, w.bytes(), crate::mmu::Privilege::Current)?;
        cpu.read_linear(linear, w, crate::mmu::Privilege::Current)
    }
    fn slow_write(cpu: &mut Cpu, linear: u64, w: Width, value: u64) -> Result<(), Exception> {
        cpu.write_linear(linear, w, value, crate::mmu::Privilege::Current)
    }
}

impl<P> Types for Interp<P> {
    type Value = u64;
    type Cond = bool;
    type Lane = Lane;
}

impl<P> Arithmetic for Interp<P> {
    #[inline(always)]
    fn constant(&mut self, value: u64) -> u64 {
        value
    }
    #[inline(always)]
    fn add(&mut self, w: Width, a: u64, b: u64) -> u64 {
        a.wrapping_add(b) & w.mask()
    }
    #[inline(always)]
    fn sub(&mut self, w: Width, a: u64, b: u64) -> u64 {
        a.wrapping_sub(b) & w.mask()
    }
    #[inline(always)]
    fn and(&mut self, a: u64, b: u64) -> u64 {
        a & b
    }
    #[inline(always)]
    fn or(&mut self, a: u64, b: u64) -> u64 {
        a | b
    }
    #[inline(always)]
    fn xor(&mut self, a: u64, b: u64) -> u64 {
        a ^ b
    }
    #[inline(always)]
    fn not(&mut self, w: Width, a: u64) -> u64 {
        !a & w.mask()
    }
    #[inline(always)]
    fn shl(&mut self, w: Width, a: u64, count: u64) -> u64 {
        let shifted = if count < 64 { a << count } else { 0 };
        shifted & w.mask()
    }
    #[inline(always)]
    fn shr(&mut self, _: Width, a: u64, count: u64) -> u64 {
        if count < 64 { a >> count } else { 0 }
    }
    #[inline(always)]
    fn sar(&mut self, w: Width, a: u64, count: u64) -> u64 {
        ((w.sign_extend(a) as i64) >> count.min(63)) as u64 & w.mask()
    }
    #[inline(always)]
    fn rol(&mut self, w: Width, a: u64, count: u64) -> u64 {
        let count = count as u32;
        match w {
            Width::W8 => (a as u8).rotate_left(count).into(),
            Width::W16 => (a as u16).rotate_left(count).into(),
            Width::W32 => (a as u32).rotate_left(count).into(),
            Width::W64 => a.rotate_left(count),
        }
    }
    #[inline(always)]
    fn mul(&mut self, w: Width, a: u64, b: u64) -> u64 {
        a.wrapping_mul(b) & w.mask()
    }
    #[inline(always)]
    fn mul_high_unsigned(&mut self, w: Width, a: u64, b: u64) -> u64 {
        match w {
            Width::W64 => ((u128::from(a) * u128::from(b)) >> 64) as u64,
            _ => a.wrapping_mul(b) >> w.bits(),
        }
    }
    #[inline(always)]
    fn mul_high_signed(&mut self, w: Width, a: u64, b: u64) -> u64 {
        let (a, b) = (w.sign_extend(a) as i64, w.sign_extend(b) as i64);
        match w {
            Width::W64 => ((i128::from(a) * i128::from(b)) >> 64) as u64,
            _ => (a.wrapping_mul(b) >> w.bits()) as u64 & w.mask(),
        }
    }
    #[inline(always)]
    fn truncate(&mut self, w: Width, a: u64) -> u64 {
        a & w.mask()
    }
    #[inline(always)]
    fn sign_extend(&mut self, from: Width, to: Width, a: u64) -> u64 {
        from.sign_extend(a) & to.mask()
    }
    #[inline(always)]
    fn swap_bytes(&mut self, w: Width, a: u64) -> u64 {
        a.swap_bytes() >> (64 - w.bits())
    }
    #[inline(always)]
    fn leading_zeros(&mut self, w: Width, a: u64) -> u64 {
        u64::from(a.leading_zeros()) - u64::from(64 - w.bits())
    }
    #[inline(always)]
    fn trailing_zeros(&mut self, w: Width, a: u64) -> u64 {
        u64::from(a.trailing_zeros()).min(w.bits().into())
    }
    #[inline(always)]
    fn count_ones(&mut self, a: u64) -> u64 {
        a.count_ones().into()
    }
    #[inline(always)]
    fn pure(&mut self, f: Pure, a: u64, b: u64, c: u64) -> u64 {
        f(a, b, c)
    }
    #[inline(always)]
    fn known(&mut self, value: bool) -> bool {
        value
    }
    #[inline(always)]
    fn equal(&mut self, a: u64, b: u64) -> bool {
        a == b
    }
    #[inline(always)]
    fn below(&mut self, a: u64, b: u64) -> bool {
        a < b
    }
    #[inline(always)]
    fn less(&mut self, w: Width, a: u64, b: u64) -> bool {
        (w.sign_extend(a) as i64) < w.sign_extend(b) as i64
    }
    #[inline(always)]
    fn bit(&mut self, a: u64, n: u32) -> bool {
        a >> n & 1 != 0
    }
    #[inline(always)]
    fn negate(&mut self, c: bool) -> bool {
        !c
    }
    #[inline(always)]
    fn both(&mut self, a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn either(&mut self, a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn select(&mut self, c: bool, a: u64, b: u64) -> u64 {
        if c { a } else { b }
    }
    #[inline(always)]
    fn value_of(&mut self, c: bool) -> u64 {
        c.into()
    }
}

impl<P: Path> Registers for Interp<P> {
    #[inline(always)]
    fn gpr(&mut self, w: Width, at: u8) -> u64 {
        debug_assert!(usize::from(at) + w.bytes() as usize <= slot::COUNT * 8);
        // SAFETY: the decoder only writes byte offsets of registers, which lie in `regs`.
        unsafe { host_load(self.cpu.regs.as_ptr().cast::<u8>().add(usize::from(at)), w) }
    }
    #[inline(always)]
    fn set_gpr(&mut self, w: Width, at: u8, value: u64) {
        debug_assert!(usize::from(at) + w.bytes() as usize <= slot::COUNT * 8);
        // SAFETY: as above. A 32-bit write stores 64 bits at an offset that is a multiple of 8.
        unsafe {
            let register = self.cpu.regs.as_mut_ptr().cast::<u8>().add(usize::from(at));
            match w {
                Width::W32 => host_store(register, Width::W64, value & w.mask()),
                _ => host_store(register, w, value),
            }
        }
    }
    #[inline(always)]
    fn rip_base(&mut self) -> u64 {
        self.cpu.regs[usize::from(slot::RIP_BASE)]
    }
    #[inline(always)]
    fn flags_result(&mut self) -> u64 {
        self.cpu.flags.result
    }
    #[inline(always)]
    fn flags_aux(&mut self) -> u64 {
        self.cpu.flags.aux
    }
    #[inline(always)]
    fn set_flags(&mut self, result: u64, aux: u64) {
        if P::FLAGS {
            self.cpu.flags = LazyFlags { result, aux };
        }
    }
    fn system_flags(&mut self) -> u64 {
        self.cpu.eflags.bits().into()
    }
    #[inline(always)]
    fn set_direction(&mut self, down: bool) {
        self.cpu.eflags.set(Flags::DF, down);
    }
    #[inline(always)]
    fn vector(&mut self, register: u8, lane: usize) -> Lane {
        lane::lane(self.cpu.simd.vector[usize::from(register & 15)][lane & 1])
    }
    #[inline(always)]
    fn set_vector(&mut self, register: u8, lane: usize, value: Lane) {
        self.cpu.simd.vector[usize::from(register & 15)][lane & 1] = lane::bits(value);
    }
    fn mmx(&mut self, register: u8) -> u64 {
        self.cpu.x87.r[usize::from(register & 7)].significand
    }
    fn set_mmx(&mut self, register: u8, value: u64) {
        let r = &mut self.cpu.x87.r[usize::from(register & 7)];
        (r.significand, r.sign_exponent) = (value, 0xFFFF);
    }
    fn enter_mmx(&mut self) {
        self.cpu.x87.enter_mmx();
    }
}

impl<P: Path> Memory for Interp<P> {
    type Fault = P::Fault;

    #[inline(always)]
    fn effective_address(&mut self, i: &Insn) -> u64 {
        self.cpu.effective_address(i)
    }
    #[inline(always)]
    fn load(&mut self, i: &Insn, form: AddressForm, w: Width, delta: u64) -> Result<u64, P::Fault> {
        P::load(self.cpu, i, form, w, delta)
    }
    #[inline(always)]
    fn store(
        &mut self,
        i: &Insn,
        form: AddressForm,
        w: Width,
        delta: u64,
        value: u64,
    ) -> Result<(), P::Fault> {
        P::store(self.cpu, i, form, w, delta, value)
    }
    #[inline(always)]
    fn update(
        &mut self,
        i: &Insn,
        form: AddressForm,
        w: Width,
        change: impl Fn(&mut Self, u64) -> u64,
    ) -> Result<(u64, u64), P::Fault> {
        let fault = match P::update_address(self.cpu, i, form, w, 0) {
            Ok(linear) => return self.update_linear(i, linear, w, change),
            Err(fault) => fault,
        };
        let old = P::read_around(self.cpu, i, w, fault)?;
        let new = change(self, old);
        P::store(self.cpu, i, form, w, 0, new)?;
        Ok((old, new))
    }
    #[inline(always)]
    fn update_at(
        &mut self,
        i: &Insn,
        w: Width,
        displacement: u64,
        change: impl Fn(&mut Self, u64) -> u64,
    ) -> Result<(u64, u64), P::Fault> {
        let linear = P::update_address(self.cpu, i, AddressForm::Checked, w, displacement)?;
        self.update_linear(i, linear, w, change)
    }
    #[inline(always)]
    fn load_at(&mut self, seg: Seg, offset: u64, w: Width) -> Result<u64, P::Fault> {
        P::load_at(self.cpu, seg, offset, w)
    }
    #[inline(always)]
    fn store_at(&mut self, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), P::Fault> {
        P::store_at(self.cpu, seg, offset, w, value)
    }
    #[inline(always)]
    fn load_lanes<const N: usize>(&mut self, i: &Insn, form: AddressForm) -> Result<[Lane; N], P::Fault> {
        P::load_lanes(self.cpu, i, form).map(|lanes| lanes.map(lane::lane))
    }
    #[inline(always)]
    fn store_lanes<const N: usize>(
        &mut self,
        i: &Insn,
        form: AddressForm,
        value: [Lane; N],
    ) -> Result<(), P::Fault> {
        P::store_lanes(self.cpu, i, form, value.map(lane::bits))
    }
}

impl<P: Path> Interp<P> {
    #[inline(always)]
    fn update_linear(
        &mut self,
        i: &Insn,
        linear: u64,
        w: Width,
        change: impl Fn(&mut Self, u64) -> u64,
    ) -> Result<(u64, u64), P::Fault> {
        match P::update_host(self.cpu, linear, w)? {
            Some(host) if i.has(flag::LOCK) => Ok(self.update_atomic(host, w, change)),
            Some(host) => {
                // SAFETY: `update_host` gave a host address in one page of RAM that may be written.
                let old = unsafe { host_load(host, w) };
                let new = change(self, old);
                // SAFETY: the same address.
                unsafe { host_store(host, w, new) };
                Ok((old, new))
            }
            None => {
                // Across pages, or a device: as bus-locked as this gets.
                let _lock = i.has(flag::LOCK).then(|| self.cpu.memory.bus_lock());
                let old = P::slow_read(self.cpu, linear, w)?;
                let new = change(self, old);
                P::slow_write(self.cpu, linear, w, new)?;
                Ok((old, new))
            }
        }
    }

    #[inline(always)]
    fn update_atomic(
        &mut self,
        host: *mut u8,
        w: Width,
        change: impl Fn(&mut Self, u64) -> u64,
    ) -> (u64, u64) {
        use super::handlers::compare_exchange;
        // SAFETY: `host` is valid for reads of `w`; see `update_linear`.
        let mut old = unsafe { host_load(host, w) };
        loop {
            let new = change(self, old);
            // SAFETY: `host` is valid for reads and writes of `w`.
            match unsafe { compare_exchange(host, w, old, new) } {
                Ok(()) => return (old, new),
                Err(now) => old = now,
            }
        }
    }
}

impl<P: Path> Flow for Interp<P> {
    #[inline(always)]
    fn raise(&mut self, exception: Exception) -> P::Fault {
        P::fault(exception)
    }
    #[inline(always)]
    fn fault_if(&mut self, c: bool, exception: Exception) -> Result<(), P::Fault> {
        if c { Err(P::fault(exception)) } else { Ok(()) }
    }
    #[inline(always)]
    fn jump(&mut self, i: &Insn) -> Result<(), P::Fault> {
        P::check_target(self.cpu, self.cpu.direct_target(i))?;
        self.taken = true;
        Ok(())
    }
    #[inline(always)]
    fn jump_if(&mut self, c: bool, i: &Insn) -> Result<(), P::Fault> {
        if P::CHECKS_CONDITIONAL_JUMPS && c {
            P::check_target(self.cpu, self.cpu.direct_target(i))?;
        }
        self.taken = c;
        Ok(())
    }
    #[inline(always)]
    fn jump_to(&mut self, _: &Insn, target: u64) -> Result<(), P::Fault> {
        P::check_target(self.cpu, target)?;
        self.target = target;
        Ok(())
    }
    #[inline(always)]
    fn helper(&mut self, i: &Insn, f: Helper) -> Result<(), P::Fault> {
        P::helper(self.cpu, i, f)
    }
}
