//! Multiboot 1 (Multiboot Specification 0.6.96): kernels with a multiboot header, ELF or flat (the "a.out
//! kludge").
//!
//! A command line begins with the name of its file, as loaders have it that do not name themselves GRUB 2: kernels
//! take what follows for their arguments.
//!
//! Left out: video modes, drives, the configuration table, ELF symbols: the flags say that they are absent.

use super::{
    elf::{self, ElfImage},
    entry::Entry,
    error::BootError,
    loader::Loader,
    state::{BootMode, BootState},
};
use crate::e820::{EBDA_START, HIGH_MEMORY};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian::U32};

const HEADER_MAGIC: u32 = 0x1BAD_B002;
/// What EAX tells the kernel.
const LOADER_MAGIC: u64 = 0x2BAD_B002;
/// The header is within this many bytes of the file, at a multiple of 4.
const SEARCH: usize = 8192;
/// Header flags: requirements are in the low half.
const REQUIREMENTS: u32 = 0xFFFF;
const PAGE_ALIGN: u32 = 1 << 0;
const MEMORY_INFO: u32 = 1 << 1;
const VIDEO_MODE: u32 = 1 << 2;
const ADDRESS_FIELDS: u32 = 1 << 16;
/// Flags of the information structure: memory sizes, command line, modules, memory map, loader's name.
const INFO_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
const LOADER_NAME: &str = "emu";

/// The header's first part.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    magic: U32,
    flags: U32,
    checksum: U32,
}

/// The address fields that follow it.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct AddressFields {
    header_addr: U32,
    load_addr: U32,
    load_end_addr: U32,
    bss_end_addr: U32,
    entry_addr: U32,
}

/// The information structure, up to the loader's name.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Information {
    flags: U32,
    mem_lower: U32,
    mem_upper: U32,
    boot_device: U32,
    cmdline: U32,
    mods_count: U32,
    mods_addr: U32,
    syms: [U32; 4],
    mmap_length: U32,
    mmap_addr: U32,
    drives_length: U32,
    drives_addr: U32,
    config_table: U32,
    boot_loader_name: U32,
    /// APM table, VBE and frame buffer: absent.
    absent: [U32; 12],
}

/// A kernel with a multiboot header.
#[derive(Debug)]
pub(crate) struct MultibootImage<'a> {
    program: Program<'a>,
}

#[derive(Debug)]
enum Program<'a> {
    Elf(ElfImage<'a>),
    Flat { load: u64, bss_end: u64, entry: u64, data: &'a [u8] },
}

/// Offset of the multiboot header in `bytes`.
pub(super) fn find_header(bytes: &[u8]) -> Option<usize> {
    let searched = &bytes[..bytes.len().min(SEARCH)];
    (0..searched.len()).step_by(4).find(|&at| {
        Header::ref_from_prefix(&searched[at..]).is_ok_and(|(header, _)| {
            let sum = header.magic.get().wrapping_add(header.flags.get()).wrapping_add(header.checksum.get());
            header.magic.get() == HEADER_MAGIC && sum == 0
        })
    })
}

impl<'a> MultibootImage<'a> {
    /// Checks the kernel whose header is at `offset`.
    pub(super) fn parse(bytes: &'a [u8], offset: usize) -> Result<Self, BootError> {
        let rest = bytes.get(offset..).unwrap_or_default();
        let truncated = |end: usize| BootError::Truncated {
            what: "the multiboot header",
            end: end as u64,
            size: bytes.len() as u64,
        };
        let (header, after) =
            Header::ref_from_prefix(rest).map_err(|_| truncated(offset + size_of::<Header>()))?;
        let flags = header.flags.get();
        if flags & REQUIREMENTS & !(PAGE_ALIGN | MEMORY_INFO | VIDEO_MODE) != 0 {
            return Err(BootError::Unsupported("its multiboot header requires features that are not known"));
        }
        if flags & VIDEO_MODE != 0 {
            log::warn!("the kernel asks for a video mode by its multiboot header: it starts without one");
        }
        let program = if flags & ADDRESS_FIELDS != 0 {
            let (fields, _) = AddressFields::ref_from_prefix(after)
                .map_err(|_| truncated(offset + size_of::<Header>() + size_of::<AddressFields>()))?;
            flat(bytes, offset as u64, fields)?
        } else if elf::detect(bytes) {
            Program::Elf(ElfImage::parse(bytes)?)
        } else {
            return Err(BootError::Damaged(
                "its multiboot header has no addresses, and it is not an ELF file",
            ));
        };
        Ok(MultibootImage { program })
    }

    /// Lays the guest out and says how it starts.
    pub(super) fn load(&self, loader: &mut Loader) -> Result<BootState, BootError> {
        let (end, entry) = match &self.program {
            Program::Elf(elf) => (elf.load(loader)?, elf.physical_entry()),
            Program::Flat { load, bss_end, entry, data } => {
                loader.segment(&(*load..*bss_end), data)?;
                (*bss_end, *entry)
            }
        };
        if entry > u32::MAX.into() {
            return Err(BootError::Damaged("its entry point is above 4 GiB"));
        }
        let (mods_addr, mods_count) = modules(loader, end)?;
        let mmap = memory_map(loader);
        let cmdline = command_line(loader.image.name, loader.image.cmdline);
        let mut info = Information {
            flags: INFO_FLAGS.into(),
            mem_lower: ((EBDA_START >> 10) as u32).into(),
            mem_upper: (((loader.map.low_ram_end() - HIGH_MEMORY) >> 10) as u32).into(),
            boot_device: 0.into(),
            cmdline: (loader.string("command line", &cmdline)? as u32).into(),
            mods_count: mods_count.into(),
            mods_addr: mods_addr.into(),
            syms: [0.into(); 4],
            mmap_length: (mmap.len() as u32).into(),
            mmap_addr: (loader.boot_data("memory map", &mmap, 4)? as u32).into(),
            drives_length: 0.into(),
            drives_addr: 0.into(),
            config_table: 0.into(),
            boot_loader_name: 0.into(),
            absent: [0.into(); 12],
        };
        info.boot_loader_name = (loader.string("loader name", LOADER_NAME)? as u32).into();
        let rbx = loader.boot_data("multiboot information", info.as_bytes(), 8)?;
        let entry = Entry { mode: BootMode::Protected32, rip: entry, rax: LOADER_MAGIC, rbx, rsi: 0 };
        entry.prepare(loader.memory, &mut loader.placement)
    }
}

/// Checks the address fields of a flat kernel whose header is at `offset`.
fn flat<'a>(bytes: &'a [u8], offset: u64, fields: &AddressFields) -> Result<Program<'a>, BootError> {
    let [header, load, load_end, bss_end, entry] =
        [fields.header_addr, fields.load_addr, fields.load_end_addr, fields.bss_end_addr, fields.entry_addr]
            .map(|field| u64::from(field.get()));
    let before_header = header
        .checked_sub(load)
        .ok_or(BootError::Damaged("its multiboot header is below its load address"))?;
    let start = offset
        .checked_sub(before_header)
        .ok_or(BootError::Damaged("its multiboot header's address does not fit its place in the file"))?;
    let size = bytes.len() as u64;
    // Zero: all of the file.
    let end = match load_end {
        0 => size,
        load_end => load_end
            .checked_sub(load)
            .map(|length| start + length)
            .ok_or(BootError::Damaged("its multiboot load end is below its load address"))?,
    };
    let data = bytes.get(start as usize..end as usize).ok_or(BootError::Truncated {
        what: "the multiboot kernel",
        end,
        size,
    })?;
    // Zero: nothing to clear.
    let bss_end = bss_end.max(load + data.len() as u64);
    Ok(Program::Flat { load, bss_end, entry, data })
}

/// Writes the modules behind the kernel, where kernels that map only their surroundings find them, and their list.
/// Returns its address and length.
fn modules(loader: &mut Loader, kernel_end: u64) -> Result<(u32, u32), BootError> {
    let addresses = loader.modules(kernel_end.max(HIGH_MEMORY))?;
    let mut list = Vec::new();
    for (module, address) in loader.image.modules.iter().zip(addresses) {
        let cmdline = command_line(module.name, module.cmdline);
        let string = loader.string("module command line", &cmdline)? as u32;
        let end = address as u32 + module.bytes.len() as u32;
        for field in [address as u32, end, string, 0] {
            list.extend_from_slice(&field.to_le_bytes());
        }
    }
    let address = if list.is_empty() { 0 } else { loader.boot_data("module list", &list, 4)? };
    Ok((address as u32, loader.image.modules.len() as u32))
}

/// The name as one word, and the arguments.
fn command_line(name: &str, arguments: &str) -> String {
    let line = format!("{} {arguments}", name.replace(char::is_whitespace, "_"));
    line.trim().to_owned()
}

/// The memory map: each entry is preceded by its size, which does not count itself.
fn memory_map(loader: &Loader) -> Vec<u8> {
    let mut table = Vec::new();
    for range in loader.map.ranges() {
        table.extend_from_slice(&20_u32.to_le_bytes());
        table.extend_from_slice(&range.start.to_le_bytes());
        table.extend_from_slice(&(range.end - range.start).to_le_bytes());
        table.extend_from_slice(&(range.kind as u32).to_le_bytes());
    }
    table
}
