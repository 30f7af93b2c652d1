//! Where the INTx wires of PCI functions go: wired together into PIRQA-H, and from there to the I/O APIC and,
//! as the LPC bridge's PIRQ routing registers say, to an ISA interrupt. ICH9 datasheet, 5.8.6 and 13.1.13.

use emu_core::bus::{IrqLine, IrqSink, Snapshot};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Interrupt wires of the chipset: PIRQA to PIRQH.
pub const PIRQS: usize = 8;
const DEVICES: u8 = 32;
const PINS: u8 = 4;
/// Bit 7 of PIRQx_ROUT: not to an ISA interrupt.
const NOT_ISA: u8 = 1 << 7;
/// The ISA interrupts that a PIRQ can be routed to.
const ISA_CHOICES: u16 = 0b1101_1110_1111_1000;

/// The PIRQ (0 is PIRQA) that `pin` (0 is INTA#) of device number `device` is wired to: each device one further,
/// over all eight. The firmware's tables say the same.
pub const fn pirq(device: u8, pin: u8) -> usize {
    device.wrapping_add(pin) as usize % PIRQS
}

/// The global system interrupt (I/O APIC input) of a PIRQ.
pub const fn pirq_gsi(pirq: usize) -> u32 {
    16 + pirq as u32
}

/// Input number, at [`PciInterrupts`], of `pin` (0 is INTA#) of device number `device`.
pub const fn input(device: u8, pin: u8) -> u32 {
    device as u32 * PINS as u32 + pin as u32
}

/// Where the PIRQs end.
pub struct PirqWires {
    /// I/O APIC inputs 16 to 23.
    pub io_apic: [IrqLine; PIRQS],
    /// ISA interrupts 0 to 15, level-triggered when used here.
    pub isa: [IrqLine; 16],
}

/// Levels and routes, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptState {
    /// Asserted pins, one byte for each device.
    asserted: [u8; DEVICES as usize],
    /// PIRQx_ROUT.
    routes: [u8; PIRQS],
}

impl InterruptState {
    const AT_RESET: InterruptState =
        InterruptState { asserted: [0; DEVICES as usize], routes: [NOT_ISA; PIRQS] };

    fn pirq_level(&self, number: usize) -> bool {
        let wired = |device: u8, pin: u8| {
            pirq(device, pin) == number && self.asserted[usize::from(device)] & 1 << pin != 0
        };
        (0..DEVICES).any(|device| (0..PINS).any(|pin| wired(device, pin)))
    }

    /// The ISA interrupt of a PIRQ.
    fn isa(&self, number: usize) -> Option<usize> {
        let route = self.routes[number];
        let choice = usize::from(route & 0xF);
        (route & NOT_ISA == 0 && ISA_CHOICES & 1 << choice != 0).then_some(choice)
    }

    /// ISA interrupts that are routed to, as a set.
    fn isa_used(&self) -> u16 {
        (0..PIRQS).filter_map(|number| self.isa(number)).fold(0, |set, isa| set | 1 << isa)
    }

    fn isa_level(&self, isa: usize) -> bool {
        (0..PIRQS).any(|number| self.isa(number) == Some(isa) && self.pirq_level(number))
    }
}

/// The interrupt router. As an [`IrqSink`] its inputs are the INTx pins, numbered by [`input`].
pub struct PciInterrupts {
    wires: PirqWires,
    state: Mutex<InterruptState>,
}

impl PciInterrupts {
    /// The router at power-on, nothing asserted.
    pub fn new(wires: PirqWires) -> Self {
        PciInterrupts { wires, state: Mutex::new(InterruptState::AT_RESET) }
    }

    /// Sets the PIRQx_ROUT register of PIRQ `number`.
    pub(super) fn set_route(&self, number: usize, route: u8) {
        let mut state = self.state.lock();
        if state.routes[number] != route {
            let before = state.isa_used();
            state.routes[number] = route;
            let touched = before | state.isa_used();
            self.drive_isa(&state, touched);
        }
    }

    fn drive_isa(&self, state: &InterruptState, touched: u16) {
        for (isa, line) in self.wires.isa.iter().enumerate().filter(|(isa, _)| touched & 1 << isa != 0) {
            line.set(state.isa_level(isa));
        }
    }
}

impl IrqSink for PciInterrupts {
    fn set_level(&self, number: u32, level: bool) {
        let (device, pin) = ((number / u32::from(PINS)) as usize, (number % u32::from(PINS)) as u8);
        let mut state = self.state.lock();
        let Some(asserted) = state.asserted.get_mut(device) else {
            return;
        };
        let now = *asserted & !(1 << pin) | u8::from(level) << pin;
        if *asserted != now {
            *asserted = now;
            let number = pirq(device as u8, pin);
            self.wires.io_apic[number].set(state.pirq_level(number));
            let touched = state.isa(number).map_or(0, |isa| 1 << isa);
            self.drive_isa(&state, touched);
        }
    }
}

impl Snapshot for PciInterrupts {
    type State = InterruptState;
    type Args = PirqWires;

    fn save(&self) -> InterruptState {
        let PciInterrupts { wires: _, state } = self;
        state.lock().clone()
    }

    fn restore(wires: PirqWires, state: InterruptState) -> Result<Self, String> {
        for (number, line) in wires.io_apic.iter().enumerate() {
            line.set(state.pirq_level(number));
        }
        let router = PciInterrupts { wires, state: Mutex::new(state) };
        let state = router.state.lock();
        router.drive_isa(&state, state.isa_used());
        drop(state);
        Ok(router)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Levels of I/O APIC inputs (bits 16-23) and ISA interrupts (bits 0-15).
    #[derive(Default)]
    struct Levels(Mutex<u32>);

    impl IrqSink for Levels {
        fn set_level(&self, pin: u32, level: bool) {
            let mut levels = self.0.lock();
            *levels = *levels & !(1 << pin) | u32::from(level) << pin;
        }
    }

    fn router() -> (PciInterrupts, Arc<Levels>) {
        let levels = Arc::<Levels>::default();
        (PciInterrupts::new(wires(&levels)), levels)
    }

    fn wires(levels: &Arc<Levels>) -> PirqWires {
        let line = |pin| IrqLine::new(levels.clone(), pin);
        PirqWires {
            io_apic: std::array::from_fn(|number| line(pirq_gsi(number))),
            isa: std::array::from_fn(|isa| line(isa as u32)),
        }
    }

    #[test]
    fn functions_share_a_wire_until_the_last_lets_go() {
        let (router, levels) = router();
        assert_eq!(pirq(1, 0), pirq(9, 0));
        router.set_level(input(1, 0), true);
        router.set_level(input(9, 0), true);
        router.set_level(input(1, 0), false);
        assert_eq!(*levels.0.lock(), 1 << pirq_gsi(1));
        router.set_level(input(9, 0), false);
        assert_eq!(*levels.0.lock(), 0);
    }

    #[test]
    fn a_route_moves_an_asserted_interrupt() {
        let (router, levels) = router();
        router.set_level(input(1, 0), true);
        router.set_route(1, 10);
        assert_eq!(*levels.0.lock(), 1 << 17 | 1 << 10);
        router.set_route(1, 11);
        assert_eq!(*levels.0.lock(), 1 << 17 | 1 << 11);
        router.set_route(1, 0x8B);
        assert_eq!(*levels.0.lock(), 1 << 17);
        // IRQ 8 is the RTC's alone.
        router.set_route(1, 8);
        assert_eq!(*levels.0.lock(), 1 << 17);
    }

    #[test]
    fn a_restored_router_drives_its_wires() {
        let (router, _levels) = router();
        router.set_level(input(0x1F, 1), true);
        router.set_route(pirq(0x1F, 1), 5);
        let levels = Arc::<Levels>::default();
        let restored = PciInterrupts::restore(wires(&levels), router.save()).unwrap();
        assert_eq!((restored.save(), *levels.0.lock()), (router.save(), 1 << 16 | 1 << 5));
    }
}
