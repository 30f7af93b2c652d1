//! Tests of one local APIC's registers.

use super::*;
use crate::apic::{BROADCAST, Destination, LocalApicState, Message};
use emu_core::clock::TimerQueue;
use proptest::prelude::*;
use rstest::rstest;

const ID: u16 = 0x20;
const TPR: u16 = 0x80;
const PPR: u16 = 0xA0;
const EOI: u16 = 0xB0;
const LDR: u16 = 0xD0;
const DFR: u16 = 0xE0;
const SVR: u16 = 0xF0;
const ESR: u16 = 0x280;
const ICR: u16 = 0x300;
const ICR_HIGH: u16 = 0x310;
const LVT_TIMER: u16 = 0x320;
const LVT_LINT0: u16 = 0x350;
const LVT_LINT1: u16 = 0x360;
const LVT_ERROR: u16 = 0x370;
const INITIAL_COUNT: u16 = 0x380;
const CURRENT_COUNT: u16 = 0x390;
const DIVIDE: u16 = 0x3E0;

struct Bench {
    apic: LocalApic,
    signal: Arc<VcpuSignal>,
    clock: VmClock,
    queue: Arc<TimerQueue>,
}

impl Bench {
    /// APIC 5, software-enabled, spurious vector 0xFF; bus and TSC at 1 GHz.
    fn new() -> Self {
        let clock = VmClock::counted(0);
        let queue = TimerQueue::new(clock.clone());
        let signal = Arc::new(VcpuSignal::default());
        let config = config(&clock);
        let apic = LocalApic::new(&config, 5, true, queue.timer(), signal.clone());
        let mut bench = Bench { apic, signal, clock, queue };
        bench.write(SVR, 0x1FF);
        bench
    }

    fn write(&mut self, offset: u16, value: u32) {
        let _effect = self.effect(offset, value);
    }

    /// What a write asks of the other APICs.
    fn effect(&mut self, offset: u16, value: u32) -> Effect {
        self.apic.mmio_write(offset, 4, value.into())
    }

    fn wrmsr(&mut self, msr: u32, value: u64) {
        assert_eq!(self.apic.msr_write(msr, value), Some(Effect::None));
    }

    fn read(&mut self, offset: u16) -> u32 {
        self.apic.mmio_read(offset, 4) as u32
    }

    fn raised(&self, bit: u32) -> bool {
        self.signal.requests() & bit != 0
    }

    fn fixed(&mut self, vector: u8, level: bool) -> bool {
        let destination = Destination::Physical(5);
        self.apic.deliver(&Message { destination, mode: DeliveryMode::Fixed, vector, level })
    }

    fn advance(&mut self, nanos: u64) {
        self.clock.advance(nanos);
        if self.queue.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.queue.fire_due();
            self.apic.timer_expired();
        }
    }

    fn x2apic() -> Self {
        let mut bench = Bench::new();
        bench.wrmsr(0x1B, 0xFEE0_0D00);
        bench
    }
}

fn config(clock: &VmClock) -> ApicConfig {
    ApicConfig {
        clock: clock.clone(),
        bus_hz: 1_000_000_000,
        tsc_hz: 1_000_000_000,
        x2apic: true,
        tsc_deadline: true,
    }
}

#[rstest]
#[case::id(ID, 0x0500_0000)]
#[case::version(0x30, 0x0105_0014)]
#[case::tpr(TPR, 0)]
#[case::ldr(LDR, 0)]
#[case::dfr(DFR, 0xFFFF_FFFF)]
#[case::svr(SVR, 0xFF)]
#[case::lvt_timer(LVT_TIMER, 0x1_0000)]
#[case::lvt_lint0(LVT_LINT0, 0x1_0000)]
#[case::lvt_error(LVT_ERROR, 0x1_0000)]
#[case::initial_count(INITIAL_COUNT, 0)]
fn registers_have_their_reset_values(#[case] offset: u16, #[case] value: u32) {
    let mut bench = Bench::new();
    bench.apic.reset();
    assert_eq!(bench.read(offset), value);
    assert_eq!(bench.apic.msr_read(0x1B), Some(0xFEE0_0900));
}

#[test]
fn the_highest_vector_goes_first_and_lower_classes_wait_for_eoi() {
    let mut bench = Bench::new();
    bench.fixed(0x35, false);
    bench.fixed(0x41, false);
    assert!(bench.raised(request::INTERRUPT));
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
    assert_eq!((bench.read(PPR), bench.raised(request::INTERRUPT)), (0x40, false));
    // Same class, higher vector: waits too.
    bench.fixed(0x4F, false);
    assert!(!bench.raised(request::INTERRUPT));
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Nothing);
    assert_eq!(bench.effect(EOI, 0), Effect::None);
    assert!(bench.raised(request::INTERRUPT));
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x4F));
}

#[test]
fn the_task_priority_holds_interrupts_back_and_is_cr8() {
    let mut bench = Bench::new();
    bench.apic.set_cr8(4);
    assert_eq!(bench.read(TPR), 0x40);
    bench.fixed(0x4F, false);
    assert!(!bench.raised(request::INTERRUPT));
    bench.write(TPR, 0x3F);
    assert_eq!((bench.raised(request::INTERRUPT), bench.apic.cr8()), (true, 3));
    bench.apic.set_cr8(0xF);
    assert!(!bench.raised(request::INTERRUPT));
}

#[test]
fn eoi_of_a_level_interrupt_is_broadcast_unless_suppressed() {
    let mut bench = Bench::new();
    for (svr, effect) in [(0x1FF, Effect::EndOfInterrupt(0x41)), (0x11FF, Effect::None)] {
        bench.write(SVR, svr);
        bench.fixed(0x41, true);
        assert_eq!(bench.read(0x180 + 0x20), 1 << 1, "TMR");
        assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
        assert_eq!(bench.effect(EOI, 0), effect);
    }
    assert_eq!(bench.effect(EOI, 0), Effect::None, "nothing in service");
}

#[test]
fn a_software_disabled_apic_masks_its_lvt_and_takes_no_fixed_interrupt_but_nmi_and_init() {
    let mut bench = Bench::new();
    bench.write(LVT_TIMER, 0x41);
    bench.write(SVR, 0xFF);
    assert_eq!(bench.read(LVT_TIMER), 0x1_0041);
    bench.write(LVT_TIMER, 0x42);
    assert_eq!(bench.read(LVT_TIMER), 0x1_0042);
    assert!(!bench.fixed(0x41, false));
    let nmi =
        Message { destination: Destination::Physical(5), mode: DeliveryMode::Nmi, vector: 0, level: false };
    assert!(bench.apic.deliver(&nmi) && bench.raised(request::NMI));
    assert!(bench.apic.deliver(&Message { mode: DeliveryMode::Init, ..nmi }) && bench.raised(request::INIT));
}

#[test]
fn init_voids_an_older_start_up_and_keeps_the_id() {
    let mut bench = Bench::new();
    let destination = Destination::Physical(5);
    bench.apic.deliver(&Message { destination, mode: DeliveryMode::StartUp, vector: 0x9A, level: false });
    assert!(bench.raised(request::STARTUP));
    assert_eq!(bench.signal.startup_vector(), 0x9A);
    bench.apic.deliver(&Message { destination, mode: DeliveryMode::Init, vector: 0, level: false });
    assert!(!bench.raised(request::STARTUP));
    assert_eq!((bench.read(SVR), bench.read(ID)), (0xFF, 0x0500_0000));
}

#[rstest]
#[case::power_on(false, None)]
#[case::virtual_wire(true, Some(0x700))]
fn the_8259_reaches_the_processor(#[case] enabled: bool, #[case] lint0: Option<u32>) {
    let mut bench = Bench::new();
    bench.write(SVR, if enabled { 0x1FF } else { 0xFF });
    if let Some(entry) = lint0 {
        bench.write(LVT_LINT0, entry);
    }
    bench.apic.set_lint(0, true);
    assert!(bench.raised(request::INTERRUPT));
    assert_eq!(bench.apic.acknowledge(), Acknowledge::External);
    // The wire is still high: more is pending at the 8259.
    assert!(bench.raised(request::INTERRUPT));
    bench.apic.set_lint(0, false);
    assert!(!bench.raised(request::INTERRUPT));
}

#[test]
fn a_masked_lint0_of_an_enabled_apic_holds_the_8259_back() {
    let mut bench = Bench::new();
    bench.apic.set_lint(0, true);
    assert!(!bench.raised(request::INTERRUPT));
    bench.write(LVT_LINT0, 0x700);
    assert!(bench.raised(request::INTERRUPT));
}

#[test]
fn without_its_apic_a_processor_has_intr_and_nmi_pins() {
    let mut bench = Bench::new();
    bench.wrmsr(0x1B, 0xFEE0_0100);
    bench.apic.set_lint(0, true);
    bench.apic.set_lint(1, true);
    assert!(bench.raised(request::INTERRUPT) && bench.raised(request::NMI));
    assert_eq!(bench.apic.page(), None);
}

#[test]
fn lint1_delivers_one_nmi_per_edge() {
    let mut bench = Bench::new();
    bench.write(LVT_LINT1, 0x400);
    bench.apic.set_lint(1, true);
    assert_eq!(bench.signal.take(request::NMI), request::NMI);
    bench.apic.set_lint(1, true);
    assert!(!bench.raised(request::NMI));
}

#[test]
fn a_level_triggered_lint_interrupts_again_after_eoi_while_asserted() {
    let mut bench = Bench::new();
    bench.write(LVT_LINT0, 0x8041);
    bench.apic.set_lint(0, true);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
    assert_eq!(bench.read(LVT_LINT0), 0xC041);
    bench.write(EOI, 0);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
    bench.apic.set_lint(0, false);
    bench.write(EOI, 0);
    assert_eq!((bench.apic.acknowledge(), bench.read(LVT_LINT0)), (Acknowledge::Nothing, 0x8041));
}

#[rstest]
#[case::flat(0xFFFF_FFFF, 0x0400_0000, Destination::Logical(0x06), true)]
#[case::flat_other(0xFFFF_FFFF, 0x0400_0000, Destination::Logical(0x03), false)]
#[case::cluster(0x0FFF_FFFF, 0x2400_0000, Destination::Logical(0x26), true)]
#[case::other_cluster(0x0FFF_FFFF, 0x2400_0000, Destination::Logical(0x36), false)]
#[case::all_clusters(0x0FFF_FFFF, 0x2400_0000, Destination::Logical(0xF4), true)]
#[case::everybody(0xFFFF_FFFF, 0, Destination::Logical(BROADCAST), true)]
#[case::physical(0xFFFF_FFFF, 0, Destination::Physical(5), true)]
#[case::physical_other(0xFFFF_FFFF, 0, Destination::Physical(4), false)]
fn destinations_match(#[case] dfr: u32, #[case] ldr: u32, #[case] to: Destination, #[case] matches: bool) {
    let mut bench = Bench::new();
    bench.write(DFR, dfr);
    bench.write(LDR, ldr);
    assert_eq!(bench.apic.is_addressed(to), matches);
}

#[test]
fn a_periodic_timer_interrupts_each_period() {
    let mut bench = Bench::new();
    bench.write(DIVIDE, 0b1011);
    bench.write(LVT_TIMER, 0x2_0041);
    bench.write(INITIAL_COUNT, 50_000);
    for _ in 0..3 {
        bench.advance(49_999);
        assert_eq!((bench.read(CURRENT_COUNT), bench.apic.acknowledge()), (1, Acknowledge::Nothing));
        bench.advance(1);
        assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
        bench.write(EOI, 0);
    }
}

#[test]
fn reading_a_count_of_zero_has_delivered_the_interrupt() {
    let mut bench = Bench::new();
    bench.write(DIVIDE, 0b1011);
    bench.write(LVT_TIMER, 0x41);
    bench.write(INITIAL_COUNT, 100);
    bench.clock.advance(100);
    assert_eq!(bench.read(CURRENT_COUNT), 0);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
    // The queue fires after all: nothing is owed any more.
    bench.apic.timer_expired();
    assert!(!bench.apic.has_interrupt());
}

#[test]
fn a_tsc_deadline_in_the_past_interrupts_at_once() {
    let mut bench = Bench::new();
    bench.clock.advance(1000);
    bench.write(LVT_TIMER, 0x4_0041);
    bench.wrmsr(0x6E0, 999);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
    assert_eq!(bench.apic.msr_read(0x6E0), Some(0));
    bench.wrmsr(0x6E0, 5000);
    assert_eq!((bench.queue.next_deadline(), bench.apic.msr_read(0x6E0)), (Some(5000), Some(5000)));
}

#[test]
fn errors_are_collected_and_latched_by_a_write_and_interrupt_once() {
    let mut bench = Bench::new();
    bench.write(LVT_ERROR, 0x51);
    bench.read(0x3F0);
    assert_eq!(bench.read(ESR), 0);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x51));
    bench.write(EOI, 0);
    assert_eq!(bench.effect(ICR, 0x4_0005), Effect::None);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x51));
    bench.write(EOI, 0);
    bench.fixed(3, false);
    bench.write(ESR, 0);
    assert_eq!(bench.read(ESR), 0xE0);
    bench.write(ESR, 0);
    assert_eq!(bench.read(ESR), 0);
}

#[test]
fn a_command_is_sent_when_its_low_half_is_written_and_reads_back_idle() {
    let mut bench = Bench::new();
    assert_eq!(bench.effect(ICR_HIGH, 0x0300_0000), Effect::None);
    let message = Message {
        destination: Destination::Physical(3),
        mode: DeliveryMode::Fixed,
        vector: 0x41,
        level: false,
    };
    assert_eq!(bench.effect(ICR, 0x1041), Effect::Ipi(Ipi { shorthand: Shorthand::None, message }));
    assert_eq!((bench.read(ICR), bench.read(ICR_HIGH)), (0x41, 0x0300_0000));
}

#[test]
fn narrow_reads_see_bytes_and_only_aligned_dwords_write() {
    let mut bench = Bench::new();
    assert_eq!(bench.apic.mmio_read(0x32, 1), 0x05);
    assert_eq!(bench.apic.mmio_read(0x34, 4), 0);
    assert_eq!(bench.apic.mmio_write(TPR, 1, 0x30), Effect::None);
    assert_eq!(bench.read(TPR), 0);
}

#[rstest]
#[case::x2apic_to_xapic(&[0xFEE0_0D00], 0xFEE0_0900, false)]
#[case::x2apic_off(&[0xFEE0_0D00], 0xFEE0_0100, true)]
#[case::off_to_x2apic(&[0xFEE0_0100], 0xFEE0_0D00, false)]
#[case::off_to_xapic(&[0xFEE0_0100], 0xFEE0_0900, true)]
#[case::extd_without_en(&[], 0xFEE0_0500, false)]
#[case::moved(&[], 0xFED0_0900, true)]
#[case::reserved_low(&[], 0xFEE0_0901, false)]
#[case::reserved_high(&[], 0x8000_0000_FEE0_0900, false)]
fn the_base_register_takes_legal_transitions_only(
    #[case] before: &[u64],
    #[case] value: u64,
    #[case] legal: bool,
) {
    let mut bench = Bench::new();
    for &step in before {
        bench.wrmsr(0x1B, step);
    }
    assert_eq!(bench.apic.msr_write(0x1B, value).is_some(), legal);
}

#[rstest]
#[case::id(0x802, Some(5))]
#[case::ldr(0x80D, Some(1 << 5))]
#[case::svr(0x80F, Some(0x1FF))]
#[case::icr(0x830, Some(0))]
#[case::eoi_is_write_only(0x80B, None)]
#[case::no_dfr(0x80E, None)]
#[case::no_apr(0x809, None)]
#[case::no_high_icr(0x831, None)]
#[case::self_ipi_is_write_only(0x83F, None)]
#[case::nothing_there(0x840, None)]
fn x2apic_reads(#[case] msr: u32, #[case] value: Option<u64>) {
    assert_eq!(Bench::x2apic().apic.msr_read(msr), value);
}

#[rstest]
#[case::eoi(0x80B, 0, true)]
#[case::eoi_nonzero(0x80B, 1, false)]
#[case::id(0x802, 5, false)]
#[case::tpr(0x808, 0xFF, true)]
#[case::tpr_wide(0x808, 0x100, false)]
#[case::esr_nonzero(0x828, 1, false)]
#[case::timer(0x832, 0x7_10FF, true)]
#[case::timer_reserved(0x832, 0x100, false)]
#[case::lint(0x835, 0x1_F7FF, true)]
#[case::wide(0x838, 1 << 32, false)]
#[case::icr_reserved(0x830, 1 << 13, false)]
#[case::icr_status(0x830, 1 << 12, false)]
fn x2apic_writes_check_reserved_bits(#[case] msr: u32, #[case] value: u64, #[case] legal: bool) {
    assert_eq!(Bench::x2apic().apic.msr_write(msr, value).is_some(), legal);
}

#[test]
fn x2apic_addresses_by_cluster_and_interrupts_itself() {
    let mut bench = Bench::x2apic();
    assert!(bench.apic.is_addressed(Destination::Logical(0x20)));
    assert!(!bench.apic.is_addressed(Destination::Logical(0x1_0020)));
    bench.wrmsr(0x83F, 0x41);
    assert_eq!(bench.apic.acknowledge(), Acknowledge::Vector(0x41));
}

#[test]
fn x2apic_msrs_do_not_exist_in_xapic_mode_nor_modes_that_cpuid_lacks() {
    let mut bench = Bench::new();
    assert_eq!(bench.apic.msr_read(0x802), None);
    let config = ApicConfig { x2apic: false, tsc_deadline: false, ..config(&bench.clock) };
    let mut apic = LocalApic::new(&config, 0, true, bench.queue.timer(), bench.signal.clone());
    assert_eq!(apic.msr_write(0x1B, 0xFEE0_0D00), None);
    assert_eq!((apic.msr_read(0x6E0), apic.msr_write(0x6E0, 0)), (None, None));
}

#[test]
fn a_restored_apic_has_its_registers_its_timer_and_its_request() {
    let mut bench = Bench::new();
    bench.write(DIVIDE, 0b1011);
    bench.write(LVT_TIMER, 0x4_0041);
    bench.wrmsr(0x6E0, 5000);
    bench.fixed(0x61, true);
    let state: LocalApicState = bench.apic.save();

    let queue = TimerQueue::new(bench.clock.clone());
    let signal = Arc::new(VcpuSignal::default());
    let fresh = LocalApic::new(&config(&bench.clock), 5, true, queue.timer(), signal.clone());
    let restored = fresh.with_state(state.clone()).unwrap();

    assert_eq!(restored.save(), state);
    assert_eq!(queue.next_deadline(), Some(5000));
    assert_ne!(signal.requests() & request::INTERRUPT, 0);
}

#[test]
fn a_state_of_another_processor_is_refused() {
    let bench = Bench::new();
    let signal = Arc::new(VcpuSignal::default());
    let fresh = LocalApic::new(&config(&bench.clock), 6, true, bench.queue.timer(), signal);
    assert!(fresh.with_state(bench.apic.save()).is_err());
}

proptest! {
    #[test]
    fn no_access_panics(accesses in prop::collection::vec((0u8..6, any::<u16>(), 0u8..9, any::<u64>()), 1..200)) {
        let mut bench = Bench::new();
        for (kind, offset, size, value) in accesses {
            let size = 1 << (size & 3);
            match kind {
                0 => { bench.apic.mmio_read(offset & 0xFFF, size); }
                1 => { let _effect = bench.apic.mmio_write(offset & 0xFF0, 4, value); }
                2 => { let _effect = bench.apic.mmio_write(offset & 0xFFF, size, value); }
                3 => { let _effect = bench.apic.msr_write(0x800 + u32::from(offset & 0xFF), value & 0xFFFF); }
                4 => { let _effect = bench.apic.msr_write(if offset & 1 == 0 { 0x1B } else { 0x6E0 }, value); }
                _ => {
                    bench.apic.acknowledge();
                    bench.apic.set_lint(usize::from(offset & 1), value & 1 != 0);
                    bench.advance(value & 0xFFFF);
                }
            }
            bench.apic.has_interrupt();
        }
    }
}
