//! Where translated code finds things in [`Cpu`], and what it can call.
//!
//! Translated code gets a pointer to the CPU. It may read and write the registers, flags and `rip`, and decrease
//! `budget`; it reads the TLB, and may call [`fill`](super::fill::fill) for what it does not find there. It may call
//! [`exact`] with everything it holds stored to the CPU, and must load it again afterwards.

use super::{
    NoPage,
    fill::Request,
    ways::{Door, FarLink},
};
use crate::{
    arch::Segment,
    cpu::{Cpu, LazyFlags},
    decode::Insn,
    interp::{BlockCache, Hot, Instance, JumpEntry, Jumps, exact_within_region},
    mmu::{Links, Mmu, TLB_ENTRIES, TlbEntry},
    state::{Extended, Segments, Simd, X87},
};
use std::mem::{offset_of, size_of};

/// The register file: slot `n` is 8 bytes at `REGS + 8 * n`.
pub const REGS: usize = offset_of!(Cpu, regs);
/// Result word of the lazy flags.
pub const FLAGS_RESULT: usize = offset_of!(Cpu, flags) + offset_of!(LazyFlags, result);
/// Auxiliary word of the lazy flags.
pub const FLAGS_AUX: usize = offset_of!(Cpu, flags) + offset_of!(LazyFlags, aux);
/// What the words of the flags are (32 bits): [`SETTLED`](crate::semantics::integer::deferred::SETTLED), or a packed
/// [`Deferred`](crate::semantics::integer::deferred::Deferred). Only a region that is a handler may defer them, and
/// what it goes on to must be another one, or one of [`handlers`].
pub const DEFERRED: usize = offset_of!(Cpu, deferred);
/// Instructions left until the run loop looks around (64 bits, signed).
pub const BUDGET: usize = offset_of!(Cpu, budget);
/// RIP.
pub const RIP: usize = offset_of!(Cpu, rip);
/// RFLAGS without the arithmetic flags (32 bits).
pub const EFLAGS: usize = offset_of!(Cpu, eflags);
/// Pointer to the word that the budget must not be less than (64 bits, signed): zero, or, when the run loop has something
/// to do, more than any budget (then its lower half is not zero either).
pub const ATTENTION: usize = offset_of!(Cpu, attention);
/// Linear address that [`fill_requested`](super::fill) is asked for.
pub const FILL_LINEAR: usize = offset_of!(Cpu, fill) + offset_of!(Request, linear);
/// What else it must know.
pub const FILL_WANTED: usize = offset_of!(Cpu, fill) + offset_of!(Request, wanted);
/// What the last call of [`fill`](super::fill::fill) has come to (64 bits).
pub const FILLED: usize = offset_of!(Cpu, filled);
/// Tag that matches nothing, for code that remembers the tags of TLB entries.
pub const NO_PAGE_TAG: usize = offset_of!(Cpu, no_page) + offset_of!(NoPage, tag);
/// The addend that goes with it.
pub const NO_PAGE_ADDEND: usize = offset_of!(Cpu, no_page) + offset_of!(NoPage, addend);
/// Pointer to the first entry of the TLB for data accesses.
pub const TLB: usize = offset_of!(Cpu, mmu) + Mmu::CURRENT;
/// Vector register `n`, lane `l`: 16 bytes at `VECTOR + 32 * n + 16 * l`.
pub const VECTOR: usize = offset_of!(Cpu, simd) + offset_of!(Simd, vector);
/// Status word of the x87 (16 bits), without TOP.
pub const X87_STATUS: usize = offset_of!(Cpu, x87) + offset_of!(X87, fsw);
/// Bit of the status word: an unmasked exception is pending.
pub const X87_STATUS_ES: u64 = 1 << 7;
/// TOP of the x87 (8 bits).
pub const X87_TOP: usize = offset_of!(Cpu, x87) + offset_of!(X87, top);
/// The tags of the x87 (8 bits): all ones if no register is empty.
pub const X87_VALID: usize = offset_of!(Cpu, x87) + offset_of!(X87, valid);

/// Instruction pointer of the x87 (64 bits).
pub const X87_FIP: usize = offset_of!(Cpu, x87) + offset_of!(X87, fip);
/// Its code selector (16 bits).
pub const X87_FCS: usize = offset_of!(Cpu, x87) + offset_of!(X87, fcs);
/// Its operand pointer (64 bits).
pub const X87_FDP: usize = offset_of!(Cpu, x87) + offset_of!(X87, fdp);
/// Its operand selector (16 bits).
pub const X87_FDS: usize = offset_of!(Cpu, x87) + offset_of!(X87, fds);

/// Selector of segment register `seg` (16 bits).
pub const fn selector(seg: usize) -> usize {
    offset_of!(Cpu, segments)
        + offset_of!(Segments, data)
        + seg * size_of::<Segment>()
        + offset_of!(Segment, selector)
}

/// Significand of physical x87 register `n`, which is MMX register `n`.
pub const fn mmx(n: usize) -> usize {
    offset_of!(Cpu, x87) + offset_of!(X87, r) + n * size_of::<Extended>() + offset_of!(Extended, significand)
}
/// Sign and exponent of physical x87 register `n` (16 bits).
pub const fn mmx_exponent(n: usize) -> usize {
    offset_of!(Cpu, x87)
        + offset_of!(X87, r)
        + n * size_of::<Extended>()
        + offset_of!(Extended, sign_exponent)
}

/// One entry of the TLB: see [`TlbEntry`]. The access of `size` bytes at `linear` may be done directly, at host
/// address `linear + addend`, exactly if `linear - tag <= 4096 - size`.
pub mod tlb {
    use super::{TlbEntry, offset_of};
    /// Bytes per entry.
    pub const ENTRY: usize = size_of::<TlbEntry>();
    /// Tag for reads.
    pub const READ: usize = offset_of!(TlbEntry, read);
    /// Tag for writes.
    pub const WRITE: usize = offset_of!(TlbEntry, write);
    /// Host address minus linear address.
    pub const ADDEND: usize = offset_of!(TlbEntry, addend);
    /// Number of entries, a power of two.
    pub const ENTRIES: usize = super::TLB_ENTRIES;
    /// The index of a linear address is the low bits of `linear >> 12 ^ linear >> FOLD`.
    pub const FOLD: u32 = crate::mmu::TLB_FOLD;
}

/// Instruction: its handler.
pub const HANDLER: usize = offset_of!(Insn, handler);
/// Entry of a block: address of this CPU's instance of the region.
pub const INSTANCE: usize = offset_of!(Insn, imm);
/// Instance: pointer to this CPU's instruction for every point.
pub const INSTANCE_POINTS: usize = offset_of!(Instance, points);
/// Instance: pointer to the entry of the block that it begins with.
pub const INSTANCE_ENTRY: usize = offset_of!(Instance, entry);
/// Instance: its near links, [`NEAR`] of them, each the address of a [`Door`].
pub const INSTANCE_NEAR: usize = offset_of!(Instance, near);
/// Instance of a region that is called: the function.
pub const INSTANCE_CALLED: usize = offset_of!(Instance, called);
/// It takes nothing for granted (8 bits, 0 or 1), in which case the next four need not be looked at.
pub const INSTANCE_FREE: usize = offset_of!(Instance, free);
/// It has one page (8 bits, 0 or 1). If not, the next two must be good.
pub const INSTANCE_ONE_PAGE: usize = offset_of!(Instance, one_page);
/// One of [`STAMPS`] if its pages are where they should be (32 bits),
pub const INSTANCE_STAMP: usize = offset_of!(Instance, placed.0);
/// with that RIP base.
pub const INSTANCE_BASE: usize = offset_of!(Instance, placed.1);
/// It needs the default control bits in [`MXCSR`] (8 bits, 0 or 1).
pub const INSTANCE_DEFAULT_MXCSR: usize = offset_of!(Instance, default_mxcsr);
/// Times that it has left by an indirect branch (32 bits). When its low byte becomes zero, [`handlers::RETURNED`] is to
/// go on.
pub const INSTANCE_STRAYS: usize = offset_of!(Instance, strays.0);
/// MXCSR (32 bits): its control bits, and what they are by default.
pub const MXCSR: usize = offset_of!(Cpu, simd) + offset_of!(Simd, mxcsr);
/// See [`MXCSR`].
pub const MXCSR_CONTROL: u32 = crate::lane::fp::mxcsr::CONTROL;
/// See [`MXCSR`].
pub const MXCSR_DEFAULT: u32 = crate::lane::fp::mxcsr::DEFAULT;
/// As many as there is room for next to the door.
pub const NEAR: usize = 5;
/// Instance: pointer to its far links, each a [`FarLink`].
pub const INSTANCE_FAR: usize = offset_of!(Instance, far);
/// Where to tell which instance goes on to [`handlers::UNLINKED`].
pub const LEAVING: usize = offset_of!(Cpu, hot) + Hot::LEAVING;
/// Door: the host code.
pub const DOOR_INSIDE: usize = offset_of!(Door, inside);

/// A far link. If it crosses pages it leads to the region behind `DOOR` if `STAMP` is one of [`STAMPS`] and
/// [`slot::RIP_BASE`](crate::cpu::slot::RIP_BASE) is `FROM_BASE`, which is to become `TO_BASE`.
pub mod far {
    use super::{FarLink, offset_of};
    /// Bytes of one.
    pub const SIZE: usize = size_of::<FarLink>();
    /// Where it leads: the address of a [`Door`](super::Door).
    pub const DOOR: usize = offset_of!(FarLink, door);
    /// RIP base it was made at.
    pub const FROM_BASE: usize = offset_of!(FarLink, from_base);
    /// RIP base it leads to.
    pub const TO_BASE: usize = offset_of!(FarLink, to_base);
    /// How long (32 bits).
    pub const STAMP: usize = offset_of!(FarLink, stamp);
}

/// Instance: what is left until a better translation is asked for, by [`handlers::HEAT`] (64 bits, signed), in
/// instructions that it would execute for the guest. It goes down by [`ENTRY`] when the region is entered, and by
/// [`PASSAGE`] at every passage of a loop within it; or by [`IN_FULL`] both times, if the region has instructions that
/// a better translation does far better.
pub const INSTANCE_LEFT: usize = offset_of!(Instance, door) + offset_of!(Door, left);
/// See [`INSTANCE_LEFT`]. Entering and leaving better translations costs more, and so they are worth it for loops.
pub const ENTRY: i8 = 1;
/// See [`INSTANCE_LEFT`].
pub const PASSAGE: i8 = 4;
/// See [`INSTANCE_LEFT`]: as many as a passage has, about.
pub const IN_FULL: i8 = 16;
/// The stamps that are current: of pages that are not global, and of global ones (32 bits each).
pub const STAMPS: [usize; 2] =
    [offset_of!(Cpu, mmu) + Mmu::LINKS + Links::LOCAL, offset_of!(Cpu, mmu) + Mmu::LINKS + Links::GLOBAL];

/// What the mode is (32 bits).
pub const MODE: usize = offset_of!(Cpu, mode);

/// The cache for indirect branches: `ENTRIES` of `SIZE` bytes, found by the low bits of `rip ^ rip >> FOLD`.
/// An entry leads to the region behind `DOOR`, with `RIP_BASE` as the RIP base, if that is not null, `RIP` and [`MODE`]
/// agree, and `STAMP` is one of [`STAMPS`].
pub mod jumps {
    use super::{BlockCache, Cpu, JumpEntry, Jumps, offset_of};
    /// Pointer to the first entry.
    pub const TABLE: usize = offset_of!(Cpu, blocks) + BlockCache::JUMPS + Jumps::TABLE;
    /// Number of entries, a power of two.
    pub const ENTRIES: usize = Jumps::ENTRIES;
    /// See above.
    pub const FOLD: u32 = Jumps::FOLD;
    /// Bytes of an entry.
    pub const SIZE: usize = size_of::<JumpEntry>();
    /// RIP.
    pub const RIP: usize = offset_of!(JumpEntry, rip);
    /// RIP base there.
    pub const RIP_BASE: usize = offset_of!(JumpEntry, rip_base);
    /// Where it leads: the address of a [`Door`](super::Door).
    pub const DOOR: usize = offset_of!(JumpEntry, door);
    /// Mode (32 bits).
    pub const MODE: usize = offset_of!(JumpEntry, mode);
    /// How long (32 bits).
    pub const STAMP: usize = offset_of!(JumpEntry, stamp);
}

/// What a region that is a handler goes on to, with the CPU, an instruction, and everything stored.
pub mod handlers {
    use crate::{decode::Handler, interp};
    /// With any instruction, to go on there.
    pub const AT: Handler = interp::at;
    /// With the entry of a region that is called, which translated code cannot enter now.
    pub const REGION: Handler = interp::enter_region;
    /// With its entry: `INSTANCE_LEFT` has become negative.
    pub const HEAT: Handler = interp::heat;
    /// With the address of a link in place of an instruction, after its branch, and the instance in [`super::LEAVING`]:
    /// the link leads nowhere, or the budget is used up. The instructions of the block have been taken from it.
    pub const UNLINKED: Handler = interp::unlinked;
    /// With what a region that was called has returned in place of an instruction, and the instance in
    /// [`super::LEAVING`]: there is more to do than to go on.
    pub const RETURNED: Handler = interp::returned;
    /// With an indirect branch, after it: to what is in RIP. The instructions of the block have been taken from the
    /// budget.
    pub const INDIRECT: Handler = interp::indirect;
    /// With the instruction to go on at: the run loop has something to do.
    pub const LOOK_AROUND: Handler = interp::look_around;
}

/// Makes flags that were deferred: [`DEFERRED`] says so afterwards. Nothing else changes.
///
/// # Safety
/// `cpu` is what the region's host code was given, and its flags are stored.
pub unsafe extern "C" fn settle(cpu: *mut Cpu) {
    // SAFETY: the caller's promise; host code holds no reference to the CPU.
    unsafe { (*cpu).settle_flags() }
}

/// What [`exact`] returns if the region goes on with the next instruction; else it leaves by
/// [`exit::CODE`](super::exit::CODE).
pub const GO_ON: u64 = u32::MAX as u64;

/// Executes one instruction of a region exactly. It is not a branch.
///
/// # Safety
/// `cpu` and `i` are what the region's host code was given, all that it holds is stored to the CPU, and what it
/// held is loaded anew afterwards.
pub unsafe extern "C" fn exact(cpu: *mut Cpu, i: *const Insn) -> u64 {
    // SAFETY: the caller's promise; host code holds no reference to the CPU.
    unsafe { exact_within_region(&mut *cpu, i) }
}
