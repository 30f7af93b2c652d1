//! A processor: its state, and its running, to the next exit or by one instruction.

use super::{Error, error::cannot, fpu, msrs, registers};
use emu_core::{
    arch::msr,
    engine::CpuIo,
    memory::GuestMemory,
    state::{CpuState, Events},
};
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_INTERNAL_ERROR_EMULATION, KVM_MP_STATE_RUNNABLE,
    KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI, kvm_guest_debug, kvm_mp_state, kvm_sregs,
    kvm_vcpu_events,
};
use kvm_ioctls::{VcpuExit, VcpuFd};

const EINTR: i32 = 4;

/// Why [`Vcpu::step`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// An instruction has completed, or one iteration of a repeated one.
    Stepped,
    /// HLT.
    Halted,
    /// An exception could not be delivered, nor could what followed from it.
    Shutdown,
    /// KVM emulates this instruction and does not know it. Nothing has happened; RIP is at it.
    NotEmulated,
    /// A signal, before anything happened.
    Interrupted,
    /// The exit of this name, which no single instruction ought to cause.
    Unexpected(&'static str),
}

/// A processor.
pub struct Vcpu {
    fd: VcpuFd,
    id: u32,
    /// After creation: what `CpuState` has no place for.
    initial: kvm_sregs,
    /// Keeps the memory slots' mapping alive while the processor may run.
    _memory: GuestMemory,
}

/// An exit whose borrow of the run area has ended.
enum Exit {
    Io { write: bool },
    Mmio,
    Stop(Stop),
}

impl Vcpu {
    pub(super) fn new(fd: VcpuFd, id: u32, memory: GuestMemory) -> Result<Self, Error> {
        let initial = fd.get_sregs().map_err(cannot("tell special registers"))?;
        Ok(Vcpu { fd, id, initial, _memory: memory })
    }

    /// Takes all of `state` but time, XCR0 and what is machine-dependent. It executes next, whatever its activity
    /// says.
    ///
    /// # Errors
    /// What KVM refuses: modes that its processor has not, among others.
    pub fn set_state(&mut self, state: &CpuState) -> Result<(), Error> {
        let fd = &self.fd;
        let sregs = registers::special_to(&state.segments, &state.control, &self.initial);
        fd.set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE }).map_err(cannot("wake up"))?;
        // Page tables may have been written since: another CR3 in between drops what is cached of them.
        let elsewhere = kvm_sregs { cr3: sregs.cr3 ^ 0x1000, ..sregs };
        for sregs in [&elsewhere, &sregs] {
            fd.set_sregs(sregs).map_err(cannot("take these control registers and segments"))?;
        }
        msrs::set(fd, &state.msrs)?;
        fd.set_debug_regs(&registers::debug_to(&state.control)).map_err(cannot("set debug registers"))?;
        let old = fd.get_xsave().map_err(cannot("tell vector registers"))?;
        let area = fpu::to_area(&state.x87, &state.simd, &old);
        // SAFETY: the area is as large as KVM reads, since no component beyond its 4 KiB was asked for by
        // arch_prctl.
        unsafe { fd.set_xsave(&area) }.map_err(cannot("set vector registers"))?;
        fd.set_vcpu_events(&events_to(&state.events)).map_err(cannot("set the shadow of STI"))?;
        fd.set_regs(&registers::general_to(&state.general)).map_err(cannot("set general registers"))
    }

    /// Brings `state` up to date with everything that [`set_state`](Self::set_state) takes; the rest stays.
    ///
    /// # Errors
    /// What KVM does not tell.
    pub fn update(&self, state: &mut CpuState) -> Result<(), Error> {
        let fd = &self.fd;
        let sregs = fd.get_sregs().map_err(cannot("tell special registers"))?;
        state.general = registers::general_from(&fd.get_regs().map_err(cannot("tell general registers"))?);
        state.segments = registers::segments_from(&sregs);
        registers::control_from(&sregs, &mut state.control);
        let debug = fd.get_debug_regs().map_err(cannot("tell debug registers"))?;
        registers::debug_from(&debug, &mut state.control);
        let area = fd.get_xsave().map_err(cannot("tell vector registers"))?;
        fpu::from_area(&area, &mut state.x87, &mut state.simd);
        msrs::get(fd, &mut state.msrs)?;
        let events = fd.get_vcpu_events().map_err(cannot("tell the shadow of STI"))?;
        let shadow = u32::from(events.interrupt.shadow);
        state.events.shadow = shadow != 0;
        state.events.shadow_from_mov_ss = shadow & KVM_X86_SHADOW_INT_MOV_SS != 0;
        Ok(())
    }

    /// Whether it tells of XCR0: some KVMs have none.
    pub(super) fn has_xcr0(&self) -> bool {
        self.fd.get_xcrs().is_ok_and(|xcrs| xcrs.nr_xcrs != 0)
    }

    /// Whether its time-stamp counter can be set. It is ahead afterwards if so.
    pub(super) fn sets_time_stamp(&self) -> Result<bool, Error> {
        let now = msrs::read(&self.fd, msr::IA32_TIME_STAMP_COUNTER)?;
        // Months, so that no time that passes meanwhile is taken for it.
        let later = now.wrapping_add(1 << 54);
        msrs::write(&self.fd, msr::IA32_TIME_STAMP_COUNTER, later)?;
        Ok(msrs::read(&self.fd, msr::IA32_TIME_STAMP_COUNTER)?.wrapping_sub(later) < 1 << 50)
    }

    /// Executes one instruction; ports and device memory are `io`'s. An exception is delivered by the guest's
    /// IDT, and the first instruction of its handler is executed instead.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn step(&mut self, io: &dyn CpuIo) -> Result<Stop, Error> {
        let debug =
            kvm_guest_debug { control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, ..Default::default() };
        self.fd.set_guest_debug(&debug).map_err(cannot("single-step"))?;
        let at = self.rip()?;
        let mut stale = true;
        loop {
            match self.enter()? {
                Exit::Io { write } => self.port(io, write),
                Exit::Mmio => self.device_memory(io),
                // Some KVMs tell of an earlier HLT that was stepped over once more. RIP is behind a real one.
                Exit::Stop(Stop::Halted) if stale && self.rip()? == at => stale = false,
                Exit::Stop(stop) => return Ok(stop),
            }
        }
    }

    /// Executes until something happens that is not `io`'s to deal with.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn run(&mut self, io: &dyn CpuIo) -> Result<Stop, Error> {
        self.fd.set_guest_debug(&kvm_guest_debug::default()).map_err(cannot("end single-stepping"))?;
        loop {
            match self.enter()? {
                Exit::Io { write } => self.port(io, write),
                Exit::Mmio => self.device_memory(io),
                Exit::Stop(stop) => return Ok(stop),
            }
        }
    }

    fn rip(&self) -> Result<u64, Error> {
        Ok(self.fd.get_regs().map_err(cannot("tell general registers"))?.rip)
    }

    fn enter(&mut self) -> Result<Exit, Error> {
        let stop = match self.fd.run() {
            Ok(VcpuExit::IoIn(..)) => return Ok(Exit::Io { write: false }),
            Ok(VcpuExit::IoOut(..)) => return Ok(Exit::Io { write: true }),
            Ok(VcpuExit::MmioRead(..) | VcpuExit::MmioWrite(..)) => return Ok(Exit::Mmio),
            Ok(VcpuExit::Debug(_)) => Stop::Stepped,
            Ok(VcpuExit::Hlt) => Stop::Halted,
            Ok(VcpuExit::Shutdown) => Stop::Shutdown,
            Ok(VcpuExit::Intr) => Stop::Interrupted,
            Ok(VcpuExit::InternalError) => return Ok(Exit::Stop(self.internal_error())),
            Ok(VcpuExit::FailEntry(..)) => Stop::Unexpected("failed entry"),
            Ok(_) => Stop::Unexpected("of no kind that a processor without a machine has"),
            Err(error) if error.errno() == EINTR => Stop::Interrupted,
            Err(error) => return Err(cannot("run")(error)),
        };
        Ok(Exit::Stop(stop))
    }

    fn internal_error(&mut self) -> Stop {
        // SAFETY: after an exit for an internal error this is the union's member.
        let suberror = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.internal.suberror };
        match suberror {
            KVM_INTERNAL_ERROR_EMULATION => Stop::NotEmulated,
            _ => Stop::Unexpected("internal error"),
        }
    }

    /// Carries out a port access: of a string instruction perhaps several at once.
    fn port(&mut self, io: &dyn CpuIo, write: bool) {
        let run = self.fd.get_kvm_run();
        // SAFETY: after an exit for a port access this is the union's member.
        let access = unsafe { run.__bindgen_anon_1.io };
        let len = usize::from(access.size) * access.count as usize;
        let start = (&raw mut *run).cast::<u8>();
        // SAFETY: KVM puts the data of `count` accesses of `size` bytes at this offset in the run area, of which
        // `run` is the start and which nobody else touches while the processor does not run.
        let data = unsafe { std::slice::from_raw_parts_mut(start.add(access.data_offset as usize), len) };
        let vcpu = self.id as usize;
        for item in data.chunks_exact_mut(access.size.into()) {
            if write {
                let mut bytes = [0; 4];
                bytes[..item.len()].copy_from_slice(item);
                io.port_write(vcpu, access.port, access.size, u32::from_le_bytes(bytes));
            } else {
                let value = io.port_read(vcpu, access.port, access.size).to_le_bytes();
                item.copy_from_slice(&value[..item.len()]);
            }
        }
    }

    fn device_memory(&mut self, io: &dyn CpuIo) {
        // SAFETY: after an exit for device memory this is the union's member.
        let access = unsafe { &mut self.fd.get_kvm_run().__bindgen_anon_1.mmio };
        let (vcpu, len) = (self.id as usize, (access.len as usize).min(access.data.len()));
        if access.is_write != 0 {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&access.data[..len]);
            io.mmio_write(vcpu, access.phys_addr, len as u8, u64::from_le_bytes(bytes));
        } else {
            let value = io.mmio_read(vcpu, access.phys_addr, len as u8).to_le_bytes();
            access.data[..len].copy_from_slice(&value[..len]);
        }
    }
}

/// To KVM's events: no exception or interrupt is under way.
fn events_to(events: &Events) -> kvm_vcpu_events {
    let mut to = kvm_vcpu_events { flags: kvm_bindings::KVM_VCPUEVENT_VALID_SHADOW, ..Default::default() };
    let shadow = match (events.shadow, events.shadow_from_mov_ss) {
        (false, _) => 0,
        (true, false) => KVM_X86_SHADOW_INT_STI,
        (true, true) => KVM_X86_SHADOW_INT_MOV_SS,
    };
    to.interrupt.shadow = shadow as u8;
    to
}
