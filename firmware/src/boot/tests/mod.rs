//! Tests of the boot protocols with tiny images that are built here, seen through [`prepare`](crate::prepare):
//! what the guest finds in RAM and registers.

mod errors;
mod images;
mod linux;
mod multiboot;
mod pvh;
mod random;

use super::*;
use crate::layout::fixture;

/// A machine with RAM, and what the guest reads from it.
struct Guest {
    memory: GuestMemory,
    state: BootState,
}

impl Guest {
    /// Starts `kernel` in a machine of `mib` MiB.
    fn start(mib: u64, kernel: &[u8], modules: &[Module], cmdline: &str) -> Result<Guest, BootError> {
        let memory = GuestMemory::new(mib << 20).unwrap();
        let image = GuestImage { kernel, modules, cmdline, name: "a kernel" };
        let state = crate::prepare(&memory, &image, &fixture::machine(2))?;
        Ok(Guest { memory, state })
    }

    fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }

    fn u32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.bytes(address, 4).try_into().unwrap())
    }

    fn u64(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().unwrap())
    }

    /// The zero-terminated string at `address`.
    fn string(&self, address: u64) -> String {
        let bytes = self.bytes(address, 256);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }
}
