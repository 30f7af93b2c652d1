//! Console device: virtio 1.2, 5.3. Streams of bytes between guest and host: port 0 may be a console, the others have
//! names by which programs in the guest find them.
//!
//! The host's ends are [`StreamBackend`]s. Bytes of the guest stay in its buffers until the host's end takes them, and
//! bytes of the host's stay there until the guest has buffers: nothing is kept here.
//!
//! Left out: ports that come and go.

mod control;
mod port;
#[cfg(test)]
mod tests;

use super::{Link, Queues, VirtioDevice, VirtioIdentity, read_bytes};
use control::{Control, event};
use emu_core::backend::{StreamBackend, StreamReceiver};
use port::Port;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Feature bits.
mod feature {
    pub(super) const SIZE: u64 = 1 << 0;
    pub(super) const MULTIPORT: u64 = 1 << 1;
    pub(super) const EMERG_WRITE: u64 = 1 << 2;
}

/// Descriptors of each queue.
const QUEUE_SIZE: u16 = 128;
/// Queues of control messages.
const CONTROL_TO_GUEST: u16 = 2;
const CONTROL_TO_DEVICE: u16 = 3;
/// Offset of the emergency byte in the configuration, and the configuration's length.
const EMERG_WR: usize = 8;
const CONFIG: usize = 12;
/// The most ports: what MSI-X and the notification page have room for, and more than anybody names.
pub const MAX_PORTS: usize = 31;

/// What a port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// A console. Only port 0.
    Console,
    /// A channel with this name, as in `/dev/virtio-ports/NAME`.
    Named(String),
}

/// A virtio console device.
pub struct Console {
    ports: Vec<Port>,
    control: Control,
    /// Several ports have been negotiated.
    multiport: bool,
    /// Columns and rows of the console.
    size: (u16, u16),
}

/// The device's registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    ports: Vec<port::PortState>,
    control: control::ControlState,
    multiport: bool,
    size: (u16, u16),
}

/// A port, as its host's end sees it.
struct Receiver {
    link: Link<Console>,
    port: usize,
}

/// The receive and the transmit queue of a port.
fn queues_of(port: usize) -> (u16, u16) {
    // The control queues are behind those of port 0.
    let first = if port == 0 { 0 } else { 2 + 2 * port as u16 };
    (first, first + 1)
}

/// The port of a queue that is no control queue.
fn port_of(queue: u16) -> usize {
    usize::from(if queue < 2 { 0 } else { (queue - 2) / 2 })
}

impl Console {
    /// A device with these ports, at least one; a console comes first. Panics if there are more than [`MAX_PORTS`], or a
    /// console elsewhere.
    pub fn new(ports: Vec<(PortKind, Arc<dyn StreamBackend>)>) -> Self {
        assert!((1..=MAX_PORTS).contains(&ports.len()), "{} ports", ports.len());
        assert!(ports.iter().skip(1).all(|(kind, _)| *kind != PortKind::Console), "a console is port 0");
        Console {
            ports: ports.into_iter().map(|(kind, backend)| Port::new(kind, backend)).collect(),
            control: Control::default(),
            multiport: false,
            size: (80, 25),
        }
    }

    /// Whether there is a console and nothing else: then a driver needs to know nothing of ports.
    fn is_plain(&self) -> bool {
        self.ports.len() == 1 && self.ports[0].is_console()
    }

    /// A driver that knows nothing of ports has the first.
    fn is_reachable(&self, port: usize) -> bool {
        self.multiport || port == 0
    }

    fn send_control(&mut self, queues: &mut Queues) {
        self.control.send(queues);
        // There is room again for answers.
        self.take_control(queues);
    }

    fn take_control(&mut self, queues: &mut Queues) {
        while self.multiport && self.control.has_room() {
            let Some(chain) = queues.pop(CONTROL_TO_DEVICE) else { return };
            let message = control::Message::parse(&chain.readable);
            queues.complete(chain, 0);
            let Some(message) = message else { return queues.fail("a control message that is cut off") };
            self.obey(message, queues);
            self.control.send(queues);
        }
    }

    fn obey(&mut self, message: control::Message, queues: &mut Queues) {
        let control::Message { id, event, value } = message;
        if event == event::DEVICE_READY {
            if value == 1 {
                (0..self.ports.len()).for_each(|port| self.control.add(port, event::PORT_ADD, 1));
            }
            return;
        }
        let index = id as usize;
        let Some(port) = self.ports.get_mut(index) else {
            return log::debug!("virtio-console: event {event} of port {id}, which there is not");
        };
        match event {
            event::PORT_READY if value == 1 => self.introduce(index),
            event::PORT_OPEN => {
                port.set_guest_open(value == 1);
                if value == 1 {
                    port.backend.resume();
                } else {
                    port.transmit(queues_of(index).1, queues);
                }
            }
            _ => log::debug!("virtio-console: event {event}, {value} of port {id}"),
        }
    }

    /// Tells the driver what a port is that it knows the number of.
    fn introduce(&mut self, index: usize) {
        let port = &self.ports[index];
        match &port.kind {
            PortKind::Console => {
                self.control.add(index, event::CONSOLE_PORT, 1);
                self.control.resize(index, self.size);
            }
            PortKind::Named(name) => self.control.name(index, name),
        }
        if port.host_open || port.is_console() {
            self.control.add(index, event::PORT_OPEN, 1);
        }
    }

    fn receive(&mut self, index: usize, bytes: &[u8], queues: &mut Queues) -> usize {
        let port = &self.ports[index];
        let open = !self.multiport || port.is_console() || port.guest_open;
        let open = open && self.is_reachable(index);
        let taken = if open { port::fill(queues_of(index).0, bytes, queues) } else { 0 };
        self.ports[index].refused |= taken < bytes.len();
        taken
    }

    fn set_connected(&mut self, index: usize, connected: bool, queues: &mut Queues) {
        let port = &mut self.ports[index];
        if port.host_open == connected {
            return;
        }
        port.host_open = connected;
        // A console is always open.
        if self.multiport && !port.is_console() {
            self.control.add(index, event::PORT_OPEN, connected.into());
            self.control.send(queues);
        }
    }

    fn set_size(&mut self, index: usize, size: (u16, u16), queues: &mut Queues) {
        if !self.ports[index].is_console() || self.size == size {
            return;
        }
        self.size = size;
        if self.multiport {
            self.control.resize(index, size);
            self.control.send(queues);
        } else {
            queues.config_changed();
        }
    }
}

impl VirtioDevice for Console {
    type State = ConsoleState;

    fn identity(&self) -> VirtioIdentity {
        // Simple communication controller, other.
        VirtioIdentity { name: "virtio-console", id: 3, class: 0x07_8000 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let queues = if self.is_plain() { 2 } else { 2 + 2 * self.ports.len() };
        vec![QUEUE_SIZE; queues]
    }

    fn features(&self) -> u64 {
        let always = feature::SIZE | feature::EMERG_WRITE;
        if self.is_plain() { always } else { always | feature::MULTIPORT }
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let mut config = [0; CONFIG];
        config[..2].copy_from_slice(&self.size.0.to_le_bytes());
        config[2..4].copy_from_slice(&self.size.1.to_le_bytes());
        config[4..8].copy_from_slice(&(self.ports.len() as u32).to_le_bytes());
        read_bytes(&config, offset, bytes);
    }

    /// The emergency byte works at all times, also before the driver has set the device up.
    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        if offset == EMERG_WR
            && let [byte, ..] = bytes
        {
            // Lost where there is no room: there is nowhere to keep it.
            self.ports[0].backend.send(&[*byte]);
        }
    }

    fn attach(&mut self, link: Link<Self>) {
        for (index, port) in self.ports.iter().enumerate() {
            port.backend.connect(Arc::new(Receiver { link: link.clone(), port: index }));
        }
    }

    fn start(&mut self, features: u64) {
        self.multiport = features & feature::MULTIPORT != 0;
    }

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        if queue == CONTROL_TO_GUEST {
            return self.send_control(queues);
        }
        if queue == CONTROL_TO_DEVICE {
            return self.take_control(queues);
        }
        let index = port_of(queue);
        if !self.is_reachable(index) {
            return;
        }
        let port = &mut self.ports[index];
        if queue == queues_of(index).1 {
            port.transmit(queue, queues);
        } else if std::mem::take(&mut port.refused) {
            port.backend.resume();
        }
    }

    fn reset(&mut self) {
        self.multiport = false;
        self.control = Control::default();
        self.ports.iter_mut().for_each(Port::reset);
    }

    fn save(&self) -> Self::State {
        let Console { ports, control, multiport, size } = self;
        let ports = ports.iter().map(Port::save).collect();
        ConsoleState { ports, control: control.save(), multiport: *multiport, size: *size }
    }

    fn with_state(mut self, state: Self::State) -> Result<Self, String> {
        let ConsoleState { ports, control, multiport, size } = state;
        if ports.len() != self.ports.len() {
            return Err(format!("{} ports, not {}", ports.len(), self.ports.len()));
        }
        self.control = Control::restore(control, self.ports.len())?;
        for (index, (port, state)) in self.ports.iter_mut().zip(ports).enumerate() {
            // Whether somebody listens on the host the new host's end will tell.
            if port.restore(state) && multiport && !port.is_console() {
                self.control.add(index, event::PORT_OPEN, 0);
            }
        }
        Ok(Console { multiport, size, ..self })
    }
}

impl Receiver {
    fn with<T: Default>(&self, work: impl FnOnce(&mut Console, &mut Queues) -> T) -> T {
        let mut result = T::default();
        self.link.with(|console, queues| result = work(console, queues));
        result
    }
}

impl StreamReceiver for Receiver {
    fn receive(&self, bytes: &[u8]) -> usize {
        self.with(|console, queues| console.receive(self.port, bytes, queues))
    }

    fn writable(&self) {
        self.with(|console, queues| console.ports[self.port].transmit(queues_of(self.port).1, queues));
    }

    fn connected(&self, connected: bool) {
        self.with(|console, queues| console.set_connected(self.port, connected, queues));
    }

    fn resized(&self, columns: u16, rows: u16) {
        self.with(|console, queues| console.set_size(self.port, (columns, rows), queues));
    }
}
