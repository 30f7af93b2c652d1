//! The keyboard at the end of the first PS/2 cable: its commands and its buffer. IBM PS/2 Hardware Interface
//! Technical Reference, "Keyboards (101- and 102-key)".
//!
//! Left out: scan code set 3, and typematic repetition (whoever reports key events repeats them).

use super::scancode::{Key, ScanCodeSet};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Answers.
pub const ACK: u8 = 0xFA;
pub const RESEND: u8 = 0xFE;
pub const SELF_TEST_PASSED: u8 = 0xAA;
const ECHO: u8 = 0xEE;
/// An MF2 keyboard.
const IDENT: [u8; 2] = [0xAB, 0x83];

/// Scan codes the keyboard buffers.
const BUFFER: usize = 16;
/// Answers that may wait on top: a guest that only commands and never reads gets no more.
const ANSWERS: usize = 16;
/// Typematic rate and delay at power-on.
const TYPEMATIC: u8 = 0x2B;

/// A command that waits for its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Parameter {
    Leds,
    ScanCodeSet,
    Typematic,
    /// Codes of single keys for set 3; taken and ignored.
    KeyType,
}

/// The keyboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    buffer: VecDeque<u8>,
    /// What was sent last, for a resend.
    last: u8,
    parameter: Option<Parameter>,
    scanning: bool,
    set: ScanCodeSet,
    leds: u8,
    typematic: u8,
}

impl Keyboard {
    /// A keyboard that has passed its self-test and scans.
    pub fn new() -> Self {
        Keyboard {
            buffer: VecDeque::with_capacity(BUFFER + ANSWERS),
            last: 0,
            parameter: None,
            scanning: true,
            set: ScanCodeSet::Two,
            leds: 0,
            typematic: TYPEMATIC,
        }
    }

    /// Whether the buffer has its size: saved state may say anything.
    pub fn is_sound(&self) -> bool {
        self.buffer.len() <= BUFFER + ANSWERS
    }

    /// Scroll Lock, Num Lock and Caps Lock in bits 0 to 2.
    pub fn leds(&self) -> u8 {
        self.leds
    }

    /// A key goes down or up.
    pub fn key(&mut self, key: Key, pressed: bool) {
        if !self.scanning {
            return;
        }
        let sequence = key.sequence(self.set, pressed);
        if self.buffer.len() + sequence.bytes().len() <= BUFFER {
            self.buffer.extend(sequence.bytes());
        } else if self.buffer.len() <= BUFFER {
            // The last place tells of the overrun, once.
            let overrun = if self.set == ScanCodeSet::One { 0xFF } else { 0x00 };
            if self.buffer.back() != Some(&overrun) {
                self.buffer.push_back(overrun);
            }
        }
    }

    /// The next byte the keyboard sends.
    pub fn send(&mut self) -> Option<u8> {
        let byte = self.buffer.pop_front()?;
        self.last = byte;
        Some(byte)
    }

    fn answer(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() <= BUFFER + ANSWERS {
            self.buffer.extend(bytes);
        }
    }

    fn set_defaults(&mut self) {
        self.set = ScanCodeSet::Two;
        self.typematic = TYPEMATIC;
    }

    /// A byte comes from the controller.
    pub fn receive(&mut self, value: u8) {
        // A parameter's place may be taken by a new command, which then counts.
        match self.parameter.take() {
            Some(parameter) if value < 0xED => self.take_parameter(parameter, value),
            _ => self.command(value),
        }
    }

    fn take_parameter(&mut self, parameter: Parameter, value: u8) {
        match parameter {
            Parameter::Leds => self.leds = value & 7,
            Parameter::Typematic => self.typematic = value & 0x7F,
            Parameter::KeyType => {}
            Parameter::ScanCodeSet => match value {
                0 => {
                    let set = if self.set == ScanCodeSet::One { 1 } else { 2 };
                    return self.answer(&[ACK, set]);
                }
                1 => self.set = ScanCodeSet::One,
                2 => self.set = ScanCodeSet::Two,
                _ => return self.answer(&[RESEND]),
            },
        }
        self.answer(&[ACK]);
    }

    fn command(&mut self, value: u8) {
        match value {
            0xED => self.expect(Parameter::Leds),
            0xEE => self.answer(&[ECHO]),
            0xF0 => self.expect(Parameter::ScanCodeSet),
            0xF2 => {
                let [first, second] = IDENT;
                self.answer(&[ACK, first, second]);
            }
            0xF3 => self.expect(Parameter::Typematic),
            0xF4 => {
                self.buffer.clear();
                self.scanning = true;
                self.answer(&[ACK]);
            }
            0xF5 => {
                self.buffer.clear();
                self.set_defaults();
                self.scanning = false;
                self.answer(&[ACK]);
            }
            0xF6 => {
                self.buffer.clear();
                self.set_defaults();
                self.answer(&[ACK]);
            }
            // Key types of set 3, for all keys.
            0xF7..=0xFA => self.answer(&[ACK]),
            0xFB..=0xFD => self.expect(Parameter::KeyType),
            0xFE => self.answer(&[self.last]),
            0xFF => {
                *self = Keyboard::new();
                self.answer(&[ACK, SELF_TEST_PASSED]);
            }
            _ => self.answer(&[RESEND]),
        }
    }

    fn expect(&mut self, parameter: Parameter) {
        self.parameter = Some(parameter);
        self.answer(&[ACK]);
    }
}
