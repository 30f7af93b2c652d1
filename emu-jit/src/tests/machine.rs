//! CPUs without a machine around them, and the regions that the interpreter chooses of their code.

use emu_core::{
    arch::{Cr0, Cr4, Efer, Segment, Xcr0},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::{NoDevices, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
    region::{BlockKey, Eviction, Region, Source, Thresholds, Translator},
    state::{CpuState, X87},
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Where code is.
pub const CODE: u64 = 0x10_0000;
/// Where every general-purpose register points to.
pub const DATA: u64 = 0x20_0000;
/// Writing to it ends a program.
pub const END: u16 = 0xF4;
/// A program's last instruction: a write to [`END`].
pub const FINISH: [u8; 2] = [0xE6, END as u8];

/// 16 MiB of memory with paging structures that map it to itself for 64-bit mode.
pub fn memory() -> Arc<PhysicalMemory> {
    let ram = GuestMemory::new(16 << 20).unwrap();
    ram.write(0x1000, &0x2003u64.to_le_bytes()).unwrap();
    ram.write(0x2000, &0x3003u64.to_le_bytes()).unwrap();
    for n in 0..8u64 {
        ram.write(0x3000 + 8 * n, &(n << 21 | 0x83).to_le_bytes()).unwrap();
    }
    Arc::new(PhysicalMemory::new(ram))
}

/// CPU number `number` of those with `memory`: privileged code, 64-bit or 32-bit without paging.
pub fn cpu(number: usize, long: bool, memory: Arc<PhysicalMemory>) -> Box<Cpu> {
    let signal = Arc::<VcpuSignal>::default();
    let model = Arc::new(CpuModel::named("max").unwrap());
    let mut cpu =
        Cpu::new(number, model, memory, signal.clone(), Arc::new(NoDevices::stopping_at(END, signal)));
    begin(&mut cpu, long, CODE);
    cpu
}

/// Puts `cpu` at `rip`, its registers at [`DATA`].
pub fn begin(cpu: &mut Cpu, long: bool, rip: u64) {
    let mut state = CpuState::reset(0);
    let control = &mut state.control;
    control.cr0 = Cr0::PE | Cr0::ET | Cr0::NE | Cr0::WP;
    control.cr4 = Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::OSXSAVE;
    control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX;
    if long {
        control.cr0 |= Cr0::PG;
        control.cr4 |= Cr4::PAE;
        control.efer = Efer::LME | Efer::LMA;
        control.cr3 = 0x1000;
    }
    let segment = |selector, attr| Segment { selector, attr, limit: u32::MAX, base: 0, unusable: false };
    state.segments.data = [segment(0x10, 0xC093); 6];
    state.segments.data[1] = segment(8, if long { 0xA09B } else { 0xC09B });
    state.x87 = X87 { fcw: 0x37F, valid: 0, ..X87::reset() };
    state.simd.mxcsr = 0x1F80;
    state.general.gpr = [DATA; 16];
    state.general.rip = rip;
    cpu.load_state(&state);
}

/// Translates nothing, and keeps what it was asked for.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Source>>);

impl Translator for Recorder {
    fn request(&self, _: usize, _: &Arc<VcpuSignal>, source: Source) -> bool {
        self.0.lock().push(source);
        true
    }
    fn take_ready(&self, _: usize) -> Vec<Arc<Region>> {
        Vec::new()
    }
    fn find(&self, _: BlockKey) -> Option<Arc<Region>> {
        None
    }
    fn thresholds(&self) -> Thresholds {
        Thresholds { warm: 1, hot: u32::MAX }
    }
    fn eviction(&self) -> Eviction {
        Eviction::default()
    }
    fn released(&self) {}
}

/// The region that the interpreter chooses for `code`, once it has executed it. A PAUSE follows, behind which no block
/// goes on.
pub fn source(long: bool, code: &[u8]) -> Source {
    const PAUSE: [u8; 2] = [0xF3, 0x90];
    let recorder = Arc::<Recorder>::default();
    let memory = memory();
    memory.ram().write(CODE, &[code, &PAUSE, &FINISH].concat()).unwrap();
    let mut cpu = cpu(0, long, memory);
    cpu.set_translator(recorder.clone());
    // The first time it is decoded and linked, the next it is warm.
    for _ in 0..3 {
        begin(&mut cpu, long, CODE);
        let ended = (0..1000).any(|_| cpu.run_slice(1000).is_some());
        assert!(ended, "{code:02x?} does not come to an end");
    }
    let sources = std::mem::take(&mut *recorder.0.lock());
    let of_code = |source: &Source| source.blocks.first().is_some_and(|block| block.key.0 == CODE);
    sources.into_iter().find(of_code).expect("the code has been executed")
}
