//! Automatic receive steering: virtio 1.2, 5.1.6.5.5. What belongs to a flow is received by the queue that the driver
//! last sent it from, and so on the processor that works on it.

use crate::network::Transport;

const BUCKETS: usize = 256;

/// The pair of queues for each flow; flows share places by a hash.
pub(super) struct Steering(Box<[u8; BUCKETS]>);

/// The place of a frame's flow, the same in both directions.
fn bucket(frame: &[u8]) -> Option<usize> {
    let layout = Transport::of(frame)?;
    let addresses = if layout.v6 {
        layout.network + 8..layout.network + 40
    } else {
        layout.network + 12..layout.network + 20
    };
    let ports = layout.start..layout.start + 4;
    let (words, _) = frame.get(addresses)?.as_chunks::<4>();
    let (sides, _) = frame.get(ports)?.as_chunks::<2>();
    let mixed = words.iter().fold(0, |mixed, word| mixed ^ u32::from_ne_bytes(*word));
    let mixed = sides.iter().fold(mixed, |mixed, port| mixed ^ u32::from(u16::from_ne_bytes(*port)));
    // Fibonacci hashing: the upper bits depend on all.
    Some((mixed.wrapping_mul(0x9E37_79B9) >> 24) as usize)
}

impl Steering {
    pub(super) fn new() -> Self {
        Steering(Box::new([0; BUCKETS]))
    }

    /// `frame` is sent from `pair`.
    pub(super) fn sent(&mut self, frame: &[u8], pair: u16) {
        if let Some(bucket) = bucket(frame) {
            self.0[bucket] = pair as u8;
        }
    }

    /// Which of `pairs` pairs is to receive `frame`.
    pub(super) fn receiver(&self, frame: &[u8], pairs: u16) -> u16 {
        let pair = if pairs > 1 { bucket(frame).map_or(0, |bucket| self.0[bucket].into()) } else { 0 };
        if pair < pairs { pair } else { 0 }
    }
}
