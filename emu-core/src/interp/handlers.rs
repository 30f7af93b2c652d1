//! Handlers: the functions that instructions point to. Each executes one instruction and continues with the
//! next in tail position, so that a run of blocks is a chain of jumps.
//!
//! rustc makes these calls jumps when optimising but does not promise it; a chain that did not would still be
//! bounded by the budget, for which vCPU threads have stack enough. `cargo xtask handlers` checks the machine
//! code. Debug builds return to a loop instead.

use super::{
    blocks::{Crossing, TABLE, Tail},
    emit::{Exact, Fast, Quiet},
    jumps::JumpEntry,
};
use crate::{
    arch::{Exception, Flags, Width},
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    semantics::{Attr, Run, Semantics},
    state::Activity,
};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Left a block: look up the block at `cpu.rip`.
pub const LOOK_UP: u32 = 0;
/// An exception is in `cpu.raised`, `cpu.rip` at its instruction.
pub const RAISED: u32 = 1;
/// Before an observed instruction, `cpu.rip` at it.
pub const PAUSED: u32 = 3;
/// Debug builds: go on at `cpu.blocks.next`.
#[cfg(debug_assertions)]
pub const CONTINUE: u32 = 2;

/// Continues with `i`.
///
/// # Safety
/// `i` is an instruction of a block in `cpu`'s arena.
#[inline(always)]
pub unsafe fn go(cpu: &mut Cpu, i: *const Insn) -> u32 {
    #[cfg(not(debug_assertions))]
    // SAFETY: the caller's promise.
    unsafe {
        ((*i).handler)(cpu, i)
    }
    #[cfg(debug_assertions)]
    {
        cpu.blocks.next = i;
        CONTINUE
    }
}

/// Runs from `entry` until something needs the run loop.
pub fn enter(cpu: &mut Cpu, entry: *const Insn) -> u32 {
    // SAFETY: `entry` comes from a look-up in this CPU's block cache.
    #[cfg(not(debug_assertions))]
    unsafe {
        ((*entry).handler)(cpu, entry)
    }
    #[cfg(debug_assertions)]
    {
        cpu.blocks.next = entry;
        loop {
            let i = cpu.blocks.next;
            // SAFETY: as above; every handler leaves an instruction of a block there.
            let code = unsafe { ((*i).handler)(cpu, i) };
            if code != CONTINUE {
                return code;
            }
        }
    }
}

/// An instruction on the fast path.
///
/// # Safety
/// As [`go`], for all handlers here.
pub unsafe extern "C-unwind" fn fast<S: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: `i` is valid and outlives the call; the emitter does not outlive the borrow of `cpu`.
    let (insn, mut e) = unsafe { (&*i, Fast::new(cpu)) };
    match S::run(&mut e, insn) {
        // SAFETY: instructions of a block follow each other.
        Ok(()) => unsafe { go(cpu, i.add(1)) },
        // SAFETY: the same instruction.
        Err(_) => unsafe { exact(cpu, i) },
    }
}

/// An instruction whose flags are overwritten before anything can see them.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn quiet<S: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: as in `fast`.
    let (insn, mut e) = unsafe { (&*i, Quiet::new(cpu)) };
    match S::run(&mut e, insn) {
        // SAFETY: instructions of a block follow each other.
        Ok(()) => unsafe { go(cpu, i.add(1)) },
        // SAFETY: the same instruction.
        Err(_) => unsafe { exact(cpu, i) },
    }
}

/// A pair of an instruction that sets flags and the conditional jump after it.
///
/// # Safety
/// As [`go`]; the next instruction is the jump `J`.
pub unsafe extern "C-unwind" fn fused<S: Semantics, J: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: as in `fast`.
    let (insn, jump, mut e) = unsafe { (&*i, &*i.add(1), Fast::new(cpu)) };
    if S::run(&mut e, insn).is_err() {
        // SAFETY: the same instruction alone; the jump follows by its own handler.
        return unsafe { exact(cpu, i) };
    }
    let _ = J::run(&mut e, jump);
    let taken = e.taken;
    // SAFETY: the jump is the last of its block.
    unsafe { follow(cpu, i.add(1), taken) }
}

/// Any row, exactly; not one that ends a block.
///
/// # Safety
/// As [`go`].
#[cold]
pub unsafe extern "C-unwind" fn exact(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    match run_exact(cpu, insn) {
        Err(exception) => raise(cpu, insn, exception),
        Ok(_) if cpu.leave_block => {
            let next = cpu.rip_after(insn);
            leave_after(cpu, insn, next)
        }
        // SAFETY: instructions of a block follow each other.
        Ok(_) => unsafe { go(cpu, i.add(1)) },
    }
}

/// A row without a specialised handler.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn general(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { exact(cpu, i) }
}

/// A row that first waits for pending x87 exceptions.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn waiting(cpu: &mut Cpu, i: *const Insn) -> u32 {
    match crate::microcode::x87::check_pending(cpu) {
        // SAFETY: the caller's promise.
        Ok(()) => unsafe { exact(cpu, i) },
        // SAFETY: the caller's promise.
        Err(exception) => raise(cpu, unsafe { &*i }, exception),
    }
}

/// Runs the row of `i` on the exact emitter; returns (taken, target) as a branch left them.
#[inline(always)]
fn run_exact(cpu: &mut Cpu, i: &Insn) -> Result<(bool, u64), Exception> {
    match TABLE.row(i.row).run {
        Run::Emit(run) => {
            // SAFETY: the emitter does not outlive the borrow of `cpu`.
            let mut e = unsafe { Exact::new(cpu) };
            run(&mut e, i)?;
            Ok((e.taken, e.target))
        }
        Run::Microcode(run) => {
            cpu.rip = cpu.rip_after(i);
            run(cpu, i)?;
            Ok((false, 0))
        }
    }
}

/// Executes `i`, which is no branch, for translated code; returns what the run loop has to be told, if it must be
/// returned to.
pub fn exact_alone(cpu: &mut Cpu, i: &Insn) -> Option<u32> {
    let waits = TABLE.row(i.row).attr.intersects(Attr::X87_WAITS | Attr::MMX);
    let pending = if waits { crate::microcode::x87::check_pending(cpu) } else { Ok(()) };
    match pending.and_then(|()| run_exact(cpu, i)) {
        Err(exception) => Some(raise(cpu, i, exception)),
        Ok(_) if cpu.leave_block => {
            let next = cpu.rip_after(i);
            Some(leave_after(cpu, i, next))
        }
        Ok(_) => None,
    }
}

/// Leaves the block after `i`, which is completed; `next` is the RIP behind it.
#[cold]
fn leave_after(cpu: &mut Cpu, i: &Insn, next: u64) -> u32 {
    cpu.budget -= cpu.blocks.ordinal(i) + 1;
    cpu.observe.last = cpu.rip_of(i);
    cpu.rip = next;
    LOOK_UP
}

#[cold]
fn raise(cpu: &mut Cpu, i: &Insn, exception: Exception) -> u32 {
    cpu.budget -= cpu.blocks.ordinal(i);
    cpu.observe.last = cpu.rip_of(i);
    cpu.rip = cpu.rip_of(i);
    cpu.raised = Some(exception);
    RAISED
}

/// A row after which nothing may be executed without a look at the state.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn ends_block(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    cpu.rip = cpu.rip_after(insn);
    match run_exact(cpu, insn) {
        Ok(_) if !wants_run_loop(cpu) => {
            // It holds for one instruction, and without breakpoints has nothing to hold back.
            cpu.eflags.remove(Flags::RF);
            let target = cpu.rip;
            // SAFETY: the row is the last of its block.
            unsafe { jump_to(cpu, i, target) }
        }
        Ok(_) => {
            // SAFETY: as above: the tail follows.
            cpu.budget -= unsafe { (*i.add(1).cast::<Tail>()).count };
            cpu.observe.last = cpu.rip_of(insn);
            LOOK_UP
        }
        Err(exception) => raise(cpu, insn, exception),
    }
}

/// Whether the state calls for what only the run loop does between instructions.
fn wants_run_loop(cpu: &Cpu) -> bool {
    let events = &cpu.events;
    events.activity != Activity::Active
        || cpu.mode.is_stepping()
        || events.shadow
        || events.pending_debug != 0
        || cpu.leave_block
        // Saved with the interrupt that comes now.
        || cpu.eflags.contains(Flags::RF) && cpu.signal.attention().load(Ordering::Relaxed) != 0
}

/// An instruction that raises an exception before it does anything; `imm` says which.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn undefined(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    let exception = match insn.imm {
        0 => Exception::UD,
        1 => Exception::NM,
        _ => Exception::GP0,
    };
    raise(cpu, insn, exception)
}

/// A direct branch on the fast path: conditional or not.
///
/// # Safety
/// As [`go`]; the tail follows.
pub unsafe extern "C-unwind" fn branch<S: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: as in `fast`.
    let (insn, mut e) = unsafe { (&*i, Fast::new(cpu)) };
    match S::run(&mut e, insn) {
        Ok(()) => {
            let taken = e.taken;
            // SAFETY: the branch is the last of its block.
            unsafe { follow(cpu, i, taken) }
        }
        // SAFETY: the same instruction.
        Err(_) => unsafe { branch_exact(cpu, i) },
    }
}

/// A direct branch, exactly.
///
/// # Safety
/// As [`branch`].
pub unsafe extern "C-unwind" fn branch_exact(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    match run_exact(cpu, insn) {
        Ok((taken, _)) if cpu.leave_block => {
            let next = branch_target(cpu, insn, taken);
            leave_after(cpu, insn, next)
        }
        // SAFETY: the branch is the last of its block.
        Ok((taken, _)) => unsafe { follow(cpu, i, taken) },
        Err(exception) => raise(cpu, insn, exception),
    }
}

/// Goes on after the direct branch `i` to wherever it leads.
///
/// # Safety
/// `i` is the last instruction of its block: the tail follows.
#[inline(always)]
pub unsafe fn follow(cpu: &mut Cpu, i: *const Insn, taken: bool) -> u32 {
    // SAFETY: the caller's promise.
    let tail = unsafe { &*i.add(1).cast::<Tail>() };
    cpu.budget -= tail.count;
    let link = tail.link[usize::from(taken)];
    let attention = cpu.signal.attention().load(Ordering::Relaxed);
    if cpu.budget < 0 || attention != 0 || link.is_null() {
        // SAFETY: as above.
        return unsafe { leave(cpu, i, taken) };
    }
    // SAFETY: links lead to instructions in the arena as long as the block with the link exists.
    unsafe { go(cpu, link) }
}

/// RIP after the direct branch `i`.
fn branch_target(cpu: &Cpu, i: &Insn, taken: bool) -> u64 {
    if taken { cpu.direct_target(i) } else { cpu.rip_after(i) }
}

/// Whether a direct branch that leads to a good target always will: the limit of CS can be another the next time.
fn can_link(cpu: &Cpu, i: &Insn, taken: bool) -> bool {
    let wide = taken && cpu.mode.bitness() == 16 && i.width[0] != Width::W16;
    !cpu.mode.is_limited() && !wide
}

/// The end of a block whose successor is not linked, or the run loop must look around.
///
/// # Safety
/// As [`follow`].
#[cold]
unsafe extern "C-unwind" fn leave(cpu: &mut Cpu, i: *const Insn, taken: bool) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    let target = branch_target(cpu, insn, taken);
    if taken && !cpu.can_jump_to(target) {
        // SAFETY: the caller's promise. It is a conditional jump, which has committed nothing.
        return unsafe { branch_exact(cpu, i) };
    }
    cpu.rip = target;
    if cpu.budget < 0 || cpu.signal.attention().load(Ordering::Relaxed) != 0 || cpu.blocks.is_full() {
        return LOOK_UP;
    }
    let from_base = cpu.regs[usize::from(slot::RIP_BASE)];
    let Ok(found) = cpu.look_up() else { return LOOK_UP };
    if found.second_page.is_none() && can_link(cpu, insn, taken) {
        let link = if found.rip_base == from_base {
            found.entry
        } else {
            let crossing = Crossing {
                handler: cross,
                entry: found.entry,
                from_base,
                to_base: found.rip_base,
                stamp: found.stamp,
                unused: [0; 2],
                flags: flag::CROSSING,
            };
            cpu.blocks.insert_crossing(crossing)
        };
        // SAFETY: the tail follows; nothing else refers to it now.
        unsafe { (*i.add(1).cast_mut().cast::<Tail>()).link[usize::from(taken)] = link };
    }
    cpu.regs[usize::from(slot::RIP_BASE)] = found.rip_base;
    // SAFETY: just looked up.
    unsafe { go(cpu, found.entry) }
}

/// A link into another page.
///
/// # Safety
/// `i` points to a [`Crossing`].
pub unsafe extern "C-unwind" fn cross(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let crossing = unsafe { &*i.cast::<Crossing>() };
    let base = cpu.regs[usize::from(slot::RIP_BASE)];
    if cpu.mmu.is_current(crossing.stamp) && crossing.from_base == base {
        cpu.regs[usize::from(slot::RIP_BASE)] = crossing.to_base;
        // SAFETY: a block of this arena.
        return unsafe { go(cpu, crossing.entry) };
    }
    // SAFETY: as above.
    unsafe { cross_again(cpu, i) }
}

/// The link was made under other translations, or from another linear page: look up, and link anew.
///
/// # Safety
/// As [`cross`].
#[cold]
unsafe extern "C-unwind" fn cross_again(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise; nothing else refers to it now.
    let crossing = unsafe { &mut *i.cast_mut().cast::<Crossing>() };
    let base = cpu.regs[usize::from(slot::RIP_BASE)];
    if cpu.renew(crossing) {
        cpu.regs[usize::from(slot::RIP_BASE)] = crossing.to_base;
        // SAFETY: a block of this arena.
        return unsafe { go(cpu, crossing.entry) };
    }
    if cpu.blocks.is_full() {
        return LOOK_UP;
    }
    let Ok(found) = cpu.look_up() else { return LOOK_UP };
    if found.second_page.is_none() {
        crossing.entry = found.entry;
        crossing.from_base = base;
        crossing.to_base = found.rip_base;
        crossing.stamp = found.stamp;
    }
    cpu.regs[usize::from(slot::RIP_BASE)] = found.rip_base;
    // SAFETY: just looked up.
    unsafe { go(cpu, found.entry) }
}

/// An indirect branch on the fast path.
///
/// # Safety
/// As [`branch`].
pub unsafe extern "C-unwind" fn indirect<S: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: as in `fast`.
    let (insn, mut e) = unsafe { (&*i, Fast::new(cpu)) };
    match S::run(&mut e, insn) {
        Ok(()) => {
            let target = e.target;
            // SAFETY: the branch is the last of its block.
            unsafe { jump_to(cpu, i, target) }
        }
        // SAFETY: the same instruction.
        Err(_) => unsafe { indirect_exact(cpu, i) },
    }
}

/// An indirect branch, exactly.
///
/// # Safety
/// As [`branch`].
pub unsafe extern "C-unwind" fn indirect_exact(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    match run_exact(cpu, insn) {
        Ok((_, target)) if cpu.leave_block => leave_after(cpu, insn, target),
        // SAFETY: the branch is the last of its block.
        Ok((_, target)) => unsafe { jump_to(cpu, i, target) },
        Err(exception) => raise(cpu, insn, exception),
    }
}

/// Goes on at RIP `target`.
///
/// # Safety
/// As [`follow`].
#[inline(always)]
pub unsafe fn jump_to(cpu: &mut Cpu, i: *const Insn, target: u64) -> u32 {
    // SAFETY: the caller's promise; nothing else refers to the tail now.
    let tail = unsafe { &mut *i.add(1).cast_mut().cast::<Tail>() };
    cpu.budget -= tail.count;
    let JumpEntry { rip, rip_base, entry, mode, stamp, .. } = *cpu.blocks.jumps.entry(target);
    let attention = cpu.signal.attention().load(Ordering::Relaxed);
    let known = rip == target && mode == cpu.mode.bits() && cpu.mmu.is_current(stamp);
    if !known || cpu.budget < 0 || attention != 0 {
        cpu.rip = target;
        if cpu.budget < 0 || attention != 0 || rip != target || mode != cpu.mode.bits() {
            return LOOK_UP;
        }
        // SAFETY: the cache names a block of this arena, and the caller's promise.
        return unsafe { jump_again(cpu, entry) };
    }
    if tail.link[1] != entry {
        tail.link = [tail.link[1], entry];
    }
    cpu.regs[usize::from(slot::RIP_BASE)] = rip_base;
    // SAFETY: entries that are current lead to blocks of this arena.
    unsafe { go(cpu, entry) }
}

/// Goes on at RIP, where the block `entry` was when the cache for indirect jumps was told.
///
/// # Safety
/// As [`go`].
#[cold]
unsafe extern "C-unwind" fn jump_again(cpu: &mut Cpu, entry: *const Insn) -> u32 {
    let Some(stamp) = cpu.is_still_at_rip(entry) else { return LOOK_UP };
    // SAFETY: as above.
    let rip_base = cpu.rip.wrapping_sub(unsafe { (*entry).off }.into());
    cpu.blocks.jumps.set(JumpEntry {
        door: std::ptr::null(),
        rip: cpu.rip,
        rip_base,
        entry,
        mode: cpu.mode.bits(),
        stamp,
    });
    cpu.regs[usize::from(slot::RIP_BASE)] = rip_base;
    // SAFETY: the caller's promise.
    unsafe { go(cpu, entry) }
}

impl Cpu {
    /// Sees to it that the link into another page is good here and now, and leads where it led before. RIP is then where
    /// it leads; also if that is not so.
    pub(super) fn renew(&mut self, crossing: &mut Crossing) -> bool {
        let base = self.regs[usize::from(slot::RIP_BASE)];
        if self.mmu.is_current(crossing.stamp) && crossing.from_base == base {
            return true;
        }
        let distance = crossing.to_base.wrapping_sub(crossing.from_base);
        // SAFETY: a block of this arena.
        let offset = u64::from(unsafe { (*crossing.entry).off });
        self.rip = self.wrap_ip(base.wrapping_add(distance).wrapping_add(offset));
        let Some(stamp) = self.is_still_at_rip(crossing.entry) else { return false };
        (crossing.from_base, crossing.to_base) = (base, self.rip.wrapping_sub(offset));
        crossing.stamp = stamp;
        true
    }

    /// Whether the block at `entry`, decoded in this mode, is what is at RIP now: in which case it has not to be looked
    /// up. Returns the stamp of what leads there.
    fn is_still_at_rip(&mut self, entry: *const Insn) -> Option<u32> {
        // SAFETY: a block of this arena.
        let first = unsafe { &*entry };
        // Only an entry that counts knows where it is.
        let known = is_usable(entry) && first.has(flag::ENTRY) && self.observe.code.is_empty();
        let unlimited = match self.mode.bitness() {
            64 => self.is_canonical(self.rip),
            32 => !self.mode.is_limited(),
            _ => false,
        };
        if !known || !unlimited {
            return None;
        }
        let linear = self.code_address();
        let there = self.mmu.translate_fetch(linear) == Ok(first.disp);
        there.then(|| self.mmu.link_stamp(linear))
    }
}

/// Before an instruction that is observed.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn pause(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    cpu.rip = cpu.rip_of(unsafe { &*i });
    if cpu.pauses_here() {
        return PAUSED;
    }
    // SAFETY: instructions of a block follow each other.
    unsafe { go(cpu, i.add(1)) }
}

/// Whether the block at `entry`, which is in the arena of its CPU, is good and where it has always been.
pub fn is_usable(entry: *const Insn) -> bool {
    // SAFETY: the caller's promise.
    unsafe { !(*entry).has(flag::GONE) }
}

/// First instruction of a block that must be decoded again.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn stale(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    cpu.rip = cpu.rip_of(unsafe { &*i });
    LOOK_UP
}

/// First instruction of a block that has moved to `imm`.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn forward(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise; `imm` is the address of a block in this arena, and so is that of another
    // forwarding block, which is skipped from now on.
    unsafe {
        let target = (*i).imm as *const Insn;
        if (*target).has(flag::GONE) && (*target).handler as usize == forward as *const () as usize {
            (*i.cast_mut()).imm = (*target).imm;
        }
        go(cpu, target)
    }
}

/// Atomic compare and exchange of `w` at `host`; the value found, if it was not `old`.
///
/// # Safety
/// `host` is valid for reads and writes of `w` bytes, in one page of guest RAM.
#[inline]
pub unsafe fn compare_exchange(host: *mut u8, w: Width, old: u64, new: u64) -> Result<(), u64> {
    if !(host as usize).is_multiple_of(w.bytes() as usize) {
        // SAFETY: the caller's promise.
        return unsafe { compare_exchange_unaligned(host, w, old, new) };
    }
    let order = (Ordering::SeqCst, Ordering::Relaxed);
    // SAFETY: valid and aligned.
    unsafe {
        match w {
            Width::W8 => AtomicU8::from_ptr(host)
                .compare_exchange(old as u8, new as u8, order.0, order.1)
                .map_err(u64::from)
                .map(drop),
            Width::W16 => AtomicU16::from_ptr(host.cast())
                .compare_exchange(old as u16, new as u16, order.0, order.1)
                .map_err(u64::from)
                .map(drop),
            Width::W32 => AtomicU32::from_ptr(host.cast())
                .compare_exchange(old as u32, new as u32, order.0, order.1)
                .map_err(u64::from)
                .map(drop),
            Width::W64 => {
                AtomicU64::from_ptr(host.cast()).compare_exchange(old, new, order.0, order.1).map(drop)
            }
        }
    }
}

/// A split lock. x86 hosts can do it; elsewhere it is atomic only against other split locks.
///
/// # Safety
/// As [`compare_exchange`].
#[cold]
unsafe fn compare_exchange_unaligned(host: *mut u8, w: Width, old: u64, new: u64) -> Result<(), u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let found: u64;
        // SAFETY: valid for reads and writes; a locked instruction needs no alignment on x86.
        unsafe {
            match w {
                Width::W64 => {
                    std::arch::asm!("lock cmpxchg [{p}], {n}", p = in(reg) host, n = in(reg) new, inout("rax") old => found);
                }
                Width::W32 => {
                    let low: u32;
                    std::arch::asm!("lock cmpxchg [{p}], {n:e}", p = in(reg) host, n = in(reg) new, inout("eax") old as u32 => low);
                    found = low.into();
                }
                _ => {
                    let low: u16;
                    std::arch::asm!("lock cmpxchg [{p}], {n:x}", p = in(reg) host, n = in(reg) new, inout("ax") old as u16 => low);
                    found = low.into();
                }
            }
        }
        if found == old { Ok(()) } else { Err(found) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static SPLIT: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _lock = SPLIT.lock();
        let mut bytes = [0u8; 8];
        let len = w.bytes() as usize;
        // SAFETY: valid for reads and writes of `len` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), len);
            let found = u64::from_le_bytes(bytes);
            if found != old {
                return Err(found);
            }
            std::ptr::copy_nonoverlapping(new.to_le_bytes().as_ptr(), host, len);
        }
        Ok(())
    }
}
