//! Calls of functions, with values in registers.

use super::{FREE, Lower, SPOILED, frame, lane};
use crate::baseline::{
    call_pure,
    ir::{Op, V},
    x64::{A, BUDGET, COUNT, CPU, D, Reg, Rm, STACK, W64},
};

impl Lower {
    /// Before a call within an instruction: nothing that is used later stays where the call spoils it.
    pub(super) fn before_call(&mut self, ops: &[Op]) {
        for r in FREE {
            if SPOILED & 1 << r.0 != 0 {
                self.evict(ops, r);
            }
        }
        self.asm.store(W64, Rm::Mem(STACK, frame::BUDGET), BUDGET);
    }

    pub(super) fn after_call(&mut self) {
        self.asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
        self.asm.extend(W64, BUDGET, Rm::Mem(STACK, frame::BUDGET));
    }

    pub(super) fn pure(&mut self, ops: &[Op], n: V, f: usize, args: [V; 3]) {
        self.before_call(ops);
        // None of them is in a register of an argument now, but one may be in the CPU's memory: that pointer goes last.
        self.load(ops, D, args[1]);
        self.load(ops, COUNT, args[2]);
        self.load(ops, Reg(6), args[0]);
        self.asm.constant(CPU, f as u64);
        self.asm.constant(A, call_pure as *const () as u64);
        self.asm.call(Rm::Reg(A));
        self.after_call();
        let r = self.define(ops, n);
        self.asm.copy(r, A);
    }

    pub(super) fn lane_call(&mut self, ops: &[Op], f: usize, lanes: [u8; 4], imm: u8) {
        self.before_call(ops);
        let places = [Reg(7), Reg(6), D, COUNT, Reg(8)];
        let count = lanes.iter().filter(|lane| **lane != u8::MAX).count();
        for (place, of) in places.into_iter().zip(&lanes[..count]) {
            self.asm.address(place, lane(*of, 0));
        }
        self.asm.constant(places[count], imm.into());
        self.asm.constant(A, f as u64);
        self.asm.call(Rm::Reg(A));
        self.after_call();
    }
}
