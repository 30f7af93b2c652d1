//! The debug console of Bochs and QEMU at port 0xE9: every byte written is shown; a read returns 0xE9, by
//! which guests find it. Bochs documentation, "port_e9_hack".

use crate::serial::SerialBackend;
use emu_core::bus::{Device, IoError, IoResult, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// What a read returns.
const PRESENT: u32 = 0xE9;

/// The debug console. One region: 0xE9, one port.
pub struct Debugcon {
    backend: Box<dyn SerialBackend>,
}

/// Saved state: there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugconState {}

impl Debugcon {
    /// A console that writes to `backend`.
    pub fn new(backend: Box<dyn SerialBackend>) -> Self {
        Debugcon { backend }
    }
}

impl Device for Debugcon {
    fn name(&self) -> &'static str {
        "debugcon"
    }

    fn reset(&mut self) {}
}

impl PortIo for Debugcon {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (offset, size) {
            (0, 1) => Ok(PRESENT),
            (0, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (offset, size) {
            (0, 1) => self.backend.transmit(value as u8),
            (0, _) => return Err(IoError::Size),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

impl Snapshot for Debugcon {
    type State = DebugconState;
    type Args = Box<dyn SerialBackend>;

    fn save(&self) -> DebugconState {
        let Debugcon { backend: _ } = self;
        DebugconState {}
    }

    fn restore(backend: Box<dyn SerialBackend>, state: DebugconState) -> Result<Self, String> {
        let DebugconState {} = state;
        Ok(Debugcon { backend })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        probe::{accesses, hammer},
        serial::Recording,
    };
    use emu_core::clock::VmClock;
    use proptest::prelude::*;

    #[test]
    fn bytes_written_are_shown_and_a_read_tells_that_it_is_there() {
        let recording = Recording::default();
        let mut console = Debugcon::new(Box::new(recording.clone()));
        for byte in *b"ok\n" {
            console.port_write(0, 0, 1, byte.into()).unwrap();
        }
        assert_eq!(recording.sent(), b"ok\n");
        assert_eq!(console.port_read(0, 0, 1), Ok(0xE9));
    }

    #[test]
    fn a_word_is_refused_so_that_the_bus_splits_it() {
        let mut console = Debugcon::new(Box::new(Recording::default()));
        assert_eq!(console.port_write(0, 0, 2, 0x4141), Err(IoError::Size));
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            let mut console = Debugcon::new(Box::new(Recording::default()));
            hammer(&mut console, &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
