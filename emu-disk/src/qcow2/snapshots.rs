//! Internal snapshots: copies of the L1 table under a name. What several of them refer to is counted as often.

use super::{
    Qcow2,
    layout::{COPIED, L1_MOST, Table},
    references::read_table,
};
use crate::{error::damaged, file::ImageFile};
use std::{io, time::SystemTime};

/// The longest table of snapshots, as QEMU allows it.
const LONGEST: u64 = 64 << 20;
const FIXED: usize = 40;

/// A state of the disk that is kept in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number, as text.
    pub id: String,
    /// What its user calls it.
    pub name: String,
    /// Seconds since 1970.
    pub seconds: u32,
    /// Length of the disk then.
    pub disk_len: u64,
    /// Bytes of a machine's state that is kept with it.
    pub machine_state: u64,
    l1_offset: u64,
    l1_entries: u32,
    nanoseconds: u32,
    clock: u64,
    /// What else there is, as it is.
    extra: Vec<u8>,
}

impl Snapshot {
    /// Returns the length of the entry too.
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let fixed = bytes.get(..FIXED)?;
        let u16_at = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]) as usize;
        let u32_at = |at: usize| u32::from_be_bytes(fixed[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let (id_len, name_len, extra_len) = (u16_at(12), u16_at(14), u32_at(36) as usize);
        let rest = &bytes[FIXED..];
        let extra = rest.get(..extra_len)?;
        let id = rest.get(extra_len..)?.get(..id_len)?;
        let name = rest.get(extra_len + id_len..)?.get(..name_len)?;
        let snapshot = Snapshot {
            id: String::from_utf8_lossy(id).into_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
            seconds: u32_at(16),
            disk_len: if extra_len >= 16 { u64_at(extra, 8) } else { 0 },
            machine_state: if extra_len >= 8 { u64_at(extra, 0) } else { u32_at(32).into() },
            l1_offset: u64_at(fixed, 0),
            l1_entries: u32_at(8),
            nanoseconds: u32_at(20),
            clock: u64_at(fixed, 24),
            extra: extra.to_vec(),
        };
        Some((snapshot, (FIXED + extra_len + id_len + name_len).next_multiple_of(8)))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.l1_offset.to_be_bytes());
        bytes.extend(self.l1_entries.to_be_bytes());
        bytes.extend((self.id.len() as u16).to_be_bytes());
        bytes.extend((self.name.len() as u16).to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        bytes.extend(self.nanoseconds.to_be_bytes());
        bytes.extend(self.clock.to_be_bytes());
        bytes.extend((self.machine_state as u32).to_be_bytes());
        bytes.extend((self.extra.len() as u32).to_be_bytes());
        bytes.extend(&self.extra);
        bytes.extend(self.id.as_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    pub(super) fn l1(&self, file: &ImageFile) -> io::Result<Table> {
        if u64::from(self.l1_entries) * 8 > L1_MOST {
            return Err(damaged(format!("the table of snapshot {} is too long", self.id)));
        }
        read_table(file, self.l1_offset, u64::from(self.l1_entries) * 8)
    }

    /// Where its table is: offset and length.
    pub(super) fn l1_place(&self) -> (u64, u64) {
        (self.l1_offset, u64::from(self.l1_entries) * 8)
    }

    fn is_called(&self, name: &str) -> bool {
        self.id == name || self.name == name
    }
}

/// The snapshots of an image, and how many bytes their table takes.
pub(super) fn read(file: &ImageFile, count: u32, offset: u64) -> io::Result<(Vec<Snapshot>, u64)> {
    if count == 0 {
        return Ok((Vec::new(), 0));
    }
    let len = file.len()?.saturating_sub(offset).min(LONGEST);
    let bytes = read_table(file, offset, len)?.bytes;
    let (mut snapshots, mut at) = (Vec::new(), 0);
    for _ in 0..count {
        let entry = bytes.get(at..).and_then(Snapshot::parse);
        let (snapshot, len) = entry.ok_or_else(|| damaged("its list of snapshots is damaged"))?;
        snapshots.push(snapshot);
        at += len;
    }
    Ok((snapshots, at as u64))
}

impl Qcow2 {
    pub fn snapshots(&self) -> io::Result<Vec<Snapshot>> {
        let tables = self.tables.lock();
        Ok(read(&self.file, tables.header.snapshots, tables.header.snapshots_offset)?.0)
    }

    /// Keeps the disk as it is under a name.
    #[expect(clippy::disallowed_methods, reason = "users want to know when they made a snapshot")]
    pub fn make_snapshot(&self, name: &str) -> io::Result<()> {
        self.settle()?;
        let mut snapshots = self.snapshots()?;
        if name.is_empty() || name.len() > 255 || snapshots.iter().any(|snapshot| snapshot.is_called(name)) {
            return Err(damaged(format!(
                "a snapshot cannot be called {name:?}, or one is called so; name another"
            )));
        }
        let highest = snapshots.iter().filter_map(|snapshot| snapshot.id.parse::<u32>().ok()).max();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut tables = self.tables.lock();
        let mut l1 = tables.l1.clone();
        self.count_all(&mut tables, &l1, 1)?;
        (0..l1.entries()).for_each(|index| l1.set(index, l1.get(index) & !COPIED));
        let l1_offset = tables.refcounts()?.place(&self.file, l1.bytes.len() as u64)?;
        self.mark_own(&mut tables)?;
        drop(tables);
        self.file.write_bytes(l1_offset, &l1.bytes)?;
        self.settle()?;
        let extra = [0_u64, self.geometry.size, u64::MAX].map(u64::to_be_bytes).concat();
        snapshots.push(Snapshot {
            id: (u64::from(highest.unwrap_or(0)) + 1).to_string(),
            name: name.to_owned(),
            seconds: now.as_secs() as u32,
            disk_len: self.geometry.size,
            machine_state: 0,
            l1_offset,
            l1_entries: l1.entries() as u32,
            nanoseconds: now.subsec_nanos(),
            clock: 0,
            extra,
        });
        self.put_snapshots(&snapshots)
    }

    /// Forgets a snapshot.
    pub fn delete_snapshot(&self, name: &str) -> io::Result<()> {
        let mut snapshots = self.snapshots()?;
        let index = find(&snapshots, name)?;
        let snapshot = snapshots.remove(index);
        let l1 = snapshot.l1(&self.file)?;
        self.put_snapshots(&snapshots)?;
        let mut tables = self.tables.lock();
        self.count_all(&mut tables, &l1, -1)?;
        let (offset, len) = snapshot.l1_place();
        tables.refcounts()?.release_bytes(offset, len);
        self.mark_own(&mut tables)?;
        drop(tables);
        self.settle()
    }

    /// Makes the disk what it was.
    pub fn apply_snapshot(&self, name: &str) -> io::Result<()> {
        self.settle()?;
        let snapshots = self.snapshots()?;
        let snapshot = &snapshots[find(&snapshots, name)?];
        if snapshot.disk_len != 0 && snapshot.disk_len != self.geometry.size {
            let problem = format!("the disk had {} bytes then; resize it first", snapshot.disk_len);
            return Err(damaged(problem));
        }
        let mut new = snapshot.l1(&self.file)?;
        let mut tables = self.tables.lock();
        let old = tables.l1.clone();
        new.bytes.resize(old.bytes.len(), 0);
        // First the counts grow, then the table changes, then they shrink: whenever it ends, none is too low.
        self.count_all(&mut tables, &new, 1)?;
        (0..new.entries()).for_each(|index| new.set(index, new.get(index) & !COPIED));
        tables.l1 = new;
        tables.forget_l2();
        drop(tables);
        self.settle()?;
        let mut tables = self.tables.lock();
        self.count_all(&mut tables, &old, -1)?;
        self.mark_own(&mut tables)?;
        drop(tables);
        self.settle()
    }

    /// Writes the list to a new place, and makes the header refer to that.
    fn put_snapshots(&self, snapshots: &[Snapshot]) -> io::Result<()> {
        let bytes: Vec<u8> = snapshots.iter().flat_map(Snapshot::to_bytes).collect();
        let mut tables = self.tables.lock();
        let (count, old) = (tables.header.snapshots, tables.header.snapshots_offset);
        let old_len = read(&self.file, count, old)?.1;
        let offset =
            if bytes.is_empty() { 0 } else { tables.refcounts()?.place(&self.file, bytes.len() as u64)? };
        drop(tables);
        self.file.write_bytes(offset, &bytes)?;
        self.settle()?;
        let mut tables = self.tables.lock();
        (tables.header.snapshots, tables.header.snapshots_offset) = (snapshots.len() as u32, offset);
        let mut field = (snapshots.len() as u32).to_be_bytes().to_vec();
        field.extend(offset.to_be_bytes());
        self.file.write_bytes(60, &field)?;
        self.file.sync()?;
        tables.refcounts()?.release_bytes(old, old_len);
        drop(tables);
        self.settle()
    }
}

fn find(snapshots: &[Snapshot], name: &str) -> io::Result<usize> {
    let found = snapshots.iter().position(|snapshot| snapshot.is_called(name));
    found.ok_or_else(|| {
        let names: Vec<&str> = snapshots.iter().map(|snapshot| &*snapshot.name).collect();
        let there_are = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        damaged(format!("no snapshot is called {name:?}; there are: {there_are}"))
    })
}
