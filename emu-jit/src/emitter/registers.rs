//! Registers and flags.

use super::{FLAGS, Translator, lane_bit, lane_number};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    types::{I8, I16, I32, I64},
};
use emu_core::{
    arch::{Flags, Width},
    cpu::slot,
    region::layout,
    semantics::{Arithmetic, FlagSource, Registers},
};

impl Translator {
    /// All of the register at slot `n`.
    pub(super) fn slot(&mut self, n: u8) -> Value {
        match n {
            0..=15 if self.used & 1 << n != 0 => self.value_of_variable(self.gprs[usize::from(n)]),
            slot::ZERO => self.constant(0),
            slot::RIP_BASE => self.base_of(self.page_distance),
            _ => self.field(I64, layout::REGS + 8 * usize::from(n)),
        }
    }
}

impl Registers for Translator {
    fn gpr(&mut self, w: Width, at: u8) -> Value {
        let all = self.slot(at / 8);
        let shifted = match at % 8 {
            0 => all,
            byte => self.builder.ins().ushr_imm_u(all, i64::from(8 * byte)),
        };
        self.truncate(w, shifted)
    }
    fn set_gpr(&mut self, w: Width, at: u8, value: Value) {
        let number = usize::from(at / 8);
        debug_assert!(self.used & 1 << number != 0, "register {number} is written and not in the plan");
        let shift = 8 * u32::from(at % 8);
        let new = match w {
            Width::W64 | Width::W32 => value,
            _ => {
                let old = self.slot(at / 8);
                let mask = self.constant(!(w.mask() << shift));
                let kept = self.builder.ins().band(old, mask);
                let placed =
                    if shift == 0 { value } else { self.builder.ins().ishl_imm_u(value, i64::from(shift)) };
                self.builder.ins().bor(kept, placed)
            }
        };
        self.set_variable(self.gprs[number], new);
        self.dirty |= 1 << number;
    }
    fn rip_base(&mut self) -> Value {
        self.base_of(self.page_distance)
    }
    fn flags_result(&mut self) -> Value {
        debug_assert!(self.used & FLAGS != 0, "flags are read and not in the plan");
        self.settle_flags();
        self.value_of_variable(self.result)
    }
    fn flags_aux(&mut self) -> Value {
        self.settle_flags();
        self.value_of_variable(self.aux)
    }
    fn set_flags(&mut self, result: Value, aux: Value) {
        debug_assert!(self.used & FLAGS != 0, "flags are written and not in the plan");
        self.set_variable(self.result, result);
        self.set_variable(self.aux, aux);
        self.touches_flags();
        self.flag_source = None;
        self.pending = None;
    }
    fn note_flags(&mut self, source: FlagSource<Value>) {
        self.flag_source = Some(source);
        self.note_parts(source);
    }
    fn flag_source(&mut self) -> Option<FlagSource<Value>> {
        self.flag_source.or_else(|| self.pending_source())
    }
    fn system_flags(&mut self) -> Value {
        let flags = self.field(I32, layout::EFLAGS);
        self.builder.ins().uextend(I64, flags)
    }
    fn set_direction(&mut self, down: bool) {
        let flags = self.field(I32, layout::EFLAGS);
        let bit = i64::from(Flags::DF.bits());
        let flags = if down {
            self.builder.ins().bor_imm_u(flags, bit)
        } else {
            self.builder.ins().band_imm_u(flags, i64::from(!Flags::DF.bits()))
        };
        self.set_field(layout::EFLAGS, flags);
    }
    fn vector(&mut self, register: u8, lane: usize) -> Value {
        self.value_of_variable(self.lanes[lane_number(register, lane)])
    }
    fn set_vector(&mut self, register: u8, lane: usize, value: Value) {
        debug_assert!(self.used & lane_bit(register, lane) != 0, "a lane is written and not in the plan");
        self.set_variable(self.lanes[lane_number(register, lane)], value);
        self.dirty |= lane_bit(register, lane);
    }
    fn mmx(&mut self, register: u8) -> Value {
        self.field(I64, layout::mmx(usize::from(register & 7)))
    }
    fn set_mmx(&mut self, register: u8, value: Value) {
        self.set_field(layout::mmx(usize::from(register & 7)), value);
        let ones = self.builder.ins().iconst(I16, 0xFFFF);
        self.set_field(layout::mmx_exponent(usize::from(register & 7)), ones);
    }
    fn enter_mmx(&mut self) {
        let (top, valid) = (self.builder.ins().iconst(I8, 0), self.builder.ins().iconst(I8, 0xFF));
        self.set_field(layout::X87_TOP, top);
        self.set_field(layout::X87_VALID, valid);
    }
}
