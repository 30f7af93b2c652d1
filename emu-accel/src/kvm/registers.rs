//! General, segment, control and debug registers, to KVM's structures and back.

use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Segment, attr},
    state::{Control, General, Segments, TableRegister},
};
use kvm_bindings::{kvm_debugregs, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

/// To KVM's general registers.
pub(super) fn general_to(general: &General) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = general.gpr;
    kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: general.rip,
        rflags: general.rflags.bits().into(),
    }
}

/// From KVM's general registers.
pub(super) fn general_from(regs: &kvm_regs) -> General {
    let kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    } = *regs;
    General {
        gpr: [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15],
        rip,
        rflags: Flags::from_bits_retain(rflags as u32),
    }
}

fn segment_to(segment: &Segment) -> kvm_segment {
    let flag = |bit: u16| u8::from(segment.attr & bit != 0);
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: (segment.attr & attr::TYPE) as u8,
        present: flag(attr::P),
        dpl: ((segment.attr & attr::DPL) >> attr::DPL_SHIFT) as u8,
        db: flag(attr::D),
        s: flag(attr::S),
        l: flag(attr::L),
        g: flag(attr::G),
        avl: flag(attr::AVL),
        unusable: u8::from(segment.unusable),
        padding: 0,
    }
}

fn segment_from(segment: &kvm_segment) -> Segment {
    let flag = |set: u8, bit: u16| if set != 0 { bit } else { 0 };
    Segment {
        selector: segment.selector,
        attr: u16::from(segment.type_) & attr::TYPE
            | u16::from(segment.dpl) << attr::DPL_SHIFT & attr::DPL
            | flag(segment.present, attr::P)
            | flag(segment.db, attr::D)
            | flag(segment.s, attr::S)
            | flag(segment.l, attr::L)
            | flag(segment.g, attr::G)
            | flag(segment.avl, attr::AVL),
        limit: segment.limit,
        base: segment.base,
        unusable: segment.unusable != 0,
    }
}

fn table_to(table: &TableRegister) -> kvm_dtable {
    kvm_dtable { base: table.base, limit: table.limit, padding: [0; 3] }
}

fn table_from(table: &kvm_dtable) -> TableRegister {
    TableRegister { base: table.base, limit: table.limit }
}

/// To KVM's special registers. What has no place in a `CpuState` (APIC base, CR8, pending interrupts) stays as
/// `old` has it.
pub(super) fn special_to(segments: &Segments, control: &Control, old: &kvm_sregs) -> kvm_sregs {
    let [es, cs, ss, ds, fs, gs] = segments.data.each_ref().map(segment_to);
    kvm_sregs {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr: segment_to(&segments.tr),
        ldt: segment_to(&segments.ldtr),
        gdt: table_to(&segments.gdtr),
        idt: table_to(&segments.idtr),
        cr0: control.cr0.bits(),
        cr2: control.cr2,
        cr3: control.cr3,
        cr4: control.cr4.bits(),
        efer: control.efer.bits(),
        ..*old
    }
}

/// Segments from KVM's special registers.
pub(super) fn segments_from(sregs: &kvm_sregs) -> Segments {
    let kvm_sregs { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, .. } = sregs;
    Segments {
        data: [es, cs, ss, ds, fs, gs].map(segment_from),
        ldtr: segment_from(ldt),
        tr: segment_from(tr),
        gdtr: table_from(gdt),
        idtr: table_from(idt),
    }
}

/// Writes what KVM's special registers have of `control` there.
pub(super) fn control_from(sregs: &kvm_sregs, control: &mut Control) {
    control.cr0 = Cr0::from_bits_retain(sregs.cr0);
    control.cr2 = sregs.cr2;
    control.cr3 = sregs.cr3;
    control.cr4 = Cr4::from_bits_retain(sregs.cr4);
    control.efer = Efer::from_bits_retain(sregs.efer);
}

/// To KVM's debug registers.
pub(super) fn debug_to(control: &Control) -> kvm_debugregs {
    kvm_debugregs { db: control.dr, dr6: control.dr6, dr7: control.dr7, ..kvm_debugregs::default() }
}

/// Writes KVM's debug registers to `control`.
pub(super) fn debug_from(debug: &kvm_debugregs, control: &mut Control) {
    (control.dr, control.dr6, control.dr7) = (debug.db, debug.dr6, debug.dr7);
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::state::CpuState;

    #[test]
    fn registers_come_back_as_they_went() {
        let mut state = CpuState::reset(0x6A3);
        state.general.gpr = std::array::from_fn(|n| 0x1111_0000_0000_0000 + n as u64);
        for (n, segment) in state.segments.data.iter_mut().enumerate() {
            *segment = Segment {
                selector: 8 * n as u16,
                attr: 0xF093 ^ (n as u16) << 5,
                limit: 0xFFFF_0000 + n as u32,
                base: 0x1000 * n as u64,
                unusable: n == 3,
            };
        }
        (state.control.cr2, state.control.dr[1], state.control.dr7) = (5, 6, 0x401);
        let sregs = special_to(&state.segments, &state.control, &kvm_sregs::default());

        let mut control = CpuState::reset(0).control;
        control_from(&sregs, &mut control);
        debug_from(&debug_to(&state.control), &mut control);

        assert_eq!(general_from(&general_to(&state.general)), state.general);
        assert_eq!((segments_from(&sregs), control), (state.segments, state.control));
    }
}
