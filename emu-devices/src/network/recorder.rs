//! For tests: the other end of a cable, which writes down what happens, and frames to send.

use super::{CardWires, MacAddress};
use crate::{pci::PciWires, probe::Probe};
use emu_core::{
    backend::{Acceptance, NetworkBackend, NetworkReceiver, Packet},
    bus::MsiSink,
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// The address of cards under test.
pub const MAC: MacAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// The pin of their INTA#.
pub const PIN: u32 = 1;
const PEER: MacAddress = [0x52, 0x55, 10, 0, 2, 2];

#[derive(Default)]
pub struct Recorder {
    pub sent: Mutex<Vec<Packet>>,
    pub resumed: AtomicU32,
    pub unplugged: AtomicBool,
    receiver: Mutex<Option<Arc<dyn NetworkReceiver>>>,
}

impl NetworkBackend for Recorder {
    fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        *self.receiver.lock() = Some(receiver);
    }
    fn send(&self, packets: Vec<Packet>) {
        self.sent.lock().extend(packets);
    }
    fn resume(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }
    fn link_up(&self) -> bool {
        !self.unplugged.load(Ordering::Relaxed)
    }
}

impl Recorder {
    /// Offers packets to the card.
    pub fn offer(&self, packets: &[Packet]) -> usize {
        let receiver = self.receiver.lock().clone().expect("a card is connected");
        receiver.receive(packets)
    }

    /// What the card takes unfinished.
    pub fn accepts(&self) -> Acceptance {
        self.receiver.lock().clone().expect("a card is connected").accepts()
    }

    /// What was sent since the last time.
    pub fn take_sent(&self) -> Vec<Packet> {
        std::mem::take(&mut self.sent.lock())
    }
}

/// Messages that were sent, by their data.
#[derive(Default)]
pub struct Messages(pub Mutex<Vec<u32>>);

impl MsiSink for Messages {
    fn send_msi(&self, _address: u64, data: u32) {
        self.0.lock().push(data);
    }
}

/// What a card under test is connected to.
pub struct Bench {
    pub memory: Dma,
    pub probe: Arc<Probe>,
    pub messages: Arc<Messages>,
    pub network: Arc<Recorder>,
}

impl Bench {
    pub fn new() -> Self {
        let memory = Dma::new(Arc::new(PhysicalMemory::new(GuestMemory::new(4 << 20).unwrap())));
        Bench { memory, probe: Probe::new(), messages: Arc::default(), network: Arc::default() }
    }

    pub fn wires(&self) -> CardWires {
        let pci =
            PciWires { intx: self.probe.line(PIN), msi: self.messages.clone(), dma: self.memory.clone() };
        CardWires { pci, backend: self.network.clone(), mac: MAC }
    }

    /// Memory at `address`.
    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }
}

/// A frame of `len` bytes of no known protocol.
pub fn frame(destination: MacAddress, len: usize) -> Vec<u8> {
    let mut frame = [&destination[..], &PEER, &[0x88, 0xB5]].concat();
    frame.extend((frame.len()..len).map(|at| at as u8));
    frame
}

/// A packet that needs nothing more.
pub fn packet(bytes: Vec<u8>) -> Packet {
    Packet { bytes, trusted: true, ..Packet::default() }
}

/// A TCP segment in IPv4 without options, with lengths and checksums left to the card: as drivers leave them.
pub fn tcp4(payload: &[u8]) -> Vec<u8> {
    let mut frame = [&PEER[..], &MAC, &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
    frame.extend([0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}
