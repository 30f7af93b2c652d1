//! Memory balloon device: virtio 1.2, 5.5. The guest gives pages away, by the host's wish (the balloon) or because it
//! happens not to use them (free page reporting); they go back to the host at once and read as zeroes.
//!
//! Queues are numbered as QEMU numbers them and Linux expects them: the one of reports comes behind that of statistics,
//! since there is none for hints (which the specification would put between them).
//!
//! Left out: MUST_TELL_HOST (pages may be used again without a word), free page hints, page poisoning.

mod statistics;
#[cfg(test)]
mod tests;

pub use statistics::Statistics;

use super::{Chain, Link, Queues, VirtioDevice, VirtioIdentity, read_bytes};
use emu_core::memory::{Dma, DmaBuffer};
use serde::{Deserialize, Serialize};

/// Feature bits.
mod feature {
    pub(super) const STATS_VQ: u64 = 1 << 1;
    pub(super) const DEFLATE_ON_OOM: u64 = 1 << 2;
    pub(super) const PAGE_REPORTING: u64 = 1 << 5;
}

/// Queues.
mod queue {
    pub(super) const INFLATE: u16 = 0;
    pub(super) const DEFLATE: u16 = 1;
    pub(super) const STATISTICS: u16 = 2;
    pub(super) const REPORTING: u16 = 3;
}

const QUEUE_SIZES: [u16; 4] = [128, 128, 128, 32];
/// Bytes of a page of the balloon, whatever the guest's pages are.
pub const BALLOON_PAGE: u64 = 4096;
/// The most pages of one request. Linux names 256.
const MOST_PAGES: usize = 0x1_0000;
/// Page numbers that are looked at together.
const BATCH: usize = 1024;
/// Where the driver writes in the configuration how many pages the balloon holds.
const ACTUAL: usize = 4;
const CONFIG: usize = 8;

/// A virtio memory balloon.
pub struct Balloon {
    dma: Dma,
    /// Pages that the balloon is to hold, and those that the driver says it holds.
    num_pages: u32,
    actual: u32,
    /// What the driver reported last.
    statistics: Statistics,
    /// The driver's buffer for statistics, which waits until somebody wants new ones.
    waiting: Option<Chain>,
    /// Somebody wants new ones and there was no buffer.
    wanted: bool,
    /// Bytes that have been given back, by balloon and by report, since power-on.
    returned: Returned,
}

/// Bytes that a guest has given back to the host, since power-on. What was given back more than once counts each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// Put into the balloon.
    pub inflated: u64,
    /// Reported as free.
    pub reported: u64,
}

/// The device's registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonState {
    num_pages: u32,
    actual: u32,
    statistics: Statistics,
    wanted: bool,
    returned: Returned,
}

impl Balloon {
    /// An empty balloon in the memory behind `dma`.
    pub fn new(dma: Dma) -> Self {
        Balloon {
            dma,
            num_pages: 0,
            actual: 0,
            statistics: Statistics::default(),
            waiting: None,
            wanted: false,
            returned: Returned::default(),
        }
    }

    /// Asks the driver to let the balloon hold `bytes`.
    pub fn set_target(&mut self, bytes: u64, queues: &mut Queues) {
        let pages = u32::try_from(bytes / BALLOON_PAGE).unwrap_or(u32::MAX);
        if self.num_pages != pages {
            self.num_pages = pages;
            queues.config_changed();
        }
    }

    /// Bytes that it is to hold.
    pub fn target(&self) -> u64 {
        u64::from(self.num_pages) * BALLOON_PAGE
    }

    /// Bytes that the driver says it holds.
    pub fn size(&self) -> u64 {
        u64::from(self.actual) * BALLOON_PAGE
    }

    /// What has been given back so far.
    pub fn returned(&self) -> Returned {
        self.returned
    }

    /// What the driver reported last about the guest's memory.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Asks the driver for new statistics; they come a little later, where the driver has any.
    pub fn refresh_statistics(&mut self, queues: &mut Queues) {
        match self.waiting.take() {
            Some(chain) => queues.complete(chain, 0),
            None => self.wanted = true,
        }
    }

    /// Gives the pages back whose numbers are in `list`: each four bytes, little-endian.
    fn inflate(&mut self, list: &DmaBuffer) {
        for from in (0..list.len()).step_by(4 * BATCH) {
            let mut bytes = vec![0; (list.len() - from).min(4 * BATCH)];
            list.copy_to(from, &mut bytes);
            let (numbers, _) = bytes.as_chunks::<4>();
            let mut pages: Vec<u32> = numbers.iter().map(|number| u32::from_le_bytes(*number)).collect();
            pages.sort_unstable();
            pages.dedup();
            // Pages beside each other go back together.
            for run in pages.chunk_by(|a, b| a + 1 == *b) {
                if !self.give_back(run[0], run.len()) {
                    // Whatever the driver means by those that are no RAM: there is nothing to give back.
                    for page in run {
                        self.give_back(*page, 1);
                    }
                }
            }
        }
    }

    /// Whether so many pages from number `first` on are RAM, which is then given back.
    fn give_back(&mut self, first: u32, pages: usize) -> bool {
        let len = pages * BALLOON_PAGE as usize;
        let returned = self.dma.discard(u64::from(first) * BALLOON_PAGE, len).is_ok();
        self.returned.inflated += if returned { len as u64 } else { 0 };
        returned
    }

    fn inflate_or_deflate(&mut self, queue: u16, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue) {
            let len = chain.readable.len();
            if !len.is_multiple_of(4) || len / 4 > MOST_PAGES {
                return queues.fail("a list of pages that is none, or too long");
            }
            if queue == queue::INFLATE {
                self.inflate(&chain.readable);
            }
            queues.complete(chain, 0);
        }
    }

    fn report(&mut self, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue::REPORTING) {
            chain.writable.discard();
            self.returned.reported += chain.writable.len() as u64;
            queues.complete(chain, 0);
        }
    }

    fn take_statistics(&mut self, queues: &mut Queues) {
        while let Some(chain) = queues.pop(queue::STATISTICS) {
            let mut bytes = vec![0; chain.readable.len().min(statistics::MOST)];
            chain.readable.copy_to(0, &mut bytes);
            self.statistics = Statistics::parse(&bytes);
            // One buffer is the driver's and the device's in turn: of two, the older goes back.
            if let Some(older) = self.waiting.replace(chain) {
                queues.complete(older, 0);
            }
        }
        if self.waiting.is_some() && std::mem::take(&mut self.wanted) {
            self.refresh_statistics(queues);
        }
    }
}

impl VirtioDevice for Balloon {
    type State = BalloonState;

    fn identity(&self) -> VirtioIdentity {
        VirtioIdentity { name: "virtio-balloon", id: 5, class: 0xFF_0000 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        QUEUE_SIZES.to_vec()
    }

    fn features(&self) -> u64 {
        feature::STATS_VQ | feature::DEFLATE_ON_OOM | feature::PAGE_REPORTING
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let mut config = [0; CONFIG];
        config[..4].copy_from_slice(&self.num_pages.to_le_bytes());
        config[4..].copy_from_slice(&self.actual.to_le_bytes());
        read_bytes(&config, offset, bytes);
    }

    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        let mut actual = self.actual.to_le_bytes();
        for (at, &byte) in bytes.iter().enumerate() {
            if let Some(place) = (offset + at).checked_sub(ACTUAL).and_then(|at| actual.get_mut(at)) {
                *place = byte;
            }
        }
        self.actual = u32::from_le_bytes(actual);
    }

    fn attach(&mut self, _link: Link<Self>) {}

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        match queue {
            queue::INFLATE | queue::DEFLATE => self.inflate_or_deflate(queue, queues),
            queue::STATISTICS => self.take_statistics(queues),
            _ => self.report(queues),
        }
    }

    /// What the host wishes for stays.
    fn reset(&mut self) {
        self.actual = 0;
        self.statistics = Statistics::default();
        self.waiting = None;
        self.wanted = false;
    }

    fn save(&self) -> Self::State {
        let Balloon { dma: _, num_pages, actual, statistics, waiting: _, wanted, returned } = self;
        BalloonState {
            num_pages: *num_pages,
            actual: *actual,
            statistics: statistics.clone(),
            wanted: *wanted,
            returned: *returned,
        }
    }

    fn with_state(self, state: Self::State) -> Result<Self, String> {
        let BalloonState { num_pages, actual, statistics, wanted, returned } = state;
        Ok(Balloon { num_pages, actual, statistics, wanted, returned, ..self })
    }
}
