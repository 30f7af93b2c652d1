//! VirtualBox's disk images, version 1.1: a header and a map of blocks. After VirtualBox's `VDICore.h`.
//!
//! Left out: differencing and undo images.

use super::{Layout, Run, bytes_at, disk_len, le32, le64};
use crate::{error::damaged, file::ImageFile};
use std::io;

const SIGNATURE: u32 = 0xBEDA_107F;
const VERSION: u32 = 0x0001_0001;
const DYNAMIC: u32 = 1;
const FIXED: u32 = 2;
/// Entries of the map.
const FREE: u32 = 0xFFFF_FFFF;
const ZERO: u32 = 0xFFFF_FFFE;

pub(super) struct Vdi {
    len: u64,
    block: u64,
    data: u64,
    map: Vec<u8>,
}

impl Vdi {
    pub fn open(file: &ImageFile) -> io::Result<Self> {
        let header = bytes_at(file, 0, 512)?;
        if le32(&header, 0x40) != SIGNATURE {
            return Err(damaged("it has no header of VirtualBox's"));
        }
        let (version, kind) = (le32(&header, 0x44), le32(&header, 0x4C));
        if version != VERSION {
            return Err(damaged(format!("version {version:#x} of vdi is not known; 1.1 is")));
        }
        if !matches!(kind, DYNAMIC | FIXED) || header[0x1A8..0x1B8] != [0; 16] {
            return Err(damaged(
                "it builds on another image, which is not supported; merge them in VirtualBox",
            ));
        }
        let len = disk_len(le64(&header, 0x170))?;
        let block = le32(&header, 0x178);
        let extra = le32(&header, 0x17C);
        let blocks = le32(&header, 0x180);
        if block < 4096
            || !block.is_power_of_two()
            || extra != 0
            || u64::from(blocks) * u64::from(block) < len
        {
            return Err(damaged("the size of its blocks makes no sense"));
        }
        let map = bytes_at(file, le32(&header, 0x154).into(), u64::from(blocks) * 4)?;
        Ok(Vdi { len, block: block.into(), data: le32(&header, 0x158).into(), map })
    }
}

impl Layout for Vdi {
    fn len(&self) -> u64 {
        self.len
    }

    fn run(&self, _: &[ImageFile], offset: u64) -> io::Result<(Run, u64)> {
        let (index, begin) = (offset / self.block, offset % self.block);
        let run = match le32(&self.map, index as usize * 4) {
            FREE => Run::Unallocated,
            ZERO => Run::Zero,
            place => Run::Data(0, self.data + u64::from(place) * self.block + begin),
        };
        Ok((run, self.block - begin))
    }
}
