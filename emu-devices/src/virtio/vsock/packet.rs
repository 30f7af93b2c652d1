//! Packets: virtio 1.2, 5.10.6. A header of 44 bytes, and data behind it.

use emu_core::{
    backend::{ConnectionKey, Shutdown},
    memory::DmaBuffer,
};

/// Bytes of a header.
pub(super) const HEADER: usize = 44;
/// The host's address.
pub(super) const HOST_CID: u64 = 2;
/// The type of connections that are streams.
pub(super) const STREAM: u16 = 1;

/// Operations.
pub(super) mod op {
    pub(in crate::virtio::vsock) const REQUEST: u16 = 1;
    pub(in crate::virtio::vsock) const RESPONSE: u16 = 2;
    pub(in crate::virtio::vsock) const RST: u16 = 3;
    pub(in crate::virtio::vsock) const SHUTDOWN: u16 = 4;
    pub(in crate::virtio::vsock) const RW: u16 = 5;
    pub(in crate::virtio::vsock) const CREDIT_UPDATE: u16 = 6;
    pub(in crate::virtio::vsock) const CREDIT_REQUEST: u16 = 7;
}

/// Flags of a shutdown: the sender takes no more, sends no more.
const SHUTDOWN_RECEIVE: u32 = 1;
const SHUTDOWN_SEND: u32 = 2;

/// A header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) src_cid: u64,
    pub(super) dst_cid: u64,
    pub(super) src_port: u32,
    pub(super) dst_port: u32,
    pub(super) len: u32,
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    pub(super) buf_alloc: u32,
    pub(super) fwd_cnt: u32,
}

impl Header {
    /// The header at the begin of `buffer`, which is a packet if its data is there too.
    pub(super) fn read(buffer: &DmaBuffer) -> Option<Header> {
        let data = buffer.len().checked_sub(HEADER)?;
        let mut bytes = [0; HEADER];
        buffer.copy_to(0, &mut bytes);
        let header = Header::parse(&bytes);
        (header.len as usize <= data).then_some(header)
    }

    pub(super) fn parse(bytes: &[u8; HEADER]) -> Header {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let dword = |at: usize| u32::from(word(at)) | u32::from(word(at + 2)) << 16;
        let qword = |at: usize| u64::from(dword(at)) | u64::from(dword(at + 4)) << 32;
        Header {
            src_cid: qword(0),
            dst_cid: qword(8),
            src_port: dword(16),
            dst_port: dword(20),
            len: dword(24),
            kind: word(28),
            op: word(30),
            flags: dword(32),
            buf_alloc: dword(36),
            fwd_cnt: dword(40),
        }
    }

    pub(super) fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.op.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// The connection that a packet of the guest's is of.
    pub(super) fn key(&self) -> ConnectionKey {
        ConnectionKey { guest: self.src_port, host: self.dst_port }
    }

    /// What a shutdown says.
    pub(super) fn shutdown(&self) -> Shutdown {
        Shutdown { receive: self.flags & SHUTDOWN_RECEIVE != 0, send: self.flags & SHUTDOWN_SEND != 0 }
    }
}

/// The flags of a shutdown.
pub(super) fn shutdown_flags(what: Shutdown) -> u32 {
    let receive = if what.receive { SHUTDOWN_RECEIVE } else { 0 };
    receive | if what.send { SHUTDOWN_SEND } else { 0 }
}
