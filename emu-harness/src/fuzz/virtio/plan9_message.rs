//! 9P messages of the kinds that there are, with fields that fit together now and then.

use crate::fuzz::devices::Input;

/// What a field is.
#[derive(Clone, Copy)]
enum Field {
    Fid,
    Byte,
    Word,
    /// An offset, a size, a time.
    Double,
    Name,
    /// A count, and as many names.
    Names,
    Tag,
    Data,
}
use Field::{Byte, Data, Double, Fid, Name, Names, Tag, Word};

/// All kinds and their fields.
const KINDS: [(u8, &[Field]); 29] = [
    (8, &[Fid]),
    (12, &[Fid, Word]),
    (14, &[Fid, Name, Word, Word, Word]),
    (16, &[Fid, Name, Name, Word]),
    (18, &[Fid, Name, Word, Word, Word, Word]),
    (20, &[Fid, Fid, Name]),
    (22, &[Fid]),
    (24, &[Fid, Double]),
    (26, &[Fid, Word, Word, Word, Word, Double, Double, Double, Double, Double]),
    (30, &[Fid, Fid, Name]),
    (32, &[Fid, Name, Double, Word]),
    (40, &[Fid, Double, Word]),
    (50, &[Fid, Word]),
    (52, &[Fid, Byte, Word, Double, Double, Word, Name]),
    (54, &[Fid, Byte, Double, Double, Word, Name]),
    (70, &[Fid, Fid, Name]),
    (72, &[Fid, Name, Word, Word]),
    (74, &[Fid, Name, Fid, Name]),
    (76, &[Fid, Name, Word]),
    (100, &[Word, Name]),
    (102, &[Fid, Name, Name, Word]),
    (104, &[Fid, Fid, Name, Name, Word]),
    (108, &[Tag]),
    (110, &[Fid, Fid, Names]),
    (110, &[Fid, Fid, Names]),
    (116, &[Fid, Double, Word]),
    (118, &[Fid, Double, Data]),
    (120, &[Fid]),
    (122, &[Fid]),
];

const NAMES: [&[u8]; 24] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"l",
    b"link",
    b"up",
    b"abs",
    b"..",
    b".",
    b"",
    b"/",
    b"outside",
    b"beside",
    b"../outside",
    b"inner",
    b"share",
    b"user.x",
    b"user.emu.share",
    b"security.capability",
    b"9P2000.L",
    b"a/b",
    b"b\0c",
];
/// Flags of opening and unlinking, modes of files, message sizes, counts.
const WORDS: [u32; 24] = [
    0,
    1,
    2,
    3,
    7,
    0o100,
    0o200,
    0o1000,
    0o2000,
    0o644,
    0o755,
    0o4777,
    0o40755,
    0o100_644,
    0o120_777,
    0o20_644,
    0o10_644,
    0x200,
    512,
    4096,
    8192,
    65536,
    0x1FF,
    u32::MAX,
];

/// What a client says first: files are walked to and opened.
pub(super) fn greeting() -> Vec<Vec<u8>> {
    let name = |name: &[u8]| [&(name.len() as u16).to_le_bytes()[..], name].concat();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let walk = |fid: u32, names: &[&[u8]]| {
        let names: Vec<u8> = names.iter().flat_map(|text| name(text)).collect();
        let count = u16::from(!names.is_empty()).to_le_bytes();
        finish(110, 1, &[&words(&[0, fid])[..], &count, &names].concat())
    };
    vec![
        finish(100, u16::MAX, &[words(&[8192]), name(b"9P2000.L")].concat()),
        finish(104, 1, &[words(&[0, u32::MAX]), name(b"root"), name(b""), words(&[0])].concat()),
        walk(1, &[b"a"]),
        walk(2, &[b"b"]),
        walk(3, &[b"link"]),
        finish(12, 1, &words(&[2, 2])),
    ]
}

/// A message of the guest's.
pub(super) fn message(input: &mut Input<'_>) -> Vec<u8> {
    let (kind, fields) = KINDS[input.next(1) as usize % KINDS.len()];
    let tag = input.next(1) as u16 % 8;
    let mut body = Vec::new();
    fields.iter().for_each(|field| field.write(input, &mut body));
    let mut message = finish(kind, tag, &body);
    // Some are cut off, or have a byte that is another.
    let (at, value) = (input.next(1) as usize, input.next(1) as u8);
    match at.checked_sub(0xC0) {
        Some(at) if value == 0 => message.truncate(at),
        Some(at) => message.get_mut(at).into_iter().for_each(|byte| *byte = value),
        None => {}
    }
    message
}

fn finish(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let len = (7 + body.len()) as u32;
    [&len.to_le_bytes()[..], &[kind], &tag.to_le_bytes(), body].concat()
}

impl Field {
    fn write(self, input: &mut Input<'_>, body: &mut Vec<u8>) {
        match self {
            Fid => {
                let fid = input.next(1) as u32;
                body.extend((if fid == 0xFF { u32::MAX } else { fid % 8 }).to_le_bytes());
            }
            Byte => body.push(input.next(1) as u8),
            Word => {
                let choice = input.next(1) as usize;
                let word = WORDS.get(choice % 32).copied().unwrap_or_else(|| input.next(4) as u32);
                body.extend(word.to_le_bytes());
            }
            Double => {
                let near = input.next(1);
                let double = if near < 0xE0 { near } else { input.next(8) };
                body.extend(double.to_le_bytes());
            }
            Name => write_name(input, body),
            Names => {
                let count = input.next(1) as u16 % 20;
                // As a rule there is one; none makes another fid of a file.
                let count = if count > 17 { 1 } else { count % 4 };
                body.extend(count.to_le_bytes());
                (0..count).for_each(|_| write_name(input, body));
            }
            Tag => body.extend((input.next(1) as u16 % 8).to_le_bytes()),
            Data => {
                let len = input.next(1) as u32 * 4;
                body.extend(len.to_le_bytes());
                body.resize(body.len() + len as usize, 0x57);
            }
        }
    }
}

fn write_name(input: &mut Input<'_>, body: &mut Vec<u8>) {
    let choice = input.next(1) as usize;
    let name = NAMES.get(choice % 26).copied().unwrap_or_else(|| {
        let len = input.next(1) as usize;
        input.bytes(len)
    });
    body.extend((name.len() as u16).to_le_bytes());
    body.extend(name);
}
