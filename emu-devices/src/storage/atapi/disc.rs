//! What is on the disc: one session with one data track. MMC-5, 6.22 (disc), 6.26 (TOC), 6.27 (track).

/// Minutes, seconds and frames begin two seconds before block 0.
const LEAD: u32 = 150;
/// A data track that may be copied.
const ADR_CONTROL: u8 = 0x14;
const LEAD_OUT: u8 = 0xAA;

/// Formats of READ TOC.
mod format {
    pub(super) const TOC: u8 = 0;
    pub(super) const SESSIONS: u8 = 1;
    pub(super) const FULL: u8 = 2;
}

/// An address as READ TOC has it: a block, or minute, second and frame.
fn address(block: u32, msf: bool) -> [u8; 4] {
    if !msf {
        return block.to_be_bytes();
    }
    let frames = u64::from(block) + u64::from(LEAD);
    let (minute, second, frame) = (frames / 75 / 60, frames / 75 % 60, frames % 75);
    [0, minute.min(255) as u8, second as u8, frame as u8]
}

/// The answer to READ TOC for a medium of `blocks`; `None` where the request makes no sense.
pub(super) fn toc(format: u8, start: u8, msf: bool, blocks: u32) -> Option<Vec<u8>> {
    let descriptors: Vec<u8> = match format {
        format::TOC => {
            if start > 1 && start != LEAD_OUT {
                return None;
            }
            let tracks = [(1, 0), (LEAD_OUT, blocks)];
            let wanted = tracks.into_iter().filter(|(track, _)| *track >= start);
            wanted.flat_map(|(track, at)| descriptor(track, at, msf)).collect()
        }
        format::SESSIONS => descriptor(1, 0, msf).to_vec(),
        format::FULL => full(blocks),
        _ => return None,
    };
    let len = descriptors.len() as u16 + 2;
    Some([&len.to_be_bytes()[..], &[1, 1], &descriptors].concat())
}

fn descriptor(track: u8, at: u32, msf: bool) -> [u8; 8] {
    let [a, b, c, d] = address(at, msf);
    [0, ADR_CONTROL, track, 0, a, b, c, d]
}

/// The lead-in's own descriptors: first track, last track, lead-out, and the track.
fn full(blocks: u32) -> Vec<u8> {
    let point = |point: u8, at: [u8; 3]| [1, ADR_CONTROL, 0, point, 0, 0, 0, 0, at[0], at[1], at[2]];
    let of_block = |block| {
        let [_, minute, second, frame] = address(block, true);
        [minute, second, frame]
    };
    [point(0xA0, [1, 0, 0]), point(0xA1, [1, 0, 0]), point(0xA2, of_block(blocks)), point(1, of_block(0))]
        .concat()
}

/// The answer to READ DISC INFORMATION: a finished disc.
pub(super) fn information() -> Vec<u8> {
    let mut bytes = vec![0; 34];
    bytes[1] = 32;
    // The last session is complete, and so is the disc.
    bytes[2] = 0b1110;
    // First track; sessions; first and last track of the last session.
    bytes[3..7].copy_from_slice(&[1, 1, 1, 1]);
    // For unrestricted use; what else could be valid is not.
    bytes[7] = 0x20;
    // No lead-in and no lead-out to be written.
    bytes[16..24].copy_from_slice(&[0xFF; 8]);
    bytes
}

/// The answer to READ TRACK INFORMATION for the track at block `number`, or of that number, or in that session.
pub(super) fn track_information(kind: u8, number: u32, blocks: u32) -> Option<Vec<u8>> {
    let is_track = match kind {
        0 => number < blocks,
        1 | 2 => number == 1,
        _ => false,
    };
    if !is_track {
        return None;
    }
    let mut bytes = vec![0; 36];
    bytes[1] = 34;
    (bytes[2], bytes[3]) = (1, 1);
    // Data in mode 1.
    (bytes[5], bytes[6]) = (0x04, 0x01);
    bytes[24..28].copy_from_slice(&blocks.to_be_bytes());
    Some(bytes)
}
