//! The interpreter as guests run it: blocks chained, exceptions and interrupts delivered through an IDT to
//! handlers at privilege level 0, which return. The other executor of the interpreter goes one instruction at a
//! time and delivers nothing; both must come to the same.
//!
//! Only user code in long mode (64-bit and compatibility), which needs the least around it: a GDT with the
//! setup's own segments, an IDT, a TSS with a stack. A breakpoint instruction replaces the byte where the setup
//! stops. Interrupts come at the ends of blocks, by a seeded sequence, and their handler does nothing: whoever
//! is interrupted must not notice.

use crate::{
    Executor, Outcome, Region, Rights, Setup, Unsuitable,
    corpus::Exception,
    encodings::Random,
    interpreter::{Interpreter, TABLES},
};
use emu_core::{
    arch::{Efer, Flags, Seg, Segment, attr, vector},
    cpu::Cpu,
    engine::{FewDevices, VcpuSignal, request},
    region::Thresholds,
    state::TableRegister,
};
use emu_jit::{JitError, Options, Stress};
use std::sync::Arc;

/// Pages of the system, behind the paging structures: what user code cannot reach.
const IDT: u64 = TABLES + 0x6000;
/// One handler each 16 bytes.
const HANDLERS: u64 = TABLES + 0x7000;
const TSS: u64 = TABLES + 0x8000;
const GDT: u64 = TSS + 0x800;
/// Top of the stack of privilege level 0.
const STACK: u64 = TABLES + 0xA000;
const PAGES: [u64; 4] = [IDT, HANDLERS, TSS, STACK - 0x1000];

/// Selectors: the first two are those of the setup's code and data.
const KERNEL_CODE: u16 = 3 << 3;
const TSS_SELECTOR: u16 = 4 << 3;
/// Port that a handler writes to when it was entered by an exception.
const DONE: u16 = 0xF5;
/// Vector of interrupts.
const INTERRUPT: u8 = 0x20;
const INTERRUPT_GATE: u64 = 0x8E;
/// The same for the breakpoint instruction of user code.
const USER_GATE: u64 = 0xEE;
/// Exceptions that push an error code. SDM vol. 3, table 6-1.
const WITH_CODE: [u8; 8] = [8, vector::TS, vector::NP, vector::SS, vector::GP, vector::PF, vector::AC, 21];
/// Blocks until one of them is taken for endless.
const MAX_SLICES: u32 = 100_000;

/// A machine whose only port ends the run.
struct EndPort(Arc<VcpuSignal>);

impl FewDevices for EndPort {
    fn port_write(&self, port: u16, _: u8, _: u32) {
        if port == DONE {
            self.0.raise(request::STOP);
        }
    }
    fn acknowledge_interrupt(&self) -> Option<u8> {
        self.0.clear(request::INTERRUPT);
        Some(INTERRUPT)
    }
    fn shutdown(&self) {
        self.0.raise(request::STOP);
    }
}

/// The executor.
pub struct FreeRunning {
    interpreter: Interpreter,
    signal: Arc<VcpuSignal>,
    interrupts: Option<Random>,
    /// Times that a setup is executed: the last one counts.
    passes: u32,
}

impl FreeRunning {
    /// Without interrupts; or with, in a sequence that follows from a seed that is not zero.
    pub fn new(interrupts: Option<u64>) -> Self {
        let signal = Arc::new(VcpuSignal::default());
        let interpreter = Interpreter::wired(signal.clone(), Arc::new(EndPort(signal.clone())));
        FreeRunning { interpreter, signal, interrupts: interrupts.map(Random::new), passes: 1 }
    }

    /// The same with code translated for both tiers as soon as it is executed again, which it is: each setup is
    /// executed as often as it takes. With `stress` something is overdone.
    ///
    /// # Errors
    /// If there is no translator for this host.
    pub fn translated(interrupts: Option<u64>, stress: Option<Stress>) -> Result<Self, JitError> {
        let mut free = Self::new(interrupts);
        let thresholds = Thresholds { warm: 1, hot: 1 };
        let options = Options { threads: 0, cache: 16 << 20, thresholds, stress, ..Options::default() };
        let translator = emu_jit::translator(options, &free.interpreter.cpu.memory)?;
        free.interpreter.cpu.set_translator(translator);
        free.passes = 5;
        Ok(free)
    }

    /// Writes the pages of the system.
    fn install(&mut self, setup: &Setup) {
        let rights = Rights { write: true, execute: true, user: false };
        for page in PAGES {
            self.interpreter.write(page, &[0; 0x1000]);
            self.interpreter.map(true, page, rights);
        }
        for number in 0..=INTERRUPT {
            // OUT DONE, AL; or IRETQ.
            let code: [u8; 2] = if number == INTERRUPT { [0x48, 0xCF] } else { [0xE6, DONE as u8] };
            let handler = HANDLERS + 16 * u64::from(number);
            let kind = if number == vector::BP { USER_GATE } else { INTERRUPT_GATE };
            let low = handler & 0xFFFF | u64::from(KERNEL_CODE) << 16 | kind << 40 | (handler >> 16) << 48;
            self.interpreter.write(handler, &code);
            self.interpreter.write(IDT + 16 * u64::from(number), &low.to_le_bytes());
        }
        let segments = &setup.state.segments.data;
        let kernel = Segment {
            selector: KERNEL_CODE,
            attr: attr::P | attr::S | attr::CODE | attr::READABLE | attr::L,
            ..Segment::real(0)
        };
        let own = [&segments[Seg::Cs as usize], &segments[Seg::Ss as usize], &kernel];
        for (number, segment) in own.into_iter().enumerate() {
            self.interpreter.write(GDT + 8 * (number as u64 + 1), &descriptor(segment).to_le_bytes());
        }
        self.interpreter.write(TSS + 4, &STACK.to_le_bytes());
    }

    /// Puts everything in place to run `setup` to `end`; returns the bytes that were there. Code that has not changed
    /// stays known, unless it is the `first` time.
    fn begin(&mut self, setup: &Setup, end: u64, first: bool) -> Result<Vec<u8>, Unsuitable> {
        let changed = |region: &Region| {
            let mut wanted = region.bytes.clone();
            let at = end.checked_sub(region.address);
            if let Some(byte) = at.and_then(|at| wanted.get_mut(at as usize)) {
                *byte = 0xCC;
            }
            region.rights.execute && self.interpreter.read(region.address, wanted.len()) != wanted
        };
        let forget = first || setup.memory.iter().any(changed);
        self.interpreter.clear_map(true);
        for region in &setup.memory {
            self.interpreter.place(setup, region)?;
        }
        self.install(setup);
        let replaced = self.interpreter.read(end, 1);
        self.interpreter.write(end, &[0xCC]);
        if forget {
            self.interpreter.forget();
        }
        let mut state = setup.state.clone();
        state.segments.gdtr = TableRegister { base: GDT, limit: 5 * 8 - 1 };
        state.segments.idtr = TableRegister { base: IDT, limit: 0xFFF };
        state.segments.tr =
            Segment { selector: TSS_SELECTOR, attr: attr::P | 11, limit: 0x67, base: TSS, unusable: false };
        state.general.rflags |= Flags::IF;
        self.interpreter.cpu.load_state(&state);
        self.signal.clear(request::INTERRUPT | request::STOP);
        Ok(replaced)
    }

    fn run(&mut self, instructions: u32) -> Result<(), Unsuitable> {
        let signal = self.signal.clone();
        for _ in 0..MAX_SLICES.min(instructions.saturating_mul(4).max(16)) {
            let slice = match &mut self.interrupts {
                None => 1000,
                Some(random) => {
                    if random.below(4) == 0 {
                        signal.raise(request::INTERRUPT);
                    }
                    1 + random.below(20) as u32
                }
            };
            if self.interpreter.cpu.run_slice(slice).is_some() {
                return Ok(());
            }
        }
        Err(Unsuitable("it did not come to an end".into()))
    }

    /// The state that the handler of an exception found on its stack, and the exception.
    fn collect(&self, setup: &Setup) -> Result<(emu_core::state::CpuState, Option<Exception>), Unsuitable> {
        let mut state = self.interpreter.cpu.save_state();
        let number = state.general.rip.wrapping_sub(HANDLERS) / 16;
        if number >= INTERRUPT.into() || state.events.activity != emu_core::state::Activity::Active {
            return Err(Unsuitable("an exception could not be delivered".into()));
        }
        let number = number as u8;
        let word = |at: u64| {
            let bytes = self.interpreter.read(STACK - at, 8);
            bytes.try_into().map_or(0, u64::from_le_bytes)
        };
        let stop = number == vector::BP;
        let error_code = WITH_CODE.contains(&number).then(|| word(48) as u16);
        state.general.rip = word(40) - u64::from(stop);
        let flags = Flags::from_bits_truncate(word(24) as u32) & !Flags::RF;
        state.general.rflags = flags | Flags::FIXED;
        state.general.gpr[4] = word(16);
        let before = &setup.state.segments;
        for seg in [Seg::Cs, Seg::Ss] {
            state.segments.data[seg as usize] = before.data[seg as usize];
        }
        (state.segments.gdtr, state.segments.idtr, state.segments.tr) = (before.gdtr, before.idtr, before.tr);
        state.events = setup.state.events;
        let exception = (!stop).then_some(Exception { vector: number, error_code });
        Ok((state, exception))
    }
}

/// A code or data segment as the GDT has it.
fn descriptor(segment: &Segment) -> u64 {
    let limit = if segment.attr & attr::G != 0 { segment.limit >> 12 } else { segment.limit };
    let (limit, access) = (u64::from(limit), u64::from(segment.attr));
    limit & 0xFFFF
        | (segment.base & 0xFF_FFFF) << 16
        | (access & 0xFF) << 40
        | (limit >> 16 & 0xF) << 48
        | (access >> 12) << 52
        | (segment.base >> 24 & 0xFF) << 56
}

impl Executor for FreeRunning {
    fn name(&self) -> &'static str {
        "interp-blocks"
    }

    fn execute(&mut self, setup: &Setup) -> Result<Outcome, Unsuitable> {
        let selectors = setup.state.segments.data.map(|segment| segment.selector);
        let user =
            setup.state.control.efer.contains(Efer::LMA) && selectors[1] == 0xB && selectors[2] == 0x13;
        let Some(stop) = setup.stop.filter(|_| user) else {
            return Err(Unsuitable("not user code in long mode that stops at an address".into()));
        };
        let end = stop.wrapping_add(setup.state.segments.data[1].base);
        let mut replaced = Vec::new();
        for pass in 0..self.passes {
            replaced = self.begin(setup, end, pass == 0)?;
            self.run(setup.instructions)?;
        }
        self.signal.clear(request::INTERRUPT);
        let (mut state, exception) = self.collect(setup)?;
        state.general.rflags.set(Flags::IF, setup.state.general.rflags.contains(Flags::IF));
        self.interpreter.write(end, &replaced);
        let bytes = |region: &Region| self.interpreter.read(region.address, region.bytes.len());
        Ok(Outcome {
            state,
            exception,
            memory: setup.memory.iter().map(bytes).collect(),
            instructions: self.interpreter.cpu.executed as u32,
        })
    }
}

/// Its CPU, for those who want to look closer.
impl AsRef<Cpu> for FreeRunning {
    fn as_ref(&self) -> &Cpu {
        &self.interpreter.cpu
    }
}
