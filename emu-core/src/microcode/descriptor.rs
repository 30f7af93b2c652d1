//! Descriptors: finding them in the GDT and LDT, and what their fields say. SDM vol. 3, 3.4.5, 3.5 and 5.8.3
//! (gates).
//!
//! A descriptor is fetched with supervisor rights whatever the CPL. System descriptors of long mode have a
//! second half, read by [`Descriptor::upper`].

use crate::{
    arch::{Exception, Segment, Width, attr, system_type},
    cpu::Cpu,
    mmu::Privilege,
};

/// Requested privilege level of a selector.
pub const fn rpl(selector: u16) -> u8 {
    selector as u8 & 3
}

/// Whether a selector is null: entry 0 of the GDT, any RPL.
pub const fn is_null(selector: u16) -> bool {
    selector & 0xFFFC == 0
}

/// Whether a selector is of the LDT.
pub const fn is_local(selector: u16) -> bool {
    selector & 4 != 0
}

/// Linear address of byte `offset` of a system structure. It wraps at 4 GiB outside long mode; compatibility
/// mode does not matter.
pub fn system_linear(cpu: &Cpu, base: u64, offset: u64) -> u64 {
    let linear = base.wrapping_add(offset);
    if cpu.mode.is_long() { linear } else { linear & 0xFFFF_FFFF }
}

/// Eight bytes of a descriptor table, and where they were found.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    raw: u64,
    address: u64,
    selector: u16,
}

/// Finds the descriptor of `selector`; beyond the limit of its table, the exception `vector` with the selector.
pub fn fetch(cpu: &mut Cpu, selector: u16, vector: u8) -> Result<Descriptor, Exception> {
    lookup(cpu, selector)?.ok_or(Exception::Code(vector, u32::from(selector) & 0xFFFC))
}

/// Finds the descriptor of `selector`, if its table reaches that far.
pub fn lookup(cpu: &mut Cpu, selector: u16) -> Result<Option<Descriptor>, Exception> {
    let Some(address) = entry_address(cpu, selector, 8) else { return Ok(None) };
    let raw = cpu.read_linear(address, Width::W64, Privilege::System)?;
    Ok(Some(Descriptor { raw, address, selector }))
}

fn entry_address(cpu: &Cpu, selector: u16, len: u64) -> Option<u64> {
    let offset = u64::from(selector & 0xFFF8);
    let segments = &cpu.segments;
    let (base, limit) = if !is_local(selector) {
        (segments.gdtr.base, u64::from(segments.gdtr.limit))
    } else if segments.ldtr.unusable {
        return None;
    } else {
        (segments.ldtr.base, u64::from(segments.ldtr.limit))
    };
    (offset + len - 1 <= limit).then(|| system_linear(cpu, base, offset))
}

impl Descriptor {
    /// Second doubleword, as LAR sees it.
    pub const fn high(&self) -> u32 {
        (self.raw >> 32) as u32
    }
    /// First doubleword and the second above it.
    pub const fn raw(&self) -> u64 {
        self.raw
    }
    /// Access rights, see [`attr`].
    pub const fn attr(&self) -> u16 {
        (self.raw >> 40) as u16 & 0xF0FF
    }
    /// Descriptor privilege level.
    pub const fn dpl(&self) -> u8 {
        (self.raw >> 45) as u8 & 3
    }
    /// Present?
    pub const fn present(&self) -> bool {
        self.attr() & attr::P != 0
    }
    /// Code segment?
    pub const fn is_code(&self) -> bool {
        self.attr() & (attr::S | attr::CODE) == attr::S | attr::CODE
    }
    /// Conforming code segment?
    pub const fn is_conforming(&self) -> bool {
        self.is_code() && self.attr() & attr::CONFORMING != 0
    }
    /// Data segment that can be written?
    pub const fn is_writable_data(&self) -> bool {
        self.attr() & (attr::S | attr::CODE | attr::WRITABLE) == attr::S | attr::WRITABLE
    }
    /// Data segment, or code segment that can be read?
    pub const fn is_readable(&self) -> bool {
        self.attr() & attr::S != 0 && (self.attr() & attr::CODE == 0 || self.attr() & attr::READABLE != 0)
    }
    /// Code of 64-bit mode (L set, D clear)?
    pub const fn is_code64(&self) -> bool {
        self.is_code() && self.attr() & (attr::L | attr::D) == attr::L
    }
    /// Type of a system descriptor, see [`system_type`].
    pub const fn system_type(&self) -> Option<u16> {
        if self.attr() & attr::S == 0 { Some(self.attr() & attr::TYPE) } else { None }
    }
    /// Offset of the last byte, the granularity applied.
    pub const fn limit(&self) -> u32 {
        let limit = self.raw as u32 & 0xFFFF | (self.raw >> 32) as u32 & 0xF_0000;
        if self.attr() & attr::G != 0 { limit << 12 | 0xFFF } else { limit }
    }
    const fn base(&self) -> u64 {
        self.raw >> 16 & 0xFF_FFFF | (self.raw >> 56) << 24
    }

    /// Second half of a 16-byte descriptor; beyond the limit of the table, the exception `vector`. The type
    /// field in it must be zero: else `vector` too.
    pub fn upper(&self, cpu: &mut Cpu, vector: u8) -> Result<u64, Exception> {
        let fault = Exception::Code(vector, u32::from(self.selector) & 0xFFFC);
        entry_address(cpu, self.selector, 16).ok_or(fault)?;
        let upper = cpu.read_linear(self.address.wrapping_add(8), Width::W64, Privilege::System)?;
        if upper >> 40 & 0x1F != 0 { Err(fault) } else { Ok(upper) }
    }

    /// What a segment register holds after loading this code or data segment by `selector`.
    pub const fn segment(&self, selector: u16) -> Segment {
        Segment {
            selector,
            attr: self.attr() | attr::ACCESSED,
            limit: self.limit(),
            base: self.base(),
            unusable: false,
        }
    }

    /// What LDTR or TR holds. `upper` is the second half of a long-mode descriptor, else 0.
    pub const fn system_segment(&self, upper: u64) -> Segment {
        let base = self.base() | upper << 32;
        Segment { selector: self.selector, attr: self.attr(), limit: self.limit(), base, unusable: false }
    }

    /// Sets the accessed bit in the table, unless it is set.
    pub fn mark_accessed(&self, cpu: &mut Cpu) -> Result<(), Exception> {
        self.replace_type(cpu, self.attr() | attr::ACCESSED)
    }

    /// Sets or clears the busy bit of a TSS in the table.
    pub fn mark_busy(&self, cpu: &mut Cpu, busy: bool) -> Result<(), Exception> {
        const BUSY: u16 = system_type::TSS16 ^ system_type::TSS16_BUSY;
        self.replace_type(cpu, if busy { self.attr() | BUSY } else { self.attr() & !BUSY })
    }

    fn replace_type(&self, cpu: &mut Cpu, new: u16) -> Result<(), Exception> {
        if new == self.attr() {
            return Ok(());
        }
        let address = system_linear(cpu, self.address, 5);
        cpu.write_linear(address, Width::W8, new.into(), Privilege::System)
    }
}

/// A call, interrupt, trap or task gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Type, see [`system_type`].
    pub kind: u16,
    /// Descriptor privilege level.
    pub dpl: u8,
    /// Present?
    pub present: bool,
    /// Selector of the code segment or TSS.
    pub selector: u16,
    /// Entry point; of a 16-bit gate, 16 bits.
    pub offset: u64,
    /// Number of parameters of a call gate; IST number of a long-mode interrupt gate.
    pub count: u8,
}

impl Gate {
    /// A gate from its two halves (`upper` is 0 for 8-byte gates). `None` if it is a code or data descriptor.
    pub fn parse(raw: u64, upper: u64) -> Option<Gate> {
        let kind = (raw >> 40) as u16 & 0x1F;
        let narrow = matches!(
            kind,
            system_type::CALL_GATE16 | system_type::INTERRUPT_GATE16 | system_type::TRAP_GATE16
        );
        let offset = raw & 0xFFFF | (raw >> 48) << 16 | upper << 32;
        (kind & attr::S == 0).then_some(Gate {
            kind,
            dpl: (raw >> 45) as u8 & 3,
            present: raw >> 47 & 1 != 0,
            selector: (raw >> 16) as u16,
            offset: if narrow { offset & 0xFFFF } else { offset },
            count: (raw >> 32) as u8 & 0x1F,
        })
    }

    /// Width of what a legacy call, interrupt or trap gate pushes.
    pub const fn width(&self) -> Width {
        if self.kind & 8 != 0 { Width::W32 } else { Width::W16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arch::vector, microcode::testing::*};

    #[test]
    fn fields_of_a_descriptor_are_put_together_from_their_pieces() {
        let mut cpu = protected(0);
        put_u64(&cpu, GDT + 0x80, 0x12CF_9334_5678_ABCD);
        let descriptor = fetch(&mut cpu, 0x80, vector::GP).unwrap();
        let segment = descriptor.segment(0x83);
        assert_eq!((segment.base, segment.limit), (0x1234_5678, 0xFABC_DFFF));
        assert_eq!((segment.attr, segment.selector), (0xC093, 0x83));
    }

    #[test]
    fn an_entry_that_is_partly_beyond_the_limit_does_not_exist() {
        let mut cpu = protected(0);
        cpu.segments.gdtr.limit = 0x16;
        assert_eq!(fetch(&mut cpu, 0x13, vector::NP).unwrap_err(), Exception::Code(vector::NP, 0x10));
        cpu.segments.gdtr.limit = 0x17;
        assert!(fetch(&mut cpu, 0x13, vector::NP).is_ok());
    }

    #[test]
    fn without_an_ldt_local_selectors_find_nothing() {
        let mut cpu = protected(0);
        cpu.segments.ldtr.unusable = true;
        assert_eq!(fetch(&mut cpu, 0xF, vector::GP).unwrap_err(), Exception::Code(vector::GP, 0xC));
    }

    #[test]
    fn accessed_is_set_once_in_the_table() {
        let mut cpu = protected(0);
        put_u64(&cpu, GDT + 0x80, 0x00CF_9200_0000_FFFF);
        fetch(&mut cpu, 0x80, vector::GP).unwrap().mark_accessed(&mut cpu).unwrap();
        assert_eq!(get_u64(&cpu, GDT + 0x80), 0x00CF_9300_0000_FFFF);
    }
}
