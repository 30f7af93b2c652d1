//! The sixteen ISA interrupts of the board: wired to both 8259As and to the I/O APIC, IRQ 0 at its pin 2.
//!
//! Several sources may share an interrupt, as COM1 and COM3 do: it is asserted while any of them asserts it.
//! While the HPET replaces PIT and RTC at IRQ 0 and 8, only the HPET's wires count there (IA-PC HPET 1.0a, 2.3.9).

use emu_core::bus::{IrqLine, IrqSink};
use emu_devices::{apic::IoApicPins, i8259::I8259Inputs};
use parking_lot::Mutex;
use std::sync::Arc;

/// Who drives an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The device that the interrupt is for.
    Device = 0,
    /// A second device at the same interrupt.
    Second = 1,
    /// The HPET.
    Hpet = 2,
    /// The PCI interrupt router.
    Pci = 3,
    /// The PC test device.
    Test = 4,
}

const IRQS: usize = 16;
/// A wire's pin is the IRQ, plus the source times this.
const SOURCE_STRIDE: u32 = IRQS as u32;
/// The pin that switches legacy replacement.
const REPLACEMENT_PIN: u32 = u32::MAX;
/// IRQs that the HPET can take over.
const REPLACEABLE: [usize; 2] = [0, 8];

/// One interrupt: who asserts it, and who counts.
struct Input {
    asserted: u8,
    counting: u8,
}

impl Input {
    fn level(&self) -> bool {
        self.asserted & self.counting != 0
    }
}

/// The ISA interrupts.
pub struct IsaInterrupts {
    pic: I8259Inputs,
    io_apic: Arc<IoApicPins>,
    inputs: [Mutex<Input>; IRQS],
}

impl IsaInterrupts {
    /// Interrupts that end at `pic` and `io_apic`.
    pub fn new(pic: I8259Inputs, io_apic: Arc<IoApicPins>) -> Arc<Self> {
        let counting = !(1 << Source::Hpet as u8);
        let inputs = std::array::from_fn(|_| Mutex::new(Input { asserted: 0, counting }));
        Arc::new(IsaInterrupts { pic, io_apic, inputs })
    }

    /// A wire by which `source` drives `irq`.
    pub fn wire(self: &Arc<Self>, irq: u8, source: Source) -> IrqLine {
        IrqLine::new(self.clone(), u32::from(irq) + SOURCE_STRIDE * source as u32)
    }

    /// The wire by which the HPET takes over IRQ 0 and 8.
    pub fn replacement_wire(self: &Arc<Self>) -> IrqLine {
        IrqLine::new(self.clone(), REPLACEMENT_PIN)
    }

    /// Changes an input and lets both controllers see the change, in the order in which changes happen.
    fn change(&self, irq: usize, change: impl FnOnce(&mut Input)) {
        let mut input = self.inputs[irq].lock();
        let before = input.level();
        change(&mut input);
        let level = input.level();
        if level != before {
            self.pic.set_level(irq as u32, level);
            match irq {
                0 => self.io_apic.set_level(2, level),
                // The cascade is not a wire that leaves the chips.
                2 => {}
                _ => self.io_apic.set_level(irq as u32, level),
            }
        }
    }
}

impl IrqSink for IsaInterrupts {
    fn set_level(&self, pin: u32, level: bool) {
        if pin == REPLACEMENT_PIN {
            let hpet = 1 << Source::Hpet as u8;
            for irq in REPLACEABLE {
                self.change(irq, |input| input.counting = if level { hpet } else { !hpet });
            }
            return;
        }
        let (irq, bit) = (pin % SOURCE_STRIDE, 1_u8 << ((pin / SOURCE_STRIDE) & 7));
        self.change(irq as usize, |input| {
            input.asserted = if level { input.asserted | bit } else { input.asserted & !bit };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::{
        bus::{MmioIo, PortIo},
        clock::{TimerQueue, VmClock},
        engine::VcpuSignal,
    };
    use emu_devices::{
        apic::{ApicBus, ApicConfig, ApicWires, IoApic},
        i8259::{I8259Pair, MASTER},
    };

    struct Bench {
        pic: Arc<Mutex<I8259Pair>>,
        io_apic: IoApic,
        apics: Arc<ApicBus>,
        isa: Arc<IsaInterrupts>,
        _timers: Arc<TimerQueue>,
    }

    fn bench() -> Bench {
        let clock = VmClock::counted(0);
        let timers = TimerQueue::new(clock.clone());
        let config = ApicConfig { clock, bus_hz: 1, tsc_hz: 1, x2apic: false, tsc_deadline: false };
        let wires = ApicWires { apic_id: 0, timer: timers.timer(), signal: Arc::<VcpuSignal>::default() };
        let apics = ApicBus::new(&config, vec![wires]).share();
        let io_apic = IoApic::new(apics.clone());
        let pic = Arc::new(Mutex::new(I8259Pair::new(IrqLine::unconnected())));
        let isa = IsaInterrupts::new(I8259Inputs(pic.clone()), io_apic.pins());
        Bench { pic, io_apic, apics, isa, _timers: timers }
    }

    #[test]
    fn a_shared_interrupt_is_asserted_until_the_last_source_lets_go() {
        let bench = bench();
        // ICW1 with level-triggered mode: IRR shows the wires themselves.
        let irr = |bench: &Bench| {
            let mut pic = bench.pic.lock();
            for (offset, value) in [(0, 0x19), (1, 0x20), (1, 4), (1, 1), (0, 0x0A)] {
                pic.port_write(MASTER, offset, 1, value).unwrap();
            }
            pic.port_read(MASTER, 0, 1).unwrap()
        };
        let (com1, com3) = (bench.isa.wire(4, Source::Device), bench.isa.wire(4, Source::Second));

        com1.set(true);
        com3.set(true);
        com1.set(false);
        assert_eq!(irr(&bench), 1 << 4);
        com3.set(false);
        assert_eq!(irr(&bench), 0);
    }

    #[test]
    fn irq_0_arrives_at_pin_2_of_the_io_apic() {
        let mut bench = bench();
        bench.apics.mmio_write(0, 0xF0, 4, 0x1FF);
        // Entry of pin 2: vector 0x30, edge, open.
        bench.io_apic.mmio_write(0, 0, 4, 0x14).unwrap();
        bench.io_apic.mmio_write(0, 0x10, 4, 0x30).unwrap();

        bench.isa.wire(0, Source::Device).pulse();

        assert!(bench.apics.has_interrupt(0));
    }

    #[test]
    fn the_hpet_replaces_the_pit_only_while_it_says_so() {
        let bench = bench();
        let (pit, hpet) = (bench.isa.wire(0, Source::Device), bench.isa.wire(0, Source::Hpet));
        let level = |bench: &Bench| bench.isa.inputs[0].lock().level();

        hpet.set(true);
        assert!(!level(&bench), "not connected yet");
        bench.isa.replacement_wire().set(true);
        assert!(level(&bench));
        hpet.set(false);
        pit.set(true);
        assert!(!level(&bench), "cut off");
        bench.isa.replacement_wire().set(false);
        assert!(level(&bench));
    }
}
