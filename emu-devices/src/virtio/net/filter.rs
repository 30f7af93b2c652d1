//! Which packets the driver wants: virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3.

use crate::network::{Destination, MacAddress, VLAN, destination, vlan_tag};
use serde::{Deserialize, Serialize};

/// Addresses of each kind that are looked for one by one. With more the device lets all of the kind in, as it may.
const MOST_ADDRESSES: usize = 64;
const VLANS: usize = 4096;

/// Receive modes, by the number of their command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Promiscuous,
    AllMulticast,
    AllUnicast,
    NoMulticast,
    NoUnicast,
    NoBroadcast,
}

impl Mode {
    pub(super) fn of_command(command: u8) -> Option<Self> {
        use Mode::*;
        let modes = [Promiscuous, AllMulticast, AllUnicast, NoMulticast, NoUnicast, NoBroadcast];
        modes.get(usize::from(command)).copied()
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Addresses of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Table {
    /// None but the card's.
    #[default]
    Empty,
    /// These.
    Some(Vec<MacAddress>),
    /// More than are looked for.
    All,
}

impl Table {
    pub(super) fn of(addresses: &[u8]) -> Self {
        if addresses.len() > 6 * MOST_ADDRESSES {
            return Table::All;
        }
        Table::Some(addresses.as_chunks::<6>().0.to_vec())
    }

    fn has(&self, address: MacAddress) -> bool {
        match self {
            Table::Empty => false,
            Table::Some(addresses) => addresses.contains(&address),
            Table::All => true,
        }
    }
}

/// The filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filter {
    pub(super) mac: MacAddress,
    modes: u8,
    pub(super) unicast: Table,
    pub(super) multicast: Table,
    /// A bit for each VLAN that is let in; all are, if the driver does not choose.
    vlans: Option<Vec<u64>>,
}

impl Filter {
    /// Of a driver that has not said anything yet: everything.
    pub(super) fn new(mac: MacAddress, choose_vlans: bool) -> Self {
        Filter {
            mac,
            modes: Mode::Promiscuous.bit(),
            unicast: Table::Empty,
            multicast: Table::Empty,
            vlans: choose_vlans.then(|| vec![0; VLANS / 64]),
        }
    }

    /// Whether a saved one makes sense.
    pub(super) fn is_whole(&self) -> bool {
        self.vlans.as_ref().is_none_or(|vlans| vlans.len() == VLANS / 64)
    }

    fn is(&self, mode: Mode) -> bool {
        self.modes & mode.bit() != 0
    }

    pub(super) fn set_mode(&mut self, mode: Mode, on: bool) {
        self.modes = self.modes & !mode.bit() | if on { mode.bit() } else { 0 };
    }

    /// Lets a VLAN in, or not any more. False if there is no such one.
    pub(super) fn set_vlan(&mut self, vlan: u16, on: bool) -> bool {
        let words = self.vlans.as_mut();
        let Some(word) = words.and_then(|words| words.get_mut(usize::from(vlan / 64))) else { return false };
        let bit = 1 << (vlan % 64);
        *word = *word & !bit | if on { bit } else { 0 };
        true
    }

    /// Whether the driver wants `frame`.
    pub(super) fn passes(&self, frame: &[u8]) -> bool {
        let Some(destination) = destination(frame) else { return false };
        if self.is(Mode::Promiscuous) {
            return true;
        }
        if let (Some(vlans), Some(tag)) = (&self.vlans, vlan_tag(frame, VLAN)) {
            let vlan = usize::from(tag) % VLANS;
            if vlans[vlan / 64] >> (vlan % 64) & 1 == 0 {
                return false;
            }
        }
        match destination {
            Destination::Broadcast => !self.is(Mode::NoBroadcast),
            Destination::Multicast(_) if self.is(Mode::NoMulticast) => false,
            Destination::Unicast(_) if self.is(Mode::NoUnicast) => false,
            Destination::Multicast(address) => self.is(Mode::AllMulticast) || self.multicast.has(address),
            Destination::Unicast(address) => {
                address == self.mac || self.is(Mode::AllUnicast) || self.unicast.has(address)
            }
        }
    }
}
