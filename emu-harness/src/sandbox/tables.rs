//! Descriptor tables for guests that want to handle interrupts and have none: a GDT, a TSS and an IDT.
//! SDM vol. 3, 3.5, 6.10 and 7.2.

use super::{Delivery, Error, Mode, Prot, Sandbox, builder::is_long};
use emu_core::{
    arch::{Segment, attr, system_type},
    state::TableRegister,
};

/// GDT, TSS and IDT have a page each.
const SIZE: u64 = 0x3000;
const TSS: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS_LIMIT: u32 = 0x67;
/// CR3 in a 32-bit TSS.
const TSS_CR3: u64 = 0x1C;
/// Selector of the TSS.
pub const TSS_SELECTOR: u16 = 0x48;
/// Selector of 64-bit code at level 0.
const CODE64: u16 = 0x58;
/// Selector of 32-bit code at level 0.
const CODE32: u16 = 0x60;

/// Where tables have been made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installed {
    base: u64,
}

/// Selector of code at privilege level `level` in the mode of the sandbox, RPL included.
pub fn code_selector(level: u8) -> u16 {
    0x08 + 0x11 * u16::from(level & 3)
}

/// Selector of data at privilege level `level`, RPL included.
pub fn data_selector(level: u8) -> u16 {
    0x10 + 0x11 * u16::from(level & 3)
}

impl Sandbox<'_> {
    /// Maps three pages at `base` and makes a GDT, a TSS and an IDT in them, loads GDTR, TR and IDTR, and from
    /// now on has exceptions delivered to the guest ([`Delivery::ToGuest`]). (Real mode has its vector table:
    /// there `base` must be 0, and one page is mapped.)
    ///
    /// Selectors are [`code_selector`](super::code_selector), [`data_selector`](super::data_selector) and
    /// [`TSS_SELECTOR`]; from 0x68 on the GDT is free. At the start no gate is present.
    pub fn install_tables(&mut self, base: u64) -> Result<(), Error> {
        self.delivery = Delivery::ToGuest;
        self.tables = Some(Installed { base });
        if self.mode == Mode::Real {
            self.map(base, 0x1000, Prot::RW)?;
            self.cpu.segments.idtr = TableRegister { base, limit: 0x3FF };
            return Ok(());
        }
        self.map(base, SIZE, Prot::RW | Prot::SUPERVISOR)?;
        for (selector, descriptor) in self.descriptors(base + TSS) {
            self.write_u64(base + u64::from(selector & !7), descriptor)?;
        }
        if is_long(self.mode) {
            self.write_u64(base + u64::from(TSS_SELECTOR) + 8, (base + TSS) >> 32)?;
        } else {
            // A task switch back to this task loads it.
            let root = self.cpu.control.cr3 as u32;
            self.write_u32(base + TSS + TSS_CR3, root)?;
        }
        // No I/O permission bitmap.
        self.write_memory(base + TSS + 102, &(TSS_LIMIT as u16 + 1).to_le_bytes())?;
        let segments = &mut self.cpu.segments;
        segments.gdtr = TableRegister { base, limit: 0xFFF };
        segments.idtr =
            TableRegister { base: base + IDT, limit: if is_long(self.mode) { 0xFFF } else { 0x7FF } };
        segments.tr = Segment {
            selector: TSS_SELECTOR,
            attr: attr::P | system_type::TSS32_BUSY,
            limit: TSS_LIMIT,
            base: base + TSS,
            unusable: false,
        };
        Ok(())
    }

    /// Makes the gate of `vector` lead to level-0 code at `handler`. INT n can use it up to privilege level
    /// `level`. It is an interrupt gate, which clears RFLAGS.IF; in virtual-8086 mode its code is 32 bits wide,
    /// in the compatibility modes 64. In real mode the vector leads to the segment `handler / 16`.
    pub fn set_gate(&mut self, vector: u8, handler: u64, level: u8) -> Result<(), Error> {
        let Installed { base } = self.tables.ok_or(Error::NoTables)?;
        let vector = u64::from(vector);
        if self.mode == Mode::Real {
            let entry = (handler >> 4) << 16 | handler & 0xF;
            return self.write_u32(base + 4 * vector, entry as u32);
        }
        let (selector, kind) = match self.mode {
            Mode::Long64 | Mode::Protected32 => (code_selector(0), system_type::INTERRUPT_GATE32),
            Mode::V86 => (CODE32, system_type::INTERRUPT_GATE32),
            Mode::Protected16 => (code_selector(0), system_type::INTERRUPT_GATE16),
            _ => (CODE64, system_type::INTERRUPT_GATE32),
        };
        let rights = u64::from(attr::P | kind) | u64::from(level & 3) << attr::DPL_SHIFT;
        let low = (handler & 0xFFFF_0000) << 32 | rights << 40 | u64::from(selector) << 16 | handler & 0xFFFF;
        if is_long(self.mode) {
            self.write_u64(base + IDT + 16 * vector + 8, handler >> 32)?;
            return self.write_u64(base + IDT + 16 * vector, low);
        }
        self.write_u64(base + IDT + 8 * vector, low)
    }

    /// Sets the stack that interrupts use when they come from an outer privilege level.
    pub fn set_kernel_stack(&mut self, top: u64) -> Result<(), Error> {
        let Installed { base } = self.tables.ok_or(Error::NoTables)?;
        if is_long(self.mode) {
            return self.write_u64(base + TSS + 4, top);
        }
        self.write_u32(base + TSS + 4, top as u32)?;
        self.write_u32(base + TSS + 8, data_selector(0).into())
    }

    fn descriptors(&self, tss: u64) -> Vec<(u16, u64)> {
        let code: u64 = match self.mode {
            Mode::Protected16 | Mode::Compatibility16 => 0x0000_9B00_0000_FFFF,
            Mode::Long64 => 0x00AF_9B00_0000_FFFF,
            _ => 0x00CF_9B00_0000_FFFF,
        };
        let data: u64 = match self.mode {
            Mode::Protected16 | Mode::Compatibility16 => 0x0000_9300_0000_FFFF,
            _ => 0x00CF_9300_0000_FFFF,
        };
        let mut all = vec![(CODE64, 0x00AF_9B00_0000_FFFF), (CODE32, 0x00CF_9B00_0000_FFFF)];
        for level in 0..4u8 {
            let dpl = u64::from(level) << 45;
            all.push((code_selector(level), code | dpl));
            all.push((data_selector(level), data | dpl));
        }
        let rights = u64::from(attr::P | system_type::TSS32_BUSY) << 40;
        let place = (tss & 0xFF_FFFF) << 16 | (tss & 0xFF00_0000) << 32;
        all.push((TSS_SELECTOR, place | rights | u64::from(TSS_LIMIT)));
        all
    }
}
