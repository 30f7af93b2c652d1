//! Functions made of a few operations, for tests of the primitives: no guest code, no points.

use super::{
    ir::{Op, V},
    lower::{Lower, PRESERVED, frame},
    merge,
    recorder::Recorder,
    x64::{A, BUDGET, CPU, Label, Rm, STACK, W64},
};
use emu_core::{cpu::Mode, region::layout, semantics::integer::deferred::SETTLED};

/// A function of the CPU's address, at the offset that comes with it. It does what `build` records, given the address in
/// the CPU's first register, and returns `done`; or 0 if it has left.
pub fn function(mode: Mode, done: u64, build: impl FnOnce(&mut Recorder, V)) -> (Vec<u8>, usize) {
    let mut recorder = Recorder::new(mode);
    recorder.begin_block(Some(SETTLED));
    let words = recorder.push(Op::Slot(0), 64);
    build(&mut recorder, words);
    let mut ops = std::mem::take(&mut recorder.ops);
    merge::merge(&mut ops);
    let mut lower = Lower::new();
    let [body, away, entry] = [(); 3].map(|()| lower.asm.label());
    lower.begin_block(&ops, Some(SETTLED), |_| {});
    lower.asm.place(body);
    for n in 0..ops.len() {
        lower.operation(&ops, n, &mut |_| away);
    }
    leave(&mut lower, done);
    lower.asm.place(away);
    leave(&mut lower, 0);
    enter(&mut lower, entry, body);
    assert!(!lower.failed, "there is room for the values of a few operations");
    lower.asm.link();
    let entry = lower.asm.offset_of(entry);
    (lower.asm.bytes, entry)
}

fn enter(lower: &mut Lower, entry: Label, body: Label) {
    let asm = &mut lower.asm;
    asm.place(entry);
    PRESERVED.into_iter().for_each(|r| asm.save(r));
    asm.address(STACK, Rm::Mem(STACK, -frame::SIZE));
    asm.store(W64, Rm::Mem(STACK, frame::CPU), CPU);
    asm.extend(W64, BUDGET, Rm::Mem(CPU, layout::BUDGET as i32));
    asm.jump(body);
}

fn leave(lower: &mut Lower, result: u64) {
    let asm = &mut lower.asm;
    asm.constant(A, result);
    asm.address(STACK, Rm::Mem(STACK, frame::SIZE));
    PRESERVED.into_iter().rev().for_each(|r| asm.restore(r));
    asm.leave();
}
