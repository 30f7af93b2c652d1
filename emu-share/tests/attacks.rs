//! A guest that wants out of its folder, alone and with a process of the host that swaps names under it. What must never
//! be read or changed is a file beside the folder.
#![expect(clippy::disallowed_methods, reason = "races last for seconds of the host; there is no machine")]

mod client;

use client::*;
use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const SECRET: &[u8] = b"the secret that nobody may read";

/// `share`, which is shared, and `outside` with a file in it.
struct Place {
    _both: tempfile::TempDir,
    share: PathBuf,
    outside: PathBuf,
}

impl Place {
    fn new() -> Self {
        let both = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (share, outside) = (both.path().join("share"), both.path().join("outside"));
        fs::create_dir(&share).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), SECRET).unwrap();
        Place { _both: both, share, outside }
    }

    fn check(&self) {
        assert_eq!(fs::read(self.outside.join("file")).unwrap(), SECRET, "it was written");
        assert_eq!(fs::read_dir(&self.outside).unwrap().count(), 1, "something was made outside");
    }
}

#[test]
fn names_that_are_no_names() {
    let place = Place::new();
    let client = Client::new(&place.share);
    client.mkdir(ROOT, b"d").unwrap();
    let file = client.create("d", b"file", 0o600).unwrap();
    let d = client.walk("d").unwrap();
    let names: [&[u8]; 9] =
        [b"", b".", b"..", b"../outside/file", b"/etc/passwd", b"d/file", b"x\0y", b"/", &[b'n'; 256]];
    for name in names {
        if name != b".." {
            assert!(client.walk_to(ROOT, 5000, &[name]).is_err(), "{name:?}");
        }
        for result in [
            client.create("", name, 0o600).map(drop),
            client.mkdir(ROOT, name),
            client.symlink(ROOT, name, b"x"),
            client.mknod(ROOT, name, 0o100600, (0, 0)),
            client.link(ROOT, file, name),
            client.renameat((d, b"file"), (ROOT, name)),
            client.renameat((ROOT, name), (ROOT, b"moved")),
            client.unlink(ROOT, name, 0),
            client.unlink(ROOT, name, 0x200),
            client.ask(20, &[F::W(file), F::W(ROOT), F::S(name)]).map(drop),
        ] {
            assert!(result.is_err(), "{name:?}");
        }
    }
    assert_eq!(client.list("", 4096).unwrap(), [&b"."[..], b"..", b"d"]);
    place.check();
}

#[test]
fn dot_dot_at_the_root_stays() {
    let place = Place::new();
    let client = Client::new(&place.share);
    let root = client.getattr(ROOT).unwrap();
    client.walk_to(ROOT, 1, &[b".."]).unwrap();
    assert_eq!(client.getattr(1).unwrap(), root);
    assert_eq!(client.walk_to(ROOT, 2, &[b"..", b"..", b"outside"]).unwrap().len(), 2);
    client.mkdir(ROOT, b"d").unwrap();
    client.walk_to(ROOT, 3, &[b"d", b"..", b"..", b"d", b".."]).unwrap();
    assert_eq!(client.getattr(3).unwrap().qid, root.qid);
    let fid = client.open_path("", RDONLY).unwrap();
    let mut reply = client.ask(40, &[F::W(fid), F::D(0), F::W(4096)]).unwrap();
    reply.w();
    while reply.rest() != 0 {
        let (_, inode) = reply.qid();
        let (_, _, name) = (reply.d(), reply.b(), reply.s());
        if name == b".." {
            assert_eq!(inode, root.qid, "not even the number of the folder above is told");
        }
    }
}

#[test]
fn a_directory_that_was_moved_out_does_not_lead_out() {
    let place = Place::new();
    fs::create_dir_all(place.share.join("a/b")).unwrap();
    let client = Client::new(&place.share);
    let b = client.walk("a/b").unwrap();
    fs::rename(place.share.join("a/b"), place.outside.join("b")).unwrap();
    let fid = client.fid();
    client.walk_to(b, fid, &[b".."]).unwrap();
    assert_eq!(client.getattr(fid).unwrap().qid, client.getattr(client.walk("a").unwrap()).unwrap().qid);
    assert_eq!(client.walk_to(b, client.fid(), &[b"..", b"file"]).unwrap().len(), 1);
    fs::remove_dir(place.outside.join("b")).unwrap();
    place.check();
}

#[test]
fn links_lead_nowhere() {
    let place = Place::new();
    let client = Client::new(&place.share);
    symlink("/", place.share.join("root")).unwrap();
    symlink("../outside", place.share.join("up")).unwrap();
    symlink(place.outside.join("file"), place.share.join("file")).unwrap();
    symlink("/proc/self/root", place.share.join("magic")).unwrap();
    symlink(place.outside.join("new"), place.share.join("dangling")).unwrap();
    for link in ["root", "up", "file", "magic", "dangling"] {
        let fid = client.walk(link).unwrap();
        assert_eq!(client.open(fid, RDONLY), Err(ELOOP));
        assert_eq!(client.walk_to(fid, client.fid(), &[b"file"]), Err(ENOTDIR));
        assert_eq!(client.walk(&format!("{link}/file")), Err(ENOENT));
        assert_eq!(client.mkdir(fid, b"new"), Err(ENOTDIR));
        assert!(client.setattr(fid, 0x8, (0, 0, 0, 0)).is_err());
        assert!(client.setattr(fid, 0x1, (0o777, 0, 0, 0)).is_err());
        assert!(client.set_xattr(link, b"user.x", b"x", 0).is_err());
        let fields =
            [F::W(client.walk("").unwrap()), F::S(link.as_bytes()), F::W(RDWR), F::W(0o600), F::W(0)];
        assert!(client.ask(14, &fields).is_err(), "creating what is there, without O_EXCL");
    }
    place.check();
}

#[test]
fn special_files_of_the_host_are_not_opened() {
    let place = Place::new();
    let fifo = place.share.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let _socket = UnixListener::bind(place.share.join("socket")).unwrap();
    let client = Client::new(&place.share);
    let start = Instant::now();
    for name in ["fifo", "socket"] {
        for flags in [RDONLY, WRONLY, RDWR, WRONLY | TRUNC] {
            assert_eq!(client.open(client.walk(name).unwrap(), flags), Err(ENXIO));
        }
        let fields =
            [F::W(client.walk("").unwrap()), F::S(name.as_bytes()), F::W(RDWR), F::W(0o600), F::W(0)];
        assert_eq!(client.ask(14, &fields).err(), Some(ENXIO));
        assert!(client.setattr(client.walk(name).unwrap(), 0x8, (0, 0, 0, 0)).is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_kernels_files_are_closed() {
    assert!(emu_share::Share::open("/proc".as_ref(), true).is_err());
    let client = Client::with("/".as_ref(), true);
    let found = client.walk_to(ROOT, 1, &[b"proc", b"self", b"mem"]);
    assert_eq!(found, Err(13), "where proc is mounted within the folder");
}

/// Runs `attack` again and again while another thread swaps names by `swap`. Returns how often something was read.
fn race(swap: impl Fn() + Sync, mut attack: impl FnMut() -> bool) -> usize {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swap();
            }
        });
        let end = Instant::now() + Duration::from_secs(3);
        let mut read = 0;
        while Instant::now() < end {
            read += usize::from(attack());
        }
        stop.store(true, Ordering::Relaxed);
        read
    })
}

/// Reads, writes, creates and lists at `directory/file`, wherever that is now. Whether inside was found.
fn poke(client: &Client, names: &[&[u8]]) -> bool {
    let fid = client.fid();
    let found = client.walk_to(ROOT, fid, names).is_ok_and(|qids| qids.len() == names.len());
    if !found {
        return false;
    }
    let read = client.open(fid, RDWR).is_ok() && {
        let read = client.read(fid, 0, 100).unwrap();
        assert_ne!(read, SECRET);
        client.write(fid, 0, b"inside").is_ok()
    };
    client.clunk(fid).unwrap();
    read
}

fn poke_directory(client: &Client, name: &[u8]) {
    let fid = client.fid();
    if client.walk_to(ROOT, fid, &[name]).is_ok_and(|qids| qids.len() == 1) {
        let _ = client.mkdir(fid, b"made");
        let _ = client.symlink(fid, b"link", b"x");
        let _ = client.unlink(fid, b"file2", 0);
        let _ = client.renameat((ROOT, b"mine"), (fid, b"theirs"));
        let _ = client.renameat((fid, b"theirs"), (ROOT, b"mine"));
        let _ = client.setattr(fid, 0x1, (0o700, 0, 0, 0));
        client.clunk(fid).unwrap();
    }
}

#[test]
fn a_directory_that_becomes_a_link_and_back() {
    let place = Place::new();
    let (target, aside) = (place.share.join("d"), place.share.join("aside"));
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "inside").unwrap();
    fs::write(place.share.join("mine"), "mine").unwrap();
    let client = Client::new(&place.share);
    let swap = || {
        fs::rename(&target, &aside).unwrap();
        symlink("../outside", &target).unwrap();
        fs::remove_file(&target).unwrap();
        fs::rename(&aside, &target).unwrap();
    };
    let read = race(swap, || {
        poke_directory(&client, b"d");
        poke(&client, &[b"d", b"file"])
    });
    assert!(read > 0, "the race was never run");
    place.check();
}

#[test]
fn a_file_that_becomes_a_link_and_back() {
    let place = Place::new();
    let (file, aside) = (place.share.join("file"), place.share.join("aside"));
    fs::write(&file, "inside").unwrap();
    let client = Client::new(&place.share);
    let swap = || {
        // The guest makes the file where there is none.
        fs::rename(&file, &aside).unwrap();
        let _ = symlink("../outside/file", &file);
        fs::remove_file(&file).unwrap();
        fs::rename(&aside, &file).unwrap();
    };
    let read = race(swap, || {
        let fid = client.walk("").unwrap();
        let fields = [F::W(fid), F::S(b"file"), F::W(RDWR), F::W(0o600), F::W(0)];
        if client.ask(14, &fields).is_ok() {
            assert_ne!(client.read(fid, 0, 100).unwrap(), SECRET);
            client.write(fid, 0, b"inside").unwrap();
        }
        client.clunk(fid).unwrap();
        poke(&client, &[b"file"])
    });
    assert!(read > 0, "the race was never run");
    place.check();
}

#[test]
fn a_directory_that_moves_in_and_out() {
    let place = Place::new();
    let (inside, outside) = (place.share.join("a"), place.outside.join("a"));
    fs::create_dir_all(inside.join("b/c")).unwrap();
    fs::write(inside.join("b/c/file"), "inside").unwrap();
    let client = Client::new(&place.share);
    let swap = || {
        fs::rename(&inside, &outside).unwrap();
        fs::rename(&outside, &inside).unwrap();
    };
    let read = race(swap, || {
        let deep = [&b"a"[..], b"b", b"c", b"..", b"..", b"..", b"file"];
        poke(&client, &deep) | poke(&client, &[b"a", b"b", b"c", b"..", b"c", b"file"])
    });
    assert!(read > 0, "the race was never run");
    place.check();
}

#[test]
fn cookies_that_were_never_given() {
    let place = Place::new();
    for name in 0..50 {
        fs::write(place.share.join(name.to_string()), "").unwrap();
    }
    let client = Client::new(&place.share);
    let fid = client.open_path("", RDONLY).unwrap();
    for cookie in (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, !(1 << bit)]) {
        if let Ok(entries) = client.readdir(fid, cookie, 8192) {
            assert!(entries.len() <= 52, "{cookie:#x}");
        }
    }
    assert_eq!(client.readdir(fid, 0, 100_000).unwrap().len(), 52);
}
