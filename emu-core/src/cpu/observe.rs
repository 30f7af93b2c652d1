//! What somebody who embeds a CPU wants to see of it. With nothing here, nothing is slower for it:
//! [`Cpu::run_observed`](super::Cpu::run_observed) says what each wish costs.

use super::Cpu;
use crate::{
    cpu::Mode,
    microcode::interrupt::Held,
    mmu::{Access, Mmu},
};

/// Longest access that is reported in one piece: an XSAVE area has longer ones, which are cut off.
const LONGEST: usize = 32;

/// A data access of an instruction, or of the CPU on its behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedAccess {
    /// Linear address of the first byte.
    pub linear: u64,
    /// [`Access::Read`] or [`Access::Write`].
    pub access: Access,
    /// Length in bytes.
    pub len: u16,
    bytes: [u8; LONGEST],
}

impl ObservedAccess {
    /// An access to `bytes` at `linear`.
    pub fn new(linear: u64, bytes: &[u8], access: Access) -> Self {
        let mut kept = [0; LONGEST];
        let len = bytes.len().min(LONGEST);
        kept[..len].copy_from_slice(&bytes[..len]);
        ObservedAccess { linear, access, len: bytes.len() as u16, bytes: kept }
    }

    /// What was read or written, little end first; the first 32 bytes of a longer access.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(LONGEST)]
    }

    /// The first eight bytes as a number.
    pub fn value(&self) -> u64 {
        let mut low = [0; 8];
        let len = self.bytes().len().min(8);
        low[..len].copy_from_slice(&self.bytes()[..len]);
        u64::from_le_bytes(low)
    }
}

/// See the module.
#[derive(Default)]
pub struct Observe {
    /// Linear ranges, first to last, before whose instructions the CPU pauses. Who changes it calls
    /// [`Cpu::observation_changed`].
    pub code: Vec<(u64, u64)>,
    /// Interrupts and exceptions are held back before they are delivered.
    pub events: bool,
    /// RIP of the instruction after which its block was left in the middle, or by a routine.
    pub(crate) last: u64,
    /// Linear address of an instruction that is executed although it is in a range of `code`.
    pub(crate) passing: Option<u64>,
    /// An event that was held back.
    pub(crate) held: Option<Held>,
    /// The next delivery is not held back.
    pub(crate) deliver: bool,
    /// Accesses to ranges that the MMU was told of, by the instruction just executed.
    pub(crate) accesses: Vec<ObservedAccess>,
}

impl Observe {
    /// Whether the CPU pauses before the instruction at `linear`.
    pub fn wants(&self, linear: u64) -> bool {
        self.code.iter().any(|&(first, last)| first <= linear && linear <= last)
    }

    /// Whether it pauses anywhere in the page of `linear`.
    #[inline]
    pub(crate) fn wants_page(&self, linear: u64) -> bool {
        !self.code.is_empty()
            && self
                .code
                .iter()
                .any(|&(first, last)| first >> 12 <= linear >> 12 && linear >> 12 <= last >> 12)
    }

    /// `mode` as blocks in the page of `linear` are decoded for.
    #[inline]
    pub(crate) fn mode_at(&self, linear: u64, mode: Mode) -> Mode {
        if !mode.is_stepping() && self.wants_page(linear) { mode.observed() } else { mode }
    }
}

impl Mmu {
    /// Whether an embedder wants to see an access of `len` bytes at `linear`.
    #[inline]
    pub(crate) fn observes(&self, linear: u64, len: u64) -> bool {
        let end = linear.saturating_add(len - 1);
        self.observed.iter().any(|&(first, last)| first <= end && linear <= last)
    }
}

impl Cpu {
    /// [`Observe::code`] has changed: forgets decoded blocks. Not from inside a device's callback.
    pub fn observation_changed(&mut self) {
        self.forget_code();
    }

    /// Whether somebody wants to see what it does. Such a CPU executes in software, by
    /// [`run_observed`](Self::run_observed): a host processor could not tell.
    pub fn is_observed(&self) -> bool {
        self.observe.events || !self.observe.code.is_empty() || !self.mmu.observed.is_empty()
    }

    /// The linear ranges, first to last, whose data accesses are reported.
    pub fn observed_accesses(&self) -> &[(u64, u64)] {
        &self.mmu.observed
    }

    /// Replaces the linear ranges, first to last, whose data accesses are reported.
    pub fn observe_accesses(&mut self, ranges: Vec<(u64, u64)>) {
        self.mmu.observed = ranges;
        self.mmu.flush_all();
    }

    #[cold]
    pub(crate) fn note_access(&mut self, linear: u64, bytes: &[u8], access: Access) {
        self.observe.accesses.push(ObservedAccess::new(linear, bytes, access));
        self.leave_block = true;
    }
}
