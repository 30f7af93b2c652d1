//! Network cards on the board.

use super::{
    chipset::{Chipset, ChipsetError, shared},
    pci_slots::PciSlots,
};
use crate::config::{NetworkCardSpec, NetworkModel};
use emu_core::{
    backend::NetworkBackend,
    bus::{MmioIo, PortIo},
};
use emu_devices::{
    network::{self, CardWires, NetworkCard, e1000::E1000, rtl8139::Rtl8139},
    pci::{PciFunction, WindowTargets},
    virtio::{Net, NetConfig, VirtioPci},
};
use std::sync::Arc;

/// The longest packet that any network takes uncut: Ethernet's.
const MTU: u16 = 1500;

/// Puts a card on the board, with `backend` at the other end of its cable.
pub fn add(
    chipset: &mut Chipset,
    slots: &mut PciSlots,
    card: NetworkCardSpec,
    backend: Arc<dyn NetworkBackend>,
) -> Result<(), ChipsetError> {
    match card.model {
        NetworkModel::Virtio => {
            let (address, wires) = slots.take()?;
            let device = Net::new(NetConfig { backend, mac: card.mac, mtu: MTU });
            let function = VirtioPci::new(device, wires).share();
            chipset.add_function(address, &function, WindowTargets::memory(function.clone()))?;
            Ok(())
        }
        NetworkModel::E1000 => add_card(chipset, slots, card, backend, E1000::new),
        NetworkModel::Rtl8139 => add_card(chipset, slots, card, backend, Rtl8139::new),
    }
}

fn add_card<C: NetworkCard + PciFunction + MmioIo + PortIo>(
    chipset: &mut Chipset,
    slots: &mut PciSlots,
    card: NetworkCardSpec,
    backend: Arc<dyn NetworkBackend>,
    make: fn(CardWires) -> C,
) -> Result<(), ChipsetError> {
    let (address, pci) = slots.take()?;
    let function = shared(make(CardWires { pci, backend: backend.clone(), mac: card.mac }));
    chipset.add_function(address, &function, WindowTargets::both(function.clone()))?;
    network::connect(&function, &*backend);
    Ok(())
}
