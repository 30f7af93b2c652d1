//! Every message of 9P2000.L, by a client that sees the bytes.

mod client;

use client::*;
use emu_core::backend::MessageBackend;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn versions_are_agreed_and_begin_anew() {
    let folder = folder();
    let client = Client::unattached(folder.path(), false);
    assert_eq!(client.attach(ROOT), Err(EPROTO), "no version yet");
    assert_eq!(client.version(8192, b"9P2000.u").1, b"unknown");
    assert_eq!(client.attach(ROOT), Err(EPROTO), "not of this version");
    assert_eq!(client.version(u32::MAX, b"9P2000.L").0 as usize, emu_share::MAX_MESSAGE);
    assert_eq!(client.version(100, b"9P2000.L").1, b"unknown", "no message fits");
    assert_eq!(client.version(8192, b"9P2000.L"), (8192, b"9P2000.L".to_vec()));
    let (kind, _) = client.attach(ROOT).unwrap();
    assert_eq!(kind, 0x80);
    assert_eq!(client.attach(ROOT), Err(EBADF), "the fid is used");
    client.version(8192, b"9P2000.L");
    assert!(client.attach(ROOT).is_ok(), "fids of the session before are gone");
    assert_eq!(client.ask(102, &[F::W(1), F::S(b""), F::S(b""), F::W(0)]).err(), Some(EOPNOTSUPP));
    assert_eq!(client.ask(200, &[]).err(), Some(EOPNOTSUPP));
}

#[test]
fn walks_go_as_far_as_there_are_names() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/c"), "").unwrap();
    let client = Client::new(folder.path());
    assert_eq!(client.walk_to(ROOT, 1, &[b"a", b"b", b"c"]).unwrap().len(), 3);
    assert_eq!(client.walk_to(ROOT, 2, &[b"a", b"x", b"c"]).unwrap().len(), 1);
    assert_eq!(client.getattr(2), Err(EBADF), "a walk that ended early makes no fid");
    assert_eq!(client.walk_to(ROOT, 2, &[b"x"]), Err(ENOENT));
    assert_eq!(client.walk_to(1, 2, &[b"x"]), Err(ENOTDIR));
    assert_eq!(client.walk_to(ROOT, 1, &[]), Err(EBADF), "the new fid is used");
    assert_eq!(client.walk_to(ROOT, 3, &[]).unwrap(), []);
    assert_eq!(client.walk_to(3, 3, &[b"a"]).unwrap().len(), 1);
    assert_eq!(client.getattr(3), client.getattr(client.walk("a").unwrap()));
    let names = [&b"a"[..]; 17];
    assert_eq!(client.walk_to(ROOT, 9, &names), Err(EPROTO));
    client.clunk(3).unwrap();
    assert_eq!(client.clunk(3), Err(EBADF));
}

#[test]
fn files_are_made_read_and_written() {
    let folder = folder();
    let client = Client::new(folder.path());
    let fid = client.create("", b"file", 0o640).unwrap();
    assert_eq!(client.write(fid, 0, b"hello, world"), Ok(12));
    assert_eq!(client.read(fid, 7, 100).unwrap(), b"world");
    assert_eq!(client.read(fid, 100, 100).unwrap(), b"");
    client.ask(50, &[F::W(fid), F::W(1)]).unwrap();
    client.ask(50, &[F::W(fid)]).unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"hello, world");
    assert_eq!(client.open(fid, RDONLY), Err(EBADF), "it is open");
    assert_eq!(client.create("", b"file", 0o640), Err(EEXIST));

    let reader = client.open_path("file", RDONLY).unwrap();
    assert_eq!(client.write(reader, 0, b"x"), Err(EBADF));
    client.open_path("file", WRONLY | TRUNC).unwrap();
    assert_eq!(client.read(reader, 0, 10).unwrap(), b"");
    assert_eq!(client.read(ROOT, 0, 10), Err(EBADF), "not open");
    assert!(client.write(fid, u64::MAX - 3, b"abcdef").is_err());
    assert!(client.read(fid, u64::MAX - 3, 10).is_err());

    let again = client.walk("").unwrap();
    let fields = [F::W(again), F::S(b"file"), F::W(WRONLY), F::W(0o600), F::W(0)];
    client.ask(14, &fields).unwrap();
    assert_eq!(client.write(again, 0, b"there"), Ok(5), "it may exist if the client does not mind");
}

#[test]
fn big_files_go_in_big_messages() {
    let folder = folder();
    let client = Client::new(folder.path());
    let fid = client.create("", b"big", 0o600).unwrap();
    let data: Vec<u8> = (0..3_000_000u32).map(|index| (index % 251) as u8).collect();
    let far = 5 << 32;
    for (index, part) in data.chunks(500_000).enumerate() {
        assert_eq!(client.write(fid, far + index as u64 * 500_000, part), Ok(part.len() as u32));
    }
    let mut read = vec![];
    while read.len() < data.len() {
        let part = client.read(fid, far + read.len() as u64, MSIZE).unwrap();
        assert_eq!(part.len(), (MSIZE as usize - 11).min(data.len() - read.len()), "as much as fits");
        read.extend(part);
    }
    assert!(read == data);
    assert_eq!(client.getattr(fid).unwrap().size, far + 3_000_000);
}

#[test]
fn directories_are_listed_in_pieces() {
    let folder = folder();
    let mut expected: Vec<Vec<u8>> = (0..1000).map(|index| format!("file-{index}").into_bytes()).collect();
    for name in &expected {
        fs::write(folder.path().join(std::str::from_utf8(name).unwrap()), "").unwrap();
    }
    expected.extend([b".".to_vec(), b"..".to_vec()]);
    expected.sort();
    let client = Client::new(folder.path());
    for count in [100, 4096, 400_000] {
        assert!(client.list("", count).unwrap() == expected, "{count}");
    }
    let fid = client.open_path("", RDONLY).unwrap();
    assert_eq!(client.readdir(fid, 0, 10), Err(EINVAL), "no entry fits");
    assert_eq!(client.readdir(ROOT, 0, 100), Err(EBADF), "not open");
    assert_eq!(client.read(fid, 0, 100), Err(EISDIR));
    assert_eq!(client.open(client.walk("").unwrap(), RDWR), Err(EISDIR));
    assert_eq!(client.open(client.walk("").unwrap(), RDONLY | TRUNC), Err(EISDIR));
    assert!(client.ask(50, &[F::W(fid), F::W(0)]).is_ok(), "directories can be synced");
}

#[test]
fn names_are_made_moved_and_removed() {
    let folder = folder();
    let client = Client::new(folder.path());
    client.mkdir(ROOT, b"d").unwrap();
    assert_eq!(client.mkdir(ROOT, b"d"), Err(EEXIST));
    let (d, file) = (client.walk("d").unwrap(), client.create("", b"one", 0o600).unwrap());
    client.link(d, file, b"two").unwrap();
    assert_eq!(client.getattr(file).unwrap().links, 2);
    client.renameat((ROOT, b"one"), (d, b"three")).unwrap();
    client.write(file, 0, b"the same file").unwrap();
    assert_eq!(fs::read(folder.path().join("d/three")).unwrap(), b"the same file");

    let two = client.walk("d/two").unwrap();
    client.ask(20, &[F::W(two), F::W(ROOT), F::S(b"back")]).unwrap();
    assert!(folder.path().join("back").exists() && !folder.path().join("d/two").exists());
    client.ask(122, &[F::W(two)]).unwrap();
    assert!(!folder.path().join("back").exists());
    assert_eq!(client.clunk(two), Err(EBADF), "removed is clunked");

    assert!(client.unlink(ROOT, b"d", 0).is_err());
    assert!(client.unlink(ROOT, b"d", 0x200).is_err(), "not empty");
    client.unlink(d, b"three", 0).unwrap();
    client.unlink(ROOT, b"d", 0x200).unwrap();
    assert_eq!(client.unlink(ROOT, b"d", 0x200), Err(ENOENT));
    assert_eq!(client.read(file, 4, 100).unwrap(), b"same file", "a file that is open outlives its names");
    assert!(client.ask(122, &[F::W(client.walk("").unwrap())]).is_err(), "the root stays");
}

#[test]
fn links_are_shown_and_not_followed() {
    let folder = folder();
    let client = Client::new(folder.path());
    client.symlink(ROOT, b"link", b"../../etc/passwd").unwrap();
    let link = client.walk("link").unwrap();
    assert_eq!(client.readlink(link).unwrap(), b"../../etc/passwd");
    assert_eq!(client.getattr(link).unwrap().mode & 0o170000, 0o120000);
    assert_eq!(client.open(link, RDONLY), Err(ELOOP));
    assert_eq!(client.walk_to(link, 77, &[b"x"]), Err(ENOTDIR));
    assert_eq!(client.readlink(ROOT), Err(EINVAL));
    client.setattr(link, 0x2 | 0x20 | 0x100, (0, 5, 0, 1234)).unwrap();
    assert_eq!(client.getattr(link).unwrap().mtime, (1234, 5), "of the link itself");
    client.link(ROOT, link, b"link2").unwrap();
    assert_eq!(fs::read_link(folder.path().join("link2")).unwrap().to_str(), Some("../../etc/passwd"));
}

#[test]
fn owners_and_modes_are_the_guests_and_have_no_force_here() {
    let folder = folder();
    let client = Client::new(folder.path());
    let fid = client.create("", b"file", 0o4711).unwrap();
    let me = fs::metadata(folder.path()).unwrap().uid();
    let host = || fs::metadata(folder.path().join("file")).unwrap();
    let seen = || client.getattr(fid).map(|seen| (seen.mode, seen.uid, seen.gid)).unwrap();
    assert_eq!(seen(), (0o104711, 1000, 100), "the user's of Tattach");
    assert_eq!((host().mode(), host().uid()), (0o100711, me));

    client.setattr(fid, 0x1 | 0x2 | 0x4, (0o6055, 77, 0, 0)).unwrap();
    assert_eq!(seen(), (0o106055, 77, 77));
    assert_eq!((host().mode(), host().uid()), (0o100655, me), "emu's user can still read and write it");
    assert!(client.open_path("file", RDWR).is_ok());
    assert_eq!(client.xattr("file", b"").unwrap(), b"", "how that is kept is not shown");

    fs::set_permissions(folder.path().join("file"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(seen(), (0o100644, 77, 77), "the host's permissions count when they change");
    client.setattr(fid, 0x8, (0, 0, 12345, 0)).unwrap();
    assert_eq!((client.getattr(fid).unwrap().size, host().len()), (12345, 12345));
    client.setattr(fid, 0x20 | 0x100, (0, 0, 0, 99)).unwrap();
    assert_eq!(client.getattr(fid).unwrap().mtime, (99, 5));
    client.setattr(fid, 0x20, (0, 0, 0, 99)).unwrap();
    assert!(client.getattr(fid).unwrap().mtime.0 > 1_000_000_000, "now");
    assert!(client.setattr(ROOT, 0x8, (0, 0, 1, 0)).is_err());
}

#[test]
fn special_files_are_the_guests_alone() {
    let folder = folder();
    let client = Client::new(folder.path());
    for (name, mode, device) in [
        ("null", 0o020666, (1, 3)),
        ("fifo", 0o010600, (0, 0)),
        ("disk", 0o060640, (259, 300)),
        ("s", 0o140755, (0, 0)),
    ] {
        client.mknod(ROOT, name.as_bytes(), mode, device).unwrap();
        let host = fs::metadata(folder.path().join(name)).unwrap();
        assert!(host.is_file() && host.len() == 0, "{name}");
        let seen = client.getattr(client.walk(name).unwrap()).unwrap();
        let (major, minor) = (u64::from(device.0), u64::from(device.1));
        assert_eq!((seen.mode, seen.device), (mode, minor & 0xFF | major << 8 | (minor & !0xFF) << 12));
    }
    client.mknod(ROOT, b"plain", 0o100644, (0, 0)).unwrap();
    assert_eq!(client.getattr(client.walk("plain").unwrap()).unwrap().mode, 0o100644);
    let fifo = client.walk("fifo").unwrap();
    client.setattr(fifo, 0x1, (0o644, 0, 0, 0)).unwrap();
    assert_eq!(client.getattr(fifo).unwrap().mode, 0o010644, "chmod does not change what it is");
}

#[test]
fn extended_attributes_of_users_pass() {
    let folder = folder();
    let client = Client::new(folder.path());
    client.create("", b"file", 0o4755).unwrap();
    let value = vec![7; 3000];
    client.set_xattr("file", b"user.one", b"1", 1).unwrap();
    client.set_xattr("file", b"user.two", &value, 0).unwrap();
    client.set_xattr("file", b"user.empty", b"", 0).unwrap();
    assert_eq!(client.xattr("file", b"user.two").unwrap(), value);
    assert_eq!(client.xattr("file", b"user.empty").unwrap(), b"");
    let mut names: Vec<Vec<u8>> =
        client.xattr("file", b"").unwrap().split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    names.sort();
    assert_eq!(names, [&b""[..], b"user.empty", b"user.one", b"user.two"]);
    assert_eq!(client.set_xattr("file", b"user.one", b"2", 1), Err(EEXIST));
    client.set_xattr("file", b"user.one", b"", 2).unwrap();
    assert_eq!(client.xattr("file", b"user.one"), Err(61), "removed");

    for name in [
        &b"security.capability"[..],
        b"trusted.x",
        b"system.posix_acl_access",
        b"user.emu.attributes",
        b"user",
    ] {
        assert_eq!(client.xattr("file", name), Err(EOPNOTSUPP));
        assert_eq!(client.set_xattr("file", name, b"mode=104777", 0), Err(EOPNOTSUPP));
    }
    let fid = client.walk("file").unwrap();
    assert!(client.ask(32, &[F::W(fid), F::S(b"user.x"), F::D(1 << 40), F::W(0)]).is_err());
    client.ask(32, &[F::W(fid), F::S(b"user.x"), F::D(4), F::W(0)]).unwrap();
    assert!(client.write(fid, 0, b"12345").is_err(), "longer than announced");
    assert_eq!(client.clunk(fid), Err(EINVAL), "shorter than announced");
}

#[test]
fn the_file_system_and_locks() {
    let folder = folder();
    let client = Client::new(folder.path());
    let mut reply = client.ask(8, &[F::W(ROOT)]).unwrap();
    assert_eq!(reply.w(), 0x0102_1997);
    assert!(reply.w() >= 512 && reply.d() > 0);
    let fid = client.create("", b"file", 0o600).unwrap();
    let range = [F::D(10), F::D(20), F::W(42), F::S(b"guest")];
    let mut fields = vec![F::W(fid), F::B(1), F::W(0)];
    fields.extend(range);
    assert_eq!(client.ask(52, &fields).unwrap().b(), 0, "granted");
    fields.remove(2);
    let mut reply = client.ask(54, &fields).unwrap();
    assert_eq!((reply.b(), reply.d(), reply.d(), reply.w(), reply.s()), (2, 10, 20, 42, b"guest".to_vec()));
}

#[test]
fn read_only_is_for_every_message() {
    let folder = folder();
    fs::write(folder.path().join("file"), "content").unwrap();
    let client = Client::with(folder.path(), true);
    let before = fs::metadata(folder.path()).unwrap().mtime_nsec();
    let fid = client.walk("file").unwrap();
    let w = F::W;
    let refused: &[(u8, &[F<'_>])] = &[
        (12, &[w(fid), w(WRONLY)]),
        (12, &[w(fid), w(RDWR)]),
        (12, &[w(fid), w(RDONLY | TRUNC)]),
        (14, &[w(ROOT), F::S(b"new"), w(0), w(0o600), w(0)]),
        (14, &[w(ROOT), F::S(b"file"), w(TRUNC), w(0o600), w(0)]),
        (16, &[w(ROOT), F::S(b"new"), F::S(b"x"), w(0)]),
        (18, &[w(ROOT), F::S(b"new"), w(0o100600), w(0), w(0), w(0)]),
        (20, &[w(fid), w(ROOT), F::S(b"new")]),
        (26, &[w(fid), w(0x8), w(0), w(0), w(0), F::D(0), F::D(0), F::D(0), F::D(0), F::D(0)]),
        (32, &[w(fid), F::S(b"user.x"), F::D(0), w(0)]),
        (70, &[w(ROOT), w(fid), F::S(b"new")]),
        (72, &[w(ROOT), F::S(b"new"), w(0o700), w(0)]),
        (74, &[w(ROOT), F::S(b"file"), w(ROOT), F::S(b"new")]),
        (76, &[w(ROOT), F::S(b"file"), w(0)]),
        (118, &[w(fid), F::D(0), w(1), F::Raw(b"x")]),
        (122, &[w(client.walk("file").unwrap())]),
    ];
    for (kind, fields) in refused {
        assert_eq!(client.ask(*kind, fields).err(), Some(EROFS), "message {kind}");
    }
    client.open(fid, RDONLY).unwrap();
    assert_eq!(client.read(fid, 0, 100).unwrap(), b"content");
    assert_eq!(client.list("", 4096).unwrap().len(), 3);
    assert_eq!(fs::metadata(folder.path()).unwrap().mtime_nsec(), before);
}

#[test]
fn many_fids() {
    let folder = folder();
    fs::write(folder.path().join("file"), "x").unwrap();
    let client = Client::new(folder.path());
    let fids: Vec<u32> = (0..2000).map(|_| client.open_path("file", RDONLY).unwrap()).collect();
    for fid in &fids {
        assert_eq!(client.read(*fid, 0, 1).unwrap(), b"x");
    }
    // Other tests of this process open files of their own.
    let file = folder.path().join("file");
    let open = || {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        descriptors.flatten().filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == file)).count()
    };
    assert_eq!(open(), 4000, "the file itself, and for reading");
    client.version(MSIZE, b"9P2000.L");
    assert_eq!(open(), 0, "a new session closes what the old had open");
}

#[test]
fn flushes_come_after_what_they_flush() {
    let folder = folder();
    let client = Client::new(folder.path());
    let fid = client.create("", b"file", 0o600).unwrap();
    let data = vec![1; 400_000];
    for round in 0..200u16 {
        let tag = 1000 + round * 20;
        let mut replies = vec![];
        for index in 0..8 {
            let fields = [F::W(fid), F::D(0), F::W(data.len() as u32), F::Raw(&data)];
            replies.push(client.send(message(118, tag + index, &fields), MSIZE as usize));
        }
        let flush = client.send(message(108, tag + 19, &[F::H(tag + 7)]), MSIZE as usize);
        let flushed = flush.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(flushed[4], 109);
        let old = replies[7].try_recv().expect("the reply to the old request came first");
        assert!(matches!(check(118, tag + 7, old), Ok(_) | Err(EINTR)));
        for (index, reply) in replies[..7].iter().enumerate() {
            let reply = reply.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(check(118, tag + index as u16, reply).is_ok());
        }
    }
    let flush = client.send(message(108, 3, &[F::H(999)]), 100);
    assert_eq!(flush.recv().unwrap()[4], 109, "of a request that is not");
}

#[test]
fn what_waits_is_flushed_with_an_error() {
    let folder = folder();
    let client = Client::new(folder.path());
    let mut held = client.hold();
    let mkdir = |tag, name| message(72, tag, &[F::W(ROOT), F::S(name), F::W(0o700), F::W(0)]);
    let first = client.send(mkdir(1, b"first"), 1000);
    let second = client.send(mkdir(2, b"second"), 1000);
    let again = client.send(mkdir(2, b"third"), 1000);
    let flush = client.send(message(108, 3, &[F::H(1)]), 1000);
    let running = client.send(message(108, 4, &[F::H(60_000)]), 1000);
    let of_flush = client.send(message(108, 5, &[F::H(4)]), 1000);
    held.release_one();
    let wait = Duration::from_secs(20);
    assert_eq!(check(72, 1, first.recv_timeout(wait).unwrap()).err(), Some(EINTR));
    assert!(check(108, 3, flush.recv_timeout(wait).unwrap()).is_ok());
    assert!(!folder.path().join("first").exists(), "it was not done");
    assert!(check(72, 2, second.recv_timeout(wait).unwrap()).is_ok());
    assert_eq!(check(72, 2, again.recv_timeout(wait).unwrap()).err(), Some(EINVAL), "the tag is used");
    assert!(running.recv_timeout(Duration::from_millis(50)).is_err(), "what it flushes is being done");
    drop(held);
    assert!(check(108, 4, running.recv_timeout(wait).unwrap()).is_ok());
    assert!(check(108, 5, of_flush.recv_timeout(wait).unwrap()).is_ok());
}

#[test]
fn a_reset_forgets_everything() {
    let folder = folder();
    let client = Client::new(folder.path());
    client.create("", b"file", 0o600).unwrap();
    let held = client.hold();
    let unlink = message(76, 1, &[F::W(ROOT), F::S(b"file"), F::W(0)]);
    let reply = client.send(unlink, MSIZE as usize);
    client.share.reset();
    drop(held);
    assert!(reply.recv_timeout(Duration::from_secs(20)).is_err(), "the request is dropped with its reply");
    assert!(folder.path().join("file").exists());
    assert_eq!(client.attach(1), Err(EPROTO));
    client.version(MSIZE, b"9P2000.L");
    client.attach(ROOT).unwrap();
    assert_eq!(client.read(10_000, 0, 1), Err(EBADF));
}

#[test]
fn replies_never_have_more_than_there_is_room_for() {
    let folder = folder();
    fs::write(folder.path().join("file"), vec![1; 10_000]).unwrap();
    let client = Client::new(folder.path());
    let fid = client.open_path("file", RDONLY).unwrap();
    let reply = |room| {
        let message = message(116, 5, &[F::W(fid), F::D(0), F::W(8192)]);
        client.send(message, room).recv_timeout(Duration::from_secs(20)).unwrap()
    };
    assert_eq!(reply(1000).len(), 1000, "shorter reads are allowed");
    assert_eq!(reply(11).len(), 11);
    assert_eq!(reply(10), b"", "not even an error");
    let getattr = message(24, 5, &[F::W(fid), F::D(0x7FF)]);
    assert!(check(24, 5, client.send(getattr, 100).recv().unwrap()).is_err());
}
