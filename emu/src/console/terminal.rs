//! The user's terminal: raw mode while a guest has it, and back again whatever happens.
//!
//! The settings are put back by [`GiveBack`]'s drop, by the panic hook, by the signals in [`super::signals`],
//! and when the process stops (Ctrl-Z of the shell's job control) until it goes on.

use super::output::flush_all;
use crate::exit::HOST_ERROR;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};
use std::{
    io, panic, process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How the terminal was. Set once, then only read: a signal handler reads it.
static ORIGINAL: OnceLock<Termios> = OnceLock::new();
/// A guest has the terminal, even while the process is stopped.
static WANTED: AtomicBool = AtomicBool::new(false);
/// The terminal is in raw mode now.
static RAW: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back when dropped, if a guest has taken it.
pub struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        WANTED.store(false, Ordering::SeqCst);
        restore();
    }
}

/// Takes standard input for a guest: switches it to raw mode, if it is a terminal. Returns whether it is.
/// Whoever calls this holds a [`GiveBack`], or lets somebody hold one who outlives the guest.
pub fn take() -> io::Result<bool> {
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return Ok(false);
    }
    if ORIGINAL.get().is_none() {
        let _ = ORIGINAL.set(tcgetattr(&stdin)?);
    }
    WANTED.store(true, Ordering::SeqCst);
    go_on()?;
    Ok(true)
}

/// Whether the terminal is in raw mode: lines printed must then end in CR LF.
pub fn is_raw() -> bool {
    RAW.load(Ordering::Relaxed)
}

/// Puts the terminal back. Takes no lock and allocates nothing: safe in a signal handler.
pub fn restore() {
    if RAW.swap(false, Ordering::SeqCst)
        && let Some(original) = ORIGINAL.get()
    {
        // Nothing can be done, or said, if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, original);
    }
}

/// Puts the terminal (back) in raw mode if a guest has it: at the start and after a stop.
pub(super) fn go_on() -> io::Result<()> {
    let (Some(original), true) = (ORIGINAL.get(), WANTED.load(Ordering::SeqCst)) else {
        return Ok(());
    };
    // A process in the background would be stopped for touching the terminal. It gets another chance when
    // it comes to the foreground: that sends SIGCONT.
    if tcgetpgrp(io::stdin()).is_ok_and(|group| group != rustix::process::getpgrp()) {
        return Ok(());
    }
    let mut raw = original.clone();
    raw.make_raw();
    RAW.store(true, Ordering::SeqCst);
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    Ok(())
}

/// Makes a panic on any thread restore the terminal, show itself, and end the process: with a vCPU or a
/// device gone, the machine is lost.
pub fn end_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        flush_all(Duration::from_secs(1));
        report(info);
        process::exit(HOST_ERROR.into());
    }));
}
