//! One connection: how far it is, and the credit of both sides (virtio 1.2, 5.10.6.3). Counters of bytes wrap.

use super::packet::Header;
use emu_core::backend::Shutdown;

/// Bytes of the guest's that the host keeps for one connection, until they are delivered.
pub(super) const BUF_ALLOC: u32 = 256 * 1024;
/// Bytes delivered after which the guest is told, unless it hears of it anyhow.
const TELL: u32 = BUF_ALLOC / 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The guest has asked for it; the host has not answered.
    FromGuest,
    /// The host has asked for it; the guest has not answered.
    FromHost,
    /// Data may flow.
    Open,
    /// Over for the guest. The host's side has been told and has not answered.
    Closing,
}

pub(super) struct Connection {
    pub(super) phase: Phase,
    /// What each side will do no more.
    pub(super) guest_shut: Shutdown,
    pub(super) host_shut: Shutdown,
    /// The host's side was refused bytes.
    pub(super) stalled: bool,
    /// An update of the credit waits to be sent.
    pub(super) update_waits: bool,
    /// Room that the guest has in all, and bytes that it has taken out of it.
    peer_buf_alloc: u32,
    peer_fwd_cnt: u32,
    /// Bytes that were sent to the guest.
    tx_cnt: u32,
    /// Bytes that have come from the guest, those of them that are delivered, and those that the guest knows to be.
    rx_cnt: u32,
    fwd_cnt: u32,
    told_fwd_cnt: u32,
}

impl Connection {
    pub(super) fn new(phase: Phase) -> Self {
        Connection {
            phase,
            guest_shut: Shutdown::default(),
            host_shut: Shutdown::default(),
            stalled: false,
            update_waits: false,
            peer_buf_alloc: 0,
            peer_fwd_cnt: 0,
            tx_cnt: 0,
            rx_cnt: 0,
            fwd_cnt: 0,
            told_fwd_cnt: 0,
        }
    }

    /// Every packet of the guest's tells its credit.
    pub(super) fn hear(&mut self, header: &Header) {
        (self.peer_buf_alloc, self.peer_fwd_cnt) = (header.buf_alloc, header.fwd_cnt);
    }

    /// Every packet to the guest tells the host's.
    pub(super) fn tell(&mut self, header: &mut Header) {
        (header.buf_alloc, header.fwd_cnt) = (BUF_ALLOC, self.fwd_cnt);
        self.told_fwd_cnt = self.fwd_cnt;
    }

    /// Bytes that may be sent to the guest.
    pub(super) fn credit(&self) -> usize {
        self.peer_buf_alloc.saturating_sub(self.tx_cnt.wrapping_sub(self.peer_fwd_cnt)) as usize
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.tx_cnt = self.tx_cnt.wrapping_add(bytes as u32);
    }

    /// Bytes of the guest's that are not delivered.
    fn kept(&self) -> u32 {
        self.rx_cnt.wrapping_sub(self.fwd_cnt)
    }

    /// Takes account of bytes from the guest. Whether it had the credit for them.
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        let has_credit = bytes <= BUF_ALLOC - self.kept();
        if has_credit {
            self.rx_cnt = self.rx_cnt.wrapping_add(bytes);
        }
        has_credit
    }

    /// Bytes have been delivered. Whether the guest should be told now.
    pub(super) fn delivered(&mut self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.kept());
        self.fwd_cnt = self.fwd_cnt.wrapping_add(bytes);
        self.fwd_cnt.wrapping_sub(self.told_fwd_cnt) >= TELL
    }

    /// Whether the guest wants nothing more of it, and all that it has sent is delivered.
    pub(super) fn is_finished(&self) -> bool {
        self.guest_shut == Shutdown::BOTH && self.kept() == 0
    }
}
