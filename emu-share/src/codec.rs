//! Fields of messages: little-endian integers, and strings with their length in two bytes before them.

/// The message ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message ends within a field")]
pub struct Truncated;

/// Takes fields off the front.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Fields(bytes)
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    /// Strings are bytes: names on a host need not be UTF-8.
    pub fn string(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.u16()?;
        self.bytes(len.into())
    }
}

/// Bytes of size, type and tag, before every message.
pub const HEADER: usize = 7;

/// A reply that is being made.
pub struct Answer {
    bytes: Vec<u8>,
    /// The most bytes that it may have.
    limit: usize,
}

/// What a server says of a file: qid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qid {
    pub kind: u8,
    pub version: u32,
    pub path: u64,
}

impl Answer {
    pub fn new(limit: usize) -> Self {
        Answer { bytes: vec![0; HEADER], limit }
    }

    /// How much it still may hold.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.put_bytes(&value.to_le_bytes());
    }

    pub fn u16(&mut self, value: u16) {
        self.put_bytes(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.put_bytes(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.put_bytes(&value.to_le_bytes());
    }

    /// A string of at most 65535 bytes; names and targets of links on a host are shorter.
    pub fn string(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(u16::MAX.into())];
        self.u16(bytes.len() as u16);
        self.put_bytes(bytes);
    }

    pub fn qid(&mut self, qid: Qid) {
        self.u8(qid.kind);
        self.u32(qid.version);
        self.u64(qid.path);
    }

    /// Data with its length in four bytes before it, which `fill` appends: at most as many bytes as it is told.
    pub fn counted<E>(
        &mut self,
        count: u32,
        fill: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let most = self.room().saturating_sub(4).min(count as usize);
        let start = self.bytes.len() + 4;
        self.u32(0);
        self.bytes.reserve(most);
        fill(&mut self.bytes, most)?;
        self.bytes.truncate(start + most);
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start - 4..start].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    /// The message with its header. Nothing if it is longer than allowed.
    pub fn finish(mut self, kind: u8, tag: u16) -> Option<Vec<u8>> {
        let len = u32::try_from(self.bytes.len()).ok().filter(|len| *len as usize <= self.limit)?;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[4] = kind;
        self.bytes[5..HEADER].copy_from_slice(&tag.to_le_bytes());
        Some(self.bytes)
    }
}
