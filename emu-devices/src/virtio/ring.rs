//! One split virtqueue: virtio 1.2, 2.7. Three areas of the driver's memory: descriptors; what is available, which the
//! driver writes; what has been used, which the device writes.

use super::chain::{Buffers, Chain, DESCRIPTOR};
use emu_core::memory::{Dma, MemoryError};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{Ordering, fence};

/// No MSI-X vector.
pub(super) const NO_VECTOR: u16 = 0xFFFF;
/// Flag of the available ring.
const NO_INTERRUPT: u16 = 1;
/// Offsets in the available and the used ring.
const FLAGS: u64 = 0;
const INDEX: u64 = 2;
const ELEMENTS: u64 = 4;
const AVAILABLE_ELEMENT: u64 = 2;
const USED_ELEMENT: u64 = 8;

/// What a driver may not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum RingError {
    #[error("an area of the queue is not aligned")]
    Alignment,
    #[error("more buffers available than the queue has")]
    Available,
    #[error("descriptor {0} is not in its table")]
    Index(u16),
    #[error("descriptor {0} is in use already")]
    InUse(u16),
    #[error("a chain without end")]
    Loop,
    #[error("a chain that is too long")]
    Long,
    #[error("a buffer to read behind one to write")]
    Order,
    #[error("an indirect descriptor out of place")]
    Indirect,
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// What the driver has negotiated for all rings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RingFeatures {
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
}

/// A ring's registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingState {
    pub(super) size: u16,
    pub(super) vector: u16,
    pub(super) enabled: bool,
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    next_available: u16,
    next_used: u16,
    /// Chains that have been taken and not given back: their first descriptors.
    taken: Vec<u16>,
}

/// A ring.
pub(super) struct Ring {
    pub(super) most: u16,
    pub(super) size: u16,
    pub(super) vector: u16,
    pub(super) enabled: bool,
    /// Addresses of the three areas.
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// The next element of the available and the used ring; both count on beyond the ring's size.
    next_available: u16,
    next_used: u16,
    /// `next_used` when the driver was last considered for an interrupt.
    considered: Option<u16>,
    /// A bit for each descriptor with which a chain begins that has been taken and not given back.
    taken: Box<[u64]>,
    /// Chains that a saved device had taken, to be taken again.
    again: Vec<u16>,
    /// Used elements have been added that the driver has not been considered for.
    pub(super) fresh: bool,
    /// The last chain's buffers; here so that their vectors are made once.
    buffers: Buffers,
}

impl Ring {
    pub(super) fn new(most: u16) -> Self {
        assert!(most.is_power_of_two(), "a queue of {most}");
        Ring {
            most,
            size: most,
            vector: NO_VECTOR,
            enabled: false,
            descriptors: 0,
            driver: 0,
            device: 0,
            next_available: 0,
            next_used: 0,
            considered: None,
            taken: vec![0; usize::from(most).div_ceil(64)].into(),
            again: Vec::new(),
            fresh: false,
            buffers: Buffers::default(),
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Ring::new(self.most);
    }

    /// Lets the driver's areas be used, if they can be.
    pub(super) fn enable(&mut self, dma: &Dma) -> Result<(), RingError> {
        let aligned = self.descriptors.is_multiple_of(16)
            && self.driver.is_multiple_of(2)
            && self.device.is_multiple_of(4);
        if !aligned {
            return Err(RingError::Alignment);
        }
        let size = usize::from(self.size);
        // Each ring ends with its event index.
        let driver_len = ELEMENTS as usize + size * AVAILABLE_ELEMENT as usize + 2;
        let device_len = ELEMENTS as usize + size * USED_ELEMENT as usize + 2;
        dma.buffer([
            (self.descriptors, size * DESCRIPTOR as usize),
            (self.driver, driver_len),
            (self.device, device_len),
        ])?;
        self.enabled = true;
        Ok(())
    }

    fn slot(&self, index: u16) -> u64 {
        (index & (self.size - 1)).into()
    }

    /// The event index of the driver: up to where it needs no interrupt.
    fn used_event(&self) -> u64 {
        self.driver + ELEMENTS + u64::from(self.size) * AVAILABLE_ELEMENT
    }

    /// The event index of the device: up to where it needs no notification.
    fn available_event(&self) -> u64 {
        self.device + ELEMENTS + u64::from(self.size) * USED_ELEMENT
    }

    /// Takes the next chain.
    pub(super) fn pop(
        &mut self,
        dma: &Dma,
        features: RingFeatures,
        (queue, life): (u16, u64),
    ) -> Result<Option<Chain>, RingError> {
        let head = match self.again.pop() {
            Some(head) => head,
            None => match self.next_head(dma, features)? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        let table = (self.descriptors, self.size);
        self.buffers.collect(dma, table, head, features.indirect)?;
        let readable = dma.buffer(self.buffers.readable.iter().copied())?;
        let writable = dma.buffer(self.buffers.writable.iter().copied())?;
        Ok(Some(Chain { queue, head, life, readable, writable }))
    }

    /// Takes the next element of the available ring.
    fn next_head(&mut self, dma: &Dma, features: RingFeatures) -> Result<Option<u16>, RingError> {
        let mut available = dma.load_u16(self.driver + INDEX)?;
        if available == self.next_available && features.event_idx {
            dma.store_u16(self.available_event(), self.next_available)?;
            // The driver adds and then looks whether to notify; this side says so and then looks.
            fence(Ordering::SeqCst);
            available = dma.load_u16(self.driver + INDEX)?;
        }
        let waiting = available.wrapping_sub(self.next_available);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.size {
            return Err(RingError::Available);
        }
        let at = self.driver + ELEMENTS + self.slot(self.next_available) * AVAILABLE_ELEMENT;
        let head = dma.load_u16(at)?;
        if head >= self.size {
            return Err(RingError::Index(head));
        }
        let (word, bit) = (usize::from(head / 64), 1 << (head % 64));
        if self.taken[word] & bit != 0 {
            return Err(RingError::InUse(head));
        }
        self.taken[word] |= bit;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(head))
    }

    /// Gives the chain that begins at `head` back, with so many bytes written.
    pub(super) fn push(&mut self, dma: &Dma, head: u16, written: u32) -> Result<(), RingError> {
        self.taken[usize::from(head / 64)] &= !(1 << (head % 64));
        let mut element = [0; USED_ELEMENT as usize];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        dma.write(self.device + ELEMENTS + self.slot(self.next_used) * USED_ELEMENT, &element)?;
        self.next_used = self.next_used.wrapping_add(1);
        dma.store_u16(self.device + INDEX, self.next_used)?;
        self.fresh = true;
        Ok(())
    }

    /// Whether the driver wants an interrupt for what has been used since this was asked last.
    pub(super) fn wants_interrupt(&mut self, dma: &Dma, features: RingFeatures) -> Result<bool, RingError> {
        self.fresh = false;
        // The driver says what it wants and then looks for used elements; this side has added and now looks.
        fence(Ordering::SeqCst);
        if !features.event_idx {
            return Ok(dma.load_u16(self.driver + FLAGS)? & NO_INTERRUPT == 0);
        }
        let event = dma.load_u16(self.used_event())?;
        let (new, old) = (self.next_used, self.considered.replace(self.next_used));
        let passed = |old: u16| new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old);
        Ok(old.is_none_or(passed))
    }

    pub(super) fn save(&self) -> RingState {
        let taken = (0..self.most).filter(|head| self.taken[usize::from(head / 64)] & 1 << (head % 64) != 0);
        RingState {
            size: self.size,
            vector: self.vector,
            enabled: self.enabled,
            descriptors: self.descriptors,
            driver: self.driver,
            device: self.device,
            next_available: self.next_available,
            next_used: self.next_used,
            taken: taken.collect(),
        }
    }

    pub(super) fn with_state(self, state: RingState, dma: &Dma) -> Result<Self, String> {
        let RingState {
            size,
            vector,
            enabled,
            descriptors,
            driver,
            device,
            next_available,
            next_used,
            taken: again,
        } = state;
        if !size.is_power_of_two() || size > self.most {
            return Err(format!("a queue of {size}, of at most {}", self.most));
        }
        let mut ring = Ring { size, vector, descriptors, driver, device, next_available, next_used, ..self };
        if enabled {
            ring.enable(dma).map_err(|error| error.to_string())?;
        }
        for head in &again {
            let word = ring.taken.get_mut(usize::from(head / 64)).filter(|_| *head < size);
            *word.ok_or_else(|| format!("descriptor {head} of {size}"))? |= 1 << (head % 64);
        }
        ring.again = again;
        Ok(ring)
    }
}
