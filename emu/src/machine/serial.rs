//! The host's side of the serial ports: guest to host through a [`ByteSink`], host to guest from a
//! [`SerialInput`], whose escape key also ends the machine.

use super::{
    chipset::Chipset,
    lifecycle::{Event, Lifecycle},
};
use crate::{
    config::MAX_SERIAL_PORTS,
    console::{ByteSink, ConsoleInput, SerialInput},
};
use emu_devices::serial::{SerialBackend, Uart16550};
use parking_lot::Mutex;
use std::{io, sync::Arc};

/// Where a serial port is.
#[derive(Debug, Clone, Copy)]
pub struct ComPort {
    /// First of its eight ports.
    pub port: u16,
    /// Its ISA interrupt.
    pub irq: u8,
}

/// COM1 to COM4.
pub const COM_PORTS: [ComPort; MAX_SERIAL_PORTS] = [
    ComPort { port: 0x3F8, irq: 4 },
    ComPort { port: 0x2F8, irq: 3 },
    ComPort { port: 0x3E8, irq: 4 },
    ComPort { port: 0x2E8, irq: 3 },
];

/// A device's output to the host.
pub struct Output(pub ByteSink);

impl SerialBackend for Output {
    fn transmit(&mut self, byte: u8) {
        self.0.put(byte);
    }
}

/// Inputs of the serial ports, until the machine starts.
pub struct Console {
    inputs: Vec<(SerialInput, Arc<Mutex<Uart16550>>)>,
    lifecycle: Arc<Lifecycle>,
}

impl Console {
    /// Inputs in the order of the ports.
    pub fn new(inputs: Vec<Option<SerialInput>>, chipset: &Chipset, lifecycle: &Arc<Lifecycle>) -> Self {
        let ports = inputs.into_iter().zip(&chipset.uarts);
        let inputs = ports.filter_map(|(input, uart)| Some((input?, uart.clone()))).collect();
        Console { inputs, lifecycle: lifecycle.clone() }
    }

    /// From now on the guest has the user's keys.
    pub fn start(&mut self) -> io::Result<()> {
        for (input, uart) in self.inputs.drain(..) {
            let lifecycle = self.lifecycle.clone();
            input.start(move |input| match input {
                ConsoleInput::Byte(byte) => uart.lock().receive(byte),
                ConsoleInput::Break => uart.lock().receive_break(),
                ConsoleInput::Quit => {
                    lifecycle.request(Event::Quit);
                    true
                }
            })?;
        }
        Ok(())
    }
}
