//! Streams of bytes with flow control both ways: what a port of the guest is connected to.

use std::sync::Arc;

/// The host's end.
pub trait StreamBackend: Send + Sync {
    /// Connects the guest's end. Once, before anything is sent.
    fn connect(&self, receiver: Arc<dyn StreamReceiver>);
    /// Takes bytes from the guest, as many as there is room for, and returns how many. Where it was not all,
    /// [`StreamReceiver::writable`] follows when there is room. Bytes that nobody listens to are taken, and lost.
    fn send(&self, bytes: &[u8]) -> usize;
    /// The guest's end, which had refused bytes, has room again.
    fn resume(&self);
}

/// The guest's end. Called on a thread of the backend's.
pub trait StreamReceiver: Send + Sync {
    /// Offers bytes. Returns how many were taken; the others are offered again, in order, after
    /// [`StreamBackend::resume`].
    fn receive(&self, bytes: &[u8]) -> usize;
    /// There is room for what [`StreamBackend::send`] had not taken.
    fn writable(&self);
    /// Somebody on the host listens, or does so no more. At first nobody does.
    fn connected(&self, connected: bool);
    /// The terminal on the host has so many columns and rows.
    fn resized(&self, columns: u16, rows: u16);
}
