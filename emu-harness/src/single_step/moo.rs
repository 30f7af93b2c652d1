//! The binary format, MOO 1.1: nested chunks of a four-letter type, a length and a payload, little-endian.
//! Format: `github.com/dbalsom/moo`, doc/moo_format_v1.md. Chunks of unknown types are passed over.

use super::{Exception, Processor, Register, Registers, State, Test};

/// What is wrong with a file, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MooError {
    /// Not the format.
    #[error("it does not begin with a MOO header")]
    NoHeader,
    /// The file ends inside a chunk, or a chunk inside a value.
    #[error("the chunk \"{chunk}\" ends too early")]
    Short {
        /// Its type.
        chunk: String,
    },
    /// A processor without a model.
    #[error("there is no CPU model for tests of \"{0}\"; there are models for 8088, 8086, 186, 286 and 386")]
    Processor(String),
}

/// What a file holds.
pub struct Moo {
    /// Where it was recorded.
    pub processor: Processor,
    /// Masks for all tests.
    pub masks: Registers,
    /// The tests.
    pub tests: Vec<Test>,
}

/// A payload being read.
struct Payload<'a> {
    chunk: [u8; 4],
    bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MooError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| self.short())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MooError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.short())
    }

    fn short(&self) -> MooError {
        MooError::Short { chunk: String::from_utf8_lossy(&self.chunk).into_owned() }
    }

    fn u32(&mut self) -> Result<u32, MooError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A count and so many bytes.
    fn counted(&mut self) -> Result<&'a [u8], MooError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    /// The next chunk inside.
    fn chunk(&mut self) -> Result<Option<Payload<'a>>, MooError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let chunk = self.array()?;
        let len = self.u32()? as usize;
        let mut inner = Payload { chunk, bytes: self.bytes };
        let bytes = inner.take(len)?;
        self.bytes = inner.bytes;
        Ok(Some(Payload { chunk, bytes }))
    }
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Moo, MooError> {
    let mut file = Payload { chunk: *b"file", bytes };
    let mut header = match file.chunk() {
        Ok(Some(header)) if header.chunk == *b"MOO " => header,
        _ => return Err(MooError::NoHeader),
    };
    let _version = header.take(4)?;
    let count = header.u32()?;
    let id = String::from_utf8_lossy(header.take(4)?).into_owned();
    let processor = Processor::named(&id).ok_or(MooError::Processor(id))?;
    // A count that is wrong must not make a large allocation.
    let mut tests = Vec::with_capacity(count.min(10_000) as usize);
    let mut masks = Registers::default();
    while let Some(mut chunk) = file.chunk()? {
        match &chunk.chunk {
            b"TEST" => tests.push(test(&mut chunk)?),
            b"RMSK" | b"RM32" => masks = registers(&mut chunk)?,
            _ => {}
        }
    }
    Ok(Moo { processor, masks, tests })
}

fn test(chunk: &mut Payload<'_>) -> Result<Test, MooError> {
    let mut test = Test { index: chunk.u32()?, ..Test::default() };
    while let Some(mut part) = chunk.chunk()? {
        match &part.chunk {
            b"NAME" => test.name = String::from_utf8_lossy(part.counted()?).into_owned(),
            b"BYTS" => test.bytes = part.counted()?.to_vec(),
            b"INIT" => test.initial = state(&mut part)?,
            b"FINA" => test.last = state(&mut part)?,
            b"RMSK" | b"RM32" => test.last.masks = registers(&mut part)?,
            b"EXCP" => {
                let [vector] = part.array()?;
                test.exception = Some(Exception { vector, flags_address: part.u32()? });
            }
            b"HASH" => test.hash = Some(part.array()?),
            _ => {}
        }
    }
    Ok(test)
}

fn state(chunk: &mut Payload<'_>) -> Result<State, MooError> {
    let mut state = State::default();
    while let Some(mut part) = chunk.chunk()? {
        match &part.chunk {
            b"REGS" | b"RG32" => state.registers = registers(&mut part)?,
            b"RMSK" | b"RM32" => state.masks = registers(&mut part)?,
            b"RAM " => {
                let count = part.u32()?;
                for _ in 0..count {
                    let address = part.u32()?;
                    let [byte] = part.array()?;
                    state.ram.push((address, byte));
                }
            }
            _ => {}
        }
    }
    Ok(state)
}

/// A bitmap, and a value for each bit: of 16 bits in `REGS` and `RMSK`, of 32 in `RG32` and `RM32`.
fn registers(chunk: &mut Payload<'_>) -> Result<Registers, MooError> {
    let mut registers = Registers::default();
    if matches!(&chunk.chunk, b"REGS" | b"RMSK") {
        let present = u16::from_le_bytes(chunk.array()?);
        for (bit, (register, _)) in Register::WORDS.into_iter().enumerate() {
            if present >> bit & 1 != 0 {
                registers.set(register, u16::from_le_bytes(chunk.array()?).into());
            }
        }
    } else {
        let present = chunk.u32()?;
        for (bit, register) in Register::ALL.into_iter().enumerate() {
            if present >> bit & 1 != 0 {
                registers.set(register, chunk.u32()?);
            }
        }
    }
    Ok(registers)
}
