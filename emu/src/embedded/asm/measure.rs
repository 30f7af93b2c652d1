//! The guest measures itself: the TSC against the PIT, then a loop against the TSC.

use super::{
    Data, Result, at,
    long::{Routines, say},
    port,
};
use iced_x86::code_asm::{CodeAssembler, qword_ptr, registers::*};

/// 50 ms of the PIT's 1.193182 MHz.
const PIT_TICKS: i32 = 59_659;
const PIT_MICROSECONDS: i32 = 50_000;
/// Reads of the port after which a PIT that has not counted down is taken for dead: seconds.
const PATIENCE: i32 = 50_000_000;
/// How long the loop must run to be worth believing.
const LOOP_MICROSECONDS: i32 = 100_000;
/// Iterations to begin with.
const ITERATIONS: i32 = 1 << 16;
/// Instructions in one iteration.
const LOOP_INSTRUCTIONS_LOG2: i32 = 3;

/// Assembles the routine `measure`.
pub fn routine(a: &mut CodeAssembler, data: &mut Data, routines: &mut Routines) -> Result<()> {
    let mut dead = a.create_label();
    a.set_label(&mut routines.measure)?;
    say(a, data, routines, "Clock           ")?;
    measure_clock(a, &mut dead)?;
    a.mov(qword_ptr(at::TSC_MHZ), rax)?;
    say(a, data, routines, "TSC at ")?;
    a.mov(rax, qword_ptr(at::TSC_MHZ))?;
    a.call(routines.number)?;
    say(a, data, routines, " MHz, measured with the PIT\nSpeed           ")?;
    measure_speed(a)?;
    a.call(routines.number)?;
    say(a, data, routines, " million instructions per second\n")?;
    a.ret()?;
    a.set_label(&mut dead)?;
    say(a, data, routines, "the PIT does not count, so nothing can be measured\n")?;
    a.ret()
}

/// RAX = the TSC's frequency in MHz, at least 1; goes to `dead` if the PIT does not count.
fn measure_clock(a: &mut CodeAssembler, dead: &mut iced_x86::code_asm::CodeLabel) -> Result<()> {
    let (mut wait, mut at_least_one) = (a.create_label(), a.create_label());
    // Gate on, speaker off.
    a.in_(al, port::SYSTEM_CONTROL_B)?;
    a.and(al, 0xFC)?;
    a.or(al, 1)?;
    a.out(port::SYSTEM_CONTROL_B, al)?;
    // Channel 2, both bytes, mode 0: the output goes high once when the count is over.
    a.mov(al, 0xB0)?;
    a.out(port::PIT_CONTROL, al)?;
    a.mov(al, PIT_TICKS & 0xFF)?;
    a.out(port::PIT_CHANNEL_2, al)?;
    a.mov(al, PIT_TICKS >> 8)?;
    a.out(port::PIT_CHANNEL_2, al)?;
    read_tsc(a)?;
    a.mov(r8, rax)?;
    a.mov(ecx, PATIENCE)?;
    a.set_label(&mut wait)?;
    a.dec(ecx)?;
    a.je(*dead)?;
    a.in_(al, port::SYSTEM_CONTROL_B)?;
    a.test(al, 0x20)?;
    a.je(wait)?;
    read_tsc(a)?;
    a.sub(rax, r8)?;
    a.xor(edx, edx)?;
    a.mov(ecx, PIT_MICROSECONDS)?;
    a.div(rcx)?;
    a.test(rax, rax)?;
    a.jne(at_least_one)?;
    a.inc(rax)?;
    a.set_label(&mut at_least_one)?;
    a.zero_bytes()
}

/// RAX = million instructions per second in a loop that is run longer and longer until it takes its time.
fn measure_speed(a: &mut CodeAssembler) -> Result<()> {
    let (mut longer, mut round) = (a.create_label(), a.create_label());
    a.mov(r8d, ITERATIONS)?;
    a.set_label(&mut longer)?;
    a.shl(r8, 1)?;
    read_tsc(a)?;
    a.mov(r9, rax)?;
    a.mov(rcx, r8)?;
    // Eight instructions: arithmetic, a store, a load, and a branch.
    a.set_label(&mut round)?;
    a.add(rax, rcx)?;
    a.xor(rbx, rax)?;
    a.mov(qword_ptr(at::TEXT), rbx)?;
    a.shr(rbx, 3)?;
    a.lea(rdx, rbx + rcx * 2)?;
    a.add(rax, qword_ptr(at::TEXT))?;
    a.dec(rcx)?;
    a.jne(round)?;
    read_tsc(a)?;
    a.sub(rax, r9)?;
    // Ticks that LOOP_MICROSECONDS have.
    a.mov(rcx, rax)?;
    a.imul_3(rdx, qword_ptr(at::TSC_MHZ), LOOP_MICROSECONDS)?;
    a.cmp(rcx, rdx)?;
    a.jb(longer)?;
    // instructions * MHz / ticks = instructions per microsecond
    a.mov(rax, r8)?;
    a.shl(rax, LOOP_INSTRUCTIONS_LOG2)?;
    a.mul(qword_ptr(at::TSC_MHZ))?;
    a.div(rcx)
}

/// RAX = TSC. Changes RDX.
fn read_tsc(a: &mut CodeAssembler) -> Result<()> {
    a.rdtsc()?;
    a.shl(rdx, 32)?;
    a.or(rax, rdx)
}
