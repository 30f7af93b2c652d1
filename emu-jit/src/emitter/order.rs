//! Accesses to guest memory on a host that does them, or shows them to others, in another order than an x86. SDM vol. 3,
//! 9.2: loads are done in program order, and stores are seen in program order, after the loads before them.
//!
//! So loads acquire and stores release. The host has such accesses where they are aligned; others, and lanes, are fenced
//! off. The interpreter does the same (`emu_core::memory::host`).

use super::{Translator, arithmetic::int};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, condcodes::IntCC};
use emu_core::{arch::Width, semantics::Arithmetic};

impl Translator {
    /// Orders the accesses before against those that follow, unless the host does.
    pub(super) fn fence(&mut self) {
        if !self.target.orders_accesses() {
            self.builder.ins().fence();
        }
    }

    /// Loads `w`, and does whatever follows later.
    pub(super) fn load_acquire(&mut self, (host, distance): (Value, i32), w: Width) -> Value {
        let host = self.builder.ins().iadd_imm_s(host, i64::from(distance));
        let guest = self.spaces.guest;
        let loaded = self.by_alignment(host, w, |e, aligned| {
            if aligned {
                return Some(e.builder.ins().atomic_load(int(w), guest, host));
            }
            let loaded = e.builder.ins().load(int(w), guest, host, 0);
            e.builder.ins().fence();
            Some(loaded)
        });
        match loaded {
            Some(loaded) => self.widen(w, loaded),
            None => unreachable!("both ways load"),
        }
    }

    /// Stores `value`, which has width `w`, after whatever was before.
    pub(super) fn store_release(&mut self, (host, distance): (Value, i32), w: Width, value: Value) {
        let host = self.builder.ins().iadd_imm_s(host, i64::from(distance));
        let guest = self.spaces.guest;
        self.by_alignment(host, w, |e, aligned| {
            if aligned {
                e.builder.ins().atomic_store(guest, value, host);
            } else {
                e.builder.ins().fence();
                e.builder.ins().store(guest, value, host, 0);
            }
            None
        });
    }

    /// Does `access` in two ways, for a host address that is aligned, which most are, and for one that is not.
    fn by_alignment(
        &mut self,
        host: Value,
        w: Width,
        mut access: impl FnMut(&mut Self, bool) -> Option<Value>,
    ) -> Option<Value> {
        if w == Width::W8 {
            return access(self, true);
        }
        let [aligned, split, done] = std::array::from_fn(|_| self.builder.create_block());
        self.builder.set_cold_block(split);
        let low = self.builder.ins().band_imm_u(host, w.bytes() as i64 - 1);
        self.builder.ins().brif(low, split, [], aligned, []);
        let mut result = None;
        for (block, is_aligned) in [(aligned, true), (split, false)] {
            self.builder.switch_to_block(block);
            self.builder.seal_block(block);
            let loaded = access(self, is_aligned);
            if let (Some(_), None) = (loaded, result) {
                result = Some(self.builder.append_block_param(done, int(w)));
            }
            let loaded = loaded.map(BlockArg::Value);
            self.builder.ins().jump(done, loaded.as_slice());
        }
        self.builder.switch_to_block(done);
        self.builder.seal_block(done);
        result
    }

    /// Leaves before a locked update of `w` at the host address `host`, if it is not aligned: only an x86 can do that.
    pub(super) fn leave_if_split(&mut self, host: Value, w: Width) {
        if !self.target.x86 && w != Width::W8 {
            let low = self.builder.ins().band_imm_u(host, w.bytes() as i64 - 1);
            let zero = self.constant(0);
            self.leave_if(IntCC::NotEqual, low, zero);
        }
    }
}
