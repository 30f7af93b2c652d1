//! Events held back before they are delivered, for who embeds a CPU.

use super::{Event, Source, deliver, deliver_exception, deliver_through};
use crate::{
    arch::{Exception, vector},
    cpu::Cpu,
};

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// An exception that the instruction at RIP raises; nothing of it is done.
    Fault,
    /// An exception behind an instruction: #DB, or an abort.
    Trap,
    /// An external interrupt or NMI.
    External,
    /// INT n, INT1, INT3, INTO.
    Software,
}

/// An event that has not been delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    event: Event,
    /// RIP of the instruction before it: INT n, if it is that.
    last: u64,
}

impl Held {
    pub(super) fn new(event: Event) -> Self {
        Held { event, last: 0 }
    }

    /// The same, once it is known which instruction was before it.
    pub(crate) fn after(self, last: u64) -> Self {
        Held { last, ..self }
    }

    /// Vector.
    pub fn vector(&self) -> u8 {
        self.event.vector
    }

    /// Error code.
    pub fn error_code(&self) -> Option<u32> {
        self.event.error
    }

    /// Kind.
    pub fn kind(&self) -> EventKind {
        match self.event.source {
            Source::External => EventKind::External,
            Source::Exception { fault: true } => EventKind::Fault,
            Source::Exception { fault: false } => EventKind::Trap,
            Source::Software | Source::Icebp => EventKind::Software,
        }
    }
}

impl Cpu {
    /// Delivers an event that was held back. What goes wrong on the way is a further event, held back again,
    /// or a shutdown. If an access was denied on the way, nothing has happened, and it can be called again.
    pub fn deliver_held(&mut self, held: &Held) {
        self.observe.deliver = true;
        match held.event.source {
            Source::Exception { .. } => deliver_through(self, held.event),
            source => match deliver(self, &held.event) {
                Ok(()) | Err(Exception::Restart) => {}
                Err(exception) => {
                    if source != Source::External {
                        self.rip = held.last;
                    }
                    deliver_exception(self, exception);
                }
            },
        }
        self.observe.deliver = false;
    }

    /// Forgets an event that was held back: an NMI that is not delivered does not block further ones.
    pub fn swallow_held(&mut self, held: &Held) {
        if held.kind() == EventKind::External && held.vector() == vector::NMI {
            self.events.nmi_blocked = false;
            self.signal.poll_again_if_waiting();
        }
    }
}
