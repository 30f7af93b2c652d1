//! Page walks: 32-bit, PAE, 4-level and 5-level paging. SDM vol. 3, 4.3 to 4.6.

use super::{Context, Mmu, Paging, UserPage};
use crate::{
    arch::{Exception, Flags, PageFaultCode},
    memory::PhysicalMemory,
    state::Control,
};

/// What an access wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write.
    Write,
    /// Instruction fetch.
    Fetch,
}

/// Bits of paging-structure entries.
mod entry {
    pub const P: u64 = 1 << 0;
    pub const RW: u64 = 1 << 1;
    pub const US: u64 = 1 << 2;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    pub const PS: u64 = 1 << 7;
    pub const G: u64 = 1 << 8;
    pub const XD: u64 = 1 << 63;
    /// Address field of 64-bit entries.
    pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
}

/// Result of a walk.
#[derive(Debug, Clone, Copy)]
pub struct Translation {
    /// Guest-physical address, before the A20 gate.
    pub physical: u64,
    /// Writes at this privilege are allowed and the dirty bit is set.
    pub writable_now: bool,
    /// Global page.
    pub global: bool,
    /// log2 of the page size.
    pub page_shift: u32,
}

/// One entry met on the way, to set its accessed bit.
#[derive(Clone, Copy, Default)]
struct Visited {
    address: u64,
    value: u64,
}

/// The way from CR3 to a page.
struct Path {
    visited: [Visited; 5],
    depth: usize,
    leaf: u64,
    page_shift: u32,
    /// AND of RW, AND of US, OR of XD along the way.
    rights: u64,
    no_execute: bool,
    wide: bool,
}

/// The walk met an entry that another CPU changed meanwhile.
struct Changed;

impl Mmu {
    /// Walks the paging structures for `linear`, checks permissions and sets accessed and dirty bits.
    pub fn walk(&self, linear: u64, access: Access, user: bool) -> Result<Translation, Exception> {
        let context = &self.context;
        if context.paging == Paging::None {
            return Ok(Translation { physical: linear, writable_now: true, global: false, page_shift: 12 });
        }
        loop {
            let path = context
                .path(&self.memory, linear)
                .map_err(|code| self.page_fault(linear, access, user, code))?;
            self.check(&path, access, user).map_err(|code| self.page_fault(linear, access, user, code))?;
            if let Ok(leaf) = self.set_accessed(&path, access == Access::Write) {
                let writable = self.check(&path, Access::Write, user).is_ok() && leaf & entry::D != 0;
                return Ok(Translation {
                    physical: path.physical(linear),
                    writable_now: writable,
                    global: context.global && leaf & entry::G != 0,
                    page_shift: path.page_shift,
                });
            }
        }
    }

    /// Permission checks, SDM vol. 3, 4.6.
    fn check(&self, path: &Path, access: Access, user: bool) -> Result<(), PageFaultCode> {
        let context = &self.context;
        let user_page = path.rights & entry::US != 0;
        let writable = path.rights & entry::RW != 0;
        let mut code = PageFaultCode::PRESENT;
        let allowed = match (access, user) {
            (Access::Fetch, true) => user_page && !path.no_execute,
            (Access::Fetch, false) => !(path.no_execute || user_page && context.smep),
            (Access::Read, true) => user_page,
            (Access::Write, true) => user_page && writable,
            (Access::Read | Access::Write, false)
                if user_page && context.smap && !context.access_override =>
            {
                false
            }
            (Access::Read, false) => true,
            (Access::Write, false) => writable || !context.write_protect,
        };
        if !allowed {
            return Err(code);
        }
        if context.protection_keys && user_page && access != Access::Fetch {
            let rights = context.pkru >> (2 * (path.leaf >> 59 & 15)) & 3;
            let write_denied = access == Access::Write && rights & 2 != 0 && (user || context.write_protect);
            if rights & 1 != 0 || write_denied {
                code |= PageFaultCode::KEY;
                return Err(code);
            }
        }
        Ok(())
    }

    /// What an access of user code to the page at `linear` may do without changing an entry: before the A20 gate, and
    /// whatever protection keys say of its data. There is paging.
    pub(super) fn settled_user_page(&self, linear: u64) -> Option<UserPage> {
        let path = self.context.path(&self.memory, linear).ok()?;
        let is_accessed = path.visited[..path.depth].iter().all(|visited| visited.value & entry::A != 0);
        if !is_accessed || path.rights & entry::US == 0 {
            return None;
        }
        Some(UserPage {
            physical: path.physical(linear & !((1 << path.page_shift) - 1)),
            shift: path.page_shift,
            writable: path.rights & entry::RW != 0 && path.leaf & entry::D != 0,
            executable: !path.no_execute,
        })
    }

    /// Whether the page at `linear`, which is present, has protection key 0 and that key denies nothing.
    pub(super) fn ignores_keys(&self, linear: u64) -> bool {
        let path = self.context.path(&self.memory, linear);
        self.context.pkru & 3 == 0 && path.is_ok_and(|path| path.leaf >> 59 & 15 == 0)
    }

    /// Sets accessed bits along the path, and the leaf's dirty bit for a write. Returns the leaf as it now is.
    fn set_accessed(&self, path: &Path, write: bool) -> Result<u64, Changed> {
        let mut leaf = path.leaf;
        for (number, visited) in path.visited[..path.depth].iter().enumerate() {
            let is_leaf = number + 1 == path.depth;
            let wanted = visited.value | entry::A | if is_leaf && write { entry::D } else { 0 };
            if wanted != visited.value {
                let address = self.memory.gate(visited.address);
                let done = if path.wide {
                    self.memory.exchange_u64(address, visited.value, wanted)
                } else {
                    self.memory.exchange_u32(address, visited.value as u32, wanted as u32)
                };
                if !done {
                    return Err(Changed);
                }
            }
            if is_leaf {
                leaf = wanted;
            }
        }
        Ok(leaf)
    }
}

impl Context {
    /// The way to the page of `linear`, whatever its rights; an error if there is none. There is paging.
    fn path(&self, memory: &PhysicalMemory, linear: u64) -> Result<Path, PageFaultCode> {
        match self.paging {
            Paging::Legacy => self.legacy_path(memory, linear),
            _ => self.wide_path(memory, linear),
        }
    }

    fn legacy_path(&self, memory: &PhysicalMemory, linear: u64) -> Result<Path, PageFaultCode> {
        let mut path = Path::new(false);
        let directory = (self.cr3 & 0xFFFF_F000) | (linear >> 22 & 0x3FF) << 2;
        let pde = memory.read_u32(memory.gate(directory)).into();
        path.visit(directory, pde)?;
        if pde & entry::PS != 0 && self.page_size_extension {
            // PSE-36: bits 20:13 are address bits 39:32; those beyond the physical width, and bit 21, are reserved.
            if pde & 1 << 21 != 0 || legacy_address(pde, 22) & self.reserved != 0 {
                return Err(PageFaultCode::PRESENT | PageFaultCode::RESERVED);
            }
            return Ok(path.finish(pde, 22));
        }
        let table = (pde & 0xFFFF_F000) | (linear >> 12 & 0x3FF) << 2;
        let pte = memory.read_u32(memory.gate(table)).into();
        path.visit(table, pte)?;
        Ok(path.finish(pte, 12))
    }

    fn wide_path(&self, memory: &PhysicalMemory, linear: u64) -> Result<Path, PageFaultCode> {
        let reserved_fault = PageFaultCode::PRESENT | PageFaultCode::RESERVED;
        let mut path = Path::new(true);
        let (mut table, mut level) = match self.paging {
            Paging::Level5 => (self.cr3 & entry::ADDRESS, 5),
            Paging::Level4 => (self.cr3 & entry::ADDRESS, 4),
            _ => {
                // The PDPT entries are registers, loaded and checked with CR3.
                let pdpte = self.pdpte[(linear >> 30) as usize & 3];
                if pdpte & entry::P == 0 {
                    return Err(PageFaultCode::empty());
                }
                (pdpte & entry::ADDRESS, 2)
            }
        };
        let pae = self.paging == Paging::Pae;
        let always_reserved = self.reserved | if self.no_execute { 0 } else { entry::XD };
        let always_reserved = if pae { always_reserved | 0x7FF0_0000_0000_0000 } else { always_reserved };
        loop {
            let shift = 12 + 9 * (level - 1);
            let address = table | (linear >> shift & 0x1FF) << 3;
            let value = memory.read_u64(memory.gate(address));
            path.visit(address, value)?;
            if value & always_reserved != 0 {
                return Err(reserved_fault);
            }
            if level == 1 {
                return Ok(path.finish(value, 12));
            }
            if value & entry::PS != 0 {
                // Address bits below the page size are reserved, bit 12 (PAT) apart.
                let low = ((1u64 << shift) - 1) & entry::ADDRESS & !(1 << 12);
                if level > 3 || value & low != 0 {
                    return Err(reserved_fault);
                }
                return Ok(path.finish(value, shift));
            }
            table = value & entry::ADDRESS;
            level -= 1;
        }
    }
}

/// Where `linear` leads on a processor with `physical_bits` whose control registers these are: a guest-physical address,
/// for somebody outside who wants to look. Unlike an access it needs no rights and leaves no trace. `None` if nothing is
/// mapped there.
pub fn linear_to_physical(
    control: &Control,
    physical_bits: u32,
    memory: &PhysicalMemory,
    linear: u64,
) -> Option<u64> {
    let context = Context::of(control, Flags::empty(), false, physical_bits);
    let wide = matches!(context.paging, Paging::Level4 | Paging::Level5);
    let linear = if wide { linear } else { linear & 0xFFFF_FFFF };
    let physical = match context.paging {
        Paging::None => linear,
        _ => context.path(memory, linear).ok()?.physical(linear),
    };
    Some(memory.gate(physical))
}

impl Path {
    fn new(wide: bool) -> Self {
        Path {
            visited: [Visited::default(); 5],
            depth: 0,
            leaf: 0,
            page_shift: 12,
            rights: !0,
            no_execute: false,
            wide,
        }
    }

    /// Follows `value`, found at `address`; fails if it is not present.
    fn visit(&mut self, address: u64, value: u64) -> Result<(), PageFaultCode> {
        if value & entry::P == 0 {
            return Err(PageFaultCode::empty());
        }
        self.visited[self.depth] = Visited { address, value };
        self.depth += 1;
        self.rights &= value;
        self.no_execute |= self.wide && value & entry::XD != 0;
        Ok(())
    }

    /// Where `linear`, whose way this is, leads; before the A20 gate.
    fn physical(&self, linear: u64) -> u64 {
        let within = (1 << self.page_shift) - 1;
        let base =
            if self.wide { self.leaf & entry::ADDRESS } else { legacy_address(self.leaf, self.page_shift) };
        base & !within | linear & within
    }

    fn finish(mut self, leaf: u64, page_shift: u32) -> Self {
        self.leaf = leaf;
        self.page_shift = page_shift;
        self
    }
}

/// Address field of a 32-bit entry.
fn legacy_address(value: u64, page_shift: u32) -> u64 {
    if page_shift == 22 { value & 0xFFC0_0000 | (value >> 13 & 0xFF) << 32 } else { value & 0xFFFF_F000 }
}
