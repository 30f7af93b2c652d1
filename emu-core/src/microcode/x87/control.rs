//! FLDCW, FNSTCW, FNSTSW, FNINIT, FNCLEX, FINCSTP, FDECSTP, FFREE, FFREEP, FNOP, WAIT and EMMS. SDM vol. 1,
//! 8.3.10 and 9.4.7. FNENI, FNDISI and FNSETPM do nothing since the 387.

use super::{
    soft::{
        ControlWord,
        status::{C1, CONDITIONS},
    },
    stack::{check_pending, note, summarize},
};
use crate::{
    arch::{Exception, Width},
    cpu::Cpu,
    decode::{Insn, Kind},
};

type Done = Result<(), Exception>;

/// The control word as the register holds what was written: bit 6 set, reserved bits clear, the infinity
/// control kept.
pub const fn control_word(written: u16) -> u16 {
    written & 0x1F3F | 0x40
}

/// FLDCW.
pub fn fldcw(cpu: &mut Cpu, i: &Insn) -> Done {
    let written = cpu.read_operand(i, Width::W16, 0)? as u16;
    cpu.x87.fcw = control_word(written);
    summarize(cpu);
    Ok(())
}

/// FNSTCW.
pub fn fnstcw(cpu: &mut Cpu, i: &Insn) -> Done {
    cpu.write_operand(i, Width::W16, 0, cpu.x87.fcw.into())
}

/// FNSTSW: m2byte, AX.
pub fn fnstsw(cpu: &mut Cpu, i: &Insn) -> Done {
    let status = cpu.x87.status().into();
    if i.kind[0] == Kind::Mem {
        return cpu.write_operand(i, Width::W16, 0, status);
    }
    cpu.set_reg(Width::W16, i.reg[0], status);
    Ok(())
}

/// The state that FNINIT and FNSAVE leave. The registers' contents stay.
pub fn initialize(cpu: &mut Cpu) {
    let x87 = &mut cpu.x87;
    x87.fcw = ControlWord::INITIAL.0;
    (x87.top, x87.valid, x87.fop) = (0, 0, 0);
    (x87.fip, x87.fcs, x87.fdp, x87.fds) = (0, 0, 0, 0);
    x87.fsw &= !CONDITIONS;
    clear_exceptions(cpu);
}

/// FNINIT.
pub fn fninit(cpu: &mut Cpu, _: &Insn) -> Done {
    initialize(cpu);
    Ok(())
}

fn clear_exceptions(cpu: &mut Cpu) {
    // All six flags and the stack fault; ES and B follow, and FERR# with them.
    cpu.x87.fsw &= !0x7F;
    summarize(cpu);
}

/// FNCLEX.
pub fn fnclex(cpu: &mut Cpu, _: &Insn) -> Done {
    clear_exceptions(cpu);
    Ok(())
}

fn rotate(cpu: &mut Cpu, i: &Insn, by: u8) -> Done {
    note(cpu, i);
    cpu.x87.top = cpu.x87.top.wrapping_add(by) & 7;
    cpu.x87.fsw &= !C1;
    Ok(())
}

/// FINCSTP.
pub fn fincstp(cpu: &mut Cpu, i: &Insn) -> Done {
    rotate(cpu, i, 1)
}
/// FDECSTP.
pub fn fdecstp(cpu: &mut Cpu, i: &Insn) -> Done {
    rotate(cpu, i, 7)
}
/// FFREE.
pub fn ffree(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    cpu.x87.free(i.reg[0]);
    Ok(())
}
/// FFREEP: FFREE, and pop.
pub fn ffreep(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    cpu.x87.free(i.reg[0]);
    cpu.x87.pop();
    Ok(())
}
/// FNOP.
pub fn fnop(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    Ok(())
}
/// FNENI, FNDISI, FNSETPM.
pub fn ignored(_: &mut Cpu, _: &Insn) -> Done {
    Ok(())
}

/// WAIT: #NM only if both CR0.MP and CR0.TS are set; then a pending exception.
pub fn wait(cpu: &mut Cpu, _: &Insn) -> Done {
    if cpu.mode.wait_unavailable() {
        return Err(Exception::NM);
    }
    check_pending(cpu)
}

/// EMMS: all registers empty.
pub fn emms(cpu: &mut Cpu, _: &Insn) -> Done {
    (cpu.x87.valid, cpu.x87.top) = (0, 0);
    Ok(())
}
