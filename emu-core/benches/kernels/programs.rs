//! The programs. Each takes at least some ten thousand instructions, so that its start and end do not count.

use super::DATA;
use iced_x86::{IcedError, code_asm::*};

/// Pages that [`page_stride`] reads: twice as many as the TLB holds, each of its entries for two of them.
pub const PAGES_WALKED: u64 = 4096;
const WALKED: u64 = 16 << 20;

const STRING: u64 = 64 << 10;
const MOVES: u64 = 16;
/// Bytes that [`string_move`] writes.
pub const BYTES_MOVED: u64 = 2 * MOVES * STRING;
/// Bytes that [`string_compare`] looks at.
pub const BYTES_COMPARED: u64 = 2 * STRING;

const ROUNDS: u32 = 10_000;

type Built = Result<(), IcedError>;

/// Calls `body` between the start of a loop of `rounds` by ECX and its end.
fn repeat(a: &mut CodeAssembler, rounds: u32, body: impl FnOnce(&mut CodeAssembler) -> Built) -> Built {
    let mut again = a.create_label();
    a.mov(ecx, rounds)?;
    a.set_label(&mut again)?;
    body(a)?;
    a.dec(ecx)?;
    a.jnz(again)
}

/// 4000 pieces of code as compilers make it, some 200 KiB, each executed once: with an empty cache nearly all
/// of the time goes into finding, decoding and linking blocks.
pub fn functions(a: &mut CodeAssembler) -> Built {
    a.mov(rdi, DATA)?;
    for piece in 0..4000 {
        let (mut found, mut small) = (a.create_label(), a.create_label());
        a.push(rbx)?;
        a.sub(rsp, 0x20)?;
        a.mov(rax, qword_ptr(rdi + 8 * (piece % 64)))?;
        a.mov(qword_ptr(rsp + 8), rdi)?;
        a.test(rax, rax)?;
        a.jz(found)?;
        a.mov(rax, qword_ptr(rax + 8))?;
        a.set_label(&mut found)?;
        a.lea(rcx, qword_ptr(rax + rax * 4 + piece))?;
        a.movzx(edx, cl)?;
        a.and(ecx, 0xFFF)?;
        a.xor(ebx, ebx)?;
        a.cmp(edx, piece % 256)?;
        a.jne(small)?;
        a.mov(ebx, dword_ptr(rdi + rcx * 4))?;
        a.imul_2(ebx, edx)?;
        a.set_label(&mut small)?;
        a.add(ebx, 1)?;
        a.mov(dword_ptr(rdi + 0x1000), ebx)?;
        a.add(rsp, 0x20)?;
        a.pop(rbx)?;
    }
    Ok(())
}

/// Instructions on registers with a branch taken every other time.
pub fn branches(a: &mut CodeAssembler) -> Built {
    repeat(a, ROUNDS, |a| {
        let mut even = a.create_label();
        a.lea(eax, dword_ptr(rax + rcx * 2))?;
        a.xor(edx, eax)?;
        a.shr(edx, 3)?;
        a.test(cl, 1)?;
        a.jz(even)?;
        a.add(ebx, edx)?;
        a.set_label(&mut even)?;
        a.sub(esi, ebx)
    })
}

/// Calls through a table of four functions.
pub fn indirect_calls(a: &mut CodeAssembler) -> Built {
    let mut start = a.create_label();
    let mut functions = [a.create_label(), a.create_label(), a.create_label(), a.create_label()];
    a.jmp(start)?;
    for (function, addend) in functions.iter_mut().zip(1..) {
        a.set_label(function)?;
        a.add(ebx, addend)?;
        a.ret()?;
    }
    a.set_label(&mut start)?;
    a.mov(rdi, DATA)?;
    for (function, place) in functions.into_iter().zip((0..).step_by(8)) {
        a.lea(rax, ptr(function))?;
        a.mov(qword_ptr(rdi + place), rax)?;
    }
    repeat(a, ROUNDS, |a| {
        a.mov(eax, ecx)?;
        a.and(eax, 3)?;
        a.call(qword_ptr(rdi + rax * 8))
    })
}

/// Fibonacci's 18th number, in the slow way.
pub fn recursion(a: &mut CodeAssembler) -> Built {
    let (mut fib, mut base, mut over) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(edi, 18)?;
    a.call(fib)?;
    a.jmp(over)?;
    a.set_label(&mut fib)?;
    a.cmp(edi, 2)?;
    a.jb(base)?;
    a.push(rdi)?;
    a.dec(edi)?;
    a.call(fib)?;
    a.pop(rdi)?;
    a.push(rax)?;
    a.sub(edi, 2)?;
    a.call(fib)?;
    a.pop(rdx)?;
    a.add(rax, rdx)?;
    a.ret()?;
    a.set_label(&mut base)?;
    a.mov(eax, edi)?;
    a.ret()?;
    a.set_label(&mut over)?;
    a.nop()
}

/// Loads, stores and an update at a base and a displacement, in two pages.
pub fn at_base(a: &mut CodeAssembler) -> Built {
    a.mov(rsi, DATA)?;
    repeat(a, ROUNDS, |a| {
        a.mov(rax, qword_ptr(rsi))?;
        a.mov(edx, dword_ptr(rsi + 0x1010))?;
        a.mov(qword_ptr(rsi + 8), rax)?;
        a.mov(dword_ptr(rsi + 0x1020), edx)?;
        a.movzx(ebx, byte_ptr(rsi + 0x30))?;
        a.add(rax, qword_ptr(rsi + 0x1040))?;
        a.add(dword_ptr(rsi + 0x50), eax)
    })
}

/// The same with a scaled index, which runs through 20 pages.
pub fn at_scaled(a: &mut CodeAssembler) -> Built {
    a.mov(rsi, DATA)?;
    repeat(a, ROUNDS, |a| {
        a.mov(rax, qword_ptr(rsi + rcx * 8))?;
        a.mov(edx, dword_ptr(rsi + rcx * 4 + 0x20_0000))?;
        a.mov(qword_ptr(rsi + rcx * 8), rax)?;
        a.mov(dword_ptr(rsi + rcx * 4 + 0x20_0000), edx)?;
        a.movzx(ebx, byte_ptr(rsi + rcx * 1 + 0x30_0000))?;
        a.add(rax, qword_ptr(rsi + rcx * 8))?;
        a.add(dword_ptr(rsi + rcx * 4), eax)
    })
}

/// One load from each of many pages.
pub fn page_stride(a: &mut CodeAssembler) -> Built {
    a.mov(rsi, WALKED)?;
    repeat(a, PAGES_WALKED as u32, |a| {
        a.add(rax, qword_ptr(rsi))?;
        a.add(rsi, 0x1000)
    })
}

/// REP MOVSB and REP STOSQ of 64 KiB.
pub fn string_move(a: &mut CodeAssembler) -> Built {
    let mut again = a.create_label();
    a.mov(edx, MOVES as u32)?;
    a.set_label(&mut again)?;
    a.mov(rsi, DATA)?;
    a.mov(rdi, DATA + STRING)?;
    a.mov(ecx, STRING as u32)?;
    a.rep().movsb()?;
    a.mov(ecx, (STRING / 8) as u32)?;
    a.xor(eax, eax)?;
    a.rep().stosq()?;
    a.dec(edx)?;
    a.jnz(again)
}

/// REPNE SCASB and REPE CMPSB of 64 KiB, without a hit.
pub fn string_compare(a: &mut CodeAssembler) -> Built {
    a.mov(rdi, DATA)?;
    a.mov(ecx, STRING as u32)?;
    a.mov(eax, 1)?;
    a.repne().scasb()?;
    a.mov(rsi, DATA)?;
    a.mov(rdi, DATA + STRING)?;
    a.mov(ecx, STRING as u32)?;
    a.repe().cmpsb()
}

/// Scalar doubles, in registers and from memory.
pub fn float(a: &mut CodeAssembler) -> Built {
    a.mov(rsi, DATA)?;
    a.mov(eax, 3)?;
    a.cvtsi2sd(xmm0, eax)?;
    a.cvtsi2sd(xmm1, eax)?;
    a.movsd_2(qword_ptr(rsi), xmm0)?;
    repeat(a, ROUNDS, |a| {
        a.movsd_2(xmm2, qword_ptr(rsi))?;
        a.mulsd(xmm1, xmm0)?;
        a.addsd(xmm1, qword_ptr(rsi))?;
        a.divsd(xmm1, xmm2)?;
        a.ucomisd(xmm1, xmm0)?;
        a.cvttsd2si(edx, xmm1)?;
        a.movsd_2(qword_ptr(rsi + 8), xmm1)
    })
}

/// Packed integers, in registers and from memory.
pub fn vector(a: &mut CodeAssembler) -> Built {
    a.mov(rsi, DATA)?;
    repeat(a, ROUNDS, |a| {
        a.movdqu(xmm0, xmmword_ptr(rsi))?;
        a.paddd(xmm1, xmm0)?;
        a.pxor(xmm2, xmmword_ptr(rsi + 0x20))?;
        a.pshufd(xmm3, xmm1, 0x1B)?;
        a.pcmpeqb(xmm3, xmm2)?;
        a.pmovmskb(edx, xmm3)?;
        a.movdqa(xmmword_ptr(rsi + 0x10), xmm1)
    })
}
