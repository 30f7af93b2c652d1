//! RDMSR and WRMSR. SDM vol. 2; vol. 4.
//!
//! An MSR exists if the model offers the feature it belongs to; one that does not exist, a value with a
//! reserved bit, an address that is not canonical: #GP(0). Left out: performance monitoring, machine-check
//! banks (IA32_MCG_CAP counts none), last-branch records, and what IA32_DEBUGCTL.BTF does to single-stepping.

mod memory_type;

use crate::{
    arch::{Cr0, Efer, Exception, Seg, Width, msr::*},
    cpu::{Cpu, slot},
    cpu_model::Feature,
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::Mnemonic;
use std::collections::BTreeSet;

const IA32_P5_MC_ADDR: u32 = 0x0;
const IA32_P5_MC_TYPE: u32 = 0x1;
const MSR_PLATFORM_INFO: u32 = 0xCE;
const IA32_FLUSH_CMD: u32 = 0x10B;
const IA32_PERF_STATUS: u32 = 0x198;
const MSR_TEMPERATURE_TARGET: u32 = 0x1A2;

/// The multiple of 100 MHz that CPUID leaf 16H tells as frequency.
const FREQUENCY_RATIO: u64 = crate::cpu_model::TSC_HERTZ / 100_000_000;
/// What IA32_BIOS_SIGN_ID shows after CPUID: revision 1.
const MICROCODE_REVISION: u64 = 1 << 32;
/// IA32_MISC_ENABLE: branch trace storage and PEBS are unavailable, as read-only bits say.
const MISC_ENABLE_FIXED: u64 = 1 << 11 | 1 << 12;
/// IA32_MISC_ENABLE: fast strings.
const MISC_ENABLE_WRITABLE: u64 = 1;
/// IA32_DEBUGCTL: LBR and BTF.
const DEBUGCTL_WRITABLE: u64 = 3;
/// IA32_APIC_BASE: x2APIC mode.
const APIC_BASE_EXTD: u64 = 1 << 10;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Rdmsr, rdmsr).with(Attr::CPL0),
        microcode(Mnemonic::Wrmsr, wrmsr).with(Attr::CPL0 | Attr::ENDS_BLOCK),
    ]
}

fn rdmsr(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let number = cpu.gpr(Width::W32, slot::RCX) as u32;
    let value = cpu.read_msr(number).ok_or_else(|| refused(number, "RDMSR"))?;
    cpu.set_edx_eax(value);
    Ok(())
}

fn wrmsr(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let number = cpu.gpr(Width::W32, slot::RCX) as u32;
    let value = cpu.edx_eax();
    cpu.write_msr(number, value).ok_or_else(|| refused(number, "WRMSR"))
}

/// #GP(0), and a line in the log the first time that it is for this MSR.
#[cold]
fn refused(number: u32, what: &str) -> Exception {
    /// Enough for every MSR that real software probes for; a guest cannot make it grow further.
    const REMEMBERED: usize = 256;
    static SEEN: parking_lot::Mutex<BTreeSet<u32>> = parking_lot::Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock();
    if seen.len() < REMEMBERED && seen.insert(number) {
        log::debug!("{what} of MSR {number:#x} raises #GP: it does not exist, or does not take the value");
    }
    Exception::GP0
}

impl Cpu {
    /// What RDMSR finds in MSR `number`; `None` for #GP(0).
    pub fn read_msr(&mut self, number: u32) -> Option<u64> {
        let has = |feature| self.model.has(feature).then_some(());
        let value = match number {
            IA32_P5_MC_ADDR | IA32_P5_MC_TYPE | IA32_PLATFORM_ID => 0,
            IA32_TIME_STAMP_COUNTER => has(Feature::Tsc).map(|()| self.time_stamp_counter())?,
            IA32_TSC_ADJUST => has(Feature::TscAdjust).map(|()| self.msrs.tsc_adjust)?,
            IA32_APIC_BASE | IA32_TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST => {
                return self.read_apic_msr(number);
            }
            IA32_FEATURE_CONTROL => self.msrs.feature_control,
            IA32_SPEC_CTRL => has(Feature::SpecCtrl).map(|()| self.msrs.spec_ctrl)?,
            IA32_BIOS_SIGN_ID => self.msrs.microcode_revision,
            IA32_SMBASE => self.events.in_smm.then_some(self.events.smbase.into())?,
            // The ratio of the frequency to 100 MHz; memory testers look here for it.
            MSR_PLATFORM_INFO | IA32_PERF_STATUS => FREQUENCY_RATIO << 8,
            // 100 degrees.
            MSR_TEMPERATURE_TARGET => 100 << 16,
            IA32_ARCH_CAPABILITIES => {
                has(Feature::ArchCapabilities).map(|()| self.model.arch_capabilities())?
            }
            IA32_SYSENTER_CS => has(Feature::Sep).map(|()| self.msrs.sysenter_cs)?,
            IA32_SYSENTER_ESP => has(Feature::Sep).map(|()| self.msrs.sysenter_esp)?,
            IA32_SYSENTER_EIP => has(Feature::Sep).map(|()| self.msrs.sysenter_eip)?,
            IA32_MCG_CAP => has(Feature::Mca).map(|()| 0)?,
            IA32_MCG_STATUS => has(Feature::Mca).map(|()| self.msrs.mcg_status)?,
            IA32_MISC_ENABLE => self.msrs.misc_enable | MISC_ENABLE_FIXED | self.monitor_enable(),
            IA32_DEBUGCTL => self.msrs.debugctl,
            IA32_XSS => has(Feature::Xsaves).map(|()| self.msrs.xss)?,
            IA32_EFER => self.control.efer.bits(),
            IA32_STAR => has(Feature::Syscall).map(|()| self.msrs.star)?,
            IA32_LSTAR => has(Feature::Syscall).map(|()| self.msrs.lstar)?,
            IA32_CSTAR => has(Feature::Syscall).map(|()| self.msrs.cstar)?,
            IA32_FMASK => has(Feature::Syscall).map(|()| self.msrs.fmask)?,
            IA32_FS_BASE => has(Feature::Lm).map(|()| self.seg(Seg::Fs).base)?,
            IA32_GS_BASE => has(Feature::Lm).map(|()| self.seg(Seg::Gs).base)?,
            IA32_KERNEL_GS_BASE => has(Feature::Lm).map(|()| self.msrs.kernel_gs_base)?,
            IA32_TSC_AUX => self.has_tsc_aux().then_some(self.msrs.tsc_aux)?,
            _ => return memory_type::read(self, number),
        };
        Some(value)
    }

    /// What WRMSR does to MSR `number`; `None` for #GP(0), and nothing has changed.
    pub fn write_msr(&mut self, number: u32, value: u64) -> Option<()> {
        let has = |feature| self.model.has(feature).then_some(());
        match number {
            // What would start a microcode update, and what its result is read from.
            IA32_BIOS_UPDT_TRIG => {}
            IA32_BIOS_SIGN_ID => self.msrs.microcode_revision = value,
            IA32_P5_MC_ADDR | IA32_P5_MC_TYPE => within(value, 0)?,
            IA32_TIME_STAMP_COUNTER => {
                has(Feature::Tsc)?;
                self.msrs.tsc_adjust = value.wrapping_sub(self.io.time_stamp_counter());
            }
            IA32_TSC_ADJUST => {
                has(Feature::TscAdjust)?;
                self.msrs.tsc_adjust = value;
            }
            IA32_APIC_BASE | IA32_TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST => {
                self.write_apic_msr(number, value)?;
            }
            IA32_SPEC_CTRL => {
                within(value, self.spec_ctrl_mask())?;
                has(Feature::SpecCtrl)?;
                self.msrs.spec_ctrl = value;
            }
            // Commands to predictors and caches that do not exist. IBPB:
            IA32_PRED_CMD => has(Feature::SpecCtrl).and_then(|()| within(value, 1))?,
            // L1D_FLUSH:
            IA32_FLUSH_CMD => has(Feature::FlushL1d).and_then(|()| within(value, 1))?,
            IA32_SYSENTER_CS => {
                has(Feature::Sep)?;
                self.msrs.sysenter_cs = value & 0xFFFF_FFFF;
            }
            IA32_SYSENTER_ESP => {
                has(Feature::Sep)?;
                self.msrs.sysenter_esp = self.canonical(value)?;
            }
            IA32_SYSENTER_EIP => {
                has(Feature::Sep)?;
                self.msrs.sysenter_eip = self.canonical(value)?;
            }
            IA32_MCG_STATUS => {
                has(Feature::Mca)?;
                within(value, 7)?;
                self.msrs.mcg_status = value;
            }
            IA32_MISC_ENABLE => {
                within(value, MISC_ENABLE_WRITABLE | MISC_ENABLE_FIXED | self.monitor_enable())?;
                self.msrs.misc_enable = value & MISC_ENABLE_WRITABLE;
            }
            IA32_DEBUGCTL => {
                within(value, DEBUGCTL_WRITABLE)?;
                self.msrs.debugctl = value;
            }
            // There is no supervisor state component yet.
            IA32_XSS => has(Feature::Xsaves).and_then(|()| within(value, 0))?,
            IA32_EFER => self.write_efer(value)?,
            IA32_STAR..=IA32_FMASK => self.write_syscall_msr(number, value)?,
            IA32_FS_BASE | IA32_GS_BASE => {
                has(Feature::Lm)?;
                let base = self.canonical(value)?;
                self.set_segment_base(if number == IA32_FS_BASE { Seg::Fs } else { Seg::Gs }, base);
            }
            IA32_KERNEL_GS_BASE => {
                has(Feature::Lm)?;
                self.msrs.kernel_gs_base = self.canonical(value)?;
            }
            IA32_TSC_AUX => {
                self.has_tsc_aux().then_some(())?;
                within(value, 0xFFFF_FFFF)?;
                self.msrs.tsc_aux = value;
            }
            // IA32_FEATURE_CONTROL among them: firmware has locked it.
            _ => memory_type::write(self, number, value)?,
        }
        Some(())
    }

    /// CPUID has been executed: IA32_BIOS_SIGN_ID shows the microcode's revision.
    pub(super) fn load_microcode_revision(&mut self) {
        self.msrs.microcode_revision = MICROCODE_REVISION;
    }

    /// Base of a segment alone (FS and GS in 64-bit mode): neither limit nor rights change, so no mode does.
    pub(super) fn set_segment_base(&mut self, seg: Seg, base: u64) {
        self.segments.data[seg as usize].base = base;
        self.regs[usize::from(slot::SEGMENT_BASE) + seg as usize] = base;
    }

    fn write_efer(&mut self, value: u64) -> Option<()> {
        let offered = [(Efer::SCE, Feature::Syscall), (Efer::LME, Feature::Lm), (Efer::NXE, Feature::Nx)];
        let offered = offered.into_iter().filter(|&(_, feature)| self.model.has(feature));
        let writable = offered.fold(Efer::empty(), |bits, (bit, _)| bits | bit);
        // LMA is read-only: what is written there is ignored.
        let new = Efer::from_bits(value)? - Efer::LMA;
        let old = self.control.efer;
        let toggles_lme = (new ^ old).contains(Efer::LME);
        if !writable.contains(new) || toggles_lme && self.control.cr0.contains(Cr0::PG) {
            return None;
        }
        self.control.efer = new | old & Efer::LMA;
        self.mode_changed();
        Some(())
    }

    fn write_syscall_msr(&mut self, number: u32, value: u64) -> Option<()> {
        self.model.has(Feature::Syscall).then_some(())?;
        match number {
            IA32_STAR => self.msrs.star = value,
            IA32_LSTAR => self.msrs.lstar = self.canonical(value)?,
            IA32_CSTAR => self.msrs.cstar = self.canonical(value)?,
            _ => {
                within(value, 0xFFFF_FFFF)?;
                self.msrs.fmask = value;
            }
        }
        Some(())
    }

    fn read_apic_msr(&self, number: u32) -> Option<u64> {
        self.apic_feature(number)?;
        let value = self.io.apic_msr_read(self.id, number)?;
        // The local APIC counts in the machine's TSC, the guest in its own.
        let own_tsc = number == IA32_TSC_DEADLINE && value != 0;
        Some(if own_tsc { value.wrapping_add(self.msrs.tsc_adjust) } else { value })
    }

    fn write_apic_msr(&self, number: u32, value: u64) -> Option<()> {
        self.apic_feature(number)?;
        if number == IA32_APIC_BASE {
            let address = !0 >> (64 - self.model.physical_address_bits()) & !0xFFF;
            let extd = if self.model.has(Feature::X2apic) { APIC_BASE_EXTD } else { 0 };
            within(value, address | 1 << 11 | extd | 1 << 8)?;
        }
        let own_tsc = number == IA32_TSC_DEADLINE && value != 0;
        // A deadline of 0 would disarm, one that has passed expires at once.
        let value =
            if own_tsc { value.saturating_sub_signed(self.msrs.tsc_adjust as i64).max(1) } else { value };
        self.io.apic_msr_write(self.id, number, value)
    }

    fn apic_feature(&self, number: u32) -> Option<()> {
        let feature = match number {
            IA32_APIC_BASE => Feature::Apic,
            IA32_TSC_DEADLINE => Feature::TscDeadline,
            _ => Feature::X2apic,
        };
        self.model.has(feature).then_some(())
    }

    /// IBRS, STIBP and SSBD, as offered.
    fn spec_ctrl_mask(&self) -> u64 {
        // IBRS, STIBP, SSBD, BHI_DIS_S.
        let bit = |feature, n: u32| u64::from(self.model.has(feature)) << n;
        1 | bit(Feature::Stibp, 1) | bit(Feature::Ssbd, 2) | bit(Feature::BhiCtrl, 10)
    }

    /// IA32_MISC_ENABLE's read-only bit that MONITOR is enabled.
    fn monitor_enable(&self) -> u64 {
        u64::from(self.model.has(Feature::Monitor)) << 18
    }

    fn has_tsc_aux(&self) -> bool {
        self.model.has(Feature::Rdtscp) || self.model.has(Feature::Rdpid)
    }

    /// `address`, if it is canonical for the widest linear addresses that the model has. SDM vol. 3, 4.5.2.
    fn canonical(&self, address: u64) -> Option<u64> {
        let unused = 64 - self.model.linear_address_bits();
        (((address << unused) as i64 >> unused) as u64 == address).then_some(address)
    }
}

/// Whether `value` has no bit outside `mask`.
fn within(value: u64, mask: u64) -> Option<()> {
    (value & !mask == 0).then_some(())
}

#[cfg(test)]
mod tests;
