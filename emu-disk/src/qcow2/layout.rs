//! Entries of the tables, and the arithmetic of offsets.

use super::header::Header;

/// The longest L1 table and refcount table, in bytes, as QEMU allows them.
pub(super) const L1_MOST: u64 = 32 << 20;
pub(super) const REFTABLE_MOST: u64 = 8 << 20;

/// Nobody else refers to what the entry refers to.
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Reads as zeroes; version 3.
pub(super) const ZERO: u64 = 1;
pub(super) const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;

/// What an L2 entry says about a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Nothing: the backing file has it.
    Unallocated,
    /// Zeroes, perhaps with a place in the file, whose content is void.
    Zero(Option<Place>),
    /// Data at this place.
    Data(Place),
    /// Packed data: where in the file, and at most how many bytes.
    Compressed { offset: u64, len: u64 },
}

/// A cluster of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    /// It is this entry's alone.
    pub own: bool,
}

/// The arithmetic of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub cluster_bits: u32,
    pub refcount_order: u32,
    pub version: u32,
    pub size: u64,
}

impl Geometry {
    pub fn new(header: &Header) -> Self {
        Geometry {
            cluster_bits: header.cluster_bits,
            refcount_order: header.refcount_order,
            version: header.version,
            size: header.size,
        }
    }

    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    pub fn l2_entries(&self) -> u64 {
        self.cluster() / 8
    }

    /// L1 index and index within the L2 table of the cluster that `offset` is in.
    pub fn indices(&self, offset: u64) -> (usize, usize) {
        let cluster = offset >> self.cluster_bits;
        ((cluster / self.l2_entries()) as usize, (cluster % self.l2_entries()) as usize)
    }

    /// Reference counts in a block.
    pub fn block_entries(&self) -> u64 {
        (self.cluster() * 8) >> self.refcount_order
    }

    pub fn decode(&self, entry: u64) -> Result<Cluster, String> {
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1) & ((1 << 56) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
            let len = (sectors + 1) * 512 - offset % 512;
            return Ok(Cluster::Compressed { offset, len });
        }
        let offset = entry & OFFSET;
        if !offset.is_multiple_of(self.cluster()) {
            return Err(format!("an L2 entry is {entry:#x}, which is no place of a cluster"));
        }
        let place = Place { offset, own: entry & COPIED != 0 };
        let place = (offset != 0).then_some(place);
        Ok(match place {
            place if self.version >= 3 && entry & ZERO != 0 => Cluster::Zero(place),
            None => Cluster::Unallocated,
            Some(place) => Cluster::Data(place),
        })
    }
}

/// A table of big-endian words, as bytes.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub bytes: Vec<u8>,
    pub dirty: bool,
}

impl Table {
    pub fn get(&self, index: usize) -> u64 {
        u64::from_be_bytes(self.bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"))
    }

    pub fn set(&mut self, index: usize, entry: u64) {
        self.bytes[index * 8..index * 8 + 8].copy_from_slice(&entry.to_be_bytes());
        self.dirty = true;
    }

    pub fn entries(&self) -> usize {
        self.bytes.len() / 8
    }
}
