//! Memory that the host's kernel fills or empties: the guest's, or ours, in pieces one behind the other.
//!
//! Guest memory is never a Rust reference, since its vCPUs write it at any time: the pieces are pointers, which go to
//! `preadv` and `pwritev` as they are.

use emu_core::{backend::Data, memory::DmaBuffer};
use std::{marker::PhantomData, ops::Range};

/// Pieces that the kernel takes in one call (`IOV_MAX`).
const MOST_PIECES: usize = 1024;

#[derive(Clone)]
struct Pieces {
    vectors: Vec<libc::iovec>,
    len: usize,
}

impl Pieces {
    fn new(pieces: impl Iterator<Item = (*mut u8, usize)>) -> Self {
        let mut len = 0;
        let vectors = pieces.map(|(base, piece)| {
            len += piece;
            libc::iovec { iov_base: base.cast(), iov_len: piece }
        });
        let vectors = vectors.collect();
        Pieces { vectors, len }
    }

    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (*mut u8, usize)> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        let (mut skip, mut left) = (range.start, range.len());
        self.vectors.iter().filter_map(move |piece| {
            let begin = skip.min(piece.iov_len);
            skip -= begin;
            let len = (piece.iov_len - begin).min(left);
            left -= len;
            // SAFETY: `begin` is at most the length of the piece.
            let base = unsafe { piece.iov_base.cast::<u8>().add(begin) };
            (len != 0).then_some((base, len))
        })
    }

    fn slice(&self, range: Range<usize>) -> Pieces {
        if range == (0..self.len) { self.clone() } else { Pieces::new(self.parts(range)) }
    }

    fn first_vectors(&self) -> &[libc::iovec] {
        &self.vectors[..self.vectors.len().min(MOST_PIECES)]
    }

    fn is_aligned(&self, align: usize) -> bool {
        self.vectors.iter().all(|piece| (piece.iov_base as usize | piece.iov_len).is_multiple_of(align))
    }
}

/// Where bytes go.
pub(crate) struct Target<'a>(Pieces, PhantomData<&'a mut [u8]>);

/// Where bytes come from.
pub(crate) struct Source<'a>(Pieces, PhantomData<&'a [u8]>);

impl<'a> Target<'a> {
    /// Guest memory. Who fills it says so to the buffer afterwards.
    pub fn guest(buffer: &'a DmaBuffer) -> Self {
        Target(Pieces::new(buffer.host_pieces()), PhantomData)
    }

    /// Memory of ours.
    pub fn bytes(bytes: &'a mut [u8]) -> Self {
        Target(Pieces::new([(bytes.as_mut_ptr(), bytes.len())].into_iter()), PhantomData)
    }

    pub fn data(data: &'a mut Data) -> Self {
        match data {
            Data::Guest(buffer) => Target::guest(buffer),
            Data::Device(bytes) => Target::bytes(bytes),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len
    }

    /// A part of it, which must not be filled while the whole is.
    pub fn slice(&self, range: Range<usize>) -> Target<'_> {
        Target(self.0.slice(range), PhantomData)
    }

    /// What one call of `preadv` takes.
    pub fn vectors(&self) -> &[libc::iovec] {
        self.0.first_vectors()
    }

    pub fn is_aligned(&self, align: usize) -> bool {
        self.0.is_aligned(align)
    }

    /// Fills all of it from the beginning of `bytes`.
    pub fn copy_from(&self, bytes: &[u8]) {
        let mut rest = &bytes[..self.len()];
        for (base, len) in self.0.parts(0..self.len()) {
            let (now, later) = rest.split_at(len);
            // SAFETY: the piece is valid for `len` bytes, and `bytes` is memory of ours beside it.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), base, len) };
            rest = later;
        }
    }

    /// Fills all of it with zeroes.
    pub fn clear(&self) {
        for (base, len) in self.0.parts(0..self.len()) {
            // SAFETY: the piece is valid for `len` bytes.
            unsafe { base.write_bytes(0, len) };
        }
    }
}

impl<'a> Source<'a> {
    /// Memory of ours.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Source(Pieces::new([(bytes.as_ptr().cast_mut(), bytes.len())].into_iter()), PhantomData)
    }

    pub fn data(data: &'a Data) -> Self {
        match data {
            Data::Guest(buffer) => Source(Pieces::new(buffer.host_pieces()), PhantomData),
            Data::Device(bytes) => Source::bytes(bytes),
        }
    }

    /// `self` between two others.
    pub fn between<'b>(&self, before: &'b [u8], after: &'b [u8]) -> Source<'b>
    where
        'a: 'b,
    {
        let outer = |bytes: &[u8]| (bytes.as_ptr().cast_mut(), bytes.len());
        let inner = self.0.parts(0..self.len());
        let all = [outer(before)].into_iter().chain(inner).chain([outer(after)]).filter(|(_, len)| *len != 0);
        Source(Pieces::new(all), PhantomData)
    }

    pub fn len(&self) -> usize {
        self.0.len
    }

    pub fn slice(&self, range: Range<usize>) -> Source<'a> {
        Source(self.0.slice(range), PhantomData)
    }

    /// What one call of `pwritev` takes.
    pub fn vectors(&self) -> &[libc::iovec] {
        self.0.first_vectors()
    }

    pub fn is_aligned(&self, align: usize) -> bool {
        self.0.is_aligned(align)
    }
}
