//! Delivery of interrupts and exceptions in all modes, nested faults, and INT n, INT1, INT3, INTO, BOUND.
//! SDM vol. 3, ch. 6; 20.1.4 (real mode), 20.2 and 20.3 (virtual-8086 mode); vol. 2, INT.
//!
//! The run loop calls [`deliver_exception`] with RIP at the faulting instruction (for traps: behind it),
//! [`deliver_interrupt`] and [`deliver_nmi`] between instructions. None of them fails: what goes wrong on the
//! way becomes a further exception, a double fault or a shutdown.
//!
//! Left out: CET and FRED.

mod held;
mod long;
mod nested;
mod protected;
mod real;
mod software;

pub use held::{EventKind, Held};
pub use software::{divide_error_8086, rows};

use crate::{
    arch::{Exception, Flags, Seg, vector},
    cpu::Cpu,
    state::Activity,
};
use nested::Next;

/// What causes a delivery. SDM vol. 3, 6.3 and 6.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// External interrupt or NMI.
    External,
    /// Exception; a fault sets RF in the saved flags.
    Exception {
        /// Fault, not trap.
        fault: bool,
    },
    /// INT n, INT3, INTO: the gate's DPL is checked.
    Software,
    /// INT1: as INT3, but without that check.
    Icebp,
}

/// One delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    vector: u8,
    error: Option<u32>,
    source: Source,
}

impl Event {
    fn of(exception: Exception) -> Option<Event> {
        let (vector, error, fault) = match exception {
            Exception::Plain(vector) => (vector, None, true),
            Exception::Code(vector, code) => (vector, Some(code), true),
            Exception::Page(code, _) => (vector::PF, Some(code.bits()), true),
            Exception::Debug(bits) => (vector::DB, None, bits & super::debug::dr6::BD != 0),
            Exception::Restart => return None,
        };
        // #DF and #MC are aborts: no instruction to be resumed.
        let fault = fault && !matches!(vector, vector::DF | vector::MC);
        Some(Event { vector, error, source: Source::Exception { fault } })
    }

    /// Bit EXT of error codes: the event did not come from the program.
    fn ext(&self) -> u32 {
        u32::from(self.source != Source::Software)
    }

    /// Whether the DPL of the gate must not be below CPL.
    fn checks_gate_privilege(&self) -> bool {
        self.source == Source::Software
    }

    /// Error code that names the IDT entry.
    fn idt_code(&self) -> u32 {
        u32::from(self.vector) << 3 | 2
    }

    /// RFLAGS as saved on the handler's stack.
    fn saved_flags(&self, cpu: &Cpu) -> Flags {
        let mut flags = cpu.rflags();
        if self.source == (Source::Exception { fault: true }) {
            flags |= Flags::RF;
        }
        flags
    }

    fn name(&self) -> &'static str {
        match self.source {
            Source::External if self.vector == vector::NMI => "nmi",
            Source::External => "interrupt",
            Source::Exception { .. } => "exception",
            Source::Software | Source::Icebp => "software",
        }
    }
}

/// Delivers `exception`. RIP is that of the faulting instruction, or for a trap of the next one.
/// [`Exception::Restart`] is none, and ignored.
pub fn deliver_exception(cpu: &mut Cpu, exception: Exception) {
    if !matches!(exception, Exception::Debug(_) | Exception::Restart) {
        // What a faulting instruction hit before it faulted, it hits again.
        cpu.events.pending_debug = 0;
    }
    note_cause(cpu, exception);
    if let Some(event) = Event::of(exception) {
        deliver_through(cpu, event);
    }
}

/// Delivers `event`, or what comes of it.
fn deliver_through(cpu: &mut Cpu, event: Event) {
    let mut event = event;
    loop {
        let Err(second) = deliver(cpu, &event) else { return };
        match nested::next(event.vector, second) {
            Next::Deliver(next) => {
                note_cause(cpu, next);
                let Some(next) = Event::of(next) else { return };
                event = next;
            }
            // An exception that its own delivery raises again would do so for ever. The instruction begins
            // anew instead, so that requests from outside are still seen.
            Next::Repeat => return,
            Next::Shutdown => {
                cpu.events.activity = Activity::Shutdown;
                cpu.io.shutdown(cpu.id);
                return;
            }
        }
    }
}

/// Delivers the external interrupt `vector`, which has been acknowledged.
pub fn deliver_interrupt(cpu: &mut Cpu, vector: u8) {
    deliver_external(cpu, vector);
}

/// Delivers an NMI; further ones are blocked until IRET.
pub fn deliver_nmi(cpu: &mut Cpu) {
    cpu.events.nmi_blocked = true;
    deliver_external(cpu, vector::NMI);
}

fn deliver_external(cpu: &mut Cpu, vector: u8) {
    let event = Event { vector, error: None, source: Source::External };
    if let Err(exception) = deliver(cpu, &event) {
        deliver_exception(cpu, exception);
    }
}

/// CR2, DR6 and DR7.GD, which change even if the delivery fails.
fn note_cause(cpu: &mut Cpu, exception: Exception) {
    match exception {
        Exception::Page(_, linear) => cpu.control.cr2 = linear,
        Exception::Debug(bits) => super::debug::note_exception(cpu, bits),
        _ => {}
    }
}

/// Delivers one event. On failure nothing has changed but memory below the new stack pointer.
fn deliver(cpu: &mut Cpu, event: &Event) -> Result<(), Exception> {
    if cpu.observe.events && !std::mem::take(&mut cpu.observe.deliver) {
        cpu.observe.held = Some(Held::new(*event));
        cpu.leave_block = true;
        return Ok(());
    }
    let (id, cs, rip) = (cpu.id, cpu.seg(Seg::Cs).selector, cpu.rip);
    if let Some(trace) = &mut cpu.trace {
        trace.interrupt(id, event.vector, event.name(), event.error, cs, rip);
    }
    if cpu.mode.is_long() {
        long::deliver(cpu, event)
    } else if cpu.control.cr0.contains(crate::arch::Cr0::PE) {
        protected::deliver(cpu, event)
    } else {
        real::deliver(cpu, event)
    }
    .map_err(|exception| with_ext(exception, event.ext()))?;
    if cpu.events.activity == Activity::Halted {
        cpu.events.activity = Activity::Active;
    }
    cpu.events.shadow = false;
    cpu.events.shadow_from_mov_ss = false;
    // A single-step trap of the instruction just executed is not taken in the handler.
    cpu.events.no_single_step = true;
    Ok(())
}

/// Adds bit EXT to the error code of an exception met during a delivery.
fn with_ext(exception: Exception, ext: u32) -> Exception {
    match exception {
        Exception::Code(vector @ (vector::TS | vector::NP | vector::SS | vector::GP), code) => {
            Exception::Code(vector, code | ext)
        }
        other => other,
    }
}
