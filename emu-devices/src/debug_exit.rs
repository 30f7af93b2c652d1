//! isa-debug-exit as QEMU has it: a write of `v` asks the machine to stop. The process then ends with status
//! `v << 1 | 1`, which is never 0, so that a test guest's success cannot be confused with a normal power-off.

use emu_core::bus::{Device, IoError, IoResult, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// Ports the device takes, usually from 0xF4.
pub const PORTS: u16 = 4;

/// Asks the machine to stop, with the value that the guest wrote.
pub type ExitRequest = Box<dyn Fn(u32) + Send + Sync>;

/// The debug exit port. One region of [`PORTS`] ports, usually at 0xF4.
pub struct DebugExit {
    request: ExitRequest,
}

/// Saved state: there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugExitState {}

impl DebugExit {
    /// A port that passes the value on to `request`.
    pub fn new(request: ExitRequest) -> Self {
        DebugExit { request }
    }
}

impl Device for DebugExit {
    fn name(&self) -> &'static str {
        "debug-exit"
    }

    fn reset(&mut self) {}
}

impl PortIo for DebugExit {
    fn port_read(&mut self, _region: u8, offset: u16, _size: u8) -> IoResult<u32> {
        if offset < PORTS { Ok(0) } else { Err(IoError::UnknownRegister) }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        if offset >= PORTS {
            return Err(IoError::UnknownRegister);
        }
        let value = match size {
            1 => value & 0xFF,
            2 => value & 0xFFFF,
            _ => value,
        };
        (self.request)(value);
        Ok(())
    }
}

impl Snapshot for DebugExit {
    type State = DebugExitState;
    type Args = ExitRequest;

    fn save(&self) -> DebugExitState {
        let DebugExit { request: _ } = self;
        DebugExitState {}
    }

    fn restore(request: ExitRequest, state: DebugExitState) -> Result<Self, String> {
        let DebugExitState {} = state;
        Ok(DebugExit { request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{accesses, hammer};
    use emu_core::clock::VmClock;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::sync::Arc;

    #[rstest]
    #[case::success(1, 0, 0)]
    #[case::byte_only(1, 0x1_10, 0x10)]
    #[case::word(2, 0x5_0100, 0x100)]
    #[case::dword(4, 0x8000_0001, 0x8000_0001)]
    fn a_write_asks_with_its_value(#[case] size: u8, #[case] written: u32, #[case] value: u32) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let sink = asked.clone();
        let mut port = DebugExit::new(Box::new(move |value| sink.lock().push(value)));
        port.port_write(0, 0, size, written).unwrap();
        assert_eq!(*asked.lock(), [value]);
    }

    #[test]
    fn a_read_asks_for_nothing() {
        let mut port = DebugExit::new(Box::new(|_| panic!("nothing was written")));
        assert_eq!(port.port_read(0, 0, 4), Ok(0));
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            hammer(&mut DebugExit::new(Box::new(|_| {})), &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
