//! Having a processor leave KVM_RUN because something is asked of it. KVM API, 5 ("immediate_exit").
//!
//! A signal interrupts KVM_RUN, and `immediate_exit` in the run area prevents one that is just about to begin. The
//! signal's handler does nothing: that it arrives is enough.

use emu_core::engine::Kick;
use parking_lot::Mutex;
use std::{
    io, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

/// The thread that runs a processor, and where its run area says that it should come back.
struct Target {
    thread: libc::pthread_t,
    immediate_exit: *mut u8,
}

// SAFETY: the pointer leads into a mapping of the process, which any thread may write through; `Kicker` says how long.
unsafe impl Send for Target {}

/// The way to a processor that runs, or does not.
pub(super) struct Kicker {
    entered: AtomicBool,
    /// `None` before its thread is known, and when the processor is gone.
    target: Mutex<Option<Target>>,
}

impl std::fmt::Debug for Kicker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kicker").field("entered", &self.entered).finish_non_exhaustive()
    }
}

impl Kicker {
    /// For a processor that has no thread yet. Its signal has a handler from now on.
    pub(super) fn new() -> io::Result<Self> {
        handle_signal()?;
        Ok(Kicker { entered: AtomicBool::new(false), target: Mutex::new(None) })
    }

    /// The calling thread runs the processor whose run area has `immediate_exit` there.
    ///
    /// # Safety
    /// The byte stays mapped until [`gone`](Self::gone).
    pub(super) unsafe fn runs_here(&self, immediate_exit: *mut u8) {
        // SAFETY: always succeeds.
        let thread = unsafe { libc::pthread_self() };
        *self.target.lock() = Some(Target { thread, immediate_exit });
    }

    /// There is no thread or run area any more.
    pub(super) fn gone(&self) {
        self.entered.store(false, Ordering::SeqCst);
        *self.target.lock() = None;
    }

    /// KVM_RUN is about to begin: from here on a kick ends it, or has it end at once.
    pub(super) fn enter(&self) {
        self.entered.store(true, Ordering::SeqCst);
    }

    /// KVM_RUN is over, or did not begin.
    pub(super) fn leave(&self) {
        self.entered.store(false, Ordering::SeqCst);
        if let Some(target) = &*self.target.lock() {
            target.set_immediate_exit(0);
        }
    }
}

impl Kick for Kicker {
    fn kick(&self) {
        if !self.entered.load(Ordering::SeqCst) {
            return;
        }
        if let Some(target) = &*self.target.lock() {
            target.set_immediate_exit(1);
            // SAFETY: the thread has not said `gone`, so it lives.
            unsafe { libc::pthread_kill(target.thread, signal()) };
        }
    }
}

impl Target {
    fn set_immediate_exit(&self, value: u8) {
        // SAFETY: the promise of `Kicker::runs_here`; nothing else in this process writes the byte otherwise.
        unsafe { AtomicU8::from_ptr(self.immediate_exit) }.store(value, Ordering::SeqCst);
    }
}

/// The first one that the C library leaves to programs.
fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Gives the signal a handler, once: without one it would end the process.
fn handle_signal() -> io::Result<()> {
    static DONE: OnceLock<Option<i32>> = OnceLock::new();
    extern "C" fn nothing(_: libc::c_int) {}
    let failed = DONE.get_or_init(|| {
        // SAFETY: all zeroes is a value of this type of C's.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // No SA_RESTART: what waits is meant to come back.
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the action is complete, and its handler does nothing.
        let done = unsafe { libc::sigaction(signal(), &action, ptr::null_mut()) };
        (done != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or(0))
    });
    failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}
