//! The embedded guest's source. Built by the build script alone, with iced's assembler.
//!
//! One assembler per mode, each at an address of its own; they meet only in far jumps. Text and tables live
//! in [`Data`], whose addresses are known as soon as they are asked for and fit in 16 bits, so code of every
//! mode names them as plain numbers.

mod facts;
mod keys;
mod long;
mod measure;
mod protected;
mod real;

use iced_x86::{IcedError, code_asm::CodeAssembler};

/// Where things are in guest-physical memory.
mod at {
    /// Image and entry point; 16-bit code. The stack grows down from here.
    pub const REAL: u64 = 0x7C00;
    /// 32-bit code.
    pub const PROTECTED: u64 = 0x8000;
    /// 64-bit code.
    pub const LONG: u64 = 0x8400;
    /// Text and tables.
    pub const DATA: u64 = 0x9400;
    /// First address behind the image.
    pub const END: u64 = 0xA400;
    /// Page tables: one PML4, one PDPT, four page directories.
    pub const PML4: u64 = 0x1_0000;
    pub const PDPT: u64 = 0x1_1000;
    pub const PAGE_DIRECTORIES: u64 = 0x1_2000;
    /// Interrupt descriptor table.
    pub const IDT: u64 = 0x1_6000;
    /// A buffer for text from CPUID.
    pub const TEXT: u64 = 0x1_7000;
    /// The TSC's frequency in MHz, 64 bits.
    pub const TSC_MHZ: u64 = 0x1_7100;
}

/// Segment selectors.
mod selector {
    pub const CODE_32: u16 = 0x08;
    pub const DATA: u16 = 0x10;
    pub const CODE_64: u16 = 0x18;
}

/// Ports.
mod port {
    pub const PIC_MASTER: i32 = 0x20;
    pub const PIC_SLAVE: i32 = 0xA0;
    pub const PIT_CHANNEL_2: i32 = 0x42;
    pub const PIT_CONTROL: i32 = 0x43;
    /// Gate of PIT channel 2 (bit 0), speaker (bit 1), output of channel 2 (bit 5).
    pub const SYSTEM_CONTROL_B: i32 = 0x61;
    pub const I8042_COMMAND: i32 = 0x64;
    pub const CMOS_INDEX: i32 = 0x70;
    pub const CMOS_DATA: i32 = 0x71;
    /// A20 gate (bit 1), fast reset (bit 0).
    pub const SYSTEM_CONTROL_A: i32 = 0x92;
    pub const COM1: i32 = 0x3F8;
    pub const COM1_IER: i32 = COM1 + 1;
    pub const COM1_FCR: i32 = COM1 + 2;
    pub const COM1_LCR: i32 = COM1 + 3;
    pub const COM1_MCR: i32 = COM1 + 4;
    pub const COM1_LSR: i32 = COM1 + 5;
    pub const RESET_CONTROL: i32 = 0xCF9;
    /// ACPI PM1a control, as in the FADT of this machine.
    pub const PM1A_CNT: i32 = 0x604;
}

/// What powers the machine off: SLP_EN, and the SLP_TYP of S5 in the DSDT of this machine.
const SLEEP_S5: i32 = 0x2000 | (S5_SLP_TYP << 10);
const S5_SLP_TYP: i32 = 7;

type Result<T> = std::result::Result<T, IcedError>;

/// Assembles the code of one mode.
type Part = fn(&mut CodeAssembler, &mut Data) -> Result<()>;

/// Text and tables, placed as they come.
#[derive(Default)]
struct Data {
    bytes: Vec<u8>,
}

impl Data {
    /// Places `bytes` at an address that is a multiple of 4.
    fn place(&mut self, bytes: &[u8]) -> i32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let address = at::DATA as usize + self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        address as i32
    }

    /// Places `text` with a zero behind it, once however often it is used. A newline becomes CR LF.
    fn text(&mut self, text: &str) -> i32 {
        let bytes = [text.replace('\n', "\r\n").as_bytes(), &[0]].concat();
        match self.bytes.windows(bytes.len()).position(|window| window == bytes) {
            Some(offset) => at::DATA as i32 + offset as i32,
            None => self.place(&bytes),
        }
    }
}

/// The flat image, to be loaded and entered at 0000:7C00.
pub fn image() -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut data = Data::default();
    let mut image = Vec::new();
    let parts: [(u32, u64, u64, Part); 3] = [
        (16, at::REAL, at::PROTECTED, real::assemble),
        (32, at::PROTECTED, at::LONG, protected::assemble),
        (64, at::LONG, at::DATA, long::assemble),
    ];
    for (bitness, start, end, assemble) in parts {
        let mut code = CodeAssembler::new(bitness)?;
        assemble(&mut code, &mut data)?;
        append(&mut image, &code.assemble(start)?, start, end)?;
    }
    append(&mut image, &data.bytes, at::DATA, at::END)?;
    Ok(image)
}

/// Puts `part` at address `start`, which must not reach to `end`.
fn append(image: &mut Vec<u8>, part: &[u8], start: u64, end: u64) -> std::result::Result<(), String> {
    if start + part.len() as u64 > end {
        return Err(format!("{} bytes at {start:#x} reach beyond {end:#x}", part.len()));
    }
    image.resize((start - at::REAL) as usize, 0);
    image.extend_from_slice(part);
    Ok(())
}
