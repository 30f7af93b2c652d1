//! The registers that gdb sees: one list for all modes, from which layout, description, reading and writing follow.
//!
//! gdb asks for the description once, but a vCPU changes its mode whenever it likes, and each of gdb's three
//! architectures (i8086, i386, i386:x86-64) looks for its own names in the feature `org.gnu.gdb.i386.core`. So that
//! feature has both, `rax` and `eax`: gdb finds what it needs whichever architecture its user sets. Numbers follow the
//! list's order.
//!
//! Control registers and what is hidden in segment registers are in a feature of emu's own.

mod view;

pub use view::{View, from_bytes};

use emu_core::arch::Seg;
use std::sync::LazyLock;

/// The features that registers belong to, by gdb's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `org.gnu.gdb.i386.core`.
    Core,
    /// `org.gnu.gdb.i386.sse`.
    Sse,
    /// `org.gnu.gdb.i386.avx`.
    Avx,
    /// emu's own. FS's and GS's bases are here as well: gdb 13 cannot have its own feature for them beside the
    /// architecture i386.
    System,
}

impl Feature {
    /// All, in the order of the list.
    pub const ALL: [Feature; 4] = [Feature::Core, Feature::Sse, Feature::Avx, Feature::System];

    /// As gdb knows it.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Core => "org.gnu.gdb.i386.core",
            Feature::Sse => "org.gnu.gdb.i386.sse",
            Feature::Avx => "org.gnu.gdb.i386.avx",
            Feature::System => "org.emu.x86.system",
        }
    }

    /// The group of its registers, where gdb would not know it.
    pub fn group(self) -> Option<&'static str> {
        matches!(self, Feature::Sse | Feature::Avx).then_some("vector")
    }
}

/// What a register is in the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A general-purpose register, by its number.
    General(usize),
    /// Its lower half.
    Low(usize),
    /// Linear address of the next instruction.
    Pc,
    /// Its lower half.
    PcLow,
    /// The instruction pointer, an offset in CS.
    Ip,
    /// RFLAGS.
    Flags,
    /// A selector.
    Selector(Seg),
    /// A base.
    Base(Seg),
    /// IA32_KERNEL_GS_BASE.
    KernelGsBase,
    /// ST(n).
    St(u8),
    /// An item of the x87 environment.
    X87(Environment),
    /// XMMn.
    Xmm(usize),
    /// The upper half of YMMn.
    YmmHigh(usize),
    /// MXCSR.
    Mxcsr,
    /// CRn, 8 apart.
    Control(u8),
    /// CR8.
    TaskPriority,
    /// IA32_EFER.
    Efer,
    /// LDTR (false) or TR (true), the selector.
    System(bool),
    /// GDTR (false) or IDTR (true), the base.
    TableBase(bool),
    /// GDTR (false) or IDTR (true), the limit.
    TableLimit(bool),
}

/// The x87 environment, in gdb's order and by its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Fctrl,
    Fstat,
    Ftag,
    Fiseg,
    Fioff,
    Foseg,
    Fooff,
    Fop,
}

/// A register as gdb sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bits: usize,
    /// gdb's name of its type. Not a type of pointers: their size would be the architecture's.
    pub kind: &'static str,
    /// Where it is listed.
    pub feature: Feature,
    /// What it is.
    pub place: Place,
}

impl Register {
    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bits / 8
    }
}

/// All registers, in the order of their numbers.
pub static REGISTERS: LazyLock<Vec<Register>> = LazyLock::new(list);

fn list() -> Vec<Register> {
    const GENERAL: [(&str, usize); 8] =
        [("ax", 0), ("bx", 3), ("cx", 1), ("dx", 2), ("si", 6), ("di", 7), ("bp", 5), ("sp", 4)];
    const LOW: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
    const SELECTORS: [(&str, Seg); 6] = [
        ("cs", Seg::Cs),
        ("ss", Seg::Ss),
        ("ds", Seg::Ds),
        ("es", Seg::Es),
        ("fs", Seg::Fs),
        ("gs", Seg::Gs),
    ];
    const ENVIRONMENT: [(&str, Environment); 8] = [
        ("fctrl", Environment::Fctrl),
        ("fstat", Environment::Fstat),
        ("ftag", Environment::Ftag),
        ("fiseg", Environment::Fiseg),
        ("fioff", Environment::Fioff),
        ("foseg", Environment::Foseg),
        ("fooff", Environment::Fooff),
        ("fop", Environment::Fop),
    ];
    let mut all = Vec::new();
    let mut feature = Feature::Core;
    let mut add = |feature, name: String, bits, kind, place| {
        all.push(Register { name, bits, kind, feature, place });
    };
    for (name, number) in GENERAL {
        add(feature, format!("r{name}"), 64, "int64", Place::General(number));
    }
    for number in 8..16 {
        add(feature, format!("r{number}"), 64, "int64", Place::General(number));
    }
    add(feature, "rip".into(), 64, "int64", Place::Pc);
    add(feature, "eflags".into(), 32, "i386_eflags", Place::Flags);
    for (name, seg) in SELECTORS {
        add(feature, name.into(), 32, "int32", Place::Selector(seg));
    }
    for number in 0..8 {
        add(feature, format!("st{number}"), 80, "i387_ext", Place::St(number));
    }
    for (name, item) in ENVIRONMENT {
        add(feature, name.into(), 32, "int32", Place::X87(item));
    }
    for (number, name) in LOW.into_iter().enumerate() {
        add(feature, name.into(), 32, "int32", Place::Low(number));
    }
    add(feature, "eip".into(), 32, "int32", Place::PcLow);
    feature = Feature::Sse;
    for number in 0..16 {
        add(feature, format!("xmm{number}"), 128, "vec128", Place::Xmm(number));
    }
    add(feature, "mxcsr".into(), 32, "i386_mxcsr", Place::Mxcsr);
    feature = Feature::Avx;
    for number in 0..16 {
        add(feature, format!("ymm{number}h"), 128, "uint128", Place::YmmHigh(number));
    }
    feature = Feature::System;
    add(feature, "fs_base".into(), 64, "int64", Place::Base(Seg::Fs));
    add(feature, "gs_base".into(), 64, "int64", Place::Base(Seg::Gs));
    add(feature, "k_gs_base".into(), 64, "int64", Place::KernelGsBase);
    for number in [0, 2, 3, 4] {
        add(feature, format!("cr{number}"), 64, "int64", Place::Control(number));
    }
    add(feature, "cr8".into(), 64, "int64", Place::TaskPriority);
    add(feature, "efer".into(), 64, "int64", Place::Efer);
    add(feature, "ip".into(), 64, "int64", Place::Ip);
    for (name, seg) in &SELECTORS[..4] {
        add(feature, format!("{name}_base"), 64, "int64", Place::Base(*seg));
    }
    for (name, is_second) in [("ldtr", false), ("tr", true)] {
        add(feature, name.into(), 32, "int32", Place::System(is_second));
    }
    for (name, is_second) in [("gdtr", false), ("idtr", true)] {
        add(feature, format!("{name}_base"), 64, "int64", Place::TableBase(is_second));
        add(feature, format!("{name}_limit"), 32, "int32", Place::TableLimit(is_second));
    }
    all
}
