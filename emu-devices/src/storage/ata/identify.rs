//! What a drive says of itself: IDENTIFY DEVICE. ATA8-ACS, 7.16.

use super::{Cable, disk::Disk};

/// Who a drive says it is. ASCII; longer texts are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveIdentity {
    /// Serial number, 20 characters.
    pub serial: String,
    /// Firmware revision, 8 characters.
    pub firmware: String,
    /// Model, 40 characters.
    pub model: String,
}

/// 256 words, as IDENTIFY answers them.
pub struct Words([u16; 256]);

impl Words {
    /// All zero.
    pub fn new() -> Self {
        Words([0; 256])
    }

    /// Sets a word.
    pub fn set(&mut self, index: usize, value: u16) {
        self.0[index] = value;
    }

    /// Sets words, the lowest first.
    pub fn set_wide(&mut self, index: usize, value: u64, words: usize) {
        for word in 0..words {
            self.0[index + word] = (value >> (16 * word)) as u16;
        }
    }

    /// Sets a text: two characters a word, the first of them above, padded with spaces.
    pub fn set_text(&mut self, index: usize, words: usize, text: &str) {
        let mut bytes = text.bytes().map(|byte| if (b' '..=b'~').contains(&byte) { byte } else { b'?' });
        for word in 0..words {
            let pair = [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')];
            self.0[index + word] = u16::from_be_bytes(pair);
        }
    }

    /// Serial number, firmware revision and model.
    pub fn set_identity(&mut self, identity: &DriveIdentity) {
        self.set_text(10, 10, &identity.serial);
        self.set_text(23, 4, &identity.firmware);
        self.set_text(27, 20, &identity.model);
    }

    /// Transfer modes: multiword DMA 0 to 2, PIO 3 and 4, Ultra DMA 0 to 5, and which of them is chosen.
    pub fn set_transfer_modes(&mut self, chosen: u8) {
        // Words 54-58, 64-70 and 88 say something.
        self.set(53, 0b111);
        let of = |kind: u8| if chosen & 0xF8 == kind { 1_u16 << 8 << (chosen & 7) } else { 0 };
        self.set(63, 0b111 | of(0x20));
        self.set(64, 0b11);
        for word in 65..=68 {
            self.set(word, 120);
        }
        self.set(88, 0b11_1111 | of(0x40));
    }

    /// What the cable is.
    pub fn set_cable(&mut self, cable: Cable) {
        match cable {
            // The diagnostic passed, and device 0 sees 80 conductors.
            Cable::Parallel => self.set(93, 0x600B),
            // 1.5, 3 and 6 Gb/s.
            Cable::Serial => {
                self.set(76, 0b1110);
                self.set(222, 0x101F);
            }
        }
    }

    /// The bytes, with signature and checksum.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.0[255] = 0xA5;
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes[511] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

/// Sectors of one DRQ block, at most.
pub(super) const MOST_MULTIPLE: u8 = 16;
/// 512-byte blocks of ranges that one DATA SET MANAGEMENT takes.
pub(super) const MOST_TRIM_BLOCKS: u16 = 8;

/// Words 82 to 84: the feature sets.
mod set {
    pub(super) const POWER_MANAGEMENT: u16 = 1 << 3;
    pub(super) const WRITE_CACHE: u16 = 1 << 5;
    pub(super) const LOOK_AHEAD: u16 = 1 << 6;
    pub(super) const NOP: u16 = 1 << 14;
    pub(super) const LBA48: u16 = 1 << 10;
    pub(super) const FLUSH: u16 = 1 << 12;
    pub(super) const FLUSH_EXT: u16 = 1 << 13;
    pub(super) const LOGS: u16 = 1 << 5;
    pub(super) const FUA: u16 = 1 << 6;
    /// Bit 14 set and 15 clear: the word means something.
    pub(super) const VALID: u16 = 1 << 14;
}

impl Disk {
    /// The answer to IDENTIFY DEVICE.
    pub(super) fn identify(&self) -> Vec<u8> {
        let mut words = Words::new();
        let geometry = self.geometry();
        let total = self.sectors();
        words.set(0, 0x0040);
        words.set_identity(self.identity());
        words.set(47, 0x8000 | u16::from(MOST_MULTIPLE));
        // DMA, LBA, IORDY that can be switched off, standard standby timers.
        words.set(49, 0x2F00);
        words.set(50, set::VALID);
        self.describe_size(&mut words, total);
        words.set_transfer_modes(self.transfer_mode());
        words.set_cable(self.cable());
        if self.cable() == Cable::Serial {
            words.set(75, super::disk::QUEUE_DEPTH - 1);
            words.set(76, 0b1110 | 1 << 8);
        }
        // ATA/ATAPI-4 to ATA8-ACS.
        words.set(80, 0x01F0);
        self.describe_features(&mut words);
        let (logical, physical) = (geometry.logical_block, geometry.physical_block);
        let (exponent, large) = ((physical / logical).trailing_zeros() as u16, logical > 512);
        words.set(106, set::VALID | u16::from(exponent > 0) << 13 | u16::from(large) << 12 | exponent & 0xF);
        if large {
            words.set_wide(117, u64::from(logical) / 2, 2);
        }
        words.set(209, set::VALID);
        if geometry.discard {
            words.set(105, MOST_TRIM_BLOCKS);
            words.set(169, 1);
        }
        // Nothing turns.
        words.set(217, 1);
        words.into_bytes()
    }

    fn describe_size(&self, words: &mut Words, total: u64) {
        let (default, current) = (super::extent::Translation::DEFAULT, self.translation());
        words.set(1, default.cylinders(total));
        words.set(3, default.heads.into());
        words.set(6, default.sectors.into());
        let cylinders = current.cylinders(total);
        words.set(54, cylinders);
        words.set(55, current.heads.into());
        words.set(56, current.sectors.into());
        let capacity = u64::from(cylinders) * u64::from(current.heads) * u64::from(current.sectors);
        words.set_wide(57, capacity, 2);
        if self.multiple() != 0 {
            words.set(59, 0x100 | u16::from(self.multiple()));
        }
        words.set_wide(60, total.min(0x0FFF_FFFF), 2);
        words.set_wide(100, total.min((1 << 48) - 1), 4);
    }

    fn describe_features(&self, words: &mut Words) {
        let volatile = self.geometry().volatile_cache;
        let cache = |on: bool| if volatile && on { set::WRITE_CACHE } else { 0 };
        let look_ahead = |on: bool| if on { set::LOOK_AHEAD } else { 0 };
        let always = set::POWER_MANAGEMENT | set::NOP;
        words.set(82, always | cache(true) | look_ahead(true));
        words.set(85, always | cache(self.write_cache()) | look_ahead(self.look_ahead()));
        let second = set::LBA48 | set::FLUSH | set::FLUSH_EXT;
        words.set(83, set::VALID | second);
        words.set(86, second);
        let third = set::VALID | set::LOGS | set::FUA;
        words.set(84, third);
        words.set(87, third);
        words.set(119, set::VALID);
        words.set(120, set::VALID);
    }
}
