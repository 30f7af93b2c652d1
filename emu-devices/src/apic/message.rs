//! Interrupt messages: what travels between I/O APICs, MSI-capable devices and local APICs.
//!
//! SDM vol. 3, 11.6 (destinations), 11.11 (MSI format).

/// Destination of a message to every local APIC.
pub const BROADCAST: u32 = u32::MAX;

/// How a message acts on the processor that takes it. The numbers are those of ICR, LVT, RTE and MSI data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The vector, at every destination.
    Fixed = 0,
    /// The vector, at the destination that runs at the lowest priority.
    LowestPriority = 1,
    /// System management interrupt.
    Smi = 2,
    /// Non-maskable interrupt.
    Nmi = 4,
    /// INIT reset.
    Init = 5,
    /// Start-up: the vector is the page to start at.
    StartUp = 6,
    /// External: the vector comes from the 8259.
    ExtInt = 7,
}

impl DeliveryMode {
    /// From the three-bit field; `None` for the reserved encoding.
    pub fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::ExtInt,
            _ => return None,
        })
    }

    /// Whether the message carries a vector that must be a legal one.
    pub fn has_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The local APIC with this ID, or [`BROADCAST`].
    Physical(u32),
    /// Every local APIC whose logical address matches this set, or [`BROADCAST`].
    Logical(u32),
}

impl Destination {
    /// From the eight-bit field of xAPIC ICR, I/O APIC and MSI, where 0xFF is everybody.
    pub fn from_byte(byte: u8, logical: bool) -> Self {
        let id = if byte == 0xFF { BROADCAST } else { byte.into() };
        if logical { Self::Logical(id) } else { Self::Physical(id) }
    }
}

/// One interrupt message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Whom it is for.
    pub destination: Destination,
    /// What it does.
    pub mode: DeliveryMode,
    /// Its vector, where the mode has one.
    pub vector: u8,
    /// Level-triggered: its EOI is broadcast to the I/O APICs.
    pub level: bool,
}

impl Message {
    /// A write of `data` to `address` in the interrupt range. `None` if it is no legal message.
    ///
    /// The destination mode bit counts whatever the redirection hint says: processors do so and Linux relies on
    /// it. The hint itself adds nothing to the delivery mode.
    pub fn from_msi(address: u64, data: u32) -> Option<Self> {
        if address >> 20 != 0xFEE {
            return None;
        }
        let mode = DeliveryMode::from_bits(data >> 8).filter(|mode| *mode != DeliveryMode::StartUp)?;
        Some(Message {
            destination: Destination::from_byte((address >> 12) as u8, address & 1 << 2 != 0),
            mode,
            vector: data as u8,
            level: data & 1 << 15 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::physical(0xFEE0_3000, 0x0041, Destination::Physical(3), DeliveryMode::Fixed, 0x41, false)]
    #[case::logical_level(
        0xFEE0_300C,
        0xC141,
        Destination::Logical(3),
        DeliveryMode::LowestPriority,
        0x41,
        true
    )]
    #[case::broadcast(0xFEEF_F000, 0x0400, Destination::Physical(BROADCAST), DeliveryMode::Nmi, 0, false)]
    fn msi_fields_are_where_the_manual_puts_them(
        #[case] address: u64,
        #[case] data: u32,
        #[case] destination: Destination,
        #[case] mode: DeliveryMode,
        #[case] vector: u8,
        #[case] level: bool,
    ) {
        assert_eq!(Message::from_msi(address, data), Some(Message { destination, mode, vector, level }));
    }

    #[rstest]
    #[case::not_interrupt_range(0xFED0_0000, 0x41)]
    #[case::reserved_mode(0xFEE0_0000, 0x0341)]
    #[case::start_up(0xFEE0_0000, 0x0641)]
    #[case::above_4_gib(0x1_FEE0_0000, 0x41)]
    fn what_is_no_message_is_refused(#[case] address: u64, #[case] data: u32) {
        assert_eq!(Message::from_msi(address, data), None);
    }
}
