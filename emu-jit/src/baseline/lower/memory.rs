//! Looking into the TLB.

use super::{Lower, Miss, field, fill_address};
use crate::baseline::{
    ir::{Op, V},
    x64::{A, Alu, COUNT, Cc, D, INSN, Label, Rm, Shift, W64},
};
use emu_core::region::{
    fill::{self, Wanted},
    layout::{self, tlb},
};

impl Lower {
    pub(super) fn host(&mut self, ops: &[Op], n: V, linear: V, wanted: Wanted, away: Label) {
        let linear = self.register(ops, linear);
        let (again, miss) = (self.asm.label(), self.asm.label());
        self.asm.place(again);
        let entry_bits = tlb::ENTRY.trailing_zeros() as u8;
        // (linear >> 12 ^ linear >> FOLD) & (ENTRIES - 1), times the size of an entry.
        self.asm.copy(A, linear);
        self.asm.shift(Shift::Right, W64, A, tlb::FOLD as u8 - 12);
        self.asm.alu(Alu::Xor, W64, A, Rm::Reg(linear));
        self.asm.shift(Shift::Right, W64, A, 12 - entry_bits);
        self.asm.alu_constant(Alu::And, 2, Rm::Reg(A), ((tlb::ENTRIES - 1) << entry_bits) as i32);
        self.asm.alu(Alu::Add, W64, A, field(layout::TLB as u32));
        if wanted.before == 0 {
            self.asm.copy(COUNT, linear);
        } else {
            self.asm.address(COUNT, Rm::Mem(linear, -i32::from(wanted.before)));
        }
        let tag = if wanted.write_range { tlb::WRITE } else { tlb::READ };
        self.asm.alu(Alu::Sub, W64, COUNT, Rm::Mem(A, tag as i32));
        self.asm.alu_constant(Alu::Compare, W64, Rm::Reg(COUNT), 4096 - i32::from(wanted.length));
        self.asm.jump_if(Cc::Above, miss);
        let r = self.define(ops, n);
        self.asm.extend(W64, r, Rm::Mem(A, tlb::ADDEND as i32));
        self.asm.alu(Alu::Add, W64, r, Rm::Reg(linear));
        self.misses.push(Miss { label: miss, again, linear, wanted, away });
    }

    /// Makes the cold code that fills the TLB, with all values where they are.
    pub fn finish_misses(&mut self) {
        for Miss { label, again, linear, wanted, away } in std::mem::take(&mut self.misses) {
            let asm = &mut self.asm;
            asm.place(label);
            asm.save(INSN);
            asm.save(D);
            asm.copy(INSN, linear);
            asm.constant(D, wanted.pack());
            asm.constant(A, fill_address());
            asm.call(Rm::Reg(A));
            asm.restore(D);
            asm.restore(INSN);
            asm.alu_constant(Alu::Compare, W64, field(layout::FILLED as u32), fill::ALL as i32);
            asm.jump_if(Cc::Equal, again);
            asm.jump(away);
        }
    }
}
