//! HLT, INIT and the start-up IPI. SDM vol. 3, 8.4 and 9.1.1 (table 9-1, column INIT).

use super::segment_load::put;
use crate::{
    arch::{Cr0, Exception, Seg, Segment, msr},
    cpu::Cpu,
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode},
    state::{Activity, Control, CpuState, Events, General},
};
use iced_x86::Mnemonic;

/// IA32_APIC_BASE: this is the bootstrap processor.
const APIC_BASE_BSP: u64 = 1 << 8;

fn hlt(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    cpu.events.activity = Activity::Halted;
    Ok(())
}

/// INIT: registers as after reset, but caching, x87, vector and model-specific registers stay. The bootstrap
/// processor begins at its reset vector, others wait for a start-up IPI. Blocked in system-management mode:
/// the run loop keeps the request until RSM.
pub fn init(cpu: &mut Cpu) {
    let old = cpu.save_state();
    let reset = CpuState::reset(cpu.model.signature());
    let bootstrap =
        cpu.io.apic_msr_read(cpu.id, msr::IA32_APIC_BASE).is_none_or(|base| base & APIC_BASE_BSP != 0);
    let activity = if bootstrap { Activity::Active } else { Activity::WaitForStartup };
    let caching = Cr0::CD | Cr0::NW;
    let state = CpuState {
        general: General { ..reset.general },
        segments: reset.segments,
        control: Control {
            cr0: (reset.control.cr0 - caching) | (old.control.cr0 & caching),
            xcr0: old.control.xcr0,
            pkru: old.control.pkru,
            ..reset.control
        },
        events: Events { activity, smbase: old.events.smbase, ..Events::default() },
        ..old
    };
    cpu.load_state(&state);
    super::debug::breakpoints_changed(cpu);
}

/// Start-up IPI: a processor that waits for it begins at `vector << 12` in real mode; others ignore it.
pub fn startup(cpu: &mut Cpu, vector: u8) {
    if cpu.events.activity != Activity::WaitForStartup {
        return;
    }
    let selector = u16::from(vector) << 8;
    let cs = Segment { selector, base: u64::from(selector) << 4, ..*cpu.seg(Seg::Cs) };
    put(cpu, Seg::Cs, cs);
    cpu.rip = 0;
    cpu.events.activity = Activity::Active;
    cpu.mode_changed();
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![microcode(Mnemonic::Hlt, hlt).with(Attr::ENDS_BLOCK | Attr::CPL0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::slot, microcode::testing::*};

    #[test]
    fn an_application_processor_waits_after_init_and_starts_at_its_page() {
        let mut cpu = after_reset(1);
        cpu.regs[slot::RAX] = 5;
        cpu.x87.fcw = 0x37F;
        init(&mut cpu);
        assert_eq!(
            (cpu.events.activity, cpu.regs[slot::RAX], cpu.x87.fcw),
            (Activity::WaitForStartup, 0, 0x37F)
        );
        startup(&mut cpu, 0x9A);
        assert_eq!(cpu.events.activity, Activity::Active);
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Cs).base, cpu.rip), (0x9A00, 0x9_A000, 0));
        startup(&mut cpu, 0x10);
        assert_eq!(cpu.seg(Seg::Cs).base, 0x9_A000);
    }

    #[test]
    fn the_bootstrap_processor_begins_at_the_reset_vector() {
        let mut cpu = protected(3);
        cpu.control.cr0.remove(Cr0::CD | Cr0::NW);
        init(&mut cpu);
        assert_eq!((cpu.events.activity, cpu.rip, cpu.cpl), (Activity::Active, 0xFFF0, 0));
        assert_eq!(cpu.seg(Seg::Cs).base, 0xFFFF_0000);
        assert_eq!(cpu.control.cr0, Cr0::ET);
    }
}
