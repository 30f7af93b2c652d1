//! What the interpreter and regions jump to: entries of blocks, regions that are called, and the ways on from those
//! that are handlers.

use super::Instance;
use crate::{
    cpu::{Cpu, LazyFlags, slot},
    decode::Insn,
    interp::{
        blocks::Tail,
        emit::Fast,
        handlers::{self, LOOK_UP, follow, go, jump_to},
    },
    region::{exit, fill, layout::GO_ON},
    semantics::integer::deferred::{Deferred, SETTLED},
};

/// One in so many of the times that a hot region leaves by an indirect branch it is noted where that led.
const NOTED: u32 = 1 << 8;

/// Counts an entry into the block.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn count(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the entry is this CPU's, and nothing else refers to it now.
    let left = unsafe {
        let entry = &mut *i.cast_mut();
        entry.imm = entry.imm.wrapping_sub(1);
        entry.imm
    };
    if left == 0 {
        cpu.warm_up(i);
    }
    // SAFETY: instructions of a block follow each other.
    unsafe { go(cpu, i.add(1)) }
}

/// Runs the region that begins here.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn region(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: `imm` points to an instance, which lives at least until the run loop comes by, and which nothing else
    // refers to now.
    let instance = unsafe { &mut *((*i).imm as *mut Instance) };
    if !cpu.can_run(instance) {
        // SAFETY: instructions of a block follow each other.
        return unsafe { go(cpu, i.add(1)) };
    }
    let budget = cpu.budget;
    let Some(entry) = instance.called else { unreachable!("a region that is a handler itself") };
    cpu.filled = fill::NO;
    // SAFETY: host code made for this CPU's layout, and the points that it knows by number.
    let left = unsafe { entry(cpu, instance.points) };
    instance.door.left -= budget - cpu.budget;
    if exit::unpack(left).0 == exit::INDIRECT {
        instance.strays.0 = instance.strays.0.wrapping_add(1);
    }
    // SAFETY: it has just been left.
    unsafe { go_on_after(cpu, instance, left) }
}

/// Goes on after a region that is called by translated code has returned `exit`, and there is more to do than that.
///
/// # Safety
/// As [`go_on_after`]; the instance that was left is told.
pub unsafe extern "C-unwind" fn returned(cpu: &mut Cpu, exit: *const Insn) -> u32 {
    // SAFETY: whoever called it has just told; nothing else refers to it now.
    unsafe {
        let instance = &mut *cpu.hot.leaving;
        go_on_after(cpu, instance, exit as u64)
    }
}

/// Goes on after `instance` has left by `exit`: notes what there is to note, and does what the exit says.
///
/// # Safety
/// It has just left by it.
unsafe fn go_on_after(cpu: &mut Cpu, instance: &mut Instance, exit: u64) -> u32 {
    let (kind, number) = exit::unpack(exit);
    // Where it was entered. In one page there is one base.
    let base = if instance.one_page { cpu.regs[usize::from(slot::RIP_BASE)] } else { instance.placed.1 };
    if cpu.filled == fill::PART {
        cpu.split_up(instance, base);
    }
    if instance.door.left < 0 {
        cpu.heat_up(instance, base);
    }
    if kind == exit::CODE {
        return number as u32;
    }
    if kind == exit::INDIRECT && instance.strays.0.is_multiple_of(NOTED) {
        cpu.note_stray(instance, base, number);
    }
    if kind == exit::WAY {
        // SAFETY: the way that it has left by.
        return unsafe { follow_way(cpu, instance, number, instance.is_linked(number)) };
    }
    let i = instance.all_points[number];
    // SAFETY: points are instructions of blocks in the arena; those of branches are the last of theirs.
    unsafe {
        match kind {
            exit::AT => go(cpu, i),
            exit::INDIRECT => follow_jump(cpu, i),
            _ => {
                cpu.rip = cpu.rip_of(&*i);
                LOOK_UP
            }
        }
    }
}

/// Goes on behind the branch of way `number`, and links it unless it is `linked`. The instructions of the block have been
/// taken from the budget.
///
/// # Safety
/// The region has just been left by it.
unsafe fn follow_way(cpu: &mut Cpu, instance: &mut Instance, number: usize, linked: bool) -> u32 {
    let way = instance.region.ways[number];
    let i = instance.all_points[way.point as usize];
    // SAFETY: the branch is the last of its block.
    unsafe {
        cpu.budget += (*i.add(1).cast::<Tail>()).count;
        if !linked {
            cpu.link_up(instance, number, i);
        }
        follow(cpu, i, way.taken)
    }
}

/// Goes on behind the indirect branch `i`, which leads to `cpu.rip`, and tells translated code. The instructions of the
/// block have been taken from the budget.
///
/// # Safety
/// As [`jump_to`].
unsafe fn follow_jump(cpu: &mut Cpu, i: *const Insn) -> u32 {
    let target = cpu.rip;
    // SAFETY: the caller's promise; the branch is the last of its block.
    unsafe {
        cpu.budget += (*i.add(1).cast::<Tail>()).count;
        cpu.link_jump(target);
        jump_to(cpu, i, target)
    }
}

/// Runs the region that begins here, which translated code cannot enter now.
///
/// # Safety
/// As [`region`].
pub unsafe extern "C-unwind" fn enter_region(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    unsafe { region(cpu, i) }
}

/// An instruction that a region which is a handler goes on to, whatever it is.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn at(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    unsafe { go(cpu, i) }
}

/// The region that begins here, which is a handler, has been passed through often enough to be translated better.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn heat(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    let base = cpu.regs[usize::from(slot::RIP_BASE)];
    // SAFETY: an entry and its instance, which nothing else refers to now.
    cpu.heat_up(unsafe { &mut *((*i).imm as *mut Instance) }, base);
    // SAFETY: instructions of a block follow each other.
    unsafe { go(cpu, i.add(1)) }
}

/// Behind a direct branch of the region that is left: its link, at the address `link`, leads nowhere, or the budget is
/// used up. The instructions of the block have been taken from it.
///
/// # Safety
/// The instance that is left is told, and that is its link; else as [`follow`].
pub unsafe extern "C-unwind" fn unlinked(cpu: &mut Cpu, link: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: whoever left it has just told; nothing else refers to it now.
    let instance = unsafe { &mut *cpu.hot.leaving };
    let number = instance.way_at(link as usize);
    // SAFETY: it has just been left by that way.
    unsafe { follow_way(cpu, instance, number, false) }
}

/// Behind the indirect branch `i`, which a region has executed; it leads to `cpu.rip`. The instructions of the block have
/// been taken from the budget.
///
/// # Safety
/// As [`jump_to`].
pub unsafe extern "C-unwind" fn indirect(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    unsafe { follow_jump(cpu, i) }
}

/// Before `i`: the run loop has something to do.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn look_around(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    cpu.rip = cpu.rip_of(unsafe { &*i });
    LOOK_UP
}

/// An instruction that a region leaves to the interpreter, without leaving itself: see
/// [`layout::exact`](crate::region::layout::exact).
///
/// # Safety
/// As [`go`].
pub unsafe fn exact_within_region(cpu: &mut Cpu, i: *const Insn) -> u64 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    match handlers::exact_alone(cpu, unsafe { &*i }) {
        None => GO_ON,
        Some(code) => exit::pack(exit::CODE, code.into()),
    }
}

impl Cpu {
    /// Makes the flags, if translated code has deferred that.
    #[inline(always)]
    pub fn settle_flags(&mut self) {
        if self.deferred != SETTLED {
            self.settle_deferred();
        }
    }

    fn settle_deferred(&mut self) {
        let LazyFlags { result, aux } = self.flags;
        let deferred = Deferred::unpack(std::mem::replace(&mut self.deferred, SETTLED));
        if let Some(deferred) = deferred {
            // SAFETY: the emitter does not outlive the borrow.
            let mut e = unsafe { Fast::new(self) };
            deferred.settle(&mut e, result, aux);
        }
    }
}
