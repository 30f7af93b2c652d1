//! Flags that are not made before something asks for them.
//!
//! What sets flags, mostly nobody reads; the optimiser then moves their making into the exits. But it cannot do so across
//! the back edge of a loop. So where all ways into a block come from the same operation, the block gets the operands
//! instead of the flags ([`BlockPlan::flags`](crate::plan::BlockPlan)), and its exits make the flags of them.
//!
//! The first block of a region is also entered from outside, with flags in the CPU's memory. Which it is, the budget tells:
//! it is what it was at the entry as long as no block has been left.

use super::Translator;
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I64};
use emu_core::{
    region::layout,
    semantics::{Arithmetic, FlagSource, integer::deferred::Deferred},
};

/// Flags that have not been made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    operation: Deferred,
    /// They may be in the CPU's memory.
    entered: bool,
}

/// What they are to be made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parts {
    operation: Deferred,
    words: [Value; 2],
    /// If they may be in the CPU's memory: the budget now.
    budget: Option<Value>,
}

impl Translator {
    /// The block begins with the flags of `operation` on what has been noted last. `entered`: or those in memory.
    pub fn expect_flags(&mut self, operation: Deferred, entered: bool) {
        self.pending = Some(Pending { operation, entered });
    }

    /// Notes what the flags come from, for blocks that expect it.
    pub(super) fn note_parts(&mut self, source: FlagSource<Value>) {
        if let Some((_, first, second)) = Deferred::of(source) {
            let second = second.unwrap_or_else(|| self.constant(0));
            self.set_variable(self.sources[0], first);
            self.set_variable(self.sources[1], second);
        }
    }

    /// What the flags are to be made of, if they have not been made.
    pub(super) fn parts(&mut self) -> Option<Parts> {
        let Pending { operation, entered } = self.pending?;
        let words = self.sources.map(|variable| self.value_of_variable(variable));
        let budget = entered.then(|| self.value_of_variable(self.budget));
        Some(Parts { operation, words, budget })
    }

    /// What conditions come from, if the flags have not been made.
    pub(super) fn pending_source(&mut self) -> Option<FlagSource<Value>> {
        let Parts { operation, words, budget } = self.parts()?;
        budget.is_none().then(|| operation.source(self, words[0], words[1]))
    }

    /// Makes the flags: result and carries.
    pub(super) fn make_flags(&mut self, parts: Parts) -> (Value, Value) {
        self.pending = None;
        parts.operation.settle(self, parts.words[0], parts.words[1]);
        let (result, aux) = (self.value_of_variable(self.result), self.value_of_variable(self.aux));
        let Some(budget) = parts.budget else { return (result, aux) };
        let at_entry = self.field(I64, layout::BUDGET);
        let untouched = self.builder.ins().icmp(IntCC::Equal, budget, at_entry);
        let mut choose = |made, at| {
            let before = self.field(I64, at);
            self.builder.ins().select(untouched, before, made)
        };
        (choose(result, layout::FLAGS_RESULT), choose(aux, layout::FLAGS_AUX))
    }

    /// Makes the flags if that has not been done.
    pub fn settle_flags(&mut self) {
        let Some(parts) = self.parts() else { return };
        let (result, aux) = self.make_flags(parts);
        if parts.budget.is_some() {
            self.set_variable(self.result, result);
            self.set_variable(self.aux, aux);
            self.flag_source = None;
        }
    }
}
