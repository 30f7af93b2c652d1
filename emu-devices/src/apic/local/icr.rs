//! The interrupt command register. SDM vol. 3, 11.6.1 and 11.12.9.

use super::super::{DeliveryMode, Destination, Message};

/// The destination shorthand of an interrupt command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shorthand {
    /// The destination field counts.
    None,
    /// Every local APIC.
    AllIncludingSelf,
    /// Every local APIC but the sender.
    AllExcludingSelf,
}

/// An interrupt that a vCPU sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipi {
    /// Whom it is for, before the message's destination is looked at.
    pub shorthand: Shorthand,
    /// What is sent.
    pub message: Message,
}

/// What a write to the command register asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// An INIT level de-assert, which processors since the Pentium 4 take without effect, or a combination that
    /// the manual calls invalid.
    Nothing,
    /// The vector is below 16.
    IllegalVector,
    /// A fixed interrupt to the sender.
    Myself(u8),
    /// To send.
    Send(Ipi),
}

/// Bits of the x2APIC command register that must be 0.
pub(super) const X2APIC_RESERVED: u64 = 0xFFF3_3000;

/// Reads a command; `x2apic` says whether its destination has 32 bits or 8.
pub(super) fn decode(icr: u64, x2apic: bool) -> Command {
    let vector = icr as u8;
    let logical = icr & 1 << 11 != 0;
    let (asserted, level) = (icr & 1 << 14 != 0, icr & 1 << 15 != 0);
    let mode = match DeliveryMode::from_bits((icr >> 8) as u32) {
        None | Some(DeliveryMode::ExtInt) => return Command::Nothing,
        Some(DeliveryMode::Init) if level && !asserted => return Command::Nothing,
        Some(mode) => mode,
    };
    if mode.has_vector() && vector < 16 {
        return Command::IllegalVector;
    }
    let shorthand = match icr >> 18 & 3 {
        0 => Shorthand::None,
        1 if mode == DeliveryMode::Fixed => return Command::Myself(vector),
        2 if mode == DeliveryMode::Fixed => Shorthand::AllIncludingSelf,
        3 => Shorthand::AllExcludingSelf,
        _ => return Command::Nothing,
    };
    let field = (icr >> 32) as u32;
    let destination = match (x2apic, logical) {
        (false, _) => Destination::from_byte((field >> 24) as u8, logical),
        (true, false) => Destination::Physical(field),
        (true, true) => Destination::Logical(field),
    };
    // The trigger mode of an IPI other than INIT is ignored: IPIs are edges.
    Command::Send(Ipi { shorthand, message: Message { destination, mode, vector, level: false } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apic::BROADCAST;
    use rstest::rstest;

    fn send(shorthand: Shorthand, destination: Destination, mode: DeliveryMode, vector: u8) -> Command {
        Command::Send(Ipi { shorthand, message: Message { destination, mode, vector, level: false } })
    }

    #[rstest]
    #[case::physical(
        0x0300_0000_0000_0041,
        send(Shorthand::None, Destination::Physical(3), DeliveryMode::Fixed, 0x41)
    )]
    #[case::logical(
        0x0300_0000_0000_0841,
        send(Shorthand::None, Destination::Logical(3), DeliveryMode::Fixed, 0x41)
    )]
    #[case::everybody(
        0xFF00_0000_0000_0400,
        send(Shorthand::None, Destination::Physical(BROADCAST), DeliveryMode::Nmi, 0)
    )]
    #[case::init(
        0x0100_0000_0000_C500,
        send(Shorthand::None, Destination::Physical(1), DeliveryMode::Init, 0)
    )]
    #[case::init_deassert(0x0100_0000_0000_8500, Command::Nothing)]
    #[case::start_up(
        0x0100_0000_0000_0699,
        send(Shorthand::None, Destination::Physical(1), DeliveryMode::StartUp, 0x99)
    )]
    #[case::others(
        0xC_0041,
        send(Shorthand::AllExcludingSelf, Destination::Physical(0), DeliveryMode::Fixed, 0x41)
    )]
    #[case::all(
        0x8_0041,
        send(Shorthand::AllIncludingSelf, Destination::Physical(0), DeliveryMode::Fixed, 0x41)
    )]
    #[case::myself(0x4_0041, Command::Myself(0x41))]
    #[case::init_to_myself(0x4_4500, Command::Nothing)]
    #[case::low_vector(0x0000_000F, Command::IllegalVector)]
    #[case::external(0x0000_0741, Command::Nothing)]
    #[case::reserved_mode(0x0000_0341, Command::Nothing)]
    fn commands_are_read_as_the_manual_says(#[case] icr: u64, #[case] command: Command) {
        assert_eq!(decode(icr, false), command);
    }

    #[test]
    fn an_x2apic_command_has_a_32_bit_destination_and_255_is_nobody_special() {
        let expected = send(Shorthand::None, Destination::Physical(0xFF), DeliveryMode::Fixed, 0x41);
        assert_eq!(decode(0xFF << 32 | 0x41, true), expected);
        let expected = send(Shorthand::None, Destination::Logical(0x0001_8000), DeliveryMode::Fixed, 0x41);
        assert_eq!(decode(0x0001_8000 << 32 | 0x841, true), expected);
    }
}
