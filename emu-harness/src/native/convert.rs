//! A setup as a case of the child's, and back: what user mode can show of it.

use super::{
    descriptors::Descriptors,
    frame::Layout,
    landing,
    shared::{BYTES, Batch, CASES, Case, Descriptor, PAGE, PAGES, PIECES, Piece, Registers, Segment, end},
};
use crate::{
    Outcome, Region, Setup, Unsuitable,
    corpus::{Exception, Mode},
};
use emu_core::{
    arch::{self, Cr0, Cr4, Efer, Flags, Seg, attr, vector},
    state::{Activity, CpuState, Extended},
};

/// Memory of cases ends here: what is above is the child's own.
const TOP: u64 = 1 << 32;
/// Addresses from here on are the kernel's.
const KERNEL: u64 = 1 << 47;
const LOW: u64 = 0xFFFF_FFFF;
/// In compatibility mode all of a case lies so much higher than its setup says, which only CR2 shows: hosts let
/// no process have the lowest pages.
const LIFT: u64 = 0x10_0000;

fn lift(mode: Mode) -> u64 {
    if mode == Mode::Long64 { 0 } else { LIFT }
}

fn unsuitable<T>(reason: &str) -> Result<T, Unsuitable> {
    Err(Unsuitable(reason.to_owned()))
}

/// Why user mode of the host cannot run `setup`, if it cannot.
pub fn check(setup: &Setup, host: Layout) -> Result<(), Unsuitable> {
    let Setup { mode, state, memory, .. } = setup;
    let CpuState { general, segments, control, simd, events, .. } = state;
    let long = match mode {
        Mode::Long64 => true,
        Mode::Compatibility32 | Mode::Compatibility16 => false,
        Mode::Real | Mode::V86 | Mode::Protected16 | Mode::Protected32 => {
            return unsuitable(
                "a user process of a 64-bit host is in no other mode than 64-bit and compatibility",
            );
        }
    };
    if segments.data[Seg::Ss as usize].attr & attr::DPL != attr::DPL || events.activity != Activity::Active {
        return unsuitable("not user code at privilege level 3");
    }
    let fixed =
        Flags::TF | Flags::IOPL | Flags::NT | Flags::VM | Flags::RF | Flags::VIF | Flags::VIP | Flags::ID;
    if general.rflags.intersects(fixed) {
        return unsuitable("a flag that no user process can set (TF, IOPL, NT, VM, RF, VIF, VIP, ID)");
    }
    if general.rflags.contains(Flags::AC) && !control.cr0.contains(Cr0::AM) {
        return unsuitable("AC without CR0.AM: the host has AM set");
    }
    let present = Cr0::PE | Cr0::PG | Cr0::NE;
    let sse = Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    if !control.cr0.contains(present)
        || control.cr0.intersects(Cr0::EM | Cr0::TS)
        || !control.cr4.contains(sse)
    {
        return unsuitable("a CR0 or CR4 that no user process has");
    }
    if !control.efer.contains(Efer::NXE) {
        return unsuitable("EFER.NXE clear: the host has it set");
    }
    if control.dr7 & 0xFF != 0 {
        return unsuitable("breakpoints in debug registers");
    }
    if !control.cr4.contains(Cr4::OSXSAVE) && begins_with_vex(setup) {
        return unsuitable("VEX without CR4.OSXSAVE: the host has it set");
    }
    if simd.mxcsr > 0xFFFF || host.upper.is_none() && simd.vector.iter().any(|[_, upper]| *upper != 0) {
        return unsuitable("vector state that the host does not have");
    }
    let reachable = if long { general.rip < KERNEL } else { general.rip < TOP };
    if !reachable || !long && general.gpr.iter().any(|value| *value > LOW) {
        return unsuitable("a register beyond the mode's reach");
    }
    memory.iter().try_for_each(|region| check_region(region, lift(*mode)))
}

fn check_region(region: &Region, lift: u64) -> Result<(), Unsuitable> {
    if !region.rights.user {
        return unsuitable("memory that user code cannot reach: the host has none to offer");
    }
    match region.address.checked_add(region.bytes.len() as u64) {
        Some(end) if end <= TOP - lift => Ok(()),
        _ => unsuitable("memory above 4 GiB, where the host's process is"),
    }
}

/// Whether the first instruction has a VEX prefix.
fn begins_with_vex(setup: &Setup) -> bool {
    let mut code = setup.code().iter();
    let prefix = |byte: &&u8| matches!(byte, 0x26 | 0x2E | 0x36 | 0x3E | 0x64 | 0x65 | 0x67);
    let first = code.by_ref().find(|byte| !prefix(byte));
    matches!(first, Some(0xC4 | 0xC5))
        && (setup.mode == Mode::Long64 || code.next().is_some_and(|byte| byte >> 6 == 3))
}

/// How much of a batch is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filled {
    /// Cases.
    pub cases: usize,
    pieces: usize,
    bytes: usize,
}

/// Adds `setup`, which has been checked, to the batch. `false` if there is no more room.
pub fn add(setup: &Setup, batch: &mut Batch, filled: &mut Filled) -> Result<bool, Unsuitable> {
    let bytes: usize = setup.memory.iter().map(|region| region.bytes.len()).sum();
    let pages: u64 = setup.memory.iter().map(|region| region.bytes.len() as u64 / PAGE + 2).sum();
    if pages > PAGES as u64 || setup.memory.len() > PIECES || bytes > BYTES {
        return unsuitable("more memory than a case can have");
    }
    let full =
        filled.cases == CASES || filled.pieces + setup.memory.len() > PIECES || filled.bytes + bytes > BYTES;
    if full {
        return Ok(false);
    }
    let long = setup.mode == Mode::Long64;
    let stack = &setup.state.segments.data[Seg::Ss as usize];
    batch.cases[filled.cases] = Case {
        registers: registers(&setup.state),
        segments: segments(&setup.state, long)?,
        long: long.into(),
        limit: setup.instructions,
        stop: setup.stop.unwrap_or(u64::MAX),
        landing: landing::place(setup).map_or(u64::MAX, |linear| linear + lift(setup.mode)),
        stack_mask: match (long, stack.attr & attr::D) {
            (true, _) => u64::MAX,
            (_, 0) => 0xFFFF,
            _ => LOW,
        },
        first: filled.pieces as u32,
        pieces: setup.memory.len() as u32,
        end: end::NONE,
        vector: 0,
        error: 0,
        cr2: 0,
        completed: 0,
    };
    for region in &setup.memory {
        batch.pieces[filled.pieces] = Piece {
            address: region.address + lift(setup.mode),
            at: filled.bytes as u32,
            len: region.bytes.len() as u32,
            rights: rights(region),
        };
        batch.bytes[filled.bytes..][..region.bytes.len()].copy_from_slice(&region.bytes);
        filled.pieces += 1;
        filled.bytes += region.bytes.len();
    }
    filled.cases += 1;
    Ok(true)
}

fn rights(region: &Region) -> u32 {
    let mut bits = libc::PROT_READ;
    if region.rights.write {
        bits |= libc::PROT_WRITE;
    }
    if region.rights.execute {
        bits |= libc::PROT_EXEC;
    }
    bits as u32
}

fn registers(state: &CpuState) -> Registers {
    let CpuState { general, segments, x87, simd, .. } = state;
    Registers {
        vector: simd.vector,
        st: std::array::from_fn(|k| {
            let r = x87.r[(usize::from(x87.top) + k) % 8];
            u128::from(r.sign_exponent) << 64 | u128::from(r.significand)
        }),
        gpr: general.gpr,
        rip: general.rip,
        rflags: general.rflags.bits().into(),
        fs_base: segments.data[Seg::Fs as usize].base,
        gs_base: segments.data[Seg::Gs as usize].base,
        mxcsr: simd.mxcsr,
        fcw: x87.fcw,
        fsw: x87.status(),
        valid: x87.valid.into(),
    }
}

fn segments(state: &CpuState, long: bool) -> Result<[Segment; 6], Unsuitable> {
    let mut all = [Segment::default(); 6];
    for (number, (ours, theirs)) in all.iter_mut().zip(&state.segments.data).enumerate() {
        let code_or_stack = number == Seg::Cs as usize || number == Seg::Ss as usize;
        let null = theirs.unusable || theirs.selector < 4;
        let any = long && !Descriptors::may_name(theirs.selector);
        if long && code_or_stack {
            continue;
        }
        if !code_or_stack && (null || any) {
            ours.given = if theirs.selector < 4 { theirs.selector } else { 0 };
            continue;
        }
        let Some(descriptor) = descriptor(theirs, if long { 0 } else { LIFT as u32 }) else {
            return unsuitable("a segment that no local descriptor of a user process describes");
        };
        ours.descriptor = descriptor;
        ours.given = if Descriptors::may_name(theirs.selector) { theirs.selector } else { 0 };
    }
    Ok(all)
}

/// The segment as `struct user_desc` has it, higher by `lift`.
fn descriptor(segment: &arch::Segment, lift: u32) -> Option<Descriptor> {
    const USABLE: u32 = 1 << 6;
    let attributes = segment.attr;
    let bit = |bit: u16| u32::from(attributes & bit != 0);
    let user = attr::S | attr::P | attr::DPL;
    let pages = segment.limit > 0xF_FFFF;
    if attributes & user != user || attributes & attr::L != 0 || pages && segment.limit & 0xFFF != 0xFFF {
        return None;
    }
    // Down from data, conforming from code, both in the same place.
    let contents = bit(attr::CODE) << 1 | bit(attr::EXPAND_DOWN);
    Some(Descriptor {
        base: (u32::try_from(segment.base).ok()?).wrapping_add(lift),
        limit: if pages { segment.limit >> 12 } else { segment.limit },
        flags: bit(attr::D) | contents << 1 | (1 - bit(attr::WRITABLE)) << 3 | u32::from(pages) << 4 | USABLE,
    })
}

/// What came of case `number`, which was `setup`.
pub fn outcome(setup: &Setup, batch: &Batch, number: usize) -> Result<Outcome, Unsuitable> {
    let case = &batch.cases[number];
    match case.end {
        end::DONE | end::EXCEPTION => {}
        end::SYSTEM_CALL => return unsuitable("a system call, which would be the host's kernel's"),
        end::NO_MEMORY => return unsuitable("the host lets no memory be at these addresses"),
        end::NO_SEGMENT => return unsuitable("the host's kernel refuses a local descriptor"),
        end::NO_TRAP => return unsuitable("a load of SS or INT1: single-stepping does not show its end"),
        end::TOO_LONG => return unsuitable("a repeated instruction of more than 100,000 iterations"),
        end::WIDE => return unsuitable("AVX-512 registers were written, which a state does not have"),
        end::OWN_TRAP => return unsuitable("the code sets its own trap flag"),
        _ => return unsuitable("the case overwrote the harness's memory"),
    }
    let mut state = setup.state.clone();
    let exception = (case.end == end::EXCEPTION).then(|| exception(setup, case));
    if exception.is_some_and(|raised| raised.vector == vector::PF) {
        state.control.cr2 = if case.long != 0 { case.cr2 } else { case.cr2.wrapping_sub(LIFT) & LOW };
    }
    put_registers(&mut state, case);
    put_segments(&mut state, setup, case)?;
    let pieces = &batch.pieces[case.first as usize % PIECES..];
    let memory = setup.memory.iter().zip(pieces).map(|(region, piece)| {
        let bytes = batch.bytes.get(piece.at as usize..).and_then(|bytes| bytes.get(..region.bytes.len()));
        bytes.unwrap_or_default().to_vec()
    });
    Ok(Outcome { state, exception, memory: memory.collect(), instructions: case.completed })
}

fn exception(setup: &Setup, case: &Case) -> Exception {
    let vector = case.vector as u8;
    if matches!(vector, vector::BP | vector::OF)
        && setup.state.segments.idtr.limit < 16 * u16::from(vector) + 15
    {
        // INT3 and INTO go through the interrupt table: that of the setup ends before their gates, the host's
        // does not. Index and IDT flag make the error code.
        return Exception { vector: vector::GP, error_code: Some(u16::from(vector) << 3 | 2) };
    }
    let has_code = matches!(vector, 8 | 10..=14 | 17);
    let mut error = case.error as u16;
    if vector == vector::PF && case.cr2 >= KERNEL {
        // Linux hides what of its own half is present: it says that everything is.
        error &= !1;
    }
    Exception { vector, error_code: has_code.then_some(error) }
}

fn put_registers(state: &mut CpuState, case: &Case) {
    let found = &case.registers;
    let CpuState { general, x87, simd, .. } = state;
    let before = general.rflags;
    (general.gpr, general.rip) = (found.gpr, found.rip);
    if case.long == 0 {
        // Compatibility mode does not define the upper halves, nor has it the upper registers.
        general.gpr.iter_mut().for_each(|value| *value &= LOW);
        general.gpr[8..].fill(0);
        general.rip &= LOW;
    }
    general.rflags = Flags::from_bits_truncate(found.rflags as u32) & !(Flags::RF | Flags::IF) | Flags::FIXED;
    // A user process has interrupts enabled, whatever the setup says, and cannot change that.
    general.rflags.set(Flags::IF, before.contains(Flags::IF));
    (simd.vector, simd.mxcsr) = (found.vector, found.mxcsr);
    x87.top = (found.fsw >> 11) as u8 & 7;
    for (k, st) in found.st.iter().enumerate() {
        let physical = (usize::from(x87.top) + k) % 8;
        x87.r[physical] = Extended { significand: *st as u64, sign_exponent: (st >> 64) as u16 };
    }
    (x87.fcw, x87.fsw, x87.valid) = (found.fcw, found.fsw & !0x3800, found.valid as u8);
}

fn put_segments(state: &mut CpuState, setup: &Setup, case: &Case) -> Result<(), Unsuitable> {
    let before = &setup.state.segments.data;
    for (number, segment) in case.segments.iter().enumerate() {
        let now = &mut state.segments.data[number];
        if segment.after == segment.given {
            continue;
        }
        // Of the case's descriptors, whatever the privilege level that the selector asks for.
        let source = case
            .segments
            .iter()
            .position(|other| other.descriptor.flags != 0 && (other.given ^ segment.after) & !3 == 0);
        *now = match source {
            _ if segment.after < 4 => {
                arch::Segment { selector: segment.after, attr: 0, limit: 0, base: 0, unusable: true }
            }
            Some(source) => arch::Segment { selector: segment.after, ..before[source] },
            None => return unsuitable("a selector of the host's was loaded"),
        };
    }
    if case.long != 0 {
        state.segments.data[Seg::Fs as usize].base = case.registers.fs_base;
        state.segments.data[Seg::Gs as usize].base = case.registers.gs_base;
    }
    Ok(())
}
