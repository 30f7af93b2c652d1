//! [`Translator`]: the emitter that appends Cranelift IR.
//!
//! General-purpose and vector registers, flags and the budget are variables of the function, which live in host
//! registers as long as the region does. MMX and x87 state is in the CPU's memory, or that of the x87 in the host's x87
//! (see [`x87`]).
//!
//! Whatever is rare leaves the region at the instruction, as it was before it ([`Translator::leave_if`]): the
//! interpreter does it. That is right because an instruction commits nothing before its last access.

mod arithmetic;
mod exact;
mod exits;
mod flags;
mod floats;
mod flow;
mod integers;
mod lanes;
mod memory;
pub mod opaque;
mod order;
mod pages;
mod places;
mod ranges;
mod registers;
mod spaces;
mod variables;
mod vectors;
pub mod x87;

use crate::host::{Host, Target};
use cranelift_codegen::ir::{
    AbiParam, Block, InstBuilder, SigRef, Signature, Value,
    condcodes::{FloatCC, IntCC},
    types::{I8X16, I64},
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::{
    cpu::{Mode, slot},
    decode::Insn,
    region::{Point, SourceBlock, layout},
    semantics::{FlagSource, Types},
};
use exits::Exits;
use flags::Pending;
use lanes::Lanes;
use opaque::Opaque;
use pages::Pages;
use ranges::Range;
use spaces::Spaces;
pub use variables::{BUDGET, FLAGS, Known, lane_bit};
use variables::{GPRS, LANES, lane_number};
use x87::Resident;

/// A truth value: a comparison that is emitted where it is used.
#[derive(Debug, Clone, Copy)]
pub enum Cond {
    /// Known now.
    Known(bool),
    /// `a <cc> b`.
    Compare(IntCC, Value, Value),
    /// `a <cc> b`, of floating-point numbers, not signalling quiet NaNs.
    Order(FloatCC, Value, Value),
}

/// What is left to a [`Translator::Fault`]: nothing, as faults leave by side exits. An instruction that always
/// faults says so.
#[derive(Debug, Clone, Copy)]
pub struct Faults;

/// Where a block's branch leads.
#[derive(Debug, Clone, Copy)]
pub enum Branch {
    /// To its target if the condition holds, else to the next instruction.
    If(Cond),
    /// To a computed RIP.
    To(Value),
}

/// Signature of [`fill_requested`](emu_core::region::fill).
fn fill_signature() -> Signature {
    let mut signature = Signature::new(CallConv::PreserveAll);
    signature.params = vec![AbiParam::new(I64)];
    signature
}

/// See the module.
pub struct Translator {
    /// Not really static: see [`Translator::new`].
    pub builder: &'static mut FunctionBuilder<'static>,
    pub(crate) spaces: Spaces,
    pub(crate) cpu: Value,
    points: Value,
    /// Of the first block's page.
    first_base: Value,
    page_distance: u64,
    /// Instructions in this block.
    block_count: i64,
    known_target: bool,
    tlb: Value,
    gprs: [Variable; GPRS],
    lanes: [Variable; LANES],
    result: Variable,
    aux: Variable,
    /// What the flags come from, where blocks expect that instead.
    sources: [Variable; 2],
    /// The flags have not been made of it yet.
    pending: Option<Pending>,
    budget: Variable,
    /// Which variables may differ from the CPU's memory.
    pub dirty: u64,
    /// Values of variables, by number, where they are known in this block.
    values: Vec<Option<Value>>,
    /// Which variables exist in this region.
    used: u64,
    mode: Mode,
    at: Point,
    pub(crate) exits: Exits,
    /// What the instruction has decided about where to go.
    pub branch: Option<Branch>,
    flag_source: Option<FlagSource<Value>>,
    known: Lanes,
    /// Floating-point operations.
    pub opaque: Opaque,
    /// The guest's x87 state, if the host's x87 has it.
    x87: Option<Resident>,
    /// Every access is checked by itself.
    apart: bool,
    /// Ranges of addresses that this block has checked.
    ranges: Vec<Range>,
    pages: Pages,
    /// Whether host floating-point instructions have been emitted.
    pub floating_point: bool,
    exact_signature: SigRef,
    /// Of what fills the TLB and preserves all registers, where there is such a thing.
    fill_signature: Option<SigRef>,
    target: Target,
}

impl Types for Translator {
    type Value = Value;
    type Cond = Cond;
    type Lane = Value;
}

impl Translator {
    /// An emitter into `builder`, in the function's first block, whose parameters are the CPU and the points.
    /// The function is for `host`; `used` are the variables that the region's instructions touch.
    ///
    /// # Safety
    /// The translator must not be used after `builder` is gone. (The opcode table holds functions of one emitter
    /// type, which therefore cannot have a lifetime.)
    pub unsafe fn new(
        builder: &mut FunctionBuilder<'_>,
        host: &Host,
        entry: Block,
        mode: Mode,
        used: u64,
    ) -> Self {
        // SAFETY: the caller's promise; the lifetime parameter is of references that the builder holds, which
        // outlive it.
        let builder: &'static mut FunctionBuilder<'static> =
            unsafe { &mut *std::ptr::from_mut(builder).cast() };
        let spaces = Spaces::new(builder);
        let (cpu, points) = (builder.block_params(entry)[0], builder.block_params(entry)[1]);
        let load = |builder: &mut FunctionBuilder<'static>, at: usize| {
            builder.ins().load(I64, spaces.cpu, cpu, at as i32)
        };
        let first_base = load(builder, layout::REGS + 8 * usize::from(slot::RIP_BASE));
        let tlb = load(builder, layout::TLB);
        let gprs = std::array::from_fn(|_| builder.declare_var(I64));
        let lanes = std::array::from_fn(|_| builder.declare_var(I8X16));
        let (result, aux) = (builder.declare_var(I64), builder.declare_var(I64));
        let sources = std::array::from_fn(|_| builder.declare_var(I64));
        let budget = builder.declare_var(I64);
        let pages = Pages::new(builder);
        let exact_signature = builder.import_signature(host.exact_signature());
        let target = host.target();
        let fill_signature = target.x86.then(|| builder.import_signature(fill_signature()));
        let mut translator = Translator {
            builder,
            spaces,
            cpu,
            points,
            first_base,
            page_distance: 0,
            block_count: 0,
            known_target: false,
            tlb,
            gprs,
            lanes,
            result,
            aux,
            sources,
            pending: None,
            budget,
            dirty: 0,
            values: Vec::new(),
            used: used | BUDGET,
            mode,
            at: Point { block: 0, insn: 0 },
            exits: Exits::default(),
            branch: None,
            flag_source: None,
            known: Lanes::default(),
            opaque: Opaque::default(),
            x87: None,
            apart: false,
            ranges: Vec::new(),
            pages,
            floating_point: false,
            exact_signature,
            fill_signature,
            target,
        };
        translator.load_all();
        translator.forget_pages();
        translator
    }

    /// This emitter, checking every access by itself.
    pub fn apart(self) -> Self {
        Translator { apart: true, ..self }
    }

    /// Begins the instruction `at`.
    pub fn begin(&mut self, at: Point) {
        self.at = at;
        self.branch = None;
        self.exits.begin();
    }

    /// Begins a block, whose predecessors leave `dirty` behind.
    ///
    /// `known`: its branch leads to a block of the region.
    pub fn begin_block(&mut self, dirty: u64, source: &SourceBlock, known: bool) {
        self.dirty = dirty;
        self.page_distance = source.page_distance;
        self.block_count = source.count();
        self.known_target = known;
        self.ranges.clear();
        self.values.clear();
        self.flag_source = None;
        self.pending = None;
    }

    /// The mode that the region was decoded for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the region's code can reach the memory operand of `i` without a check of segments.
    pub fn is_flat(mode: Mode, i: &Insn) -> bool {
        mode.is_flat(usize::from(i.seg))
    }
}
