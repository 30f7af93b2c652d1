//! What the controller and its namespace say of themselves. NVM Express 1.4, 5.15.

use super::{
    NvmeOptions, event, feature, log_page, queue,
    registers::{CQES, SQES, VERSION},
};
use emu_core::backend::BlockGeometry;

/// Bytes of each data structure.
pub(super) const LEN: usize = 4096;
/// Firmware revision, padded.
pub(super) const FIRMWARE: &[u8; 8] = b"1.0     ";
const MODEL: &str = "emu NVMe";
/// Largest transfer: 1 MiB, as a power of two times 4 KiB.
const MDTS: u8 = 8;
/// Bytes of the largest transfer.
pub(super) const LARGEST_TRANSFER: u64 = 4096 << MDTS;
/// Optional NVM commands: COMPARE, DATASET MANAGEMENT, WRITE ZEROES, and the select field of GET FEATURES.
const ONCS_COMPARE: u16 = 1 << 0;
const ONCS_DATASET_MANAGEMENT: u16 = 1 << 2;
const ONCS_WRITE_ZEROES: u16 = 1 << 3;
const ONCS_SELECT: u16 = 1 << 4;

/// A data structure being filled.
struct Structure(Box<[u8; LEN]>);

impl Structure {
    fn new() -> Self {
        Structure(Box::new([0; LEN]))
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Text, padded with spaces.
    fn text(&mut self, at: usize, len: usize, text: &str) {
        self.0[at..at + len].fill(b' ');
        self.put(at, &text.as_bytes()[..text.len().min(len)]);
    }
}

/// Names that follow from the serial number: the same disk has them in every machine.
pub(super) struct Names {
    /// Globally unique: IEEE's 64 bits, of the locally administered kind.
    eui64: [u8; 8],
    /// The same in 128 bits.
    nguid: [u8; 16],
}

impl Names {
    pub(super) fn of(serial: &str) -> Self {
        let bytes = fnv1a(serial.as_bytes()).to_be_bytes();
        let mut eui64 = [0; 8];
        for (index, byte) in eui64.iter_mut().enumerate() {
            *byte = bytes[index] ^ bytes[index + 8];
        }
        // Locally administered, and no group's.
        eui64[0] = eui64[0] & !0b11 | 0b10;
        let mut nguid = bytes;
        // The organisation is in bytes 8 to 10, in the same form.
        nguid[8] = nguid[8] & !0b11 | 0b10;
        Names { eui64, nguid }
    }

    /// A qualified name of the form that holds a UUID.
    fn qualified(&self) -> String {
        let mut uuid = self.nguid;
        // Version 8, variant 1: RFC 9562.
        uuid[6] = uuid[6] & 0x0F | 0x80;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        format!("nqn.2014-08.org.nvmexpress:uuid:{a}-{b}-{c}-{d}-{e}")
    }
}

/// The 128-bit FNV-1a hash.
fn fnv1a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013B;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// CNS 01h: the controller.
pub(super) fn controller(options: &NvmeOptions, geometry: &BlockGeometry) -> Box<[u8; LEN]> {
    let mut data = Structure::new();
    data.put(0, &super::VENDOR.to_le_bytes());
    data.put(2, &super::VENDOR.to_le_bytes());
    data.text(4, 20, &options.serial);
    data.text(24, 40, MODEL);
    data.put(64, FIRMWARE);
    data.put(77, &[MDTS]);
    data.put(80, &VERSION.to_le_bytes());
    // CNTRLTYPE: an I/O controller.
    data.put(111, &[1]);
    // ACL: four ABORTs at a time; AERL; FRMW: one slot, read-only; LPA: offsets into log pages; ELPE; NPSS: one power
    // state.
    let errors = log_page::ERRORS as u8 - 1;
    data.put(258, &[3, event::MOST_REQUESTS as u8 - 1, 0b11, 0b100, errors, 0]);
    data.put(266, &feature::WARNING_TEMPERATURE.to_le_bytes());
    data.put(268, &(feature::WARNING_TEMPERATURE + 10).to_le_bytes());
    data.put(512, &[(SQES << 4 | SQES) as u8, (CQES << 4 | CQES) as u8]);
    data.put(514, &(queue::LARGEST_QUEUE as u16).to_le_bytes());
    data.put(516, &1_u32.to_le_bytes());
    data.put(520, &optional_commands(geometry).to_le_bytes());
    // VWC: FLUSH takes the namespace ID of all namespaces; there may be a cache.
    data.put(525, &[0b110 | u8::from(geometry.volatile_cache)]);
    let name = Names::of(&options.serial).qualified();
    data.put(768, name.as_bytes());
    // Power state 0: 25 W at most.
    data.put(2048, &2500_u16.to_le_bytes());
    data.0
}

fn optional_commands(geometry: &BlockGeometry) -> u16 {
    let flag = |set, bit| if set { bit } else { 0 };
    ONCS_COMPARE
        | ONCS_SELECT
        | flag(geometry.discard, ONCS_DATASET_MANAGEMENT)
        | flag(geometry.write_zeroes, ONCS_WRITE_ZEROES)
}

/// CNS 00h: the namespace.
pub(super) fn namespace(options: &NvmeOptions, geometry: &BlockGeometry) -> Box<[u8; LEN]> {
    let mut data = Structure::new();
    let blocks = geometry.len / u64::from(geometry.logical_block);
    for at in [0, 8, 16] {
        data.put(at, &blocks.to_le_bytes());
    }
    // NSFEAT: there are preferred sizes, below.
    data.put(24, &[1 << 4]);
    // DLFEAT: WRITE ZEROES may deallocate; what reads of blocks give that were deallocated is not said.
    data.put(33, &[1 << 3]);
    let preferred = (geometry.physical_block / geometry.logical_block - 1).min(0xFFFF) as u16;
    // NPWG, NPWA, NPDG, NPDA: write and deallocate in multiples of what the host does in one.
    for at in [64, 66, 68, 70] {
        data.put(at, &preferred.to_le_bytes());
    }
    // NSATTR: write protected.
    data.put(99, &[u8::from(geometry.read_only)]);
    let names = Names::of(&options.serial);
    data.put(104, &names.nguid);
    data.put(120, &names.eui64);
    // LBA format 0: no metadata.
    data.put(130, &[geometry.logical_block.trailing_zeros() as u8]);
    data.0
}

/// CNS 02h: active namespaces with numbers above `after`.
pub(super) fn active(after: u32) -> Box<[u8; LEN]> {
    let mut data = Structure::new();
    if after == 0 {
        data.put(0, &1_u32.to_le_bytes());
    }
    data.0
}

/// CNS 03h: the namespace's names, each with its type and length.
pub(super) fn descriptors(options: &NvmeOptions) -> Box<[u8; LEN]> {
    let names = Names::of(&options.serial);
    let mut data = Structure::new();
    data.put(0, &[1, 8]);
    data.put(4, &names.eui64);
    data.put(12, &[2, 16]);
    data.put(16, &names.nguid);
    data.0
}
