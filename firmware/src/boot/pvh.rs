//! The PVH entry of an ELF kernel: 32-bit, unpaged (Xen, docs/misc/pvh.pandoc and
//! public/arch-x86/hvm/start_info.h, version 1).

use super::{
    elf::ElfImage,
    entry::Entry,
    error::BootError,
    loader::Loader,
    state::{BootMode, BootState},
};
use crate::e820::HIGH_MEMORY;
use zerocopy::{
    Immutable, IntoBytes,
    little_endian::{U32, U64},
};

const NOTE_OWNER: &[u8] = b"Xen\0";
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
const START_MAGIC: u32 = 0x336E_C578;
const VERSION: u32 = 1;

/// `struct hvm_start_info`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct StartInfo {
    magic: U32,
    version: U32,
    flags: U32,
    nr_modules: U32,
    modlist_paddr: U64,
    cmdline_paddr: U64,
    rsdp_paddr: U64,
    memmap_paddr: U64,
    memmap_entries: U32,
    reserved: U32,
}

/// `struct hvm_modlist_entry`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ModlistEntry {
    paddr: U64,
    size: U64,
    cmdline_paddr: U64,
    reserved: U64,
}

/// `struct hvm_memmap_table_entry`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MemmapEntry {
    addr: U64,
    size: U64,
    kind: U32,
    reserved: U32,
}

/// An ELF kernel with a PVH note.
#[derive(Debug)]
pub(crate) struct PvhImage<'a> {
    elf: ElfImage<'a>,
    entry: u64,
}

impl<'a> PvhImage<'a> {
    /// Looks for the note, whose description is the entry point in 4 or 8 bytes.
    pub(super) fn parse(elf: ElfImage<'a>) -> Result<Self, BootError> {
        let note = elf.note(NOTE_OWNER, XEN_ELFNOTE_PHYS32_ENTRY).ok_or(BootError::ElfWithoutProtocol)?;
        let entry = match (<[u8; 4]>::try_from(note), <[u8; 8]>::try_from(note)) {
            (Ok(entry), _) => u32::from_le_bytes(entry).into(),
            (_, Ok(entry)) => u64::from_le_bytes(entry),
            _ => return Err(BootError::Damaged("its PVH note holds no address")),
        };
        if entry > u32::MAX.into() {
            return Err(BootError::Damaged("its PVH entry is above 4 GiB"));
        }
        Ok(PvhImage { elf, entry })
    }

    /// Lays the guest out and says how it starts.
    pub(super) fn load(&self, loader: &mut Loader) -> Result<BootState, BootError> {
        let end = self.elf.load(loader)?;
        let addresses = loader.modules(end.max(HIGH_MEMORY))?;
        let mut modlist = Vec::new();
        for (module, address) in loader.image.modules.iter().zip(addresses) {
            let cmdline = loader.string("module command line", module.cmdline)?;
            let size = module.bytes.len() as u64;
            let entry = ModlistEntry {
                paddr: address.into(),
                size: size.into(),
                cmdline_paddr: cmdline.into(),
                reserved: 0.into(),
            };
            modlist.extend_from_slice(entry.as_bytes());
        }
        let modlist_paddr =
            if modlist.is_empty() { 0 } else { loader.boot_data("module list", &modlist, 8)? };
        let memmap: Vec<u8> = memory_map(loader);
        let start = StartInfo {
            magic: START_MAGIC.into(),
            version: VERSION.into(),
            flags: 0.into(),
            nr_modules: (loader.image.modules.len() as u32).into(),
            modlist_paddr: modlist_paddr.into(),
            cmdline_paddr: loader.string("command line", loader.image.cmdline)?.into(),
            rsdp_paddr: loader.rsdp.into(),
            memmap_paddr: loader.boot_data("memory map", &memmap, 8)?.into(),
            memmap_entries: (loader.map.ranges().len() as u32).into(),
            reserved: 0.into(),
        };
        let rbx = loader.boot_data("start information", start.as_bytes(), 8)?;
        let entry = Entry { mode: BootMode::Protected32, rip: self.entry, rax: 0, rbx, rsi: 0 };
        entry.prepare(loader.memory, &mut loader.placement)
    }
}

fn memory_map(loader: &Loader) -> Vec<u8> {
    let entries = loader.map.ranges().iter().map(|range| MemmapEntry {
        addr: range.start.into(),
        size: (range.end - range.start).into(),
        kind: (range.kind as u32).into(),
        reserved: 0.into(),
    });
    entries.flat_map(|entry| entry.as_bytes().to_vec()).collect()
}
