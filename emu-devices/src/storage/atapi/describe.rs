//! What the drive is and can do: INQUIRY, mode pages, features. SPC-3, 6.4; MMC-5, 5.3 and 7.

use crate::storage::ata::DriveIdentity;

/// Above this a medium is no CD: 80 minutes.
const CD_BLOCKS: u32 = 80 * 60 * 75;

/// Mode pages.
mod page {
    pub(super) const ERROR_RECOVERY: u8 = 0x01;
    pub(super) const POWER_CONDITION: u8 = 0x1A;
    pub(super) const CAPABILITIES: u8 = 0x2A;
    pub(super) const ALL: u8 = 0x3F;
}

/// Profiles of media.
mod profile {
    pub(super) const NONE: u16 = 0x0000;
    pub(super) const CD_ROM: u16 = 0x0008;
    pub(super) const DVD_ROM: u16 = 0x0010;
}

fn padded(text: &str, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().take(len).collect();
    bytes.resize(len, b' ');
    bytes
}

/// The answer to INQUIRY: the vendor is the first word of the model.
pub(super) fn inquiry(identity: &DriveIdentity) -> Vec<u8> {
    let (vendor, product) = identity.model.split_once(' ').unwrap_or(("", &identity.model));
    // A CD-ROM drive, removable; ATAPI's response format.
    let mut bytes = vec![0x05, 0x80, 0x05, 0x32, 31, 0, 0, 0];
    bytes.extend(padded(vendor, 8));
    bytes.extend(padded(product, 16));
    bytes.extend(padded(&identity.firmware, 4));
    bytes
}

/// Mode pages, or which of their bits could be changed: none.
pub(super) fn mode_pages(wanted: u8, changeable: bool, locked: bool) -> Option<Vec<u8>> {
    let known = [
        (page::ERROR_RECOVERY, vec![0; 6]),
        (page::POWER_CONDITION, vec![0; 10]),
        (page::CAPABILITIES, capabilities(locked)),
    ];
    let found = known.into_iter().filter(|(code, _)| wanted == page::ALL || wanted == *code);
    let pages = found.flat_map(|(code, body)| {
        let body = if changeable { vec![0; body.len()] } else { body };
        [vec![code, body.len() as u8], body].concat()
    });
    let bytes: Vec<u8> = pages.collect();
    (!bytes.is_empty()).then_some(bytes)
}

/// CD/DVD capabilities and mechanical status: reads all, writes nothing, has a tray that locks.
fn capabilities(locked: bool) -> Vec<u8> {
    // 706 kB/s are four times the speed of the first drives; nothing here waits for that.
    const SPEED: [u8; 2] = 706_u16.to_be_bytes();
    const BUFFER_KIB: [u8; 2] = 512_u16.to_be_bytes();
    let mechanism = 0b0010_1001 | if locked { 0b10 } else { 0 };
    let mut bytes = vec![0; 20];
    // CD-R, CD-RW, DVD-ROM are read; mode 2 forms and several sessions.
    (bytes[0], bytes[2], bytes[3]) = (0x0B, 0x70, 0x00);
    bytes[4] = mechanism;
    bytes[6..8].copy_from_slice(&SPEED);
    bytes[10..12].copy_from_slice(&BUFFER_KIB);
    bytes[12..14].copy_from_slice(&SPEED);
    bytes
}

/// The answer to GET CONFIGURATION: features from `start` on; `kind` 1 are the current ones, 2 is `start` alone.
pub(super) fn configuration(blocks: Option<u32>, locked: bool, start: u16, kind: u8) -> Vec<u8> {
    const ONE: u8 = 2;
    const CURRENT: u8 = 1;
    let current_profile = match blocks {
        None => profile::NONE,
        Some(blocks) if blocks > CD_BLOCKS => profile::DVD_ROM,
        Some(_) => profile::CD_ROM,
    };
    let wanted = |feature: &Feature| match kind {
        ONE => feature.code == start,
        CURRENT => feature.code >= start && feature.current,
        _ => feature.code >= start,
    };
    let features = features(current_profile, locked);
    let features: Vec<u8> = features.into_iter().filter(wanted).flat_map(Feature::into_bytes).collect();
    let len = features.len() as u32 + 4;
    [&len.to_be_bytes()[..], &[0, 0], &current_profile.to_be_bytes(), &features].concat()
}

struct Feature {
    code: u16,
    version: u8,
    persistent: bool,
    current: bool,
    data: Vec<u8>,
}

impl Feature {
    fn into_bytes(self) -> Vec<u8> {
        let flags = self.version << 2 | u8::from(self.persistent) << 1 | u8::from(self.current);
        [&self.code.to_be_bytes()[..], &[flags, self.data.len() as u8], &self.data].concat()
    }
}

fn features(current: u16, locked: bool) -> Vec<Feature> {
    let always = |code, version, data| Feature { code, version, persistent: true, current: true, data };
    let with_medium =
        |code, version, current, data| Feature { code, version, persistent: false, current, data };
    let profile = |number: u16| [&number.to_be_bytes()[..], &[u8::from(number == current), 0]].concat();
    let (cd, dvd) = (current == profile::CD_ROM, current == profile::DVD_ROM);
    // A tray that ejects and can be locked.
    let removable = vec![0b0010_1001 | if locked { 0b10 } else { 0 }, 0, 0, 0];
    vec![
        always(0x0000, 0, [profile(profile::DVD_ROM), profile(profile::CD_ROM)].concat()),
        // The core: ATAPI; INQUIRY and device busy class.
        always(0x0001, 2, vec![0, 0, 0, 2, 1, 0, 0, 0]),
        // Morphing: media events are polled.
        always(0x0002, 1, vec![0b10, 0, 0, 0]),
        always(0x0003, 1, removable),
        // Random readable: blocks of 2048 bytes, one at a time.
        with_medium(0x0010, 0, cd || dvd, vec![0, 0, 8, 0, 0, 1, 0, 0]),
        with_medium(0x001E, 2, cd, vec![0, 0, 0, 0]),
        with_medium(0x001F, 0, dvd, vec![]),
        // Power management, and timeouts.
        always(0x0100, 0, vec![]),
        always(0x0105, 1, vec![0, 0, 0, 0]),
    ]
}
