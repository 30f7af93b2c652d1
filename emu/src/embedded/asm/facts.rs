//! What the guest finds: processor, features, how many processors, memory.

use super::{
    Data, Result, at,
    long::{Routines, say, say_character},
};
use iced_x86::code_asm::{CodeAssembler, byte_ptr, dword_ptr, qword_ptr, registers::*, word_ptr};

/// Features worth telling: leaf, sub-leaf 0, register (EAX, EBX, ECX, EDX: 0 to 3), bit, name.
const FEATURES: [(u32, u8, u8, &str); 24] = [
    (1, 3, 0, "fpu"),
    (1, 3, 4, "tsc"),
    (1, 3, 8, "cx8"),
    (1, 3, 23, "mmx"),
    (1, 3, 25, "sse"),
    (1, 3, 26, "sse2"),
    (1, 2, 0, "sse3"),
    (1, 2, 9, "ssse3"),
    (1, 2, 19, "sse4.1"),
    (1, 2, 20, "sse4.2"),
    (1, 2, 13, "cx16"),
    (1, 2, 23, "popcnt"),
    (1, 2, 25, "aes"),
    (1, 2, 26, "xsave"),
    (1, 2, 28, "avx"),
    (1, 2, 12, "fma"),
    (1, 2, 30, "rdrand"),
    (7, 1, 3, "bmi1"),
    (7, 1, 5, "avx2"),
    (7, 1, 8, "bmi2"),
    (7, 1, 29, "sha"),
    (0x8000_0001, 3, 11, "syscall"),
    (0x8000_0001, 3, 20, "nx"),
    (0x8000_0001, 3, 29, "lm"),
];
/// Size of a feature's row in the table: leaf, name, register, bit, padding.
const ROW: usize = 8;

/// Vendor and brand, from CPUID leaves 0 and 8000_0002 to 8000_0004.
pub fn tell_processor(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    say(a, data, routines, "Processor       ")?;
    a.xor(eax, eax)?;
    a.cpuid()?;
    a.mov(edi, at::TEXT as i32)?;
    a.mov(dword_ptr(rdi), ebx)?;
    a.mov(dword_ptr(rdi + 4), edx)?;
    a.mov(dword_ptr(rdi + 8), ecx)?;
    a.mov(byte_ptr(rdi + 12), 0)?;
    a.mov(esi, edi)?;
    a.call(routines.print)?;

    let (mut part, mut skip, mut print, mut none) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    a.mov(eax, 0x8000_0000u32 as i32)?;
    a.cpuid()?;
    a.cmp(eax, 0x8000_0004u32 as i32)?;
    a.jb(none)?;
    say(a, data, routines, ", ")?;
    a.mov(edi, at::TEXT as i32)?;
    a.mov(r8d, 0x8000_0002u32 as i32)?;
    a.set_label(&mut part)?;
    a.mov(eax, r8d)?;
    a.cpuid()?;
    a.mov(dword_ptr(rdi), eax)?;
    a.mov(dword_ptr(rdi + 4), ebx)?;
    a.mov(dword_ptr(rdi + 8), ecx)?;
    a.mov(dword_ptr(rdi + 12), edx)?;
    a.add(rdi, 16)?;
    a.inc(r8d)?;
    a.cmp(r8d, 0x8000_0004u32 as i32)?;
    a.jbe(part)?;
    a.mov(byte_ptr(rdi), 0)?;
    // Some processors pad their brand with spaces in front.
    a.mov(esi, at::TEXT as i32 - 1)?;
    a.set_label(&mut skip)?;
    a.inc(rsi)?;
    a.cmp(byte_ptr(rsi), ' ' as i32)?;
    a.je(skip)?;
    a.set_label(&mut print)?;
    a.call(routines.print)?;
    a.set_label(&mut none)?;
    say(a, data, routines, "\n")
}

/// The features of [`FEATURES`] that CPUID reports.
pub fn tell_features(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    let mut table = Vec::new();
    for (leaf, register, bit, name) in FEATURES {
        let name = data.text(name) as u16;
        table.extend(leaf.to_le_bytes());
        table.extend(name.to_le_bytes());
        table.extend([register, bit]);
    }
    let table = data.place(&table);
    let (mut row, mut next) = (a.create_label(), a.create_label());
    say(a, data, routines, "Features       ")?;
    a.mov(r8d, table)?;
    a.set_label(&mut row)?;
    // A leaf beyond the highest of its range answers with something else: ask for the highest first.
    a.mov(eax, dword_ptr(r8))?;
    a.and(eax, i32::MIN)?;
    a.cpuid()?;
    a.cmp(eax, dword_ptr(r8))?;
    a.jb(next)?;
    a.mov(eax, dword_ptr(r8))?;
    a.xor(ecx, ecx)?;
    a.cpuid()?;
    a.mov(edi, at::TEXT as i32)?;
    a.mov(dword_ptr(rdi), eax)?;
    a.mov(dword_ptr(rdi + 4), ebx)?;
    a.mov(dword_ptr(rdi + 8), ecx)?;
    a.mov(dword_ptr(rdi + 12), edx)?;
    a.movzx(eax, byte_ptr(r8 + 6))?;
    a.movzx(ecx, byte_ptr(r8 + 7))?;
    a.mov(eax, dword_ptr(rdi + rax * 4))?;
    a.bt(eax, ecx)?;
    a.jae(next)?;
    say_character(a, routines, ' ')?;
    a.movzx(esi, word_ptr(r8 + 4))?;
    a.call(routines.print)?;
    a.set_label(&mut next)?;
    a.add(r8, ROW as i32)?;
    a.cmp(r8, table + (FEATURES.len() * ROW) as i32)?;
    a.jb(row)?;
    say(a, data, routines, "\n")
}

/// The number of processors: enabled ones in the ACPI MADT, or what CMOS 0x5F says if there is none.
pub fn tell_processors(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    const BIOS_START: i32 = 0xE_0000;
    const BIOS_END: i32 = 0x10_0000;
    let mut scan = a.create_label();
    let (mut found, mut table, mut walk, mut entry, mut x2apic, mut count, mut skip) = (
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
    );
    let (mut no_acpi, mut tell, mut rsdt) = (a.create_label(), a.create_label(), a.create_label());
    say(a, data, routines, "Processors      ")?;

    // The RSDP is on a 16-byte boundary of the BIOS area.
    a.mov(rcx, u64::from_le_bytes(*b"RSD PTR "))?;
    a.mov(esi, BIOS_START)?;
    a.set_label(&mut scan)?;
    a.cmp(qword_ptr(rsi), rcx)?;
    a.je(found)?;
    a.add(esi, 16)?;
    a.cmp(esi, BIOS_END)?;
    a.jb(scan)?;
    a.jmp(no_acpi)?;

    // R8: first entry of the XSDT or RSDT, R9: its end, R10: size of an entry.
    a.set_label(&mut found)?;
    a.mov(r10d, 4)?;
    a.mov(r8d, dword_ptr(rsi + 16))?;
    a.cmp(byte_ptr(rsi + 15), 2)?;
    a.jb(rsdt)?;
    a.mov(r10d, 8)?;
    a.mov(r8, qword_ptr(rsi + 24))?;
    a.set_label(&mut rsdt)?;
    a.mov(r9d, dword_ptr(r8 + 4))?;
    a.add(r9, r8)?;
    a.add(r8, 36)?;
    a.set_label(&mut table)?;
    a.cmp(r8, r9)?;
    a.jae(no_acpi)?;
    // Tables are below 4 GiB, so the low half of an 8-byte entry is all of it.
    a.mov(esi, dword_ptr(r8))?;
    a.add(r8, r10)?;
    a.cmp(dword_ptr(rsi), i32::from_le_bytes(*b"APIC"))?;
    a.jne(table)?;

    // RSI: entry of the MADT, R9: its end, EAX: processors so far.
    a.set_label(&mut walk)?;
    a.mov(r9d, dword_ptr(rsi + 4))?;
    a.add(r9, rsi)?;
    a.add(rsi, 44)?;
    a.xor(eax, eax)?;
    a.set_label(&mut entry)?;
    a.lea(rdx, rsi + 2)?;
    a.cmp(rdx, r9)?;
    a.ja(tell)?;
    // Processor local APIC: flags at 4; processor local x2APIC: flags at 8. Bit 0: enabled.
    a.mov(edx, dword_ptr(rsi + 4))?;
    a.cmp(byte_ptr(rsi), 0)?;
    a.je(count)?;
    a.cmp(byte_ptr(rsi), 9)?;
    a.je(x2apic)?;
    a.jmp(skip)?;
    a.set_label(&mut x2apic)?;
    a.mov(edx, dword_ptr(rsi + 8))?;
    a.set_label(&mut count)?;
    a.and(edx, 1)?;
    a.add(eax, edx)?;
    a.set_label(&mut skip)?;
    a.movzx(edx, byte_ptr(rsi + 1))?;
    // An entry without a length would keep us here for ever.
    a.test(edx, edx)?;
    a.je(tell)?;
    a.add(rsi, rdx)?;
    a.jmp(entry)?;

    let mut done = a.create_label();
    a.set_label(&mut tell)?;
    a.call(routines.number)?;
    say(a, data, routines, ", says ACPI\n")?;
    a.jmp(done)?;
    a.set_label(&mut no_acpi)?;
    a.mov(al, 0x5F)?;
    a.call(routines.cmos)?;
    a.inc(eax)?;
    a.call(routines.number)?;
    say(a, data, routines, ", says CMOS\n")?;
    a.set_label(&mut done)?;
    a.zero_bytes()
}

/// Memory below and above 4 GiB, in MiB, from CMOS.
pub fn tell_memory(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    say(a, data, routines, "Memory          ")?;
    // R8: units of 64 KiB above 16 MiB; R9: units of 64 KiB above 4 GiB.
    for (register, cmos) in [(r8, &[0x35, 0x34][..]), (r9, &[0x5D, 0x5C, 0x5B][..])] {
        a.xor(r10d, r10d)?;
        for &index in cmos {
            a.mov(al, index)?;
            a.call(routines.cmos)?;
            a.shl(r10, 8)?;
            a.or(r10, rax)?;
        }
        a.mov(register, r10)?;
    }
    let (mut large, mut small) = (a.create_label(), a.create_label());
    let mut done = a.create_label();
    a.test(r8, r8)?;
    a.je(small)?;
    a.lea(rax, r8 + r9)?;
    a.shr(rax, 4)?;
    a.add(rax, 16)?;
    a.jmp(large)?;
    // At most 16 MiB: 0x30, 0x31 in KiB above 1 MiB.
    a.set_label(&mut small)?;
    a.mov(al, 0x31)?;
    a.call(routines.cmos)?;
    a.mov(r10d, eax)?;
    a.mov(al, 0x30)?;
    a.call(routines.cmos)?;
    a.shl(r10d, 8)?;
    a.or(eax, r10d)?;
    a.shr(eax, 10)?;
    a.inc(eax)?;
    a.set_label(&mut large)?;
    a.call(routines.number)?;
    say(a, data, routines, " MiB")?;
    a.test(r9, r9)?;
    a.je(done)?;
    say(a, data, routines, ", of it ")?;
    a.mov(rax, r9)?;
    a.shr(rax, 4)?;
    a.call(routines.number)?;
    say(a, data, routines, " MiB above 4 GiB")?;
    a.set_label(&mut done)?;
    say(a, data, routines, "\n")
}
