//! Exceptions: vectors, error codes. SDM vol. 3, ch. 6.

use bitflags::bitflags;

/// Vectors of the architecture's exceptions.
pub mod vector {
    #![expect(missing_docs, reason = "the manual's mnemonics")]
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

bitflags! {
    /// Error code of #PF. SDM vol. 3, 4.7.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PageFaultCode: u32 {
        /// The page was present: a protection violation.
        const PRESENT = 1 << 0;
        /// The access was a write.
        const WRITE = 1 << 1;
        /// The access was from CPL 3 (and not an implicit supervisor access).
        const USER = 1 << 2;
        /// A reserved bit was set in a paging structure.
        const RESERVED = 1 << 3;
        /// The access was an instruction fetch (reported with NX or SMEP enabled).
        const FETCH = 1 << 4;
        /// Protection key violation.
        const KEY = 1 << 5;
    }
}

/// An exception that an instruction raises as a fault: the instruction has changed nothing.
///
/// `Restart` is not an exception of the architecture: the instruction has done part of its work (a repeated
/// string instruction), its registers say how much, and it is to be begun again after pending interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// Vector without an error code.
    Plain(u8),
    /// Vector with an error code.
    Code(u8, u32),
    /// #PF: error code, and the linear address for CR2.
    Page(PageFaultCode, u64),
    /// #DB as a fault or trap; DR6 bits to set.
    Debug(u64),
    /// Begin the instruction again once requests have been served.
    Restart,
}

impl Exception {
    /// #DE.
    pub const DE: Exception = Exception::Plain(vector::DE);
    /// #BR.
    pub const BR: Exception = Exception::Plain(vector::BR);
    /// #UD.
    pub const UD: Exception = Exception::Plain(vector::UD);
    /// #NM.
    pub const NM: Exception = Exception::Plain(vector::NM);
    /// #GP(0).
    pub const GP0: Exception = Exception::Code(vector::GP, 0);
    /// #SS(0).
    pub const SS0: Exception = Exception::Code(vector::SS, 0);
    /// #MF.
    pub const MF: Exception = Exception::Plain(vector::MF);
    /// #XM.
    pub const XM: Exception = Exception::Plain(vector::XM);
    /// #AC(0).
    pub const AC0: Exception = Exception::Code(vector::AC, 0);

    /// #GP with a selector error code (RPL bits dropped).
    pub const fn gp(selector: u16) -> Self {
        Exception::Code(vector::GP, selector as u32 & 0xFFFC)
    }
    /// #NP with a selector error code.
    pub const fn np(selector: u16) -> Self {
        Exception::Code(vector::NP, selector as u32 & 0xFFFC)
    }
    /// #SS with a selector error code.
    pub const fn ss(selector: u16) -> Self {
        Exception::Code(vector::SS, selector as u32 & 0xFFFC)
    }
    /// #TS with a selector error code.
    pub const fn ts(selector: u16) -> Self {
        Exception::Code(vector::TS, selector as u32 & 0xFFFC)
    }
}
