//! The path that does everything: checks of segments and alignment, page walks, devices, breakpoints.

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

/// Everything, exactly.
pub struct ExactPath;

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
            return Ok(unsafe { host::load(host, w) });
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
            unsafe { host::store(host, w, value) };
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
            return Ok(unsafe { host::load_lanes(host) });
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
            unsafe { host::store_lanes(host, value) };
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
        crate::interp::vector::under_guest_control(cpu, kind, apply)
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
