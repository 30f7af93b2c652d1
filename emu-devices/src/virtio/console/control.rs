//! Control messages: virtio 1.2, 5.3.6.2. What device and driver tell each other of ports.

use crate::virtio::Queues;
use emu_core::memory::DmaBuffer;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Events.
pub(super) mod event {
    pub(in crate::virtio::console) const DEVICE_READY: u16 = 0;
    pub(in crate::virtio::console) const PORT_ADD: u16 = 1;
    pub(in crate::virtio::console) const PORT_READY: u16 = 3;
    pub(in crate::virtio::console) const CONSOLE_PORT: u16 = 4;
    pub(in crate::virtio::console) const RESIZE: u16 = 5;
    pub(in crate::virtio::console) const PORT_OPEN: u16 = 6;
    pub(in crate::virtio::console) const PORT_NAME: u16 = 7;
}

/// Bytes of a message without what may follow it.
const HEADER: usize = 8;
/// Messages that wait for the driver's buffers, from which on nothing is taken from it that could make more.
pub(super) const MOST_WAITING: usize = 256;
/// The most that the host may add to them. A port whose host's end comes and goes makes two, which say the same as one.
const MOST: usize = 2 * MOST_WAITING;

/// What the driver says.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) id: u32,
    pub(super) event: u16,
    pub(super) value: u16,
}

impl Message {
    pub(super) fn parse(buffer: &DmaBuffer) -> Option<Message> {
        let mut bytes = [0; HEADER];
        if buffer.len() < HEADER {
            return None;
        }
        buffer.copy_to(0, &mut bytes);
        let [i0, i1, i2, i3, e0, e1, v0, v1] = bytes;
        Some(Message {
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            event: u16::from_le_bytes([e0, e1]),
            value: u16::from_le_bytes([v0, v1]),
        })
    }
}

/// Messages that the driver has not been told yet.
#[derive(Default)]
pub(super) struct Control {
    waiting: VecDeque<Vec<u8>>,
}

/// The same, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlState {
    waiting: Vec<Vec<u8>>,
}

impl Control {
    /// Whether one of the driver's messages may be answered.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MOST_WAITING
    }

    pub(super) fn add(&mut self, port: usize, event: u16, value: u16) {
        self.push(port, event, value, &[]);
    }

    pub(super) fn name(&mut self, port: usize, name: &str) {
        self.push(port, event::PORT_NAME, 1, name.as_bytes());
    }

    /// Columns come first, as the specification has it. Linux reads them second before version 6.15.
    pub(super) fn resize(&mut self, port: usize, (columns, rows): (u16, u16)) {
        let [[c0, c1], [r0, r1]] = [columns.to_le_bytes(), rows.to_le_bytes()];
        self.push(port, event::RESIZE, 0, &[c0, c1, r0, r1]);
    }

    fn push(&mut self, port: usize, event: u16, value: u16, more: &[u8]) {
        let mut message = Vec::with_capacity(HEADER + more.len());
        message.extend_from_slice(&(port as u32).to_le_bytes());
        message.extend_from_slice(&event.to_le_bytes());
        if matches!(event, event::PORT_OPEN | event::RESIZE) {
            // What has not been told and is not so any more needs no telling.
            self.waiting.retain(|waiting| waiting[..6] != message[..6]);
        }
        message.extend_from_slice(&value.to_le_bytes());
        message.extend_from_slice(more);
        self.waiting.push_back(message);
    }

    /// Tells the driver what it has buffers for.
    pub(super) fn send(&mut self, queues: &mut Queues) {
        while !self.waiting.is_empty() {
            let Some(chain) = queues.pop(super::CONTROL_TO_GUEST) else { return };
            let Some(message) = self.waiting.pop_front() else { return };
            if chain.writable.len() < message.len() {
                return queues.fail("no room for a control message");
            }
            chain.writable.copy_from(0, &message);
            queues.complete(chain, message.len() as u32);
        }
    }

    pub(super) fn save(&self) -> ControlState {
        let Control { waiting } = self;
        ControlState { waiting: waiting.iter().cloned().collect() }
    }

    /// Takes saved messages, of a device with so many ports.
    pub(super) fn restore(state: ControlState, ports: usize) -> Result<Self, String> {
        let ControlState { waiting } = state;
        let makes_sense = |message: &Vec<u8>| {
            let id = message.first_chunk::<4>().map(|id| u32::from_le_bytes(*id) as usize);
            message.len() >= HEADER && id.is_some_and(|id| id < ports)
        };
        if waiting.len() > MOST || !waiting.iter().all(makes_sense) {
            return Err("control messages that make no sense".into());
        }
        Ok(Control { waiting: waiting.into() })
    }
}
