//! Two outcomes of one setup, compared.

use crate::{
    Outcome, Setup,
    corpus::{Exception, Register},
    undefined::Undefined,
};
use emu_core::{
    arch::{Flags, Segment, vector},
    state::{CpuState, Extended, X87},
};

/// What of RFLAGS user code can see and change by itself.
const USER_FLAGS: Flags =
    Flags::ARITHMETIC.union(Flags::DF).union(Flags::AC).union(Flags::ID).union(Flags::NT);

/// One thing that differs: `wanted` is the oracle's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A register of the corpus, a flag, `exception`, or memory as `[address]`.
    pub what: String,
    /// What the engine has.
    pub found: String,
    /// What the oracle has.
    pub wanted: String,
}

/// How much of the state both executors know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What user code can see.
    User,
    /// Everything: system registers too.
    All,
}

/// Whether the outcomes differ, perhaps only in memory that is undefined. Much cheaper than [`differences`].
pub fn differ(undefined: &Undefined, extent: Extent, wanted: &Outcome, found: &Outcome) -> bool {
    let (a, b) = (&wanted.state, &found.state);
    let mask = flag_mask(undefined, extent);
    exception(undefined, wanted) != exception(undefined, found)
        || wanted.instructions != found.instructions
        || general_differs(undefined, a, b)
        || extent == Extent::User && !segments_agree(a, b)
        || (a.general.rflags ^ b.general.rflags).intersects(mask)
        || !x87_agrees(undefined, &a.x87, &b.x87)
        || a.simd.vector != b.simd.vector
        || (a.simd.mxcsr ^ b.simd.mxcsr) & !undefined.mxcsr != 0
        || a.control.cr2 != b.control.cr2 && !undefined.fault_address
        || extent == Extent::All && !system_agrees(a, b)
        || wanted.memory != found.memory
}

/// The exception; without the error code of a page fault if it may be at another part of the operand.
fn exception(undefined: &Undefined, outcome: &Outcome) -> Option<Exception> {
    let raised = outcome.exception?;
    let elsewhere = undefined.fault_address && raised.vector == vector::PF;
    Some(Exception { error_code: raised.error_code.filter(|_| !elsewhere), ..raised })
}

fn flag_mask(undefined: &Undefined, extent: Extent) -> Flags {
    let known = match extent {
        Extent::User => USER_FLAGS,
        Extent::All => Flags::all(),
    };
    known & !Flags::from_bits_truncate(undefined.flags)
}

fn general_differs(undefined: &Undefined, a: &CpuState, b: &CpuState) -> bool {
    if a.general.rip != b.general.rip {
        return true;
    }
    match undefined.general {
        None => a.general.gpr != b.general.gpr,
        Some((register, bits)) => (0..16).any(|k| {
            let mask = if k == register { !bits } else { u64::MAX };
            (a.general.gpr[k] ^ b.general.gpr[k]) & mask != 0
        }),
    }
}

/// The pointers to the last instruction and its operand are not compared: see [`crate::undefined`].
fn x87_agrees(undefined: &Undefined, a: &X87, b: &X87) -> bool {
    a.r == b.r
        && a.fcw == b.fcw
        && status(undefined, a) == status(undefined, b)
        && (undefined.stack || a.valid == b.valid)
}

/// The status word without what is undefined.
fn status(undefined: &Undefined, x87: &X87) -> u16 {
    const TOP: u16 = 7 << 11;
    x87.status() & !undefined.status & if undefined.stack { !TOP } else { !0 }
}

/// What user code can see of a segment. Of one that cannot be used that is the base in 64-bit mode: a null selector
/// loses its privilege level when the system returns to user code.
fn seen(segment: &Segment) -> Segment {
    let Segment { base, .. } = *segment;
    if segment.unusable { Segment { selector: 0, base, attr: 0, limit: 0, unusable: true } } else { *segment }
}

fn segments_agree(a: &CpuState, b: &CpuState) -> bool {
    a.segments.data.iter().map(seen).eq(b.segments.data.iter().map(seen))
}

fn system_agrees(a: &CpuState, b: &CpuState) -> bool {
    (a.segments, a.control, a.msrs, a.events) == (b.segments, b.control, b.msrs, b.events)
}

/// Everything that differs and is defined.
pub fn differences(
    setup: &Setup,
    undefined: &Undefined,
    extent: Extent,
    wanted: &Outcome,
    found: &Outcome,
) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut check = |what: &dyn ToString, wanted: String, found: String| {
        if wanted != found {
            all.push(Difference { what: what.to_string(), found, wanted });
        }
    };
    let raised = |outcome: &Outcome| exception(undefined, outcome).map_or("none".into(), |e| e.to_string());
    check(&"exception", raised(wanted), raised(found));
    let instructions = |outcome: &Outcome| outcome.instructions.to_string();
    check(&"instructions", instructions(wanted), instructions(found));
    let (a, b) = (&wanted.state, &found.state);
    for k in 0..16 {
        let undefined = undefined.general.filter(|(register, _)| *register == k).map_or(0, |(_, bits)| bits);
        let value = |state: &CpuState| format!("{:x}", state.general.gpr[k] & !undefined);
        check(&Register::General(k as u8), value(a), value(b));
        let vector = |state: &CpuState| {
            let [low, high] = state.simd.vector[k];
            format!("{high:032x}_{low:032x}")
        };
        check(&format!("ymm{k}"), vector(a), vector(b));
    }
    check(&Register::Rip, format!("{:x}", a.general.rip), format!("{:x}", b.general.rip));
    let mask = flag_mask(undefined, extent);
    let flags = |state: &CpuState| format!("{:?}", state.general.rflags & mask);
    check(&"flags", flags(a), flags(b));
    for (k, name) in ["es", "cs", "ss", "ds", "fs", "gs"].iter().enumerate() {
        let segment = |state: &CpuState| {
            let Segment { selector, base, attr, limit, unusable } = seen(&state.segments.data[k]);
            let hidden =
                if unusable { String::new() } else { format!(" limit={limit:x} attributes={attr:x}") };
            format!("{selector:x} base={base:x}{hidden}")
        };
        check(name, segment(a), segment(b));
    }
    for k in 0..8 {
        let physical = |state: &CpuState| {
            let Extended { significand, sign_exponent } = state.x87.r[k];
            format!("{sign_exponent:04x}_{significand:016x}")
        };
        check(&format!("r{k}"), physical(a), physical(b));
    }
    let mut word = |register: Register, value: &dyn Fn(&CpuState) -> u64| {
        check(&register, format!("{:x}", value(a)), format!("{:x}", value(b)));
    };
    word(Register::Mxcsr, &|state| (state.simd.mxcsr & !undefined.mxcsr).into());
    word(Register::Fcw, &|state| state.x87.fcw.into());
    word(Register::Fsw, &|state| status(undefined, &state.x87).into());
    if !undefined.stack {
        word(Register::Ftw, &|state| state.x87.valid.into());
    }
    if !undefined.fault_address {
        word(Register::Control(2), &|state| state.control.cr2);
    }
    if extent == Extent::All && !system_agrees(a, b) {
        let system = |state: &CpuState| format!("{:?} {:?}", state.segments, state.control);
        check(&"system state", system(a), system(b));
    }
    all.extend(memory_differences(setup, undefined, wanted, found));
    all
}

fn memory_differences(
    setup: &Setup,
    undefined: &Undefined,
    wanted: &Outcome,
    found: &Outcome,
) -> Vec<Difference> {
    let mut all = Vec::new();
    for ((region, wanted), found) in setup.memory.iter().zip(&wanted.memory).zip(&found.memory) {
        if wanted == found {
            continue;
        }
        for (at, (wanted, found)) in wanted.iter().zip(found).enumerate() {
            let address = region.address + at as u64;
            let masks = undefined.memory.iter().filter(|(place, _)| *place == address);
            let mask = !masks.fold(0, |all, (_, mask)| all | mask);
            if (wanted ^ found) & mask != 0 {
                let (found, wanted) = (format!("{found:02x}"), format!("{wanted:02x}"));
                all.push(Difference { what: format!("[{address:x}]"), found, wanted });
            }
        }
    }
    // The first bytes tell what is wrong.
    all.truncate(16);
    all
}
