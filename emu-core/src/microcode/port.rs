//! IN and OUT, the I/O permission check, and I/O breakpoints. SDM vol. 1, 19.5; vol. 3, 17.2.4.

use super::{
    debug,
    descriptor::system_linear,
    tss,
    vm86::{IO_MAP_BASE, iopl},
};
use crate::{
    arch::{Exception, Width},
    cpu::{Cpu, slot},
    decode::Insn,
    mmu::Privilege,
    semantics::{Emitter, Row, microcode_form},
};
use iced_x86::Code;

/// #GP(0) unless the current program may access `size` bytes of ports from `port`: by CPL and IOPL, or by the
/// permission bitmap of the TSS.
pub fn check_io_permission(cpu: &mut Cpu, port: u16, size: u64) -> Result<(), Exception> {
    if cpu.mode.is_protected() && cpu.cpl <= iopl(cpu) || !cpu.mode.is_protected() && !cpu.mode.is_vm86() {
        return Ok(());
    }
    let tr = cpu.segments.tr;
    let limit = u64::from(tr.limit);
    if !tss::is_wide(&tr) || limit < IO_MAP_BASE + 1 {
        return Err(Exception::GP0);
    }
    let base = system_linear(cpu, tr.base, IO_MAP_BASE);
    let map = cpu.read_linear(base, Width::W16, Privilege::System)?;
    // Two bytes are always read, so that an access may straddle a byte of the map.
    let offset = map + u64::from(port / 8);
    if offset + 1 > limit {
        return Err(Exception::GP0);
    }
    let linear = system_linear(cpu, tr.base, offset);
    let bits = cpu.read_linear(linear, Width::W16, Privilege::System)?;
    let wanted = ((1 << size) - 1) << (port % 8);
    if bits & wanted == 0 { Ok(()) } else { Err(Exception::GP0) }
}

/// After an access, which may change anything outside the CPU: interrupts and breakpoints are looked at before the
/// next instruction.
fn look_around(cpu: &mut Cpu) {
    cpu.device_was_accessed();
    cpu.leave_block |= cpu.events.pending_debug != 0;
}

/// Reads `w` from `port`. The caller has checked the permission.
pub fn read_port(cpu: &mut Cpu, port: u16, w: Width) -> u64 {
    debug::note_port_access(cpu, port, w.bytes());
    let value = cpu.io.port_read(cpu.id, port, w.bytes() as u8);
    look_around(cpu);
    u64::from(value) & w.mask()
}

/// Writes the low `w` bits of `value` to `port`. The caller has checked the permission.
pub fn write_port(cpu: &mut Cpu, port: u16, w: Width, value: u64) {
    debug::note_port_access(cpu, port, w.bytes());
    cpu.io.port_write(cpu.id, port, w.bytes() as u8, (value & w.mask()) as u32);
    look_around(cpu);
}

fn dx(cpu: &Cpu) -> u16 {
    cpu.regs[slot::RDX] as u16
}

fn immediate(i: &Insn) -> u16 {
    i.imm as u16 & 0xFF
}

fn input(cpu: &mut Cpu, port: u16, w: Width) -> Result<(), Exception> {
    check_io_permission(cpu, port, w.bytes())?;
    let value = read_port(cpu, port, w);
    cpu.set_reg(w, slot::byte_offset(slot::RAX), value);
    Ok(())
}

fn output(cpu: &mut Cpu, port: u16, w: Width) -> Result<(), Exception> {
    check_io_permission(cpu, port, w.bytes())?;
    let value = cpu.regs[slot::RAX];
    write_port(cpu, port, w, value);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    use Width::{W8, W16, W32};
    let port = |code, run| microcode_form(code, run);
    vec![
        port(Code::In_AL_imm8, |cpu, i| input(cpu, immediate(i), W8)),
        port(Code::In_AX_imm8, |cpu, i| input(cpu, immediate(i), W16)),
        port(Code::In_EAX_imm8, |cpu, i| input(cpu, immediate(i), W32)),
        port(Code::In_AL_DX, |cpu, _| input(cpu, dx(cpu), W8)),
        port(Code::In_AX_DX, |cpu, _| input(cpu, dx(cpu), W16)),
        port(Code::In_EAX_DX, |cpu, _| input(cpu, dx(cpu), W32)),
        port(Code::Out_imm8_AL, |cpu, i| output(cpu, immediate(i), W8)),
        port(Code::Out_imm8_AX, |cpu, i| output(cpu, immediate(i), W16)),
        port(Code::Out_imm8_EAX, |cpu, i| output(cpu, immediate(i), W32)),
        port(Code::Out_DX_AL, |cpu, _| output(cpu, dx(cpu), W8)),
        port(Code::Out_DX_AX, |cpu, _| output(cpu, dx(cpu), W16)),
        port(Code::Out_DX_EAX, |cpu, _| output(cpu, dx(cpu), W32)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arch::Flags, microcode::testing::*};
    use rstest::rstest;

    #[test]
    fn in_replaces_only_its_part_of_rax() {
        let mut cpu = real();
        cpu.regs[slot::RAX] = 0x1122_3344_5566_7788;
        input(&mut cpu, 0x60, Width::W8).unwrap();
        assert_eq!(cpu.regs[slot::RAX], 0x1122_3344_5566_7700 | PORT_VALUE & 0xFF);
        input(&mut cpu, 0x60, Width::W32).unwrap();
        assert_eq!(cpu.regs[slot::RAX], PORT_VALUE);
    }

    #[rstest]
    #[case::allowed(0x11, 1, true)]
    #[case::denied(0x12, 1, false)]
    #[case::half_denied(0x11, 2, false)]
    #[case::straddling_a_byte(0x1F, 2, true)]
    #[case::beyond_the_limit(0x28, 1, false)]
    fn the_bitmap_decides_below_iopl(#[case] port: u16, #[case] size: u64, #[case] allowed: bool) {
        let mut cpu = protected(3);
        put_u32(&cpu, TSS + 100, 0x68 << 16);
        put_u64(&cpu, TSS + 0x68, 0x0004_0000);
        cpu.segments.tr.limit = 0x68 + 4;
        assert_eq!(check_io_permission(&mut cpu, port, size).is_ok(), allowed);
        cpu.set_rflags(Flags::IOPL);
        assert_eq!(check_io_permission(&mut cpu, port, size), Ok(()));
    }

    #[test]
    fn virtual_8086_code_needs_the_bitmap_even_with_iopl() {
        let mut cpu = vm86();
        cpu.set_rflags(Flags::VM | Flags::IOPL);
        put_u32(&cpu, TSS + 100, 0xFFFF << 16);
        assert_eq!(check_io_permission(&mut cpu, 0x60, 1), Err(Exception::GP0));
    }
}
