//! Requests and replies that a device carries and does not look into: 9P.

/// Told the reply. Called once, on a thread of the backend's. An empty reply is none: the request was malformed beyond
/// answering.
pub type Reply = Box<dyn FnOnce(Vec<u8>) + Send>;

/// A server of messages.
pub trait MessageBackend: Send + Sync {
    /// Takes a message. Returns at once; the reply, of at most `room` bytes, comes later, never from within. Replies come
    /// in any order.
    fn request(&self, message: Vec<u8>, room: usize, reply: Reply);
    /// Forgets everything that the guest has open: it has reset the device. Replies under way are dropped.
    fn reset(&self);
}
