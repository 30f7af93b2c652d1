//! The child process: what it gives up before it runs anything, and how the harness speaks to it.
//!
//! A case may do anything that user code can. So the child keeps no file but its socket and the pages, may make
//! system calls from its own code alone (a filter of seccomp: code of cases is below 4 GiB, the child's above),
//! and the harness expects it to die at any time.

use super::{
    frame::Layout,
    kernel,
    shared::{Mapping, PAGE},
    signal::{self, Runner},
};
use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    ptr,
    time::Duration,
};

/// The child's files: the socket, and the pages of cases.
const SOCKET_FD: u64 = 0;
/// See [`SOCKET_FD`].
pub const PAGES_FD: u64 = 1;
/// A batch that takes longer has a case that never ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// Size of the signal handler's stack.
const STACK: u64 = 16 * PAGE;

/// A child, from the harness's side.
pub struct Child {
    pid: libc::pid_t,
    socket: UnixStream,
}

/// Why a batch did not come to its end. The child is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Killed by a signal.
    Signal(i32),
    /// It exited.
    Exit,
    /// It went on for too long.
    Endless,
}

impl Child {
    /// Starts one.
    pub fn start(mapping: &Mapping) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (batch, window) = (mapping.batch(), mapping.window());
        let pages = mapping.pages.as_raw_fd();
        let layout = Layout::of_host();
        // SAFETY: the child calls only what is safe after a fork of a process with threads: no allocation, no
        // locks.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => match isolate(theirs.as_raw_fd(), pages) {
                Ok(()) => serve(Runner::new(batch, window, layout)),
                Err(step) => kernel::exit(step),
            },
            pid => Ok(Child { pid, socket }),
        }
    }

    /// Has it run the batch.
    pub fn run(&mut self) -> Result<(), Death> {
        let mut answer = [0];
        let sent = self.socket.write_all(&[0]);
        match sent.and_then(|()| self.socket.read(&mut answer)) {
            Ok(1) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Death::Endless),
            _ => Err(self.autopsy()),
        }
    }

    /// Its process.
    #[cfg(test)]
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    fn autopsy(&mut self) -> Death {
        let mut status = 0;
        // SAFETY: plain system call; the process is ours.
        let ended = unsafe { libc::waitpid(self.pid, &mut status, 0) };
        let pid = std::mem::replace(&mut self.pid, 0);
        if ended == pid && libc::WIFSIGNALED(status) {
            Death::Signal(libc::WTERMSIG(status))
        } else {
            Death::Exit
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid == 0 {
            return;
        }
        // SAFETY: plain system calls; the process is ours, and has not been waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

/// The child's main loop: a byte from the harness begins a batch, a byte to it ends it.
fn serve(mut runner: Runner) -> ! {
    let mut byte = 0u8;
    let buffer = &raw mut byte as u64;
    loop {
        // SAFETY: one byte of ours.
        if unsafe { kernel::call(libc::SYS_read, [SOCKET_FD, buffer, 1, 0, 0, 0]) } != 1 {
            kernel::exit(0);
        }
        runner.run();
        // SAFETY: as above.
        if unsafe { kernel::call(libc::SYS_write, [SOCKET_FD, buffer, 1, 0, 0, 0]) } != 1 {
            kernel::exit(0);
        }
    }
}

/// Gives up what a case must not have. An error is the number of the step that failed.
fn isolate(socket: RawFd, pages: RawFd) -> Result<(), u8> {
    let done = |step: u8, result: i64| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: system calls on files and memory of the child alone.
    unsafe {
        done(1, kernel::call(libc::SYS_dup2, [socket as u64, SOCKET_FD, 0, 0, 0, 0]))?;
        done(2, kernel::call(libc::SYS_dup2, [pages as u64, PAGES_FD, 0, 0, 0, 0]))?;
        done(3, kernel::call(libc::SYS_close_range, [PAGES_FD + 1, u32::MAX.into(), 0, 0, 0, 0]))?;
        let rights = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let stack = kernel::call(libc::SYS_mmap, [0, STACK, rights, private, u64::MAX, 0]);
        done(4, stack)?;
        let stack = libc::stack_t { ss_sp: stack as *mut _, ss_flags: 0, ss_size: STACK as usize };
        done(5, libc::sigaltstack(&stack, ptr::null_mut()).into())?;
    }
    take_signals().map_err(|()| 6)?;
    forbid_system_calls().map_err(|()| 7)
}

/// Gives every signal its default, and those of exceptions the handler. A fault in the handler kills the child.
fn take_signals() -> Result<(), ()> {
    const EXCEPTIONS: [libc::c_int; 6] =
        [libc::SIGTRAP, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS, libc::SIGSYS];
    // SAFETY: all zero is a valid sigaction; the handler is async-signal-safe, as it calls nothing of the C
    // library but memory copies.
    unsafe {
        for signal in 1..32 {
            let mut action: libc::sigaction = std::mem::zeroed();
            if EXCEPTIONS.contains(&signal) {
                action.sa_sigaction = signal::handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigfillset(&mut action.sa_mask);
            }
            let fixed = matches!(signal, libc::SIGKILL | libc::SIGSTOP);
            if !fixed && libc::sigaction(signal, &action, ptr::null_mut()) != 0 {
                return Err(());
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut()) == 0 { Ok(()) } else { Err(()) }
    }
}

/// From here on a system call from below 4 GiB, or by a 32-bit way, raises SIGSYS instead.
fn forbid_system_calls() -> Result<(), ()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const X86_64: u32 = 0xC000_003E;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        // struct seccomp_data: number, architecture, instruction pointer.
        step(LOAD, 0, 0, 4),
        step(EQUAL, 0, 3, X86_64),
        step(LOAD, 0, 0, 12),
        step(EQUAL, 1, 0, 0),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, 0, libc::SECCOMP_RET_TRAP),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let arguments = [libc::SECCOMP_SET_MODE_FILTER as u64, flags, &raw const program as u64, 0, 0, 0];
    // SAFETY: the kernel reads the program.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        kernel::call(libc::SYS_seccomp, arguments)
    };
    if installed == 0 { Ok(()) } else { Err(()) }
}
