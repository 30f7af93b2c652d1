//! The terminal comes back, whatever ends the process. A child of this very program takes a pseudo-terminal
//! in raw mode and ends in the way asked for; the parent looks at the terminal's settings.

use emu::console::{
    ConsoleInput, SerialInput, signals,
    terminal::{self, GiveBack},
};
use rstest::rstest;
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use std::{
    env,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio, abort, exit},
    thread,
    time::Duration,
};

/// Says to a child what it is to do.
const ROLE: &str = "EMU_TERMINAL_TEST_ROLE";

/// A child's exit code when Quit has arrived.
const QUIT: i32 = 7;

/// Not a test by itself: what the child runs.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    terminal::end_on_panic();
    signals::handle().unwrap();
    let guest = GiveBack;
    if role == "console" {
        let input = SerialInput::stdin(io::stdin().as_fd().try_clone_to_owned().unwrap());
        input.start(|input| if input == ConsoleInput::Quit { exit(QUIT) } else { false }).unwrap();
    } else {
        assert!(terminal::take().unwrap(), "standard input is a terminal");
    }
    // The end of this pipe tells the parent that the terminal is raw.
    rustix::stdio::dup2_stdout(File::open("/dev/null").unwrap()).unwrap();
    if role != "console" {
        io::stdin().read_exact(&mut [0]).unwrap();
    }
    match role.as_str() {
        "return" => drop(guest),
        "panic" => panic!("as asked"),
        "panic in a thread" => {
            let _ = thread::spawn(|| panic!("as asked")).join();
        }
        "abort" => abort(),
        _ => loop {
            thread::park();
        },
    }
    exit(0);
}

struct Session {
    ours: OwnedFd,
    theirs: File,
    child: Child,
}

impl Session {
    /// Starts the child and waits until it has the terminal.
    fn start(role: &str) -> Session {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(Path::new(path.to_str().unwrap())).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .stdin(theirs.try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        io::copy(&mut child.stdout.take().unwrap(), &mut io::sink()).unwrap();
        let session = Session { ours, theirs, child };
        assert!(session.is_raw(), "the child has not taken the terminal");
        session
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.theirs).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn type_keys(&self, keys: &[u8]) {
        rustix::io::write(&self.ours, keys).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits, within reason, until the terminal is raw or not.
    fn reaches(&self, raw: bool) -> bool {
        (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            self.is_raw() == raw
        })
    }
}

#[rstest]
#[case("return", Some(0))]
#[case("panic", Some(3))]
#[case("panic in a thread", Some(3))]
#[case("abort", None)]
fn the_terminal_is_restored_when_the_process_ends_itself(#[case] role: &str, #[case] code: Option<i32>) {
    let mut session = Session::start(role);
    session.type_keys(b"x");
    assert_eq!(session.child.wait().unwrap().code(), code);
    assert!(!session.is_raw());
}

#[test]
fn the_escape_key_ends_a_guest_that_takes_no_input() {
    let mut session = Session::start("console");
    session.type_keys(b"hello? hello?\x03\x01x");
    // Leaving by exit() in the child gives nothing back: what counts here is that Quit arrives.
    assert_eq!(session.child.wait().unwrap().code(), Some(QUIT));
}

#[rstest]
#[case(Signal::INT)]
#[case(Signal::TERM)]
#[case(Signal::HUP)]
#[case(Signal::QUIT)]
#[case(Signal::USR1)]
fn the_terminal_is_restored_when_a_signal_ends_the_process(#[case] signal: Signal) {
    use std::os::unix::process::ExitStatusExt;
    let mut session = Session::start("wait");
    session.signal(signal);
    assert_eq!(session.child.wait().unwrap().signal(), Some(signal.as_raw()));
    assert!(!session.is_raw());
}

#[test]
fn a_stopped_process_gives_the_terminal_back_and_takes_it_again() {
    let mut session = Session::start("wait");
    session.signal(Signal::TSTP);
    assert!(session.reaches(false));
    session.signal(Signal::CONT);
    assert!(session.reaches(true));
    session.signal(Signal::KILL);
    session.child.wait().unwrap();
}
