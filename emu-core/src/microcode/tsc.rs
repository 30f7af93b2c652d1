//! RDTSC, RDTSCP, RDPID and RDPMC. SDM vol. 2; vol. 3, 18.17.
//!
//! There are no performance counters: RDPMC finds none to read.

use crate::{
    arch::{Cr4, Exception, Width},
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    semantics::{Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Rdtsc, rdtsc),
        microcode(Mnemonic::Rdtscp, rdtscp),
        microcode(Mnemonic::Rdpid, rdpid),
        microcode(Mnemonic::Rdpmc, rdpmc),
    ]
}

fn rdtsc(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    if cpu.control.cr4.contains(Cr4::TSD) && cpu.cpl > 0 {
        return Err(Exception::GP0);
    }
    if cpu.model.cpus() > 1 {
        // Not before what another CPU has done, of which this one knows.
        fence();
    }
    let tsc = cpu.time_stamp_counter();
    cpu.set_edx_eax(tsc);
    Ok(())
}

/// Keeps the host from reading its clock before earlier loads are done.
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has it.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

fn rdtscp(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    rdtsc(cpu, i)?;
    cpu.set_gpr(Width::W32, slot::RCX, cpu.msrs.tsc_aux);
    Ok(())
}

fn rdpid(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let width = if i.has(flag::MODE64) { Width::W64 } else { Width::W32 };
    cpu.set_reg(width, i.reg[0], cpu.msrs.tsc_aux);
    Ok(())
}

fn rdpmc(_: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    // Whether by CR4.PCE or because ECX names no counter, the fault is the same.
    Err(Exception::GP0)
}

impl Cpu {
    /// The time-stamp counter as this CPU's guest reads it.
    pub fn time_stamp_counter(&self) -> u64 {
        self.io.time_stamp_counter().wrapping_add(self.msrs.tsc_adjust)
    }

    /// EDX:EAX, zero-extended to the full registers.
    pub(super) fn set_edx_eax(&mut self, value: u64) {
        self.set_gpr(Width::W32, slot::RAX, value);
        self.set_gpr(Width::W32, slot::RDX, value >> 32);
    }

    /// EDX:EAX.
    pub(super) fn edx_eax(&self) -> u64 {
        self.gpr(Width::W32, slot::RDX) << 32 | self.gpr(Width::W32, slot::RAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::Kind,
        microcode::test_cpu::{gp0, insn, long_cpu},
    };

    #[test]
    fn the_counter_is_the_machines_plus_the_adjustment() {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.msrs.tsc_adjust = 1 << 32;
        cpu.msrs.tsc_aux = 7;
        rdtscp(&mut cpu, &insn(&[])).unwrap();
        assert_eq!((cpu.regs[slot::RDX], cpu.regs[slot::RAX], cpu.regs[slot::RCX]), (1, 1000, 7));
        rdpid(&mut cpu, &insn(&[(Kind::Gpr, 24)])).unwrap();
        assert_eq!(cpu.regs[slot::RBX], 7);
    }

    #[test]
    fn tsd_keeps_it_from_users() {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.control.cr4.insert(Cr4::TSD);
        assert_eq!(rdtsc(&mut cpu, &insn(&[])), Ok(()));
        cpu.cpl = 3;
        assert_eq!(rdtsc(&mut cpu, &insn(&[])), gp0());
    }
}
