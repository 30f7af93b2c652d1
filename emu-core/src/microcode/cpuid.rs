//! CPUID. SDM vol. 2. What it says is decided in [`crate::cpu_model`].

use crate::{
    arch::{Exception, Width, msr},
    cpu::{Cpu, slot},
    cpu_model::{CpuModel, CpuidContext},
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
    let mut context = CpuidContext {
        apic_id: cpu.id as u32,
        apic_enabled: true,
        cr4: cpu.control.cr4,
        xcr0: cpu.control.xcr0,
    };
    let [eax, ebx, ecx, edx] = if leaf == 1 {
        cpu.load_microcode_revision();
        let base = cpu.io.apic_msr_read(cpu.id, msr::IA32_APIC_BASE);
        context.apic_enabled = base.is_some_and(|base| base >> 11 & 1 != 0);
        cpu.model.cpuid(leaf, subleaf, &context)
    } else {
        cpu.known_leaves.get(&cpu.model, leaf, subleaf, &context)
    };
    for (register, value) in [(slot::RAX, eax), (slot::RBX, ebx), (slot::RCX, ecx), (slot::RDX, edx)] {
        cpu.set_gpr(Width::W32, register, value.into());
    }
    Ok(())
}

/// Leaves that have been asked for, by leaf and sub-leaf.
#[derive(Default)]
pub struct KnownLeaves {
    /// CR4 and XCR0 that they are for.
    context: (u64, u64),
    leaves: [Option<(u32, u32, [u32; 4])>; KNOWN],
}

/// Leaves that are remembered, a power of two.
const KNOWN: usize = 32;

impl KnownLeaves {
    /// What `model` says of any leaf but the first, which depends on the APIC as well.
    fn get(&mut self, model: &CpuModel, leaf: u32, subleaf: u32, context: &CpuidContext) -> [u32; 4] {
        let bits = (context.cr4.bits(), context.xcr0.bits());
        if self.context != bits {
            *self = KnownLeaves { context: bits, ..Self::default() };
        }
        let known = &mut self.leaves[(leaf ^ leaf >> 27 ^ subleaf << 2) as usize % KNOWN];
        match *known {
            Some((l, s, registers)) if (l, s) == (leaf, subleaf) => registers,
            _ => {
                let registers = model.cpuid(leaf, subleaf, context);
                *known = Some((leaf, subleaf, registers));
                registers
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arch::Cr4, microcode::test_cpu};

    #[test]
    fn all_four_registers_are_written_and_zero_extended() {
        let mut cpu = test_cpu::long_cpu("x86-64-v2");
        cpu.regs[..4].fill(u64::MAX << 32);
        cpuid(&mut cpu, &test_cpu::insn(&[])).unwrap();
        assert_eq!(cpu.regs[slot::RAX], 0x16);
        assert_eq!(cpu.regs[slot::RBX], u64::from(u32::from_le_bytes(*b"Genu")));
    }

    #[test]
    fn a_leaf_that_is_remembered_follows_the_control_registers() {
        let mut cpu = test_cpu::long_cpu("max");
        let mut ospke = |cr4| {
            cpu.control.cr4 = cr4;
            (cpu.regs[slot::RAX], cpu.regs[slot::RCX]) = (7, 0);
            cpuid(&mut cpu, &test_cpu::insn(&[])).unwrap();
            cpu.regs[slot::RCX] >> 4 & 1
        };
        assert_eq!([Cr4::empty(), Cr4::PKE, Cr4::PKE, Cr4::empty()].map(&mut ospke), [0, 1, 1, 0]);
    }
}
