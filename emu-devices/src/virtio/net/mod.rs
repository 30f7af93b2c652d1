//! The network device: virtio 1.2, 5.1.
//!
//! Two pairs of queues, mergeable receive buffers, checksums and TCP segmentation left out in both directions, receive
//! filters, the control queue, the driver's announcement after a restore. Left out: UDP fragmentation and segmentation,
//! receive-side scaling and hash reports, notification coalescing, the standby feature, RSC.
//!
//! A packet is copied once in each direction: between the driver's buffers and the packet that the other end of the cable
//! has. Sending is done when the driver notifies. Receive buffers are taken when packets come, and those that were too
//! few for a packet are kept for the next.

mod control;
mod filter;
mod header;
mod receive;
mod steering;
#[cfg(test)]
mod tests;
mod transmit;

use super::{Chain, Link, Queues, VirtioDevice, VirtioIdentity, read_bytes};
use crate::network::{Cable, MacAddress};
use emu_core::backend::{Acceptance, NetworkBackend, NetworkReceiver, Packet};
use filter::Filter;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};
use steering::Steering;

/// Device type and PCI class: a network controller, Ethernet.
const IDENTITY: VirtioIdentity = VirtioIdentity { name: "virtio-net", id: 1, class: 0x02_0000 };
/// Pairs of queues.
const PAIRS: u16 = 2;
/// Descriptors of the queues: receiving one packet of 64 KiB takes tens of buffers.
const RECEIVE_QUEUE: u16 = 1024;
const TRANSMIT_QUEUE: u16 = 256;
const CONTROL_QUEUE: u16 = 64;

/// Feature bits: 5.1.3.
mod feature {
    pub(super) const CSUM: u64 = 1 << 0;
    pub(super) const GUEST_CSUM: u64 = 1 << 1;
    pub(super) const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const GUEST_TSO4: u64 = 1 << 7;
    pub(super) const GUEST_TSO6: u64 = 1 << 8;
    pub(super) const GUEST_ECN: u64 = 1 << 9;
    pub(super) const HOST_TSO4: u64 = 1 << 11;
    pub(super) const HOST_TSO6: u64 = 1 << 12;
    pub(super) const HOST_ECN: u64 = 1 << 13;
    pub(super) const MRG_RXBUF: u64 = 1 << 15;
    pub(super) const STATUS: u64 = 1 << 16;
    pub(super) const CTRL_VQ: u64 = 1 << 17;
    pub(super) const CTRL_RX: u64 = 1 << 18;
    pub(super) const CTRL_VLAN: u64 = 1 << 19;
    pub(super) const CTRL_RX_EXTRA: u64 = 1 << 20;
    pub(super) const GUEST_ANNOUNCE: u64 = 1 << 21;
    pub(super) const MQ: u64 = 1 << 22;
    pub(super) const CTRL_MAC_ADDR: u64 = 1 << 23;

    /// What is offered.
    pub(super) const ALL: u64 = CSUM
        | GUEST_CSUM
        | CTRL_GUEST_OFFLOADS
        | MTU
        | MAC
        | GUEST_TSO4
        | GUEST_TSO6
        | GUEST_ECN
        | HOST_TSO4
        | HOST_TSO6
        | HOST_ECN
        | MRG_RXBUF
        | STATUS
        | CTRL_VQ
        | CTRL_RX
        | CTRL_VLAN
        | CTRL_RX_EXTRA
        | GUEST_ANNOUNCE
        | MQ
        | CTRL_MAC_ADDR;

    /// Features, and those of which each needs one: 5.1.3.1.
    pub(super) const REQUIREMENTS: &[(u64, u64)] = &[
        (GUEST_TSO4 | GUEST_TSO6, GUEST_CSUM),
        (GUEST_ECN, GUEST_TSO4 | GUEST_TSO6),
        (HOST_TSO4 | HOST_TSO6, CSUM),
        (HOST_ECN, HOST_TSO4 | HOST_TSO6),
        (CTRL_RX | CTRL_VLAN | GUEST_ANNOUNCE | MQ | CTRL_MAC_ADDR | CTRL_GUEST_OFFLOADS, CTRL_VQ),
        (CTRL_RX_EXTRA, CTRL_RX),
    ];
}
/// Offloads that the driver may switch while it runs.
const OFFLOADS: u64 = feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;

/// Bits of the status in the configuration.
const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;

/// What a network device is made of.
pub struct NetConfig {
    /// The other end of the cable.
    pub backend: Arc<dyn NetworkBackend>,
    /// Its address.
    pub mac: MacAddress,
    /// The longest packet without its Ethernet header that the network takes uncut.
    pub mtu: u16,
}

/// The network device.
pub struct Net {
    cable: Cable,
    mac: MacAddress,
    mtu: u16,
    /// What the driver has accepted, and which of those offloads are on.
    features: u64,
    offloads: u64,
    filter: Filter,
    /// Pairs that receive.
    pairs: u16,
    steering: Steering,
    /// Receive buffers that were taken and are not filled yet.
    spare: [VecDeque<Chain>; PAIRS as usize],
    /// The driver is to announce itself; and it has to be told so.
    announce: bool,
    announce_now: bool,
}

/// Registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    features: u64,
    offloads: u64,
    filter: Filter,
    pairs: u16,
}

impl Net {
    /// A device on a cable.
    pub fn new(config: NetConfig) -> Self {
        let NetConfig { backend, mac, mtu } = config;
        Net {
            cable: Cable::new(backend),
            mac,
            mtu,
            features: 0,
            offloads: 0,
            filter: Filter::new(mac, false),
            pairs: 1,
            steering: Steering::new(),
            spare: Default::default(),
            announce: false,
            announce_now: false,
        }
    }

    /// The configuration space: 5.1.4.
    fn config(&self) -> [u8; 12] {
        let link = if self.cable.is_up() { LINK_UP } else { 0 };
        let status = link | if self.announce { ANNOUNCE } else { 0 };
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[6..8].copy_from_slice(&status.to_le_bytes());
        bytes[8..10].copy_from_slice(&PAIRS.to_le_bytes());
        bytes[10..].copy_from_slice(&self.mtu.to_le_bytes());
        bytes
    }

    /// The control queue comes behind the pairs that the driver knows of.
    fn control_queue(&self) -> u16 {
        if self.features & feature::MQ != 0 { 2 * PAIRS } else { 2 }
    }
}

/// The device, as the other end of the cable sees it.
struct Plug(Link<Net>);

impl NetworkReceiver for Plug {
    fn accepts(&self) -> Acceptance {
        let mut accepted = Acceptance::default();
        self.0.with(|net, _| accepted = net.acceptance());
        accepted
    }

    fn receive(&self, packets: &[Packet]) -> usize {
        let mut taken = packets.len();
        self.0.with(|net, queues| taken = net.receive(packets, queues));
        taken
    }
}

impl VirtioDevice for Net {
    type State = NetState;

    fn identity(&self) -> VirtioIdentity {
        IDENTITY
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = [RECEIVE_QUEUE, TRANSMIT_QUEUE].repeat(PAIRS.into());
        sizes.push(CONTROL_QUEUE);
        sizes
    }

    fn features(&self) -> u64 {
        feature::ALL
    }

    fn accepts(&self, features: u64) -> bool {
        let broken = |(of, need): &(u64, u64)| features & of != 0 && features & need == 0;
        !feature::REQUIREMENTS.iter().any(broken)
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        read_bytes(&self.config(), offset, bytes);
    }

    fn attach(&mut self, link: Link<Self>) {
        self.cable.connect(Arc::new(Plug(link)));
    }

    fn start(&mut self, features: u64) {
        self.features = features;
        self.offloads = features & OFFLOADS;
        self.filter = Filter::new(self.mac, features & feature::CTRL_VLAN != 0);
    }

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        if std::mem::take(&mut self.announce_now) {
            queues.config_changed();
        }
        match queue {
            _ if queue == self.control_queue() => self.control(queue, queues),
            _ if queue > self.control_queue() => {}
            _ if queue % 2 == 1 => self.transmit(queue / 2, queues),
            _ => self.cable.has_room(),
        }
    }

    fn reset(&mut self) {
        (self.features, self.offloads, self.pairs) = (0, 0, 1);
        self.filter = Filter::new(self.mac, false);
        self.steering = Steering::new();
        self.spare.iter_mut().for_each(VecDeque::clear);
        (self.announce, self.announce_now) = (false, false);
    }

    fn save(&self) -> NetState {
        let Net {
            cable: _,
            mac: _,
            mtu: _,
            features,
            offloads,
            filter,
            pairs,
            steering: _,
            spare: _,
            announce: _,
            announce_now: _,
        } = self;
        NetState { features: *features, offloads: *offloads, filter: filter.clone(), pairs: *pairs }
    }

    fn with_state(self, state: NetState) -> Result<Self, String> {
        let NetState { features, offloads, filter, pairs } = state;
        if !filter.is_whole() || !(1..=PAIRS).contains(&pairs) {
            return Err(format!("a filter of another device, or {pairs} pairs of queues"));
        }
        // Switches have not seen the machine where it is now.
        let announce = features & feature::GUEST_ANNOUNCE != 0;
        Ok(Net { features, offloads, filter, pairs, announce, announce_now: announce, ..self })
    }
}
