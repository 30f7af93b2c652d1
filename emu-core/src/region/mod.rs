//! Regions: the seam between the interpreter and a translator.
//!
//! A *region* is a piece of guest code that is hot: some blocks of one page which lead to each other. The
//! interpreter counts how often blocks are entered (see `interp::hot`), hands a copy of the region to a
//! [`Translator`], and later gets a [`Region`] back: host code with one entry, for the first block, and many
//! exits. From then on whoever enters that block runs the region instead.
//!
//! Host code leaves by returning a number made by [`exit`]. Most exits name a *point*: an instruction of one of
//! the blocks, at which the interpreter goes on. So translated code never needs to do what is rare. It stores the
//! registers as they were before the instruction and leaves there; the interpreter does the rest exactly.
//!
//! What host code may rely on is told in [`layout`].

pub mod fill;
pub mod layout;
mod no_page;
pub mod ways;
pub mod x87;

use crate::{
    cpu::{Cpu, Mode},
    decode::{Handler, Insn},
    engine::VcpuSignal,
};
pub use no_page::NoPage;
use std::{any::Any, fmt, sync::Arc};
use ways::Way;

/// Identity of a block: guest-physical address of its first byte, mode.
pub type BlockKey = (u64, u32);

/// The code of a region as the interpreter has decoded it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Mode of all blocks.
    pub mode: Mode,
    /// RIP at which it was entered when it was found. Only for people: it may be entered at others.
    pub rip: u64,
    /// How much it is worth.
    pub tier: Tier,
    /// Accesses are to be checked one by one, as ranges of them have been in two pages too often.
    pub apart: bool,
    /// The blocks; the first is the one that is entered.
    pub blocks: Vec<SourceBlock>,
}

/// How hot code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Entered often enough to be translated cheaply.
    Warm,
    /// Worth a large region, well translated.
    Hot,
}

/// One block.
#[derive(Debug, Clone)]
pub struct SourceBlock {
    /// Its identity.
    pub key: BlockKey,
    /// Its instructions. The last one is a branch, an instruction that ends its block, or one of no length that
    /// goes on to the next instruction.
    pub insns: Vec<Insn>,
    /// Distance of its page from the first block's, in linear addresses.
    pub page_distance: u64,
    /// It is one instruction that goes on in the next page: that one's guest-physical address.
    pub second_page: Option<u64>,
    /// Where it leads if its branch is (0) not taken, (1) taken.
    pub next: [Next; 2],
    /// Blocks to which its indirect branch has led, or is expected to.
    pub targets: Vec<usize>,
}

impl SourceBlock {
    /// Instructions of the guest in it.
    pub fn count(&self) -> i64 {
        self.insns.iter().filter(|i| i.len != 0).count() as i64
    }

    /// A digest of what it means and where it lies, by which two CPUs know that they decoded the same.
    pub fn digest(&self) -> u64 {
        digest(&self.insns, self.second_page)
    }
}

/// Where a direct branch leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It has not been executed that way: the target is not known to be good.
    Unknown,
    /// To code outside the region.
    Outside,
    /// To block `n` of the region.
    Block(usize),
}

/// An instruction of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point {
    /// Number of its block.
    pub block: u16,
    /// Its number in the block.
    pub insn: u16,
}

/// Host code: a function of the CPU and of this CPU's instruction for every point.
pub type Called = unsafe extern "C" fn(*mut Cpu, *const *const Insn) -> u64;

/// How host code is entered and left.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    /// It is called, and returns an [`exit`].
    Called(Called),
    /// It is a handler itself. It must lie in one page, and must not need MXCSR to be anything.
    Handler(Inlet),
}

/// How host code is entered that is the handler of its block's entry, whose `imm` is the address of the instance
/// ([`layout::INSTANCE_LEFT`] and the like). It leaves by jumping to handlers: of its points, or those in
/// [`layout::handlers`], or by its links to where other such regions are entered with all that they hold in common.
#[derive(Debug, Clone, Copy)]
pub struct Inlet {
    /// For the interpreter.
    pub handler: Handler,
    /// For other regions: the address that its [`ways::Door`] has.
    pub inside: usize,
    /// The address that a door has which leads nowhere: what is there goes on to [`layout::handlers::UNLINKED`]. This and
    /// the rest are the same for all regions of a translator.
    pub unlinked: usize,
    /// The address that the doors of regions have which are called: what is there calls them.
    pub called: usize,
    /// What does that as a handler, for the interpreter.
    pub called_handler: Handler,
}

/// A translated region; the same for all CPUs of a machine.
pub struct Region {
    /// The host code.
    pub entry: Entry,
    /// The blocks it was made from, with a digest of each.
    pub blocks: Vec<(BlockKey, u64)>,
    /// The points that its exits name.
    pub points: Vec<Point>,
    /// The ways on from it that have links.
    pub ways: Vec<Way>,
    /// How well it is translated.
    pub tier: Tier,
    /// Where its other pages must be: distance from the first block's page, guest-physical address.
    pub pages: Vec<(u64, u64)>,
    /// Needs the guest's MXCSR to have the default control bits.
    pub default_mxcsr: bool,
    /// What keeps the host code in place.
    pub code: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({:x?}, {} points)", self.blocks, self.points.len())
    }
}

/// Makes host code. Shared by all CPUs of a machine.
pub trait Translator: Send + Sync + fmt::Debug {
    /// Asks for `source` to be translated on behalf of CPU `vcpu`. The region comes back by
    /// [`take_ready`](Self::take_ready), at once or after `signal` has raised
    /// [`request::TRANSLATED`](crate::engine::request::TRANSLATED), or never. False: there is too much to do, and it may
    /// be asked for again.
    fn request(&self, vcpu: usize, signal: &Arc<VcpuSignal>, source: Source) -> bool;
    /// Regions that are ready for CPU `vcpu`.
    fn take_ready(&self, vcpu: usize) -> Vec<Arc<Region>>;
    /// A region that begins with block `key`, translated for whichever CPU.
    fn find(&self, key: BlockKey) -> Option<Arc<Region>>;
    /// When code is hot.
    fn thresholds(&self) -> Thresholds;
    /// Changes when the memory for host code is running full: then every CPU must let go of regions it has. They are
    /// told by [`request::TRANSLATED`](crate::engine::request::TRANSLATED).
    fn eviction(&self) -> Eviction;
    /// A CPU has let go of regions, and none of those is running any more.
    fn released(&self);
}

/// How often CPUs have been asked to let go of regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Eviction {
    /// Of those that they have not used since they were asked last.
    pub unused: u64,
    /// Of all.
    pub all: u64,
}

/// When code is hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Times that a block is entered before a region that begins with it is translated; at least 1.
    pub warm: u32,
    /// Instructions executed within a region before it is translated again, for [`Tier::Hot`]. 0: it is translated
    /// for that at first; [`Self::NEVER`]: it is not.
    pub hot: u32,
}

impl Thresholds {
    /// No region gets as hot as that.
    pub const NEVER: u32 = u32::MAX;
}

/// What host code returns: a kind, and the number of a point.
pub mod exit {
    /// Go on in the interpreter at the point.
    pub const AT: u64 = 0;
    /// Go on behind a direct branch: in place of the point's number is that of a [way](super::Region::ways), which has
    /// the point. The instructions of the block have been taken from the budget.
    pub const WAY: u64 = 1;
    /// The indirect branch at the point was taken, to what is in `cpu.rip`. The instructions of the block have been taken
    /// from the budget.
    pub const INDIRECT: u64 = 2;
    /// Return to the run loop; go on at the point.
    pub const LOOK_AROUND: u64 = 3;
    /// Return to the run loop with the code in place of the point's number, from [`super::layout::exact`].
    pub const CODE: u64 = 4;

    /// An exit.
    pub const fn pack(kind: u64, number: u64) -> u64 {
        number << 3 | kind
    }
    /// Its kind and number.
    pub const fn unpack(exit: u64) -> (u64, usize) {
        (exit & 7, (exit >> 3) as usize)
    }
}

impl Source {
    /// The pages that it lies in, beside the first block's: distance, guest-physical address.
    pub fn other_pages(&self) -> Vec<(u64, u64)> {
        let first = |block: &SourceBlock| (block.page_distance, block.key.0 & !0xFFF);
        let second = |block: &SourceBlock| {
            block.second_page.map(|page| (block.page_distance.wrapping_add(0x1000), page))
        };
        let pages = self.blocks.iter().flat_map(|block| [Some(first(block)), second(block)]);
        let mut pages: Vec<(u64, u64)> = pages.flatten().filter(|(distance, _)| *distance != 0).collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
}

/// See [`SourceBlock::digest`].
pub fn digest(insns: &[Insn], second_page: Option<u64>) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    second_page.hash(&mut hasher);
    for i in insns {
        let Insn {
            handler: _,
            imm,
            disp,
            row,
            off,
            base,
            index,
            scale,
            seg,
            kind,
            reg,
            width,
            asize,
            len,
            flags,
            mem_size,
            imm2,
        } = *i;
        (imm, disp, row, off, base, index, scale, seg).hash(&mut hasher);
        (kind.map(|kind| kind as u8), reg, width.map(|w| w as u8), asize as u8).hash(&mut hasher);
        (len, flags, mem_size, imm2).hash(&mut hasher);
    }
    hasher.finish()
}
