//! Far RET, and what IRET shares with it: the checks of CS and SS popped from the stack, and the loss of data
//! segments on the way out. SDM vol. 3, 5.8.6.

use super::code::{Target, is_reserved_in_long_mode};
use crate::{
    arch::{Exception, Seg, Segment, Width, attr, vector},
    cpu::{Cpu, slot},
    microcode::{
        descriptor::{fetch, is_null, rpl},
        segment_load::{checked_stack, null_segment, put},
        stack::{Stack, pointer_mask},
    },
};

/// Far RET with `w`-wide values, dropping `parameters` bytes.
pub(super) fn far_return(cpu: &mut Cpu, w: Width, parameters: u64) -> Result<(), Exception> {
    let mut stack = Stack::current(cpu);
    let offset = stack.pop(cpu, w)?;
    let selector = stack.pop(cpu, w)? as u16;
    if cpu.mode.is_real_or_vm86() {
        let target = Target::real_or_vm86(cpu, selector, offset)?;
        stack.skip(parameters);
        stack.commit(cpu);
        target.commit(cpu);
        return Ok(());
    }
    let target = return_target(cpu, selector, offset)?;
    stack.skip(parameters);
    if target.level() == cpu.cpl {
        stack.commit(cpu);
        target.commit(cpu);
        return Ok(());
    }
    let rsp = stack.pop(cpu, w)?;
    let ss = stack.pop(cpu, w)? as u16;
    let ss = outer_stack(cpu, ss, &target)?;
    cpu.cpl = target.level();
    target.put(cpu);
    put_outer_stack(cpu, ss, rsp, parameters);
    forget_inner_segments(cpu);
    cpu.level_changed();
    Ok(())
}

/// Checks `selector`:`offset`, popped by RET or IRET in protected mode.
pub fn return_target(cpu: &mut Cpu, selector: u16, offset: u64) -> Result<Target, Exception> {
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let descriptor = fetch(cpu, selector, vector::GP)?;
    let level = rpl(selector);
    let level_fits =
        if descriptor.is_conforming() { descriptor.dpl() <= level } else { descriptor.dpl() == level };
    let allowed = descriptor.is_code() && level >= cpu.cpl && level_fits;
    if !allowed || is_reserved_in_long_mode(cpu, &descriptor) {
        return Err(Exception::gp(selector));
    }
    if !descriptor.present() {
        return Err(Exception::np(selector));
    }
    Target::protected(cpu, selector, &descriptor, level, offset)
}

/// Checks the SS popped by a return to `target`. It may be null if 64-bit code below CPL 3 continues.
pub fn outer_stack(cpu: &mut Cpu, selector: u16, target: &Target) -> Result<Segment, Exception> {
    if is_null(selector) {
        let allowed =
            cpu.mode.is_long() && target.is_code64() && target.level() < 3 && rpl(selector) == target.level();
        return if allowed { Ok(null_segment(selector, target.level())) } else { Err(Exception::GP0) };
    }
    let descriptor = fetch(cpu, selector, vector::GP)?;
    checked_stack(cpu, selector, &descriptor, target.level(), vector::GP)
}

/// Loads SS and RSP of an outer level, `parameters` bytes up. Without 64-bit code, SS tells how much of RSP is
/// loaded. CS is the new one already.
pub fn put_outer_stack(cpu: &mut Cpu, ss: Segment, rsp: u64, parameters: u64) {
    let code64 = cpu.control.efer.contains(crate::arch::Efer::LMA) && cpu.seg(Seg::Cs).attr & attr::L != 0;
    put(cpu, Seg::Ss, ss);
    let rsp = rsp.wrapping_add(parameters);
    cpu.regs[slot::RSP] = if code64 {
        rsp
    } else {
        match pointer_mask(&ss) {
            0xFFFF => cpu.regs[slot::RSP] & !0xFFFF | rsp & 0xFFFF,
            mask => rsp & mask,
        }
    };
}

/// Data segments that the new, outer level may not use become null. A null selector's base, which 64-bit code
/// sets by MSR, is left alone.
pub fn forget_inner_segments(cpu: &mut Cpu) {
    for seg in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
        let segment = *cpu.seg(seg);
        let conforming = segment.is_code() && segment.attr & attr::CONFORMING != 0;
        if !segment.unusable && !conforming && segment.dpl() < cpu.cpl {
            put(cpu, seg, null_segment(0, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::testing::*;

    fn push_frame(cpu: &Cpu, at: u64, words: &[u32]) {
        for (number, word) in words.iter().enumerate() {
            put_u32(cpu, at + 4 * number as u64, *word);
        }
    }

    #[test]
    fn returning_outwards_forgets_segments_of_the_inner_level() {
        let mut cpu = protected(0);
        crate::microcode::segment_load::load(&mut cpu, Seg::Fs, USER_DS).unwrap();
        cpu.regs[slot::RSP] = 0x7000;
        push_frame(&cpu, 0x7000, &[0x1234, USER_CS.into(), 0x6000, USER_DS.into()]);
        far_return(&mut cpu, Width::W32, 0).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (3, 0x1234, 0x6000));
        assert!(cpu.seg(Seg::Ds).unusable && cpu.seg(Seg::Ds).selector == 0);
        assert_eq!(cpu.seg(Seg::Fs).selector, USER_DS);
    }

    #[test]
    fn returning_inwards_faults() {
        let mut cpu = protected(3);
        cpu.regs[slot::RSP] = 0x7000;
        push_frame(&cpu, 0x7000, &[0, KERNEL_CS.into()]);
        assert_eq!(far_return(&mut cpu, Width::W32, 0), Err(Exception::gp(KERNEL_CS)));
        assert_eq!(cpu.regs[slot::RSP], 0x7000);
    }

    #[test]
    fn a_base_set_beside_a_null_selector_survives_the_return() {
        let mut cpu = long(0);
        cpu.set_seg(Seg::Fs, Segment { base: 0x7FFF_1234_5000, ..null_segment(0, 0) });
        cpu.cpl = 3;
        forget_inner_segments(&mut cpu);
        assert_eq!(cpu.seg(Seg::Fs).base, 0x7FFF_1234_5000);
    }
}
