//! ELF executables (System V ABI, 32- and 64-bit, little-endian, x86): program headers and notes, read into one
//! form for both classes.

use super::{error::BootError, loader::Loader};
use zerocopy::{
    FromBytes, Immutable, KnownLayout,
    little_endian::{U16, U32, U64},
};

const MAGIC: &[u8] = b"\x7FELF";
/// Class (offset 4): 32- and 64-bit. Data (offset 5): little-endian.
const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
/// Machines.
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
/// Segment types.
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header<Address> {
    ident: [u8; 16],
    kind: U16,
    machine: U16,
    version: U32,
    entry: Address,
    phoff: Address,
    shoff: Address,
    flags: U32,
    ehsize: U16,
    phentsize: U16,
    phnum: U16,
    shentsize: U16,
    shnum: U16,
    shstrndx: U16,
}

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct ProgramHeader32 {
    kind: U32,
    offset: U32,
    vaddr: U32,
    paddr: U32,
    filesz: U32,
    memsz: U32,
    flags: U32,
    align: U32,
}

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct ProgramHeader64 {
    kind: U32,
    flags: U32,
    offset: U64,
    vaddr: U64,
    paddr: U64,
    filesz: U64,
    memsz: U64,
    align: U64,
}

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct NoteHeader {
    namesz: U32,
    descsz: U32,
    kind: U32,
}

/// A program header of either class.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

impl From<&ProgramHeader32> for Segment {
    fn from(header: &ProgramHeader32) -> Self {
        Segment {
            kind: header.kind.get(),
            offset: header.offset.get().into(),
            vaddr: header.vaddr.get().into(),
            paddr: header.paddr.get().into(),
            filesz: header.filesz.get().into(),
            memsz: header.memsz.get().into(),
            align: header.align.get().into(),
        }
    }
}

impl From<&ProgramHeader64> for Segment {
    fn from(header: &ProgramHeader64) -> Self {
        Segment {
            kind: header.kind.get(),
            offset: header.offset.get(),
            vaddr: header.vaddr.get(),
            paddr: header.paddr.get(),
            filesz: header.filesz.get(),
            memsz: header.memsz.get(),
            align: header.align.get(),
        }
    }
}

/// An executable whose segments have been checked against the file's size.
#[derive(Debug)]
pub(super) struct ElfImage<'a> {
    bytes: &'a [u8],
    entry: u64,
    segments: Vec<Segment>,
}

/// Whether `bytes` are an ELF file of any kind.
pub(super) fn detect(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> ElfImage<'a> {
    /// Reads and checks the headers.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BootError> {
        let image = match (bytes.get(4), bytes.get(5)) {
            (Some(&CLASS_32), Some(&LITTLE_ENDIAN)) => {
                let header: &Header<U32> = header(bytes)?;
                let at = (header.phoff.get().into(), header.phentsize.get(), header.phnum.get());
                let segments = segments::<ProgramHeader32>(bytes, at)?;
                check_machine(header.machine.get())?;
                ElfImage { bytes, entry: header.entry.get().into(), segments }
            }
            (Some(&CLASS_64), Some(&LITTLE_ENDIAN)) => {
                let header: &Header<U64> = header(bytes)?;
                let at = (header.phoff.get(), header.phentsize.get(), header.phnum.get());
                let segments = segments::<ProgramHeader64>(bytes, at)?;
                check_machine(header.machine.get())?;
                ElfImage { bytes, entry: header.entry.get(), segments }
            }
            (Some(_), Some(_)) => {
                return Err(BootError::Damaged("its ELF class or byte order is not one of x86"));
            }
            _ => return Err(truncated("the ELF header", 16, bytes)),
        };
        for segment in &image.segments {
            image.contents(segment)?;
            if segment.kind == PT_LOAD && segment.memsz < segment.filesz {
                return Err(BootError::Damaged("an ELF segment is larger in the file than in memory"));
            }
        }
        if !image.segments.iter().any(|segment| segment.kind == PT_LOAD && segment.memsz != 0) {
            return Err(BootError::Damaged(
                "it is an ELF file without a loadable segment, such as an object file",
            ));
        }
        Ok(image)
    }

    /// The entry point as a physical address: in the file it is where the segment is linked to run.
    pub(super) fn physical_entry(&self) -> u64 {
        let segment = self.loadable().find(|segment| {
            self.entry.checked_sub(segment.vaddr).is_some_and(|offset| offset < segment.memsz)
        });
        segment.map_or(self.entry, |segment| (self.entry - segment.vaddr).wrapping_add(segment.paddr))
    }

    /// The description of the first note of `kind` by `owner`.
    pub(super) fn note(&self, owner: &[u8], kind: u32) -> Option<&'a [u8]> {
        let notes = self.segments.iter().filter(|segment| segment.kind == PT_NOTE);
        notes.filter_map(|segment| find_note(self.contents(segment).ok()?, segment.align, owner, kind)).next()
    }

    /// Writes the loadable segments to their physical addresses, and returns the end of the highest.
    pub(super) fn load(&self, loader: &mut Loader) -> Result<u64, BootError> {
        let mut end = 0;
        for segment in self.loadable().filter(|segment| segment.memsz != 0) {
            let last = segment.paddr.checked_add(segment.memsz);
            let last = last.ok_or(BootError::Damaged("an ELF segment has no valid address"))?;
            loader.segment(&(segment.paddr..last), self.contents(segment)?)?;
            end = end.max(last);
        }
        Ok(end)
    }

    fn loadable(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == PT_LOAD)
    }

    /// What the file has of a segment.
    fn contents(&self, segment: &Segment) -> Result<&'a [u8], BootError> {
        let end = segment.offset.saturating_add(segment.filesz);
        let range = usize::try_from(segment.offset).ok().zip(usize::try_from(end).ok());
        range
            .and_then(|(start, end)| self.bytes.get(start..end))
            .ok_or_else(|| truncated("an ELF segment", end, self.bytes))
    }
}

fn truncated(what: &'static str, end: u64, bytes: &[u8]) -> BootError {
    BootError::Truncated { what, end, size: bytes.len() as u64 }
}

fn header<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<&T, BootError> {
    let header = T::ref_from_prefix(bytes).map(|(header, _)| header);
    header.map_err(|_| truncated("the ELF header", size_of::<T>() as u64, bytes))
}

fn check_machine(machine: u16) -> Result<(), BootError> {
    if machine == EM_386 || machine == EM_X86_64 { Ok(()) } else { Err(BootError::WrongMachine(machine)) }
}

/// Reads the program headers: (offset, size of an entry, number of entries).
fn segments<T>(bytes: &[u8], (offset, size, count): (u64, u16, u16)) -> Result<Vec<Segment>, BootError>
where
    T: FromBytes + KnownLayout + Immutable,
    Segment: for<'b> From<&'b T>,
{
    let read = |index: u16| {
        let at = offset.saturating_add(u64::from(index) * u64::from(size));
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
        let (header, _) = rest.and_then(|rest| T::ref_from_prefix(rest).ok()).ok_or_else(|| {
            truncated("the ELF program header table", at.saturating_add(size_of::<T>() as u64), bytes)
        })?;
        Ok(Segment::from(header))
    };
    (0..count).map(read).collect()
}

/// Finds a note in a note segment. Names and descriptions are padded to 4 bytes, or to 8 if the segment says so.
fn find_note<'a>(segment: &'a [u8], align: u64, owner: &[u8], kind: u32) -> Option<&'a [u8]> {
    let align = if align == 8 { 8 } else { 4 };
    let mut rest = segment;
    while let Ok((header, after)) = NoteHeader::ref_from_prefix(rest) {
        let name_end = header.namesz.get() as usize;
        let head = size_of::<NoteHeader>();
        let start = head.checked_add(name_end)?.checked_next_multiple_of(align)?.checked_sub(head)?;
        let end = start.checked_add(header.descsz.get() as usize)?;
        let (name, description) = (after.get(..name_end)?, after.get(start..end)?);
        if header.kind.get() == kind && name == owner {
            return Some(description);
        }
        let next = head.checked_add(end)?.checked_next_multiple_of(align)?;
        rest = rest.get(next..)?;
    }
    None
}
