//! Scan codes: sets 1 and 2 as keyboards send them, and the controller's translation of set 2 into set 1. IBM
//! PS/2 Hardware Interface Technical Reference, "Keyboards"; 8042 keyboard controller ROM, translation table.

use serde::{Deserialize, Serialize};

/// A key, by its scan code of set 1, which hosts number keys by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A key of the first PC keyboard or one that continues its numbering: 0x01 (Esc) to 0x7F.
    Plain(u8),
    /// A key whose code is prefixed with E0.
    Extended(u8),
    /// Print Screen: two codes.
    PrintScreen,
    /// Pause: sends press and release at once, then nothing at release.
    Pause,
}

/// The set a keyboard sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScanCodeSet {
    /// Of the PC and XT: release is the code with bit 7 set.
    One,
    /// Of the AT: release is the code after F0.
    Two,
}

const EXTENDED: u8 = 0xE0;
const RELEASE: u8 = 0xF0;

/// Codes of set 2 in the order of set 1's, as the translation table in the 8042's ROM pairs them.
const SET2: [u8; 128] = [
    // 00: the overrun code, Esc, 1 to 0, - = Backspace Tab
    0x00, 0x76, 0x16, 0x1E, 0x26, 0x25, 0x2E, 0x36, 0x3D, 0x3E, 0x46, 0x45, 0x4E, 0x55, 0x66, 0x0D,
    // 10: Q to P, [ ] Enter Ctrl A S
    0x15, 0x1D, 0x24, 0x2D, 0x2C, 0x35, 0x3C, 0x43, 0x44, 0x4D, 0x54, 0x5B, 0x5A, 0x14, 0x1C, 0x1B,
    // 20: D to L, ; ' ` Shift \ Z X C V
    0x23, 0x2B, 0x34, 0x33, 0x3B, 0x42, 0x4B, 0x4C, 0x52, 0x0E, 0x12, 0x5D, 0x1A, 0x22, 0x21, 0x2A,
    // 30: B N M , . / Shift, keypad *, Alt, Space, Caps Lock, F1 to F5
    0x32, 0x31, 0x3A, 0x41, 0x49, 0x4A, 0x59, 0x7C, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0C, 0x03,
    // 40: F6 (F7) F8 F9 F10, Num Lock, Scroll Lock, keypad 7 8 9 - 4 5 6 + 1
    0x0B, 0x02, 0x0A, 0x01, 0x09, 0x77, 0x7E, 0x6C, 0x75, 0x7D, 0x7B, 0x6B, 0x73, 0x74, 0x79, 0x69,
    // 50: keypad 2 3 0 . (SysRq) -, the 102nd key, F11 F12, and codes of later keyboards
    0x72, 0x7A, 0x70, 0x71, 0x7F, 0x60, 0x61, 0x78, 0x07, 0x0F, 0x17, 0x1F, 0x27, 0x2F, 0x37, 0x3F,
    // 60
    0x47, 0x4F, 0x56, 0x5E, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x57, 0x6F,
    // 70
    0x13, 0x19, 0x39, 0x51, 0x53, 0x5C, 0x5F, 0x62, 0x63, 0x64, 0x65, 0x67, 0x68, 0x6A, 0x6D, 0x6E,
];

/// F7 and Alt+SysRq have codes beyond the table: set 1 code, what keyboards send in set 2.
const BEYOND: [(u8, u8); 2] = [(0x41, 0x83), (0x54, 0x84)];

/// Set 2 to set 1, for codes below 0x80.
const SET1: [u8; 128] = {
    let mut table = [0; 128];
    let mut code = 0;
    while code < 128 {
        table[SET2[code] as usize] = code as u8;
        code += 1;
    }
    table
};

fn set2_of(code: u8) -> u8 {
    let beyond = BEYOND.iter().find(|(set1, _)| *set1 == code);
    beyond.map_or(SET2[usize::from(code & 0x7F)], |&(_, set2)| set2)
}

/// The longest sequence: Pause in set 2.
const LONGEST: usize = 8;

/// What a key sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sequence {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Sequence {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(mut self, byte: u8) -> Self {
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    /// Adds press or release of a key by its code in set 1.
    fn code(self, set: ScanCodeSet, code: u8, pressed: bool) -> Self {
        match (set, pressed) {
            (ScanCodeSet::One, true) => self.push(code & 0x7F),
            (ScanCodeSet::One, false) => self.push(code | 0x80),
            (ScanCodeSet::Two, true) => self.push(set2_of(code)),
            (ScanCodeSet::Two, false) => self.push(RELEASE).push(set2_of(code)),
        }
    }
}

impl Key {
    /// What the key sends when pressed or released.
    pub fn sequence(self, set: ScanCodeSet, pressed: bool) -> Sequence {
        let none = Sequence::default();
        match self {
            Key::Plain(code) => none.code(set, code, pressed),
            Key::Extended(code) => none.push(EXTENDED).code(set, code, pressed),
            Key::PrintScreen => {
                // A shift around the key, as programs for the older keyboards expect; inside out at release.
                let (first, second) = if pressed { (0x2A, 0x37) } else { (0x37, 0x2A) };
                none.push(EXTENDED).code(set, first, pressed).push(EXTENDED).code(set, second, pressed)
            }
            Key::Pause if pressed => {
                let down = none.push(0xE1).code(set, 0x1D, true).code(set, 0x45, true).push(0xE1);
                down.code(set, 0x1D, false).code(set, 0x45, false)
            }
            Key::Pause => none,
        }
    }
}

/// The controller's translation of what a keyboard sends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Translation {
    /// F0 has come: the next code is a release.
    release: bool,
}

impl Translation {
    /// What `byte` becomes; nothing if it only announces the next.
    pub fn translate(&mut self, byte: u8) -> Option<u8> {
        if byte == RELEASE {
            self.release = true;
            return None;
        }
        let beyond = BEYOND.iter().find(|(_, set2)| *set2 == byte);
        let code = match (beyond, byte) {
            (Some(&(set1, _)), _) => set1,
            (None, 0x00..0x80) => SET1[usize::from(byte)],
            // Prefixes and answers to commands.
            (None, _) => byte,
        };
        Some(if std::mem::take(&mut self.release) { code | 0x80 } else { code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::a(Key::Plain(0x1E), &[0x1C], &[0xF0, 0x1C])]
    #[case::f7(Key::Plain(0x41), &[0x83], &[0xF0, 0x83])]
    #[case::up(Key::Extended(0x48), &[0xE0, 0x75], &[0xE0, 0xF0, 0x75])]
    #[case::left_gui(Key::Extended(0x5B), &[0xE0, 0x1F], &[0xE0, 0xF0, 0x1F])]
    #[case::print(Key::PrintScreen, &[0xE0, 0x12, 0xE0, 0x7C], &[0xE0, 0xF0, 0x7C, 0xE0, 0xF0, 0x12])]
    #[case::pause(Key::Pause, &[0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77], &[])]
    fn set_2(#[case] key: Key, #[case] press: &[u8], #[case] release: &[u8]) {
        assert_eq!(key.sequence(ScanCodeSet::Two, true).bytes(), press);
        assert_eq!(key.sequence(ScanCodeSet::Two, false).bytes(), release);
    }

    #[test]
    fn translated_set_2_is_set_1_for_every_key() {
        let plain = (1..=0x7F).map(Key::Plain);
        let extended = (1..=0x7F).map(Key::Extended);
        for key in plain.chain(extended).chain([Key::PrintScreen, Key::Pause]) {
            for pressed in [true, false] {
                let mut translation = Translation::default();
                let sent = key.sequence(ScanCodeSet::Two, pressed);
                let seen: Vec<u8> = sent.bytes().iter().filter_map(|&b| translation.translate(b)).collect();
                assert_eq!(seen, key.sequence(ScanCodeSet::One, pressed).bytes(), "{key:?} {pressed}");
            }
        }
    }

    #[test]
    fn answers_of_the_keyboard_pass_untranslated() {
        for byte in [0xFA, 0xFE, 0xAA, 0xEE, 0xAB] {
            assert_eq!(Translation::default().translate(byte), Some(byte));
        }
    }
}
