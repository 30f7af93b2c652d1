//! CPUID. SDM vol. 2. What it says is decided in [`crate::cpu_model`].

use crate::{
    arch::{Exception, Width, msr},
    cpu::{Cpu, slot},
    cpu_model::CpuidContext,
    decode::Insn,
    semantics::{Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![microcode(Mnemonic::Cpuid, cpuid)]
}

fn cpuid(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let (leaf, subleaf) = (cpu.gpr(Width::W32, slot::RAX) as u32, cpu.gpr(Width::W32, slot::RCX) as u32);
    if leaf == 1 {
        cpu.load_microcode_revision();
    }
    let context = CpuidContext {
        apic_id: cpu.id as u32,
        apic_enabled: cpu
            .io
            .apic_msr_read(cpu.id, msr::IA32_APIC_BASE)
            .is_some_and(|base| base >> 11 & 1 != 0),
        cr4: cpu.control.cr4,
        xcr0: cpu.control.xcr0,
    };
    let [eax, ebx, ecx, edx] = cpu.model.cpuid(leaf, subleaf, &context);
    for (register, value) in [(slot::RAX, eax), (slot::RBX, ebx), (slot::RCX, ecx), (slot::RDX, edx)] {
        cpu.set_gpr(Width::W32, register, value.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu;

    #[test]
    fn all_four_registers_are_written_and_zero_extended() {
        let mut cpu = test_cpu::long_cpu("x86-64-v2");
        cpu.regs[..4].fill(u64::MAX << 32);
        cpuid(&mut cpu, &test_cpu::insn(&[])).unwrap();
        assert_eq!(cpu.regs[slot::RAX], 0x16);
        assert_eq!(cpu.regs[slot::RBX], u64::from(u32::from_le_bytes(*b"Genu")));
    }
}
