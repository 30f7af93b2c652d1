//! The software CPU: architectural state laid out for execution, its TLB, and its ways to memory and devices.
//!
//! [`Cpu`] is what microcode and the emitters act on. [`CpuState`] is the same state at rest.

mod flags;
mod mode;
mod observe;
mod registers;
pub mod slot;
mod user_code;

pub use flags::{AUX_AF, AUX_CARRIES, LazyFlags};
pub use mode::Mode;
pub use observe::{Observe, ObservedAccess};
pub use user_code::UserCode;

use crate::{
    arch::{Exception, Flags, Seg, Segment},
    cpu_model::CpuModel,
    decode::Insn,
    engine::{CpuIo, VcpuSignal},
    interp::{BlockCache, Hot},
    memory::PhysicalMemory,
    microcode::{cpuid::KnownLeaves, random::Random},
    mmu::Mmu,
    region::{NoPage, fill::Request},
    semantics::integer::deferred::SETTLED,
    state::{Control, CpuState, Events, Msrs, Segments, Simd, X87},
};
use std::sync::{Arc, atomic::AtomicI64};

/// One software CPU.
#[repr(C)]
pub struct Cpu {
    /// The register file; see [`slot`]. First, so that a register is at its byte offset.
    pub regs: [u64; slot::COUNT],
    /// Arithmetic flags.
    pub flags: LazyFlags,
    /// What the words of `flags` are while translated code runs, if not flags: a packed
    /// [`Deferred`](crate::semantics::integer::deferred::Deferred), else
    /// [`SETTLED`](crate::semantics::integer::deferred::SETTLED).
    pub deferred: u32,
    /// ANDed to every flat linear address: 32 bits outside 64-bit mode.
    pub linear_mask: u64,
    /// Instructions left until the run loop looks around; counts down at the end of every block.
    pub budget: i64,
    /// The word of `signal` that the run loop polls. Here for translated code.
    pub attention: *const AtomicI64,
    /// What translated code asks [`fill_requested`](crate::region::fill) for.
    pub fill: Request,
    /// What the last call of [`fill`](crate::region::fill::fill) has come to.
    pub filled: u64,
    /// For translated code that remembers pages.
    pub no_page: NoPage,
    /// Translation of linear addresses.
    pub mmu: Mmu,
    /// RFLAGS without the arithmetic flags.
    pub eflags: Flags,
    /// RIP: current between blocks and for rows that end a block; elsewhere see [`Self::rip_of`].
    pub rip: u64,
    /// Current privilege level.
    pub cpl: u8,
    /// What the decoder must know of the mode.
    pub mode: Mode,
    /// Segment registers.
    pub segments: Segments,
    /// Control and debug registers.
    pub control: Control,
    /// x87 and MMX.
    pub x87: X87,
    /// Vector registers.
    pub simd: Simd,
    /// Model-specific registers.
    pub msrs: Msrs,
    /// Activity and blocking.
    pub events: Events,
    /// An exception being reported by a handler to the run loop.
    pub raised: Option<Exception>,
    /// The block being executed has been invalidated: leave it after this instruction.
    pub leave_block: bool,
    /// Decoded blocks.
    pub blocks: BlockCache,
    /// What is hot, and translated.
    pub hot: Hot,
    /// Number of this vCPU: its APIC ID.
    pub id: usize,
    /// What CPUID says.
    pub model: Arc<CpuModel>,
    /// What it has said of late.
    pub known_leaves: Box<KnownLeaves>,
    /// Requests of other threads.
    pub signal: Arc<VcpuSignal>,
    /// Guest-physical memory.
    pub memory: Arc<PhysicalMemory>,
    /// The machine.
    pub io: Arc<dyn CpuIo>,
    /// Instructions completed since the start; current between blocks.
    pub executed: u64,
    /// What RDRAND and RDSEED read.
    pub random: Random,
    /// Optional record of execution, interrupts and I/O.
    pub trace: Option<Box<dyn Trace>>,
    /// What an embedder wants to see.
    pub observe: Observe,
    /// Whether somebody else may execute user code.
    pub user_code: UserCode,
}

/// A listener to what a CPU does. Asked for by `--trace`; costs nothing when absent.
pub trait Trace: Send {
    /// Which kinds this wants: execution needs single-instruction blocks.
    fn wants_execution(&self) -> bool;
    /// An instruction is about to be executed.
    fn executing(&mut self, cpu: TraceView<'_>);
    /// An interrupt or exception is delivered.
    fn interrupt(&mut self, vcpu: usize, vector: u8, kind: &str, error: Option<u32>, cs: u16, rip: u64);
    /// A TLB miss was filled: linear page, guest-physical page.
    fn translated(&mut self, vcpu: usize, linear: u64, physical: u64);
}

/// What a trace sees of the CPU before an instruction.
pub struct TraceView<'a> {
    /// vCPU number.
    pub vcpu: usize,
    /// CS.
    pub cs: u16,
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: Flags,
    /// General-purpose registers.
    pub gpr: &'a [u64],
    /// Instruction bytes.
    pub bytes: &'a [u8],
    /// 16, 32 or 64.
    pub bitness: u32,
}

impl Cpu {
    /// A CPU after RESET#.
    pub fn new(
        id: usize,
        model: Arc<CpuModel>,
        memory: Arc<PhysicalMemory>,
        signal: Arc<VcpuSignal>,
        io: Arc<dyn CpuIo>,
    ) -> Box<Self> {
        let state = CpuState::reset(model.signature());
        let mmu = Mmu::new(memory.clone(), model.physical_address_bits());
        memory.code().attach(signal.clone());
        crate::lane::detect();
        let mut cpu = Box::new(Cpu {
            regs: [0; slot::COUNT],
            flags: LazyFlags::default(),
            deferred: SETTLED,
            linear_mask: 0,
            budget: 0,
            attention: signal.attention(),
            fill: Request::default(),
            no_page: NoPage::new(),
            filled: 0,
            mmu,
            eflags: Flags::FIXED,
            rip: 0,
            cpl: 0,
            mode: Mode::default(),
            segments: state.segments,
            control: state.control,
            x87: state.x87,
            simd: state.simd,
            msrs: state.msrs,
            events: state.events,
            raised: None,
            leave_block: false,
            blocks: BlockCache::new(model.cpus() as usize),
            hot: Hot::default(),
            id,
            model,
            known_leaves: Box::default(),
            signal,
            memory,
            io,
            executed: 0,
            random: Random::default(),
            trace: None,
            observe: Observe::default(),
            user_code: UserCode::default(),
        });
        cpu.load_state(&state);
        cpu
    }

    /// The state at rest. Call between instructions only.
    pub fn save_state(&self) -> CpuState {
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&self.regs[..16]);
        let Cpu { segments, control, x87, simd, msrs, events, .. } = self;
        CpuState {
            general: crate::state::General { gpr, rip: self.rip, rflags: self.rflags() },
            segments: *segments,
            control: *control,
            x87: *x87,
            simd: *simd,
            msrs: *msrs,
            events: *events,
        }
    }

    /// Takes over `state`.
    pub fn load_state(&mut self, state: &CpuState) {
        let CpuState { general, segments, control, x87, simd, msrs, events } = state;
        self.regs[..16].copy_from_slice(&general.gpr);
        self.rip = general.rip;
        (self.segments, self.control, self.x87, self.simd) = (*segments, *control, *x87, *simd);
        self.load_mxcsr(simd.mxcsr);
        (self.msrs, self.events) = (*msrs, *events);
        self.set_rflags(general.rflags);
        for seg in Seg::ALL {
            self.regs[usize::from(slot::SEGMENT_BASE) + seg as usize] = self.segments.data[seg as usize].base;
        }
        self.cpl = self.segments.data[Seg::Ss as usize].dpl();
        self.mmu.flush_all();
        crate::microcode::debug::breakpoints_changed(self);
    }

    /// RFLAGS.
    pub fn rflags(&self) -> Flags {
        debug_assert!(self.deferred == SETTLED, "translated code has left flags that are not settled");
        self.eflags & !Flags::ARITHMETIC | self.flags.flags() | Flags::FIXED
    }

    /// Replaces RFLAGS. What the mode and the decoder depend on (VM, TF, RF, AC) is brought up to date; a pending
    /// interrupt that waited for IF is looked at again.
    pub fn set_rflags(&mut self, flags: Flags) {
        let old = self.eflags;
        self.eflags = flags & !Flags::ARITHMETIC | Flags::FIXED;
        self.flags = LazyFlags::from_flags(flags);
        if (old ^ self.eflags).intersects(Flags::VM | Flags::TF | Flags::RF | Flags::AC) {
            self.level_changed();
        }
        if self.eflags.intersects(Flags::IF | Flags::TF | Flags::VIP) {
            self.signal.poll_again_if_waiting();
        }
    }

    /// Segment register.
    pub fn seg(&self, seg: Seg) -> &Segment {
        &self.segments.data[seg as usize]
    }

    /// Loads a segment register with its hidden part (no checks) and brings the mode up to date.
    pub fn set_seg(&mut self, seg: Seg, segment: Segment) {
        self.segments.data[seg as usize] = segment;
        if matches!(seg, Seg::Fs | Seg::Gs) {
            self.regs[usize::from(slot::SEGMENT_BASE) + seg as usize] = segment.base;
        }
        self.mode_changed();
    }

    /// RIP of a decoded instruction of the current block.
    pub fn rip_of(&self, i: &Insn) -> u64 {
        self.wrap_ip(self.regs[usize::from(slot::RIP_BASE)].wrapping_add(i.off.into()))
    }

    /// RIP of the instruction after `i`.
    pub fn rip_after(&self, i: &Insn) -> u64 {
        self.wrap_ip(self.regs[usize::from(slot::RIP_BASE)].wrapping_add(u64::from(i.off) + u64::from(i.len)))
    }
}
