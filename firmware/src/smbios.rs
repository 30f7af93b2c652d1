//! SMBIOS tables (DMTF DSP0134 3.6): what `dmidecode` shows. Both entry points, the 32-bit one for old guests.
//!
//! Left out: caches (type 7), slots and ports: nothing that they could say is true of this machine.

use crate::acpi::checksum;

/// No handle.
const NONE: u16 = 0xFFFE;
/// Sizes that go to an extended field.
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Handles of the structures that others refer to.
mod handle {
    pub(super) const BIOS: u16 = 0x0000;
    pub(super) const SYSTEM: u16 = 0x0100;
    pub(super) const CHASSIS: u16 = 0x0300;
    pub(super) const PROCESSOR: u16 = 0x0400;
    pub(super) const MEMORY_ARRAY: u16 = 0x1000;
    pub(super) const MEMORY_DEVICE: u16 = 0x1100;
    pub(super) const ARRAY_ADDRESS: u16 = 0x1300;
    pub(super) const BOOT: u16 = 0x2000;
    pub(super) const END: u16 = 0x7F00;
}

/// The structures of one machine.
#[derive(Debug)]
pub(crate) struct Smbios {
    bytes: Vec<u8>,
    count: u16,
    largest: u16,
}

impl Smbios {
    /// Describes `cpus` CPUs and RAM in `ram` (start, length) ranges.
    pub(crate) fn new(cpus: usize, ram: &[(u64, u64)]) -> Self {
        let mut tables = Smbios { bytes: Vec::new(), count: 0, largest: 0 };
        let size = ram.iter().map(|(_, length)| length).sum();
        tables.bios();
        tables.system();
        tables.chassis();
        tables.processor(cpus);
        tables.memory_array(size);
        tables.memory_device(size);
        for (index, &(start, length)) in ram.iter().enumerate() {
            tables.array_address(index as u16, start, length);
        }
        tables.put(32, handle::BOOT, &[0, 0, 0, 0, 0, 0, 0], &[]);
        tables.put(127, handle::END, &[], &[]);
        tables
    }

    /// The structure table.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The 64-bit entry point (5.2.2) for a table at `address`.
    pub(crate) fn entry_point_64(&self, address: u32) -> [u8; 24] {
        let mut entry = [0; 24];
        entry[..5].copy_from_slice(b"_SM3_");
        // Length, version 3.6.0, revision of the entry point.
        entry[6..11].copy_from_slice(&[24, 3, 6, 0, 1]);
        entry[12..16].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        entry[16..24].copy_from_slice(&u64::from(address).to_le_bytes());
        entry[5] = checksum(&entry);
        entry
    }

    /// The 32-bit entry point (5.2.1) for a table at `address`.
    pub(crate) fn entry_point_32(&self, address: u32) -> [u8; 31] {
        let mut entry = [0; 31];
        entry[..4].copy_from_slice(b"_SM_");
        // Length, version 3.6.
        entry[5..8].copy_from_slice(&[31, 3, 6]);
        entry[8..10].copy_from_slice(&self.largest.to_le_bytes());
        entry[16..21].copy_from_slice(b"_DMI_");
        entry[22..24].copy_from_slice(&(self.bytes.len() as u16).to_le_bytes());
        entry[24..28].copy_from_slice(&address.to_le_bytes());
        entry[28..30].copy_from_slice(&self.count.to_le_bytes());
        entry[30] = 0x36;
        entry[21] = checksum(&entry[16..]);
        entry[4] = checksum(&entry);
        entry
    }

    /// Appends a structure: header, formatted area, strings.
    fn put(&mut self, kind: u8, handle: u16, formatted: &[u8], strings: &[&str]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[kind, 4 + formatted.len() as u8]);
        self.bytes.extend_from_slice(&handle.to_le_bytes());
        self.bytes.extend_from_slice(formatted);
        for string in strings {
            self.bytes.extend_from_slice(string.as_bytes());
            self.bytes.push(0);
        }
        // The set of strings ends with a zero; an empty one is two of them.
        self.bytes.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
        self.count += 1;
        self.largest = self.largest.max((self.bytes.len() - start) as u16);
    }

    /// Type 0: BIOS information, as of version 2.4.
    fn bios(&mut self) {
        let mut area = [0; 20];
        area[..2].copy_from_slice(&[1, 2]);
        // Start segment, release date, ROM size of 64 KiB.
        area[2..4].copy_from_slice(&0xF000_u16.to_le_bytes());
        area[4] = 3;
        // Characteristics: not supported to say; extension bytes: ACPI, a virtual machine.
        area[6] = 1 << 3;
        area[14..16].copy_from_slice(&[1, 1 << 4]);
        // Release 0.1; there is no embedded controller.
        area[16..20].copy_from_slice(&[0, 1, 0xFF, 0xFF]);
        self.put(0, handle::BIOS, &area, &["emu", env!("CARGO_PKG_VERSION"), "01/01/2025"]);
    }

    /// Type 1: system information. The UUID is absent (all zero).
    fn system(&mut self) {
        let mut area = [0; 23];
        area[..3].copy_from_slice(&[1, 2, 3]);
        // Woken by the power switch.
        area[20] = 6;
        self.put(1, handle::SYSTEM, &area, &["emu", "PC", env!("CARGO_PKG_VERSION")]);
    }

    /// Type 3: chassis, of type "other", with states "safe".
    fn chassis(&mut self) {
        let area = [1, 1, 0, 0, 0, 3, 3, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        self.put(3, handle::CHASSIS, &area, &["emu"]);
    }

    /// Type 4: one processor package with a core for each CPU.
    fn processor(&mut self, cpus: usize) {
        let cores = u16::try_from(cpus).unwrap_or(u16::MAX);
        let short = u8::try_from(cpus).unwrap_or(u8::MAX);
        let mut area = [0; 44];
        // Socket, central processor, family in the second field, manufacturer.
        area[..4].copy_from_slice(&[1, 3, 0xFE, 2]);
        // Populated and enabled; other upgrade; no cache handles.
        area[20..22].copy_from_slice(&[0x41, 1]);
        area[22..28].fill(0xFF);
        // Cores, enabled cores, threads; 64-bit capable, multi-core.
        area[31..34].fill(short);
        area[34..36].copy_from_slice(&(1_u16 << 2 | 1 << 3).to_le_bytes());
        // Family 2: x86-64 is "other".
        area[36..38].copy_from_slice(&1_u16.to_le_bytes());
        for field in [38, 40, 42] {
            area[field..field + 2].copy_from_slice(&cores.to_le_bytes());
        }
        self.put(4, handle::PROCESSOR, &area, &["CPU 0", "emu"]);
    }

    /// Type 16: the memory array.
    fn memory_array(&mut self, size: u64) {
        let mut area = [0; 19];
        // On the board, system memory, multi-bit ECC unknown.
        area[..3].copy_from_slice(&[3, 3, 2]);
        let kib = size / KIB;
        if kib < 0x8000_0000 {
            area[3..7].copy_from_slice(&(kib as u32).to_le_bytes());
        } else {
            area[3..7].copy_from_slice(&0x8000_0000_u32.to_le_bytes());
            area[11..19].copy_from_slice(&size.to_le_bytes());
        }
        area[7..9].copy_from_slice(&NONE.to_le_bytes());
        area[9..11].copy_from_slice(&1_u16.to_le_bytes());
        self.put(16, handle::MEMORY_ARRAY, &area, &[]);
    }

    /// Type 17: all RAM as one device.
    fn memory_device(&mut self, size: u64) {
        let mut area = [0; 36];
        area[..2].copy_from_slice(&handle::MEMORY_ARRAY.to_le_bytes());
        area[2..4].copy_from_slice(&NONE.to_le_bytes());
        // Widths unknown.
        area[4..8].fill(0xFF);
        let mib = size / MIB;
        if mib < 0x7FFF {
            area[8..10].copy_from_slice(&(mib as u16).to_le_bytes());
        } else {
            area[8..10].copy_from_slice(&0x7FFF_u16.to_le_bytes());
            area[24..28].copy_from_slice(&(mib as u32 & 0x7FFF_FFFF).to_le_bytes());
        }
        // DIMM, locator, type RAM, detail "other".
        area[10] = 9;
        area[12] = 1;
        area[14] = 7;
        area[15] = 2;
        self.put(17, handle::MEMORY_DEVICE, &area, &["DIMM 0"]);
    }

    /// Type 19: where the array is mapped.
    fn array_address(&mut self, index: u16, start: u64, length: u64) {
        let last = start.saturating_add(length).saturating_sub(1);
        let mut area = [0; 27];
        if last / KIB < 0xFFFF_FFFF {
            area[..4].copy_from_slice(&((start / KIB) as u32).to_le_bytes());
            area[4..8].copy_from_slice(&((last / KIB) as u32).to_le_bytes());
        } else {
            area[..8].fill(0xFF);
            area[11..19].copy_from_slice(&start.to_le_bytes());
            area[19..27].copy_from_slice(&last.to_le_bytes());
        }
        area[8..10].copy_from_slice(&handle::MEMORY_ARRAY.to_le_bytes());
        area[10] = 1;
        self.put(19, handle::ARRAY_ADDRESS + index, &area, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SIX_GIB: [(u64, u64); 2] = [(0, 3 << 30), (4 << 30, 3 << 30)];

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// The (type, formatted area with header) of each structure, found as a guest finds them.
    fn structures(bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut rest = bytes;
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (formatted, strings) = rest.split_at(rest[1].into());
            found.push((formatted[0], formatted));
            let end = strings.windows(2).position(|pair| pair == [0, 0]).unwrap();
            rest = &strings[end + 2..];
        }
        found
    }

    #[test]
    fn structures_are_complete_and_end_with_type_127() {
        let tables = Smbios::new(4, &SIX_GIB);
        let kinds: Vec<u8> = structures(tables.bytes()).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0, 1, 3, 4, 16, 17, 19, 19, 32, 127]);
    }

    #[test]
    fn entry_points_sum_to_zero() {
        let tables = Smbios::new(1, &SIX_GIB);
        assert_eq!(sum(&tables.entry_point_64(0xF_0100)), 0);
        let entry = tables.entry_point_32(0xF_0100);
        assert_eq!(sum(&entry), 0);
        assert_eq!(sum(&entry[16..]), 0);
        assert_eq!(u16::from_le_bytes([entry[28], entry[29]]), 10);
    }

    #[rstest]
    #[case::small(64 << 20, 64, 0)]
    #[case::below_the_limit(16 << 30, 0x4000, 0)]
    #[case::extended(64 << 30, 0x7FFF, 0x1_0000)]
    fn memory_device_says_its_size(#[case] size: u64, #[case] short: u16, #[case] extended: u32) {
        let tables = Smbios::new(1, &[(0, size)]);
        let found = structures(tables.bytes());
        let (_, device) = found.iter().find(|(kind, _)| *kind == 17).unwrap();
        assert_eq!(u16::from_le_bytes([device[12], device[13]]), short);
        assert_eq!(u32::from_le_bytes(device[28..32].try_into().unwrap()), extended);
    }

    #[test]
    fn processor_has_a_core_for_each_cpu() {
        let tables = Smbios::new(300, &SIX_GIB);
        let found = structures(tables.bytes());
        let (_, processor) = found.iter().find(|(kind, _)| *kind == 4).unwrap();
        assert_eq!(processor.len(), 48);
        assert_eq!(processor[0x23], 0xFF);
        assert_eq!(u16::from_le_bytes([processor[0x2A], processor[0x2B]]), 300);
    }
}
