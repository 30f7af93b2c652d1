//! Reference counts: which clusters of the file are in use, and how often. A table of blocks of counts.
//!
//! A cluster that has been found free is *reserved* until something refers to it; only then is it counted. So a count
//! in the file never stands for something that did not come about. A cluster that nobody refers to any more is free
//! only after the tables without it are in the file: [`Refcounts::release`] puts it on a list until then.

use super::layout::{Geometry, REFTABLE_MOST, Table};
use crate::{error::damaged, file::ImageFile};
use std::{
    collections::{BTreeMap, HashSet},
    io,
    ops::Range,
};

pub(super) struct Refcounts {
    geometry: Geometry,
    /// Offsets of the blocks.
    pub table: Table,
    pub table_offset: u64,
    /// The table has a new place, which the header does not know yet; the old one.
    pub table_moved: Option<Range<u64>>,
    blocks: BTreeMap<usize, Table>,
    reserved: HashSet<u64>,
    /// Free clusters are looked for from here on.
    hint: u64,
    /// Clusters from here on have never been written.
    fresh: u64,
    pub released: Vec<u64>,
    /// What was dirty is being written: blocks in memory are newer than those in the file.
    pub writing: bool,
}

/// Blocks that are kept in memory though the file has them.
const BLOCKS_KEPT: usize = 256;

impl Refcounts {
    pub fn load(file: &ImageFile, geometry: Geometry, offset: u64, clusters: u32) -> io::Result<Self> {
        let mut bytes = vec![0; (clusters as usize) << geometry.cluster_bits];
        file.read_bytes(offset, &mut bytes)?;
        let table = Table { bytes, dirty: false };
        check_table(&table, file.len()?)?;
        Ok(Refcounts {
            geometry,
            table,
            table_offset: offset,
            table_moved: None,
            blocks: BTreeMap::new(),
            reserved: HashSet::new(),
            hint: 0,
            fresh: file.len()?.div_ceil(geometry.cluster()),
            released: Vec::new(),
            writing: false,
        })
    }

    fn place(&self, cluster: u64) -> (usize, usize) {
        let entries = self.geometry.block_entries();
        ((cluster / entries) as usize, (cluster % entries) as usize)
    }

    fn block_offset(&self, block: usize) -> io::Result<Option<u64>> {
        if block >= self.table.entries() {
            return Ok(None);
        }
        let offset = self.table.get(block) & !0x1FF;
        if !offset.is_multiple_of(self.geometry.cluster()) || offset >= 1 << 56 {
            return Err(damaged(format!("a refcount block is at {offset:#x}, where none can be")));
        }
        Ok(Some(offset).filter(|offset| *offset != 0))
    }

    /// Whether there is such a block; it is in memory then.
    fn have_block(&mut self, file: &ImageFile, block: usize) -> io::Result<bool> {
        if self.blocks.contains_key(&block) {
            return Ok(true);
        }
        let Some(offset) = self.block_offset(block)? else { return Ok(false) };
        let mut bytes = vec![0; self.geometry.cluster() as usize];
        file.read_bytes(offset, &mut bytes)?;
        if !self.writing && self.blocks.len() > BLOCKS_KEPT {
            self.blocks.retain(|_, block| block.dirty);
        }
        self.blocks.insert(block, Table { bytes, dirty: false });
        Ok(true)
    }

    /// How often a cluster of the file is referred to.
    pub fn get(&mut self, file: &ImageFile, cluster: u64) -> io::Result<u64> {
        let (block, index) = self.place(cluster);
        if !self.have_block(file, block)? {
            return Ok(0);
        }
        Ok(get_count(&self.blocks[&block].bytes, self.geometry.refcount_order, index))
    }

    fn is_free(&mut self, file: &ImageFile, cluster: u64) -> io::Result<bool> {
        Ok(!self.reserved.contains(&cluster) && self.get(file, cluster)? == 0)
    }

    /// Reserves at least one and at most `most` free clusters in a row. Returns them, and whether they have never been
    /// written, so that they read as zeroes.
    pub fn reserve(&mut self, file: &ImageFile, most: u64) -> io::Result<(Range<u64>, bool)> {
        let mut first = self.hint;
        while !self.is_free(file, first)? {
            first += 1;
        }
        let mut end = first + 1;
        while end - first < most && self.is_free(file, end)? {
            end += 1;
        }
        Ok(self.take(first..end))
    }

    /// Reserves exactly `count` in a row.
    pub fn reserve_run(&mut self, file: &ImageFile, count: u64) -> io::Result<Range<u64>> {
        let (mut first, mut end) = (self.hint, self.hint);
        while end - first < count {
            if !self.is_free(file, end)? {
                first = end + 1;
            }
            end += 1;
        }
        let hint = self.hint;
        let run = self.take(first..end).0;
        // There may be free ones before it.
        self.hint = hint;
        Ok(run)
    }

    fn take(&mut self, run: Range<u64>) -> (Range<u64>, bool) {
        self.reserved.extend(run.clone());
        self.hint = run.end;
        let fresh = run.start >= self.fresh;
        self.fresh = self.fresh.max(run.end);
        (run, fresh)
    }

    /// They are not needed after all.
    pub fn give_back(&mut self, run: Range<u64>) {
        self.hint = self.hint.min(run.start);
        run.for_each(|cluster| {
            self.reserved.remove(&cluster);
        });
    }

    /// Reserved clusters are referred to once from now on.
    pub fn count(&mut self, file: &ImageFile, run: Range<u64>) -> io::Result<()> {
        for cluster in run {
            self.set(file, cluster, 1)?;
            self.reserved.remove(&cluster);
        }
        Ok(())
    }

    /// Changes how often a cluster is referred to.
    pub fn set(&mut self, file: &ImageFile, cluster: u64, count: u64) -> io::Result<()> {
        let (block, index) = self.place(cluster);
        if !self.have_block(file, block)? {
            self.make_block(file, block)?;
        }
        let order = self.geometry.refcount_order;
        if order < 6 && count >> (1 << order) != 0 {
            return Err(io::Error::other("a cluster is shared by more snapshots than can be counted"));
        }
        let table = self.blocks.get_mut(&block).expect("it is in memory");
        set_count(&mut table.bytes, order, index, count);
        table.dirty = true;
        if count == 0 {
            self.hint = self.hint.min(cluster);
        }
        Ok(())
    }

    fn make_block(&mut self, file: &ImageFile, block: usize) -> io::Result<()> {
        if block >= self.table.entries() {
            self.grow(file, block)?;
            if self.have_block(file, block)? {
                return Ok(());
            }
        }
        let place = self.reserve(file, 1)?.0;
        let bytes = vec![0; self.geometry.cluster() as usize];
        self.blocks.insert(block, Table { bytes, dirty: true });
        self.table.set(block, place.start << self.geometry.cluster_bits);
        // Its own count is in itself, or in another block, which this may make.
        self.count(file, place)
    }

    /// Makes the table longer, at another place.
    fn grow(&mut self, file: &ImageFile, block: usize) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let old = self.table.bytes.len() as u64;
        let needed = (block as u64 + 1) * 8;
        let len = (needed + needed / 2).next_multiple_of(cluster);
        if len > REFTABLE_MOST {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let run = self.reserve_run(file, len / cluster)?;
        if self.table_moved.is_none() {
            let first = self.table_offset / cluster;
            self.table_moved = Some(first..first + old / cluster);
        } else {
            let first = self.table_offset / cluster;
            self.released.extend(first..first + old / cluster);
        }
        self.table.bytes.resize(len as usize, 0);
        self.table.dirty = true;
        self.table_offset = run.start * cluster;
        self.count(file, run)
    }

    /// One reference less, once the tables without it are in the file.
    pub fn release(&mut self, cluster: u64) {
        self.released.push(cluster);
    }

    /// The tables without `released` are in the file. Returns what has become free.
    pub fn settle(&mut self, file: &ImageFile, released: &[u64]) -> io::Result<Vec<u64>> {
        let mut free = Vec::new();
        for &cluster in released {
            let count = self.get(file, cluster)?;
            if count == 0 {
                log::warn!("{}: a cluster was used without being counted; check it", file.path().display());
                continue;
            }
            self.set(file, cluster, count - 1)?;
            if count == 1 {
                free.push(cluster);
            }
        }
        Ok(free)
    }

    /// Free clusters that are not to be reserved before [`let_go`](Self::let_go), sorted.
    pub fn hold(&mut self, mut free: Vec<u64>) -> Vec<u64> {
        free.sort_unstable();
        self.reserved.extend(free.iter().copied());
        free
    }

    /// The end of [`hold`](Self::hold).
    pub fn let_go(&mut self, free: &[u64]) {
        for cluster in free {
            self.reserved.remove(cluster);
            self.hint = self.hint.min(*cluster);
        }
    }

    pub fn is_dirty(&self) -> bool {
        self.table.dirty || self.table_moved.is_some() || self.blocks.values().any(|block| block.dirty)
    }

    /// Blocks that the file does not have yet, with their offsets; they count as written.
    pub fn take_dirty(&mut self) -> Vec<(usize, u64, Vec<u8>)> {
        let table = &self.table;
        let dirty = self.blocks.iter_mut().filter(|(_, block)| block.dirty);
        let taken = dirty.map(|(&index, block)| {
            block.dirty = false;
            (index, table.get(index) & !0x1FF, block.bytes.clone())
        });
        taken.collect()
    }

    /// A block has not been written after all.
    pub fn mark_dirty(&mut self, block: usize) {
        if let Some(block) = self.blocks.get_mut(&block) {
            block.dirty = true;
        }
    }
}

/// Each block is in the file, and only one's: what is kept in memory is not more than what the file has.
fn check_table(table: &Table, file_len: u64) -> io::Result<()> {
    let mut offsets: Vec<u64> =
        (0..table.entries()).map(|index| table.get(index)).filter(|e| *e != 0).collect();
    offsets.sort_unstable();
    let twice = offsets.windows(2).any(|pair| pair[0] == pair[1]);
    if twice || offsets.last().is_some_and(|last| *last >= file_len) {
        return Err(damaged("its refcount table makes no sense; repair it with qemu-img check -r all"));
    }
    Ok(())
}

fn get_count(bytes: &[u8], order: u32, index: usize) -> u64 {
    match order {
        0..=2 => {
            let bits = 1 << order;
            let (byte, shift) = (index * bits / 8, index * bits % 8);
            u64::from(bytes[byte] >> shift & ((1 << bits) - 1))
        }
        _ => {
            let size = 1 << (order - 3);
            bytes[index * size..][..size].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
        }
    }
}

fn set_count(bytes: &mut [u8], order: u32, index: usize, count: u64) {
    match order {
        0..=2 => {
            let bits = 1 << order;
            let (byte, shift) = (index * bits / 8, index * bits % 8);
            let mask = ((1_u16 << bits) - 1) as u8;
            bytes[byte] = bytes[byte] & !(mask << shift) | (count as u8 & mask) << shift;
        }
        _ => {
            let size = 1 << (order - 3);
            bytes[index * size..][..size].copy_from_slice(&count.to_be_bytes()[8 - size..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_stand_beside_each_other() {
        for order in 0..=6 {
            let mut bytes = vec![0; 512];
            let most = if order == 6 { u64::MAX } else { (1 << (1 << order)) - 1 };
            set_count(&mut bytes, order, 3, most);
            set_count(&mut bytes, order, 4, 1);
            set_count(&mut bytes, order, 3, most - 1);
            let counts = [2, 3, 4, 5].map(|index| get_count(&bytes, order, index));
            assert_eq!(counts, [0, most - 1, 1, 0], "order {order}");
        }
    }
}
