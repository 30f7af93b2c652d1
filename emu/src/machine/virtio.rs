//! Virtio devices other than disks and network cards on the board: entropy, console, balloon, shared folders, sockets.

use super::{
    chipset::{Chipset, ChipsetError, ChipsetParts},
    lifecycle::{Event, Lifecycle},
    pci_slots::PciSlots,
};
use crate::console::{SinkStream, VirtioPort, VirtioPorts};
use emu_core::memory::Dma;
use emu_devices::{
    pci::WindowTargets,
    virtio::{Balloon, Console, Entropy, Link, Plan9, VirtioDevice, VirtioPci, Vsock},
};
use std::{io, sync::Arc};

/// What the machine needs of them.
#[derive(Default)]
pub struct VirtioCards {
    /// Streams that begin with the machine.
    streams: Vec<Arc<SinkStream>>,
    /// The way to the balloon, if there is one.
    pub balloon: Option<Link<Balloon>>,
}

impl VirtioCards {
    /// From now on the guest has the user's keys.
    pub fn start(&mut self, lifecycle: &Arc<Lifecycle>) -> io::Result<()> {
        self.streams.drain(..).try_for_each(|stream| {
            let lifecycle = lifecycle.clone();
            stream.start(move || lifecycle.request(Event::Quit))
        })
    }
}

/// Puts the devices on the board.
pub fn add(
    chipset: &mut Chipset,
    parts: &ChipsetParts<'_>,
    slots: &mut PciSlots,
    virtio: VirtioPorts,
) -> Result<(), ChipsetError> {
    let VirtioPorts { ports, entropy, shares, vsock } = virtio;
    if !ports.is_empty() {
        let backends = ports.iter().map(|(kind, port)| (kind.clone(), port.backend())).collect();
        add_card(chipset, slots, Console::new(backends))?;
        chipset.virtio.streams.extend(ports.into_iter().filter_map(|(_, port)| match port {
            VirtioPort::Sink(stream) => Some(stream),
            VirtioPort::Socket(_) => None,
        }));
    }
    if let Some(entropy) = entropy {
        add_card(chipset, slots, Entropy::new(entropy))?;
    }
    if let Some(balloon) = parts.config.balloon {
        let balloon_link = add_card(chipset, slots, Balloon::new(Dma::new(parts.memory.clone())))?;
        if let Some(memory) = balloon.memory {
            let target = parts.config.memory.saturating_sub(memory);
            balloon_link.with(|balloon, queues| balloon.set_target(target, queues));
        }
        chipset.virtio.balloon = Some(balloon_link);
    }
    for (tag, share) in shares {
        add_card(chipset, slots, Plan9::new(share, &tag))?;
    }
    if let Some((cid, sockets)) = vsock {
        add_card(chipset, slots, Vsock::new(cid, sockets))?;
    }
    Ok(())
}

/// Puts a device into the next slot. Returns the way to it.
fn add_card<D: VirtioDevice>(
    chipset: &mut Chipset,
    slots: &mut PciSlots,
    device: D,
) -> Result<Link<D>, ChipsetError> {
    let (address, wires) = slots.take()?;
    let function = VirtioPci::new(device, wires).share();
    chipset.add_function(address, &function, WindowTargets::memory(function.clone()))?;
    Ok(Link::to(&function))
}
