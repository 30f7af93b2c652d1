//! 9P transport: virtio 1.2, 5.9. One queue of requests; a chain is a 9P message and room for its reply. The messages are
//! the backend's.
//!
//! Left out: nothing; the device has one feature and one field.

use super::{Chain, Link, Queues, VirtioDevice, VirtioIdentity, read_bytes};
use emu_core::backend::MessageBackend;
use std::sync::Arc;

/// Descriptors of the queue, as Linux's driver expects.
const QUEUE_SIZE: u16 = 128;
/// The longest message either way.
const MAX_MESSAGE: usize = 1 << 20;
/// Feature bit: the configuration has a tag.
const MOUNT_TAG: u64 = 1 << 0;
/// The longest tag.
pub const MAX_TAG: usize = 255;

/// A shared folder.
pub struct Plan9 {
    backend: Arc<dyn MessageBackend>,
    /// The length of the tag, and the tag.
    config: Vec<u8>,
    link: Option<Link<Plan9>>,
}

impl Plan9 {
    /// A device by which `backend` is known as `tag`. Panics if the tag is empty or longer than [`MAX_TAG`].
    pub fn new(backend: Arc<dyn MessageBackend>, tag: &str) -> Self {
        assert!((1..=MAX_TAG).contains(&tag.len()), "a tag of {} bytes", tag.len());
        let config = [&(tag.len() as u16).to_le_bytes(), tag.as_bytes()].concat();
        Plan9 { backend, config, link: None }
    }

    fn serve(&mut self, chain: Chain, queues: &mut Queues) {
        let Some(link) = self.link.clone() else { return };
        if chain.readable.len() > MAX_MESSAGE {
            return queues.fail("a 9P message that is too long");
        }
        let mut message = vec![0; chain.readable.len()];
        chain.readable.copy_to(0, &mut message);
        let room = chain.writable.len().min(MAX_MESSAGE);
        // How many the backend has at once is bounded by the queue: a chain is there until it is answered, or all are void.
        let reply = move |reply: Vec<u8>| link.with(|_, queues| answer(queues, chain, &reply));
        self.backend.request(message, room, Box::new(reply));
    }
}

/// Writes the reply and gives the chain back.
fn answer(queues: &mut Queues, chain: Chain, reply: &[u8]) {
    if !queues.holds(&chain) {
        return;
    }
    if reply.is_empty() || reply.len() > chain.writable.len() {
        return queues.fail("a 9P message without an answer, or without room for it");
    }
    chain.writable.copy_from(0, reply);
    queues.complete(chain, reply.len() as u32);
}

impl VirtioDevice for Plan9 {
    type State = ();

    fn identity(&self) -> VirtioIdentity {
        // Other mass storage.
        VirtioIdentity { name: "virtio-9p", id: 9, class: 0x01_8000 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn features(&self) -> u64 {
        MOUNT_TAG
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        read_bytes(&self.config, offset, bytes);
    }

    fn attach(&mut self, link: Link<Self>) {
        self.link = Some(link);
    }

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue) {
            self.serve(chain, queues);
        }
    }

    fn reset(&mut self) {
        self.backend.reset();
    }

    fn save(&self) -> Self::State {}

    fn with_state(self, (): Self::State) -> Result<Self, String> {
        Ok(self)
    }
}
