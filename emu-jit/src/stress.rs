//! Doing more of something than is good, so that tests see what is rare otherwise.

use crate::{Jit, JitError, Options};
use emu_core::{
    engine::VcpuSignal,
    memory::{CodeMap, MemoryEvent, PhysicalMemory},
    region::{BlockKey, Eviction, Region, Source, Thresholds, Translator},
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Regions after which the unused ones are let go of; every other time all are.
const EVICTION: u64 = 32;
/// Regions that are translated between one and its invalidation.
const LAG: usize = 8;

/// What is overdone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stress {
    /// Whatever is executed again is translated at once, and never better.
    Warm,
    /// Whatever is translated is translated for [`Tier::Hot`](emu_core::region::Tier::Hot) at once.
    Hot,
    /// The memory for code is taken for full, or for nearly full, again and again.
    Evict,
    /// Code is taken for written again and again. Needs [`translator`].
    Invalidate,
}

impl Stress {
    /// The thresholds, where `chosen` would be without stress.
    pub(crate) fn thresholds(self, chosen: Thresholds) -> Thresholds {
        match self {
            Stress::Warm => Thresholds { warm: 1, hot: Thresholds::NEVER },
            Stress::Hot => Thresholds { hot: 0, ..chosen },
            Stress::Evict | Stress::Invalidate => chosen,
        }
    }

    /// Whether room is to be made after region `number`, and whether of all regions.
    pub(crate) fn evicts(self, number: u64) -> Option<bool> {
        (self == Stress::Evict && number.is_multiple_of(EVICTION))
            .then(|| number.is_multiple_of(2 * EVICTION))
    }
}

/// The translator of a machine with `memory`, stressed as `options` say.
pub fn translator(options: Options, memory: &Arc<PhysicalMemory>) -> Result<Arc<dyn Translator>, JitError> {
    let jit = Jit::new(options)?;
    Ok(match options.stress {
        Some(Stress::Invalidate) => Arc::new(Invalidating::new(jit, memory.clone())),
        _ => Arc::new(jit),
    })
}

/// A translator that tells all CPUs, each time it is asked for a region, that the code of an earlier one has been
/// written. Nothing is written: they must only behave as if.
struct Invalidating {
    jit: Jit,
    memory: Arc<PhysicalMemory>,
    asked: Mutex<VecDeque<BlockKey>>,
    told: AtomicU64,
}

impl Invalidating {
    fn new(jit: Jit, memory: Arc<PhysicalMemory>) -> Self {
        Invalidating { jit, memory, asked: Mutex::default(), told: AtomicU64::new(0) }
    }
}

impl Drop for Invalidating {
    fn drop(&mut self) {
        log::debug!("code taken for written {} times", self.told.load(Ordering::Relaxed));
    }
}

impl fmt::Debug for Invalidating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalidating({:?})", self.jit)
    }
}

impl Translator for Invalidating {
    fn request(&self, vcpu: usize, signal: &Arc<VcpuSignal>, source: Source) -> bool {
        let mut asked = self.asked.lock();
        // Not the first block alone: a region is to be forgotten whichever of its blocks becomes stale.
        asked.extend(source.blocks.last().map(|block| block.key));
        let written = if asked.len() > LAG { asked.pop_front() } else { None };
        drop(asked);
        if let Some((address, _)) = written {
            let granules = CodeMap::granules(address, 1);
            self.told.fetch_add(1, Ordering::Relaxed);
            self.memory.code().tell_all(MemoryEvent::CodeWritten(address & !0xFFF, granules));
        }
        self.jit.request(vcpu, signal, source)
    }
    fn take_ready(&self, vcpu: usize) -> Vec<Arc<Region>> {
        self.jit.take_ready(vcpu)
    }
    fn find(&self, key: BlockKey) -> Option<Arc<Region>> {
        self.jit.find(key)
    }
    fn thresholds(&self) -> Thresholds {
        self.jit.thresholds()
    }
    fn eviction(&self) -> Eviction {
        self.jit.eviction()
    }
    fn released(&self) {
        self.jit.released();
    }
}
