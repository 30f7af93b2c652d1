//! The bus's functions, and configuration accesses to them.

use super::{FunctionAddress, PciFunction};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, sync::Arc};

/// Two functions claim one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PCI function {address} is already {owner}")]
pub struct FunctionTaken {
    address: FunctionAddress,
    owner: &'static str,
}

/// All PCI functions of one machine.
#[derive(Default)]
pub struct PciBus {
    functions: RwLock<BTreeMap<FunctionAddress, Arc<Mutex<dyn PciFunction>>>>,
}

impl PciBus {
    /// An empty bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `function` at `address`.
    pub fn add(
        &self,
        address: FunctionAddress,
        function: Arc<Mutex<dyn PciFunction>>,
    ) -> Result<(), FunctionTaken> {
        let mut functions = self.functions.write();
        if let Some(other) = functions.get(&address) {
            return Err(FunctionTaken { address, owner: other.lock().name() });
        }
        functions.insert(address, function);
        Ok(())
    }

    fn function(&self, address: FunctionAddress) -> Option<Arc<Mutex<dyn PciFunction>>> {
        self.functions.read().get(&address).cloned()
    }

    /// Reads `size` (1, 2, 4) bytes of a function's configuration space. Where no function is, lines float.
    pub fn config_read(&self, address: FunctionAddress, offset: u16, size: u8) -> u32 {
        self.function(address).map_or(u32::MAX, |function| function.lock().config().read(offset, size))
    }

    /// Writes `size` (1, 2, 4) bytes of a function's configuration space.
    pub fn config_write(&self, address: FunctionAddress, offset: u16, size: u8, value: u32) {
        if let Some(function) = self.function(address) {
            let mut function = function.lock();
            function.config_mut().write(offset, size, value);
            function.config_written(offset, size);
        }
    }
}
