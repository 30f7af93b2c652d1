//! Saving a UART and making it again.

use super::{
    ModemLines, Uart16550, UartWires,
    receiver::Fifo,
    registers::{Fcr, Ier, Lcr, Lsr, Mcr},
};
use emu_core::bus::Snapshot;
use serde::{Deserialize, Serialize};

/// Saved registers of a UART.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UartState {
    fifo: Fifo,
    thre_pending: bool,
    timeout_pending: bool,
    timeout_at: Option<u64>,
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    lsr_errors: u8,
    modem: u8,
    msr_deltas: u8,
    scr: u8,
    divisor: u16,
}

impl Snapshot for Uart16550 {
    type State = UartState;
    type Args = UartWires;

    fn save(&self) -> UartState {
        // Whether the host waits is the host's affair: it asks anew after a restore.
        let Uart16550 {
            wires: _,
            asserted: _,
            refused: _,
            fifo,
            thre_pending,
            timeout_pending,
            timeout_at,
            ier,
            fcr,
            lcr,
            mcr,
            lsr_errors,
            modem,
            msr_deltas,
            scr,
            divisor,
        } = self;
        UartState {
            fifo: fifo.clone(),
            thre_pending: *thre_pending,
            timeout_pending: *timeout_pending,
            timeout_at: *timeout_at,
            ier: ier.bits(),
            fcr: fcr.bits(),
            lcr: lcr.bits(),
            mcr: mcr.bits(),
            lsr_errors: lsr_errors.bits(),
            modem: modem.bits(),
            msr_deltas: *msr_deltas,
            scr: *scr,
            divisor: *divisor,
        }
    }

    fn restore(wires: UartWires, state: UartState) -> Result<Self, String> {
        let UartState {
            fifo,
            thre_pending,
            timeout_pending,
            timeout_at,
            ier,
            fcr,
            lcr,
            mcr,
            lsr_errors,
            modem,
            msr_deltas,
            scr,
            divisor,
        } = state;
        if !fifo.is_sound() {
            return Err("fifo: more characters than a 16550 holds".to_owned());
        }
        if let Some(at) = timeout_at {
            wires.timer.arm(at);
        }
        let mut uart = Uart16550 {
            wires,
            asserted: false,
            refused: false,
            fifo,
            thre_pending,
            timeout_pending,
            timeout_at,
            ier: Ier::from_bits_truncate(ier),
            fcr: Fcr::from_bits_truncate(fcr),
            lcr: Lcr::from_bits_truncate(lcr),
            mcr: Mcr::from_bits_truncate(mcr),
            lsr_errors: Lsr::from_bits_truncate(lsr_errors) & Lsr::ERRORS,
            modem: ModemLines::from_bits_truncate(modem),
            msr_deltas: msr_deltas & 0x0F,
            scr,
            divisor,
        };
        uart.drive();
        Ok(uart)
    }
}
