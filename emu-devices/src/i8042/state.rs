//! Saving the controller with its devices, and making them again.

use super::{
    ANSWERS, CommandByte, I8042, I8042Wires, OutputPort, Parameter, Source, keyboard::Keyboard, mouse::Mouse,
    scancode::Translation,
};
use emu_core::bus::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Saved registers of the controller and its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct I8042State {
    keyboard: Keyboard,
    mouse: Mouse,
    translation: Translation,
    answers: VecDeque<(u8, Source)>,
    output: Option<(u8, Source)>,
    last: u8,
    parameter: Option<Parameter>,
    command_last: bool,
    ram: [u8; 32],
    command_byte: u8,
    output_port: u8,
}

impl Snapshot for I8042 {
    type State = I8042State;
    type Args = I8042Wires;

    fn save(&self) -> I8042State {
        let I8042 {
            wires: _,
            asserted: _,
            keyboard,
            mouse,
            translation,
            answers,
            output,
            last,
            parameter,
            command_last,
            ram,
            command_byte,
            output_port,
        } = self;
        I8042State {
            keyboard: keyboard.clone(),
            mouse: mouse.clone(),
            translation: translation.clone(),
            answers: answers.clone(),
            output: *output,
            last: *last,
            parameter: *parameter,
            command_last: *command_last,
            ram: *ram,
            command_byte: command_byte.bits(),
            output_port: output_port.bits(),
        }
    }

    fn restore(wires: I8042Wires, state: I8042State) -> Result<Self, String> {
        let I8042State {
            keyboard,
            mouse,
            translation,
            answers,
            output,
            last,
            parameter,
            command_last,
            ram,
            command_byte,
            output_port,
        } = state;
        if !keyboard.is_sound() || !mouse.is_sound() || answers.len() > ANSWERS {
            return Err("keyboard, mouse or answers: more bytes than their buffers hold".to_owned());
        }
        let output_port = OutputPort::from_bits_truncate(output_port);
        wires.a20.set(output_port.contains(OutputPort::A20));
        let mut controller = I8042 {
            wires,
            asserted: (false, false),
            keyboard,
            mouse,
            translation,
            answers,
            output,
            last,
            parameter,
            command_last,
            ram,
            command_byte: CommandByte::from_bits_retain(command_byte),
            output_port,
        };
        controller.drive();
        Ok(controller)
    }
}
