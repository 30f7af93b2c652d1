//! Writes the smallest ELF executables: one loaded segment, and a note if there is one. System V ABI, chapter 4.

/// ELF class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 32-bit, for the 386.
    Elf32,
    /// 64-bit, for x86-64.
    Elf64,
}

/// What an executable is made of.
pub struct Elf<'a> {
    /// 32- or 64-bit.
    pub class: Class,
    /// Entry point.
    pub entry: u32,
    /// Where the content is loaded.
    pub address: u32,
    /// The loaded bytes.
    pub content: &'a [u8],
    /// Content of a PT_NOTE segment.
    pub note: Option<&'a [u8]>,
}

const ET_EXEC: u16 = 2;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Readable, writable, executable.
const PF_RWX: u32 = 7;

/// Where the content begins in the file; headers and note come before it.
const CONTENT_OFFSET: usize = 0x1000;

impl Elf<'_> {
    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let (header_size, program_header_size) = match self.class {
            Class::Elf32 => (52, 32),
            Class::Elf64 => (64, 56),
        };
        let note = self.note.unwrap_or_default();
        let count = 1 + usize::from(self.note.is_some());
        let note_offset = header_size + count * program_header_size;
        let mut file = Vec::new();
        self.header(&mut file, header_size, program_header_size, count);
        self.program_header(&mut file, PT_LOAD, CONTENT_OFFSET, self.address, self.content.len());
        if self.note.is_some() {
            self.program_header(&mut file, PT_NOTE, note_offset, 0, note.len());
        }
        file.extend_from_slice(note);
        file.resize(CONTENT_OFFSET, 0);
        file.extend_from_slice(self.content);
        file
    }

    fn header(&self, file: &mut Vec<u8>, header_size: usize, program_header_size: usize, count: usize) {
        let (class, machine) = match self.class {
            Class::Elf32 => (1, EM_386),
            Class::Elf64 => (2, EM_X86_64),
        };
        // Little-endian, version 1.
        file.extend_from_slice(&[0x7F, b'E', b'L', b'F', class, 1, 1]);
        file.resize(16, 0);
        half(file, ET_EXEC);
        half(file, machine);
        word(file, 1);
        self.address_sized(file, self.entry);
        self.address_sized(file, header_size as u32);
        self.address_sized(file, 0);
        word(file, 0);
        // Sizes and counts; there are no sections.
        for value in [header_size, program_header_size, count, 0, 0, 0] {
            half(file, value as u16);
        }
    }

    fn program_header(&self, file: &mut Vec<u8>, kind: u32, offset: usize, address: u32, size: usize) {
        const ALIGNMENT: u32 = 4;
        word(file, kind);
        if self.class == Class::Elf64 {
            word(file, PF_RWX);
        }
        for value in [offset as u32, address, address, size as u32, size as u32] {
            self.address_sized(file, value);
        }
        if self.class == Class::Elf32 {
            word(file, PF_RWX);
        }
        self.address_sized(file, ALIGNMENT);
    }

    fn address_sized(&self, file: &mut Vec<u8>, value: u32) {
        word(file, value);
        if self.class == Class::Elf64 {
            word(file, 0);
        }
    }
}

fn half(file: &mut Vec<u8>, value: u16) {
    file.extend_from_slice(&value.to_le_bytes());
}

fn word(file: &mut Vec<u8>, value: u32) {
    file.extend_from_slice(&value.to_le_bytes());
}
