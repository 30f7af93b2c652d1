//! Messages without sense: each has one reply, or the server says nothing because there is no room, and the next message
//! works. Nothing outside of the folder changes.

mod client;

use client::*;
use proptest::prelude::*;
use std::{fs, time::Duration};

/// Kinds that exist.
const KINDS: [u8; 29] = [
    8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 102, 104, 108, 110, 116,
    118, 120, 122, 6,
];

#[derive(Debug, Clone)]
enum Field {
    Fid(u32),
    Byte(u8),
    Half(u16),
    Word(u32),
    Double(u64),
    Name(Vec<u8>),
    Raw(Vec<u8>),
}

fn field() -> impl Strategy<Value = Field> {
    let names = prop::sample::select(vec!["a", "b", "link", "..", ".", "", "../outside", "user.x", "/"]);
    prop_oneof![
        4 => (0u32..6).prop_map(Field::Fid),
        1 => any::<u8>().prop_map(Field::Byte),
        1 => any::<u16>().prop_map(Field::Half),
        1 => any::<u32>().prop_map(Field::Word),
        1 => (0u32..0x400).prop_map(Field::Word),
        1 => any::<u64>().prop_map(Field::Double),
        1 => (0u64..8192).prop_map(Field::Double),
        4 => names.prop_map(|name| Field::Name(name.as_bytes().to_vec())),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Field::Raw),
    ]
}

fn request() -> impl Strategy<Value = (u8, Vec<Field>, usize)> {
    let kind = prop_oneof![9 => prop::sample::select(KINDS.to_vec()), 1 => any::<u8>()];
    (kind, prop::collection::vec(field(), 0..8), prop_oneof![Just(0usize), Just(11), Just(8192), 0usize..100])
}

fn bytes(kind: u8, tag: u16, fields: &[Field]) -> Vec<u8> {
    let fields: Vec<F<'_>> = fields
        .iter()
        .map(|field| match field {
            Field::Fid(value) | Field::Word(value) => F::W(*value),
            Field::Byte(value) => F::B(*value),
            Field::Half(value) => F::H(*value),
            Field::Double(value) => F::D(*value),
            Field::Name(name) => F::S(name),
            Field::Raw(bytes) => F::Raw(bytes),
        })
        .collect();
    message(kind, tag, &fields)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_message_has_a_reply(requests in prop::collection::vec(request(), 1..60)) {
        let both = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let share = both.path().join("share");
        fs::create_dir_all(share.join("a/b")).unwrap();
        fs::write(share.join("b"), "content").unwrap();
        std::os::unix::fs::symlink("../outside", share.join("link")).unwrap();
        fs::write(both.path().join("outside"), "secret").unwrap();
        let client = Client::new(&share);
        let _ = client.walk_to(ROOT, 1, &[b"a"]);
        let _ = client.walk_to(ROOT, 2, &[b"b"]);
        let _ = client.open(2, RDWR);
        for (kind, fields, room) in &requests {
            let reply = client.send(bytes(*kind, 7, fields), *room).recv_timeout(Duration::from_secs(20));
            let reply = reply.expect("a reply in 20 seconds");
            prop_assert!(reply.len() <= *room);
            prop_assert!(!reply.is_empty() || *room < 170, "message {} has no reply", kind);
        }
        for short in 0..7 {
            let reply = client.send(vec![0; short], 8192).recv_timeout(Duration::from_secs(20)).unwrap();
            prop_assert_eq!(reply[4], 7);
        }
        prop_assert_eq!(client.version(8192, b"9P2000.L").0, 8192);
        prop_assert!(client.attach(ROOT).is_ok());
        prop_assert_eq!(fs::read(both.path().join("outside")).unwrap(), b"secret");
        prop_assert_eq!(fs::read_dir(both.path()).unwrap().count(), 2);
    }
}
