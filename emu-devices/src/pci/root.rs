//! The bus's functions, configuration accesses to them, and the windows of their base address registers.
//!
//! A window moves when the guest writes a base address or the command register. The function is locked by the very
//! access that moves it, perhaps one from within another window, so the access only counts a change; whoever made it
//! calls [`PciBus::map_windows`] when it is over and nothing is locked.

use super::{
    BarKind, BarWindow, FunctionAddress, PciFunction,
    config::{BARS, reg},
    touches,
};
use emu_core::bus::{Bus, MmioIo, PortIo, RegionConflict};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Two functions claim one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PCI function {address} is already {owner}")]
pub struct FunctionTaken {
    address: FunctionAddress,
    owner: &'static str,
}

/// Who answers in the windows of a function: as region, each access names the base address register.
#[derive(Clone, Default)]
pub struct WindowTargets {
    /// In memory windows.
    pub memory: Option<Arc<Mutex<dyn MmioIo>>>,
    /// In I/O windows.
    pub ports: Option<Arc<Mutex<dyn PortIo>>>,
}

impl WindowTargets {
    /// A function with memory windows alone.
    pub fn memory(function: Arc<Mutex<dyn MmioIo>>) -> Self {
        WindowTargets { memory: Some(function), ports: None }
    }

    /// A function with I/O windows alone.
    pub fn ports(function: Arc<Mutex<dyn PortIo>>) -> Self {
        WindowTargets { memory: None, ports: Some(function) }
    }

    /// A function with both.
    pub fn both<D: MmioIo + PortIo + 'static>(function: Arc<Mutex<D>>) -> Self {
        WindowTargets { memory: Some(function.clone()), ports: Some(function) }
    }

    fn have(&self, window: &BarWindow) -> bool {
        if window.kind == BarKind::Io { self.ports.is_some() } else { self.memory.is_some() }
    }

    fn map(&self, bus: &Bus, register: u8, window: &BarWindow) -> Result<(), RegionConflict> {
        match (window.kind, &self.memory, &self.ports) {
            (BarKind::Io, _, Some(ports)) => {
                bus.add_ports(ports.clone(), register, window.base as u16, window.size as u16)
            }
            (BarKind::Memory32 | BarKind::Memory64 { .. }, Some(memory), _) => {
                bus.add_mmio(memory.clone(), register, window.base, window.size)
            }
            _ => Ok(()),
        }
    }
}

fn unmap(bus: &Bus, window: &BarWindow) {
    match window.kind {
        BarKind::Io => bus.remove_ports(window.base as u16),
        _ => bus.remove_mmio(window.base),
    }
}

/// Whether a processor can reach all of `window`: ports have 16 bits, and nothing is beyond the end of memory.
fn is_reachable(window: &BarWindow) -> bool {
    let end = window.base.checked_add(window.size);
    end.is_some_and(|end| window.kind != BarKind::Io || end <= 1 << 16)
}

struct Slot {
    function: Arc<Mutex<dyn PciFunction>>,
    targets: WindowTargets,
}

/// A window's owner: function and base address register.
type WindowKey = (FunctionAddress, u8);

/// All PCI functions of one machine.
#[derive(Default)]
pub struct PciBus {
    functions: RwLock<BTreeMap<FunctionAddress, Slot>>,
    /// Counts accesses after which a window may be elsewhere.
    changes: AtomicU32,
    /// The count up to which windows have been moved.
    followed: AtomicU32,
    /// Where windows are now.
    mapped: Mutex<BTreeMap<WindowKey, BarWindow>>,
}

impl PciBus {
    /// An empty bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `function` at `address`; `targets` answer in its windows.
    pub fn add(
        &self,
        address: FunctionAddress,
        function: Arc<Mutex<dyn PciFunction>>,
        targets: WindowTargets,
    ) -> Result<(), FunctionTaken> {
        let mut functions = self.functions.write();
        if let Some(other) = functions.get(&address) {
            return Err(FunctionTaken { address, owner: other.function.lock().name() });
        }
        functions.insert(address, Slot { function, targets });
        self.windows_may_have_moved();
        Ok(())
    }

    fn function(&self, address: FunctionAddress) -> Option<Arc<Mutex<dyn PciFunction>>> {
        self.functions.read().get(&address).map(|slot| slot.function.clone())
    }

    /// Reads `size` (1, 2, 4) bytes of a function's configuration space. Where no function is, lines float.
    pub fn config_read(&self, address: FunctionAddress, offset: u16, size: u8) -> u32 {
        let floating = u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)));
        self.function(address).map_or(floating, |function| {
            let mut function = function.lock();
            function.config_will_be_read(offset, size);
            function.config().read(offset, size)
        })
    }

    /// Writes `size` (1, 2, 4) bytes of a function's configuration space. [`map_windows`](Self::map_windows) is to
    /// follow.
    pub fn config_write(&self, address: FunctionAddress, offset: u16, size: u8, value: u32) {
        if let Some(function) = self.function(address) {
            let mut function = function.lock();
            function.config_mut().write(offset, size, value);
            function.config_written(offset, size);
            if touches(offset, size, reg::COMMAND, 2) || touches(offset, size, reg::BAR0, 4 * BARS) {
                self.windows_may_have_moved();
            }
        }
    }

    /// Functions have changed by themselves, as by RESET#.
    pub fn windows_may_have_moved(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Moves windows to where the functions have them now. Called with no device locked; costs two loads if nothing
    /// has changed.
    #[inline]
    pub fn map_windows(&self, bus: &Bus) {
        if self.changes.load(Ordering::Acquire) != self.followed.load(Ordering::Acquire) {
            self.follow(bus);
        }
    }

    /// Takes all windows that change off the bus before any goes to its new place, which may be another's old one.
    #[cold]
    fn follow(&self, bus: &Bus) {
        // Who waits here finds its own windows moved too, by the one before.
        let mut mapped = self.mapped.lock();
        let count = self.changes.load(Ordering::Acquire);
        let functions = self.functions.read();
        let wanted = wanted(&functions);
        mapped.retain(|key, window| {
            let stays = wanted.get(key) == Some(window);
            if !stays {
                unmap(bus, window);
            }
            stays
        });
        for (key, window) in wanted {
            if mapped.contains_key(&key) {
                continue;
            }
            match functions[&key.0].targets.map(bus, key.1, &window) {
                Ok(()) => _ = mapped.insert(key, window),
                // A guest finds out the size of a window by moving it to the top of the address space.
                Err(error) => log::debug!("a window of PCI function {} cannot move: {error}", key.0),
            }
        }
        self.followed.store(count, Ordering::Release);
    }
}

/// Where the functions want their windows.
fn wanted(functions: &BTreeMap<FunctionAddress, Slot>) -> BTreeMap<WindowKey, BarWindow> {
    let windows = functions.iter().flat_map(|(address, slot)| {
        let function = slot.function.lock();
        let of_register = |register| {
            let window = function.config().bar(register)?;
            let answered = slot.targets.have(&window) && is_reachable(&window);
            answered.then_some(((*address, register as u8), window))
        };
        (0..BARS).filter_map(of_register).collect::<Vec<_>>()
    });
    windows.collect()
}
