//! RDRAND and RDSEED: numbers of the host's. SDM vol. 1, 7.3.17.

use crate::{
    arch::{Exception, Flags},
    cpu::{Cpu, LazyFlags},
    decode::Insn,
    semantics::{Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![microcode(Mnemonic::Rdrand, random), microcode(Mnemonic::Rdseed, random)]
}

fn random(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let mut bytes = [0; 8];
    // The architecture has a word for a host without randomness at hand: CF = 0, and zero.
    let available = getrandom::fill(&mut bytes[..i.w().bytes() as usize]).is_ok();
    let value = if available { u64::from_le_bytes(bytes) } else { 0 };
    cpu.set_reg(i.w(), i.reg[0], value);
    cpu.flags = LazyFlags::from_flags(if available { Flags::CF } else { Flags::empty() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::Kind,
        microcode::test_cpu::{insn, long_cpu},
    };

    #[test]
    fn success_is_carry_alone_and_numbers_differ() {
        let mut cpu = long_cpu("max");
        cpu.flags = LazyFlags::from_flags(Flags::ARITHMETIC);
        random(&mut cpu, &insn(&[(Kind::Gpr, 0)])).unwrap();
        random(&mut cpu, &insn(&[(Kind::Gpr, 8)])).unwrap();
        assert_eq!(cpu.flags.flags(), Flags::CF);
        assert_ne!(cpu.regs[0], cpu.regs[1]);
    }
}
