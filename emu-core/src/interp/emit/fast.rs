//! The path for what is common: a hit in the TLB, through flat segments.

use super::{
    host::{direct_read, direct_write},
    path::{Path, misaligned},
};
use crate::{
    arch::{Exception, Seg, Width},
    cpu::{Cpu, slot},
    decode::{AddressForm, Insn},
    lane::FpResult,
    memory::host,
    semantics::Helper,
};

/// What is common; anything else bails out. Without `FLAGS`, for instructions whose flags are overwritten
/// before anything can see them.
pub struct FastPath<const FLAGS: bool>;

/// The fast path does not know how: run the instruction again on the exact one.
pub struct Bail;

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
        Ok(unsafe { host::load(host, w) })
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
        unsafe { host::store(host, w, value) };
        Ok(())
    }
    #[inline(always)]
    fn load_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width) -> Result<u64, Bail> {
        let linear =
            offset.wrapping_add(register_slot(cpu, slot::SEGMENT_BASE + seg as u8)) & cpu.linear_mask;
        let host = direct_read(cpu, linear, w.bytes()).ok_or(Bail)?;
        // SAFETY: a TLB hit.
        Ok(unsafe { host::load(host, w) })
    }
    #[inline(always)]
    fn store_at(cpu: &mut Cpu, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), Bail> {
        let linear =
            offset.wrapping_add(register_slot(cpu, slot::SEGMENT_BASE + seg as u8)) & cpu.linear_mask;
        let host = direct_write(cpu, linear, w.bytes()).ok_or(Bail)?;
        // SAFETY: a TLB hit for writing.
        unsafe { host::store(host, w, value) };
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
        Ok(unsafe { host::load_lanes(host) })
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
        unsafe { host::store_lanes(host, value) };
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
