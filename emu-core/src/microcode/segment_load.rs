//! Loading of data-segment registers: MOV and POP to them, LDS, LES, LFS, LGS, LSS; and MOV and PUSH from them.
//! SDM vol. 3, 3.4.3, 3.4.4, 5.5 and 5.6; CS is loaded by far transfers alone.
//!
//! In real mode a load changes selector and base; limit and rights stay what they were ("unreal" mode). In
//! 64-bit mode a null selector in FS or GS clears the base.

use super::{
    descriptor::{Descriptor, fetch, is_null, rpl},
    stack::Stack,
    vm86,
};
use crate::{
    arch::{Exception, Seg, Segment, Width, attr, vector},
    cpu::{Cpu, slot},
    cpu_model::Generation,
    decode::{Insn, Kind},
    semantics::{Attr, Emitter, Row, microcode_form},
};
use iced_x86::Code;

/// A register loaded with a null selector. `level` is the privilege level that SS keeps; 0 for the others.
pub const fn null_segment(selector: u16, level: u8) -> Segment {
    Segment { selector, attr: (level as u16) << attr::DPL_SHIFT, limit: 0, base: 0, unusable: true }
}

/// Replaces a segment register; the caller then calls [`Cpu::level_changed`].
pub fn put(cpu: &mut Cpu, seg: Seg, segment: Segment) {
    cpu.segments.data[seg as usize] = segment;
    // The slots of the others are the mode's to set.
    if matches!(seg, Seg::Fs | Seg::Gs) {
        cpu.regs[usize::from(slot::SEGMENT_BASE) + seg as usize] = segment.base;
    }
}

/// What `seg` holds after `selector` is loaded in real or virtual-8086 mode.
pub fn real_or_vm86(cpu: &Cpu, seg: Seg, selector: u16) -> Segment {
    let old = *cpu.seg(seg);
    if cpu.mode.is_vm86() {
        vm86::segment(selector)
    } else if old.unusable {
        Segment::real(selector)
    } else {
        Segment { selector, base: u64::from(selector) << 4, ..old }
    }
}

/// Loads ES, SS, DS, FS or GS.
pub fn load(cpu: &mut Cpu, seg: Seg, selector: u16) -> Result<(), Exception> {
    let segment = if cpu.mode.is_real_or_vm86() {
        real_or_vm86(cpu, seg, selector)
    } else if seg == Seg::Ss {
        stack_segment(cpu, selector)?
    } else if is_null(selector) {
        null_segment(selector, 0)
    } else {
        data_segment(cpu, selector)?
    };
    put(cpu, seg, segment);
    cpu.level_changed();
    Ok(())
}

fn stack_segment(cpu: &mut Cpu, selector: u16) -> Result<Segment, Exception> {
    if is_null(selector) {
        let allowed = cpu.mode.is_64bit() && cpu.cpl < 3 && rpl(selector) == cpu.cpl;
        return if allowed { Ok(null_segment(selector, cpu.cpl)) } else { Err(Exception::GP0) };
    }
    let descriptor = fetch(cpu, selector, vector::GP)?;
    checked_stack(cpu, selector, &descriptor, cpu.cpl, vector::GP)
}

/// Checks `descriptor` as the stack of privilege level `level` and marks it accessed. Violations raise
/// `vector` with the selector, absence #SS.
pub fn checked_stack(
    cpu: &mut Cpu,
    selector: u16,
    descriptor: &Descriptor,
    level: u8,
    vector: u8,
) -> Result<Segment, Exception> {
    if rpl(selector) != level || descriptor.dpl() != level || !descriptor.is_writable_data() {
        return Err(Exception::Code(vector, u32::from(selector) & 0xFFFC));
    }
    if !descriptor.present() {
        return Err(Exception::ss(selector));
    }
    descriptor.mark_accessed(cpu)?;
    Ok(descriptor.segment(selector))
}

fn data_segment(cpu: &mut Cpu, selector: u16) -> Result<Segment, Exception> {
    let descriptor = fetch(cpu, selector, vector::GP)?;
    checked_data(cpu, selector, &descriptor, vector::GP)
}

/// Checks `descriptor` for ES, DS, FS or GS at the current level and marks it accessed. Violations raise
/// `vector` with the selector, absence #NP.
pub fn checked_data(
    cpu: &mut Cpu,
    selector: u16,
    descriptor: &Descriptor,
    vector: u8,
) -> Result<Segment, Exception> {
    let reachable = descriptor.is_conforming() || descriptor.dpl() >= cpu.cpl.max(rpl(selector));
    if !descriptor.is_readable() || !reachable {
        return Err(Exception::Code(vector, u32::from(selector) & 0xFFFC));
    }
    if !descriptor.present() {
        return Err(Exception::np(selector));
    }
    descriptor.mark_accessed(cpu)?;
    Ok(descriptor.segment(selector))
}

/// The instruction has loaded SS: no interrupt and no debug trap before the next one has completed.
fn shadow_after(cpu: &mut Cpu, seg: Seg) {
    if seg == Seg::Ss {
        cpu.events.shadow = true;
        cpu.events.shadow_from_mov_ss = true;
    }
}

fn register(i: &Insn, operand: usize) -> Seg {
    Seg::ALL[usize::from(i.reg[operand]) % Seg::ALL.len()]
}

fn mov_to(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let seg = register(i, 0);
    if seg == Seg::Cs && cpu.model.generation() != Generation::I8086 {
        return Err(Exception::UD);
    }
    let selector = match i.kind[1] {
        Kind::Gpr => cpu.reg(Width::W16, i.reg[1]),
        _ => cpu.read_operand(i, Width::W16, 0)?,
    };
    load(cpu, seg, selector as u16)?;
    shadow_after(cpu, seg);
    Ok(())
}

/// MOV r/m, Sreg: `w` bits of a register, zero-extended; always 16 bits of memory.
fn mov_from(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let selector = cpu.seg(register(i, 1)).selector.into();
    if i.kind[0] == Kind::Gpr {
        cpu.set_reg(w, i.reg[0], selector);
        return Ok(());
    }
    cpu.write_operand(i, Width::W16, 0, selector)
}

fn pop(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let seg = register(i, 0);
    let mut stack = Stack::current(cpu);
    let selector = stack.pop(cpu, w)?;
    load(cpu, seg, selector as u16)?;
    stack.commit(cpu);
    shadow_after(cpu, seg);
    Ok(())
}

fn push(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let selector = cpu.seg(register(i, 0)).selector.into();
    let mut stack = Stack::current(cpu);
    // With a 32-bit operand only the selector is written, the upper half of the slot stays.
    let written = if w == Width::W32 { Width::W16 } else { w };
    stack.push_in(cpu, w, written, selector)?;
    stack.commit(cpu);
    Ok(())
}

/// LDS, LES, LFS, LGS, LSS: offset of `w` bits, and above it the selector.
fn load_pointer(cpu: &mut Cpu, i: &Insn, seg: Seg, w: Width) -> Result<(), Exception> {
    let offset = cpu.read_operand(i, w, 0)?;
    let selector = cpu.read_operand(i, Width::W16, w.bytes())?;
    load(cpu, seg, selector as u16)?;
    cpu.set_reg(w, i.reg[0], offset);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    use Width::{W16, W32, W64};
    let loads = |code, run| microcode_form(code, run).with(Attr::ENDS_BLOCK);
    vec![
        loads(Code::Mov_Sreg_rm16, mov_to),
        loads(Code::Mov_Sreg_r32m16, mov_to),
        loads(Code::Mov_Sreg_r64m16, mov_to),
        microcode_form(Code::Mov_rm16_Sreg, |cpu, i| mov_from(cpu, i, W16)),
        microcode_form(Code::Mov_r32m16_Sreg, |cpu, i| mov_from(cpu, i, W32)),
        microcode_form(Code::Mov_r64m16_Sreg, |cpu, i| mov_from(cpu, i, W64)),
        loads(Code::Popw_ES, |cpu, i| pop(cpu, i, W16)),
        loads(Code::Popw_SS, |cpu, i| pop(cpu, i, W16)),
        loads(Code::Popw_DS, |cpu, i| pop(cpu, i, W16)),
        loads(Code::Popw_FS, |cpu, i| pop(cpu, i, W16)),
        loads(Code::Popw_GS, |cpu, i| pop(cpu, i, W16)),
        loads(Code::Popd_ES, |cpu, i| pop(cpu, i, W32)),
        loads(Code::Popd_SS, |cpu, i| pop(cpu, i, W32)),
        loads(Code::Popd_DS, |cpu, i| pop(cpu, i, W32)),
        loads(Code::Popd_FS, |cpu, i| pop(cpu, i, W32)),
        loads(Code::Popd_GS, |cpu, i| pop(cpu, i, W32)),
        loads(Code::Popq_FS, |cpu, i| pop(cpu, i, W64)),
        loads(Code::Popq_GS, |cpu, i| pop(cpu, i, W64)),
        microcode_form(Code::Pushw_ES, |cpu, i| push(cpu, i, W16)),
        microcode_form(Code::Pushw_CS, |cpu, i| push(cpu, i, W16)),
        microcode_form(Code::Pushw_SS, |cpu, i| push(cpu, i, W16)),
        microcode_form(Code::Pushw_DS, |cpu, i| push(cpu, i, W16)),
        microcode_form(Code::Pushw_FS, |cpu, i| push(cpu, i, W16)),
        microcode_form(Code::Pushw_GS, |cpu, i| push(cpu, i, W16)),
        microcode_form(Code::Pushd_ES, |cpu, i| push(cpu, i, W32)),
        microcode_form(Code::Pushd_CS, |cpu, i| push(cpu, i, W32)),
        microcode_form(Code::Pushd_SS, |cpu, i| push(cpu, i, W32)),
        microcode_form(Code::Pushd_DS, |cpu, i| push(cpu, i, W32)),
        microcode_form(Code::Pushd_FS, |cpu, i| push(cpu, i, W32)),
        microcode_form(Code::Pushd_GS, |cpu, i| push(cpu, i, W32)),
        microcode_form(Code::Pushq_FS, |cpu, i| push(cpu, i, W64)),
        microcode_form(Code::Pushq_GS, |cpu, i| push(cpu, i, W64)),
        loads(Code::Les_r16_m1616, |cpu, i| load_pointer(cpu, i, Seg::Es, W16)),
        loads(Code::Les_r32_m1632, |cpu, i| load_pointer(cpu, i, Seg::Es, W32)),
        loads(Code::Lds_r16_m1616, |cpu, i| load_pointer(cpu, i, Seg::Ds, W16)),
        loads(Code::Lds_r32_m1632, |cpu, i| load_pointer(cpu, i, Seg::Ds, W32)),
        loads(Code::Lfs_r16_m1616, |cpu, i| load_pointer(cpu, i, Seg::Fs, W16)),
        loads(Code::Lfs_r32_m1632, |cpu, i| load_pointer(cpu, i, Seg::Fs, W32)),
        loads(Code::Lfs_r64_m1664, |cpu, i| load_pointer(cpu, i, Seg::Fs, W64)),
        loads(Code::Lgs_r16_m1616, |cpu, i| load_pointer(cpu, i, Seg::Gs, W16)),
        loads(Code::Lgs_r32_m1632, |cpu, i| load_pointer(cpu, i, Seg::Gs, W32)),
        loads(Code::Lgs_r64_m1664, |cpu, i| load_pointer(cpu, i, Seg::Gs, W64)),
        loads(Code::Lss_r16_m1616, |cpu, i| load_pointer(cpu, i, Seg::Ss, W16)),
        loads(Code::Lss_r32_m1632, |cpu, i| load_pointer(cpu, i, Seg::Ss, W32)),
        loads(Code::Lss_r64_m1664, |cpu, i| load_pointer(cpu, i, Seg::Ss, W64)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::testing::*;
    use rstest::rstest;

    #[rstest]
    #[case::null_data(Seg::Ds, 3, Ok(()))]
    #[case::null_stack(Seg::Ss, 0, Err(Exception::GP0))]
    #[case::kernel_data(Seg::Ds, KERNEL_DS, Ok(()))]
    #[case::user_data(Seg::Ds, USER_DS, Ok(()))]
    #[case::user_stack(Seg::Ss, USER_DS, Err(Exception::gp(USER_DS)))]
    #[case::kernel_data_with_weak_rpl(Seg::Es, KERNEL_DS | 3, Err(Exception::gp(KERNEL_DS)))]
    #[case::absent_data(Seg::Es, ABSENT_DS, Err(Exception::np(ABSENT_DS)))]
    #[case::absent_stack(Seg::Ss, ABSENT_DS, Err(Exception::ss(ABSENT_DS)))]
    #[case::tss(Seg::Es, TSS_SELECTOR, Err(Exception::gp(TSS_SELECTOR)))]
    fn a_load_at_cpl_0_is_checked(
        #[case] seg: Seg,
        #[case] selector: u16,
        #[case] expected: Result<(), Exception>,
    ) {
        let mut cpu = protected(0);
        assert_eq!(load(&mut cpu, seg, selector), expected);
        if expected.is_ok() {
            assert_eq!(cpu.seg(seg).selector, selector);
            assert_eq!(cpu.seg(seg).unusable, is_null(selector));
        }
    }

    #[test]
    fn real_mode_keeps_the_limit_of_unreal_segments() {
        let mut cpu = real();
        let big = Segment { limit: u32::MAX, ..*cpu.seg(Seg::Ds) };
        cpu.set_seg(Seg::Ds, big);
        load(&mut cpu, Seg::Ds, 0x1234).unwrap();
        assert_eq!((cpu.seg(Seg::Ds).base, cpu.seg(Seg::Ds).limit), (0x1_2340, u32::MAX));
    }

    #[test]
    fn long_mode_takes_a_null_stack_below_cpl_3() {
        let mut cpu = long(0);
        assert_eq!(load(&mut cpu, Seg::Ss, 0), Ok(()));
        let mut cpu = long(3);
        assert_eq!(load(&mut cpu, Seg::Ss, 3), Err(Exception::GP0));
    }

    #[test]
    fn pop_ss_casts_a_shadow_and_uses_the_old_stack_width() {
        let mut cpu = protected(0);
        cpu.regs[slot::RSP] = 0x8000;
        put_u64(&cpu, 0x8000, KERNEL_DS.into());
        let insn =
            Insn { kind: [Kind::Segment, Kind::None, Kind::None, Kind::None], reg: [2, 0, 0, 0], ..insn() };
        pop(&mut cpu, &insn, Width::W32).unwrap();
        assert_eq!(cpu.regs[slot::RSP], 0x8004);
        assert!(cpu.events.shadow && cpu.events.shadow_from_mov_ss);
    }
}
