//! A device's queues, as the device sees them.

use super::{
    Chain,
    ring::{Ring, RingError, RingFeatures},
};
use emu_core::memory::Dma;

/// The queues of one device.
pub struct Queues {
    dma: Dma,
    pub(super) rings: Vec<Ring>,
    pub(super) features: RingFeatures,
    /// The driver is ready and has done nothing wrong.
    pub(super) running: bool,
    /// The function may access memory.
    pub(super) bus_master: bool,
    /// Counts resets.
    pub(super) life: u64,
    /// The driver has done something wrong that it has not been told of.
    pub(super) failed: bool,
    /// The device's configuration has changed, and the driver has not been told.
    pub(super) changed: bool,
}

impl Queues {
    pub(super) fn new(dma: Dma, sizes: &[u16]) -> Self {
        Queues {
            dma,
            rings: sizes.iter().map(|&size| Ring::new(size)).collect(),
            features: RingFeatures::default(),
            running: false,
            bus_master: false,
            life: 0,
            failed: false,
            changed: false,
        }
    }

    pub(super) fn reset(&mut self) {
        self.rings.iter_mut().for_each(Ring::reset);
        self.features = RingFeatures::default();
        (self.running, self.failed, self.changed) = (false, false, false);
        self.life += 1;
    }

    /// Takes the next chain that the driver has made available in `queue`.
    pub fn pop(&mut self, queue: u16) -> Option<Chain> {
        let usable = self.is_usable();
        let ring = self.rings.get_mut(usize::from(queue)).filter(|ring| usable && ring.enabled)?;
        let result = ring.pop(&self.dma, self.features, (queue, self.life));
        self.checked(queue, result).flatten()
    }

    /// Gives `chain` back to the driver, with `written` bytes at the begin of its writable buffers.
    pub fn complete(&mut self, chain: Chain, written: u32) {
        let held = self.holds(&chain);
        let Chain { queue, head, life: _, readable: _, writable: _ } = chain;
        // A device that may not access memory any more is about to be reset.
        if held {
            let result = self.rings[usize::from(queue)].push(&self.dma, head, written);
            self.checked(queue, result);
        }
    }

    /// Whether `chain` is still the driver's to get back, and its memory to be written: there was no reset since.
    pub fn holds(&self, chain: &Chain) -> bool {
        self.is_usable() && chain.life == self.life
    }

    /// Whether the rings may be accessed at all.
    fn is_usable(&self) -> bool {
        self.running && self.bus_master
    }

    /// The driver has asked for something without sense: the device works no more until it is reset.
    pub fn fail(&mut self, reason: &str) {
        if self.running {
            log::debug!("a virtio device needs a reset: {reason}");
            (self.running, self.failed) = (false, true);
        }
    }

    /// The device's configuration has changed.
    pub fn config_changed(&mut self) {
        self.changed |= self.running;
    }

    pub(super) fn enable(&mut self, queue: u16) -> Result<(), RingError> {
        match self.rings.get_mut(usize::from(queue)) {
            Some(ring) => ring.enable(&self.dma),
            None => Ok(()),
        }
    }

    /// The vector of the next queue whose driver wants an interrupt for what has been used.
    pub(super) fn next_interrupt(&mut self) -> Option<u16> {
        let usable = self.is_usable();
        while let Some(queue) = self.rings.iter().position(|ring| usable && ring.fresh) {
            let ring = &mut self.rings[queue];
            let (wants, vector) = (ring.wants_interrupt(&self.dma, self.features), ring.vector);
            if self.checked(queue as u16, wants) == Some(true) {
                return Some(vector);
            }
        }
        None
    }

    fn checked<T>(&mut self, queue: u16, result: Result<T, RingError>) -> Option<T> {
        result.map_err(|error| self.fail(&format!("queue {queue}: {error}"))).ok()
    }

    pub(super) fn with_states(mut self, states: Vec<super::ring::RingState>) -> Result<Self, String> {
        if states.len() != self.rings.len() {
            return Err(format!("{} queues, not {}", states.len(), self.rings.len()));
        }
        let dma = &self.dma;
        let rings = self.rings.into_iter().zip(states).map(|(ring, state)| ring.with_state(state, dma));
        self.rings = rings.collect::<Result<_, _>>()?;
        Ok(self)
    }
}
