//! Which forms a native processor can tell the truth about, in user mode of an operating system; of the others,
//! why it cannot.

use crate::corpus::Mode;
use emu_core::semantics::Attr;
use iced_x86::{Code, FlowControl, Mnemonic, OpCodeOperandKind as Operand};
use std::fmt;

/// Why a form in a mode is not compared with the host's processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// User code of a 64-bit system is never in this mode.
    Mode,
    /// Enters the operating system.
    EntersSystem,
    /// Goes by descriptors that are the operating system's.
    Descriptors,
    /// Shows or changes what the operating system keeps for itself: state components.
    SystemState,
    /// The operating system answers in the processor's place.
    Emulated,
    /// Its result is time, chance or the processor's own name.
    Machine,
    /// Vendors differ in all of it: 16-bit branches and MOVSXD in 64-bit mode, SYSRET in compatibility mode.
    Vendor,
    /// Not an instruction of its own.
    Pseudo,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Mode => "no user code of the host is in this mode",
            Reason::EntersSystem => "enters the operating system",
            Reason::Descriptors => "uses descriptor tables, which are the host system's",
            Reason::SystemState => "shows or changes state that the host system keeps",
            Reason::Emulated => "the host system answers in the processor's place (UMIP)",
            Reason::Machine => "its result is time, chance or the processor's identity",
            Reason::Vendor => "the vendors' processors differ in all of it",
            Reason::Pseudo => "not an instruction of its own",
        })
    }
}

/// Why the host's processor cannot run `code` in `mode`; nothing if it can. What only the kernel may execute
/// can run: it faults, and that is compared.
pub fn native(code: Code, attr: Attr, mode: Mode) -> Option<Reason> {
    use Mnemonic as M;
    if !matches!(mode, Mode::Long64 | Mode::Compatibility32 | Mode::Compatibility16) {
        return Some(Reason::Mode);
    }
    // In compatibility mode AMD's processors know SYSRET, Intel's do not.
    if code.mnemonic() == M::Sysret && mode != Mode::Long64 {
        return Some(Reason::Vendor);
    }
    // Far pointers of 80 bits AMD's processors do not load.
    if matches!(code, Code::Lfs_r64_m1664 | Code::Lgs_r64_m1664 | Code::Lss_r64_m1664) {
        return Some(Reason::Vendor);
    }
    // MOVSXD with 16-bit operands loads 16 bits by the SDM, 32 bits on Zen 4.
    if code == Code::Movsxd_r16_rm16 {
        return Some(Reason::Vendor);
    }
    if attr.contains(Attr::CPL0) {
        return None;
    }
    // 64-bit code is in a segment of the system's.
    if is_far(code) && mode == Mode::Long64 {
        return Some(Reason::Descriptors);
    }
    match code.mnemonic() {
        M::Zero_bytes => Some(Reason::Pseudo),
        M::Int1 | M::Syscall | M::Sysenter => Some(Reason::EntersSystem),
        M::Sgdt | M::Sidt | M::Sldt | M::Smsw | M::Str => Some(Reason::Emulated),
        M::Cpuid | M::Rdtsc | M::Rdtscp | M::Rdpid | M::Rdrand | M::Rdseed => Some(Reason::Machine),
        M::Xgetbv => Some(Reason::SystemState),
        M::Rdsspd | M::Rdsspq => Some(Reason::SystemState),
        _ if mode == Mode::Long64 && is_short_branch(code) => Some(Reason::Vendor),
        _ => None,
    }
}

/// Whether `code` loads or stores selectors, or looks at what they name.
pub fn uses_selectors(code: Code) -> bool {
    use Mnemonic as M;
    let form = code.op_code();
    let segment = |kind| {
        use Operand as O;
        matches!(kind, O::seg_reg | O::es | O::cs | O::ss | O::ds | O::fs | O::gs)
    };
    is_far(code)
        || (0..form.op_count()).any(|k| segment(form.op_kind(k)))
        || matches!(
            code.mnemonic(),
            M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss | M::Lar | M::Lsl | M::Verr | M::Verw | M::Arpl
        )
}

/// Whether `code` is a transfer to another segment.
fn is_far(code: Code) -> bool {
    use Mnemonic as M;
    let branch =
        code.is_jmp_far() || code.is_jmp_far_indirect() || code.is_call_far() || code.is_call_far_indirect();
    branch || matches!(code.mnemonic(), M::Retf | M::Iret | M::Iretd | M::Iretq)
}

/// Near branches with 16-bit operands: in 64-bit mode Intel's processors ignore the prefix, AMD's do not.
fn is_short_branch(code: Code) -> bool {
    let near = matches!(code.op_code().op_kind(0), Operand::br16_1 | Operand::br16_2 | Operand::r16_or_mem);
    near && code.flow_control() != FlowControl::Next || matches!(code, Code::Retnw | Code::Retnw_imm16)
}
