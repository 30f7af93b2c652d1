//! A processor that executes 64-bit user code and nothing else, on page tables that its embedder makes.
//!
//! It has no IDT, and SYSCALL goes to where nothing is mapped: so whatever needs a kernel ends in KVM_EXIT_SHUTDOWN, with
//! the registers as they were (KVM API, 5). What it was is told from RIP and RFLAGS: a fault pushes RF set, a trap clear
//! (SDM vol. 3, 17.3.1.1).
//!
//! Registers go by the run area (KVM_CAP_SYNC_REGS), which saves two requests at each way in and out.

use super::{Error, error::cannot, fpu, kick::Kicker, msrs, registers};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Seg, Segment, attr},
    engine::{Kick, VcpuSignal},
    memory::GuestMemory,
    state::{CpuState, Msrs, Simd, TableRegister, X87},
};
use kvm_bindings::{KVM_MP_STATE_RUNNABLE, kvm_mp_state, kvm_regs, kvm_sregs, kvm_xsave};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd};
use std::sync::{Arc, atomic::Ordering};

const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
/// Where SYSCALL goes: never mapped for user code.
const SYSTEM_CALL_ENTRY: u64 = 0xFFFF_FFFF_FFF0_0000;
/// Length of SYSCALL.
const SYSCALL_LEN: u64 = 2;
/// The selectors that user code has and may read: those of Linux, which such a KVM gives back whatever else was set.
const CODE: u16 = 0x33;
const STACK: u16 = 0x2B;
/// What this processor needs to execute user code as the guest's would.
const CR4: Cr4 = Cr4::PAE.union(Cr4::OSFXSR).union(Cr4::OSXMMEXCPT);

/// Why user code has come back. RIP is at the instruction that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserExit {
    /// Something is requested of the vCPU.
    Kicked,
    /// The next instruction is a SYSCALL.
    SystemCall,
    /// The next instruction has raised a fault. If it was a page fault, it was at this address.
    Fault(u64),
    /// The last instruction has raised a trap: RIP is behind it.
    Trap,
    /// Something that user code does not cause.
    Unexpected,
}

/// See the module.
pub struct UserCpu {
    fd: VcpuFd,
    kicker: Arc<Kicker>,
    /// The special registers that KVM has now.
    special: kvm_sregs,
    vectors: kvm_xsave,
    /// Keeps the memory slots' mapping alive while it may run.
    _memory: GuestMemory,
}

impl UserCpu {
    pub(super) fn new(mut fd: VcpuFd, memory: GuestMemory) -> Result<Self, Error> {
        let initial = fd.get_sregs().map_err(cannot("tell special registers"))?;
        let source = |source| Error::Request { what: "handle a signal", source };
        let kicker = Arc::new(Kicker::new().map_err(source)?);
        fd.set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE }).map_err(cannot("wake up"))?;
        let mut state = CpuState::reset(0).msrs;
        state.lstar = SYSTEM_CALL_ENTRY;
        state.cstar = SYSTEM_CALL_ENTRY;
        state.star = 0x0023_0010 << 32;
        msrs::set(&fd, &Msrs { fmask: 0, ..state })?;
        let special = special(&initial);
        fd.set_sregs(&special).map_err(cannot("take user code's segments and control registers"))?;
        let vectors = fd.get_xsave().map_err(cannot("tell vector registers"))?;
        fd.set_sync_valid_reg(SyncReg::Register);
        fd.set_sync_valid_reg(SyncReg::SystemRegister);
        Ok(UserCpu { fd, kicker, special, vectors, _memory: memory })
    }

    /// The calling thread is the one that runs it.
    pub fn runs_here(&mut self) {
        let immediate_exit = &raw mut self.fd.get_kvm_run().immediate_exit;
        // SAFETY: the run area stays mapped as long as `fd` lives; `drop` comes before that.
        unsafe { self.kicker.runs_here(immediate_exit) }
    }

    /// What has it come back.
    pub fn kick(&self) -> Arc<dyn Kick> {
        self.kicker.clone()
    }

    /// Whether user code of `state` can be executed here: with the selectors that it would read, and the features that
    /// change what an instruction does without a fault.
    pub fn takes(state: &CpuState) -> bool {
        let selector = |seg: Seg| state.segments.data[seg as usize].selector;
        let control = &state.control;
        selector(Seg::Cs) == CODE
            && selector(Seg::Ss) == STACK
            && [Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs].iter().all(|&seg| selector(seg) == 0)
            && control.cr0.contains(Cr0::PG | Cr0::PE | Cr0::NE)
            && !control.cr0.intersects(Cr0::EM | Cr0::TS)
            && control.cr4.contains(CR4 | Cr4::OSXSAVE | Cr4::FSGSBASE)
            && control.efer.contains(Efer::LMA | Efer::SCE | Efer::NXE)
            && !state.general.rflags.intersects(Flags::TF | Flags::AC | Flags::NT)
            // Input and output are for the guest's kernel to allow.
            && state.general.rflags.bits() & Flags::IOPL.bits() == 0
    }

    /// Takes over the user's part of `state`, with page tables at `root`.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn load(&mut self, state: &CpuState, root: u64) -> Result<(), Error> {
        let area = fpu::to_area(&state.x87, &state.simd, &self.vectors);
        // SAFETY: the area is as large as KVM reads, since no component beyond its 4 KiB was asked for by arch_prctl.
        unsafe { self.fd.set_xsave(&area) }.map_err(cannot("set vector registers"))?;
        let mut general = registers::general_to(&state.general);
        // Interrupts of the host's must be able to end it.
        general.rflags |= u64::from(Flags::IF.bits());
        self.set_general(general);
        let base = |seg: Seg| state.segments.data[seg as usize].base;
        let mut special = self.special;
        (special.fs.base, special.gs.base, special.cr3) = (base(Seg::Fs), base(Seg::Gs), root);
        self.set_special(special);
        Ok(())
    }

    /// Goes on with page tables at `root`.
    pub fn change_root(&mut self, root: u64) {
        let special = kvm_sregs { cr3: root, ..self.special };
        self.set_special(special);
    }

    fn set_general(&mut self, general: kvm_regs) {
        self.fd.sync_regs_mut().regs = general;
        self.fd.set_sync_dirty_reg(SyncReg::Register);
    }

    fn set_special(&mut self, special: kvm_sregs) {
        if special != self.special {
            self.fd.sync_regs_mut().sregs = special;
            self.fd.set_sync_dirty_reg(SyncReg::SystemRegister);
            self.special = special;
        }
    }

    /// Executes until something other than user code is to be done, or is asked for by `signal`.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn run(&mut self, signal: &VcpuSignal) -> Result<UserExit, Error> {
        self.kicker.enter();
        if signal.attention().load(Ordering::SeqCst) != 0 {
            self.kicker.leave();
            return Ok(UserExit::Kicked);
        }
        let exit = match self.fd.run() {
            Ok(VcpuExit::Shutdown) => None,
            Ok(VcpuExit::Intr) => Some(UserExit::Kicked),
            Ok(_) => Some(UserExit::Unexpected),
            Err(error) if [EINTR, EAGAIN].contains(&error.errno()) => Some(UserExit::Kicked),
            Err(error) => return Err(cannot("run")(error)),
        };
        self.kicker.leave();
        self.special = self.fd.sync_regs().sregs;
        Ok(exit.unwrap_or_else(|| self.what_happened()))
    }

    fn what_happened(&mut self) -> UserExit {
        let mut regs = self.fd.sync_regs().regs;
        if regs.rip == SYSTEM_CALL_ENTRY {
            // RCX and R11 hold what SYSCALL is going to put there again.
            (regs.rip, regs.rflags) = (regs.rcx.wrapping_sub(SYSCALL_LEN), regs.r11);
            self.set_general(regs);
            return UserExit::SystemCall;
        }
        match Flags::from_bits_retain(regs.rflags as u32).contains(Flags::RF) {
            true => UserExit::Fault(self.special.cr2),
            false => UserExit::Trap,
        }
    }

    /// RIP.
    pub fn rip(&self) -> u64 {
        self.fd.sync_regs().regs.rip
    }

    /// Moves RIP.
    pub fn set_rip(&mut self, rip: u64) {
        let regs = kvm_regs { rip, ..self.fd.sync_regs().regs };
        self.set_general(regs);
    }

    /// Whether TF is set.
    pub fn is_single_stepped(&self) -> bool {
        Flags::from_bits_retain(self.fd.sync_regs().regs.rflags as u32).contains(Flags::TF)
    }

    /// Brings what user code can change of `state` up to date.
    ///
    /// # Errors
    /// What KVM does not tell.
    pub fn update(&mut self, state: &mut CpuState) -> Result<(), Error> {
        let regs = self.fd.sync_regs().regs;
        let kernels = Flags::IF | Flags::RF | Flags::VM | Flags::VIF | Flags::VIP | Flags::IOPL;
        let old = state.general.rflags;
        state.general = registers::general_from(&regs);
        let (flags, old) = (state.general.rflags, old & !Flags::RF);
        state.general.rflags = flags & !kernels | old & kernels;
        let segments = registers::segments_from(&self.special).data;
        for seg in [Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs] {
            let (old, new) = (&mut state.segments.data[seg as usize], &segments[seg as usize]);
            // The hidden part means nothing in 64-bit mode, but for these bases.
            old.selector = new.selector;
            old.base = if matches!(seg, Seg::Fs | Seg::Gs) { new.base } else { old.base };
        }
        self.vectors = self.fd.get_xsave().map_err(cannot("tell vector registers"))?;
        let (x87, simd): (&mut X87, &mut Simd) = (&mut state.x87, &mut state.simd);
        fpu::from_area(&self.vectors, x87, simd);
        Ok(())
    }
}

impl Drop for UserCpu {
    fn drop(&mut self) {
        self.kicker.gone();
    }
}

/// What user code's processor has of segments and control registers, page tables and bases apart.
fn special(initial: &kvm_sregs) -> kvm_sregs {
    let mut state = CpuState::reset(0);
    let segment = |selector, attr| Segment { selector, attr, limit: u32::MAX, base: 0, unusable: false };
    let data = attr::P | attr::S | attr::DPL | 3;
    state.segments.data = [segment(0, data | attr::G | attr::D); 6];
    state.segments.data[Seg::Cs as usize] = segment(CODE, data | 8 | attr::G | attr::L);
    state.segments.data[Seg::Ss as usize] = segment(STACK, data | attr::G | attr::D);
    (state.segments.gdtr, state.segments.idtr) = (TableRegister::default(), TableRegister::default());
    state.control.cr0 = Cr0::PE | Cr0::MP | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::PG;
    state.control.cr4 = CR4 | Cr4::FSGSBASE;
    state.control.efer = Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE;
    registers::special_to(&state.segments, &state.control, initial)
}
