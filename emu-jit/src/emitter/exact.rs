//! Instructions that the interpreter executes in the middle of a region.

use super::Translator;
use cranelift_codegen::ir::{InstBuilder, condcodes::IntCC, types::I64};
use emu_core::{cpu::slot, region::layout};

impl Translator {
    /// Lets the interpreter execute the instruction exactly, and goes on if it says so. `last`: it is the last of its
    /// block.
    pub fn exact(&mut self, last: bool) {
        let number = self.exits.number(self.at);
        self.call_waiting();
        self.settle_flags();
        self.store_dirty();
        self.store_note();
        self.leave_x87();
        if self.page_distance != 0 {
            let base = self.base_of(self.page_distance);
            self.set_field(layout::REGS + 8 * usize::from(slot::RIP_BASE), base);
        }
        let insn = self.builder.ins().load(I64, self.spaces.tlb, self.points, (8 * number) as i32);
        let function = layout::exact as *const () as i64;
        let callee = self.builder.ins().iconst(I64, function);
        let call = self.builder.ins().call_indirect(self.exact_signature, callee, &[self.cpu, insn]);
        let code = self.builder.inst_results(call)[0];
        let leave = self.builder.create_block();
        let go_on = self.builder.create_block();
        self.builder.set_cold_block(leave);
        let expected = self.builder.ins().iconst(I64, layout::GO_ON as i64);
        let same = self.builder.ins().icmp(IntCC::Equal, code, expected);
        self.builder.ins().brif(same, go_on, [], leave, []);
        self.builder.switch_to_block(leave);
        self.builder.seal_block(leave);
        self.builder.ins().return_(&[code]);
        self.builder.switch_to_block(go_on);
        self.builder.seal_block(go_on);
        self.enter_x87_again(last);
        if self.page_distance != 0 {
            // Exits from the first page take it for granted.
            self.set_field(layout::REGS + 8 * usize::from(slot::RIP_BASE), self.first_base);
        }
        self.load_all();
        self.flag_source = None;
        // The instruction may have changed translations.
        self.ranges.clear();
        self.forget_pages();
    }
}
