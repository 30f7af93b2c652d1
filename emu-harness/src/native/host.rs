//! The host's processor as an oracle: executes one instruction natively, in 64-bit, 32-bit or 16-bit code, and
//! tells what it did.
//!
//! A signal handler is the way in and out. A signal raised on purpose enters it; it keeps the interrupted
//! context, puts the guest's registers with the trap flag into it, and returns to the instruction. The trap
//! after it, or the signal of its exception, enters the handler again, which takes the registers out and puts
//! the kept context back. So there is no exit code to write, branches need no care, and exceptions come with
//! vector, error code and CR2. 16-bit and 32-bit code runs in segments of the local descriptor table.

use crate::corpus::Exception;
use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr,
    sync::{Mutex, MutexGuard, OnceLock},
};

/// Linear address of the memory that instructions run in: the base of 16-bit and 32-bit segments.
pub const BASE: u64 = 0x10_0000;
/// Its size: the limit of the segments.
pub const SIZE: u64 = 0x1_0000;
/// First page that is there.
pub const FIRST: u64 = BASE + 0x1000;
/// Where those pages end: what follows is not present.
pub const END: u64 = BASE + 0xA000;

const TRAP: u64 = 1 << 8;
const PAGE_FAULT: i64 = 14;
/// Local descriptors: 16-bit code and data, 32-bit code and data.
const CODE16: u16 = 0x0F;
const DATA16: u16 = 0x17;
const CODE32: u16 = 0x1F;
const DATA32: u16 = 0x27;
/// Of a signal frame: SS is restored as it stands there.
const RESTORE_SS: u64 = 2 | 4;
/// No repeated instruction of the tests has so many iterations.
const MAX_TRAPS: u32 = 10_000;

/// Registers of user mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// General-purpose registers as encoded.
    pub gpr: [u64; 16],
    /// Instruction pointer, an offset in the code segment.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// XMM registers.
    pub xmm: [u128; 16],
    /// x87 registers from the top of the stack, 80 bits each.
    pub st: [u128; 8],
    /// MXCSR.
    pub mxcsr: u32,
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word, with TOP.
    pub fsw: u16,
    /// Physical x87 registers that are not empty.
    pub valid: u8,
}

/// What came of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Result {
    /// Registers after it, or as an exception found them.
    pub registers: Registers,
    /// The exception.
    pub exception: Option<Exception>,
    /// Linear address of a page fault.
    pub cr2: u64,
}

struct Context {
    guest: Registers,
    bitness: u32,
    entered: bool,
    traps: u32,
    saved: MaybeUninit<[i64; 23]>,
    saved_fpu: [u8; 512],
    result: Option<Result>,
}

struct Shared(UnsafeCell<Context>);
// SAFETY: only touched by the thread that holds the lock of `Host`, there or in its signal handler.
unsafe impl Sync for Shared {}

static CONTEXT: Shared = Shared(UnsafeCell::new(Context {
    guest: Registers {
        gpr: [0; 16],
        rip: 0,
        rflags: 0,
        xmm: [0; 16],
        st: [0; 8],
        mxcsr: 0,
        fcw: 0,
        fsw: 0,
        valid: 0,
    },
    bitness: 64,
    entered: false,
    traps: 0,
    saved: MaybeUninit::uninit(),
    saved_fpu: [0; 512],
    result: None,
}));

/// The host's processor; one thread at a time has it.
pub struct Host {
    _lock: MutexGuard<'static, ()>,
    /// Stack of the signal handler.
    _stack: Vec<u8>,
}

impl Host {
    /// Takes the processor. Says why if this host does not let it be used.
    pub fn take() -> std::result::Result<Self, String> {
        static LOCK: Mutex<()> = Mutex::new(());
        static READY: OnceLock<std::result::Result<(), String>> = OnceLock::new();
        let lock = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        READY.get_or_init(set_up).clone()?;
        let mut stack = vec![0u8; 0x2_0000];
        let alternative =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        // SAFETY: the stack lives as long as `Host`, which leaves it in `drop`.
        if unsafe { libc::sigaltstack(&alternative, ptr::null_mut()) } != 0 {
            return Err("no stack for signals".into());
        }
        Ok(Host { _lock: lock, _stack: stack })
    }

    /// Memory from `FIRST` to `END`.
    pub fn memory(&mut self) -> &mut [u8] {
        // SAFETY: mapped by `set_up` for good, and borrowed from `self` alone.
        unsafe { std::slice::from_raw_parts_mut(FIRST as *mut u8, (END - FIRST) as usize) }
    }

    /// Executes the instruction at `guest.rip` in code of `bitness`.
    pub fn execute(&mut self, bitness: u32, guest: &Registers) -> Result {
        let context = CONTEXT.0.get();
        let data: u16 = match bitness {
            16 => DATA16,
            32 => DATA32,
            _ => 0,
        };
        // SAFETY: the lock is ours, and the handler runs only between `raise` and its return. Selectors of data
        // segments mean nothing to 64-bit code of the host.
        unsafe {
            (*context).guest = *guest;
            (*context).bitness = bitness;
            ((*context).entered, (*context).traps, (*context).result) = (false, 0, None);
            std::arch::asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) data, options(nostack, preserves_flags));
            libc::raise(libc::SIGUSR1);
            std::arch::asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) 0u16, options(nostack, preserves_flags));
            (*context).result.take().expect("the handler has left a result")
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: no handler is running on the stack.
        unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
    }
}

fn set_up() -> std::result::Result<(), String> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new mapping that replaces none.
    let mapped = unsafe { libc::mmap(FIRST as *mut _, (END - FIRST) as usize, rights, flags, -1, 0) };
    if mapped as u64 != FIRST {
        return Err("low memory is not to be had".into());
    }
    for (number, bits32, contents) in [(1, 0, 2), (2, 0, 0), (3, 1, 2), (4, 1, 0)] {
        // struct user_desc: entry, base, limit, flags (seg_32bit, contents << 1, useable << 6).
        let descriptor: [u32; 4] = [number, BASE as u32, SIZE as u32 - 1, bits32 | contents << 1 | 1 << 6];
        // SAFETY: the kernel reads 16 bytes.
        if unsafe { libc::syscall(libc::SYS_modify_ldt, 0x11, descriptor.as_ptr(), 16) } != 0 {
            return Err("no local descriptor table".into());
        }
    }
    for signal in [libc::SIGUSR1, libc::SIGTRAP, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS] {
        // SAFETY: all zero is a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: the handler is async-signal-safe: it calls nothing.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
            return Err("no signal handler".into());
        }
    }
    Ok(())
}

/// Places of registers in a signal frame, in the order of their encoding.
const PLACES: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

extern "C" fn handler(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext; ours is used by this thread alone (see `Shared`).
    let (frame, ours) = unsafe { (&mut *context.cast::<libc::ucontext_t>(), &mut *CONTEXT.0.get()) };
    let fpu = frame.uc_mcontext.fpregs.cast::<u8>();
    if !ours.entered {
        if signal != libc::SIGUSR1 {
            // A fault of the test's own: once more, without us.
            // SAFETY: plain system call.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            return;
        }
        ours.entered = true;
        ours.saved = MaybeUninit::new(frame.uc_mcontext.gregs);
        // SAFETY: an FXSAVE image of 512 bytes and the header of XSAVE behind it.
        unsafe { ptr::copy_nonoverlapping(fpu, ours.saved_fpu.as_mut_ptr(), 512) };
        enter(frame, ours);
        return;
    }
    let gregs = &mut frame.uc_mcontext.gregs;
    let vector = gregs[libc::REG_TRAPNO as usize];
    let unmoved = gregs[libc::REG_RIP as usize] as u64 == ours.guest.rip;
    if vector == 1 && unmoved && ours.traps < MAX_TRAPS {
        // A repeated instruction traps after each iteration.
        ours.traps += 1;
        return;
    }
    ours.result = Some(leave(gregs, fpu));
    ours.entered = false;
    // SAFETY: initialised on entry.
    *gregs = unsafe { ours.saved.assume_init() };
    // SAFETY: as on entry.
    unsafe { ptr::copy_nonoverlapping(ours.saved_fpu.as_ptr(), fpu, 512) };
}

fn enter(frame: &mut libc::ucontext_t, ours: &Context) {
    let guest = &ours.guest;
    let gregs = &mut frame.uc_mcontext.gregs;
    for (value, place) in guest.gpr.iter().zip(PLACES) {
        gregs[place as usize] = *value as i64;
    }
    gregs[libc::REG_RIP as usize] = guest.rip as i64;
    gregs[libc::REG_EFL as usize] = (guest.rflags | TRAP) as i64;
    let selectors = match ours.bitness {
        16 => Some((CODE16, DATA16)),
        32 => Some((CODE32, DATA32)),
        _ => None,
    };
    if let Some((cs, ss)) = selectors {
        let both = &mut gregs[libc::REG_CSGSFS as usize];
        *both = (*both as u64 & 0x0000_FFFF_FFFF_0000 | u64::from(cs) | u64::from(ss) << 48) as i64;
        frame.uc_flags |= RESTORE_SS;
    }
    let fpu = frame.uc_mcontext.fpregs.cast::<u8>();
    // SAFETY: offsets within the FXSAVE image (SDM vol. 1, 10.5.1) and XSTATE_BV behind it.
    unsafe {
        fpu.cast::<u16>().write_unaligned(guest.fcw);
        fpu.add(2).cast::<u16>().write_unaligned(guest.fsw);
        fpu.add(4).write(guest.valid);
        fpu.add(24).cast::<u32>().write_unaligned(guest.mxcsr);
        for (k, value) in guest.st.iter().enumerate() {
            fpu.add(32 + 16 * k).cast::<u128>().write_unaligned(*value);
        }
        for (k, value) in guest.xmm.iter().enumerate() {
            fpu.add(160 + 16 * k).cast::<u128>().write_unaligned(*value);
        }
        let components = fpu.add(512).cast::<u64>();
        components.write_unaligned(components.read_unaligned() | 3);
    }
}

fn leave(gregs: &[i64; 23], fpu: *const u8) -> Result {
    let value = |place: libc::c_int| gregs[place as usize] as u64;
    let vector = gregs[libc::REG_TRAPNO as usize];
    let has_code = matches!(vector, 8 | 10..=14 | 17);
    let exception = (vector != 1).then(|| Exception {
        vector: vector as u8,
        error_code: has_code.then_some(value(libc::REG_ERR) as u16),
    });
    // SAFETY: offsets within the FXSAVE image.
    let registers = unsafe {
        Registers {
            gpr: PLACES.map(value),
            rip: value(libc::REG_RIP),
            rflags: value(libc::REG_EFL) & !TRAP,
            xmm: std::array::from_fn(|k| fpu.add(160 + 16 * k).cast::<u128>().read_unaligned()),
            st: std::array::from_fn(|k| {
                fpu.add(32 + 16 * k).cast::<u128>().read_unaligned() & ((1 << 80) - 1)
            }),
            mxcsr: fpu.add(24).cast::<u32>().read_unaligned(),
            fcw: fpu.cast::<u16>().read_unaligned(),
            fsw: fpu.add(2).cast::<u16>().read_unaligned(),
            valid: fpu.add(4).read(),
        }
    };
    let cr2 = if vector == PAGE_FAULT { value(libc::REG_CR2) } else { 0 };
    Result { registers, exception, cr2 }
}
