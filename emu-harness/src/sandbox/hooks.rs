//! Hooks: what the caller wants to see, and to decide.

use super::{Error, Event, MmioAccess, PortAccess, Resolution, Sandbox, Unmapped, Verdict};
use emu_core::mmu::Access;
use std::ops::RangeInclusive;

/// A hook that is there, to take it away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookId(pub(super) u64);

/// Which accesses a hook on memory sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Loads.
    Reads,
    /// Stores.
    Writes,
    /// Loads and stores.
    Accesses,
    /// Instruction fetches: before each instruction that begins in the range.
    Fetches,
}

/// An access that a hook on memory sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryAccess {
    /// Linear address of the instruction.
    pub instruction: u64,
    /// Linear address of the first byte accessed.
    pub address: u64,
    /// Bytes accessed; of a fetch, 0.
    pub size: u16,
    /// Read, write or fetch.
    pub access: Access,
    /// What was read or written: the first 8 bytes, little end first.
    pub value: u64,
}

pub(super) type CodeCallback<'h> = Box<dyn FnMut(&mut Sandbox<'h>, u64) + 'h>;
pub(super) type MemoryCallback<'h> = Box<dyn FnMut(&mut Sandbox<'h>, &MemoryAccess) + 'h>;
pub(super) type EventCallback<'h> = Box<dyn FnMut(&mut Sandbox<'h>, &Event) -> Verdict + 'h>;
pub(super) type UnmappedCallback<'h> = Box<dyn FnMut(&mut Sandbox<'h>, &Unmapped) -> Resolution + 'h>;

/// One registered hook. The callback is out while it is being called.
pub(super) struct Hook<F> {
    pub(super) id: HookId,
    /// Linear addresses, first to last.
    pub(super) range: (u64, u64),
    pub(super) callback: Option<F>,
}

/// All hooks of a sandbox.
#[derive(Default)]
pub(super) struct Hooks<'h> {
    pub(super) code: Vec<Hook<CodeCallback<'h>>>,
    pub(super) memory: Vec<(Watch, Hook<MemoryCallback<'h>>)>,
    pub(super) events: Vec<Hook<EventCallback<'h>>>,
    pub(super) unmapped: Vec<Hook<UnmappedCallback<'h>>>,
    next: u64,
}

impl Hooks<'_> {
    fn id(&mut self) -> HookId {
        self.next += 1;
        HookId(self.next)
    }
}

impl<'h> Sandbox<'h> {
    /// Calls `hook` before every instruction that begins in `range` of linear addresses (`0..=u64::MAX`: all).
    /// RIP is the instruction's; the hook may change anything, RIP included.
    ///
    /// An instruction that is begun again (after a page fault, after an interrupt between repetitions) is seen
    /// again. When a hook has stopped the run, the next run begins with this instruction without calling it
    /// again.
    pub fn on_code(
        &mut self,
        range: RangeInclusive<u64>,
        hook: impl FnMut(&mut Sandbox<'h>, u64) + 'h,
    ) -> HookId {
        let id = self.hooks.id();
        let range = range.into_inner();
        self.hooks.code.push(Hook { id, range, callback: Some(Box::new(hook)) });
        self.observe_code();
        id
    }

    /// Calls `hook` for accesses to `range` of linear addresses: after the instruction that made them (for
    /// fetches: before it). It sees what the processor reads and writes by itself as well, as stacks of
    /// interrupts and descriptors, but not page walks. What an instruction accesses before it faults is not
    /// told; it will access it again.
    pub fn on_memory(
        &mut self,
        watch: Watch,
        range: RangeInclusive<u64>,
        hook: impl FnMut(&mut Sandbox<'h>, &MemoryAccess) + 'h,
    ) -> HookId {
        let id = self.hooks.id();
        let range = range.into_inner();
        self.hooks.memory.push((watch, Hook { id, range, callback: Some(Box::new(hook)) }));
        self.observe_memory();
        id
    }

    /// Calls `hook` for interrupts and exceptions before they are delivered, the latest hook first. It decides
    /// what becomes of them.
    pub fn on_event(&mut self, hook: impl FnMut(&mut Sandbox<'h>, &Event) -> Verdict + 'h) -> HookId {
        let id = self.hooks.id();
        self.hooks.events.insert(0, Hook { id, range: (0, u64::MAX), callback: Some(Box::new(hook)) });
        id
    }

    /// Calls `hook` for accesses to memory that is not mapped (or, without the sandbox's own paging, not so),
    /// the latest hook first. It may map some and have the instruction executed again.
    pub fn on_unmapped(
        &mut self,
        hook: impl FnMut(&mut Sandbox<'h>, &Unmapped) -> Resolution + 'h,
    ) -> HookId {
        let id = self.hooks.id();
        self.hooks.unmapped.insert(0, Hook { id, range: (0, u64::MAX), callback: Some(Box::new(hook)) });
        id
    }

    /// Lets `device` answer IN and OUT at `ports`; the latest one that has a port answers. Ports without one
    /// read as ones. It runs in the middle of an instruction, so it has no sandbox, but [`Sandbox::line`]
    /// gives what it can raise interrupts with and stop the run.
    pub fn on_port(
        &mut self,
        ports: RangeInclusive<u16>,
        device: impl FnMut(PortAccess) -> u32 + Send + 'static,
    ) -> HookId {
        let id = self.hooks.id();
        self.devices.add_ports(id.0, ports, Box::new(device));
        id
    }

    /// Maps a device of `size` bytes at `address`, both multiples of 0x1000, that `device` answers for. (See
    /// [`on_port`](Self::on_port) for what it can do.) Without the sandbox's own paging the address is
    /// physical, and there must be no RAM.
    pub fn on_mmio(
        &mut self,
        address: u64,
        size: u64,
        device: impl FnMut(MmioAccess) -> u64 + Send + 'static,
    ) -> Result<HookId, Error> {
        let range = self.pages(address, size)?;
        let physical = self.space.map_device(range)?;
        let id = self.hooks.id();
        self.devices.add_memory(id.0, physical.start..=physical.end - 1, Box::new(device));
        self.cpu.mmu.flush_all();
        Ok(id)
    }

    /// Takes a hook or device away; returns whether it was there. The pages of a device stay mapped, and read
    /// as ones.
    pub fn remove(&mut self, id: HookId) -> bool {
        let hooks = &mut self.hooks;
        let before = (hooks.code.len(), hooks.memory.len(), hooks.events.len() + hooks.unmapped.len());
        hooks.code.retain(|hook| hook.id != id);
        hooks.memory.retain(|(_, hook)| hook.id != id);
        hooks.events.retain(|hook| hook.id != id);
        hooks.unmapped.retain(|hook| hook.id != id);
        let after = (hooks.code.len(), hooks.memory.len(), hooks.events.len() + hooks.unmapped.len());
        if before.0 != after.0 || before.1 != after.1 {
            self.observe_code();
            self.observe_memory();
        }
        before != after || self.devices.remove(id.0)
    }

    /// Tells the CPU before which instructions to pause.
    pub(super) fn observe_code(&mut self) {
        let fetches = self.hooks.memory.iter().filter(|(watch, _)| *watch == Watch::Fetches);
        let mut ranges: Vec<_> = fetches.map(|(_, hook)| hook.range).collect();
        ranges.extend(self.hooks.code.iter().map(|hook| hook.range));
        ranges.extend(self.ends.iter().map(|address| (*address, *address)));
        if ranges != self.cpu.observe.code {
            self.cpu.observe.code = ranges;
            self.cpu.observation_changed();
        }
    }

    fn observe_memory(&mut self) {
        let data = self.hooks.memory.iter().filter(|(watch, _)| *watch != Watch::Fetches);
        let ranges = data.map(|(_, hook)| hook.range).collect();
        self.cpu.observe_accesses(ranges);
        self.observe_code();
    }

    /// Calls the hooks on the instruction at `address`.
    pub(super) fn call_code_hooks(&mut self, address: u64) {
        let mut at = 0;
        while let Some(hook) = self.hooks.code.get_mut(at) {
            let (id, (first, last)) = (hook.id, hook.range);
            if first <= address
                && address <= last
                && let Some(mut callback) = hook.callback.take()
            {
                callback(self, address);
                if let Some(hook) = self.hooks.code.iter_mut().find(|hook| hook.id == id) {
                    hook.callback = Some(callback);
                }
            }
            at += 1;
        }
        let fetch = MemoryAccess { instruction: address, address, size: 0, access: Access::Fetch, value: 0 };
        self.call_memory_hooks(&fetch);
    }

    /// Calls the hooks on an access.
    pub(super) fn call_memory_hooks(&mut self, access: &MemoryAccess) {
        let end = access.address.saturating_add(u64::from(access.size.max(1)) - 1);
        let mut at = 0;
        while let Some((watch, hook)) = self.hooks.memory.get_mut(at) {
            let (id, (first, last)) = (hook.id, hook.range);
            if watch.sees(access.access)
                && first <= end
                && access.address <= last
                && let Some(mut callback) = hook.callback.take()
            {
                callback(self, access);
                if let Some((_, hook)) = self.hooks.memory.iter_mut().find(|(_, hook)| hook.id == id) {
                    hook.callback = Some(callback);
                }
            }
            at += 1;
        }
    }

    /// What the hooks want to become of `event`.
    pub(super) fn call_event_hooks(&mut self, event: &Event) -> Verdict {
        let mut at = 0;
        while let Some(hook) = self.hooks.events.get_mut(at) {
            let id = hook.id;
            if let Some(mut callback) = hook.callback.take() {
                let verdict = callback(self, event);
                if let Some(hook) = self.hooks.events.iter_mut().find(|hook| hook.id == id) {
                    hook.callback = Some(callback);
                }
                if verdict != Verdict::Pass {
                    return verdict;
                }
            }
            at += 1;
        }
        Verdict::Pass
    }

    /// Whether a hook has mapped what was not.
    pub(super) fn call_unmapped_hooks(&mut self, unmapped: &Unmapped) -> Resolution {
        let mut at = 0;
        while let Some(hook) = self.hooks.unmapped.get_mut(at) {
            let id = hook.id;
            if let Some(mut callback) = hook.callback.take() {
                let resolution = callback(self, unmapped);
                if let Some(hook) = self.hooks.unmapped.iter_mut().find(|hook| hook.id == id) {
                    hook.callback = Some(callback);
                }
                if resolution == Resolution::Retry {
                    return resolution;
                }
            }
            at += 1;
        }
        Resolution::Pass
    }
}

impl Watch {
    fn sees(self, access: Access) -> bool {
        match access {
            Access::Read => matches!(self, Watch::Reads | Watch::Accesses),
            Access::Write => matches!(self, Watch::Writes | Watch::Accesses),
            Access::Fetch => self == Watch::Fetches,
        }
    }
}
