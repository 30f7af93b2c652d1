//! RDRAND and RDSEED: numbers of the host's, or for runs that are repeated a sequence of their own. SDM vol. 1, 7.3.17.

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

/// Where random numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Random {
    /// The host.
    #[default]
    Host,
    /// A sequence that follows from this number alone.
    Sequence(u64),
}

impl Random {
    /// Eight bytes, of which `len` are wanted. `None`: the host has none at hand.
    fn next(&mut self, len: usize) -> Option<u64> {
        match self {
            Random::Host => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes[..len]).ok()?;
                Some(u64::from_le_bytes(bytes))
            }
            Random::Sequence(state) => Some(split_mix(state)),
        }
    }
}

/// The next number of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn random(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    // The architecture has a word for a host without randomness at hand: CF = 0, and zero.
    let number = cpu.random.next(i.w().bytes() as usize);
    let (available, value) = (number.is_some(), number.unwrap_or(0));
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

    #[test]
    fn a_sequence_is_the_same_again() {
        let numbers = || {
            let mut cpu = long_cpu("max");
            cpu.random = Random::Sequence(1);
            random(&mut cpu, &insn(&[(Kind::Gpr, 0)])).unwrap();
            random(&mut cpu, &insn(&[(Kind::Gpr, 8)])).unwrap();
            (cpu.regs[0], cpu.regs[1])
        };
        assert_eq!(numbers(), numbers());
        assert_ne!(numbers().0, numbers().1);
    }
}
