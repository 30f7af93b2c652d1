//! The interpreter, one instruction at a time: a CPU in any mode with a little memory, no machine around it.

use crate::{
    Executor, Outcome, Region, Rights, Setup, Unsuitable,
    corpus::{self, Mode},
};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Exception, Flags, Seg, Segment, Xcr0},
    cpu::Cpu,
    cpu_model::{CpuModel, Generation},
    engine::{CpuIo, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
    state::{CpuState, TableRegister, X87},
};
use std::sync::Arc;

/// Size of RAM.
pub const RAM: u64 = 4 << 20;
/// Where paging structures are; not mapped.
pub(crate) const TABLES: u64 = 0x30_0000;
/// Base of the GDT of cases that name its descriptors as memory.
pub const GDT: u64 = 0x8000;

/// A machine without devices: all ports and addresses read as ones.
pub(crate) struct Bare;

impl CpuIo for Bare {
    fn port_read(&self, _: usize, _: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    fn port_write(&self, _: usize, _: u16, _: u8, _: u32) {}
    fn mmio_read(&self, _: usize, _: u64, size: u8) -> u64 {
        u64::MAX >> (64 - 8 * u32::from(size))
    }
    fn mmio_write(&self, _: usize, _: u64, _: u8, _: u64) {}
    fn acknowledge_interrupt(&self, _: usize) -> Option<u8> {
        None
    }
    fn task_priority(&self, _: usize) -> u8 {
        0
    }
    fn set_task_priority(&self, _: usize, _: u8) {}
    fn apic_msr_read(&self, _: usize, _: u32) -> Option<u64> {
        None
    }
    fn apic_msr_write(&self, _: usize, _: u32, _: u64) -> Option<()> {
        None
    }
    fn time_stamp_counter(&self) -> u64 {
        0
    }
    fn set_ferr(&self, _: usize, _: bool) -> bool {
        false
    }
    fn shutdown(&self, _: usize) {}
}

/// A CPU of the model `max`, its memory in reach.
///
/// As an [`Executor`] it makes memory anew for each setup, but only where the one before has left something:
/// pages of its regions, and pages that its accesses reached. Paging structures stay if the next setup has
/// the same pages with the same rights, and decoded code stays where no byte was written.
pub struct Interpreter {
    /// The CPU.
    pub cpu: Box<Cpu>,
    /// What the paging structures say, if they were made for a setup.
    map: Option<Map>,
    /// Pages that may hold something, besides those that the TLB knows to be reached.
    used: Vec<u64>,
    /// Generation of translations when the state was loaded: the TLB's knowledge is complete if it is the same.
    generation: u32,
}

/// Pages that are present, as a setup asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Map {
    long: bool,
    pages: Vec<(u64, Rights)>,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new()
    }
}

impl Interpreter {
    /// After reset.
    pub fn new() -> Self {
        Self::wired(Arc::new(VcpuSignal::default()), Arc::new(Bare))
    }

    /// The same with a machine around it.
    pub fn wired(signal: Arc<VcpuSignal>, io: Arc<dyn CpuIo>) -> Self {
        let ram = GuestMemory::new(RAM).expect("the host has a few megabytes");
        let model = Arc::new(newest());
        let memory = Arc::new(PhysicalMemory::new(ram));
        let cpu = Cpu::new(0, model, memory, signal, io);
        let generation = cpu.mmu.generation();
        Interpreter { cpu, map: None, used: Vec::new(), generation }
    }

    /// Executes as a CPU of `model` from now on.
    pub fn set_model(&mut self, model: CpuModel) {
        // What the old CPU's TLB knows to be reached the new one's does not.
        self.clear();
        let memory = self.cpu.memory.clone();
        self.cpu = Cpu::new(0, Arc::new(model), memory, Arc::new(VcpuSignal::default()), Arc::new(Bare));
        self.generation = self.cpu.mmu.generation();
    }

    /// Executes as an early processor from now on, or as the model `max`: what a case of the corpus asks for.
    pub fn set_generation(&mut self, generation: Option<Generation>) {
        if self.cpu.model.generation() != generation.unwrap_or(Generation::Current) {
            self.set_model(generation.map_or_else(newest, CpuModel::early));
        }
    }

    /// Writes `bytes` at a linear address, which is the physical one; what is not RAM is left out. Code that
    /// is overwritten must be forgotten by [`forget`](Self::forget).
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.map = None;
        self.note_use(address, bytes.len());
        self.put(address, bytes);
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        // An access beyond RAM is to a page that is not mapped: there is nothing to write.
        let _beyond = self.cpu.memory.ram().write(address, bytes);
    }

    /// `len` bytes at a linear address; nothing beyond RAM.
    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self.cpu.memory.ram().read(address, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Forgets all decoded code and all translations.
    pub fn forget(&mut self) {
        self.cpu.blocks.flush();
        self.cpu.mmu.flush_all();
    }

    /// [`state_at_rest`], with the pages that hold the addresses `present` mapped to themselves.
    pub fn state_in(&mut self, mode: Mode, level: u8, base: u64, present: &[u64]) -> CpuState {
        let state = state_at_rest(mode, level, base);
        if mode != Mode::Real {
            let long = state.control.efer.contains(Efer::LMA);
            self.map = None;
            self.clear_map(long);
            let rights = Rights { user: level == 3, ..Rights::ALL };
            for address in present {
                self.map(long, *address, rights);
            }
        }
        state
    }

    /// Paging structures for 4 MiB in which no page is present: two page tables in long mode, one otherwise.
    pub(crate) fn clear_map(&mut self, long: bool) {
        self.put(TABLES, &[0; 0x5000]);
        if long {
            for (at, to) in [(0, 0x1000), (0x1000, 0x2000), (0x2000, 0x3000), (0x2008, 0x4000)] {
                self.put(TABLES + at, &((TABLES + to) | 7).to_le_bytes());
            }
        } else {
            self.put(TABLES, &((TABLES + 0x1000) as u32 | 7).to_le_bytes());
        }
    }

    /// Makes the page of `address` present; what is beyond RAM stays absent.
    pub(crate) fn map(&mut self, long: bool, address: u64, rights: Rights) {
        if address >= RAM {
            return;
        }
        let (table, size) = if long { (TABLES + 0x3000, 8) } else { (TABLES + 0x1000, 4) };
        let mut entry = address & !0xFFF | 1 | u64::from(rights.write) << 1 | u64::from(rights.user) << 2;
        if long && !rights.execute {
            entry |= 1 << 63;
        }
        self.put(table + (address >> 12) * size, &entry.to_le_bytes()[..size as usize]);
    }

    /// Puts a region of `setup` into memory and maps it.
    pub(crate) fn place(&mut self, setup: &Setup, region: &Region) -> Result<(), Unsuitable> {
        let end = region.address.checked_add(region.bytes.len() as u64).filter(|end| *end <= TABLES);
        let end = end.ok_or_else(|| out_of_reach(region))?;
        self.write(region.address, &region.bytes);
        if setup.state.control.cr0.contains(Cr0::PG) {
            let long = setup.state.control.efer.contains(Efer::LMA);
            for page in (region.address & !0xFFF..end).step_by(0x1000) {
                self.map(long, page, region.rights);
            }
        }
        Ok(())
    }

    /// Remembers that the pages of `len` bytes at `address` hold something.
    fn note_use(&mut self, address: u64, len: usize) {
        let end = address.saturating_add(len as u64).min(RAM);
        for page in (address & !0xFFF..end).step_by(0x1000) {
            if !self.used.contains(&page) {
                self.used.push(page);
            }
        }
    }

    /// Makes RAM zero, but for paging structures that are in use.
    fn clear(&mut self) {
        if self.cpu.mmu.generation() != self.generation {
            // Something was forgotten on the way: any page may have been reached.
            self.put(0, &vec![0; RAM as usize]);
            (0..RAM).step_by(0x1000).for_each(|page| self.forget_code(page));
            self.map = None;
        }
        let mut pages = std::mem::take(&mut self.used);
        pages.extend(self.cpu.mmu.reached());
        for page in pages.drain(..) {
            if page >= TABLES {
                self.map = None;
            }
            self.put(page, &[0; 0x1000]);
            self.forget_code(page);
        }
        self.used = pages;
    }

    /// Forgets what was decoded from a page.
    fn forget_code(&mut self, page: u64) {
        let granules = self.cpu.memory.code().written(0, page, 0x1000);
        if granules != 0 {
            self.cpu.invalidate_code(page, granules);
        }
    }

    /// Makes the pages present that the setup's regions touch, if paging is on.
    fn map_regions(&mut self, setup: &Setup) {
        if !setup.state.control.cr0.contains(Cr0::PG) {
            return;
        }
        let long = setup.state.control.efer.contains(Efer::LMA);
        let pages_of = |region: &Region| {
            let rights = region.rights;
            let end = region.address + region.bytes.len() as u64;
            (region.address & !0xFFF..end).step_by(0x1000).map(move |page| (page, rights))
        };
        let pages = setup.memory.iter().flat_map(pages_of);
        let same = |map: &Map| map.long == long && pages.clone().eq(map.pages.iter().copied());
        if self.map.as_ref().is_some_and(same) {
            return;
        }
        let map = Map { long, pages: pages.collect() };
        self.clear_map(long);
        for (page, rights) in &map.pages {
            self.map(long, *page, *rights);
        }
        self.map = Some(map);
    }

    fn prepare(&mut self, setup: &Setup) -> Result<(), Unsuitable> {
        for region in &setup.memory {
            let end = region.address.checked_add(region.bytes.len() as u64);
            if end.is_none_or(|end| end > TABLES) {
                return Err(out_of_reach(region));
            }
        }
        self.clear();
        for region in &setup.memory {
            self.put(region.address, &region.bytes);
            self.note_use(region.address, region.bytes.len());
        }
        self.map_regions(setup);
        self.cpu.load_state(&setup.state);
        self.generation = self.cpu.mmu.generation();
        Ok(())
    }

    /// Executes from the state and memory that are in place.
    fn run(&mut self, setup: &Setup) -> Outcome {
        let (mut completed, mut raised) = (0, None);
        while completed < setup.instructions && (completed == 0 || Some(self.cpu.rip) != setup.stop) {
            raised = Interpreter::execute(self).err();
            if raised.is_some() {
                break;
            }
            completed += 1;
        }
        let mut state = self.cpu.save_state();
        if let Some(Exception::Page(_, address)) = raised {
            state.control.cr2 = address;
        }
        let memory = setup.memory.iter().map(|region| self.read(region.address, region.bytes.len()));
        Outcome {
            state,
            exception: raised.and_then(|raised| corpus::Exception::of(raised, setup.mode)),
            memory: memory.collect(),
            instructions: completed,
        }
    }

    /// Executes `setup` twice: with an empty TLB, which sends every access the exact way, and again with the
    /// TLB and the decoded code that the first time has left, so that fast handlers do all they can.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn execute_cold_and_warm(&mut self, setup: &Setup) -> Result<[Outcome; 2], Unsuitable> {
        let cold = Executor::execute(self, setup)?;
        self.restore(setup)?;
        let warm = self.run(setup);
        Ok([cold, warm])
    }

    /// Puts memory and registers back as `setup` has them. Translations stay, if nothing has changed on which
    /// they depend.
    fn restore(&mut self, setup: &Setup) -> Result<(), Unsuitable> {
        if self.cpu.mmu.generation() != self.generation {
            return self.prepare(setup);
        }
        let mut pages: Vec<u64> = self.cpu.mmu.reached().collect();
        pages.sort_unstable();
        pages.dedup();
        for page in &pages {
            let wanted = page_before(setup, *page);
            if self.read(*page, 0x1000) != wanted {
                self.put(*page, &wanted);
                self.forget_code(*page);
            }
        }
        let CpuState { general, segments, control, x87, simd, msrs, events } = &setup.state;
        let cpu = &mut self.cpu;
        let same = (cpu.segments, cpu.control, cpu.msrs, cpu.events) == (*segments, *control, *msrs, *events);
        if !same {
            cpu.load_state(&setup.state);
            // The TLB knows no more what has been reached.
            self.used.extend(pages);
            self.generation = cpu.mmu.generation();
            return Ok(());
        }
        cpu.regs[..16].copy_from_slice(&general.gpr);
        cpu.rip = general.rip;
        cpu.set_rflags(general.rflags);
        (cpu.x87, cpu.simd) = (*x87, *simd);
        cpu.load_mxcsr(simd.mxcsr);
        Ok(())
    }

    /// Executes one instruction, all of its repetitions. An exception leaves the state as it was.
    pub fn execute(&mut self) -> Result<(), Exception> {
        loop {
            match self.cpu.execute_one() {
                Err(Exception::Restart) => {}
                result => return result,
            }
        }
    }
}

impl Executor for Interpreter {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn execute(&mut self, setup: &Setup) -> Result<Outcome, Unsuitable> {
        self.prepare(setup)?;
        Ok(self.run(setup))
    }
}

fn newest() -> CpuModel {
    CpuModel::named("max").expect("there is such a model")
}

fn out_of_reach(region: &Region) -> Unsuitable {
    Unsuitable(format!("memory at {:#x}: there is none beyond {TABLES:#x}", region.address))
}

/// A page as `setup` begins with it.
fn page_before(setup: &Setup, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x1000];
    for region in &setup.memory {
        let end = region.address + region.bytes.len() as u64;
        let (from, to) = (region.address.max(page), end.min(page + 0x1000));
        if from < to {
            let place = (from - page) as usize..(to - page) as usize;
            let source = (from - region.address) as usize..(to - region.address) as usize;
            bytes[place].copy_from_slice(&region.bytes[source]);
        }
    }
    bytes
}

/// State at rest in `mode` at privilege level `level`: segments of the mode's size at `base` (0 in 64-bit
/// mode), paging on if the mode has it. Registers are zero.
pub fn state_at_rest(mode: Mode, level: u8, base: u64) -> CpuState {
    let mut state = CpuState::reset(0);
    state.general.gpr = [0; 16];
    state.general.rflags = Flags::FIXED;
    state.x87 = X87 { fcw: 0x37F, valid: 0, ..X87::reset() };
    state.simd.mxcsr = 0x1F80;
    let long = matches!(mode, Mode::Long64 | Mode::Compatibility32 | Mode::Compatibility16);
    let control = &mut state.control;
    (control.cr0, control.cr4) = (Cr0::ET | Cr0::NE, Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::OSXSAVE);
    control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX;
    (control.dr6, control.dr7) = (0xFFFF_0FF0, 0x400);
    if mode != Mode::Real {
        control.cr0 |= Cr0::PE | Cr0::PG | Cr0::WP;
        control.cr3 = TABLES;
    }
    if long {
        control.cr4 |= Cr4::PAE;
        control.efer = Efer::LME | Efer::LMA | Efer::SCE | Efer::NXE;
    }
    if mode == Mode::V86 {
        state.general.rflags |= Flags::VM;
    }
    // No LDT, and no I/O permission bitmap in the TSS.
    state.segments.ldtr.unusable = true;
    state.segments.tr.limit = 0;
    state.segments.gdtr = TableRegister { base: GDT, limit: 0xFFF };
    state.segments.idtr = TableRegister { base: 0, limit: 0 };
    state.segments.data = segments(mode, level, base);
    state
}

fn segments(mode: Mode, level: u8, base: u64) -> [Segment; 6] {
    let dpl = u16::from(level) << 5;
    let (code, data, limit) = match mode {
        Mode::Real => (0x93, 0x93, 0xFFFF),
        Mode::V86 => (0xF3, 0xF3, 0xFFFF),
        Mode::Protected16 | Mode::Compatibility16 => (0x9B | dpl, 0x93 | dpl, 0xFFFF),
        Mode::Protected32 | Mode::Compatibility32 => (0xC09B | dpl, 0xC093 | dpl, u32::MAX),
        Mode::Long64 => (0xA09B | dpl, 0xC093 | dpl, u32::MAX),
    };
    let (cs, ds) = match mode {
        Mode::Real | Mode::V86 => (0, 0),
        _ => (0x8 | u16::from(level), 0x10 | u16::from(level)),
    };
    let segment = |selector, attr| Segment { selector, attr, limit, base, unusable: false };
    let mut all = [segment(ds, data); 6];
    all[Seg::Cs as usize] = segment(cs, code);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(address: u64, bytes: &[u8], rights: Rights) -> Region {
        Region { address, bytes: bytes.to_vec(), rights }
    }

    #[test]
    fn a_store_to_a_read_only_page_faults_and_one_setup_leaves_nothing_to_the_next() {
        let mut interpreter = Interpreter::new();
        let mut state = interpreter.state_in(Mode::Long64, 3, 0, &[]);
        (state.general.rip, state.general.gpr[0]) = (0x1000, 0x2000);
        // mov [rax],al
        let code = region(0x1000, &[0x88, 0x00], Rights { write: false, ..Rights::ALL });
        let data = |write| region(0x2000, &[0xFF], Rights { write, ..Rights::ALL });
        let setup = |write| Setup {
            mode: Mode::Long64,
            state: state.clone(),
            memory: vec![code.clone(), data(write)],
            instructions: 1,
            stop: None,
        };
        let run =
            |interpreter: &mut Interpreter, write| Executor::execute(interpreter, &setup(write)).unwrap();

        let allowed = run(&mut interpreter, true);
        let denied = run(&mut interpreter, false);

        assert_eq!((allowed.exception, allowed.memory[1][0], allowed.instructions), (None, 0, 1));
        let fault = corpus::Exception { vector: 14, error_code: Some(7) };
        assert_eq!((denied.exception, denied.memory[1][0], denied.instructions), (Some(fault), 0xFF, 0));
        assert_eq!((denied.state.control.cr2, denied.state.general.rip), (0x2000, 0x1000));
    }
}
