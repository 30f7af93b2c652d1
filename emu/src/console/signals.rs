//! Signals that end or stop the process: the terminal is restored and output written first, then the signal
//! has its usual effect.

use super::{output::flush_all, terminal};
use signal_hook::{
    consts::{
        SIGABRT, SIGALRM, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
        SIGUSR2, SIGXCPU, SIGXFSZ,
    },
    iterator::Signals,
    low_level::emulate_default_handler,
};
use std::{io, thread, time::Duration};

/// Signals that end the process from outside.
const ENDING: [i32; 9] = [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ];
/// Signals that a thread of this process causes by failing. They cannot wait for another thread.
const FAILING: [i32; 3] = [SIGABRT, SIGFPE, SIGILL];

/// Handles signals from now on, on a thread of its own.
pub fn handle() -> io::Result<()> {
    for signal in FAILING {
        let last_act = move || {
            terminal::restore();
            // If this fails the signal comes again at once, to the default handler.
            let _ = emulate_default_handler(signal);
        };
        // SAFETY: the action only makes system calls that are allowed in a handler: `restore` is an atomic and
        // tcsetattr, and the library says the same of `emulate_default_handler`.
        unsafe { signal_hook_registry::register_unchecked(signal, move |_| last_act()) }?;
    }
    let mut signals = Signals::new(ENDING.into_iter().chain([SIGCONT, SIGTSTP]))?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let result = match signal {
                SIGCONT => terminal::go_on(),
                SIGTSTP => {
                    terminal::restore();
                    emulate_default_handler(SIGTSTP)
                }
                _ => {
                    terminal::restore();
                    flush_all(Duration::from_secs(1));
                    emulate_default_handler(signal)
                }
            };
            if let Err(error) = result {
                log::warn!("signal {signal}: {error}");
            }
        }
    })?;
    Ok(())
}
