//! Near jumps, calls, returns, conditional jumps and loops. SDM vol. 1, 7.3.8.
//!
//! Flags: none is touched.

use super::{condition::condition, run};
use crate::{
    arch::{Seg, Width},
    cpu::slot,
    decode::{Insn, Kind},
    semantics::{AnyForm, Attr, Emitter, Form, Memory, Row, Semantics, Step, operand::read, row},
};
use iced_x86::Mnemonic;
use std::marker::PhantomData;

/// Jcc with condition code `CC`.
pub struct Jcc<const CC: u8>;

impl<const CC: u8> Semantics for Jcc<CC> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let taken = condition(e, CC);
        e.jump_if(taken, i)
    }
}

/// JMP rel.
pub struct Jump;

impl Semantics for Jump {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        e.jump(i)
    }
}

/// RIP of the next instruction, as pushed by a call.
#[inline(always)]
fn return_address<E: Emitter>(e: &mut E, i: &Insn, w: Width) -> E::Value {
    let base = e.rip_base();
    let distance = e.constant(u64::from(i.off) + u64::from(i.len));
    let next = e.add(Width::W64, base, distance);
    e.truncate(w, next)
}

/// CALL rel.
pub struct Call<F>(PhantomData<F>);

impl<F: Form> Semantics for Call<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let next = return_address(e, i, w);
        e.jump(i)?;
        super::stack::push::<E, F>(e, i, w, next)
    }
}

/// JMP r/m.
pub struct JumpTo<F>(PhantomData<F>);

impl<F: Form> Semantics for JumpTo<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let target = read::<E, F>(e, i, 0)?;
        e.jump_to(i, target)
    }
}

/// CALL r/m.
pub struct CallTo<F>(PhantomData<F>);

impl<F: Form> Semantics for CallTo<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let target = read::<E, F>(e, i, 0)?;
        let next = return_address(e, i, w);
        e.jump_to(i, target)?;
        super::stack::push::<E, F>(e, i, w, next)
    }
}

/// RET and RET imm16.
pub struct Ret<F>(PhantomData<F>);

impl<F: Form> Semantics for Ret<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::implied_width(i);
        let sp_width = F::stack_width(i);
        let sp_at = slot::byte_offset(slot::RSP);
        let sp = e.gpr(sp_width, sp_at);
        let target = e.load_at(Seg::Ss, sp, w)?;
        e.jump_to(i, target)?;
        let parameters = if i.kind[0] == Kind::Imm { i.imm & 0xFFFF } else { 0 };
        let drop = e.constant(w.bytes() + parameters);
        let sp = e.add(sp_width, sp, drop);
        e.set_gpr(sp_width, sp_at, sp);
        Ok(())
    }
}

impl Insn {
    /// Operand size of an instruction that has no operand to tell it: the decoder leaves it in `imm2`.
    #[inline(always)]
    pub fn imm2_width(&self) -> Width {
        match self.imm2 {
            1 => Width::W16,
            2 => Width::W32,
            _ => Width::W64,
        }
    }
}

/// Count register of LOOP and JCXZ, by address size.
fn count_width(i: &Insn) -> Width {
    i.asize
}

/// LOOP (`KIND` 0), LOOPE (1), LOOPNE (2).
fn loop_while<E: Emitter, const KIND: u8>(e: &mut E, i: &Insn) -> Step<E> {
    let w = count_width(i);
    let at = slot::byte_offset(slot::RCX);
    let count = e.gpr(w, at);
    let one = e.constant(1);
    let count = e.sub(w, count, one);
    let done = e.is_zero(count);
    let mut taken = e.negate(done);
    if KIND != 0 {
        let wanted = condition(e, if KIND == 1 { 4 } else { 5 });
        taken = e.both(taken, wanted);
    }
    e.jump_if(taken, i)?;
    e.set_gpr(w, at, count);
    Ok(())
}

/// JCXZ, JECXZ, JRCXZ.
fn jump_if_count_zero<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let count = e.gpr(count_width(i), slot::byte_offset(slot::RCX));
    let zero = e.is_zero(count);
    e.jump_if(zero, i)
}

/// What a block that just stops ends in: on to the next instruction. Whether that is within the limit of CS is
/// the next instruction's affair.
pub struct NextBlock;

impl Semantics for NextBlock {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let never = e.known(false);
        e.jump_if(never, i)
    }
}

/// NOP and hints without effect. FNOP is not one.
fn nop<E: Emitter>(_: &mut E, _: &Insn) -> Result<(), <E as Memory>::Fault> {
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let jcc = |mnemonic, run| row::<E>(mnemonic, run).with(Attr::BRANCH);
    vec![
        jcc(Mnemonic::Jo, run::<E, Jcc<0>>),
        jcc(Mnemonic::Jno, run::<E, Jcc<1>>),
        jcc(Mnemonic::Jb, run::<E, Jcc<2>>),
        jcc(Mnemonic::Jae, run::<E, Jcc<3>>),
        jcc(Mnemonic::Je, run::<E, Jcc<4>>),
        jcc(Mnemonic::Jne, run::<E, Jcc<5>>),
        jcc(Mnemonic::Jbe, run::<E, Jcc<6>>),
        jcc(Mnemonic::Ja, run::<E, Jcc<7>>),
        jcc(Mnemonic::Js, run::<E, Jcc<8>>),
        jcc(Mnemonic::Jns, run::<E, Jcc<9>>),
        jcc(Mnemonic::Jp, run::<E, Jcc<10>>),
        jcc(Mnemonic::Jnp, run::<E, Jcc<11>>),
        jcc(Mnemonic::Jl, run::<E, Jcc<12>>),
        jcc(Mnemonic::Jge, run::<E, Jcc<13>>),
        jcc(Mnemonic::Jle, run::<E, Jcc<14>>),
        jcc(Mnemonic::Jg, run::<E, Jcc<15>>),
        jcc(Mnemonic::Loop, loop_while::<E, 0>),
        jcc(Mnemonic::Loope, loop_while::<E, 1>),
        jcc(Mnemonic::Loopne, loop_while::<E, 2>),
        jcc(Mnemonic::Jcxz, jump_if_count_zero::<E>),
        jcc(Mnemonic::Jecxz, jump_if_count_zero::<E>),
        jcc(Mnemonic::Jrcxz, jump_if_count_zero::<E>),
        // Forms of JMP and CALL through a register or memory have rows of their own below.
        jcc(Mnemonic::Jmp, run::<E, Jump>),
        jcc(Mnemonic::Call, run::<E, Call<AnyForm>>).with(Attr::CALL),
        jcc(Mnemonic::Zero_bytes, run::<E, NextBlock>),
        row(Mnemonic::Ret, run::<E, Ret<AnyForm>>).with(Attr::INDIRECT | Attr::RETURN),
        indirect(iced_x86::Code::Jmp_rm16, run::<E, JumpTo<AnyForm>>),
        indirect(iced_x86::Code::Jmp_rm32, run::<E, JumpTo<AnyForm>>),
        indirect(iced_x86::Code::Jmp_rm64, run::<E, JumpTo<AnyForm>>),
        indirect(iced_x86::Code::Call_rm16, run::<E, CallTo<AnyForm>>).with(Attr::CALL),
        indirect(iced_x86::Code::Call_rm32, run::<E, CallTo<AnyForm>>).with(Attr::CALL),
        indirect(iced_x86::Code::Call_rm64, run::<E, CallTo<AnyForm>>).with(Attr::CALL),
        row(Mnemonic::Nop, nop::<E>),
        row(Mnemonic::Pause, nop::<E>).with(Attr::ENDS_BLOCK),
        row(Mnemonic::Endbr32, nop::<E>),
        row(Mnemonic::Endbr64, nop::<E>),
        row(Mnemonic::Rdsspd, nop::<E>),
        row(Mnemonic::Rdsspq, nop::<E>),
        row(Mnemonic::Reservednop, nop::<E>),
        row(Mnemonic::Lfence, nop::<E>),
        row(Mnemonic::Sfence, nop::<E>),
        row(Mnemonic::Mfence, fence::<E>),
        row(Mnemonic::Serialize, nop::<E>).with(Attr::ENDS_BLOCK),
    ]
}

fn indirect<E: Emitter>(code: iced_x86::Code, run: fn(&mut E, &Insn) -> Step<E>) -> Row<E> {
    crate::semantics::form(code, run).with(Attr::INDIRECT)
}

/// MFENCE: earlier stores are visible to other CPUs before later loads.
fn fence<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    e.helper(i, |_, _| {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        Ok(())
    })
}
