//! 8042 keyboard controller of the PC/AT and PS/2 at ports 60h and 64h, with a keyboard and a mouse. IBM PS/2
//! Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
//!
//! Bytes take no time on the cables: as soon as the output buffer is read the next one is in it. At power-on
//! the controller is as firmware leaves it: keyboard interrupt and translation on. Left out: the password
//! commands beyond saying that there is none, the diagnostic dump, polling the input port into the status.

mod keyboard;
mod mouse;
mod scancode;
mod state;
#[cfg(test)]
mod tests;

pub use mouse::button;
pub use scancode::Key;
pub use state::I8042State;

use bitflags::bitflags;
use emu_core::bus::{Device, IoError, IoResult, IrqLine, PortIo};
use keyboard::Keyboard;
use mouse::Mouse;
use scancode::Translation;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Region of port 60h.
pub const DATA: u8 = 0;
/// Region of port 64h.
pub const COMMAND: u8 = 1;

bitflags! {
    /// Status register, port 64h. The input buffer is never full.
    struct Status: u8 {
        const OBF = 1 << 0;
        const SYS = 1 << 2;
        const COMMAND = 1 << 3;
        const UNLOCKED = 1 << 4;
        const AUX_OBF = 1 << 5;
    }

    /// Controller command byte: byte 0 of the controller's RAM.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct CommandByte: u8 {
        const KEYBOARD_INT = 1 << 0;
        const AUX_INT = 1 << 1;
        const SYS = 1 << 2;
        const KEYBOARD_DISABLE = 1 << 4;
        const AUX_DISABLE = 1 << 5;
        const TRANSLATE = 1 << 6;
    }

    /// Output port, commands D0h and D1h.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct OutputPort: u8 {
        /// 0 resets the CPU.
        const RESET = 1 << 0;
        const A20 = 1 << 1;
        const KEYBOARD_OBF = 1 << 4;
        const AUX_OBF = 1 << 5;
    }
}

/// Input port, command C0h: the keyboard is not locked.
const INPUT_PORT: u8 = 0x80;
const CONTROLLER_PASSED: u8 = 0x55;
const INTERFACE_PASSED: u8 = 0x00;
const NO_PASSWORD: u8 = 0xF1;
/// Answers of the controller that may wait.
const ANSWERS: usize = 16;

/// Whose byte is in the output buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    /// The controller, or the keyboard: they share an interrupt.
    Keyboard,
    Aux,
}

/// What the next byte written to port 60h is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Parameter {
    Ram(u8),
    OutputPort,
    KeyboardOutput,
    AuxOutput,
    Aux,
    /// Bytes of a password, up to a zero; not kept.
    Password,
}

/// What the controller is connected to.
#[derive(Debug, Clone)]
pub struct I8042Wires {
    /// IRQ 1.
    pub keyboard_irq: IrqLine,
    /// IRQ 12.
    pub mouse_irq: IrqLine,
    /// High while the controller lets A20 through. The board ORs it with port 92h's.
    pub a20: IrqLine,
    /// Pulsed to reset the CPU.
    pub reset: IrqLine,
}

/// The controller with both devices. Regions [`DATA`] and [`COMMAND`], one port each.
#[derive(Debug)]
pub struct I8042 {
    wires: I8042Wires,
    /// Levels of the interrupt wires: keyboard, mouse.
    asserted: (bool, bool),
    keyboard: Keyboard,
    mouse: Mouse,
    translation: Translation,
    /// Answers of the controller that wait for the output buffer.
    answers: VecDeque<(u8, Source)>,
    /// The output buffer while it is full.
    output: Option<(u8, Source)>,
    /// What port 60h reads as when it is not.
    last: u8,
    parameter: Option<Parameter>,
    /// The last write was to port 64h.
    command_last: bool,
    /// The controller's RAM from byte 1 on; byte 0 is `command_byte`.
    ram: [u8; 32],
    command_byte: CommandByte,
    /// RESET and A20; the rest follows from the output buffer.
    output_port: OutputPort,
}

impl I8042 {
    /// The controller at power-on. A20 is open.
    pub fn new(wires: I8042Wires) -> Self {
        wires.a20.set(true);
        I8042 {
            wires,
            asserted: (false, false),
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
            translation: Translation::default(),
            answers: VecDeque::with_capacity(ANSWERS),
            output: None,
            last: 0,
            parameter: None,
            command_last: false,
            ram: [0; 32],
            command_byte: CommandByte::KEYBOARD_INT | CommandByte::SYS | CommandByte::TRANSLATE,
            output_port: OutputPort::RESET | OutputPort::A20,
        }
    }

    /// A key goes down or up; also while it is held down, for repetition.
    pub fn key_event(&mut self, key: Key, pressed: bool) {
        self.keyboard.key(key, pressed);
        self.pump();
    }

    /// The mouse moves by `dx` to the right and `dy` up, its wheel by `wheel` notches towards the user, with
    /// `buttons` (see [`button`]) held.
    pub fn mouse_event(&mut self, dx: i32, dy: i32, wheel: i32, buttons: u8) {
        self.mouse.moved(dx, dy, wheel, buttons);
        self.pump();
    }

    /// The keyboard's lights: Scroll Lock, Num Lock and Caps Lock in bits 0 to 2.
    pub fn leds(&self) -> u8 {
        self.keyboard.leds()
    }

    /// Fills the output buffer if it is empty, then brings the interrupt wires in line.
    fn pump(&mut self) {
        if self.output.is_none() {
            self.output =
                self.answers.pop_front().or_else(|| self.take_keyboard()).or_else(|| self.take_mouse());
            if let Some((byte, _)) = self.output {
                self.last = byte;
            }
        }
        self.drive();
    }

    fn take_keyboard(&mut self) -> Option<(u8, Source)> {
        while !self.command_byte.contains(CommandByte::KEYBOARD_DISABLE) {
            let byte = self.keyboard.send()?;
            if !self.command_byte.contains(CommandByte::TRANSLATE) {
                return Some((byte, Source::Keyboard));
            }
            if let Some(byte) = self.translation.translate(byte) {
                return Some((byte, Source::Keyboard));
            }
        }
        None
    }

    fn take_mouse(&mut self) -> Option<(u8, Source)> {
        if self.command_byte.contains(CommandByte::AUX_DISABLE) {
            return None;
        }
        Some((self.mouse.send()?, Source::Aux))
    }

    fn drive(&mut self) {
        let source = self.output.map(|(_, source)| source);
        let keyboard =
            source == Some(Source::Keyboard) && self.command_byte.contains(CommandByte::KEYBOARD_INT);
        let mouse = source == Some(Source::Aux) && self.command_byte.contains(CommandByte::AUX_INT);
        if keyboard != self.asserted.0 {
            self.wires.keyboard_irq.set(keyboard);
        }
        if mouse != self.asserted.1 {
            self.wires.mouse_irq.set(mouse);
        }
        self.asserted = (keyboard, mouse);
    }

    fn answer(&mut self, byte: u8, source: Source) {
        if self.answers.len() < ANSWERS {
            self.answers.push_back((byte, source));
        }
    }

    fn read_data(&mut self) -> u8 {
        if let Some((byte, _)) = self.output.take() {
            self.last = byte;
        }
        let byte = self.last;
        // The wire falls before the next byte raises it: each byte is an edge.
        self.drive();
        self.pump();
        byte
    }

    fn read_status(&self) -> u8 {
        let mut status = Status::UNLOCKED;
        status.set(Status::OBF, self.output.is_some());
        status.set(Status::AUX_OBF, matches!(self.output, Some((_, Source::Aux))));
        status.set(Status::SYS, self.command_byte.contains(CommandByte::SYS));
        status.set(Status::COMMAND, self.command_last);
        status.bits()
    }

    fn write_data(&mut self, value: u8) {
        self.command_last = false;
        match self.parameter.take() {
            None => {
                // Sending to a device opens its cable.
                self.command_byte -= CommandByte::KEYBOARD_DISABLE;
                self.keyboard.receive(value);
            }
            Some(Parameter::Aux) => {
                self.command_byte -= CommandByte::AUX_DISABLE;
                self.mouse.receive(value);
            }
            Some(Parameter::Ram(0)) => self.command_byte = CommandByte::from_bits_retain(value),
            Some(Parameter::Ram(at)) => self.ram[usize::from(at & 0x1F)] = value,
            Some(Parameter::OutputPort) => self.write_output_port(OutputPort::from_bits_truncate(value)),
            Some(Parameter::KeyboardOutput) => self.answer(value, Source::Keyboard),
            Some(Parameter::AuxOutput) => self.answer(value, Source::Aux),
            Some(Parameter::Password) if value != 0 => self.parameter = Some(Parameter::Password),
            Some(Parameter::Password) => {}
        }
        self.pump();
    }

    fn write_output_port(&mut self, value: OutputPort) {
        self.output_port = value & (OutputPort::RESET | OutputPort::A20);
        self.wires.a20.set(value.contains(OutputPort::A20));
        if !value.contains(OutputPort::RESET) {
            self.wires.reset.pulse();
        }
    }

    fn read_output_port(&self) -> u8 {
        let mut port = self.output_port;
        port.set(OutputPort::KEYBOARD_OBF, matches!(self.output, Some((_, Source::Keyboard))));
        port.set(OutputPort::AUX_OBF, matches!(self.output, Some((_, Source::Aux))));
        port.bits()
    }

    fn write_command(&mut self, value: u8) {
        self.command_last = true;
        // A command in the place of a parameter counts as a command.
        self.parameter = None;
        let answer = |this: &mut Self, byte| this.answer(byte, Source::Keyboard);
        match value {
            0x20 => answer(self, self.command_byte.bits()),
            0x21..=0x3F => answer(self, self.ram[usize::from(value & 0x1F)]),
            0x60..=0x7F => self.parameter = Some(Parameter::Ram(value & 0x1F)),
            0xA4 => answer(self, NO_PASSWORD),
            0xA5 => self.parameter = Some(Parameter::Password),
            0xA7 => self.command_byte |= CommandByte::AUX_DISABLE,
            0xA8 => self.command_byte -= CommandByte::AUX_DISABLE,
            0xA9 | 0xAB => answer(self, INTERFACE_PASSED),
            0xAA => {
                self.command_byte |= CommandByte::SYS;
                answer(self, CONTROLLER_PASSED);
            }
            0xAD => self.command_byte |= CommandByte::KEYBOARD_DISABLE,
            0xAE => self.command_byte -= CommandByte::KEYBOARD_DISABLE,
            0xC0 => answer(self, INPUT_PORT),
            0xD0 => answer(self, self.read_output_port()),
            0xD1 => self.parameter = Some(Parameter::OutputPort),
            0xD2 => self.parameter = Some(Parameter::KeyboardOutput),
            0xD3 => self.parameter = Some(Parameter::AuxOutput),
            0xD4 => self.parameter = Some(Parameter::Aux),
            0xDD => self.write_output_port(self.output_port - OutputPort::A20),
            0xDF => self.write_output_port(self.output_port | OutputPort::A20),
            // The test inputs: both clocks idle.
            0xE0 => answer(self, 0),
            // Pulses low those of the four lower output lines whose bit is 0; only RESET is wired to anything.
            0xF0..=0xFF if value & 1 == 0 => self.wires.reset.pulse(),
            _ => {}
        }
        self.pump();
    }
}

impl Device for I8042 {
    fn name(&self) -> &'static str {
        "i8042"
    }

    fn reset(&mut self) {
        let wires = self.wires.clone();
        wires.keyboard_irq.set(false);
        wires.mouse_irq.set(false);
        *self = I8042::new(wires);
    }
}

impl PortIo for I8042 {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (region, offset, size) {
            (DATA | COMMAND, 0, 2 | 4) => Err(IoError::Size),
            (DATA, 0, _) => Ok(self.read_data().into()),
            (COMMAND, 0, _) => Ok(self.read_status().into()),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (region, offset, size) {
            (DATA | COMMAND, 0, 2 | 4) => return Err(IoError::Size),
            (DATA, 0, _) => self.write_data(value as u8),
            (COMMAND, 0, _) => self.write_command(value as u8),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}
