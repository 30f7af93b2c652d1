//! MONITOR and MWAIT. SDM vol. 2; vol. 3, 9.10.4.
//!
//! Stores of other processors are not watched. MWAIT may end for any reason that the processor likes, and
//! software must look again at what it waits for: here it ends at the first request to this vCPU, or after
//! [`PATIENCE`]. So an idle loop on it polls, slowly; the models offer it only in `max`.

use crate::{
    arch::{Exception, Width},
    cpu::{Cpu, slot},
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode, microcode_form},
};
use iced_x86::{Code, Mnemonic};
use std::time::Duration;

/// How long MWAIT waits at most: the delay with which a store to the monitored line is noticed.
const PATIENCE: Duration = Duration::from_micros(100);

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode_form(Code::Monitorw, |cpu, i| monitor(cpu, i, Width::W16)),
        microcode_form(Code::Monitord, |cpu, i| monitor(cpu, i, Width::W32)),
        microcode_form(Code::Monitorq, |cpu, i| monitor(cpu, i, Width::W64)),
        microcode(Mnemonic::Mwait, mwait).with(Attr::ENDS_BLOCK),
    ]
}

fn monitor(cpu: &mut Cpu, i: &Insn, address_size: Width) -> Result<(), Exception> {
    if cpu.cpl > 0 {
        return Err(Exception::UD);
    }
    if cpu.gpr(Width::W32, slot::RCX) != 0 {
        return Err(Exception::GP0);
    }
    cpu.check_readable(i.segment(), cpu.gpr(address_size, slot::RAX))
}

fn mwait(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    if cpu.cpl > 0 {
        return Err(Exception::UD);
    }
    // Bit 0: masked interrupts end it too, as they always do here.
    if cpu.gpr(Width::W32, slot::RCX) & !1 != 0 {
        return Err(Exception::GP0);
    }
    cpu.signal.wait(u32::MAX, Some(PATIENCE));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu::{gp0, insn, long_cpu};

    #[test]
    fn monitor_checks_its_address_and_mwait_ends_by_itself() {
        let mut cpu = long_cpu("max");
        assert_eq!(monitor(&mut cpu, &insn(&[]), Width::W64), Ok(()));
        assert_eq!(mwait(&mut cpu, &insn(&[])), Ok(()));
        cpu.regs[slot::RAX] = 1 << 62;
        assert_eq!(monitor(&mut cpu, &insn(&[]), Width::W64), gp0());
        cpu.regs[slot::RCX] = 2;
        assert_eq!(mwait(&mut cpu, &insn(&[])), gp0());
        cpu.cpl = 3;
        assert_eq!(mwait(&mut cpu, &insn(&[])), Err(Exception::UD));
    }
}
