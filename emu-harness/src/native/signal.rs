//! The signal handler, in which cases are prepared and collected, one after another.
//!
//! A breakpoint of the child's own enters it. From there on, each return from the handler executes an instruction
//! of a case: the frame has the case's registers and the trap flag, or a breakpoint stands behind the instruction.
//! The trap after it, or the signal of its exception, enters the handler again. So there is one signal for each instruction, no exit code to write,
//! branches need no care, and exceptions come with vector, error code and CR2. After the last case the handler
//! returns to where the breakpoint was.

use super::{
    descriptors::Descriptors,
    frame::{Frame, Layout, Selectors, TRAP},
    memory::Pages,
    opcode::{self, Kind},
    shared::{Batch, CASES, Case, Piece, end},
};
use std::sync::atomic::{AtomicPtr, Ordering};

/// No repeated instruction of a case has so many iterations.
const MAX_TRAPS: u32 = 100_000;
const DEBUG: u32 = 1;
const BREAKPOINT: u32 = 3;
const IF: u64 = 1 << 9;

/// The child's runner. The handler has no other way to it.
static RUNNER: AtomicPtr<Runner> = AtomicPtr::new(std::ptr::null_mut());

/// What the child knows of the cases it runs.
pub struct Runner {
    batch: *mut Batch,
    pages: Pages,
    descriptors: Descriptors,
    layout: Layout,
    /// Registers of the child itself, while cases run.
    own: Option<Own>,
    /// Where the case that runs is.
    step: Step,
}

#[derive(Clone, Copy)]
struct Own {
    registers: [i64; 23],
    legacy: [u8; 512],
    selectors: Selectors,
}

/// The instruction that executes.
#[derive(Clone, Copy)]
struct Step {
    rip: u64,
    kind: Kind,
    /// Traps that it has had.
    traps: u32,
    /// Instructions completed before it.
    completed: u32,
    /// Whether a breakpoint ends it, not a trap.
    landing: bool,
}

impl Runner {
    /// For cases in `batch`, with memory seen through `window`.
    pub fn new(batch: *mut Batch, window: *mut u8, layout: Layout) -> Self {
        let step = Step { rip: 0, kind: Kind::Plain, traps: 0, completed: 0, landing: false };
        Runner { batch, pages: Pages::new(window), descriptors: Descriptors::new(), layout, own: None, step }
    }

    /// Runs the batch.
    pub fn run(&mut self) {
        RUNNER.store(self, Ordering::Relaxed);
        // SAFETY: the handler, which `handler` is, returns here with all registers as they are.
        unsafe { std::arch::asm!("int3") };
    }

    fn signalled(&mut self, signal: libc::c_int, frame: &mut Frame<'_>) {
        // SAFETY: the harness waits until the child answers.
        let batch = unsafe { &mut *self.batch };
        let Some(own) = self.own else {
            self.own = Some(Own::of(frame));
            (batch.count, batch.current) = (batch.count.min(CASES as u32), 0);
            return self.next(batch, frame);
        };
        let case = &mut batch.cases[batch.current as usize % CASES];
        let outcome = match (signal, frame.vector()) {
            (libc::SIGSYS, _) => Some(end::SYSTEM_CALL),
            (_, BREAKPOINT) if self.step.landing => {
                frame.step_back();
                self.correct_pushed(case, frame);
                self.step.completed = 1;
                Some(end::DONE)
            }
            (_, DEBUG) => self.trapped(case, frame),
            _ => Some(end::EXCEPTION),
        };
        let Some(outcome) = outcome else { return };
        self.collect(case, &own, frame, outcome);
        let (first, len) = (case.first as usize, case.pieces as usize);
        self.pages.clear_breakpoint();
        if let Some(pieces) = batch.pieces.get(first..first + len) {
            self.pages.collect(pieces, &mut batch.bytes);
        }
        batch.current += 1;
        self.next(batch, frame);
    }

    /// After a trap: how the case ends, if it does.
    fn trapped(&mut self, case: &Case, frame: &mut Frame<'_>) -> Option<u32> {
        let rip = frame.rip();
        if self.step.kind == Kind::Repeated && rip == self.step.rip {
            self.step.traps += 1;
            return (self.step.traps > MAX_TRAPS).then_some(end::TOO_LONG);
        }
        self.correct_pushed(case, frame);
        self.step.completed += 1;
        if self.step.completed >= case.limit || rip == case.stop {
            return Some(end::DONE);
        }
        if self.step.kind == Kind::LoadsFlags && frame.rflags() & TRAP != 0 {
            return Some(end::OWN_TRAP);
        }
        if self.begin_step(case, rip).is_none() {
            return Some(end::NO_TRAP);
        }
        frame.set_trap();
        None
    }

    /// Looks at the instruction at `rip` before it executes. Nothing if it cannot be stepped.
    fn begin_step(&mut self, case: &Case, rip: u64) -> Option<()> {
        let linear = match case.long {
            0 => rip.wrapping_add(case.segments[1].descriptor.base.into()) & 0xFFFF_FFFF,
            _ => rip,
        };
        let (code, len) = self.pages.code(linear);
        let kind = opcode::kind(&code[..len], case.long != 0);
        self.step = Step { rip, kind, traps: 0, ..self.step };
        (kind != Kind::Untraceable).then_some(())
    }

    /// The flags that PUSHF stored are the host's: TF is ours, and IF is always set.
    fn correct_pushed(&self, case: &Case, frame: &Frame<'_>) {
        if self.step.kind != Kind::PushesFlags {
            return;
        }
        let base = if case.long != 0 { 0 } else { case.segments[2].descriptor.base.into() };
        let high = (frame.rsp() & case.stack_mask).wrapping_add(base).wrapping_add(1);
        if let Some(byte) = self.pages.byte(high) {
            // SAFETY: within the window.
            unsafe { byte.write(byte.read() & !3 | ((case.registers.rflags & IF) >> 8) as u8) };
        }
    }

    /// Takes what came of the case.
    fn collect(&mut self, case: &mut Case, own: &Own, frame: &Frame<'_>, outcome: u32) {
        let mut found = Selectors::default();
        found.read();
        (found.all[1], found.all[2]) = frame.code_and_stack();
        // SAFETY: those that the child had.
        unsafe { own.selectors.load(true) };
        for (segment, selector) in case.segments.iter_mut().zip(found.all) {
            segment.after = selector;
        }
        let narrow = frame.store(&mut case.registers);
        [case.registers.fs_base, case.registers.gs_base] = found.bases;
        if self.step.kind != Kind::LoadsFlags || outcome == end::EXCEPTION {
            case.registers.rflags &= !TRAP;
        }
        if self.step.kind == Kind::Interrupts && outcome == end::EXCEPTION {
            case.registers.rip = self.step.rip;
        }
        case.completed = self.step.completed;
        (case.vector, case.error, case.cr2) = (frame.vector(), frame.error(), frame.cr2());
        case.end = if narrow { outcome } else { end::WIDE };
    }

    /// Enters the next case that can be entered, or the child's own code after the last.
    fn next(&mut self, batch: &mut Batch, frame: &mut Frame<'_>) {
        let Batch { count, current, cases, pieces, bytes } = batch;
        while *current < *count {
            let case = &mut cases[*current as usize];
            match self.enter(case, pieces, bytes, frame) {
                Ok(()) => return,
                Err(reason) => case.end = reason,
            }
            *current += 1;
        }
        if let Some(own) = self.own.take() {
            own.restore(frame);
        }
    }

    fn enter(
        &mut self,
        case: &mut Case,
        pieces: &[Piece],
        bytes: &[u8],
        frame: &mut Frame<'_>,
    ) -> Result<(), u32> {
        let pieces = pieces.get(case.first as usize..).and_then(|rest| rest.get(..case.pieces as usize));
        pieces.and_then(|pieces| self.pages.arrange(pieces, bytes)).ok_or(end::NO_MEMORY)?;
        let own = self.own.as_ref().expect("set before the first case");
        let mut selectors = Selectors { all: own.selectors.all, ..Selectors::default() };
        for (number, segment) in case.segments.iter_mut().enumerate() {
            // 64-bit code has the CS and SS that the kernel gives every process.
            if case.long == 0 || !matches!(number, 1 | 2) {
                selectors.all[number] = self.descriptors.selector(segment).ok_or(end::NO_SEGMENT)?;
            }
            segment.given = selectors.all[number];
        }
        selectors.bases = [case.registers.fs_base, case.registers.gs_base];
        self.step.completed = 0;
        let stepped = self.begin_step(case, case.registers.rip);
        frame.load(&case.registers, selectors.all[1], selectors.all[2]);
        self.step.landing = self.pages.set_breakpoint(case.landing);
        if !self.step.landing {
            stepped.ok_or(end::NO_TRAP)?;
            frame.set_trap();
        }
        // SAFETY: null selectors, or descriptors that have just been looked up; nothing here uses thread-local
        // storage.
        unsafe { selectors.load(case.long != 0) };
        Ok(())
    }
}

impl Own {
    fn of(frame: &mut Frame<'_>) -> Self {
        let mut selectors = Selectors::default();
        selectors.read();
        (selectors.all[1], selectors.all[2]) = frame.code_and_stack();
        // SAFETY: an FXSAVE image of 512 bytes.
        let legacy = unsafe { frame.area().cast::<[u8; 512]>().read() };
        Own { registers: *frame.registers(), legacy, selectors }
    }

    fn restore(&self, frame: &mut Frame<'_>) {
        *frame.registers() = self.registers;
        // SAFETY: an FXSAVE image of 512 bytes; the selectors are those that the child had.
        unsafe {
            frame.area().cast::<[u8; 512]>().write(self.legacy);
            self.selectors.load(true);
        }
        frame.keep_legacy();
    }
}

/// The handler of all signals that exceptions raise.
pub extern "C" fn handler(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: clears what the kernel leaves as the case set it: AC, as the handler may access memory unaligned, and
    // NT and ID, which no signal frame restores.
    unsafe { std::arch::asm!("pushfq", "and qword ptr [rsp], -0x244001", "popfq") };
    // SAFETY: set by `Runner::run`, which waits for the handler; this thread is the child's only one.
    let runner = unsafe { &mut *RUNNER.load(Ordering::Relaxed) };
    // SAFETY: the kernel passes a ucontext.
    let mut frame = Frame::new(unsafe { &mut *context.cast::<libc::ucontext_t>() }, runner.layout);
    runner.signalled(signal, &mut frame);
}
