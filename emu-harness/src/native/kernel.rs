//! System calls of the child, which must not touch thread-local storage: FS belongs to the code under test.

/// A system call of Linux with up to six arguments: what it returns, `-errno` if it failed.
///
/// # Safety
/// As that call requires.
pub unsafe fn call(number: libc::c_long, arguments: [u64; 6]) -> i64 {
    let result: i64;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the kernel's convention: RCX and R11 are lost.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Ends the process.
pub fn exit(status: u8) -> ! {
    // SAFETY: ends everything.
    unsafe { call(libc::SYS_exit_group, [status.into(), 0, 0, 0, 0, 0]) };
    unreachable!("the process has ended");
}
