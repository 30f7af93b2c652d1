//! The control queue: virtio 1.2, 5.1.6.5.

use super::{
    super::{Chain, Queues},
    Net, OFFLOADS, PAIRS, feature,
    filter::{Mode, Table},
};

/// The longest command: two tables of addresses, much longer than any driver has.
const LONGEST: usize = 64 << 10;

/// Answers.
const OK: u8 = 0;
const ERR: u8 = 1;

/// Classes, and their commands where there is no list of them elsewhere.
mod class {
    pub(super) const RX: u8 = 0;
    pub(super) const MAC: u8 = 1;
    pub(super) const VLAN: u8 = 2;
    pub(super) const ANNOUNCE: u8 = 3;
    pub(super) const MQ: u8 = 4;
    pub(super) const GUEST_OFFLOADS: u8 = 5;
}
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;
const VLAN_ADD: u8 = 0;
const VLAN_DEL: u8 = 1;
const ANNOUNCE_ACK: u8 = 0;
const MQ_PAIRS_SET: u8 = 0;
const OFFLOADS_SET: u8 = 0;

/// Takes a table of addresses, with its number of entries before it, off the front of `data`.
fn take_table(data: &mut &[u8]) -> Option<Table> {
    let (count, rest) = data.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(6)?;
    let (addresses, rest) = rest.split_at_checked(len)?;
    *data = rest;
    Some(Table::of(addresses))
}

impl Net {
    /// Does what the driver has put on the control queue.
    pub(super) fn control(&mut self, queue: u16, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue) {
            if chain.writable.is_empty() || chain.readable.len() < 2 {
                return queues.fail("a control command without class, command or room for the answer");
            }
            let answer = if self.command(&chain).is_some() { OK } else { ERR };
            chain.writable.copy_from(0, &[answer]);
            queues.complete(chain, 1);
        }
    }

    /// Does one command; `None` if it makes no sense.
    fn command(&mut self, chain: &Chain) -> Option<()> {
        if chain.readable.len() > LONGEST {
            return None;
        }
        let mut bytes = vec![0; chain.readable.len()];
        chain.readable.copy_to(0, &mut bytes);
        let ([class, command], mut data) =
            bytes.split_first_chunk::<2>().map(|(head, data)| (*head, data))?;
        match (class, command) {
            (class::RX, _) => {
                let mode = Mode::of_command(command)?;
                let extra = !matches!(mode, Mode::Promiscuous | Mode::AllMulticast);
                self.require(if extra { feature::CTRL_RX_EXTRA } else { feature::CTRL_RX })?;
                self.filter.set_mode(mode, *data.first()? != 0);
            }
            (class::MAC, MAC_TABLE_SET) => {
                self.require(feature::CTRL_RX)?;
                let (unicast, multicast) = (take_table(&mut data)?, take_table(&mut data)?);
                (self.filter.unicast, self.filter.multicast) = (unicast, multicast);
            }
            (class::MAC, MAC_ADDR_SET) => {
                self.require(feature::CTRL_MAC_ADDR)?;
                self.filter.mac = *data.first_chunk()?;
            }
            (class::VLAN, VLAN_ADD | VLAN_DEL) => {
                self.require(feature::CTRL_VLAN)?;
                let vlan = u16::from_le_bytes(*data.first_chunk()?);
                self.filter.set_vlan(vlan, command == VLAN_ADD).then_some(())?;
            }
            (class::ANNOUNCE, ANNOUNCE_ACK) => {
                self.require(feature::GUEST_ANNOUNCE)?;
                self.announce = false;
            }
            (class::MQ, MQ_PAIRS_SET) => {
                self.require(feature::MQ)?;
                let pairs = u16::from_le_bytes(*data.first_chunk()?);
                self.pairs = (1..=PAIRS).contains(&pairs).then_some(pairs)?;
            }
            (class::GUEST_OFFLOADS, OFFLOADS_SET) => {
                self.require(feature::CTRL_GUEST_OFFLOADS)?;
                let offloads = u64::from_le_bytes(*data.first_chunk()?);
                let possible = self.features & OFFLOADS;
                self.offloads = (offloads & !possible == 0).then_some(offloads)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn require(&self, feature: u64) -> Option<()> {
        (self.features & feature != 0).then_some(())
    }
}
