//! What harness and child have in common: cases on their way in, and what came of them on their way back, in
//! memory that both map at the same address.
//!
//! All of it is plain numbers for which every bit pattern is a value: the child runs code that may store
//! anywhere, so the harness must be able to read whatever it finds.

use std::{io, ptr::NonNull};

/// Cases in one batch.
pub const CASES: usize = 128;
/// Pieces of memory in one batch.
pub const PIECES: usize = 8 * CASES;
/// Bytes of memory in one batch.
pub const BYTES: usize = 1 << 20;
/// Pages that one case may have.
pub const PAGES: usize = 64;
/// Size of a page.
pub const PAGE: u64 = 0x1000;

/// A segment descriptor as `modify_ldt` takes it, without its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Descriptor {
    /// Base.
    pub base: u32,
    /// Limit, in bytes or pages.
    pub limit: u32,
    /// The flags of `struct user_desc`.
    pub flags: u32,
}

/// A segment register of a case.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Segment {
    /// Descriptor to load; not looked at if `descriptor.flags` is 0: then the selector is loaded as it is.
    pub descriptor: Descriptor,
    /// Before: the selector that is wanted, 0 for any. Then: the one that was loaded.
    pub given: u16,
    /// The selector after.
    pub after: u16,
}

/// Registers of user code.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Registers {
    /// YMM registers, low half first.
    pub vector: [[u128; 2]; 16],
    /// x87 registers from the top of the stack, 80 bits each.
    pub st: [u128; 8],
    /// General-purpose registers as encoded.
    pub gpr: [u64; 16],
    /// Instruction pointer, an offset in the code segment.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// Base of FS in 64-bit code.
    pub fs_base: u64,
    /// Base of GS in 64-bit code.
    pub gs_base: u64,
    /// MXCSR.
    pub mxcsr: u32,
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word, with TOP.
    pub fsw: u16,
    /// Physical x87 registers that are not empty.
    pub valid: u32,
}

/// How a case ended.
pub mod end {
    /// Not yet.
    pub const NONE: u32 = 0;
    /// After its instructions, or at its stop.
    pub const DONE: u32 = 1;
    /// By an exception.
    pub const EXCEPTION: u32 = 2;
    /// By a system call, which was not made.
    pub const SYSTEM_CALL: u32 = 3;
    /// Before it began: its memory cannot be there.
    pub const NO_MEMORY: u32 = 4;
    /// Before it began: its segments cannot be had.
    pub const NO_SEGMENT: u32 = 5;
    /// At an instruction that cannot be stepped: see `opcode::Kind::Untraceable`.
    pub const NO_TRAP: u32 = 6;
    /// A repeated instruction went on for too long.
    pub const TOO_LONG: u32 = 7;
    /// Registers beyond YMM were written.
    pub const WIDE: u32 = 8;
    /// The code set its own trap flag, and went on.
    pub const OWN_TRAP: u32 = 9;
}

/// A case; what is called *after* is the child's to write.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Case {
    /// Registers before, then after.
    pub registers: Registers,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Whether it is 64-bit code.
    pub long: u32,
    /// Instructions to execute at most.
    pub limit: u32,
    /// RIP to end at; `u64::MAX` is none.
    pub stop: u64,
    /// Linear address of a breakpoint that ends it, of one instruction; `u64::MAX` is none: it is stepped.
    pub landing: u64,
    /// Bits of RSP that make the stack pointer.
    pub stack_mask: u64,
    /// First of its pieces of memory.
    pub first: u32,
    /// Number of them.
    pub pieces: u32,
    /// How it ended, after: a number of [`end`].
    pub end: u32,
    /// Vector of the exception, after.
    pub vector: u32,
    /// Its error code.
    pub error: u64,
    /// Its linear address, of a page fault.
    pub cr2: u64,
    /// Instructions completed, after.
    pub completed: u32,
}

/// A piece of memory.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Piece {
    /// Linear address.
    pub address: u64,
    /// Where its bytes begin in [`Batch::bytes`]: before, then after.
    pub at: u32,
    /// Number of bytes.
    pub len: u32,
    /// `PROT_` bits of the pages it touches.
    pub rights: u32,
}

/// Cases to run in one go.
#[repr(C)]
pub struct Batch {
    /// Number of cases.
    pub count: u32,
    /// The case that runs, or `count`.
    pub current: u32,
    /// Cases.
    pub cases: [Case; CASES],
    /// Their memory.
    pub pieces: [Piece; PIECES],
    /// Its bytes.
    pub bytes: [u8; BYTES],
}

/// Memory shared with children: a batch, and the pages that cases run in.
pub struct Mapping {
    batch: NonNull<Batch>,
    window: NonNull<u8>,
    /// The file behind the pages, which the child maps where a case wants them.
    pub pages: std::fs::File,
}

impl Mapping {
    /// Allocates it; all zero.
    pub fn new() -> io::Result<Self> {
        use std::os::fd::{AsRawFd, FromRawFd};
        // SAFETY: a name that ends in zero; the descriptor is new and ours.
        let pages = unsafe {
            let descriptor = libc::memfd_create(c"emu-native".as_ptr(), libc::MFD_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            std::fs::File::from_raw_fd(descriptor)
        };
        pages.set_len(PAGES as u64 * PAGE)?;
        let batch = map(size_of::<Batch>(), libc::MAP_ANONYMOUS, -1)?.cast();
        let window = map(PAGES * PAGE as usize, 0, pages.as_raw_fd())?;
        Ok(Mapping { batch, window, pages })
    }

    /// The batch.
    pub fn batch(&self) -> *mut Batch {
        self.batch.as_ptr()
    }

    /// The pages, one after another, always writable.
    pub fn window(&self) -> *mut u8 {
        self.window.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with these sizes, and borrowed by nobody.
        unsafe {
            libc::munmap(self.batch.as_ptr().cast(), size_of::<Batch>());
            libc::munmap(self.window.as_ptr().cast(), PAGES * PAGE as usize);
        }
    }
}

/// Maps shared memory that children inherit.
fn map(size: usize, flags: libc::c_int, file: libc::c_int) -> io::Result<NonNull<u8>> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), size, rights, libc::MAP_SHARED | flags, file, 0) };
    match NonNull::new(place.cast()) {
        Some(place) if place.as_ptr() as isize != -1 => Ok(place),
        _ => Err(io::Error::last_os_error()),
    }
}
