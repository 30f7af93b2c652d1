//! Base address registers. PCI 3.0, 6.2.5.1.

/// What a base address register maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes the next register too.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

impl BarKind {
    /// The read-only low bits.
    pub(super) fn flags(self) -> u32 {
        match self {
            BarKind::Io => 0b0001,
            BarKind::Memory32 => 0b0000,
            BarKind::Memory64 { prefetchable: false } => 0b0100,
            BarKind::Memory64 { prefetchable: true } => 0b1100,
        }
    }

    /// The low bits that are no address.
    pub(super) fn flag_mask(self) -> u32 {
        if self == BarKind::Io { 0b0011 } else { 0b1111 }
    }

    /// The smallest size the register can express.
    pub(super) fn smallest(self) -> u64 {
        u64::from(self.flag_mask()) + 1
    }
}

/// One base address register of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// What it maps.
    pub kind: BarKind,
    /// How much: a power of two.
    pub size: u64,
}

/// Where a base address register maps to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarWindow {
    /// What is mapped.
    pub kind: BarKind,
    /// First port or address.
    pub base: u64,
    /// Length.
    pub size: u64,
}
