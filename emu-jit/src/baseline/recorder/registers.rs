//! Registers and flags.

use super::{Recorder, log2};
use crate::baseline::{
    ir::{NONE, Op, V},
    x64::Shift,
};
use emu_core::{
    arch::{Flags, Width},
    cpu::slot,
    region::layout,
    semantics::{
        Arithmetic, FlagSource, Registers,
        integer::deferred::{Deferred, SETTLED},
    },
};

impl Registers for Recorder {
    fn gpr(&mut self, w: Width, at: u8) -> V {
        let (number, byte) = (usize::from(at / 8), at % 8);
        let all = self.known.slots[number];
        if w == Width::W64 {
            return self.slot(at / 8);
        }
        if all != NONE {
            let shifted = match byte {
                0 => all,
                byte => self.push(Op::ShiftBy(Shift::Right, 3, all, 8 * byte), 64 - 8 * byte),
            };
            return self.extend(log2(w), shifted);
        }
        if w == Width::W32 && byte == 0 && number < 16 {
            if self.known.low[number] == NONE {
                self.known.low[number] = self.push(Op::Part(at, 2), 32);
            }
            return self.known.low[number];
        }
        self.push(Op::Part(at, log2(w)), w.bits() as u8)
    }
    fn set_gpr(&mut self, w: Width, at: u8, value: V) {
        let (number, byte) = (at / 8, at % 8);
        let new = match w {
            Width::W64 | Width::W32 => value,
            _ if byte == 0 => {
                let old = self.slot(number);
                self.push(Op::Insert(log2(w), old, value), 64)
            }
            _ => {
                let old = self.slot(number);
                let (mask, count) = (self.constant(!0xFF00), self.constant(8));
                let kept = self.and(old, mask);
                let placed = self.shl(Width::W64, value, count);
                self.or(kept, placed)
            }
        };
        self.push(Op::SetSlot(number, new), 0);
        self.known.slots[usize::from(number)] = new;
        self.known.low[usize::from(number)] = NONE;
    }
    fn rip_base(&mut self) -> V {
        self.slot(slot::RIP_BASE)
    }
    fn flags_result(&mut self) -> V {
        self.flags().0
    }
    fn flags_aux(&mut self) -> V {
        self.flags().1
    }
    fn set_flags(&mut self, result: V, aux: V) {
        (self.known.flags, self.known.source) = (Some((result, aux)), None);
        if !self.looking {
            self.push(Op::SetFlags(result, aux), 0);
            (self.known.kind, self.known.words) = (Some(SETTLED), None);
        }
    }
    fn note_flags(&mut self, source: FlagSource<V>) {
        self.known.source = Some(source);
        if let (Some(last @ Op::SetFlags(..)), Some((deferred, first, second))) =
            (self.ops.last_mut(), Deferred::of(source))
            && !self.looking
        {
            *last = Op::DeferFlags(deferred.pack(), first, second.unwrap_or(NONE));
            self.known.kind = Some(deferred.pack());
        }
    }
    fn flag_source(&mut self) -> Option<FlagSource<V>> {
        self.known.source
    }
    fn system_flags(&mut self) -> V {
        self.push(Op::Field(layout::EFLAGS as u32, 2), 32)
    }
    fn set_direction(&mut self, down: bool) {
        let old = self.system_flags();
        let bit = u64::from(Flags::DF.bits());
        let new = if down {
            let bit = self.constant(bit);
            self.or(old, bit)
        } else {
            let mask = self.constant(!bit & 0xFFFF_FFFF);
            self.and(old, mask)
        };
        self.push(Op::SetField(layout::EFLAGS as u32, 2, new), 0);
    }
    fn vector(&mut self, register: u8, lane: usize) -> u8 {
        self.vector_lane(register, lane)
    }
    fn set_vector(&mut self, register: u8, lane: usize, value: u8) {
        self.set_vector_lane(register, lane, value);
    }
    fn mmx(&mut self, _: u8) -> V {
        self.refuse()
    }
    fn set_mmx(&mut self, _: u8, _: V) {
        self.refuse();
    }
    fn enter_mmx(&mut self) {
        self.refuse();
    }
}

impl Recorder {
    /// What the flags in the CPU's memory are now, if that is known.
    pub fn flags_kind(&self) -> Option<u32> {
        self.known.kind
    }

    pub(super) fn begin_flags(&mut self, kind: Option<u32>) {
        self.known.kind = kind;
        let Some(deferred) = kind.and_then(Deferred::unpack) else { return };
        let [first, second] = deferred.bits();
        let first = self.push(Op::Field(layout::FLAGS_RESULT as u32, 3), first as u8);
        let second = self.push(Op::Field(layout::FLAGS_AUX as u32, 3), second as u8);
        self.known.words = Some((deferred, first, second));
        self.known.source = Some(deferred.source(self, first, second));
    }

    fn flags(&mut self) -> (V, V) {
        if let Some(known) = self.known.flags {
            return known;
        }
        if let Some((deferred, first, second)) = self.known.words {
            let source = self.known.source;
            self.looking = true;
            deferred.settle(self, first, second);
            self.looking = false;
            self.known.source = source;
            return self.known.flags.unwrap_or_else(|| unreachable!("they have just been settled"));
        }
        let result = self.push(Op::Field(layout::FLAGS_RESULT as u32, 3), 64);
        let aux = self.push(Op::Field(layout::FLAGS_AUX as u32, 3), 64);
        self.known.flags = Some((result, aux));
        if self.known.kind.is_none() {
            self.unsettled = Some((result, aux));
        }
        (result, aux)
    }
}
