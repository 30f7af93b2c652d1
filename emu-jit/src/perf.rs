//! Telling Linux's `perf` what the translated code is: which region of the guest, in which mode, of which tier.
//!
//! | kind | file | format |
//! |---|---|---|
//! | map | `/tmp/perf-PID.map` | a line for each region: address and size (hexadecimal), name; read by `perf report` |
//! | dump | `/tmp/jit-PID.dump` | jitdump: the code too, with times, so that memory used again for another region is told apart; read by `perf inject --jit` after `perf record -k 1` |
//!
//! The formats are those of the kernel's `tools/perf/Documentation/jit-interface.txt` and
//! `jitdump-specification.txt`. Left out: names of the guest's functions, and lines of its source.

use crate::{JitError, code::Code};
use emu_core::region::{Source, Tier};
use parking_lot::Mutex;
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    time::{ClockId, clock_gettime},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    ptr,
};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Perf {
    /// Addresses and names.
    Map,
    /// The code too.
    Dump,
}

/// The file, as regions are added to it.
pub struct PerfFile {
    kind: Perf,
    /// With the number of the next region.
    file: Mutex<(File, u64)>,
    mark: Option<Mark>,
}

impl PerfFile {
    /// A new file of this process.
    pub fn create(kind: Perf) -> Result<Self, JitError> {
        let pid = std::process::id();
        let name = match kind {
            Perf::Map => format!("perf-{pid}.map"),
            Perf::Dump => format!("jit-{pid}.dump"),
        };
        let path = PathBuf::from("/tmp").join(name);
        Self::at(kind, &path).map_err(|error| JitError::Perf(path.display().to_string(), error))
    }

    fn at(kind: Perf, path: &Path) -> io::Result<Self> {
        // Whoever shares the folder must not choose another file for us.
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(no_link)
            .open(path)?;
        let mut mark = None;
        if kind == Perf::Dump {
            file.write_all(&header())?;
            mark = Some(Mark::of(&file)?);
        }
        Ok(PerfFile { kind, file: Mutex::new((file, 0)), mark })
    }

    /// Tells of `code`, which was made of `source`.
    pub fn tell(&self, source: &Source, code: &Code) {
        let (address, bytes) = (code.address() as u64, code.bytes());
        let mut file = self.file.lock();
        let (file, number) = &mut *file;
        let told = match self.kind {
            Perf::Map => writeln!(file, "{address:x} {:x} {}", bytes.len(), name(source)),
            Perf::Dump => file.write_all(&load_record(*number, &name(source), address, bytes)),
        };
        *number += 1;
        if let Err(error) = told {
            log::warn!("perf is not told of a region: {error}");
        }
    }
}

impl Drop for PerfFile {
    fn drop(&mut self) {
        if self.mark.is_some() {
            let (file, _) = &mut *self.file.lock();
            // The record is a courtesy: readers take the end of the file for the end.
            let _ = file.write_all(&close_record());
        }
    }
}

/// The executable mapping by which `perf record` learns of the file.
struct Mark(*mut std::ffi::c_void);

/// Its size: that of the header is enough.
const MARK: usize = 4096;

// SAFETY: nobody uses the mapping.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

impl Mark {
    fn of(file: &File) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::EXEC;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        Ok(Mark(unsafe { mmap(ptr::null_mut(), MARK, protection, MapFlags::PRIVATE, file, 0) }?))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`. Nothing can be done about an error.
        let _ = unsafe { munmap(self.0, MARK) };
    }
}

/// Name of a region, a single word: tier, mode, RIP.
fn name(source: &Source) -> String {
    let tier = match source.tier {
        Tier::Warm => "warm",
        Tier::Hot => "hot",
    };
    let level = if source.mode.is_user() { "user" } else { "kernel" };
    format!("guest:{tier}:{}-bit:{level}:{:#x}", source.mode.bitness(), source.rip)
}

/// `JITHEADER_MAGIC`.
const MAGIC: u32 = 0x4A69_5444;
const VERSION: u32 = 1;
const HEADER: u32 = 40;
/// `EM_X86_64`, `EM_AARCH64`.
const MACHINE: u32 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
/// `JIT_CODE_LOAD`, `JIT_CODE_CLOSE`.
const LOAD: u32 = 0;
const CLOSE: u32 = 3;
/// Size of what every record begins with.
const RECORD: u32 = 16;

fn header() -> Vec<u8> {
    let pid = std::process::id();
    let mut bytes = words(&[MAGIC, VERSION, HEADER, MACHINE, 0, pid]);
    // The time, and no flags.
    bytes.extend(long_words(&[now(), 0]));
    bytes
}

fn load_record(number: u64, name: &str, address: u64, code: &[u8]) -> Vec<u8> {
    let size = RECORD as usize + 8 + 4 * 8 + name.len() + 1 + code.len();
    let mut bytes = words(&[LOAD, size as u32]);
    bytes.extend(long_words(&[now()]));
    bytes.extend(words(&[std::process::id(), rustix::thread::gettid().as_raw_nonzero().get() as u32]));
    bytes.extend(long_words(&[address, address, code.len() as u64, number]));
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes.extend(code);
    bytes
}

fn close_record() -> Vec<u8> {
    let mut bytes = words(&[CLOSE, RECORD]);
    bytes.extend(long_words(&[now()]));
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn long_words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The clock of `perf record -k 1`: monotonic, in nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{code::CodeMemory, tests::machine};
    use std::fs;

    /// Tells of one region of code at `CODE`; what is in the file then, and where the code is.
    fn told(kind: Perf) -> (Vec<u8>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told");
        let file = PerfFile::at(kind, &path).unwrap();
        let memory = CodeMemory::new(4096).unwrap();
        let code = memory.place(&[0xC3; 64]).unwrap();
        file.tell(&machine::source(true, &[0x90]), &code);
        drop(file);
        (fs::read(&path).unwrap(), code.address() as u64)
    }

    #[test]
    fn a_line_of_the_map_names_address_size_and_region() {
        let (text, address) = told(Perf::Map);
        let expected = format!("{address:x} 40 guest:warm:64-bit:kernel:{:#x}\n", machine::CODE);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_dump_has_its_header_the_code_and_an_end() {
        let (bytes, address) = told(Perf::Dump);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..][..4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(bytes[at..][..8].try_into().unwrap());
        assert_eq!([word(0), word(4), word(8)], [MAGIC, VERSION, HEADER]);
        assert_eq!(word(20), std::process::id());
        // The record of the code.
        assert_eq!([word(40), word(56)], [LOAD, std::process::id()]);
        assert_eq!([long(64), long(72), long(80), long(88)], [address, address, 64, 0]);
        let name = format!("guest:warm:64-bit:kernel:{:#x}\0", machine::CODE);
        assert_eq!(&bytes[96..][..name.len()], name.as_bytes());
        assert_eq!(bytes[96 + name.len()..][..64], [0xC3; 64]);
        let end = 40 + word(44) as usize;
        assert_eq!(end, 96 + name.len() + 64);
        // The end, no earlier than the code.
        assert_eq!([word(end), word(end + 4)], [CLOSE, RECORD]);
        assert!(long(24) <= long(48) && long(48) <= long(end + 8));
        assert_eq!(bytes.len(), end + 16);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = PerfFile::at(Perf::Map, Path::new("/nonexistent/told")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
