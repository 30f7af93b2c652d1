//! Two CPUs with the same memory and the same translator, each on a thread of its own: what one does the other sees,
//! in host code of both tiers.

use super::machine::{self, CODE, DATA, FINISH};
use crate::{Jit, Options, Stats};
use emu_core::{
    engine::{VcpuSignal, request},
    memory::PhysicalMemory,
    region::{Thresholds, Tier},
};
use rstest::rstest;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// Looks until what is waited for is taken for stuck: a minute.
const PATIENCE: usize = 60_000;
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(1);
/// Where the second CPU's code is.
const SECOND: u64 = CODE + 0x1000;
/// Functions that are rewritten: some in a page, each in granules of its own.
const FUNCTIONS: u32 = 0x11_0000;
const FUNCTION_COUNT: u32 = 64;
/// No more than a block may be decoded anew before it is left to the interpreter.
const VERSIONS: u32 = 14;
/// Instructions until the run loop looks around by itself: in a build without tail calls, it must.
const SLICE: u32 = if cfg!(debug_assertions) { 50_000 } else { u32::MAX };

/// Guest code as it grows.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    fn word(self, word: u32) -> Self {
        self.bytes(&word.to_le_bytes())
    }
    fn here(&self) -> usize {
        self.0.len()
    }
    /// A short jump with opcode `opcode` back to `to`.
    fn back(self, opcode: u8, to: usize) -> Self {
        let distance = i8::try_from(to as i64 - self.here() as i64 - 2).expect("a short jump");
        self.bytes(&[opcode, distance as u8])
    }
    fn place(&self, memory: &PhysicalMemory, at: u64) {
        memory.ram().write(at, &self.0).unwrap();
    }
}

struct Pair {
    memory: Arc<PhysicalMemory>,
    jit: Arc<Jit>,
}

impl Pair {
    /// For two CPUs whose code is translated for `tier` as soon as it is executed again.
    fn new(tier: Tier) -> Self {
        let hot = if tier == Tier::Hot { 0 } else { Thresholds::NEVER };
        let thresholds = Thresholds { warm: 1, hot };
        let jit = Arc::new(Jit::new(Options { threads: 0, thresholds, ..Options::default() }).unwrap());
        Pair { memory: machine::memory(), jit }
    }

    fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.memory.ram().read(at, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// A CPU on its thread: tells how it is stopped, and runs from `rip` to its end once it may.
    fn cpu(&self, number: usize, rip: u64, tell: &Sender<Arc<VcpuSignal>>, may_run: &Receiver<()>) {
        let mut cpu = machine::cpu(number, true, self.memory.clone());
        cpu.set_translator(self.jit.clone());
        machine::begin(&mut cpu, true, rip);
        tell.send(cpu.signal.clone()).expect("the test waits for it");
        if may_run.recv().is_ok() {
            while cpu.run_slice(SLICE).is_none() {}
        }
    }

    /// Runs both to their ends, the second one once `ready` says so. Whether both have ended in time.
    fn run(&self, ready: impl Fn(Stats) -> bool) -> bool {
        thread::scope(|scope| {
            // CPUs are made in the order of their numbers.
            let [first, second] = [(0, CODE), (1, SECOND)].map(|(number, rip)| {
                let ((tell, told), (start, may_run)) = (channel(), channel());
                let thread = scope.spawn(move || self.cpu(number, rip, &tell, &may_run));
                (thread, told.recv().expect("a CPU"), start)
            });
            first.2.send(()).expect("the first CPU waits");
            wait_until(|| ready(self.jit.stats()));
            second.2.send(()).expect("the second CPU waits");
            let ended = wait_until(|| first.0.is_finished() && second.0.is_finished());
            [&first.1, &second.1].into_iter().for_each(|signal| signal.raise(request::STOP));
            ended
        })
    }
}

/// Waits for `what`; false if it takes too long.
fn wait_until(what: impl Fn() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        let is_so = what();
        if !is_so {
            thread::sleep(POLL);
        }
        is_so
    })
}

/// Whether something of `tier` is translated.
fn translated(tier: Tier, stats: Stats) -> bool {
    if tier == Tier::Hot { stats.hot > 0 } else { stats.regions > 0 }
}

#[rstest]
fn a_loop_that_waits_for_the_other_ends(#[values(Tier::Warm, Tier::Hot)] tier: Tier) {
    let pair = Pair::new(tier);
    // mov eax, [rbx]; test eax, eax; jz
    Code::default().bytes(&[0x8B, 0x03, 0x85, 0xC0]).back(0x74, 0).bytes(&FINISH).place(&pair.memory, CODE);
    // mov dword [rbx], 1
    Code::default().bytes(&[0xC7, 0x03]).word(1).bytes(&FINISH).place(&pair.memory, SECOND);

    let ended = pair.run(|stats| translated(tier, stats));

    assert!(ended, "{:?}", pair.jit.stats());
    assert_eq!(pair.word(DATA), 1);
}

#[rstest]
fn locked_operations_of_both_sum_up(#[values(Tier::Warm, Tier::Hot)] tier: Tier) {
    const TIMES: u32 = 100_000;
    let pair = Pair::new(tier);
    for at in [CODE, SECOND] {
        let code = Code::default().bytes(&[0xB9]).word(TIMES); // mov ecx, TIMES
        let start = code.here();
        let code = code
            .bytes(&[0xF0, 0xFF, 0x03]) // lock inc dword [rbx]
            .bytes(&[0xBA, 2, 0, 0, 0]) // mov edx, 2
            .bytes(&[0xF0, 0x0F, 0xC1, 0x53, 0x40]) // lock xadd [rbx+0x40], edx
            .bytes(&[0xF0, 0x48, 0x83, 0x43, 0x08, 3]); // lock add qword [rbx+8], 3
        let retry = code.here();
        let code = code
            .bytes(&[0x8B, 0x83, 0x80, 0, 0, 0]) // mov eax, [rbx+0x80]
            .bytes(&[0x8D, 0x50, 0x01]) // lea edx, [rax+1]
            .bytes(&[0xF0, 0x0F, 0xB1, 0x93, 0x80, 0, 0, 0]) // lock cmpxchg [rbx+0x80], edx
            .back(0x75, retry)
            .bytes(&[0xFF, 0xC9]) // dec ecx
            .back(0x75, start);
        code.bytes(&FINISH).place(&pair.memory, at);
    }

    assert!(pair.run(|_| true), "{:?}", pair.jit.stats());

    assert!(translated(tier, pair.jit.stats()));
    let sums = [0, 0x40, 8, 0x80].map(|at| pair.word(DATA + at));
    assert_eq!(sums, [1, 2, 3, 1].map(|each| 2 * TIMES * each));
}

/// Where the writer tells of its last version, the reader of the last one that it has seen, and of one that was wrong.
const ACKNOWLEDGED: u64 = DATA + 0x40;
const WRONG: u64 = DATA + 0x80;
const LAST: u32 = FUNCTION_COUNT * VERSIONS;

/// eax = address of the function of version edi
fn address(code: Code) -> Code {
    code.bytes(&[0x89, 0xF8]) // mov eax, edi
        .bytes(&[0x83, 0xE0, FUNCTION_COUNT as u8 - 1]) // and eax, 63
        .bytes(&[0xC1, 0xE0, 8]) // shl eax, 8
        .bytes(&[0x05])
        .word(FUNCTIONS) // add eax, FUNCTIONS
}

/// Waits for each version, calls its function eight times, and acknowledges it.
fn reader() -> Code {
    let code = Code::default().bytes(&[0x31, 0xFF]); // xor edi, edi
    let wait = code.here();
    let code = code
        .bytes(&[0x8B, 0x0E]) // mov ecx, [rsi]
        .bytes(&[0x39, 0xF9]) // cmp ecx, edi
        .back(0x74, wait)
        .bytes(&[0x89, 0xCF]) // mov edi, ecx
        .bytes(&[0x31, 0xC0, 0x0F, 0xA2]); // xor eax, eax; cpuid, which serializes
    let code = address(code)
        .bytes(&[0x41, 0x89, 0xC0]) // mov r8d, eax
        .bytes(&[0xBD, 8, 0, 0, 0]); // mov ebp, 8
    let again = code.here();
    let code = code
        .bytes(&[0x41, 0xFF, 0xD0]) // call r8
        .bytes(&[0x39, 0xF8, 0x74, 8]) // cmp eax, edi; je past the next two
        .bytes(&[0x89, 0x86, 0x80, 0, 0, 0]) // mov [rsi+0x80], eax
        .bytes(&FINISH)
        .bytes(&[0xFF, 0xCD]) // dec ebp
        .back(0x75, again)
        .bytes(&[0x89, 0x7E, 0x40]) // mov [rsi+0x40], edi
        .bytes(&[0x81, 0xFF])
        .word(LAST) // cmp edi, LAST
        .back(0x72, wait);
    code.bytes(&FINISH)
}

/// Writes each version, tells of it, and waits until it is acknowledged.
fn writer() -> Code {
    let code = Code::default().bytes(&[0x31, 0xFF]); // xor edi, edi
    let next = code.here();
    let code = address(code.bytes(&[0xFF, 0xC7])) // inc edi
        .bytes(&[0x89, 0x78, 0x01]) // mov [rax+1], edi
        .bytes(&[0x89, 0x3E]); // mov [rsi], edi
    let wait = code.here();
    let code = code
        .bytes(&[0x8B, 0x46, 0x40]) // mov eax, [rsi+0x40]
        .bytes(&[0x39, 0xF8]) // cmp eax, edi
        .back(0x75, wait)
        .bytes(&[0x81, 0xFF])
        .word(LAST) // cmp edi, LAST
        .back(0x72, next);
    code.bytes(&FINISH)
}

#[rstest]
fn code_that_the_other_has_rewritten_is_executed_as_it_is(#[values(Tier::Warm, Tier::Hot)] tier: Tier) {
    let pair = Pair::new(tier);
    for number in 0..u64::from(FUNCTION_COUNT) {
        // mov eax, 0; ret
        let function = Code::default().bytes(&[0xB8]).word(0).bytes(&[0xC3]);
        function.place(&pair.memory, u64::from(FUNCTIONS) + (number << 8));
    }
    reader().place(&pair.memory, CODE);
    writer().place(&pair.memory, SECOND);

    let ended = pair.run(|_| true);

    let (seen, wrong) = (pair.word(ACKNOWLEDGED), pair.word(WRONG));
    assert_eq!((seen, wrong), (LAST, 0), "{:?}", pair.jit.stats());
    assert!(ended);
    let least = u64::from(FUNCTION_COUNT * VERSIONS / 2);
    let stats = pair.jit.stats();
    assert!(stats.regions >= least && translated(tier, stats), "{stats:?}");
}
