//! Network cards under any guest and any network: each input is a row of accesses to the card's windows and
//! configuration space, of writes to memory, and of packets that arrive.

use emu_core::{
    backend::{
        ChecksumOffload, MAX_PACKET, NetworkBackend, NetworkReceiver, Packet, Segmentation, SegmentationKind,
    },
    bus::{Bus, IrqLine, MsiSink, Snapshot},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use emu_devices::{
    network::{CardWires, connect, e1000::E1000, rtl8139::Rtl8139},
    pci::{FunctionAddress, PciBus, PciWires, WindowTargets},
    virtio::{Net, NetConfig, VirtioPci},
};
use parking_lot::Mutex;
use std::sync::Arc;

const CARD: FunctionAddress = FunctionAddress::new(0, 1, 0);
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const MEMORY: u64 = 1 << 20;
/// Base address registers are put here, by their number.
const WINDOWS: u64 = 0xD000_0000;
const WINDOW: u64 = 0x100_0000;
const COMMAND: u16 = 0x04;
const BAR0: u16 = 0x10;
/// A tag and the frame check sequence may come to the longest packet.
const LONGEST: usize = MAX_PACKET + 8;
/// The virtio device's registers: the window's number, and offsets in it. Virtio 1.2, 4.1.4.3.
const VIRTIO_WINDOW: u64 = WINDOWS + 4 * WINDOW;
const NOTIFY: u64 = 0x3000;
const QUEUES: u64 = 5;
const QUEUE_SIZE: u64 = 8;
const VIRTIO_RINGS: u64 = 0x1_0000;

/// The other end of the cable, which only looks at what it gets.
#[derive(Default)]
pub(super) struct Network(Mutex<Option<Arc<dyn NetworkReceiver>>>);

impl NetworkBackend for Network {
    fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        *self.0.lock() = Some(receiver);
    }

    fn send(&self, packets: Vec<Packet>) {
        for packet in packets {
            let len = packet.bytes.len();
            assert!(len <= LONGEST, "a packet of {len} bytes");
            if let Some(Segmentation { size, headers, .. }) = packet.segmentation {
                assert!(size != 0 && usize::from(headers) <= len, "{headers} of {len}, by {size}");
            }
            if let Some(ChecksumOffload { start, offset }) = packet.checksum {
                assert!(usize::from(start) + usize::from(offset) + 2 <= len, "{start} + {offset} of {len}");
            }
        }
    }

    fn resume(&self) {}
}

struct Messages;

impl MsiSink for Messages {
    fn send_msi(&self, _address: u64, _data: u32) {}
}

/// A machine with one card.
struct Rig {
    bus: Bus,
    pci: PciBus,
    memory: Dma,
    network: Arc<Network>,
}

impl Rig {
    fn new() -> Self {
        let memory = GuestMemory::new(MEMORY).expect("a MiB");
        let memory = Dma::new(Arc::new(PhysicalMemory::new(memory)));
        Rig { bus: Bus::new(), pci: PciBus::new(), memory, network: Arc::default() }
    }

    fn wires(&self) -> PciWires {
        PciWires { intx: IrqLine::unconnected(), msi: Arc::new(Messages), dma: self.memory.clone() }
    }

    fn card_wires(&self) -> CardWires {
        CardWires { pci: self.wires(), backend: self.network.clone(), mac: MAC }
    }

    /// Gives windows to the card's base address registers, and lets it be bus master.
    fn start(&self) {
        for register in 0..6 {
            let base = WINDOWS + WINDOW * u64::from(register);
            self.pci.config_write(CARD, BAR0 + 4 * register, 4, base as u32);
        }
        // The upper half of a 64-bit register 4.
        self.pci.config_write(CARD, BAR0 + 20, 4, 0);
        self.pci.config_write(CARD, COMMAND, 2, 0b111);
        self.pci.map_windows(&self.bus);
    }

    /// Negotiates, sets up all queues, and says that the driver is ready.
    fn start_virtio(&self, without: u8) {
        let write =
            |offset: u64, size: u8, value: u64| self.bus.mmio_write(VIRTIO_WINDOW + offset, size, value);
        let chosen = LEFT_OUT.iter().enumerate().filter(|(bit, _)| without >> bit & 1 != 0);
        let left_out = chosen.fold(0, |all, (_, bits)| all | bits);
        write(0x14, 1, 3);
        write(0x0C, 4, self.bus.mmio_read(VIRTIO_WINDOW + 4, 4) & !left_out);
        write(0x08, 4, 1);
        write(0x0C, 4, 1);
        write(0x14, 1, 11);
        for queue in 0..QUEUES {
            let area = VIRTIO_RINGS + 0x1000 * queue;
            write(0x16, 2, queue);
            write(0x18, 2, QUEUE_SIZE);
            for (register, address) in [(0x20, area), (0x28, area + 0x100), (0x30, area + 0x200)] {
                write(register, 4, address);
                write(register + 4, 4, 0);
            }
            write(0x1C, 2, 1);
        }
        write(0x14, 1, 15);
        let status = self.bus.mmio_read(VIRTIO_WINDOW + 0x14, 1);
        assert_eq!(status, 15, "a driver that leaves out {left_out:#x} is not accepted");
    }

    fn fill(&self, address: u64, bytes: &[u8]) {
        // What is beyond the end of memory is another input.
        let _ = self.memory.write(address, bytes);
    }

    /// Does what `data` says; `window` is where the card's registers are.
    fn drive(&self, window: u64, data: &[u8]) {
        let mut rest = data;
        while let Some(([operation, a, b, c, d, e, f, g], more)) = rest.split_first_chunk::<8>() {
            rest = more;
            let (place, value) = (u16::from_le_bytes([*a, *b]), u32::from_le_bytes([*c, *d, *e, *f]));
            let size = [1, 2, 4, 8][usize::from(*g % 4)];
            match operation % 8 {
                0 | 1 => self.bus.mmio_write(window + u64::from(place), size, value.into()),
                2 => _ = self.bus.mmio_read(window + u64::from(place), size),
                // Registers are words, most of them.
                3 => self.bus.mmio_write(window + u64::from(place & !3), 4, value.into()),
                4 | 5 => {
                    let (now, later) = rest.split_at(rest.len().min(usize::from(*g)));
                    rest = later;
                    self.fill(u64::from(place) * 16, now);
                }
                6 => {
                    let (now, later) = rest.split_at(rest.len().min(usize::from(*g)));
                    rest = later;
                    self.offer(now, place, value);
                }
                _ => {
                    self.pci.config_write(CARD, place & 0xFF & !3, 4, value);
                    self.start();
                }
            }
            self.pci.map_windows(&self.bus);
        }
    }

    /// Lets a packet arrive that begins with `head`, is as long as `place` says, and whatever `value` says.
    fn offer(&self, head: &[u8], place: u16, value: u32) {
        let mut bytes = head.to_vec();
        bytes.resize(head.len() + usize::from(place % 9000), 0);
        let checksum = ChecksumOffload { start: value as u16 & 0x3FF, offset: (value >> 10) as u16 & 0x3F };
        let kinds = [SegmentationKind::Tcp4, SegmentationKind::Tcp6, SegmentationKind::Udp];
        let kind = kinds[value as usize >> 16 & 1];
        let segmentation = Segmentation { kind, size: place, headers: value as u16 & 0xFF, ecn: false };
        let packet = Packet {
            bytes,
            checksum: (value >> 20 & 1 != 0).then_some(checksum),
            segmentation: (value >> 21 & 1 != 0).then_some(segmentation),
            trusted: value >> 22 & 1 != 0,
        };
        let receiver = self.network.0.lock().clone();
        if let Some(receiver) = receiver {
            let count = receiver.receive(&[packet.clone(), packet]);
            assert!(count <= 2, "{count} of two packets");
        }
    }
}

/// The e1000.
pub fn e1000(data: &[u8]) {
    let rig = Rig::new();
    let card = Arc::new(Mutex::new(E1000::new(rig.card_wires())));
    rig.pci.add(CARD, card.clone(), WindowTargets::both(card.clone())).expect("an empty bus");
    connect(&card, &*rig.network);
    rig.start();
    // Both rings, and both directions on: what takes a driver long.
    let registers = [
        (0x2808, 128),
        (0x2800, 0x1000),
        (0x2818, 7),
        (0x3808, 128),
        (0x3800, 0x2000),
        (0x100, 0x801A),
        (0x400, 2),
    ];
    for (offset, value) in registers {
        rig.bus.mmio_write(WINDOWS + offset, 4, value);
    }
    rig.drive(WINDOWS, data);
    let state = card.lock().save();
    let copy = E1000::restore(rig.card_wires(), state.clone()).expect("a state of this card");
    assert_eq!(copy.save(), state);
}

/// The rtl8139. The first byte says in which mode.
pub fn rtl8139(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let rig = Rig::new();
    let card = Arc::new(Mutex::new(Rtl8139::new(rig.card_wires())));
    rig.pci.add(CARD, card.clone(), WindowTargets::both(card.clone())).expect("an empty bus");
    connect(&card, &*rig.network);
    rig.start();
    let window = WINDOWS + WINDOW;
    let mode = u64::from(*mode & 3);
    let registers =
        [(0xE0, mode), (0x30, 0x8000), (0xE4, 0x1000), (0xE8, 0), (0x20, 0x2000), (0x24, 0), (0x44, 0xF)];
    for (offset, value) in registers {
        rig.bus.mmio_write(window + offset, 4, value);
    }
    rig.bus.mmio_write(window + 0x37, 1, 0x0C);
    rig.drive(window, data);
    let state = card.lock().save();
    let copy = Rtl8139::restore(rig.card_wires(), state.clone()).expect("a state of this card");
    assert_eq!(copy.save(), state);
}

/// What a driver may leave out together, so that what is left makes sense: merged buffers, each side's offloads, pairs of
/// queues, event indices, tables of descriptors, VLANs, the control queue with all that needs it. Virtio 1.2, 5.1.3.
const LEFT_OUT: [u64; 8] = [1 << 15, 0x0782, 0x3801, 1 << 22, 1 << 29, 1 << 28, 1 << 19, 1 << 2 | 0x7F << 17];

/// The virtio network device, with all queues set up. The first byte says what the driver leaves out; then come the
/// beginnings of all queues, and then what else happens.
pub fn virtio_net(data: &[u8]) {
    let Some((without, data)) = data.split_first() else { return };
    let rig = Rig::new();
    let device = || Net::new(NetConfig { backend: rig.network.clone(), mac: MAC, mtu: 1500 });
    let card = VirtioPci::new(device(), rig.wires()).share();
    rig.pci.add(CARD, card.clone(), WindowTargets::memory(card.clone())).expect("an empty bus");
    rig.start();
    rig.start_virtio(*without);
    let mut rest = data;
    for queue in 0..QUEUES {
        let (ring, later) = rest.split_at(rest.len().min(0x40));
        rest = later;
        let (descriptors, available) = ring.split_at(ring.len().min(0x30));
        rig.fill(VIRTIO_RINGS + 0x1000 * queue, descriptors);
        rig.fill(VIRTIO_RINGS + 0x1000 * queue + 0x100, available);
        rig.bus.mmio_write(VIRTIO_WINDOW + NOTIFY + 4 * queue, 2, queue);
    }
    rig.drive(VIRTIO_WINDOW, rest);
    let state = card.lock().save();
    // A driver may have put its rings elsewhere, or outside of memory, since.
    if let Ok(copy) = VirtioPci::restore((device(), rig.wires()), state.clone()) {
        assert_eq!(copy.save(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encodings::Random;

    /// Inputs with small numbers in them: addresses, lengths and flags that fit together now and then.
    fn smoke(target: fn(&[u8]), seed: u64) {
        let mut random = Random::new(seed);
        for _ in 0..400 {
            let len = random.below(1200) as usize;
            let mut data: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
            for byte in &mut data {
                if random.below(2) == 0 {
                    *byte = random.pick(&[0, 0, 0, 1, 2, 3, 4, 8, 0x10, 0x20, 0x38, 0x80]);
                }
            }
            target(&data);
        }
    }

    #[test]
    fn an_e1000_stands_any_guest() {
        smoke(e1000, 0x1357_0001);
    }

    #[test]
    fn an_rtl8139_stands_any_guest() {
        smoke(rtl8139, 0x1357_0002);
    }

    #[test]
    fn a_virtio_network_device_stands_any_guest() {
        smoke(virtio_net, 0x1357_0003);
    }
}
