//! Entropy device: virtio 1.2, 5.4. One queue, whose buffers are filled with random bytes.
//!
//! Left out: nothing; the device has no features and no configuration.

use super::{Link, Queues, VirtioDevice, VirtioIdentity};
use emu_core::backend::EntropyBackend;
use std::sync::Arc;

/// Descriptors of the queue.
const QUEUE_SIZE: u16 = 64;
/// The most random bytes for one request: a driver asks again for more, and no processor waits long.
const MOST: usize = 4096;

/// A virtio entropy device.
pub struct Entropy {
    backend: Arc<dyn EntropyBackend>,
}

impl Entropy {
    /// A device that gives what `backend` has.
    pub fn new(backend: Arc<dyn EntropyBackend>) -> Self {
        Entropy { backend }
    }
}

impl VirtioDevice for Entropy {
    type State = ();

    fn identity(&self) -> VirtioIdentity {
        // Other, as there is no class for it.
        VirtioIdentity { name: "virtio-rng", id: 4, class: 0xFF_0000 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, _offset: usize, _bytes: &mut [u8]) {}

    fn attach(&mut self, _link: Link<Self>) {}

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue) {
            let len = chain.writable.len().min(MOST);
            if len == 0 {
                return queues.fail("no room for random bytes");
            }
            let mut bytes = vec![0; len];
            if let Err(error) = self.backend.fill(&mut bytes) {
                // The request stays unanswered, as the driver is promised at least a byte with each answer.
                log::error!("virtio-rng: {error}");
                return;
            }
            chain.writable.copy_from(0, &bytes);
            queues.complete(chain, len as u32);
        }
    }

    fn reset(&mut self) {}

    fn save(&self) -> Self::State {}

    fn with_state(self, (): Self::State) -> Result<Self, String> {
        Ok(self)
    }
}
