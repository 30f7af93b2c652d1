//! pvpanic, the ISA form: a guest kernel that crashes says so. QEMU's docs/specs/pvpanic.rst, revision with
//! two events.

use bitflags::bitflags;
use emu_core::bus::{Device, IoError, IoResult, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

bitflags! {
    /// What a guest can report.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PanicEvent: u8 {
        /// The guest has crashed and handles it no further.
        const PANICKED = 1 << 0;
        /// The guest has crashed and a crash kernel takes over.
        const CRASH_LOADED = 1 << 1;
    }
}

/// Told what the guest reports.
pub type PanicReport = Box<dyn Fn(PanicEvent) + Send + Sync>;

/// The panic port. One region: 0x505, one port.
pub struct Pvpanic {
    report: PanicReport,
}

/// Saved state: there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvpanicState {}

impl Pvpanic {
    /// A port that passes events on to `report`.
    pub fn new(report: PanicReport) -> Self {
        Pvpanic { report }
    }
}

impl Device for Pvpanic {
    fn name(&self) -> &'static str {
        "pvpanic"
    }

    fn reset(&mut self) {}
}

impl PortIo for Pvpanic {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (offset, size) {
            (0, 1) => Ok(PanicEvent::all().bits().into()),
            (0, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (offset, size) {
            (0, 1) => {
                // Bits without a meaning are for events of a later revision.
                let event = PanicEvent::from_bits_truncate(value as u8);
                if !event.is_empty() {
                    (self.report)(event);
                }
                Ok(())
            }
            (0, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }
}

impl Snapshot for Pvpanic {
    type State = PvpanicState;
    type Args = PanicReport;

    fn save(&self) -> PvpanicState {
        let Pvpanic { report: _ } = self;
        PvpanicState {}
    }

    fn restore(report: PanicReport, state: PvpanicState) -> Result<Self, String> {
        let PvpanicState {} = state;
        Ok(Pvpanic { report })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{accesses, hammer};
    use emu_core::clock::VmClock;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn a_read_tells_the_supported_events() {
        assert_eq!(Pvpanic::new(Box::new(|_| {})).port_read(0, 0, 1), Ok(3));
    }

    #[test]
    fn known_events_are_reported_and_unknown_bits_are_not() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let mut port = Pvpanic::new(Box::new(move |event| sink.lock().push(event)));
        port.port_write(0, 0, 1, 0x01).unwrap();
        port.port_write(0, 0, 1, 0x80).unwrap();
        port.port_write(0, 0, 1, 0x82).unwrap();
        assert_eq!(*seen.lock(), [PanicEvent::PANICKED, PanicEvent::CRASH_LOADED]);
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            hammer(&mut Pvpanic::new(Box::new(|_| {})), &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
