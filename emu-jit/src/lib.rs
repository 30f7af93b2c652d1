//! The translator: host code for regions of guest code that are hot, made by Cranelift.
//!
//! The interpreter asks for a region ([`Source`]); [`region::build`] runs the semantics of its instructions, the
//! interpreter's own, on an emitter that appends Cranelift IR ([`emitter::Translator`]); [`host`] makes machine code
//! of it, which [`code`] keeps. No instruction of x86 is named here: what they mean is in `emu_core::semantics`.
//!
//! See docs/semantics.md, section 9, and docs/adr/0011-regions.md.

mod baseline;
mod code;
pub mod emitter;
mod host;
mod perf;
mod plan;
mod region;
mod stats;
mod stress;
#[cfg(test)]
mod tests;

use baseline::{
    Baseline,
    gates::{self, Gate, Gates},
};
use code::{Code, CodeMemory};
use cranelift_codegen::Context;
use cranelift_frontend::FunctionBuilderContext;
use emitter::x87::Sequences;
use emu_core::{
    decode::Handler,
    engine::{VcpuSignal, request},
    region::{
        BlockKey, Called, Entry, Eviction, Inlet, Point, Region, Source, Thresholds, Tier, Translator,
        ways::Way,
    },
};
use host::{Host, HostError};
use parking_lot::Mutex;
pub use perf::Perf;
use perf::PerfFile;
use rustc_hash::FxHashMap;
pub use stats::Stats;
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};
pub use stress::{Stress, translator};
use thiserror::Error;

/// What can be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that translate; none: whoever asks waits for it.
    pub threads: usize,
    /// Bytes of host code that are kept at most.
    pub cache: usize,
    /// When code is hot.
    pub thresholds: Thresholds,
    /// What is told to `perf`.
    pub perf: Option<Perf>,
    /// What is done harder than is good, for tests.
    pub stress: Option<Stress>,
}

/// Regions that wait to be translated at most: what a few seconds of translating bring about.
const MAX_WAITING: usize = 4096;
/// Room for code is made when less than one part in this is free,
const SPARE: usize = 4;
/// and when one part in this has been used since the last time.
const BETWEEN_LOOKS: usize = 8;

/// What has been measured to be best for a boot of Linux.
const THRESHOLDS: Thresholds = Thresholds { warm: 800, hot: 3_000_000 };

impl Default for Options {
    fn default() -> Self {
        Options { threads: 1, cache: 256 << 20, thresholds: THRESHOLDS, perf: None, stress: None }
    }
}

/// Why there is no translator.
#[derive(Debug, Error)]
pub enum JitError {
    /// Cranelift is not for this host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no memory for code.
    #[error("memory for translated code: {0}")]
    Memory(#[from] io::Error),
    /// The file for `perf` cannot be written.
    #[error("{0}: {1}")]
    Perf(String, io::Error),
}

/// The translator of a machine.
pub struct Jit {
    shared: Arc<Shared>,
    requests: Option<Mutex<mpsc::SyncSender<Request>>>,
    threads: Vec<JoinHandle<()>>,
}

struct Request {
    vcpu: usize,
    signal: Arc<VcpuSignal>,
    source: Source,
}

struct Shared {
    options: Options,
    host: Host,
    /// There is a baseline compiler for this host.
    baseline: bool,
    memory: Arc<CodeMemory>,
    /// The gates of the baseline compiler, and their code.
    gates: Gates,
    _gate_code: Option<Code>,
    perf: Option<PerfFile>,
    regions: Mutex<FxHashMap<BlockKey, Arc<Region>>>,
    ready: Mutex<FxHashMap<usize, Vec<Arc<Region>>>>,
    counters: Counters,
    room: Room,
    /// Nobody wants what is still to be translated.
    closing: AtomicBool,
    /// Of the CPUs that have asked for something.
    signals: Mutex<FxHashMap<usize, Arc<VcpuSignal>>>,
}

impl Shared {
    /// Places `code`, and sees to it that there will be room for more. `None`: there is none.
    fn place(&self, code: &[u8]) -> Option<Code> {
        let size = self.memory.size();
        let placed = self.memory.place(code);
        let since = self.room.placed.fetch_add(code.len(), Ordering::Relaxed) + code.len();
        let looks = since >= size / BETWEEN_LOOKS;
        if placed.is_none() {
            // To look at what is used, not long ago, has not been enough.
            self.make_room(!looks);
        } else if looks && self.memory.used() > size - size / SPARE {
            self.make_room(false);
        }
        placed
    }

    /// Every CPU lets go of the regions that it has: of those that it has not used for a while, or of `all`.
    fn make_room(&self, all: bool) {
        self.room.placed.store(0, Ordering::Relaxed);
        if all {
            self.room.clearances.fetch_add(1, Ordering::SeqCst);
            self.ready.lock().clear();
        } else {
            self.room.looks.fetch_add(1, Ordering::SeqCst);
        }
        for signal in self.signals.lock().values() {
            signal.raise(request::TRANSLATED);
        }
        self.release();
    }

    /// Gives back the code of regions that no CPU has any more.
    fn release(&self) {
        let mut regions = self.regions.lock();
        let before = regions.len();
        regions.retain(|_, region| Arc::strong_count(region) > 1);
        self.room.released.fetch_add((before - regions.len()) as u64, Ordering::Relaxed);
    }

    /// Whether `source` is for the baseline compiler.
    fn is_plain(&self, source: &Source) -> bool {
        source.tier == Tier::Warm && self.baseline
    }

    /// Has `translate` make a region, and keeps it for CPU `vcpu` and for all others.
    fn serve(&self, vcpu: usize, translate: impl FnOnce() -> Result<Option<Region>, HostError>) {
        let start = cpu_time();
        match translate() {
            Ok(Some(region)) => {
                let region = Arc::new(region);
                if let Some(&(key, _)) = region.blocks.first() {
                    self.regions.lock().insert(key, region.clone());
                }
                self.ready.lock().entry(vcpu).or_default().push(region);
            }
            Ok(None) => {}
            Err(error) => log::error!("a region stays in the interpreter: {error}"),
        }
        self.counters.nanoseconds.fetch_add(cpu_time() - start, Ordering::Relaxed);
    }

    /// Host code for `source` by the baseline compiler, if it is worth any and there is room.
    fn translate_plainly(&self, source: &Source) -> Option<Region> {
        let Baseline { bytes, inside, points, ways } = baseline::compile(source, self.gates)?;
        let code = self.place(&bytes)?;
        // SAFETY: a handler has been made there.
        let handler = unsafe { std::mem::transmute::<*const u8, Handler>(code.address()) };
        let entry = Entry::Handler(Inlet {
            handler,
            inside: code.address() as usize + inside,
            unlinked: self.gates.address(Gate::Unlinked),
            called: self.gates.address(Gate::Called),
            called_handler: self.gates.called_handler(),
        });
        Some(self.region(source, entry, (code, None), (points, ways), false))
    }

    fn region(
        &self,
        source: &Source,
        entry: Entry,
        code: (Code, Option<Sequences>),
        (points, ways): (Vec<Point>, Vec<Way>),
        default_mxcsr: bool,
    ) -> Region {
        let counters = &self.counters;
        let instructions: i64 = source.blocks.iter().map(emu_core::region::SourceBlock::count).sum();
        let number = counters.regions.fetch_add(1, Ordering::Relaxed) + 1;
        if source.tier == Tier::Hot {
            counters.hot.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(all) = self.options.stress.and_then(|stress| stress.evicts(number)) {
            self.make_room(all);
        }
        if let Some(perf) = &self.perf {
            perf.tell(source, &code.0);
        }
        counters.instructions.fetch_add(instructions as u64, Ordering::Relaxed);
        Region {
            entry,
            blocks: source.blocks.iter().map(|block| (block.key, block.digest())).collect(),
            points,
            ways,
            tier: source.tier,
            pages: source.other_pages(),
            default_mxcsr,
            code: Box::new(code),
        }
    }
}

/// How room for code is made.
#[derive(Default)]
struct Room {
    /// Bytes of code made since the last time.
    placed: AtomicUsize,
    /// Times that CPUs were asked to let go of what they do not use, and of all.
    looks: AtomicU64,
    clearances: AtomicU64,
    /// Regions whose code was given back.
    released: AtomicU64,
}

#[derive(Default)]
struct Counters {
    regions: AtomicU64,
    hot: AtomicU64,
    instructions: AtomicU64,
    nanoseconds: AtomicU64,
}

impl fmt::Debug for Jit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jit({:?}, {:?})", self.shared.options, self.stats())
    }
}

impl Jit {
    /// A translator with its threads.
    pub fn new(options: Options) -> Result<Self, JitError> {
        let memory = CodeMemory::new(options.cache)?;
        let gate_code = memory.place(&gates::make().0).filter(|_| baseline::is_available());
        let gates = gate_code.as_ref().map(|code| Gates::at(code.address() as usize));
        let shared = Arc::new(Shared {
            options,
            host: Host::new()?,
            baseline: gates.is_some(),
            memory,
            gates: gates.unwrap_or_default(),
            _gate_code: gate_code,
            perf: options.perf.map(PerfFile::create).transpose()?,
            regions: Mutex::default(),
            ready: Mutex::default(),
            counters: Counters::default(),
            room: Room::default(),
            closing: AtomicBool::new(false),
            signals: Mutex::default(),
        });
        let (requests, inbox) = mpsc::sync_channel(MAX_WAITING);
        let inbox = Arc::new(Mutex::new(inbox));
        let mut threads = Vec::new();
        for number in 0..options.threads {
            let (shared, inbox) = (shared.clone(), inbox.clone());
            let body = move || translate_requests(&shared, &inbox);
            threads.push(thread::Builder::new().name(format!("jit{number}")).spawn(body)?);
        }
        let requests = (options.threads > 0).then(|| Mutex::new(requests));
        Ok(Jit { shared, requests, threads })
    }

    /// Translates `source` at once, for the caller alone. `None`: there is nothing to translate, or no room.
    pub fn translate(&self, source: &Source) -> Option<Region> {
        if self.shared.is_plain(source) {
            return self.shared.translate_plainly(source);
        }
        let translated = Workshop::new(&self.shared).translate(source);
        translated.unwrap_or_else(|error| {
            log::error!("a region stays in the interpreter: {error}");
            None
        })
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        Stats {
            regions: counters.regions.load(Ordering::Relaxed),
            hot: counters.hot.load(Ordering::Relaxed),
            instructions: counters.instructions.load(Ordering::Relaxed),
            nanoseconds: counters.nanoseconds.load(Ordering::Relaxed),
            bytes: self.shared.memory.used() as u64,
            looks: self.shared.room.looks.load(Ordering::Relaxed),
            clearances: self.shared.room.clearances.load(Ordering::Relaxed),
            released: self.shared.room.released.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Jit {
    fn drop(&mut self) {
        self.requests = None;
        self.shared.closing.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been reported.
            let _ = thread.join();
        }
        log::debug!("{}", self.stats());
    }
}

impl Translator for Jit {
    fn request(&self, vcpu: usize, signal: &Arc<VcpuSignal>, source: Source) -> bool {
        self.shared.signals.lock().entry(vcpu).or_insert_with(|| signal.clone());
        if self.shared.is_plain(&source) {
            // That takes no longer than handing it over.
            self.shared.serve(vcpu, || Ok(self.shared.translate_plainly(&source)));
            return true;
        }
        let request = Request { vcpu, signal: signal.clone(), source };
        match &self.requests {
            // If the threads have died of a bug, code stays as it is.
            Some(requests) => !matches!(requests.lock().try_send(request), Err(mpsc::TrySendError::Full(_))),
            None => {
                Workshop::new(&self.shared).serve(&request);
                true
            }
        }
    }
    fn take_ready(&self, vcpu: usize) -> Vec<Arc<Region>> {
        self.shared.ready.lock().remove(&vcpu).unwrap_or_default()
    }
    fn find(&self, key: BlockKey) -> Option<Arc<Region>> {
        self.shared.regions.lock().get(&key).cloned()
    }
    fn eviction(&self) -> Eviction {
        let Room { looks, clearances, .. } = &self.shared.room;
        Eviction { unused: looks.load(Ordering::SeqCst), all: clearances.load(Ordering::SeqCst) }
    }
    fn released(&self) {
        self.shared.release();
    }
    fn thresholds(&self) -> Thresholds {
        let thresholds = self.shared.options.thresholds;
        self.shared.options.stress.map_or(thresholds, |stress| stress.thresholds(thresholds))
    }
}

fn translate_requests(shared: &Shared, inbox: &Mutex<mpsc::Receiver<Request>>) {
    let mut workshop = Workshop::new(shared);
    loop {
        let request = inbox.lock().recv();
        let Ok(request) = request else { return };
        if shared.closing.load(Ordering::Relaxed) {
            return;
        }
        workshop.serve(&request);
        request.signal.raise(request::TRANSLATED);
    }
}

/// What one thread translates with.
struct Workshop<'a> {
    shared: &'a Shared,
    context: Context,
    builder: FunctionBuilderContext,
}

impl<'a> Workshop<'a> {
    fn new(shared: &'a Shared) -> Self {
        Workshop { shared, context: Context::new(), builder: FunctionBuilderContext::new() }
    }

    fn serve(&mut self, request: &Request) {
        let shared = self.shared;
        shared.serve(request.vcpu, || self.translate(&request.source));
    }

    /// Host code for `source`, if it is worth any and there is room.
    fn translate(&mut self, source: &Source) -> Result<Option<Region>, HostError> {
        self.context.clear();
        let (host, memory) = (&self.shared.host, &self.shared.memory);
        let built = region::build(host, memory, source, &mut self.context.func, &mut self.builder);
        let Some(facts) = built else { return Ok(None) };
        if facts.sequences.as_ref().is_some_and(|sequences| sequences.failed) {
            self.shared.make_room(true);
            return Ok(None);
        }
        let bytes = self.shared.host.compile(&mut self.context, source.tier == Tier::Hot, &facts.opaque)?;
        let Some(code) = self.shared.place(&bytes) else { return Ok(None) };
        // SAFETY: a function of this signature has been made there.
        let entry = unsafe { std::mem::transmute::<*const u8, Called>(code.address()) };
        let entry = Entry::Called(entry);
        let code = (code, facts.sequences);
        Ok(Some(self.shared.region(source, entry, code, facts.exits, facts.floating_point)))
    }
}

/// Nanoseconds that this thread has computed.
fn cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
