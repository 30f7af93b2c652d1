//! qcow2 images, versions 2 and 3, after QEMU's `docs/interop/qcow2.txt`.
//!
//! L1 table and L2 tables map clusters of the disk to clusters of the file; reference counts say which of these are in
//! use. All tables are changed in memory, at once with the data being there, and go to the file with the next flush, in
//! an order in which the file is consistent after every step (`flush.rs`). Data goes directly between the file and the
//! guest's memory, outside of all locks; `in_flight.rs` keeps clusters where they are meanwhile.
//!
//! Left out: encryption, external data files, extended L2 entries, and bitmaps, which are dropped (as the format
//! provides for) once the image is written to.

mod compressed;
mod create;
mod flush;
mod header;
mod in_flight;
mod layout;
mod read;
mod refcounts;
mod tables;
mod write;

pub(crate) use create::{CreateQcow2, create};

use crate::{
    buffers::{Source, Target},
    error::damaged,
    file::{ImageFile, Wait},
    image::{Extent, Image},
};
use compressed::Unpacked;
use header::{CORRUPT, DIRTY, Header};
use in_flight::InFlight;
use layout::{Geometry, Table};
use parking_lot::Mutex;
use refcounts::Refcounts;
use std::{io, sync::Arc};

pub(crate) struct Qcow2 {
    file: ImageFile,
    backing: Option<Arc<dyn Image>>,
    geometry: Geometry,
    compression: header::Compression,
    /// Space that becomes free goes back to the host.
    discard: bool,
    in_flight: InFlight,
    tables: Mutex<Tables>,
    /// One flush at a time. Taken before `tables`.
    flushing: Mutex<()>,
    unpacked: Mutex<Option<Unpacked>>,
}

/// All that maps, in memory.
struct Tables {
    header: Header,
    l1: Table,
    /// By L1 index.
    l2: Vec<Option<Box<L2>>>,
    l2_loaded: usize,
    /// L2 tables in memory are newer than those in the file, though not dirty: they are being written.
    writing: bool,
    /// Counts accesses, to find the tables that nobody has used for long.
    used: u64,
    refcounts: Option<Refcounts>,
}

struct L2 {
    table: Table,
    used: u64,
}

/// The header, read from the beginning of a file.
fn read_header(file: &ImageFile) -> io::Result<Header> {
    // The header and all of its extensions are in the first cluster, the longest of which has 2 MiB.
    let mut bytes = vec![0; file.len()?.min(1 << 16) as usize];
    file.read_bytes(0, &mut bytes)?;
    let header = Header::parse(&bytes);
    let header = match header {
        Err(_) if file.len()? > 1 << 16 => {
            bytes.resize(file.len()?.min(1 << 21) as usize, 0);
            file.read_bytes(0, &mut bytes)?;
            Header::parse(&bytes)
        }
        header => header,
    };
    header.map_err(damaged)
}

/// The backing file that an image names, and its format if it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backing {
    /// As it stands there.
    pub name: String,
    pub format: Option<String>,
}

/// The backing file that the image names.
pub(crate) fn backing_of(file: &ImageFile) -> io::Result<Option<Backing>> {
    let header = read_header(file)?;
    Ok(header.backing_file.map(|name| Backing { name, format: header.backing_format }))
}

impl Qcow2 {
    pub fn open(file: ImageFile, backing: Option<Arc<dyn Image>>, discard: bool) -> io::Result<Self> {
        let mut header = read_header(&file)?;
        let geometry = Geometry::new(&header);
        let mut bytes = vec![0; header.l1_entries as usize * 8];
        file.read_bytes(header.l1_offset, &mut bytes)?;
        let l1 = Table { bytes, dirty: false };
        let mut refcounts = None;
        if file.writable() {
            if header.incompatible & CORRUPT != 0 {
                return Err(damaged("it is marked as corrupt; repair it with qemu-img check -r all"));
            }
            if header.incompatible & DIRTY != 0 {
                return Err(damaged(
                    "its reference counts are not up to date; repair it with qemu-img check -r all",
                ));
            }
            let (offset, clusters) = (header.reftable_offset, header.reftable_clusters);
            refcounts = Some(Refcounts::load(&file, geometry, offset, clusters)?);
            if header.autoclear != 0 {
                header.autoclear = 0;
                file.write_bytes(88, &[0; 8])?;
            }
        }
        let l2 = (0..l1.entries()).map(|_| None).collect();
        let compression = header.compression;
        let tables = Tables { header, l1, l2, l2_loaded: 0, writing: false, used: 0, refcounts };
        Ok(Qcow2 {
            file,
            backing,
            geometry,
            compression,
            discard,
            in_flight: InFlight::default(),
            tables: Mutex::new(tables),
            flushing: Mutex::new(()),
            unpacked: Mutex::new(None),
        })
    }

    /// The clusters that a stretch of the disk touches.
    fn clusters(&self, offset: u64, len: u64) -> std::ops::Range<u64> {
        offset >> self.geometry.cluster_bits..(offset + len).div_ceil(self.geometry.cluster())
    }
}

impl Image for Qcow2 {
    fn len(&self) -> u64 {
        self.geometry.size.next_multiple_of(512)
    }

    fn read(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        let _held = self.in_flight.enter(self.clusters(offset, target.len() as u64), false);
        self.read_held(offset, target, wait)
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        let _held = self.in_flight.enter(self.clusters(offset, len), false);
        self.extent_held(offset, len)
    }

    fn write(&self, offset: u64, source: &Source<'_>) -> io::Result<()> {
        self.write_data(offset, source)
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.make_zeroes(offset, len, unmap)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.discard { self.forget(offset, len) } else { Ok(()) }
    }

    fn flush(&self) -> io::Result<()> {
        self.flush_tables()
    }

    fn direct(&self) -> bool {
        self.file.direct()
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        if self.file.writable()
            && let Err(error) = self.settle()
        {
            log::error!("{}: its tables cannot be written ({error})", self.file.path().display());
        }
    }
}
