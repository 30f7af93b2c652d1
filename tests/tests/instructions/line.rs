//! What has been executed, written as lines of the corpus.

use emu_core::arch::Flags;
use emu_harness::{
    corpus::Flag,
    native::{BASE, Registers, Result as Outcome},
};
use iced_x86::{FastFormatter, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register, RflagsBits};
use std::fmt::Write;

/// Names of the general-purpose registers.
pub const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Flags that the manual leaves undefined after `i`.
pub fn undefined_flags(i: &Instruction, before: &Registers) -> u64 {
    use Mnemonic as M;
    let bits = |flags: Flags| u64::from(flags.bits());
    let width = match i.op0_kind() {
        OpKind::Register => i.op0_register().size() as u64 * 8,
        _ => i.memory_size().size() as u64 * 8,
    };
    let last = i.op_count().saturating_sub(1);
    let count = match i.op_kind(last) {
        OpKind::Immediate8 => i.immediate8().into(),
        _ => before.gpr[1] & 0xFF,
    } & if width == 64 { 63 } else { 31 };
    match i.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shld | M::Shrd => {
            let rotates = matches!(i.mnemonic(), M::Rol | M::Ror | M::Rcl | M::Rcr);
            let mut undefined = Flags::empty();
            undefined.set(Flags::AF, count != 0 && !rotates);
            undefined.set(Flags::OF, count > 1);
            undefined.set(Flags::CF, count >= width && matches!(i.mnemonic(), M::Shl | M::Sal | M::Shr));
            if count > width && matches!(i.mnemonic(), M::Shld | M::Shrd) {
                undefined = Flags::ARITHMETIC;
            }
            bits(undefined)
        }
        _ => {
            let undefined = i.rflags_undefined();
            let pairs = [
                (RflagsBits::OF, Flags::OF),
                (RflagsBits::SF, Flags::SF),
                (RflagsBits::ZF, Flags::ZF),
                (RflagsBits::AF, Flags::AF),
                (RflagsBits::CF, Flags::CF),
                (RflagsBits::PF, Flags::PF),
            ];
            pairs.iter().filter(|(theirs, _)| undefined & theirs != 0).map(|(_, ours)| bits(*ours)).sum()
        }
    }
}

/// Disassembly as the corpus has it.
pub fn text_of(i: &Instruction) -> String {
    let mut text = String::new();
    FastFormatter::new().format(i, &mut text);
    text
}

/// A trial with what the host made of it. Addresses of 64-bit code are the host's, of other code offsets.
pub fn of_trial(
    bitness: u32,
    i: &Instruction,
    code: &[u8],
    before: &Registers,
    (data, old): (u64, &[u8]),
    outcome: &Outcome,
    new: &[u8],
) -> String {
    let mode = match bitness {
        16 => "c16/3",
        32 => "c32/3",
        _ => "64/3",
    };
    let hex =
        |bytes: &[u8], gap: &str| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(gap);
    let mut line = format!("{mode} | {} | {} |", hex(code, " "), text_of(i));
    let used = used_registers(i);
    let moves = i.flow_control() != iced_x86::FlowControl::Next;
    let after = &outcome.registers;
    let mut words = (String::new(), String::new());
    if moves {
        let _ = write!(words.0, " rip={:x}", before.rip);
        let _ = write!(words.1, " rip={:x}", after.rip);
    }
    for (k, name) in GENERAL.iter().enumerate() {
        if used & 1 << k != 0 && before.gpr[k] != 0 {
            let _ = write!(words.0, " {name}={:x}", before.gpr[k]);
        }
        if after.gpr[k] != before.gpr[k] {
            let _ = write!(words.1, " {name}={:x}", after.gpr[k]);
        }
    }
    let undefined = undefined_flags(i, before);
    for (_, name, bit) in
        Flag::ALL.iter().filter(|(flag, ..)| !matches!(flag, Flag::Tf | Flag::If | Flag::Rf))
    {
        let (was, is) = (before.rflags >> bit & 1, after.rflags >> bit & 1);
        if was != 0 {
            let _ = write!(words.0, " {name}");
        }
        match (undefined >> bit & 1, was, is) {
            (1, ..) => drop(write!(words.1, " ?{name}")),
            (_, 0, 1) => drop(write!(words.1, " {name}")),
            (_, 1, 0) => drop(write!(words.1, " !{name}")),
            _ => {}
        }
    }
    for k in 0..16 {
        if before.xmm[k] != 0 && i.op_count() > 0 && vector_used(i, k) {
            let _ = write!(words.0, " xmm{k}={:x}", before.xmm[k]);
        }
        if after.xmm[k] != before.xmm[k] {
            let _ = write!(words.1, " xmm{k}={:x}", after.xmm[k]);
        }
    }
    for k in 0..8 {
        let (was, is) = (before.st[k], after.st[k]);
        if was as u64 != 0 && register_used(i, Register::MM0 + k as u32) {
            let _ = write!(words.0, " mm{k}={:x}", was as u64);
        }
        if was != is {
            let _ = write!(words.1, " mm{k}={:x}", is as u64);
        }
    }
    if before.mxcsr != 0x1F80 && (0..16).any(|k| vector_used(i, k)) {
        let _ = write!(words.0, " mxcsr={:x}", before.mxcsr);
    }
    if before.mxcsr != after.mxcsr {
        let _ = write!(words.1, " mxcsr={:x}", after.mxcsr);
    }
    let origin = if bitness == 64 { BASE } else { 0 };
    for (at, len) in operands(i, before, data + origin, old.len()) {
        let _ = write!(words.0, " [{:x}]={}", data + origin + at as u64, hex(&old[at..at + len], ""));
    }
    if let Some(first) = (0..old.len()).find(|k| old[*k] != new[*k]) {
        let last = (0..old.len()).rfind(|k| old[*k] != new[*k]).unwrap_or(first);
        let _ = write!(words.1, " [{:x}]={}", data + origin + first as u64, hex(&new[first..=last], ""));
    }
    if let Some(exception) = outcome.exception {
        let _ = write!(words.1, " {exception}");
        if exception.vector == 14 {
            let _ = write!(words.1, " cr2={:x}", outcome.cr2 + origin - BASE);
        }
    }
    let _ = write!(line, "{} =>{}", words.0, words.1);
    line
}

/// Bit n: general-purpose register n is read or written.
fn used_registers(i: &Instruction) -> u32 {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(i).used_registers();
    used.iter()
        .filter(|u| u.register().is_gpr())
        .fold(0, |all, u| all | 1 << u.register().full_register().number())
}

fn vector_used(i: &Instruction, k: usize) -> bool {
    register_used(i, Register::XMM0 + k as u32)
}

fn register_used(i: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory.info(i).used_registers().iter().any(|used| used.register() == register)
}

/// Where memory operands, the stack and strings lie in the data: offsets and lengths.
fn operands(i: &Instruction, before: &Registers, start: u64, len: usize) -> Vec<(usize, usize)> {
    let mut factory = InstructionInfoFactory::new();
    let mut all = Vec::new();
    for used in factory.info(i).used_memory() {
        let address = used.virtual_address(0, |register, _, _| {
            let value = before.gpr.get(register.full_register().number()).copied().unwrap_or(0);
            let bits = 8 * register.size();
            Some(if register.is_segment_register() {
                0
            } else if bits < 64 {
                value & ((1 << bits) - 1)
            } else {
                value
            })
        });
        let Some(at) = address.and_then(|address| address.checked_sub(start)).map(|at| at as usize) else {
            continue;
        };
        let size = used.memory_size().size().max(1);
        let repeated = i.has_rep_prefix() || i.has_repne_prefix();
        let size = if repeated { size * before.gpr[1].clamp(1, 12) as usize } else { size };
        if at < len && all.iter().all(|(other, _)| *other != at) {
            all.push((at, size.min(len - at)));
        }
    }
    all
}
