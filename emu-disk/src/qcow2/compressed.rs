//! Packed clusters. Each is unpacked as a whole; the last one is kept, as guests read on.

use super::{Qcow2, header::Compression};
use crate::error::damaged;
use flate2::{Decompress, FlushDecompress};
use std::{io, sync::Arc};

/// The cluster that was unpacked last, and where in the file it is.
pub(super) struct Unpacked {
    offset: u64,
    bytes: Arc<Vec<u8>>,
}

impl Qcow2 {
    /// The content of the cluster that is packed in at most `len` bytes of the file, from `offset` on.
    pub(super) fn unpack(&self, offset: u64, len: u64) -> io::Result<Arc<Vec<u8>>> {
        if let Some(last) = self.unpacked.lock().as_ref().filter(|last| last.offset == offset) {
            return Ok(last.bytes.clone());
        }
        // Its last sector may reach beyond the end of the file.
        let there = self.file.len()?.saturating_sub(offset).min(len);
        let mut packed = vec![0; there as usize];
        self.file.read_bytes(offset, &mut packed)?;
        let mut bytes = vec![0; self.geometry.cluster() as usize];
        match self.compression {
            Compression::Deflate => inflate(&packed, &mut bytes)?,
            Compression::Zstd => {
                return Err(damaged(
                    "clusters packed by zstd are not supported; copy it with qemu-img convert",
                ));
            }
        }
        let bytes = Arc::new(bytes);
        *self.unpacked.lock() = Some(Unpacked { offset, bytes: bytes.clone() });
        Ok(bytes)
    }

    /// What is in the file may have changed.
    pub(super) fn forget_unpacked(&self) {
        *self.unpacked.lock() = None;
    }
}

fn inflate(packed: &[u8], bytes: &mut [u8]) -> io::Result<()> {
    let mut inflater = Decompress::new(false);
    let _ = inflater.decompress(packed, bytes, FlushDecompress::Finish).map_err(io::Error::other)?;
    if inflater.total_out() != bytes.len() as u64 {
        return Err(damaged("a packed cluster is incomplete"));
    }
    Ok(())
}
