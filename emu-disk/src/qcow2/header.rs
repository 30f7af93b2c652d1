//! The header: where the tables are, what the image uses. QEMU's `docs/interop/qcow2.txt`, "Header" and "Header
//! extensions".

use super::layout::{L1_MOST, REFTABLE_MOST};

const MAGIC: u32 = 0x5146_49FB;
/// The header of version 2, and of version 3 without and with the compression type.
const V2_LENGTH: usize = 72;
const V3_LENGTH: usize = 104;
const OUR_LENGTH: usize = 112;

pub(super) const DIRTY: u64 = 1 << 0;
pub(super) const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const EXTENSION_END: u32 = 0;
const BACKING_FORMAT: u32 = 0xE279_2ACA;
const FEATURE_NAMES: u32 = 0x6803_F857;
const MOST_SNAPSHOTS: u32 = 65536;
const LONGEST_BACKING_NAME: usize = 1023;
/// Disks longer than this have no sense with tables of the sizes that are allowed.
const LONGEST: u64 = 1 << 60;

/// How clusters are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Deflate,
    Zstd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u32,
    pub backing_file: Option<String>,
    pub backing_format: Option<String>,
    pub cluster_bits: u32,
    pub size: u64,
    pub l1_entries: u32,
    pub l1_offset: u64,
    pub reftable_offset: u64,
    pub reftable_clusters: u32,
    pub snapshots: u32,
    pub snapshots_offset: u64,
    pub incompatible: u64,
    pub compatible: u64,
    pub autoclear: u64,
    pub refcount_order: u32,
    pub compression: Compression,
    /// Those that we do not know, as they are.
    pub extensions: Vec<(u32, Vec<u8>)>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Header {
    /// Reads the header from the beginning of an image: its first cluster, or what there is of it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < V2_LENGTH || u32_at(bytes, 0) != MAGIC {
            return Err("it does not begin like a qcow2 image".into());
        }
        let version = u32_at(bytes, 4);
        let length = match version {
            2 => V2_LENGTH,
            3 if bytes.len() >= V3_LENGTH => u32_at(bytes, 100) as usize,
            _ => return Err(format!("qcow2 version {version} is not known; 2 and 3 are")),
        };
        if version == 3 && !(V3_LENGTH..=bytes.len()).contains(&length) {
            return Err(format!("its header claims {length} bytes"));
        }
        let v3 = |at: usize| if version == 3 { u64_at(bytes, at) } else { 0 };
        let mut header = Header {
            version,
            backing_file: None,
            backing_format: None,
            cluster_bits: u32_at(bytes, 20),
            size: u64_at(bytes, 24),
            l1_entries: u32_at(bytes, 36),
            l1_offset: u64_at(bytes, 40),
            reftable_offset: u64_at(bytes, 48),
            reftable_clusters: u32_at(bytes, 56),
            snapshots: u32_at(bytes, 60),
            snapshots_offset: u64_at(bytes, 64),
            incompatible: v3(72),
            compatible: v3(80),
            autoclear: v3(88),
            refcount_order: if version == 3 { u32_at(bytes, 96) } else { 4 },
            compression: Compression::Deflate,
            extensions: Vec::new(),
        };
        header.check(u32_at(bytes, 32))?;
        if length > V3_LENGTH && header.incompatible & COMPRESSION_TYPE != 0 {
            header.compression = match bytes[V3_LENGTH] {
                0 => Compression::Deflate,
                1 => Compression::Zstd,
                other => return Err(format!("its compression type {other} is not known")),
            };
        }
        header.parse_extensions(bytes, length)?;
        header.parse_backing(bytes)?;
        Ok(header)
    }

    fn check(&self, encryption: u32) -> Result<(), String> {
        let cluster = 1_u64 << self.cluster_bits.min(63);
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(format!("clusters of 2^{} bytes are not possible", self.cluster_bits));
        }
        if encryption != 0 {
            return Err("it is encrypted, which is not supported; decrypt it with qemu-img convert".into());
        }
        let unsupported = [
            (EXTERNAL_DATA, "its data is in another file"),
            (EXTENDED_L2, "it has extended L2 entries"),
            (
                !(DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2),
                "it has features of the future",
            ),
        ];
        if let Some((_, what)) = unsupported.iter().find(|(bits, _)| self.incompatible & bits != 0) {
            return Err(format!("{what}, which is not supported; copy it with qemu-img convert"));
        }
        if self.refcount_order > 6 {
            return Err(format!("reference counts of 2^{} bits are not possible", self.refcount_order));
        }
        let covered = u64::from(self.l1_entries) << (2 * self.cluster_bits - 3);
        if self.size > LONGEST || u64::from(self.l1_entries) * 8 > L1_MOST || covered < self.size {
            return Err(format!(
                "a disk of {} bytes with {} L1 entries is not possible",
                self.size, self.l1_entries
            ));
        }
        let reftable = u64::from(self.reftable_clusters) << self.cluster_bits;
        if reftable == 0 || reftable > REFTABLE_MOST || self.snapshots > MOST_SNAPSHOTS {
            return Err("its refcount table or its list of snapshots has an impossible size".into());
        }
        for offset in [self.l1_offset, self.reftable_offset, self.snapshots_offset] {
            if !offset.is_multiple_of(cluster) || offset >= 1 << 56 {
                return Err(format!("a table is at {offset:#x}, where none can be"));
            }
        }
        Ok(())
    }

    /// Those that mean something to us, and what is kept for others.
    fn parse_extensions(&mut self, bytes: &[u8], begin: usize) -> Result<(), String> {
        let mut at = begin;
        while at + 8 <= bytes.len() {
            let (kind, len) = (u32_at(bytes, at), u32_at(bytes, at + 4) as usize);
            if kind == EXTENSION_END {
                break;
            }
            let content = bytes.get(at + 8..).and_then(|rest| rest.get(..len));
            let content = content.ok_or_else(|| format!("a header extension claims {len} bytes"))?;
            match kind {
                BACKING_FORMAT => self.backing_format = Some(String::from_utf8_lossy(content).into_owned()),
                FEATURE_NAMES => {}
                _ => self.extensions.push((kind, content.to_vec())),
            }
            at += 8 + len.next_multiple_of(8);
        }
        Ok(())
    }

    fn parse_backing(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (offset, len) = (u64_at(bytes, 8), u32_at(bytes, 16) as usize);
        if offset == 0 {
            return Ok(());
        }
        let name = usize::try_from(offset).ok().filter(|_| len <= LONGEST_BACKING_NAME);
        let name = name.and_then(|offset| bytes.get(offset..)?.get(..len));
        let name = name.ok_or("the name of its backing file is not where its header says")?;
        let name = std::str::from_utf8(name).map_err(|_| "the name of its backing file is no text")?;
        self.backing_file = Some(name.to_owned()).filter(|name| !name.is_empty());
        Ok(())
    }

    /// The header as it is at the beginning of the image. Fails if it does not fit into the first cluster.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; if self.version == 2 { V2_LENGTH } else { OUR_LENGTH }];
        let mut put32 = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        put32(0, MAGIC);
        put32(4, self.version);
        put32(20, self.cluster_bits);
        put32(36, self.l1_entries);
        put32(56, self.reftable_clusters);
        put32(60, self.snapshots);
        if self.version == 3 {
            put32(96, self.refcount_order);
            put32(100, OUR_LENGTH as u32);
            bytes[V3_LENGTH] = self.compression as u8;
        }
        let mut put64 = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        put64(24, self.size);
        put64(40, self.l1_offset);
        put64(48, self.reftable_offset);
        put64(64, self.snapshots_offset);
        if self.version == 3 {
            put64(72, self.incompatible);
            put64(80, self.compatible);
            put64(88, self.autoclear);
        }
        let mut extension = |kind: u32, content: &[u8]| {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((content.len() as u32).to_be_bytes());
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        if let Some(format) = &self.backing_format {
            extension(BACKING_FORMAT, format.as_bytes());
        }
        for (kind, content) in &self.extensions {
            extension(*kind, content);
        }
        extension(EXTENSION_END, &[]);
        if let Some(name) = &self.backing_file {
            let at = bytes.len();
            bytes[8..16].copy_from_slice(&(at as u64).to_be_bytes());
            bytes[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
            bytes.extend(name.as_bytes());
        }
        let fits = bytes.len() <= 1 << self.cluster_bits
            && self.backing_file.as_ref().is_none_or(|name| name.len() <= LONGEST_BACKING_NAME);
        if fits { Ok(bytes) } else { Err("the name of the backing file is too long".into()) }
    }
}
