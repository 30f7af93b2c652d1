//! The console: control messages, bytes both ways, and host's ends that take what they like.

use super::{Function, Subject};
use crate::fuzz::devices::Input;
use emu_core::{
    backend::{StreamBackend, StreamReceiver},
    memory::Dma,
};
use emu_devices::virtio::{Console, PortKind};
use parking_lot::Mutex;
use std::sync::Arc;

/// The queue of control messages to the device.
const CONTROL: u16 = 3;

#[derive(Default)]
struct EndState {
    receiver: Option<Arc<dyn StreamReceiver>>,
    /// Bytes that it takes.
    room: usize,
    /// It was offered more.
    owes: bool,
}

/// The host's end of a port.
#[derive(Default)]
struct End(Mutex<EndState>);

impl StreamBackend for End {
    fn connect(&self, receiver: Arc<dyn StreamReceiver>) {
        self.0.lock().receiver = Some(receiver);
    }

    fn send(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.lock();
        let taken = bytes.len().min(state.room);
        state.room -= taken;
        state.owes |= taken < bytes.len();
        taken
    }

    fn resume(&self) {}
}

impl End {
    fn receiver(&self) -> Option<Arc<dyn StreamReceiver>> {
        self.0.lock().receiver.clone()
    }

    fn make_room(&self, room: usize) {
        let mut state = self.0.lock();
        state.room = room;
        let owes = std::mem::take(&mut state.owes);
        let receiver = state.receiver.clone().filter(|_| owes);
        drop(state);
        if let Some(receiver) = receiver {
            receiver.writable();
        }
    }

    fn act(&self, input: &mut Input<'_>) {
        let Some(receiver) = self.receiver() else { return };
        match input.next(1) % 4 {
            0 => receiver.connected(input.next(1) & 1 != 0),
            1 => receiver.resized(input.next(1) as u16, input.next(2) as u16),
            2 => self.make_room(input.next(2) as usize),
            _ => {
                let bytes = vec![0x41; input.next(1) as usize * 16];
                let taken = receiver.receive(&bytes);
                assert!(taken <= bytes.len(), "{taken} of {} bytes", bytes.len());
            }
        }
    }
}

pub(super) struct Host {
    kinds: Vec<PortKind>,
    ends: Vec<Arc<End>>,
}

impl Subject for Host {
    type Device = Console;
    const TAKEN: u16 = 1;

    fn new(input: &mut Input<'_>) -> Self {
        let named = |name: &str| PortKind::Named(name.to_owned());
        let kinds = match input.next(1) % 4 {
            0 => vec![PortKind::Console],
            1 => vec![named("org.example.0"), named("b")],
            _ => vec![PortKind::Console, named("a"), named("org.example.0")],
        };
        let ends = kinds.iter().map(|_| Arc::default()).collect();
        Host { kinds, ends }
    }

    fn device(&self, _: &Dma) -> Console {
        let backends = self.ends.iter().map(|end| end.clone() as Arc<dyn StreamBackend>);
        Console::new(self.kinds.iter().cloned().zip(backends).collect())
    }

    /// Ready: device and all ports, which are open.
    fn greeting(&self) -> Vec<(u16, Vec<u8>)> {
        if self.kinds.len() == 1 {
            return Vec::new();
        }
        let ready = (CONTROL, control(0, 0, 1));
        let port = |port| [(CONTROL, control(port, 3, 1)), (CONTROL, control(port, 6, 1))];
        [ready].into_iter().chain((0..2).flat_map(port)).collect()
    }

    fn message(&self, queue: u16, input: &mut Input<'_>) -> Vec<u8> {
        if queue == CONTROL {
            let mut bytes =
                control(input.next(1) as u32 % 5, input.next(1) as u16 % 9, input.next(1) as u16 % 3);
            bytes.truncate(if input.next(1) < 0xF8 { 8 } else { 5 });
            return bytes;
        }
        vec![0x61; input.next(1) as usize * 8]
    }

    fn act(&self, _: &Function<Console>, input: &mut Input<'_>) {
        self.ends[input.next(1) as usize % self.ends.len()].act(input);
    }

    fn settle(&self) {
        self.ends.iter().for_each(|end| end.make_room(usize::MAX));
    }
}

/// A control message: virtio 1.2, 5.3.6.2.
fn control(port: u32, event: u16, value: u16) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}
