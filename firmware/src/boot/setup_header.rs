//! The setup header of a Linux kernel image and the `boot_params` page, field by field
//! (Documentation/arch/x86/boot.rst and zero-page.rst).

use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

/// Where the header is, in the image and in `boot_params`.
pub(super) const SETUP_HEADER: usize = 0x1F1;
/// Where its variable part begins, whose length is in the byte before.
pub(super) const MAGIC: usize = 0x202;
/// Size of `boot_params`.
pub(super) const BOOT_PARAMS_SIZE: usize = 0x1000;
/// Offsets in `boot_params`.
pub(super) const ACPI_RSDP_ADDR: usize = 0x070;
pub(super) const ALT_MEM_K: usize = 0x1E0;
pub(super) const E820_ENTRIES: usize = 0x1E8;
pub(super) const E820_TABLE: usize = 0x2D0;
/// Entries that the table can have.
pub(super) const E820_MAX: usize = 128;
/// Offsets in `screen_info`, which `boot_params` begins with.
pub(super) const EXT_MEM_K: usize = 0x02;
pub(super) const ORIG_VIDEO_MODE: usize = 0x06;
pub(super) const ORIG_VIDEO_COLS: usize = 0x07;
pub(super) const ORIG_VIDEO_LINES: usize = 0x0E;
pub(super) const ORIG_VIDEO_ISVGA: usize = 0x0F;
pub(super) const ORIG_VIDEO_POINTS: usize = 0x10;

/// `struct setup_header`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct SetupHeader {
    pub(super) setup_sects: u8,
    pub(super) root_flags: U16,
    pub(super) syssize: U32,
    pub(super) ram_size: U16,
    pub(super) vid_mode: U16,
    pub(super) root_dev: U16,
    pub(super) boot_flag: U16,
    pub(super) jump: U16,
    pub(super) header: U32,
    pub(super) version: U16,
    pub(super) realmode_swtch: U32,
    pub(super) start_sys_seg: U16,
    pub(super) kernel_version: U16,
    pub(super) type_of_loader: u8,
    pub(super) loadflags: u8,
    pub(super) setup_move_size: U16,
    pub(super) code32_start: U32,
    pub(super) ramdisk_image: U32,
    pub(super) ramdisk_size: U32,
    pub(super) bootsect_kludge: U32,
    pub(super) heap_end_ptr: U16,
    pub(super) ext_loader_ver: u8,
    pub(super) ext_loader_type: u8,
    pub(super) cmd_line_ptr: U32,
    pub(super) initrd_addr_max: U32,
    pub(super) kernel_alignment: U32,
    pub(super) relocatable_kernel: u8,
    pub(super) min_alignment: u8,
    pub(super) xloadflags: U16,
    pub(super) cmdline_size: U32,
    pub(super) hardware_subarch: U32,
    pub(super) hardware_subarch_data: U64,
    pub(super) payload_offset: U32,
    pub(super) payload_length: U32,
    pub(super) setup_data: U64,
    pub(super) pref_address: U64,
    pub(super) init_size: U32,
    pub(super) handover_offset: U32,
    pub(super) kernel_info_offset: U32,
}

impl SetupHeader {
    /// Reads the header of `image`; fields that its version does not have are zero. `None` if the image ends in
    /// the header.
    pub(super) fn read(image: &[u8]) -> Option<Self> {
        let end = MAGIC + usize::from(*image.get(MAGIC - 1)?);
        let present = image.get(SETUP_HEADER..end)?;
        let mut header = SetupHeader::new_zeroed();
        let length = present.len().min(size_of::<SetupHeader>());
        header.as_mut_bytes()[..length].copy_from_slice(&present[..length]);
        Some(header)
    }
}

/// One entry of the E820 table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct E820Entry {
    pub(super) addr: U64,
    pub(super) size: U64,
    pub(super) kind: U32,
}
