//! Doing more of something than is good, so that tests see what is rare otherwise.

use crate::Jit;
use emu_core::{
    engine::VcpuSignal,
    memory::{CodeMap, MemoryEvent, PhysicalMemory},
    region::{BlockKey, Region, Source, Thresholds, Translator},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, fmt, sync::Arc};

/// Regions after which all are let go of.
pub(crate) const EVICTION: u64 = 64;
/// Regions that are translated between one and its invalidation.
const DELAY: usize = 8;

/// What is overdone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stress {
    /// Whatever is executed again is translated at once, and never better.
    Warm,
    /// Whatever is translated is translated for [`Tier::Hot`](emu_core::region::Tier::Hot) at once.
    Hot,
    /// The memory for code is taken for full again and again.
    Evict,
    /// Code is taken for written again and again: see [`Invalidating`].
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
}

/// A translator that tells all CPUs, each time it is asked for a region, that the code of an earlier one has been
/// written. Nothing is written: they must only behave as if.
pub struct Invalidating {
    jit: Jit,
    memory: Arc<PhysicalMemory>,
    asked: Mutex<VecDeque<BlockKey>>,
}

impl Invalidating {
    /// `jit`, for CPUs with `memory`.
    pub fn new(jit: Jit, memory: Arc<PhysicalMemory>) -> Self {
        Invalidating { jit, memory, asked: Mutex::default() }
    }
}

impl fmt::Debug for Invalidating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalidating({:?})", self.jit)
    }
}

impl Translator for Invalidating {
    fn request(&self, vcpu: usize, signal: &Arc<VcpuSignal>, source: Source) {
        let mut asked = self.asked.lock();
        // Not the first block alone: a region is to be forgotten whichever of its blocks becomes stale.
        asked.extend(source.blocks.last().map(|block| block.key));
        let written = if asked.len() > DELAY { asked.pop_front() } else { None };
        drop(asked);
        if let Some((address, _)) = written {
            let granules = CodeMap::granules(address, 1);
            self.memory.code().tell_all(MemoryEvent::CodeWritten(address & !0xFFF, granules));
        }
        self.jit.request(vcpu, signal, source);
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
    fn epoch(&self) -> u64 {
        self.jit.epoch()
    }
}
