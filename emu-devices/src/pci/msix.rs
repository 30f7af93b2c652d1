//! Message-signalled interrupts by capability 11h: PCI 3.0, 6.8.2. A table of vectors and an array of pending bits, in
//! the memory window of a base address register.
//!
//! A vector is held back, with its pending bit set, while it is masked, while all of the function's are, and while the
//! function is no bus master.

use super::ConfigSpace;
use emu_core::bus::{IoError, IoResult, MsiSink};
use serde::{Deserialize, Serialize};

/// Capability ID.
const ID: u8 = 0x11;
/// Offset of message control in the capability.
const CONTROL: usize = 2;
const ENABLE: u32 = 1 << 15;
const FUNCTION_MASK: u32 = 1 << 14;
/// Bytes and 32-bit words of a table entry: address, high address, data, vector control.
const ENTRY: u64 = 16;
const WORDS: usize = 4;
const VECTOR_CONTROL: usize = 3;
const MASKED: u32 = 1;
/// The most vectors of a function.
const MOST: u16 = 2048;

/// Where a function has its vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixLayout {
    /// How many: at most 2048.
    pub vectors: u16,
    /// The base address register in whose window table and pending bits are.
    pub bar: u8,
    /// Where the table is there: a multiple of 8.
    pub table: u32,
    /// Where the pending bits are: a multiple of 8.
    pub pending: u32,
}

impl MsixLayout {
    /// Bytes of the pending bits: whole 64-bit words.
    fn pending_len(&self) -> u64 {
        u64::from(self.vectors).div_ceil(64) * 8
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    words: [u32; WORDS],
    pending: bool,
}

impl Vector {
    const AT_RESET: Vector = Vector { words: [0, 0, 0, MASKED], pending: false };

    fn is_masked(&self) -> bool {
        self.words[VECTOR_CONTROL] & MASKED != 0
    }

    fn send(&self, sink: &dyn MsiSink) {
        sink.send_msi(u64::from(self.words[1]) << 32 | u64::from(self.words[0]), self.words[2]);
    }
}

/// The vectors, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState(Vec<Vector>);

/// The vectors of a function.
#[derive(Debug, Clone)]
pub(super) struct MsixTable {
    layout: MsixLayout,
    /// Where the capability is in configuration space.
    at: usize,
    vectors: Vec<Vector>,
}

impl MsixTable {
    /// Appends the capability.
    pub(super) fn add(config: &mut ConfigSpace, layout: MsixLayout) -> Self {
        let MsixLayout { vectors, bar, table, pending } = layout;
        assert!((1..=MOST).contains(&vectors) && (table | pending).is_multiple_of(8), "{layout:?}");
        let mut body = Vec::with_capacity(10);
        body.extend_from_slice(&(vectors - 1).to_le_bytes());
        body.extend_from_slice(&(table | u32::from(bar)).to_le_bytes());
        body.extend_from_slice(&(pending | u32::from(bar)).to_le_bytes());
        let at = config.add_capability(ID, &body, &[0, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0]);
        MsixTable { layout, at, vectors: vec![Vector::AT_RESET; vectors.into()] }
    }

    pub(super) fn is_enabled(&self, config: &ConfigSpace) -> bool {
        config.get(self.at + CONTROL, 2) & ENABLE != 0
    }

    /// Whether no vector may be sent now.
    fn is_held(&self, config: &ConfigSpace) -> bool {
        config.get(self.at + CONTROL, 2) & (ENABLE | FUNCTION_MASK) != ENABLE || !config.is_bus_master()
    }

    pub(super) fn reset(&mut self) {
        self.vectors.fill(Vector::AT_RESET);
    }

    pub(super) fn len(&self) -> u16 {
        self.layout.vectors
    }

    /// Sends vector `number`, or notes it while it is held back. What is no vector is lost.
    pub(super) fn send(&mut self, config: &ConfigSpace, number: u16, sink: &dyn MsiSink) {
        let held = self.is_held(config);
        let Some(vector) = self.vectors.get_mut(usize::from(number)) else { return };
        if held || vector.is_masked() {
            vector.pending = true;
        } else {
            vector.send(sink);
        }
    }

    /// Sends what has been held back and is not any more.
    pub(super) fn release(&mut self, config: &ConfigSpace, sink: &dyn MsiSink) {
        if self.is_held(config) {
            return;
        }
        for vector in self.vectors.iter_mut().filter(|vector| vector.pending && !vector.is_masked()) {
            vector.pending = false;
            vector.send(sink);
        }
    }

    /// Offset in the table, or in the pending bits, of `offset` of the window of `bar`.
    fn place(&self, bar: u8, offset: u64) -> Option<Place> {
        let MsixLayout { vectors, bar: own, table, pending } = self.layout;
        if bar != own {
            return None;
        }
        let inside = |start: u32, len: u64| offset.checked_sub(start.into()).filter(|offset| *offset < len);
        inside(table, u64::from(vectors) * ENTRY)
            .map(Place::Table)
            .or_else(|| inside(pending, self.layout.pending_len()).map(Place::Pending))
    }

    /// A guest's read of `offset` in the window of `bar`; `None` if neither table nor pending bits are there.
    pub(super) fn read(&self, bar: u8, offset: u64, size: u8) -> Option<IoResult<u64>> {
        let place = self.place(bar, offset)?;
        if size != 4 || !offset.is_multiple_of(4) {
            return Some(Err(IoError::Size));
        }
        Some(Ok(match place {
            Place::Table(at) => self.vectors[(at / ENTRY) as usize].words[(at % ENTRY / 4) as usize].into(),
            Place::Pending(at) => {
                let first = (at * 8) as usize;
                let bits = self.vectors.iter().skip(first).take(32);
                bits.enumerate().fold(0, |word, (bit, vector)| word | u64::from(vector.pending) << bit)
            }
        }))
    }

    /// A guest's write, as [`read`](Self::read).
    pub(super) fn write(&mut self, bar: u8, offset: u64, size: u8, value: u32) -> Option<IoResult> {
        let place = self.place(bar, offset)?;
        if size != 4 || !offset.is_multiple_of(4) {
            return Some(Err(IoError::Size));
        }
        Some(match place {
            Place::Table(at) => {
                let word = (at % ENTRY / 4) as usize;
                let kept = match word {
                    0 => !0b11,
                    VECTOR_CONTROL => MASKED,
                    _ => u32::MAX,
                };
                self.vectors[(at / ENTRY) as usize].words[word] = value & kept;
                Ok(())
            }
            Place::Pending(_) => Err(IoError::Direction),
        })
    }

    pub(super) fn save(&self) -> MsixState {
        MsixState(self.vectors.clone())
    }

    pub(super) fn with_state(mut self, state: MsixState) -> Result<Self, String> {
        let MsixState(vectors) = state;
        if vectors.len() != self.vectors.len() {
            return Err(format!("{} MSI-X vectors, not {}", vectors.len(), self.vectors.len()));
        }
        self.vectors = vectors;
        Ok(self)
    }
}

enum Place {
    Table(u64),
    Pending(u64),
}
