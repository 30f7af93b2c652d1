//! How long a run lasts, and why it ended.

use emu_core::{microcode::interrupt::EventKind, mmu::Access};

/// How long to run. Both bounds may be given; the first that is met ends the run.
///
/// ```
/// use emu_harness::sandbox::Until;
/// let until = Until::address(0x40_1000).count(1_000_000);
/// # let _ = until;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Until {
    pub(super) address: Option<u64>,
    pub(super) count: Option<u64>,
}

impl Until {
    /// As long as nothing else ends it.
    pub fn forever() -> Self {
        Until::default()
    }

    /// Until the instruction at this linear address would be next. Where the run begins does not count.
    pub fn address(address: u64) -> Self {
        Until { address: Some(address), count: None }
    }

    /// Until so many instructions have been executed.
    pub fn instructions(count: u64) -> Self {
        Until { address: None, count: Some(count) }
    }

    /// The same, but at most so many instructions: a deadline that does not depend on the host.
    #[must_use]
    pub fn count(self, count: u64) -> Self {
        Until { count: Some(count), ..self }
    }
}

/// Why a run ended. RIP is the next instruction's unless it is said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The address of [`Until::address`] is reached.
    Reached,
    /// The instructions of [`Until::count`] have been executed.
    Limit,
    /// A hook, a device or another thread asked for it.
    Stopped,
    /// An exception that nobody took: neither a hook nor, by [`Delivery`], the guest. RIP is the faulting
    /// instruction's.
    Exception {
        /// Vector.
        vector: u8,
        /// Error code, if the exception has one.
        error_code: Option<u32>,
        /// Of a page fault the linear address, which CR2 holds.
        cr2: Option<u64>,
    },
    /// INT n, INT3, INTO or INT1, which nobody took. RIP is the next instruction's.
    Interrupt {
        /// Vector.
        vector: u8,
    },
    /// An access to memory that is not mapped, or (without the sandbox's own paging) not so. RIP is the
    /// instruction's: it can be run again.
    Unmapped(Unmapped),
    /// HLT, and no interrupt is pending that would end it.
    Halted,
    /// A triple fault.
    Shutdown,
}

/// An access to memory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmapped {
    /// Linear address of the first byte that cannot be accessed. (It is the physical address without paging.)
    pub address: u64,
    /// What was wanted.
    pub access: Access,
    /// Something is mapped, but does not allow this access.
    pub protected: bool,
}

/// An interrupt or exception before it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Vector.
    pub vector: u8,
    /// Error code.
    pub error_code: Option<u32>,
    /// Of a page fault, the linear address.
    pub cr2: Option<u64>,
    /// Whether it is a fault, a trap, an instruction's or from outside.
    pub kind: EventKind,
}

/// What a hook on events wants to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Whatever the next hook says, or [`Delivery`] if there is none.
    Pass,
    /// Delivered as the processor does it: through the guest's IDT.
    Deliver,
    /// The run ends.
    Stop,
    /// Nothing is delivered. Execution goes on at RIP, which the hook may have set: of a fault it is the
    /// faulting instruction's, of INT n the next one's.
    Swallow,
}

/// What a hook on unmapped memory has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing: the next hook is asked. If there is none, it is a page fault (with the sandbox's own paging
    /// and [`Delivery::ToGuest`]), or the run ends.
    Pass,
    /// There is memory now: the instruction is executed again.
    Retry,
}

/// Who gets exceptions and software interrupts that no hook takes. External interrupts always go to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// The caller: the run ends. For code without an operating system under it.
    #[default]
    ToCaller,
    /// The guest's IDT. For kernels.
    ToGuest,
}
