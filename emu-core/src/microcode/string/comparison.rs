//! Comparing rows of elements, eight bytes at a time: where the first pair is that ends the repetition.

use crate::{arch::Width, memory::host};

/// Elements that are compared with others, by their distance in bytes from the first.
pub(super) trait Elements {
    /// The elements in the `w` at `at`.
    ///
    /// # Safety
    /// They are in the row.
    unsafe fn load(&self, at: isize, w: Width) -> u64;
    /// Whether no element is torn if the eight bytes at `at` are loaded at once.
    fn allows_word(&self, at: isize) -> bool;
}

/// Elements in RAM, by the host address of the first.
pub(super) struct Row(pub *const u8);

/// One element again and again.
pub(super) struct Same(u64);

impl Same {
    /// `element`, which has width `w`.
    pub fn of(element: u64, w: Width) -> Self {
        Same(repeated(element, w))
    }
}

impl Elements for Row {
    #[inline(always)]
    unsafe fn load(&self, at: isize, w: Width) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { host::load(self.0.wrapping_offset(at), w) }
    }
    #[inline(always)]
    fn allows_word(&self, at: isize) -> bool {
        host::KEEPS_ELEMENTS || (self.0 as usize).wrapping_add_signed(at).is_multiple_of(8)
    }
}

impl Elements for Same {
    #[inline(always)]
    unsafe fn load(&self, _: isize, w: Width) -> u64 {
        self.0 & w.mask()
    }
    #[inline(always)]
    fn allows_word(&self, _: isize) -> bool {
        true
    }
}

/// How far a comparison went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// Pairs compared.
    pub done: u64,
    /// The last ones.
    pub last: [u64; 2],
}

/// Compares pairs of elements of `w` until a pair is equal, or is not, or there have been `count` (at least 1). They go
/// on from the first upward in memory, or `down`.
///
/// # Safety
/// Both rows have `count` elements.
pub(super) unsafe fn compare_elements<A: Elements>(
    (a, b): (&A, &Row),
    w: Width,
    count: u64,
    until_equal: bool,
    down: bool,
) -> Compared {
    let (bits, bytes) = (w.bits(), w.bytes() as isize);
    let in_word = 64 / bits;
    let mut done = 0;
    loop {
        let at = if down { -(done as isize) } else { done as isize } * bytes;
        let word = if down { at - (8 - bytes) } else { at };
        let by_word = count - done >= in_word.into() && a.allows_word(word) && b.allows_word(word);
        let (at, loaded) = if by_word { (word, Width::W64) } else { (at, w) };
        // SAFETY: of the rows' elements, `count` less those done are still to come, and they are enough for a word.
        let [x, y] = unsafe { [a.load(at, loaded), b.load(at, loaded)] };
        let ends = ending(x ^ y, w, until_equal) & loaded.mask();
        let before = match ends {
            0 if by_word => in_word - 1,
            0 => 0,
            _ if down && by_word => ends.leading_zeros() / bits,
            _ => ends.trailing_zeros() / bits,
        };
        done += u64::from(before) + 1;
        if ends != 0 || done == count {
            let shift = if down && by_word { 64 - bits - bits * before } else { bits * before };
            return Compared { done, last: [x, y].map(|word| word >> shift & w.mask()) };
        }
    }
}

/// The top bits of the elements by which repetition ends, of the exclusive or of pairs.
#[inline(always)]
fn ending(difference: u64, w: Width, until_equal: bool) -> u64 {
    let below_top = repeated(w.mask() >> 1, w);
    // No element carries into the next.
    let unequal = (((difference & below_top) + below_top) | difference) & !below_top;
    if until_equal { unequal ^ !below_top } else { unequal }
}

/// `element` in all places of its width.
fn repeated(element: u64, w: Width) -> u64 {
    element * (u64::MAX / w.mask())
}
