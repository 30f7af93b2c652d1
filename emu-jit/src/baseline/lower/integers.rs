//! Integer operations, and truth values.

use super::Lower;
use crate::baseline::{
    ir::{Binary, NONE, Op, Test, V},
    x64::{A, Alu, COUNT, Cc, Log2, Rm, Shift, W64},
};

impl Lower {
    pub(super) fn binary(&mut self, ops: &[Op], n: V, op: Binary, w: Log2, a: V, b: V) {
        let alu = match op {
            Binary::Add => Alu::Add,
            Binary::Sub => Alu::Sub,
            Binary::And => Alu::And,
            Binary::Or => Alu::Or,
            Binary::Xor => Alu::Xor,
            Binary::Multiply => {
                let from = self.operand(ops, b);
                let r = self.define_from(ops, n, a, &[]);
                return self.asm.multiply(w, r, from);
            }
        };
        if let Some(value) = Self::small_constant(ops, b, w) {
            let r = self.define_from(ops, n, a, &[]);
            return self.asm.alu_constant(alu, w, Rm::Reg(r), value);
        }
        let from = self.operand(ops, b);
        let r = self.define_from(ops, n, a, &[]);
        self.asm.alu(alu, w, r, from);
    }

    pub(super) fn shift(&mut self, ops: &[Op], n: V, (op, short): (Shift, bool), a: V, count: V) {
        self.load(ops, COUNT, count);
        if op == Shift::Signed && !short {
            // A count of 64 or more becomes 63.
            self.asm.constant(A, 63);
            self.asm.alu(Alu::Compare, W64, COUNT, Rm::Reg(A));
            self.asm.copy_if(Cc::Above, COUNT, Rm::Reg(A));
        }
        let r = self.define_from(ops, n, a, &[]);
        self.asm.shift_by(op, W64, r);
        if op != Shift::Signed && !short {
            self.asm.alu_constant(Alu::Compare, W64, Rm::Reg(COUNT), 64);
            self.asm.all_if_below(A);
            self.asm.alu(Alu::And, W64, r, Rm::Reg(A));
        }
    }

    pub(super) fn select(&mut self, ops: &[Op], n: V, test: Test, a: V, b: V) {
        // The operands are loaded before the flags are made: loading leaves flags alone, but spares a register.
        let a = self.register(ops, a);
        let mut operands = [NONE; 2];
        let mut count = 0;
        test.operands(|v| {
            operands[count] = v;
            count += 1;
        });
        let r = self.define_from(ops, n, b, &operands);
        let cc = self.test(ops, test);
        self.asm.copy_if(cc, r, Rm::Reg(a));
    }

    /// Makes the flags of a test; returns the condition under which it holds.
    pub fn test(&mut self, ops: &[Op], test: Test) -> Cc {
        match test {
            Test::Compare(cc, w, a, b) => {
                match Self::small_constant(ops, b, w) {
                    Some(0) if matches!(cc, Cc::Equal | Cc::NotEqual) => {
                        let a = self.register(ops, a);
                        self.asm.test(w, a, a);
                    }
                    Some(value) => {
                        let a = self.operand(ops, a);
                        self.asm.alu_constant(Alu::Compare, w, a, value);
                    }
                    None => {
                        let a = self.register(ops, a);
                        let b = self.operand(ops, b);
                        self.asm.alu(Alu::Compare, w, a, b);
                    }
                }
                cc
            }
            Test::Bit(a, bit, set) => {
                let a = self.register(ops, a);
                self.asm.test_bit(a, bit);
                if set { Cc::Below } else { Cc::NotBelow }
            }
        }
    }
}
