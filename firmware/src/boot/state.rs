//! How the bootstrap processor starts, as plain data.

use serde::{Deserialize, Serialize};

/// CR0: protection enable, extension type, numeric error, paging.
pub(super) const CR0_PE: u64 = 1 << 0;
pub(super) const CR0_ET: u64 = 1 << 4;
pub(super) const CR0_PG: u64 = 1 << 31;
/// CR4: physical address extension.
pub(super) const CR4_PAE: u64 = 1 << 5;
/// IA32_EFER: long mode enable, long mode active.
pub(super) const EFER_LME: u64 = 1 << 8;
pub(super) const EFER_LMA: u64 = 1 << 10;

/// Attributes of the segments that the boot protocols ask for: present, of ring 0, with 4 KiB granularity.
pub(super) const CODE32: u16 = 0xC09B;
pub(super) const CODE64: u16 = 0xA09B;
pub(super) const DATA: u16 = 0xC093;
/// A busy 32-bit and 64-bit task state segment.
pub(super) const TSS: u16 = 0x008B;

/// A segment register with its hidden part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Last valid offset, in bytes whatever the granularity.
    pub limit: u32,
    /// Bytes 5 and 6 of the descriptor without limit bits 19:16: type (3:0), S (4), DPL (6:5), P (7),
    /// AVL (12), L (13), D/B (14), G (15).
    pub attributes: u16,
}

impl Segment {
    /// A segment over the whole address space.
    pub(super) fn flat(selector: u16, attributes: u16) -> Self {
        Segment { selector, base: 0, limit: 0xFFFF_FFFF, attributes }
    }
}

/// A descriptor table register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorTable {
    /// Linear address of the table.
    pub base: u64,
    /// Offset of its last byte.
    pub limit: u16,
}

/// The mode the processor starts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootMode {
    /// 32-bit protected mode, no paging.
    Protected32,
    /// 64-bit mode, the first 4 GiB mapped to themselves.
    Long64,
}

/// The state of the bootstrap processor at the kernel's entry. General registers that are not named are zero,
/// interrupts are off, all else is as after reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootState {
    /// Mode that the fields below put the processor in.
    pub mode: BootMode,
    /// Entry point.
    pub rip: u64,
    /// Top of a small stack.
    pub rsp: u64,
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RSI.
    pub rsi: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// CS.
    pub cs: Segment,
    /// DS, ES, SS, FS and GS.
    pub data: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR: the table holds the descriptors of the segments above.
    pub gdt: DescriptorTable,
    /// IDTR: empty.
    pub idt: DescriptorTable,
}
