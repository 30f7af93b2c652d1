//! Memory: by the path, and updates on top of it.

use super::{Interp, Path, atomic::compare_exchange};
use crate::{
    arch::{Seg, Width},
    decode::{AddressForm, Insn, flag},
    lane::{self, Lane},
    memory::host,
    semantics::Memory,
};

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
                let old = unsafe { host::load(host, w) };
                let new = change(self, old);
                // SAFETY: the same address.
                unsafe { host::store(host, w, new) };
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
        // SAFETY: `host` is valid for reads of `w`; see `update_linear`.
        let mut old = unsafe { host::load(host, w) };
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
