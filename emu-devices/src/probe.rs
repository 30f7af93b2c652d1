//! For tests: a logic probe on wires, and a guest that pokes at ports without sense.

use emu_core::{
    bus::{IrqLine, IrqSink, PortIo},
    clock::VmClock,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::{collections::HashMap, sync::Arc};

/// What one wire did: its level, and how often it rose.
#[derive(Debug, Default, Clone, Copy)]
struct Wire {
    level: bool,
    rises: u32,
}

/// The far end of wires under test.
#[derive(Default)]
pub struct Probe(Mutex<HashMap<u32, Wire>>);

impl IrqSink for Probe {
    fn set_level(&self, pin: u32, level: bool) {
        let mut wires = self.0.lock();
        let wire = wires.entry(pin).or_default();
        wire.rises += u32::from(level && !wire.level);
        wire.level = level;
    }
}

impl Probe {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub fn line(self: &Arc<Self>, pin: u32) -> IrqLine {
        IrqLine::new(self.clone(), pin)
    }

    pub fn level(&self, pin: u32) -> bool {
        self.0.lock().get(&pin).is_some_and(|wire| wire.level)
    }

    pub fn rises(&self, pin: u32) -> u32 {
        self.0.lock().get(&pin).map_or(0, |wire| wire.rises)
    }
}

/// One access of a senseless guest, and the time it takes.
#[derive(Debug, Clone)]
pub struct Access {
    region: u8,
    offset: u16,
    size: u8,
    write: Option<u32>,
    nanos: u64,
}

/// Accesses to any region, at any offset, of any size and value; most of them where registers are.
pub fn accesses() -> impl Strategy<Value = Vec<Access>> {
    let region = prop_oneof![9 => 0u8..3, 1 => any::<u8>()];
    let offset = prop_oneof![9 => 0u16..8, 1 => any::<u16>()];
    let size = prop_oneof![8 => Just(1u8), 1 => Just(2u8), 1 => Just(4u8)];
    let write = prop_oneof![1 => Just(None), 2 => any::<u32>().prop_map(Some)];
    let nanos =
        prop_oneof![4 => 0u64..100_000, 1 => 0u64..2_000_000_000, 1 => any::<u64>().prop_map(|n| n >> 4)];
    let access = (region, offset, size, write, nanos)
        .prop_map(|(region, offset, size, write, nanos)| Access { region, offset, size, write, nanos });
    proptest::collection::vec(access, 1..200)
}

/// Makes `accesses`; `between` runs after each, for timers and hosts. The clock stops short of overflow, which
/// no machine lives to see.
pub fn hammer<D: PortIo>(
    device: &mut D,
    clock: &VmClock,
    accesses: &[Access],
    mut between: impl FnMut(&mut D, u32),
) {
    for access in accesses {
        // A refusal is an answer; only a panic is not.
        let (Ok(seen) | Err(seen)) = match access.write {
            None => device.port_read(access.region, access.offset, access.size).map_err(|_| 0),
            Some(value) => device
                .port_write(access.region, access.offset, access.size, value)
                .map(|()| value)
                .map_err(|_| 1),
        };
        if clock.now() < 1 << 62 {
            clock.advance(access.nanos.min(1 << 61));
        }
        between(device, seen);
    }
}
