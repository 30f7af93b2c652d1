//! The system description table header (ACPI 6.5, 5.2.6) and the root pointer (5.2.5.3).

/// Who made the tables.
pub(super) const OEM_ID: [u8; 6] = *b"EMU   ";
/// Which machine they describe.
pub(super) const OEM_TABLE_ID: [u8; 8] = *b"EMUPC   ";
/// Their revision.
pub(super) const OEM_REVISION: u32 = 1;
/// Which program made them.
pub(super) const CREATOR_ID: [u8; 4] = *b"EMU ";
/// The program's revision.
pub(super) const CREATOR_REVISION: [u8; 4] = 1_u32.to_le_bytes();

/// Offsets in the header.
const LENGTH: usize = 4;
const CHECKSUM: usize = 9;

/// A table being written: header, then what is put.
pub(super) struct Table {
    bytes: Vec<u8>,
}

impl Table {
    /// A table that has only its header.
    pub(super) fn new(signature: [u8; 4], revision: u8) -> Self {
        let mut bytes = Vec::with_capacity(36);
        bytes.extend_from_slice(&signature);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[revision, 0]);
        bytes.extend_from_slice(&OEM_ID);
        bytes.extend_from_slice(&OEM_TABLE_ID);
        bytes.extend_from_slice(&OEM_REVISION.to_le_bytes());
        bytes.extend_from_slice(&CREATOR_ID);
        bytes.extend_from_slice(&CREATOR_REVISION);
        Table { bytes }
    }

    /// Appends `data`.
    pub(super) fn put(&mut self, data: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(data);
        self
    }

    /// The table with its length and checksum.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[LENGTH..LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[CHECKSUM] = checksum(&self.bytes);
        self.bytes
    }
}

/// What makes the sum of `bytes` zero, put in the place of a byte that is zero.
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// The root system description pointer, revision 2.
pub(super) fn rsdp(rsdt: u32, xsdt: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[0..8].copy_from_slice(b"RSD PTR ");
    bytes[9..15].copy_from_slice(&OEM_ID);
    bytes[15] = 2;
    bytes[16..20].copy_from_slice(&rsdt.to_le_bytes());
    bytes[20..24].copy_from_slice(&36_u32.to_le_bytes());
    bytes[24..32].copy_from_slice(&u64::from(xsdt).to_le_bytes());
    bytes[8] = checksum(&bytes[..20]);
    bytes[32] = checksum(&bytes);
    bytes
}
