//! A shared folder: 9P messages of any kind, to the server that `emu run --share` has, on a temporary folder. The guest
//! gets nowhere else: what lies beside the folder stays as it is, and the guest does not get to see it.

use super::{Function, Subject, plan9_message};
use crate::fuzz::devices::Input;
use emu_core::{
    backend::{MessageBackend, Reply},
    memory::Dma,
};
use emu_devices::virtio::Plan9;
use emu_share::Share;
use parking_lot::{Condvar, Mutex};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// What a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the files beside the folder hold, with [`MASK`] over it: a fuzzer that sees what is compared does not learn it.
const SECRET: [u8; 16] = *b"\x3B\xD1\x60\x0A\x97\xE4\x5C\x22\x88\xF3\x1D\x79\xAE\x46\xB5\x04";
const MASK: u8 = 0xA6;

/// A server, and how many of its replies are under way.
struct Server {
    share: Share,
    waiting: Arc<(Mutex<usize>, Condvar)>,
}

/// A reply under way: it is given, or dropped.
struct Waiting(Arc<(Mutex<usize>, Condvar)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.0.0.lock() -= 1;
        self.0.1.notify_all();
    }
}

impl MessageBackend for Server {
    fn request(&self, message: Vec<u8>, room: usize, reply: Reply) {
        *self.waiting.0.lock() += 1;
        let waiting = Waiting(self.waiting.clone());
        let counted = move |bytes: Vec<u8>| {
            assert!(bytes.len() <= room, "{} bytes where {room} fit", bytes.len());
            reply(bytes);
            drop(waiting);
        };
        self.share.request(message, room, Box::new(counted));
    }

    fn reset(&self) {
        self.share.reset();
    }
}

pub(super) struct Host {
    directory: TempDir,
    server: Arc<Server>,
    /// What is beside the folder.
    outside: Vec<Entry>,
}

/// A file, and what tells that somebody changed it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    changed: (i64, i64),
    content: Vec<u8>,
}

/// All files in `directory` but those in the shared folder.
fn entries(directory: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    let names = fs::read_dir(directory).expect("a folder of ours");
    let mut paths: Vec<_> = names.map(|name| name.expect("a name").path()).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| !path.ends_with("share")) {
        let metadata = fs::symlink_metadata(&path).expect("a file of ours");
        let inner = if metadata.is_dir() { entries(&path) } else { Vec::new() };
        found.push(Entry {
            content: if metadata.is_file() { fs::read(&path).expect("a file of ours") } else { Vec::new() },
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            links: metadata.nlink(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            path,
        });
        found.extend(inner);
    }
    found
}

/// A folder with a little in it, and files beside it to which links lead.
fn make_files(directory: &Path) -> std::io::Result<()> {
    let share = directory.join("share");
    fs::create_dir_all(share.join("a/b"))?;
    fs::create_dir_all(directory.join("beside/inner"))?;
    let secret = SECRET.map(|byte| byte ^ MASK);
    for name in ["outside", "beside/inner/c"] {
        fs::write(directory.join(name), secret)?;
    }
    fs::set_permissions(directory.join("outside"), fs::Permissions::from_mode(0o666))?;
    fs::write(share.join("b"), "content")?;
    fs::write(share.join("a/c"), [7; 5000])?;
    symlink("../outside", share.join("link"))?;
    symlink("..", share.join("up"))?;
    symlink(directory, share.join("abs"))?;
    symlink("a", share.join("l"))
}

impl Subject for Host {
    type Device = Plan9;
    const TAKEN: u16 = 0;

    fn new(input: &mut Input<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        make_files(directory.path()).expect("room for a few files");
        let read_only = input.next(1) >= 0xF0;
        let share = Share::open(&directory.path().join("share"), read_only).expect("a folder to share");
        let outside = entries(directory.path());
        Host { directory, server: Arc::new(Server { share, waiting: Arc::default() }), outside }
    }

    fn device(&self, _: &Dma) -> Plan9 {
        Plan9::new(self.server.clone(), "fuzz")
    }

    fn greeting(&self) -> Vec<(u16, Vec<u8>)> {
        plan9_message::greeting().into_iter().map(|message| (0, message)).collect()
    }

    fn message(&self, _: u16, input: &mut Input<'_>) -> Vec<u8> {
        plan9_message::message(input)
    }

    fn act(&self, _: &Function<Plan9>, _: &mut Input<'_>) {
        self.settle();
    }

    fn settle(&self) {
        let (count, changed) = &*self.server.waiting;
        let mut count = count.lock();
        while *count != 0 {
            let late = changed.wait_for(&mut count, PATIENCE).timed_out();
            assert!(!late || *count == 0, "{} messages have no reply", *count);
        }
    }

    fn check(&self, memory: &[u8]) {
        let is_secret = |bytes: &[u8]| bytes.iter().zip(SECRET).all(|(byte, secret)| *byte ^ MASK == secret);
        assert!(!memory.windows(SECRET.len()).any(is_secret), "the guest has seen what is outside");
        assert_eq!(entries(self.directory.path()), self.outside, "what is outside has been touched");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Otherwise the fuzzer would look at nothing but error messages.
    #[test]
    fn what_a_client_says_first_is_answered() {
        let host = Host::new(&mut Input(&[]));
        for (_, message) in host.greeting() {
            let (sender, receiver) = channel();
            let reply = move |bytes| sender.send(bytes).expect("somebody waits");
            let kind = message[4];
            host.server.request(message, 0x1000, Box::new(reply));
            let reply: Vec<u8> = receiver.recv_timeout(PATIENCE).expect("a reply");
            assert_eq!(reply[4], kind + 1, "{reply:?}");
        }
    }
}
