//! Where two outcomes differ, as far as both engines keep it.

use crate::Outcome;
use emu_core::{
    arch::{Efer, Segment},
    state::{CpuState, TableRegister},
};

/// What differs, each as name and both values.
pub(super) fn differences(ours: &Outcome, theirs: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if ours.exception != theirs.exception {
        found.push(format!("exception {:?}, {:?}", text(ours), text(theirs)));
    }
    if ours.instructions != theirs.instructions {
        found.push(format!("{}, {} instructions", ours.instructions, theirs.instructions));
    }
    for ((name, a), (_, b)) in values(&ours.state).into_iter().zip(values(&theirs.state)) {
        if a != b {
            found.push(format!("{name} {a:x}, {b:x}"));
        }
    }
    for (region, (a, b)) in ours.memory.iter().zip(&theirs.memory).enumerate() {
        let at = a.iter().zip(b).position(|(a, b)| a != b);
        found.extend(at.map(|at| format!("region {region} at {at:#x}: {:02x}, {:02x}", a[at], b[at])));
    }
    found
}

fn text(outcome: &Outcome) -> String {
    outcome.exception.map_or("none".into(), |exception| exception.to_string())
}

/// Registers by name.
fn values(state: &CpuState) -> Vec<(String, u64)> {
    let CpuState { general, segments, control, msrs, .. } = state;
    let mut all: Vec<_> =
        general.gpr.iter().enumerate().map(|(n, value)| (format!("r{n}"), *value)).collect();
    all.extend([("rip".into(), general.rip), ("rflags".into(), general.rflags.bits().into())]);
    let names = ["es", "cs", "ss", "ds", "fs", "gs"];
    for (name, segment) in names.iter().zip(&segments.data) {
        let null = control.efer.contains(Efer::LMA) && segment.selector & !3 == 0;
        segment_values(name, &Segment { unusable: segment.unusable || null, ..*segment }, &mut all);
    }
    segment_values("ldtr", &segments.ldtr, &mut all);
    segment_values("tr", &segments.tr, &mut all);
    for (name, TableRegister { base, limit }) in [("gdtr", segments.gdtr), ("idtr", segments.idtr)] {
        all.extend([(format!("{name}.base"), base), (format!("{name}.limit"), limit.into())]);
    }
    all.extend(
        [
            ("cr0", control.cr0.bits()),
            ("cr2", control.cr2),
            ("cr3", control.cr3),
            ("cr4", control.cr4.bits()),
            ("efer", control.efer.bits()),
            ("dr0", control.dr[0]),
            ("dr3", control.dr[3]),
            ("dr6", control.dr6),
            ("dr7", control.dr7),
            ("star", msrs.star),
            ("lstar", msrs.lstar),
            ("cstar", msrs.cstar),
            ("fmask", msrs.fmask),
            ("kernel_gs_base", msrs.kernel_gs_base),
            ("sysenter_cs", msrs.sysenter_cs),
            ("sysenter_esp", msrs.sysenter_esp),
            ("sysenter_eip", msrs.sysenter_eip),
            ("pat", msrs.pat),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all
}

/// Of an unusable segment only the selector counts: the rest cannot be seen. FS and GS keep a base then.
fn segment_values(name: &str, segment: &Segment, all: &mut Vec<(String, u64)>) {
    all.push((name.to_owned(), segment.selector.into()));
    let counts = !segment.unusable;
    let value = |value: u64| if counts { value } else { 0 };
    all.push((
        format!("{name}.base"),
        if matches!(name, "fs" | "gs") { segment.base } else { value(segment.base) },
    ));
    all.push((format!("{name}.limit"), value(segment.limit.into())));
    all.push((format!("{name}.attr"), value(segment.attr.into())));
}
