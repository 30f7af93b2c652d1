//! Where the parts of the modern PCI transport are, and the capabilities that say so: virtio 1.2, 4.1.4.
//!
//! All are in one 64-bit window, a page each, as in QEMU; the MSI-X table has a window to itself. A notification address
//! per queue, so that whoever takes notifications needs nothing but the address.

use crate::pci::{Bar, BarKind, Endpoint, MsixLayout};
use std::ops::Range;

/// The window of the MSI-X table.
pub(super) const MSIX_BAR: u8 = 1;
const MSIX_LEN: u64 = 0x1000;
const MSIX_PENDING: u32 = 0x800;
/// Vectors for which table and pending bits have room.
pub(super) const MOST_VECTORS: u16 = (MSIX_PENDING / 16) as u16;
/// The window of everything else.
pub(super) const BAR: u8 = 4;
const LEN: u64 = 0x4000;

/// The parts of the window.
pub(super) const COMMON: Range<u64> = 0..0x38;
pub(super) const ISR: Range<u64> = 0x1000..0x1001;
pub(super) const DEVICE: Range<u64> = 0x2000..0x3000;
pub(super) const NOTIFY: Range<u64> = 0x3000..0x4000;
/// Bytes between the notification addresses of two queues.
pub(super) const NOTIFY_STEP: u64 = 4;

/// Capability ID: vendor-specific; and what kind it is.
const VENDOR_SPECIFIC: u8 = 0x09;
mod kind {
    pub(super) const COMMON: u8 = 1;
    pub(super) const NOTIFY: u8 = 2;
    pub(super) const ISR: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
    pub(super) const PCI: u8 = 5;
}

/// Offsets in the capability for access by configuration space.
pub(super) mod access {
    pub(in crate::virtio) const BAR: usize = 4;
    pub(in crate::virtio) const OFFSET: usize = 8;
    pub(in crate::virtio) const LENGTH: usize = 12;
    pub(in crate::virtio) const DATA: usize = 16;
}

/// Adds windows and capabilities. Returns where the capability for access by configuration space is.
pub(super) fn declare(endpoint: &mut Endpoint, vectors: u16) -> usize {
    endpoint.add_bar(MSIX_BAR, Bar { kind: BarKind::Memory32, size: MSIX_LEN });
    endpoint.add_bar(BAR, Bar { kind: BarKind::Memory64 { prefetchable: true }, size: LEN });
    endpoint.add_msix(MsixLayout { vectors, bar: MSIX_BAR, table: 0, pending: MSIX_PENDING });
    endpoint.add_power_management();
    let parts = [(kind::COMMON, COMMON), (kind::ISR, ISR), (kind::DEVICE, DEVICE)];
    for (kind, range) in parts {
        add(endpoint, &body(kind, BAR, &range, &[]), &[0; 14]);
    }
    add(endpoint, &body(kind::NOTIFY, BAR, &NOTIFY, &(NOTIFY_STEP as u32).to_le_bytes()), &[0; 18]);
    let mut writable = [0; 18];
    writable[access::BAR - 2] = 0xFF;
    writable[access::OFFSET - 2..].fill(0xFF);
    add(endpoint, &body(kind::PCI, 0, &(0..0), &[0; 4]), &writable)
}

/// A capability without ID and link: length, kind, window, place in it.
fn body(kind: u8, bar: u8, range: &Range<u64>, more: &[u8]) -> Vec<u8> {
    let mut body = vec![16 + more.len() as u8, kind, bar, 0, 0, 0];
    body.extend_from_slice(&(range.start as u32).to_le_bytes());
    body.extend_from_slice(&((range.end - range.start) as u32).to_le_bytes());
    body.extend_from_slice(more);
    body
}

fn add(endpoint: &mut Endpoint, body: &[u8], writable: &[u8]) -> usize {
    endpoint.config_mut().add_capability(VENDOR_SPECIFIC, body, writable)
}
