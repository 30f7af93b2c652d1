//! INT n, INT1, INT3, INTO, BOUND. SDM vol. 2; vol. 3, 20.3.3 for virtual-8086 mode.
//!
//! In virtual-8086 mode INT n depends on IOPL, and with CR4.VME on the redirection bitmap of the TSS, by which
//! an interrupt goes to the 8086 program's own table at linear address 0.

use super::{Event, Source, deliver, real};
use crate::{
    arch::{Exception, Flags, Width, vector},
    cpu::Cpu,
    decode::Insn,
    microcode::vm86::{self, Redirection},
    mmu::Privilege,
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

fn raise(cpu: &mut Cpu, vector: u8, source: Source) -> Result<(), Exception> {
    deliver(cpu, &Event { vector, error: None, source })
}

/// The 8086's divide error: an interrupt like any other, whose return address is the next instruction's.
pub fn divide_error_8086(cpu: &mut Cpu) -> Result<(), Exception> {
    raise(cpu, vector::DE, Source::Software)
}

fn int_n(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let vector = i.imm as u8;
    if cpu.mode.is_vm86() {
        match vm86::redirection(cpu, vector)? {
            Redirection::Program => return redirect(cpu, vector),
            Redirection::Handler => {}
        }
    }
    raise(cpu, vector, Source::Software)
}

/// To the 8086 program's handler. With IOPL below 3 the program's interrupt flag is VIF.
fn redirect(cpu: &mut Cpu, vector: u8) -> Result<(), Exception> {
    let entry = cpu.read_linear(u64::from(vector) * 4, Width::W32, Privilege::Current)?;
    let virtual_flag = vm86::iopl(cpu) < 3;
    let flags = if virtual_flag { vm86::image_with_virtual_interrupt_flag(cpu) } else { cpu.rflags() };
    real::enter(cpu, (entry >> 16) as u16, entry & 0xFFFF, flags)?;
    cpu.eflags.remove(Flags::TF | Flags::RF | if virtual_flag { Flags::VIF } else { Flags::IF });
    cpu.events.no_single_step = true;
    cpu.level_changed();
    Ok(())
}

fn int1(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    raise(cpu, vector::DB, Source::Icebp)
}

fn int3(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    raise(cpu, vector::BP, Source::Software)
}

fn into(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    if cpu.flags.flags().contains(Flags::OF) { raise(cpu, vector::OF, Source::Software) } else { Ok(()) }
}

/// BOUND: #BR unless lower <= index <= upper, all signed.
fn bound(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = i.w();
    let signed = |value: u64| w.sign_extend(value) as i64;
    let index = signed(cpu.reg(w, i.reg[0]));
    let lower = signed(cpu.read_operand(i, w, 0)?);
    let upper = signed(cpu.read_operand(i, w, w.bytes())?);
    if index < lower || index > upper { Err(Exception::BR) } else { Ok(()) }
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Int, int_n).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Int1, int1).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Int3, int3).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Into, into).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Bound, bound),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arch::{Cr4, Seg},
        cpu::slot,
        decode::Kind,
        microcode::testing::*,
    };

    fn int(n: u64) -> Insn {
        Insn { imm: n, ..insn() }
    }

    #[test]
    fn user_code_needs_a_gate_of_dpl_3() {
        let mut cpu = protected(3);
        set_gate(&cpu, 0x80, 14, KERNEL_CS, 0x2000);
        assert_eq!(int_n(&mut cpu, &int(0x80)), Err(Exception::Code(vector::GP, 0x80 << 3 | 2)));
        let raw = get_u64(&cpu, IDT + 0x80 * 8);
        put_u64(&cpu, IDT + 0x80 * 8, raw | 3 << 45);
        cpu.rip = 0x1002;
        int_n(&mut cpu, &int(0x80)).unwrap();
        assert_eq!((cpu.cpl, get_u32(&cpu, cpu.regs[slot::RSP])), (0, 0x1002));
    }

    #[test]
    fn int1_does_not_check_the_gate() {
        let mut cpu = protected(3);
        set_gate(&cpu, vector::DB, 14, KERNEL_CS, 0x2000);
        int1(&mut cpu, &insn()).unwrap();
        assert_eq!((cpu.cpl, cpu.rip), (0, 0x2000));
    }

    #[test]
    fn without_vme_int_n_at_low_iopl_faults_but_int3_does_not() {
        let mut cpu = vm86();
        set_gate(&cpu, vector::BP, 14, KERNEL_CS, 0x2000);
        let raw = get_u64(&cpu, IDT + 3 * 8);
        put_u64(&cpu, IDT + 3 * 8, raw | 3 << 45);
        assert_eq!(int_n(&mut cpu, &int(0x21)), Err(Exception::GP0));
        assert_eq!(int3(&mut cpu, &insn()), Ok(()));
        assert_eq!(cpu.cpl, 0);
    }

    #[test]
    fn with_vme_a_clear_bit_sends_the_interrupt_to_the_program() {
        let mut cpu = vm86();
        cpu.control.cr4.insert(Cr4::VME);
        cpu.set_rflags(Flags::VM | Flags::VIF);
        put_u32(&cpu, TSS + 100, 0x88 << 16);
        put_u32(&cpu, 0x21 * 4, 0x0200_0033);
        cpu.regs[slot::RSP] = 0x800;
        int_n(&mut cpu, &int(0x21)).unwrap();
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.rip, cpu.cpl), (0x200, 0x33, 3));
        assert!(!cpu.rflags().contains(Flags::VIF));
        let pushed = get_u32(&cpu, cpu.seg(Seg::Ss).base + 0x7FE) & 0xFFFF;
        assert_eq!(pushed, 0x3202, "IF is VIF and IOPL is 3 in the image");
    }

    #[test]
    fn bound_compares_signed() {
        let mut cpu = protected(0);
        put_u64(&cpu, 0x5000, 0x0000_0010_FFFF_FFF0);
        let insn = Insn {
            kind: [Kind::Gpr, Kind::Mem, Kind::None, Kind::None],
            width: [Width::W32; 2],
            disp: 0x5000,
            seg: Seg::Ds as u8,
            ..insn()
        };
        cpu.regs[slot::RAX] = 0xFFFF_FFF0;
        assert_eq!(bound(&mut cpu, &insn), Ok(()));
        cpu.regs[slot::RAX] = 0x11;
        assert_eq!(bound(&mut cpu, &insn), Err(Exception::BR));
    }
}
