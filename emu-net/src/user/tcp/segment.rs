//! A TCP segment's header (RFC 9293, 3.1), and arithmetic of sequence numbers.

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const HEADER: usize = 20;
/// What a side accepts that does not say (RFC 9293, 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// What a segment says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    /// Bytes of the header.
    pub header: usize,
    /// Bytes of the payload.
    pub len: usize,
}

impl Segment {
    /// Takes a segment apart.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let field = bytes.get(..HEADER)?;
        let header = usize::from(field[12] >> 4) * 4;
        if header < HEADER || header > bytes.len() {
            return None;
        }
        let u16_at = |at: usize| u16::from_be_bytes([field[at], field[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        Some(Segment {
            source_port: u16_at(0),
            destination_port: u16_at(2),
            sequence: u32_at(4),
            acknowledgment: u32_at(8),
            flags: field[13],
            window: u16_at(14),
            header,
            len: bytes.len() - header,
        })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number after it.
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.sequence.wrapping_add(self.len as u32).wrapping_add(flags)
    }
}

/// What the options of a SYN say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SynOptions {
    /// The longest payload.
    pub mss: u16,
    /// By how much its windows are shifted, if it knows window scaling (RFC 7323).
    pub shift: Option<u8>,
}

impl SynOptions {
    /// Reads the options between the fixed header and the payload.
    pub fn parse(mut options: &[u8]) -> Self {
        let mut found = SynOptions { mss: DEFAULT_MSS, shift: None };
        while let [kind, rest @ ..] = options {
            let len = match (kind, rest.first()) {
                (0, _) => break,
                (1, _) => 1,
                (_, Some(len)) if *len >= 2 => usize::from(*len),
                _ => break,
            };
            let Some(option) = options.get(..len) else { break };
            match option {
                [2, 4, high, low] => found.mss = u16::from_be_bytes([*high, *low]).max(64),
                [3, 3, shift] => found.shift = Some((*shift).min(14)),
                _ => {}
            }
            options = &options[len..];
        }
        found
    }
}

/// Whether `one` comes before `other`.
pub(super) fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

/// From `from` to `to`.
pub(super) fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from)
}
