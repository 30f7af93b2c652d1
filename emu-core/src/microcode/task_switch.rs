//! Hardware task switches: JMP, CALL, interrupts and IRET through a TSS or task gate, 16 and 32 bits. SDM
//! vol. 3, 7.2 to 7.5.
//!
//! What can fault in the old task is done first: both TSSs are looked at before anything is written. From
//! then on the new task is current, and what is wrong with its segments is an exception *of* the new task,
//! delivered before its first instruction. Long mode has no task switches.

use super::{
    debug,
    descriptor::{Descriptor, fetch, is_local, is_null, rpl, system_linear},
    interrupt::deliver_exception,
    segment_load::{checked_data, checked_stack, null_segment, put},
    stack::Stack,
    tss, vm86,
};
use crate::{
    arch::{Cr0, Exception, Flags, Seg, Segment, Width, attr, system_type, vector},
    cpu::Cpu,
    mmu::Privilege,
};

/// What causes a switch.
#[derive(Debug, Clone, Copy)]
pub enum Reason {
    /// JMP.
    Jump,
    /// CALL: the new task is nested.
    Call,
    /// Interrupt or exception: nested too.
    Interrupt {
        /// RFLAGS for the old TSS (a fault's have RF set).
        saved_flags: Flags,
        /// Error code to push on the new stack.
        error: Option<u32>,
        /// Bit EXT of error codes.
        ext: u32,
    },
    /// IRET with NT.
    Return,
}

impl Reason {
    const fn nests(self) -> bool {
        matches!(self, Reason::Call | Reason::Interrupt { .. })
    }
}

/// Where the fields of a TSS are. SDM vol. 3, figures 7-2 and 7-10.
struct Layout {
    width: Width,
    /// EIP, EFLAGS, eight registers, then the selectors.
    ip: u64,
    /// Distance from one selector to the next.
    selector_step: u64,
    selectors: u64,
    ldt: u64,
    /// Bytes that a TSS has at least.
    size: u64,
}

const LAYOUT16: Layout =
    Layout { width: Width::W16, ip: 0x0E, selector_step: 2, selectors: 0x22, ldt: 0x2A, size: 0x2C };
const LAYOUT32: Layout =
    Layout { width: Width::W32, ip: 0x20, selector_step: 4, selectors: 0x48, ldt: 0x60, size: 0x68 };
const CR3: usize = 0x1C;
const TRAP: usize = 0x64;

const fn layout(segment: &Segment) -> &'static Layout {
    if tss::is_wide(segment) { &LAYOUT32 } else { &LAYOUT16 }
}

/// Number of selectors in a TSS: ES, CS, SS, DS, FS, GS, without the last two in 16 bits.
const fn selector_count(layout: &Layout) -> usize {
    if matches!(layout.width, Width::W32) { 6 } else { 4 }
}

/// JMP or CALL of the TSS `descriptor`, found at `selector`.
pub fn direct(
    cpu: &mut Cpu,
    descriptor: &Descriptor,
    selector: u16,
    reason: Reason,
) -> Result<(), Exception> {
    if descriptor.dpl() < cpu.cpl.max(rpl(selector)) {
        return Err(Exception::gp(selector));
    }
    switch(cpu, selector, reason)
}

/// JMP or CALL of the task gate `descriptor`, found at `selector`.
pub fn gate(cpu: &mut Cpu, descriptor: &Descriptor, selector: u16, reason: Reason) -> Result<(), Exception> {
    if descriptor.dpl() < cpu.cpl.max(rpl(selector)) {
        return Err(Exception::gp(selector));
    }
    if !descriptor.present() {
        return Err(Exception::np(selector));
    }
    switch(cpu, (descriptor.raw() >> 16) as u16, reason)
}

/// IRET with NT set: to the task that the back link names.
pub fn return_to_previous(cpu: &mut Cpu) -> Result<(), Exception> {
    let link = system_linear(cpu, cpu.segments.tr.base, 0);
    let selector = cpu.read_linear(link, Width::W16, Privilege::System)?;
    switch(cpu, selector as u16, Reason::Return)
}

/// Switches to the task whose TSS is `selector`.
pub fn switch(cpu: &mut Cpu, selector: u16, reason: Reason) -> Result<(), Exception> {
    let descriptor = find(cpu, selector, reason)?;
    let new_tr = descriptor.system_segment(0);
    let image = read_image(cpu, &new_tr)?;
    let old = save(cpu, reason)?;

    let old_selector = cpu.segments.tr.selector;
    if let Some(old) = old {
        old.mark_busy(cpu, false)?;
    }
    if reason.nests() {
        let link = system_linear(cpu, new_tr.base, 0);
        cpu.write_linear(link, Width::W16, old_selector.into(), Privilege::System)?;
    }
    if !matches!(reason, Reason::Return) {
        descriptor.mark_busy(cpu, true)?;
    }
    // From here on the new task is current.
    cpu.segments.tr = Segment { attr: new_tr.attr | attr::WRITABLE, ..new_tr };
    cpu.control.cr0.insert(Cr0::TS);
    debug::forget_local_breakpoints(cpu);
    let (error, ext) = match reason {
        Reason::Interrupt { error, ext, .. } => (error, ext),
        _ => (None, 0),
    };
    let loaded = load(cpu, &image, reason.nests()).and_then(|()| push_error(cpu, &image, error));
    cpu.mode_changed();
    if let Err(exception) = loaded {
        let exception = match exception {
            Exception::Code(vector, code) => Exception::Code(vector, code | ext),
            other => other,
        };
        deliver_exception(cpu, exception);
    } else if image.trap {
        cpu.events.pending_debug |= debug::dr6::BT;
    }
    Ok(())
}

/// Finds and checks the descriptor of the new TSS.
fn find(cpu: &mut Cpu, selector: u16, reason: Reason) -> Result<Descriptor, Exception> {
    let (vector, kinds) = match reason {
        Reason::Return => (vector::TS, [system_type::TSS16_BUSY, system_type::TSS32_BUSY]),
        _ => (vector::GP, [system_type::TSS16, system_type::TSS32]),
    };
    let fault = Exception::Code(vector, u32::from(selector) & 0xFFFC);
    if is_local(selector) {
        return Err(fault);
    }
    let descriptor = fetch(cpu, selector, vector)?;
    if !descriptor.system_type().is_some_and(|kind| kinds.contains(&kind)) {
        return Err(fault);
    }
    if !descriptor.present() {
        return Err(Exception::np(selector));
    }
    if u64::from(descriptor.limit()) + 1 < layout(&descriptor.system_segment(0)).size {
        return Err(Exception::ts(selector));
    }
    Ok(descriptor)
}

/// The new task's registers, as its TSS has them.
struct Image {
    wide: bool,
    cr3: Option<u64>,
    ip: u64,
    flags: Flags,
    gpr: [u64; 8],
    /// By number of segment register; a 16-bit TSS has no FS and GS.
    selectors: [u16; 6],
    ldt: u16,
    trap: bool,
}

fn read_image(cpu: &mut Cpu, tr: &Segment) -> Result<Image, Exception> {
    let layout = layout(tr);
    let mut bytes = [0; LAYOUT32.size as usize];
    let base = system_linear(cpu, tr.base, 0);
    cpu.read_bytes(base, &mut bytes[..layout.size as usize], Privilege::System)?;
    let step = layout.width.bytes();
    let field = |at: u64, len: u64| {
        let mut value = [0; 8];
        value[..len as usize].copy_from_slice(&bytes[at as usize..(at + len) as usize]);
        u64::from_le_bytes(value)
    };
    let mut selectors = [0; 6];
    for (number, selector) in selectors.iter_mut().enumerate().take(selector_count(layout)) {
        *selector = field(layout.selectors + layout.selector_step * number as u64, 2) as u16;
    }
    let wide = layout.width == Width::W32;
    Ok(Image {
        wide,
        cr3: wide.then(|| field(CR3 as u64, 4)),
        ip: field(layout.ip, step),
        flags: Flags::from_bits_truncate(field(layout.ip + step, step) as u32),
        gpr: std::array::from_fn(|number| field(layout.ip + (2 + number as u64) * step, step)),
        selectors,
        ldt: field(layout.ldt, 2) as u16,
        trap: wide && bytes[TRAP] & 1 != 0,
    })
}

/// Writes the old task's registers to its TSS. Returns the descriptor whose busy bit is to be cleared.
fn save(cpu: &mut Cpu, reason: Reason) -> Result<Option<Descriptor>, Exception> {
    let tr = cpu.segments.tr;
    let layout = layout(&tr);
    let descriptor = if reason.nests() { None } else { Some(fetch(cpu, tr.selector, vector::GP)?) };
    let mut flags = cpu.rflags();
    match reason {
        Reason::Return => flags.remove(Flags::NT),
        Reason::Interrupt { saved_flags, .. } => flags = saved_flags,
        Reason::Jump | Reason::Call => {}
    }
    let base = system_linear(cpu, tr.base, layout.ip);
    let end = layout.selectors + layout.selector_step * selector_count(layout) as u64;
    cpu.probe_write(base, end - layout.ip, Privilege::System)?;
    let registers = [cpu.rip, flags.bits().into()];
    for (number, value) in registers.into_iter().chain(cpu.regs[..8].to_vec()).enumerate() {
        let at = system_linear(cpu, tr.base, layout.ip + number as u64 * layout.width.bytes());
        cpu.write_linear(at, layout.width, value, Privilege::System)?;
    }
    for (number, seg) in Seg::ALL.into_iter().enumerate().take(selector_count(layout)) {
        let at = system_linear(cpu, tr.base, layout.selectors + layout.selector_step * number as u64);
        let selector = cpu.seg(seg).selector.into();
        cpu.write_linear(at, Width::W16, selector, Privilege::System)?;
    }
    Ok(descriptor)
}

/// Makes `image` the CPU's state. An error is an exception of the new task.
fn load(cpu: &mut Cpu, image: &Image, nested: bool) -> Result<(), Exception> {
    if let Some(cr3) = image.cr3
        && cpu.control.cr0.contains(Cr0::PG)
    {
        cpu.write_cr3(cr3)?;
    }
    for (number, value) in image.gpr.into_iter().enumerate() {
        // A 16-bit TSS has the low halves; the high ones are undefined, and stay.
        cpu.set_gpr(if image.wide { Width::W32 } else { Width::W16 }, number, value);
    }
    cpu.rip = image.ip;
    let vm86 = image.wide && image.flags.contains(Flags::VM);
    for (seg, selector) in Seg::ALL.into_iter().zip(image.selectors) {
        put(cpu, seg, if vm86 { vm86::segment(selector) } else { null_segment(selector, 0) });
    }
    cpu.cpl = if vm86 { 3 } else { rpl(image.selectors[Seg::Cs as usize]) };
    // The upper half, which a 16-bit TSS does not have, becomes zero.
    let mut flags = image.flags & Flags::ALL;
    flags.set(Flags::NT, nested || flags.contains(Flags::NT));
    cpu.set_rflags(flags);
    cpu.segments.ldtr = null_segment(image.ldt, 0);
    cpu.mode_changed();

    load_ldt(cpu, image.ldt)?;
    if vm86 {
        return if image.ip > 0xFFFF { Err(Exception::GP0) } else { Ok(()) };
    }
    load_code(cpu, image)?;
    load_stack(cpu, image.selectors[Seg::Ss as usize])?;
    for seg in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
        let selector = image.selectors[seg as usize];
        if !is_null(selector) {
            let descriptor = fetch(cpu, selector, vector::TS)?;
            let segment = checked_data(cpu, selector, &descriptor, vector::TS)?;
            put(cpu, seg, segment);
        }
    }
    if image.ip > u64::from(cpu.seg(Seg::Cs).limit) {
        return Err(Exception::GP0);
    }
    Ok(())
}

fn load_ldt(cpu: &mut Cpu, selector: u16) -> Result<(), Exception> {
    if is_null(selector) {
        return Ok(());
    }
    if is_local(selector) {
        return Err(Exception::ts(selector));
    }
    let descriptor = fetch(cpu, selector, vector::TS)?;
    if descriptor.system_type() != Some(system_type::LDT) || !descriptor.present() {
        return Err(Exception::ts(selector));
    }
    cpu.segments.ldtr = descriptor.system_segment(0);
    Ok(())
}

fn load_code(cpu: &mut Cpu, image: &Image) -> Result<(), Exception> {
    let selector = image.selectors[Seg::Cs as usize];
    if is_null(selector) {
        return Err(Exception::ts(selector));
    }
    let code = fetch(cpu, selector, vector::TS)?;
    let level_fits = if code.is_conforming() { code.dpl() <= cpu.cpl } else { code.dpl() == cpu.cpl };
    if !code.is_code() || !level_fits {
        return Err(Exception::ts(selector));
    }
    if !code.present() {
        return Err(Exception::np(selector));
    }
    code.mark_accessed(cpu)?;
    put(cpu, Seg::Cs, code.segment(selector));
    Ok(())
}

fn load_stack(cpu: &mut Cpu, selector: u16) -> Result<(), Exception> {
    if is_null(selector) {
        return Err(Exception::ts(selector));
    }
    let descriptor = fetch(cpu, selector, vector::TS)?;
    let segment = checked_stack(cpu, selector, &descriptor, cpu.cpl, vector::TS)?;
    put(cpu, Seg::Ss, segment);
    cpu.mode_changed();
    Ok(())
}

/// Pushes the error code of an exception on the new task's stack, as wide as its TSS.
fn push_error(cpu: &mut Cpu, image: &Image, error: Option<u32>) -> Result<(), Exception> {
    let Some(error) = error else { return Ok(()) };
    let w = if image.wide { Width::W32 } else { Width::W16 };
    cpu.mode_changed();
    let mut stack = Stack::current(cpu);
    stack.push(cpu, w, error.into())?;
    stack.commit(cpu);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::slot, microcode::testing::*};

    const NEW: u16 = 0x60;
    const NEW_TSS: u64 = 0x6000;

    /// A second, available 32-bit TSS whose task runs kernel code at 0x2000.
    fn with_second_task(level: u8) -> Box<Cpu> {
        let cpu = protected(level);
        put_u64(&cpu, GDT + u64::from(NEW), 0x0000_E900_6000_0067);
        put_u32(&cpu, NEW_TSS + 0x20, 0x2000);
        put_u32(&cpu, NEW_TSS + 0x24, 2);
        put_u32(&cpu, NEW_TSS + 0x28, 0xAAAA_AAAA);
        put_u32(&cpu, NEW_TSS + 0x38, 0x7000);
        for (number, selector) in [KERNEL_DS, KERNEL_CS, KERNEL_DS, KERNEL_DS, 0, 0].into_iter().enumerate() {
            put_u32(&cpu, NEW_TSS + 0x48 + 4 * number as u64, selector.into());
        }
        cpu
    }

    #[test]
    fn a_call_nests_and_iret_returns() {
        let mut cpu = with_second_task(3);
        cpu.rip = 0x1234;
        cpu.regs[slot::RAX] = 0x5555;
        switch(&mut cpu, NEW, Reason::Call).unwrap();

        assert_eq!(
            (cpu.rip, cpu.cpl, cpu.regs[slot::RAX], cpu.regs[slot::RSP]),
            (0x2000, 0, 0xAAAA_AAAA, 0x7000)
        );
        assert!(cpu.rflags().contains(Flags::NT) && cpu.control.cr0.contains(Cr0::TS));
        assert_eq!((cpu.segments.tr.selector, get_u32(&cpu, NEW_TSS) as u16), (NEW, TSS_SELECTOR));
        assert_eq!((get_u32(&cpu, TSS + 0x20), get_u32(&cpu, TSS + 0x28)), (0x1234, 0x5555));
        assert_eq!(get_u64(&cpu, GDT + u64::from(NEW)) >> 41 & 1, 1);

        return_to_previous(&mut cpu).unwrap();

        assert_eq!((cpu.rip, cpu.cpl, cpu.regs[slot::RAX]), (0x1234, 3, 0x5555));
        assert!(!cpu.rflags().contains(Flags::NT));
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Ss).selector), (USER_CS, USER_DS));
        assert_eq!(get_u64(&cpu, GDT + u64::from(NEW)) >> 41 & 1, 0);
    }

    #[test]
    fn a_jump_to_a_busy_task_faults_in_the_old_one() {
        let mut cpu = with_second_task(0);
        let before = cpu.save_state();
        assert_eq!(switch(&mut cpu, TSS_SELECTOR, Reason::Jump), Err(Exception::gp(TSS_SELECTOR)));
        assert_eq!(cpu.save_state(), before);
    }

    #[test]
    fn a_fault_through_a_task_gate_pushes_its_error_code_on_the_new_stack() {
        let mut cpu = with_second_task(3);
        put_u64(&cpu, IDT + 13 * 8, 0x85 << 40 | u64::from(NEW) << 16);
        cpu.rip = 0x1234;
        deliver_exception(&mut cpu, Exception::gp(0x50));
        assert_eq!((cpu.rip, cpu.regs[slot::RSP], get_u32(&cpu, 0x6FFC)), (0x2000, 0x6FFC, 0x50));
        assert_eq!(get_u32(&cpu, TSS + 0x20), 0x1234);
        assert_ne!(get_u32(&cpu, TSS + 0x24) & Flags::RF.bits(), 0);
    }

    #[test]
    fn a_bad_segment_is_an_exception_of_the_new_task() {
        let mut cpu = with_second_task(3);
        put_u32(&cpu, NEW_TSS + 0x48 + 12, ABSENT_DS.into());
        set_gate(&cpu, vector::NP, 14, KERNEL_CS, 0x3000);
        switch(&mut cpu, NEW, Reason::Jump).unwrap();
        assert_eq!((cpu.rip, cpu.segments.tr.selector), (0x3000, NEW));
        assert_eq!(get_u64(&cpu, cpu.regs[slot::RSP]), 0x2000 << 32 | u64::from(ABSENT_DS));
    }

    #[test]
    fn the_trap_bit_is_a_pending_debug_trap() {
        let mut cpu = with_second_task(0);
        put_u32(&cpu, NEW_TSS + 0x64, 1);
        switch(&mut cpu, NEW, Reason::Jump).unwrap();
        assert_eq!(cpu.events.pending_debug, debug::dr6::BT);
    }

    #[test]
    fn a_task_can_run_in_virtual_8086_mode() {
        let mut cpu = with_second_task(0);
        put_u32(&cpu, NEW_TSS + 0x24, Flags::VM.bits() | 2);
        switch(&mut cpu, NEW, Reason::Jump).unwrap();
        assert!(cpu.mode.is_vm86());
        assert_eq!((cpu.cpl, cpu.seg(Seg::Cs).base), (3, 0x80));
    }
}
