//! User-only mode: 64-bit user code of the guest on a KVM that can execute no kernels, everything else on the software
//! CPU (ADR 0016).
//!
//! [`UserVcpu::run`] runs the software CPU. When that reports that user code comes next which was interrupted before, and
//! so computes, the stretch goes to KVM if it is [worth](worth) it: with page [tables](tables) of ours, filled from the
//! guest's as user code faults, and without the pages whose code could [see the host](scan). Whatever user code needs of
//! a kernel, and every instruction that this KVM's processor has not, is executed by the software CPU from the same
//! state, so nothing is delivered or emulated here.
//!
//! The tables are a TLB of the vCPU's: they forget when its software TLB does (`emu_core::mmu::Forgotten`).
//!
//! Left out: 32-bit user code; guests without AVX or FSGSBASE; selectors other than Linux'.

mod fill;
mod scan;
mod tables;
#[cfg(test)]
mod tests;
mod worth;

use crate::kvm::{Error, Kvm, UserCpu, UserExit, Vm};
use emu_core::{
    clock::host_nanos,
    cpu::Cpu,
    interp::Stop,
    memory::{GuestMemory, PhysicalMemory},
    mmu::Forgotten,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tables::{Full, Tables};
use worth::Worth;

/// Guest-physical address from which page tables are placed, beyond the RAM of most guests.
const TABLES: u64 = 1 << 38;
/// Bytes of page tables for each vCPU: as many as 8 GiB of small pages need.
const TABLES_SIZE: usize = 32 << 20;
/// INT3, and INT 3.
const INT3: [u8; 1] = [0xCC];
const INT_3: [u8; 2] = [0xCD, 3];

/// What has been done by KVM: counts since the start.
#[derive(Debug, Default)]
pub struct UserCounts {
    /// Stretches of user code.
    pub stretches: AtomicU64,
    /// Nanoseconds in them.
    pub nanos: AtomicU64,
    /// Those that ended in a system call.
    pub system_calls: AtomicU64,
    /// Those that ended because something was asked of the vCPU.
    pub kicks: AtomicU64,
    /// Those that ended in an instruction for the software CPU.
    pub software: AtomicU64,
    /// Times that page tables were filled.
    pub fills: AtomicU64,
}

/// The user code of a machine's vCPUs.
pub struct UserMachine {
    vm: Arc<Vm>,
    counts: Arc<UserCounts>,
    first_table: u64,
}

impl UserMachine {
    /// For a machine with `memory`.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn new(kvm: &Kvm, memory: &GuestMemory) -> Result<Self, Error> {
        let end = memory.ranges().map(|(start, len)| start + len).max().unwrap_or(0);
        let first_table = end.next_multiple_of(1 << 30).max(TABLES);
        Ok(UserMachine { vm: Arc::new(Vm::new(kvm, memory)?), counts: Arc::default(), first_table })
    }

    /// What was done.
    pub fn counts(&self) -> Arc<UserCounts> {
        self.counts.clone()
    }

    /// Its vCPU `number`.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn vcpu(&self, number: usize) -> Result<UserVcpu, Error> {
        let source = |source| Error::Request { what: "have page tables", source };
        let base = self.first_table + number as u64 * TABLES_SIZE as u64;
        let tables = Tables::new(base, TABLES_SIZE).map_err(source)?;
        let slot = self.vm.slots() + number as u32;
        let place = tables.place();
        // SAFETY: the tables' memory lives in the same `UserVcpu` as the processor, which is dropped first.
        unsafe { self.vm.add_slot(slot, place)? };
        let hardware = self.vm.user_vcpu(number as u32)?;
        Ok(UserVcpu {
            hardware,
            tables,
            vm: self.vm.clone(),
            slot,
            worth: Worth::default(),
            with_cpuid: HashMap::new(),
            xcr0: xcr0(),
            counts: self.counts.clone(),
            broken: false,
        })
    }
}

/// A vCPU whose user code KVM may execute. It runs on the thread that calls [`run`](Self::run).
pub struct UserVcpu {
    hardware: UserCpu,
    tables: Tables,
    vm: Arc<Vm>,
    slot: u32,
    worth: Worth,
    /// How often pages with CPUID were wanted, by address space and guest-physical address.
    with_cpuid: HashMap<(u64, u64), u32>,
    /// What XCR0 is in user code there.
    xcr0: u64,
    counts: Arc<UserCounts>,
    /// KVM has done what it should not: it is not asked again.
    broken: bool,
}

/// How a stretch has ended.
enum End {
    /// The software CPU goes on.
    Over,
    /// The software CPU executes one instruction, and then it may go on.
    OneInstruction,
    /// An instruction was executed with TF set.
    SingleStep,
}

impl UserVcpu {
    /// Runs `cpu` until it is asked to stop, and its user code on KVM where that is worth it.
    pub fn run(&mut self, cpu: &mut Cpu) -> Stop {
        cpu.signal.set_kick(self.hardware.kick());
        self.hardware.runs_here();
        // What has been executed meanwhile was not written down.
        self.tables.forget_all();
        cpu.mmu.keep_beside(true);
        cpu.user_code.wanted = !self.broken;
        loop {
            match cpu.run() {
                Stop::UserCode => self.serve(cpu),
                stop => {
                    cpu.mmu.keep_beside(false);
                    cpu.user_code = Default::default();
                    return stop;
                }
            }
        }
    }

    /// User code comes next.
    fn serve(&mut self, cpu: &mut Cpu) {
        let cr3 = cpu.control.cr3;
        if !self.worth.is_it(cr3) {
            return;
        }
        while cpu.is_at_user_code() {
            let began = host_nanos();
            let end = self.stretch(cpu).unwrap_or_else(|error| {
                log::warn!("user code goes to the software CPU from now on: {error}");
                (self.broken, cpu.user_code.wanted) = (true, false);
                End::Over
            });
            let nanos = host_nanos().wrapping_sub(began);
            self.counts.stretches.fetch_add(1, Ordering::Relaxed);
            self.counts.nanos.fetch_add(nanos, Ordering::Relaxed);
            let was_worth_it = self.worth.was(cr3, nanos);
            match end {
                End::OneInstruction => cpu.step(),
                End::SingleStep => cpu.single_stepped(),
                End::Over if was_worth_it => break,
                End::Over => return,
            }
            if !was_worth_it {
                return;
            }
        }
        // It computes for long between what it needs: it goes on here as soon as it has it.
        cpu.user_code.due = cpu.user_code.wanted;
    }

    /// Executes user code until the software CPU has to do something. The state is `cpu`'s before and after.
    fn stretch(&mut self, cpu: &mut Cpu) -> Result<End, Error> {
        let mut state = cpu.save_state();
        let is_taken = UserCpu::takes(&state) && state.control.xcr0.bits() == self.xcr0;
        let Some(root) = is_taken.then(|| self.prepare(cpu)).transpose()?.flatten() else {
            return Ok(End::Over);
        };
        self.hardware.load(&state, root)?;
        let end = self.execute(cpu)?;
        self.hardware.update(&mut state)?;
        cpu.load_user_state(&state);
        Ok(end)
    }

    fn execute(&mut self, cpu: &mut Cpu) -> Result<End, Error> {
        loop {
            self.tables.seal();
            let count = match self.hardware.run(&cpu.signal)? {
                UserExit::Kicked => &self.counts.kicks,
                UserExit::SystemCall => &self.counts.system_calls,
                UserExit::Unexpected => {
                    let source = std::io::Error::other("an exit that user code does not cause");
                    return Err(Error::Request { what: "go on", source });
                }
                UserExit::Trap => {
                    self.counts.software.fetch_add(1, Ordering::Relaxed);
                    return Ok(self.after_trap(cpu));
                }
                UserExit::Fault(address) => {
                    if self.fill(cpu, self.hardware.rip(), address)? {
                        self.counts.fills.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    self.counts.software.fetch_add(1, Ordering::Relaxed);
                    return Ok(End::OneInstruction);
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
            return Ok(End::Over);
        }
    }

    /// Behind an INT3 that was executed, goes back to it: the software CPU delivers it. What else traps is a single step.
    fn after_trap(&mut self, cpu: &Cpu) -> End {
        if self.hardware.is_single_stepped() {
            return End::SingleStep;
        }
        let rip = self.hardware.rip();
        let before = |len: usize| bytes_before(cpu, rip, len);
        let instructions: [&[u8]; 2] = [&INT3, &INT_3];
        if let Some(executed) =
            instructions.iter().find(|bytes| before(bytes.len()).as_deref() == Some(*bytes))
        {
            self.hardware.set_rip(rip.wrapping_sub(executed.len() as u64));
        }
        End::OneInstruction
    }

    /// Has the tables forget what they must, and returns the root for the current address space. `None`: there is no room
    /// even so.
    fn prepare(&mut self, cpu: &mut Cpu) -> Result<Option<u64>, Error> {
        let cr3 = cpu.control.cr3;
        let notes = cpu.mmu.take_forgotten();
        if self.forget(&notes).is_ok()
            && let Ok(root) = self.tables.root(cr3)
        {
            return Ok(Some(root));
        }
        self.start_over()?;
        Ok(self.tables.root(cr3).ok())
    }

    fn forget(&mut self, notes: &[Forgotten]) -> Result<(), Full> {
        let tables = &mut self.tables;
        let mut changed = Vec::new();
        for note in notes {
            match *note {
                Forgotten::Everything => tables.forget_all(),
                Forgotten::Space(pcid) => tables.forget_spaces(pcid),
                Forgotten::Page { pcid, linear } => tables.forget_page(pcid, linear)?,
                Forgotten::Writes(page) | Forgotten::Code(page) => changed.push(page),
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        tables.forget_where(|mapping| {
            changed.iter().any(|page| (page ^ mapping.physical) >> mapping.shift == 0)
        })
    }

    /// Begins with empty tables: KVM forgets them with their memory slot.
    fn start_over(&mut self) -> Result<(), Error> {
        self.tables.clear();
        let place = self.tables.place();
        self.vm.remove_slot(self.slot)?;
        // SAFETY: as in `UserMachine::vcpu`.
        unsafe { self.vm.add_slot(self.slot, place) }
    }
}

/// XCR0 of this host; 0 if it has none. User code on such a KVM has the host's.
fn xcr0() -> u64 {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: the caller has seen that the host has XGETBV, and XCR0 is there wherever it is.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    // SAFETY: the feature has been looked for.
    if is_x86_feature_detected!("xsave") { unsafe { read() } } else { 0 }
}

/// The `len` bytes of user memory before `linear`, if they can be looked at.
fn bytes_before(cpu: &Cpu, linear: u64, len: usize) -> Option<Vec<u8>> {
    let byte = |linear: u64| {
        let page = cpu.mmu.user_page(linear)?;
        let mut byte = [0];
        let address = page.physical + (linear & ((1 << page.shift) - 1));
        ram(&cpu.memory).read(address, &mut byte).ok()?;
        Some(byte[0])
    };
    (1..=len as u64).rev().map(|back| byte(linear.wrapping_sub(back))).collect()
}

fn ram(memory: &PhysicalMemory) -> &GuestMemory {
    memory.ram()
}
