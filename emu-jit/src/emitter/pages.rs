//! Pages that a region remembers: for each base register the one that it accessed last, as the tag and the addend of its
//! TLB entry, in values. An access to the same page needs no look into the TLB.
//!
//! Reads and writes are told apart: of a page that may be read little may be said about writes. What is remembered is
//! forgotten when an instruction has been executed that may have changed translations ([`Translator::exact`]); the
//! region itself only fills the TLB, which leaves translations good.

use super::Translator;
use cranelift_codegen::ir::{Value, types::I64};
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::{
    decode::{Insn, Kind},
    region::layout,
};

/// Pages that a region remembers at most. Each takes two registers of the host in a loop.
const MOST: usize = 6;

/// What the page of an access is known by: slot of the base register, and distance in pages.
pub type Base = (u8, i64);

/// The same, and whether it writes.
pub type Key = (Base, bool);

/// A page that is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    tag: Variable,
    addend: Variable,
}

/// See the module.
#[derive(Debug)]
pub struct Pages {
    all: [Remembered; MOST],
    /// Whose they are, as far as they have been given away.
    keys: Vec<Key>,
}

impl Pages {
    /// Nothing is remembered.
    pub fn new(builder: &mut FunctionBuilder<'_>) -> Self {
        let all = std::array::from_fn(|_| Remembered {
            tag: builder.declare_var(I64),
            addend: builder.declare_var(I64),
        });
        Pages { all, keys: Vec::new() }
    }
}

/// The base register by which the page of the memory operand of `i` is worth remembering. An instruction that loads its
/// own base walks along a chain, from page to page.
pub fn base_of(i: &Insn) -> Option<Base> {
    let walks = i.kind[0] == Kind::Gpr && i.reg[0] / 8 == i.base && i.kind[1] == Kind::Mem;
    (!walks).then_some((i.base, i.disp as i64 >> 12))
}

impl Translator {
    /// At the beginning, and when translations may have changed.
    pub(super) fn forget_pages(&mut self) {
        let tag = self.field(I64, layout::NO_PAGE_TAG);
        let addend = self.field(I64, layout::NO_PAGE_ADDEND);
        for page in self.pages.all {
            self.set_variable(page.tag, tag);
            self.set_variable(page.addend, addend);
        }
    }

    /// The page that accesses known by `key` remember. `None`: the region remembers enough others.
    pub(super) fn page_of(&mut self, key: Key) -> Option<Remembered> {
        let keys = &mut self.pages.keys;
        let known = keys.iter().position(|other| *other == key);
        let at = known.or_else(|| {
            keys.push(key);
            (keys.len() <= MOST).then_some(keys.len() - 1)
        });
        at.filter(|at| *at < MOST).map(|at| self.pages.all[at])
    }

    /// Tag and addend of a page that is remembered.
    pub(super) fn remembered(&mut self, page: Remembered) -> [Value; 2] {
        [page.tag, page.addend].map(|variable| self.value_of_variable(variable))
    }

    /// Remembers another one.
    pub(super) fn remember_page(&mut self, page: Remembered, [tag, addend]: [Value; 2]) {
        self.set_variable(page.tag, tag);
        self.set_variable(page.addend, addend);
    }
}
