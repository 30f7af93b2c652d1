//! What of the control registers matters to translation.

use super::{Mmu, Table};
use crate::{
    arch::{Cr0, Cr4, Efer, Flags},
    state::Control,
};

/// How linear addresses are translated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// Not at all.
    #[default]
    None,
    /// 32-bit paging.
    Legacy,
    /// PAE paging.
    Pae,
    /// 4-level paging.
    Level4,
    /// 5-level paging.
    Level5,
}

/// Control-register bits that matter to a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Context {
    pub(super) paging: Paging,
    pub(super) cr3: u64,
    pub(super) pdpte: [u64; 4],
    pub(super) write_protect: bool,
    pub(super) no_execute: bool,
    pub(super) smep: bool,
    pub(super) smap: bool,
    pub(super) page_size_extension: bool,
    pub(super) global: bool,
    pub(super) protection_keys: bool,
    pub(super) pkru: u32,
    /// Highest physical address bits that are reserved in entries.
    pub(super) reserved: u64,
    pub(super) user: bool,
    /// EFLAGS.AC.
    pub(super) access_override: bool,
    /// DR7 and the addresses of enabled data breakpoints.
    pub(super) watching: bool,
}

impl Context {
    /// With these control registers, EFLAGS.AC and privilege, on a CPU with `physical_bits`.
    pub(super) fn of(control: &Control, eflags: Flags, user: bool, physical_bits: u32) -> Self {
        let Control { cr0, cr4, efer, .. } = *control;
        let paging = match (cr0.contains(Cr0::PG), cr4.contains(Cr4::PAE), efer.contains(Efer::LMA)) {
            (false, ..) => Paging::None,
            (true, false, _) => Paging::Legacy,
            (true, true, false) => Paging::Pae,
            (true, true, true) if cr4.contains(Cr4::LA57) => Paging::Level5,
            _ => Paging::Level4,
        };
        let protection_keys = cr4.contains(Cr4::PKE) && efer.contains(Efer::LMA);
        Context {
            paging,
            cr3: control.cr3,
            pdpte: control.pdpte,
            write_protect: cr0.contains(Cr0::WP),
            no_execute: efer.contains(Efer::NXE),
            smep: cr4.contains(Cr4::SMEP),
            smap: cr4.contains(Cr4::SMAP),
            page_size_extension: cr4.contains(Cr4::PSE) || paging != Paging::Legacy,
            global: cr4.contains(Cr4::PGE),
            protection_keys,
            pkru: if protection_keys { control.pkru } else { 0 },
            reserved: (!0 << physical_bits) & ((1 << 52) - 1),
            user,
            access_override: eflags.contains(Flags::AC),
            watching: control.dr7 & 0xFF != 0,
        }
    }
}

impl Mmu {
    /// Brings the context up to date with the control registers, AC, CPL. Flushes what a change of the paging
    /// mode or of a permission bit makes wrong.
    pub fn set_context(&mut self, control: &Control, eflags: Flags, user: bool) {
        let new = Context::of(control, eflags, user, self.physical_bits);
        let comparable =
            Context { user: self.context.user, access_override: self.context.access_override, ..new };
        let translations_change = comparable != self.context;
        self.context = new;
        self.current = self.tables[self.data_table(user) as usize].first();
        if translations_change {
            self.flush_all();
        }
    }

    /// As [`set_context`](Self::set_context) where no control register has changed.
    pub fn set_privilege(&mut self, eflags: Flags, user: bool) {
        self.context.user = user;
        self.context.access_override = eflags.contains(Flags::AC);
        self.current = self.tables[self.data_table(user) as usize].first();
    }

    /// The table for data accesses at a privilege.
    #[inline]
    pub(super) fn data_table(&self, user: bool) -> Table {
        if user {
            Table::User
        } else if self.context.smap && self.context.paging != Paging::None && !self.context.access_override {
            Table::Guarded
        } else {
            Table::Supervisor
        }
    }
}
