//! The Linux/x86 boot protocol 2.02 and later (Documentation/arch/x86/boot.rst), entered at the 64-bit or
//! the 32-bit entry point; the real-mode code of the image does not run. memtest86+ is such an image too.
//!
//! Left out: zImages, and kernels or initrds above 4 GiB.

use super::{
    entry::Entry,
    error::BootError,
    loader::{Loader, PAGE},
    setup_header::*,
    state::{BootMode, BootState},
};
use crate::e820::HIGH_MEMORY;
use zerocopy::{FromZeros, IntoBytes};

const SECTOR: u64 = 512;
const BOOT_FLAG: u16 = 0xAA55;
/// "HdrS".
const HEADER_MAGIC: u32 = 0x5372_6448;
/// The command line is passed as an address since this version.
const VERSION_CMD_LINE_PTR: u16 = 0x0202;
/// First versions with the fields of these names.
const VERSION_INITRD_ADDR_MAX: u16 = 0x0203;
const VERSION_CMDLINE_SIZE: u16 = 0x0206;
const VERSION_PREF_ADDRESS: u16 = 0x020A;
const VERSION_XLOADFLAGS: u16 = 0x020C;
/// `loadflags`: the kernel is loaded at 1 MiB.
const LOADED_HIGH: u8 = 1 << 0;
/// `xloadflags`: there is a 64-bit entry at 0x200.
const XLF_KERNEL_64: u16 = 1 << 0;
const ENTRY_64_OFFSET: u64 = 0x200;
/// `setup_sects` when it says zero.
const DEFAULT_SETUP_SECTS: u8 = 4;
/// Limits of kernels that do not say them.
const DEFAULT_INITRD_ADDR_MAX: u64 = 0x37FF_FFFF;
const DEFAULT_CMDLINE_SIZE: usize = 255;
/// `type_of_loader`: none that is registered.
const UNDEFINED_LOADER: u8 = 0xFF;
/// `vid_mode`: as it is.
const VID_MODE_NORMAL: u16 = 0xFFFF;
/// `orig_video_isVGA`: a VGA in text mode.
const VIDEO_TYPE_VGAC: u8 = 1;

/// A Linux kernel image whose header has been checked against its size.
#[derive(Debug)]
pub(crate) struct LinuxImage<'a> {
    header: SetupHeader,
    /// The protected-mode code.
    code: &'a [u8],
}

/// Whether `bytes` are a Linux kernel image.
pub(super) fn detect(bytes: &[u8]) -> bool {
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    u16_at(MAGIC - 4) == Some(BOOT_FLAG) && u32_at(MAGIC) == Some(HEADER_MAGIC)
}

impl<'a> LinuxImage<'a> {
    /// Checks the image.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BootError> {
        let size = bytes.len() as u64;
        let header = SetupHeader::read(bytes).ok_or(BootError::Truncated {
            what: "the setup header",
            end: (SETUP_HEADER + size_of::<SetupHeader>()) as u64,
            size,
        })?;
        if header.version.get() < VERSION_CMD_LINE_PTR {
            return Err(BootError::Unsupported(
                "its boot protocol is older than 2.02: use Linux 2.4 or later",
            ));
        }
        if header.loadflags & LOADED_HIGH == 0 {
            return Err(BootError::Unsupported(
                "it is a zImage, which is loaded below 640 KiB: use the bzImage",
            ));
        }
        let sectors = if header.setup_sects == 0 { DEFAULT_SETUP_SECTS } else { header.setup_sects };
        let setup = (u64::from(sectors) + 1) * SECTOR;
        // The size is rounded up to paragraphs of 16 bytes; the last one may be incomplete.
        let code_at_least = (u64::from(header.syssize.get()) * 16).saturating_sub(15).max(1);
        let end = setup + code_at_least;
        if end > size {
            return Err(BootError::Truncated { what: "the kernel's code", end, size });
        }
        Ok(LinuxImage { header, code: &bytes[setup as usize..] })
    }

    /// Lays the guest out and says how it starts.
    pub(super) fn load(&self, loader: &mut Loader) -> Result<BootState, BootError> {
        let mode = self.mode(loader.layout.long_mode)?;
        self.check_command_line(loader.image.cmdline)?;
        let start = self.load_address();
        let length = (self.code.len() as u64).max(self.init_size());
        let end =
            start.checked_add(length).ok_or(BootError::Damaged("its preferred address is no address"))?;
        loader.placement.claim(&(start..end))?;
        loader.memory.write(start, self.code)?;
        let cmdline = loader.string("command line", loader.image.cmdline)?;
        let (initrd, initrd_size) = self.load_initrd(loader)?;

        let mut header = self.header;
        header.type_of_loader = UNDEFINED_LOADER;
        header.vid_mode = VID_MODE_NORMAL.into();
        header.code32_start = (start as u32).into();
        header.cmd_line_ptr = (cmdline as u32).into();
        header.ramdisk_image = (initrd as u32).into();
        header.ramdisk_size = (initrd_size as u32).into();
        let page = boot_params(&header, loader);
        let rsi = loader.boot_data("boot parameters", &page, PAGE)?;
        let rip = match mode {
            BootMode::Long64 => start + ENTRY_64_OFFSET,
            BootMode::Protected32 => start,
        };
        Entry { mode, rip, rax: 0, rbx: 0, rsi }.prepare(loader.memory, &mut loader.placement)
    }

    fn has(&self, version: u16) -> bool {
        self.header.version.get() >= version
    }

    /// Which of its entries the kernel is started at.
    fn mode(&self, long_mode: bool) -> Result<BootMode, BootError> {
        let is_64bit = self.has(VERSION_XLOADFLAGS) && self.header.xloadflags.get() & XLF_KERNEL_64 != 0;
        match (is_64bit, long_mode) {
            (true, true) => Ok(BootMode::Long64),
            (true, false) => Err(BootError::NeedsLongMode),
            (false, _) => Ok(BootMode::Protected32),
        }
    }

    /// A relocatable kernel goes where it would move itself; loaded lower, it needs that place all the same.
    fn load_address(&self) -> u64 {
        let preferred = self.header.pref_address.get();
        let relocatable = self.has(VERSION_PREF_ADDRESS) && self.header.relocatable_kernel != 0;
        if relocatable && preferred >= HIGH_MEMORY { preferred } else { HIGH_MEMORY }
    }

    /// Bytes that the kernel needs from its load address on before it reads the memory map.
    fn init_size(&self) -> u64 {
        if self.has(VERSION_PREF_ADDRESS) { self.header.init_size.get().into() } else { 0 }
    }

    fn check_command_line(&self, cmdline: &str) -> Result<(), BootError> {
        let limit = match self.header.cmdline_size.get() {
            said if self.has(VERSION_CMDLINE_SIZE) && said != 0 => said as usize,
            _ => DEFAULT_CMDLINE_SIZE,
        };
        if cmdline.len() > limit {
            return Err(BootError::CommandLineTooLong { length: cmdline.len(), limit });
        }
        Ok(())
    }

    /// Writes the modules one after the other, as one initrd, as high as the kernel allows. Each archive begins
    /// at a multiple of 4, as the kernel's unpacker expects.
    fn load_initrd(&self, loader: &mut Loader) -> Result<(u64, u64), BootError> {
        let modules = loader.image.modules;
        let size: u64 = modules.iter().map(|module| module.bytes.len().next_multiple_of(4) as u64).sum();
        if size == 0 {
            return Ok((0, 0));
        }
        let last = match self.header.initrd_addr_max.get() {
            said if self.has(VERSION_INITRD_ADDR_MAX) && said != 0 => u64::from(said),
            _ => DEFAULT_INITRD_ADDR_MAX,
        };
        let address = loader.placement.highest("initrd", size, PAGE, last + 1)?;
        let mut at = address;
        for module in modules {
            let padding = module.bytes.len().next_multiple_of(4) - module.bytes.len();
            loader.memory.write(at, module.bytes)?;
            at += module.bytes.len() as u64;
            loader.memory.write(at, &[0; 4][..padding])?;
            at += padding as u64;
        }
        Ok((address, size))
    }
}

/// The `boot_params` page.
fn boot_params(header: &SetupHeader, loader: &Loader) -> Vec<u8> {
    let mut page = vec![0; BOOT_PARAMS_SIZE];
    let mut put = |offset: usize, bytes: &[u8]| page[offset..][..bytes.len()].copy_from_slice(bytes);
    put(SETUP_HEADER, header.as_bytes());
    put(ACPI_RSDP_ADDR, &loader.rsdp.to_le_bytes());
    let extended_kib = loader.map.low_ram_end().saturating_sub(HIGH_MEMORY) >> 10;
    put(ALT_MEM_K, &(extended_kib as u32).to_le_bytes());
    put(EXT_MEM_K, &(extended_kib.min(0xFC00) as u16).to_le_bytes());
    if loader.layout.vga_text {
        put(ORIG_VIDEO_MODE, &[3]);
        put(ORIG_VIDEO_COLS, &[80]);
        put(ORIG_VIDEO_LINES, &[25]);
        put(ORIG_VIDEO_ISVGA, &[VIDEO_TYPE_VGAC]);
        put(ORIG_VIDEO_POINTS, &16_u16.to_le_bytes());
    }
    let mut table = [E820Entry::new_zeroed(); E820_MAX];
    let ranges = loader.map.ranges().iter().take(E820_MAX);
    put(E820_ENTRIES, &[ranges.len() as u8]);
    for (entry, range) in table.iter_mut().zip(ranges) {
        entry.addr = range.start.into();
        entry.size = (range.end - range.start).into();
        entry.kind = (range.kind as u32).into();
    }
    put(E820_TABLE, table.as_bytes());
    page
}
