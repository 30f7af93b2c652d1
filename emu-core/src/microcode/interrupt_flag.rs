//! CLI and STI, with virtual interrupts. SDM vol. 2, CLI, STI; vol. 3, 20.3 and 20.4.

use super::vm86;
use crate::{
    arch::{Cr4, Exception, Flags},
    cpu::Cpu,
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

/// Which flag CLI and STI change: IF, or VIF where a program below IOPL has virtual interrupts; else #GP(0).
fn interrupt_flag(cpu: &Cpu) -> Result<Flags, Exception> {
    if vm86::iopl(cpu) >= cpu.cpl {
        return Ok(Flags::IF);
    }
    let extension = if cpu.mode.is_vm86() { Cr4::VME } else { Cr4::PVI };
    if cpu.cpl == 3 && cpu.control.cr4.contains(extension) { Ok(Flags::VIF) } else { Err(Exception::GP0) }
}

fn cli(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let flag = interrupt_flag(cpu)?;
    cpu.eflags.remove(flag);
    Ok(())
}

fn sti(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let flag = interrupt_flag(cpu)?;
    if flag == Flags::VIF && cpu.eflags.contains(Flags::VIP) {
        return Err(Exception::GP0);
    }
    if flag == Flags::IF && !cpu.eflags.contains(Flags::IF) {
        cpu.events.shadow = true;
        cpu.signal.poll_again_if_waiting();
    }
    cpu.eflags.insert(flag);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    // CLI need not end its block: nothing that is looked at between blocks can become possible by it.
    vec![microcode(Mnemonic::Cli, cli), microcode(Mnemonic::Sti, sti).with(Attr::ENDS_BLOCK)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::testing::*;

    #[test]
    fn sti_casts_a_shadow_only_when_it_enables() {
        let mut cpu = protected(0);
        sti(&mut cpu, &insn()).unwrap();
        assert!(cpu.events.shadow && cpu.rflags().contains(Flags::IF));
        cpu.events.shadow = false;
        sti(&mut cpu, &insn()).unwrap();
        assert!(!cpu.events.shadow);
    }

    #[test]
    fn user_code_needs_iopl_or_virtual_interrupts() {
        let mut cpu = protected(3);
        assert_eq!(cli(&mut cpu, &insn()), Err(Exception::GP0));
        cpu.control.cr4.insert(Cr4::PVI);
        cpu.set_rflags(Flags::IF);
        sti(&mut cpu, &insn()).unwrap();
        assert!(cpu.rflags().contains(Flags::VIF | Flags::IF));
        cli(&mut cpu, &insn()).unwrap();
        assert_eq!(cpu.rflags(), Flags::IF | Flags::FIXED);
        cpu.eflags.insert(Flags::VIP);
        assert_eq!(sti(&mut cpu, &insn()), Err(Exception::GP0));
    }
}
