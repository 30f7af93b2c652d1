//! Network cards on the board.

use super::{
    chipset::{Chipset, ChipsetError, shared},
    pci_slots::PciSlots,
};
use crate::{
    config::{NetworkCardSpec, NetworkModel, network_problem},
    console::NetworkPort,
    exit::OptionError,
};
use emu_core::{
    backend::NetworkBackend,
    bus::{MmioIo, PortIo},
    clock::VmClock,
};
use emu_devices::{
    network::{self, CardWires, NetworkCard, e1000::E1000, rtl8139::Rtl8139},
    pci::{PciFunction, WindowTargets},
    virtio::{Net, NetConfig, VirtioPci},
};
use emu_net::{Capture, CaptureError};
use std::sync::Arc;

/// The longest packet that any network takes uncut: Ethernet's.
const MTU: u16 = 1500;

/// Puts what writes packets down before the network, if the user wants that.
pub fn captured(port: NetworkPort, clock: &VmClock) -> Result<NetworkPort, OptionError> {
    let NetworkPort { card, network } = port;
    let Some(path) = &card.capture else { return Ok(NetworkPort { card, network }) };
    let refused = |error: CaptureError| {
        let problem = network_problem(&format!("--pcap {}", path.display()), &error);
        OptionError::new("--pcap", path.display(), problem)
    };
    let network = Arc::new(Capture::start(network, path, clock).map_err(refused)?);
    Ok(NetworkPort { card, network })
}

/// Puts a card on the board, with its network at the other end of the cable.
pub fn add(chipset: &mut Chipset, slots: &mut PciSlots, port: NetworkPort) -> Result<(), ChipsetError> {
    let NetworkPort { card, network: backend } = port;
    match card.model {
        NetworkModel::Virtio => {
            let (address, wires) = slots.take()?;
            let device = Net::new(NetConfig { backend, mac: card.mac.octets(), mtu: MTU });
            let function = VirtioPci::new(device, wires).share();
            chipset.add_function(address, &function, WindowTargets::memory(function.clone()))?;
            Ok(())
        }
        NetworkModel::E1000 => add_card(chipset, slots, &card, &backend, E1000::new),
        NetworkModel::Rtl8139 => add_card(chipset, slots, &card, &backend, Rtl8139::new),
    }
}

fn add_card<C: NetworkCard + PciFunction + MmioIo + PortIo>(
    chipset: &mut Chipset,
    slots: &mut PciSlots,
    card: &NetworkCardSpec,
    backend: &Arc<dyn NetworkBackend>,
    make: fn(CardWires) -> C,
) -> Result<(), ChipsetError> {
    let (address, pci) = slots.take()?;
    let function = shared(make(CardWires { pci, backend: backend.clone(), mac: card.mac.octets() }));
    chipset.add_function(address, &function, WindowTargets::both(function.clone()))?;
    network::connect(&function, &**backend);
    Ok(())
}
