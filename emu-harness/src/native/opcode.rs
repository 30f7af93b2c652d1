//! The few instructions that single-stepping has to know: those in which the trap flag shows.

/// What an instruction does about traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One trap after it.
    Plain,
    /// A repeated string instruction, with a trap after each iteration, or a gather, with one before an element
    /// that faults.
    Repeated,
    /// PUSHF: stores the trap flag.
    PushesFlags,
    /// POPF and IRET: load it.
    LoadsFlags,
    /// MOV and POP to SS, with no trap until the next instruction has completed (SDM vol. 3, 6.8.3), and INT1,
    /// whose own exception is the trap's: it cannot be told when they have completed.
    Untraceable,
    /// INT3 and INTO, INT with a vector: an exception that is a trap, so that RIP is the next instruction's.
    Interrupts,
}

/// What the instruction in `code` is. `long`: in 64-bit mode.
pub fn kind(code: &[u8], long: bool) -> Kind {
    let mut repeated = false;
    for (k, byte) in code.iter().enumerate() {
        match byte {
            0xF2 | 0xF3 => repeated = true,
            0x66 | 0x67 | 0x2E | 0x36 | 0x3E | 0x26 | 0x64 | 0x65 | 0xF0 => {}
            0x40..=0x4F if long => {}
            0x9C => return Kind::PushesFlags,
            0x9D | 0xCF => return Kind::LoadsFlags,
            0xC4 if is_gather(&code[k + 1..]) => return Kind::Repeated,
            0xCC..=0xCE => return Kind::Interrupts,
            0x17 if !long => return Kind::Untraceable,
            0xF1 => return Kind::Untraceable,
            0x8E if code.get(k + 1).is_some_and(|modrm| modrm >> 3 & 7 == 2) => return Kind::Untraceable,
            0x6C..=0x6F | 0xA4..=0xA7 | 0xAA..=0xAF if repeated => return Kind::Repeated,
            _ => return Kind::Plain,
        }
    }
    Kind::Plain
}

/// Whether `code`, what follows the first byte of a three-byte VEX prefix, is VGATHER or VPGATHER.
fn is_gather(code: &[u8]) -> bool {
    matches!(code, [map, _, 0x90..=0x93, ..] if map & 0x1F == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[0x90], true, Kind::Plain)]
    #[case(&[0xF3, 0xA4], true, Kind::Repeated)]
    #[case(&[0xF3, 0x48, 0xAB], true, Kind::Repeated)]
    #[case(&[0xA4], true, Kind::Plain)]
    #[case(&[0xF3, 0x0F, 0x58, 0xC1], true, Kind::Plain)]
    #[case(&[0x66, 0x9C], false, Kind::PushesFlags)]
    #[case(&[0x9D], false, Kind::LoadsFlags)]
    #[case(&[0x17], false, Kind::Untraceable)]
    #[case(&[0x8E, 0xD0], false, Kind::Untraceable)]
    #[case(&[0x8E, 0xD8], false, Kind::Plain)]
    #[case(&[0x48, 0x9C], true, Kind::PushesFlags)]
    #[case(&[0x48, 0x9C], false, Kind::Plain)]
    #[case(&[0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8B], true, Kind::Repeated)]
    #[case(&[0xC4, 0xE2, 0x69, 0x8C, 0x04, 0x8B], true, Kind::Plain)]
    #[case(&[], false, Kind::Plain)]
    fn the_opcode_behind_prefixes_counts(#[case] code: &[u8], #[case] long: bool, #[case] expected: Kind) {
        assert_eq!(kind(code, long), expected);
    }
}
