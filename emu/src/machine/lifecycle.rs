//! What ends a stretch of running, and who hears of it.
//!
//! Devices and vCPUs request an [`Event`] with locks held, on any thread; the machine's thread waits for it. A
//! request also asks all vCPUs to stop, so that a guest which has powered off executes next to nothing more.

use emu_core::engine::{VcpuSignal, request};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// Something that no vCPU can deal with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The guest entered the soft-off state.
    PowerOff,
    /// The guest asked for a reset of the machine, by any of the ways a PC has.
    Reset,
    /// The guest wrote this value to the debug exit port.
    DebugExit(u32),
    /// This vCPU shut down.
    TripleFault(usize),
    /// The user ends the machine.
    Quit,
}

/// The place where an event waits for the machine.
pub struct Lifecycle {
    pending: Mutex<Option<Event>>,
    requested: Condvar,
    signals: Vec<Arc<VcpuSignal>>,
}

impl Lifecycle {
    /// A machine of the vCPUs behind `signals`, nothing requested.
    pub fn new(signals: Vec<Arc<VcpuSignal>>) -> Self {
        Lifecycle { pending: Mutex::new(None), requested: Condvar::new(), signals }
    }

    /// Requests `event`. The first one counts: what vCPUs do until they have stopped is void. The user's wish
    /// comes before all.
    pub fn request(&self, event: Event) {
        let mut pending = self.pending.lock();
        if pending.is_none() || event == Event::Quit {
            *pending = Some(event);
        }
        self.requested.notify_one();
        drop(pending);
        for signal in &self.signals {
            signal.raise(request::STOP);
        }
    }

    /// Waits until something is requested.
    pub fn wait(&self) -> Event {
        let mut pending = self.pending.lock();
        loop {
            if let Some(event) = *pending {
                return event;
            }
            self.requested.wait(&mut pending);
        }
    }

    /// Whether the user has had enough.
    pub fn is_quitting(&self) -> bool {
        *self.pending.lock() == Some(Event::Quit)
    }

    /// Takes what was requested, when all vCPUs have stopped.
    pub fn take(&self) -> Event {
        self.pending.lock().take().unwrap_or(Event::Quit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_counts_but_for_the_users_wish() {
        let signal = Arc::<VcpuSignal>::default();
        let lifecycle = Lifecycle::new(vec![signal.clone()]);

        lifecycle.request(Event::PowerOff);
        lifecycle.request(Event::Reset);
        assert_eq!(lifecycle.wait(), Event::PowerOff);
        assert_eq!(signal.requests(), request::STOP);

        lifecycle.request(Event::Quit);
        assert_eq!(lifecycle.take(), Event::Quit);
        lifecycle.request(Event::Reset);
        assert_eq!(lifecycle.take(), Event::Reset, "what was taken is gone");
    }
}
