//! Instructions that the next one follows, and a comparison with the jump after it.

use super::{LOOK_UP, RAISED, branch::follow, go};
use crate::{
    arch::Exception,
    cpu::Cpu,
    decode::Insn,
    interp::{
        blocks::TABLE,
        emit::{Exact, Fast, Quiet},
    },
    semantics::{Attr, Run, Semantics},
};

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
pub(super) fn run_exact(cpu: &mut Cpu, i: &Insn) -> Result<(bool, u64), Exception> {
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
pub(super) fn leave_after(cpu: &mut Cpu, i: &Insn, next: u64) -> u32 {
    cpu.budget -= cpu.blocks.ordinal(i) + 1;
    cpu.observe.last = cpu.rip_of(i);
    cpu.rip = next;
    LOOK_UP
}

#[cold]
pub(super) fn raise(cpu: &mut Cpu, i: &Insn, exception: Exception) -> u32 {
    cpu.budget -= cpu.blocks.ordinal(i);
    cpu.observe.last = cpu.rip_of(i);
    cpu.rip = cpu.rip_of(i);
    cpu.raised = Some(exception);
    RAISED
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
