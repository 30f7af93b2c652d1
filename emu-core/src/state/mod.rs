//! Architectural state of a vCPU, in groups: what snapshots hold and every engine can load.

mod msrs;
mod x87;

pub use msrs::Msrs;
pub use x87::{Extended, X87};

use crate::arch::{Cr0, Cr4, Efer, Flags, Segment, Xcr0};
use serde::{Deserialize, Serialize};

/// GDTR or IDTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableRegister {
    /// Linear base.
    pub base: u64,
    /// Offset of the last byte.
    pub limit: u16,
}

/// Segment and system segment registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// ES, CS, SS, DS, FS, GS.
    pub data: [Segment; 6],
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
}

/// Control and debug registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// CR0.
    pub cr0: Cr0,
    /// CR2: address of the last page fault.
    pub cr2: u64,
    /// CR3, bit 63 clear.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// IA32_EFER.
    pub efer: Efer,
    /// XCR0.
    pub xcr0: Xcr0,
    /// PKRU.
    pub pkru: u32,
    /// DR0..DR3.
    pub dr: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
    /// PAE page-directory-pointer registers, loaded with CR3.
    pub pdpte: [u64; 4],
}

/// SSE and wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C, align(16))]
pub struct Simd {
    /// XMM/YMM registers: two 128-bit lanes each, low first.
    pub vector: [[u128; 2]; 16],
    /// MXCSR.
    pub mxcsr: u32,
}

/// What the processor is doing, beyond its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Activity {
    /// Executing.
    #[default]
    Active,
    /// HLT (or MWAIT): until an interrupt.
    Halted,
    /// Shut down by a triple fault: until reset.
    Shutdown,
    /// An application processor after INIT: until a start-up IPI.
    WaitForStartup,
}

/// Activity and the blocking of events. SDM vol. 3, 6.7.1, 6.8.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Events {
    /// What it is doing.
    pub activity: Activity,
    /// STI or MOV SS was the last instruction: no interrupt before the next has completed.
    pub shadow: bool,
    /// The shadow is MOV SS's, which also holds back debug traps.
    pub shadow_from_mov_ss: bool,
    /// An NMI handler runs: until IRET.
    pub nmi_blocked: bool,
    /// In system-management mode.
    pub in_smm: bool,
    /// SMBASE.
    pub smbase: u32,
    /// DR6 bits of a debug trap that is delivered after the current instruction.
    pub pending_debug: u64,
    /// The instruction just executed entered a handler: no single-step trap follows it.
    pub no_single_step: bool,
}

/// General-purpose registers, RIP and RFLAGS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct General {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15.
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: Flags,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuState {
    /// General-purpose registers.
    pub general: General,
    /// Segments.
    pub segments: Segments,
    /// Control and debug registers.
    pub control: Control,
    /// x87 and MMX.
    pub x87: X87,
    /// SSE and wider.
    pub simd: Simd,
    /// Other model-specific registers.
    pub msrs: Msrs,
    /// Activity.
    pub events: Events,
}

impl CpuState {
    /// State after RESET#. SDM vol. 3, 9.1.1. `signature` is what EDX holds: CPUID.1:EAX.
    pub fn reset(signature: u32) -> Self {
        let mut gpr = [0; 16];
        gpr[2] = signature.into();
        let mut data = [Segment::real(0); 6];
        data[1] = Segment { selector: 0xF000, base: 0xFFFF_0000, attr: 0x9B, limit: 0xFFFF, unusable: false };
        for segment in &mut data {
            segment.attr |= crate::arch::attr::ACCESSED;
        }
        let system = |kind| Segment {
            selector: 0,
            base: 0,
            limit: 0xFFFF,
            attr: crate::arch::attr::P | kind,
            unusable: false,
        };
        let table = TableRegister { base: 0, limit: 0xFFFF };
        CpuState {
            general: General { gpr, rip: 0xFFF0, rflags: Flags::FIXED },
            segments: Segments { data, ldtr: system(2), tr: system(11), gdtr: table, idtr: table },
            control: Control {
                cr0: Cr0::ET | Cr0::CD | Cr0::NW,
                cr2: 0,
                cr3: 0,
                cr4: Cr4::empty(),
                efer: Efer::empty(),
                xcr0: Xcr0::X87,
                pkru: 0,
                dr: [0; 4],
                dr6: 0xFFFF_0FF0,
                dr7: 0x400,
                pdpte: [0; 4],
            },
            x87: X87::reset(),
            simd: Simd { vector: [[0; 2]; 16], mxcsr: 0x1F80 },
            msrs: Msrs::reset(),
            events: Events { smbase: 0x3_0000, ..Events::default() },
        }
    }
}
