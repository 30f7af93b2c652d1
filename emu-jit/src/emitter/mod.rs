//! [`Translator`]: the emitter that appends Cranelift IR.
//!
//! General-purpose and vector registers, flags and the budget are variables of the function, which live in host
//! registers as long as the region does. MMX and x87 state is in the CPU's memory, or that of the x87 in the host's x87
//! (see [`x87`]).
//!
//! Whatever is rare leaves the region at the instruction, as it was before it ([`Translator::leave_if`]): the
//! interpreter does it. That is right because an instruction commits nothing before its last access.

mod arithmetic;
mod exits;
mod flags;
mod floats;
mod flow;
mod integers;
mod lanes;
mod memory;
pub mod opaque;
mod pages;
mod ranges;
mod registers;
mod vectors;
pub mod x87;

use cranelift_codegen::ir::{
    AbiParam, AliasRegion, AliasRegionData, Block, InstBuilder, MemFlagsData, SigRef, Signature, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{I8X16, I64},
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::{
    arch::Width,
    cpu::{Mode, slot},
    decode::Insn,
    region::{Point, SourceBlock, layout},
    semantics::{Arithmetic, FlagSource, Types},
};
use exits::Exits;
use flags::Pending;
use lanes::Lanes;
use opaque::Opaque;
use pages::Pages;
use ranges::Range;
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

/// What an emitter knows at a place: see [`Translator::known`].
#[derive(Debug, Clone)]
pub struct Known {
    dirty: u64,
    values: Vec<Option<Value>>,
}

/// Where a block's branch leads.
#[derive(Debug, Clone, Copy)]
pub enum Branch {
    /// To its target if the condition holds, else to the next instruction.
    If(Cond),
    /// To a computed RIP.
    To(Value),
}

/// Bits of [`Translator::dirty`] after those of the general-purpose registers.
pub const FLAGS: u64 = 1 << 16;
/// The budget.
pub const BUDGET: u64 = 1 << 17;
const GPRS: usize = 16;
const LANES: usize = 32;

/// The bit of a lane of a vector register.
pub const fn lane_bit(register: u8, lane: usize) -> u64 {
    1 << (18 + lane_number(register, lane))
}

const fn lane_number(register: u8, lane: usize) -> usize {
    2 * (register as usize & 15) + (lane & 1)
}

/// Memory flags by what is accessed. No two of these overlap.
#[derive(Debug, Clone, Copy)]
pub struct Spaces {
    /// The CPU.
    pub cpu: MemFlagsData,
    /// The TLB.
    pub tlb: MemFlagsData,
    /// The guest's memory.
    pub guest: MemFlagsData,
    /// What host code keeps on its stack.
    pub stack: MemFlagsData,
    /// The word by which other threads ask for attention, and where it is.
    pub attention: MemFlagsData,
}

impl Spaces {
    fn new(builder: &mut FunctionBuilder<'_>) -> Self {
        let mut region = |user_id, description: &'static str| -> AliasRegion {
            let data = AliasRegionData { user_id, description: description.into() };
            builder.func.dfg.alias_regions.insert(data)
        };
        let own = MemFlagsData::trusted();
        Spaces {
            cpu: own.with_alias_region(Some(region(1, "CPU"))),
            tlb: own.with_alias_region(Some(region(2, "TLB"))),
            guest: MemFlagsData::new().with_notrap().with_alias_region(Some(region(3, "guest"))),
            stack: own.with_alias_region(Some(region(4, "stack"))),
            attention: own.with_alias_region(Some(region(5, "attention"))),
        }
    }
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
    fill_signature: SigRef,
}

impl Types for Translator {
    type Value = Value;
    type Cond = Cond;
    type Lane = Value;
}

impl Translator {
    /// An emitter into `builder`, in the function's first block, whose parameters are the CPU and the points.
    /// `used` are the variables that the region's instructions touch.
    ///
    /// # Safety
    /// The translator must not be used after `builder` is gone. (The opcode table holds functions of one emitter
    /// type, which therefore cannot have a lifetime.)
    pub unsafe fn new(
        builder: &mut FunctionBuilder<'_>,
        exact: &Signature,
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
        let exact_signature = builder.import_signature(exact.clone());
        let fill_signature = builder.import_signature(fill_signature());
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

    /// Forgets the values of variables, which are known in another block.
    fn forget_values(&mut self) {
        self.values.clear();
    }

    /// The value of a variable.
    ///
    /// Within a block they are remembered here: asking the function builder for one behind a check costs a parameter of a
    /// block, which it finds out to be of no use later, and gives the same value another name.
    fn value_of_variable(&mut self, variable: Variable) -> Value {
        let at = variable.as_u32() as usize;
        if let Some(Some(value)) = self.values.get(at) {
            return *value;
        }
        let value = self.builder.use_var(variable);
        self.remember(at, value);
        value
    }

    fn set_variable(&mut self, variable: Variable, value: Value) {
        self.builder.def_var(variable, value);
        self.remember(variable.as_u32() as usize, value);
    }

    fn remember(&mut self, at: usize, value: Value) {
        if self.values.len() <= at {
            self.values.resize(at + 1, None);
        }
        self.values[at] = Some(value);
    }

    /// Before the branches at the end of a block: what is remembered is defined here, so that it is found at once.
    pub fn define_variables(&mut self) {
        for (at, value) in self.values.iter().enumerate() {
            if let Some(value) = value {
                self.builder.def_var(Variable::from_u32(at as u32), *value);
            }
        }
    }

    /// What is known along one way out of a block, to go back to before the next.
    pub fn known(&self) -> Known {
        Known { dirty: self.dirty, values: self.values.clone() }
    }

    /// Back to what was known.
    pub fn restore(&mut self, known: Known) {
        let Known { dirty, values } = known;
        (self.dirty, self.values) = (dirty, values);
    }

    /// A field of the CPU.
    fn field(&mut self, ty: Type, at: usize) -> Value {
        self.builder.ins().load(ty, self.spaces.cpu, self.cpu, at as i32)
    }

    fn set_field(&mut self, at: usize, value: Value) {
        self.builder.ins().store(self.spaces.cpu, value, self.cpu, at as i32);
    }

    /// Variables by bit of `dirty`, and where they are in the CPU.
    fn variables(&self) -> impl Iterator<Item = (u64, Variable, usize)> + use<> {
        let (result, aux, budget) = (self.result, self.aux, self.budget);
        let gprs = self.gprs.into_iter().enumerate();
        let lanes = self.lanes.into_iter().enumerate();
        let others = [
            (FLAGS, result, layout::FLAGS_RESULT),
            (FLAGS, aux, layout::FLAGS_AUX),
            (BUDGET, budget, layout::BUDGET),
        ];
        gprs.map(|(n, variable)| (1 << n, variable, layout::REGS + 8 * n))
            .chain(others)
            .chain(lanes.map(|(n, variable)| (lane_bit((n / 2) as u8, n), variable, layout::VECTOR + 16 * n)))
    }

    fn load_all(&mut self) {
        for (bit, variable, at) in self.variables() {
            if self.used & bit != 0 {
                let ty = if bit >= lane_bit(0, 0) { I8X16 } else { I64 };
                let value = self.field(ty, at);
                self.set_variable(variable, value);
            }
        }
        self.dirty = 0;
    }

    fn store_dirty(&mut self) {
        for (bit, variable, at) in self.variables() {
            if self.dirty & bit != 0 {
                let value = self.value_of_variable(variable);
                self.set_field(at, value);
            }
        }
        self.dirty = 0;
    }

    /// Lets the interpreter execute the instruction exactly, and goes on if it says so. `last`: it is the last of its
    /// block.
    pub fn exact(&mut self, last: bool) {
        let number = self.exits.number(self.at);
        self.call_waiting();
        self.settle_flags();
        self.store_dirty();
        self.store_note();
        self.leave_x87();
        if self.page_distance != 0 {
            let base = self.base_of(self.page_distance);
            self.set_field(layout::REGS + 8 * usize::from(slot::RIP_BASE), base);
        }
        let insn = self.builder.ins().load(I64, self.spaces.tlb, self.points, (8 * number) as i32);
        let function = layout::exact as *const () as i64;
        let callee = self.builder.ins().iconst(I64, function);
        let call = self.builder.ins().call_indirect(self.exact_signature, callee, &[self.cpu, insn]);
        let code = self.builder.inst_results(call)[0];
        let leave = self.builder.create_block();
        let go_on = self.builder.create_block();
        self.builder.set_cold_block(leave);
        let expected = self.builder.ins().iconst(I64, layout::GO_ON as i64);
        let same = self.builder.ins().icmp(IntCC::Equal, code, expected);
        self.builder.ins().brif(same, go_on, [], leave, []);
        self.builder.switch_to_block(leave);
        self.builder.seal_block(leave);
        self.builder.ins().return_(&[code]);
        self.builder.switch_to_block(go_on);
        self.builder.seal_block(go_on);
        self.enter_x87_again(last);
        if self.page_distance != 0 {
            // Exits from the first page take it for granted.
            self.set_field(layout::REGS + 8 * usize::from(slot::RIP_BASE), self.first_base);
        }
        self.load_all();
        self.flag_source = None;
        // The instruction may have changed translations.
        self.ranges.clear();
        self.forget_pages();
    }

    /// RIP of the first byte of the page at `distance` from the first block's.
    pub(crate) fn base_of(&mut self, distance: u64) -> Value {
        if distance == 0 {
            return self.first_base;
        }
        let distance = self.constant(distance);
        let w = if self.mode.is_64bit() { Width::W64 } else { Width::W32 };
        self.add(w, self.first_base, distance)
    }

    /// Distance of offset `offset` in the page at `distance` from the first block's page.
    pub fn place_of(&self, distance: u64, offset: u64) -> u64 {
        let place = distance.wrapping_add(offset);
        if self.mode.is_64bit() { place } else { place & Width::W32.mask() }
    }

    /// Distance of the RIP `target` from the first block's page.
    pub fn from_first(&mut self, target: Value) -> Value {
        let w = if self.mode.is_64bit() { Width::W64 } else { Width::W32 };
        self.sub(w, target, self.first_base)
    }

    /// Whether one distance from the first block's page is less than another.
    pub fn is_before(&mut self, from_first: Value, place: u64) -> Cond {
        let place = self.constant(place);
        Cond::Compare(IntCC::UnsignedLessThan, from_first, place)
    }

    /// Whether `target` is the RIP of offset `offset` in the page at `distance`.
    pub fn is_code(&mut self, target: Value, distance: u64, offset: u64) -> Cond {
        let code = self.base_of(distance.wrapping_add(offset));
        Cond::Compare(IntCC::Equal, target, code)
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
