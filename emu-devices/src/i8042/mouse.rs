//! The mouse at the end of the second PS/2 cable: a Microsoft IntelliMouse or Explorer, to guests that know
//! how to ask; a plain PS/2 mouse to others. IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft's
//! IntelliMouse notes for the knock that enables wheel and side buttons.
//!
//! Left out: the sample rate limits nothing, packets leave as fast as the guest reads.

use super::keyboard::{ACK, RESEND, SELF_TEST_PASSED};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bytes that may wait for the controller: four packets.
const BUFFER: usize = 16;
/// Sample rate and resolution at power-on.
const SAMPLE_RATE: u8 = 100;
const RESOLUTION: u8 = 2;
/// The 9-bit movement of a packet.
const STEP: std::ops::RangeInclusive<i32> = -256..=255;
/// The 4-bit wheel movement of a packet.
const NOTCH: std::ops::RangeInclusive<i32> = -8..=7;

/// Buttons, as bits.
pub mod button {
    /// Left button.
    pub const LEFT: u8 = 1 << 0;
    /// Right button.
    pub const RIGHT: u8 = 1 << 1;
    /// Middle button, usually the wheel.
    pub const MIDDLE: u8 = 1 << 2;
    /// Fourth button.
    pub const SIDE: u8 = 1 << 3;
    /// Fifth button.
    pub const EXTRA: u8 = 1 << 4;
}

/// A command that waits for its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Parameter {
    SampleRate,
    Resolution,
}

/// What the mouse says it is, and what its packets look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// Three bytes.
    Ps2,
    /// Four bytes: a wheel.
    IntelliMouse,
    /// Four bytes: a wheel and five buttons.
    Explorer,
}

impl Kind {
    fn id(self) -> u8 {
        match self {
            Kind::Ps2 => 0,
            Kind::IntelliMouse => 3,
            Kind::Explorer => 4,
        }
    }
}

/// Who asks for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    /// The mouse sends what happens.
    Stream,
    /// The guest asks.
    Remote,
}

/// The mouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mouse {
    buffer: VecDeque<u8>,
    last: u8,
    parameter: Option<Parameter>,
    kind: Kind,
    mode: Mode,
    /// Every byte is sent back.
    wrap: bool,
    /// Data reporting, in stream mode.
    reporting: bool,
    /// Scaling 2:1.
    scaling: bool,
    resolution: u8,
    sample_rate: u8,
    /// The last three sample rates: the knock.
    rates: [u8; 3],
    /// Movement since the last packet, right and up.
    dx: i32,
    dy: i32,
    /// Wheel movement since the last packet, towards the user.
    wheel: i32,
    buttons: u8,
    /// Buttons have changed since the last packet.
    clicked: bool,
}

impl Mouse {
    /// A mouse that has passed its self-test and does not report.
    pub fn new() -> Self {
        Mouse {
            buffer: VecDeque::with_capacity(BUFFER),
            last: 0,
            parameter: None,
            kind: Kind::Ps2,
            mode: Mode::Stream,
            wrap: false,
            reporting: false,
            scaling: false,
            resolution: RESOLUTION,
            sample_rate: SAMPLE_RATE,
            rates: [0; 3],
            dx: 0,
            dy: 0,
            wheel: 0,
            buttons: 0,
            clicked: false,
        }
    }

    /// Whether the buffer has its size: saved state may say anything.
    pub fn is_sound(&self) -> bool {
        self.buffer.len() <= BUFFER
    }

    /// The mouse moves right and up, its wheel turns towards the user, `buttons` are down.
    pub fn moved(&mut self, dx: i32, dy: i32, wheel: i32, buttons: u8) {
        self.dx = self.dx.saturating_add(dx);
        self.dy = self.dy.saturating_add(dy);
        self.wheel = self.wheel.saturating_add(wheel);
        self.clicked |= self.buttons != buttons;
        self.buttons = buttons;
        self.stream();
    }

    /// The next byte the mouse sends.
    pub fn send(&mut self) -> Option<u8> {
        let byte = self.buffer.pop_front()?;
        self.last = byte;
        // Movement that found no room in the buffer follows.
        self.stream();
        Some(byte)
    }

    /// Sends a packet if there is something to say and nothing else is being said.
    fn stream(&mut self) {
        if self.mode != Mode::Stream || !self.reporting || self.wrap {
            return;
        }
        if self.kind == Kind::Ps2 {
            self.wheel = 0;
        }
        let news = self.clicked || self.dx != 0 || self.dy != 0 || self.wheel != 0;
        // What happens while a packet waits adds up: a slow guest gets fewer packets, not older ones.
        if news && self.buffer.is_empty() {
            self.send_packet(self.scaling);
        }
    }

    fn send_packet(&mut self, scaled: bool) {
        let (x, y) = (take(&mut self.dx, STEP), take(&mut self.dy, STEP));
        let z = take(&mut self.wheel, NOTCH);
        self.clicked = false;
        let (x, y) = if scaled { (scale(x), scale(y)) } else { (x, y) };
        let overflow = |v: i32| u8::from(!STEP.contains(&v));
        let head = self.buttons & 7
            | 1 << 3
            | u8::from(x < 0) << 4
            | u8::from(y < 0) << 5
            | overflow(x) << 6
            | overflow(y) << 7;
        let x = x.clamp(*STEP.start(), *STEP.end()) as u8;
        let y = y.clamp(*STEP.start(), *STEP.end()) as u8;
        match self.kind {
            Kind::Ps2 => self.answer(&[head, x, y]),
            Kind::IntelliMouse => self.answer(&[head, x, y, z as u8]),
            Kind::Explorer => self.answer(&[head, x, y, z as u8 & 0xF | (self.buttons & 0x18) << 1]),
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() <= BUFFER {
            self.buffer.extend(bytes);
        }
    }

    fn forget_movement(&mut self) {
        (self.dx, self.dy, self.wheel, self.clicked) = (0, 0, 0, false);
    }

    fn set_defaults(&mut self) {
        self.reporting = false;
        self.scaling = false;
        self.resolution = RESOLUTION;
        self.sample_rate = SAMPLE_RATE;
        self.mode = Mode::Stream;
        self.forget_movement();
    }

    fn status(&self) -> [u8; 3] {
        // Here the buttons are in the order right, middle, left.
        let buttons = (self.buttons & button::LEFT) << 2
            | (self.buttons & button::MIDDLE) >> 1
            | (self.buttons & button::RIGHT) >> 1;
        let flags = u8::from(self.scaling) << 4
            | u8::from(self.reporting) << 5
            | u8::from(self.mode == Mode::Remote) << 6;
        [flags | buttons, self.resolution, self.sample_rate]
    }

    /// A byte comes from the controller.
    pub fn receive(&mut self, value: u8) {
        if self.wrap && !matches!(value, 0xEC | 0xFF) {
            return self.answer(&[value]);
        }
        match self.parameter.take() {
            Some(parameter) => self.take_parameter(parameter, value),
            None => {
                // A command ends what is being sent.
                self.buffer.clear();
                self.command(value);
            }
        }
    }

    fn take_parameter(&mut self, parameter: Parameter, value: u8) {
        match (parameter, value) {
            (Parameter::SampleRate, 10..=200) => {
                self.sample_rate = value;
                self.rates.rotate_left(1);
                self.rates[2] = value;
                match self.rates {
                    [200, 100, 80] if self.kind == Kind::Ps2 => self.kind = Kind::IntelliMouse,
                    [200, 200, 80] => self.kind = Kind::Explorer,
                    _ => {}
                }
            }
            (Parameter::Resolution, 0..=3) => self.resolution = value,
            _ => return self.answer(&[RESEND]),
        }
        self.answer(&[ACK]);
    }

    fn command(&mut self, value: u8) {
        match value {
            0xE6 => self.scaling = false,
            0xE7 => self.scaling = true,
            0xE8 => self.parameter = Some(Parameter::Resolution),
            0xE9 => {
                let [flags, resolution, rate] = self.status();
                return self.answer(&[ACK, flags, resolution, rate]);
            }
            0xEA => {
                self.mode = Mode::Stream;
                self.forget_movement();
            }
            0xEB => {
                self.answer(&[ACK]);
                return self.send_packet(false);
            }
            0xEC => self.wrap = false,
            0xEE => self.wrap = true,
            0xF0 => {
                self.mode = Mode::Remote;
                self.forget_movement();
            }
            0xF2 => return self.answer(&[ACK, self.kind.id()]),
            0xF3 => self.parameter = Some(Parameter::SampleRate),
            0xF4 => {
                self.reporting = true;
                self.forget_movement();
            }
            0xF5 => {
                self.reporting = false;
                self.forget_movement();
            }
            0xF6 => self.set_defaults(),
            0xFE => return self.answer(&[self.last]),
            0xFF => {
                *self = Mouse { buttons: self.buttons, ..Mouse::new() };
                return self.answer(&[ACK, SELF_TEST_PASSED, Kind::Ps2.id()]);
            }
            _ => return self.answer(&[RESEND]),
        }
        self.answer(&[ACK]);
    }
}

/// Takes as much from `movement` as a packet can say.
fn take(movement: &mut i32, limits: std::ops::RangeInclusive<i32>) -> i32 {
    let part = (*movement).clamp(*limits.start(), *limits.end());
    *movement -= part;
    part
}

/// Scaling 2:1, as the manual's table has it.
fn scale(movement: i32) -> i32 {
    let scaled = match movement.abs() {
        small @ 0..=1 => small,
        2 => 1,
        3 => 3,
        4 => 6,
        5 => 9,
        large => 2 * large,
    };
    scaled * movement.signum()
}
