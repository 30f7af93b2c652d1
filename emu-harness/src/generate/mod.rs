//! Setups from the opcode table: every form of every row, in every mode that has it, with operands of every
//! kind and values that are hard.
//!
//! A [`Form`] is one `Code` of iced-x86 in one mode. Trial number n of a form under a seed is always the same,
//! whoever makes it and in whichever order: so work can be divided, and every trial repeated by its number.

mod address;
pub mod layout;
mod place;
mod reach;
mod selectors;
mod values;

pub use crate::encodings::Random;
pub use reach::{Reason, native};

use crate::{
    Region, Rights, Setup,
    corpus::Mode,
    encodings::{MemoryOperand, Shape, available, encode, instruction},
    interpreter::{GDT, state_at_rest},
    undefined::{self, Undefined},
};
use emu_core::{
    arch::Cr4,
    cpu_model::CpuModel,
    decode::{Checks, CodeFacts},
    semantics::{NO_ROW, Table, effects::Effects},
    state::CpuState,
};
use iced_x86::{Code, Instruction, OpKind, Register};
use values::{Element, Stock};

/// A form of an instruction in a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The form.
    pub code: Code,
    /// Its row in the opcode table.
    pub row: u16,
    /// The mode.
    pub mode: Mode,
    /// Why the host's processor cannot run it, if it cannot.
    pub unreachable: Option<Reason>,
}

/// An instruction in a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its number among those of its form.
    pub number: u64,
    /// The instruction.
    pub instruction: Instruction,
    /// The state. The first region is the instruction's bytes.
    pub setup: Setup,
    /// What cannot be compared after it.
    pub undefined: Undefined,
}

/// Makes forms and trials.
pub struct Generator {
    forms: Vec<Form>,
    /// At rest: for each mode, at privilege levels 0 and 3.
    states: Vec<[CpuState; 2]>,
    stock: Stock,
}

/// An instruction that could not be made with the numbers drawn is tried again so often.
const ATTEMPTS: u64 = 16;

impl Generator {
    /// All forms that a CPU of `model` decodes, mode by mode.
    pub fn new(model: &CpuModel) -> Self {
        let table = Table::<Effects>::new();
        let mut checks = Checks::new();
        let mut forms = Vec::new();
        for (mode, _) in Mode::ALL {
            for code in Code::values().filter(|code| available(*code, mode.bitness())) {
                let CodeFacts { row, attr, .. } = checks.facts(code, &table, model);
                if row == NO_ROW {
                    continue;
                }
                let unreachable = native(code, attr, mode);
                if unreachable != Some(Reason::Pseudo) {
                    forms.push(Form { code, row, mode, unreachable });
                }
            }
        }
        let states = Mode::ALL.iter().map(|(mode, _)| [0, 3].map(|level| state_in(*mode, level, model)));
        Generator { forms, states: states.collect(), stock: Stock::new() }
    }

    /// All forms.
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// Trial `number` of `form` under `seed`; nothing if the form cannot be encoded.
    pub fn trial(&self, form: &Form, seed: u64, number: u64) -> Option<Trial> {
        (0..ATTEMPTS).find_map(|attempt| {
            let mode = form.mode as u64;
            let mut random = Random::new(mix(seed, form.code as u64 | mode << 16 | attempt << 32, number));
            self.attempt(form, number, &mut random)
        })
    }

    fn attempt(&self, form: &Form, number: u64, random: &mut Random) -> Option<Trial> {
        let Form { code, mode, .. } = *form;
        let level = self.level(form, random);
        let mut state = self.states[mode as usize][usize::from(level == 3)].clone();
        let element = Element::of(code.op_code().memory_size(), random);
        fill(&mut state, element, random);
        let long = mode == Mode::Long64;
        let origin = if long { layout::BASE } else { 0 };
        let bitness = mode.bitness();

        let local = form.unreachable.is_none() && reach::uses_selectors(code);
        let descriptors = local.then(|| selectors::adopt(&mut state, mode));
        let extra = match (long, local) {
            (false, _) => [0; 2],
            (true, false) => layout::EXTRA,
            (true, true) => selectors::EXTRA,
        };
        let addressed = address::of_form(form, origin, extra, random)?;
        let address = addressed.as_ref().map_or_else(|| address::size(bitness, random), |(_, size)| *size);
        let memory: Option<MemoryOperand> = addressed.as_ref().map(|(addressed, _)| addressed.operand);
        let mut made = instruction(code, Shape { bitness, address, memory }, random)?;
        prefix(&mut made, form, random);
        if local {
            selectors::target(&mut made, mode, random);
        }
        if place::collides(&made) {
            return None;
        }
        let (offset, bytes) = assemble(&mut made, bitness, origin, random)?;
        state.general.rip = origin + offset;

        place::registers(&made, bitness, origin, &mut state, random);
        place::gather(&made, &mut state, random);
        if local {
            selectors::registers(&made, mode, &mut state, random);
        }
        if let Some((addressed, _)) = &addressed {
            for (register, value) in [addressed.base, addressed.index].into_iter().flatten() {
                state.general.gpr[register] = value;
            }
        }
        narrow(&mut state, bitness);
        let mut setup = Setup { mode, state, memory: Vec::new(), instructions: 1, stop: None };
        setup.memory = self.regions(&made, form, offset, &bytes, element, random);
        touch_up(&made, &mut setup, element, random);
        let base = layout::BASE - origin;
        if let Some(descriptors) = descriptors {
            setup.memory.push(descriptors);
            let address = undefined::address(&made, &setup.state, base);
            selectors::memory(&made, address, &mut setup, random);
        }
        let undefined = undefined::of(&made, &setup.state, base);
        Some(Trial { number, instruction: made, setup, undefined })
    }

    /// What the host can run is run as user code; the rest at both levels.
    fn level(&self, form: &Form, random: &mut Random) -> u8 {
        match form.mode {
            Mode::Real => 0,
            Mode::V86 => 3,
            _ if form.unreachable.is_none() => 3,
            _ => random.pick(&[0, 3]),
        }
    }

    /// Code, and data around the operands.
    fn regions(
        &self,
        made: &Instruction,
        form: &Form,
        offset: u64,
        bytes: &[u8],
        element: Element,
        random: &mut Random,
    ) -> Vec<Region> {
        let origin = if form.mode == Mode::Long64 { layout::BASE } else { 0 };
        let target = (origin + layout::TARGET).to_le_bytes();
        let size = if form.mode == Mode::Long64 { 8 } else { form.mode.bitness() as usize / 8 };
        let leads = place::goes_by_value(made) && random.below(16) != 0;
        let mut data = |len: usize| {
            // The smaller sizes of operands get the low part.
            if leads {
                target[..size].repeat(len / size)
            } else {
                self.stock.piece(element, len, random).to_vec()
            }
        };
        let mut all = layout::regions(layout::BASE + offset, bytes, &mut data);
        if form.unreachable == Some(Reason::Descriptors) && form.mode != Mode::Real && form.mode != Mode::V86
        {
            all.push(Region { address: GDT, bytes: descriptors(), rights: Rights::ALL });
        }
        all
    }
}

fn mix(seed: u64, form: u64, number: u64) -> u64 {
    // The finisher of splitmix64, once for each part.
    let mut all = 0x9E37_79B9_7F4A_7C15u64;
    for part in [seed, form, number] {
        all = (all ^ part).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        all = (all ^ all >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        all ^= all >> 31;
    }
    all | 1
}

/// The state at rest, with everything enabled that user code may use.
fn state_in(mode: Mode, level: u8, model: &CpuModel) -> CpuState {
    let long = mode == Mode::Long64;
    let level = if mode == Mode::Real { 0 } else { level };
    let mut state = state_at_rest(mode, level, if long { 0 } else { layout::BASE });
    if long {
        let [.., fs, gs] = &mut state.segments.data;
        [fs.base, gs.base] = layout::EXTRA;
    } else {
        state.segments.data.iter_mut().for_each(|segment| segment.limit = layout::LIMIT);
    }
    state.control.cr4 |= Cr4::FSGSBASE;
    state.control.xcr0 &= model.xcr0();
    state
}

fn fill(state: &mut CpuState, element: Element, random: &mut Random) {
    state.general.gpr = std::array::from_fn(|_| random.edge());
    let system = state.general.rflags & !values::all_flags();
    state.general.rflags = system | values::flags(random);
    state.x87 = values::x87(random);
    state.simd.mxcsr = values::mxcsr(random);
    for register in &mut state.simd.vector {
        *register = std::array::from_fn(|_| values::lane(element, random));
    }
}

/// 32-bit code has eight registers of 32 bits; the stack pointer of 16-bit code stays within its segment.
fn narrow(state: &mut CpuState, bitness: u32) {
    let gpr = &mut state.general.gpr;
    if bitness != 64 {
        gpr.iter_mut().for_each(|value| *value &= 0xFFFF_FFFF);
        gpr[8..].fill(0);
    }
    if bitness == 16 {
        gpr[4] &= 0xFFFF;
    }
}

fn prefix(made: &mut Instruction, form: &Form, random: &mut Random) {
    let op_code = form.code.op_code();
    if op_code.can_use_lock_prefix() && made.op0_kind() == OpKind::Memory {
        made.set_has_lock_prefix(random.below(2) == 0);
    }
    if op_code.can_use_rep_prefix() && made.is_string_instruction() {
        match random.below(3) {
            0 => made.set_has_rep_prefix(true),
            1 if op_code.can_use_repne_prefix() => made.set_has_repne_prefix(true),
            _ => {}
        }
        if random.below(8) == 0 {
            made.set_segment_prefix(random.pick(&[Register::ES, Register::CS, Register::SS]));
        }
    }
}

/// The instruction's offset and bytes. A branch that does not reach its target gets a near one.
fn assemble(
    made: &mut Instruction,
    bitness: u32,
    origin: u64,
    random: &mut Random,
) -> Option<(u64, Vec<u8>)> {
    let offset = layout::code(random, 4);
    if let Some(bytes) = encode(made, bitness, origin + offset) {
        return Some((offset, bytes));
    }
    let short = made.is_jcc_short_or_near()
        || made.is_jmp_short_or_near()
        || made.is_loop()
        || made.is_loopcc()
        || made.is_jcx_short();
    if !short {
        return None;
    }
    let distance = random.below(0x70).wrapping_sub(0x30);
    made.set_near_branch64((origin + offset).wrapping_add(distance));
    encode(made, bitness, origin + offset).map(|bytes| (offset, bytes))
}

/// A few descriptors that loads of segments and far transfers may find.
fn descriptors() -> Vec<u8> {
    let all: [u64; 12] = [
        0,
        0x00CF_9B00_0000_FFFF,
        0x00CF_9300_0000_FFFF,
        0x00CF_FB00_0000_FFFF,
        0x00CF_F300_0000_FFFF,
        0x00AF_9B00_0000_FFFF,
        0x00AF_FB00_0000_FFFF,
        // Conforming code, data that expands down, data that is not present, a call gate, an available TSS.
        0x00CF_9F00_0000_FFFF,
        0x0000_F700_0000_0FFF,
        0x00CF_7300_0000_FFFF,
        0x0000_EC00_0008_1040,
        0x0000_8900_0000_0067,
    ];
    all.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Fresh data at the memory operand, which suits the registers.
fn touch_up(made: &Instruction, setup: &mut Setup, element: Element, random: &mut Random) {
    if !(0..made.op_count()).any(|k| made.op_kind(k) == OpKind::Memory) {
        return;
    }
    let base = if setup.mode == Mode::Long64 { 0 } else { layout::BASE };
    let address = undefined::address(made, &setup.state, base);
    let (state, regions) = (&setup.state, &mut setup.memory[1..]);
    let inside = |region: &&mut Region| {
        address.checked_sub(region.address).is_some_and(|at| (at as usize) < region.bytes.len())
    };
    if let Some(region) = regions.iter_mut().find(inside) {
        let at = (address - region.address) as usize;
        let operand = &mut region.bytes[at..];
        if !place::goes_by_value(made) {
            let size = made.memory_size().size().clamp(16, 64).min(operand.len());
            values::fill(element, &mut operand[..size], random);
        }
        place::memory(made, state, operand, random);
    }
}
