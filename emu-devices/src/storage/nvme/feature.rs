//! Features: what the host may ask and set. NVM Express 1.4, 5.21.

use super::{command::Command, log_page::TEMPERATURE, status::Status};
use serde::{Deserialize, Serialize};

/// Feature identifiers.
mod id {
    pub const ARBITRATION: u8 = 0x01;
    pub const POWER_MANAGEMENT: u8 = 0x02;
    pub const TEMPERATURE_THRESHOLD: u8 = 0x04;
    pub const ERROR_RECOVERY: u8 = 0x05;
    pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
    pub const INTERRUPT_COALESCING: u8 = 0x08;
    pub const INTERRUPT_VECTOR: u8 = 0x09;
    pub const WRITE_ATOMICITY: u8 = 0x0A;
    pub const ASYNC_EVENTS: u8 = 0x0B;
}

/// Above this the drive says that it is too warm, in kelvins.
pub(super) const WARNING_TEMPERATURE: u16 = 343;
/// What can be asked for, besides the current value.
mod select {
    pub const CURRENT: u32 = 0;
    pub const SUPPORTED: u32 = 3;
}
/// Supported capabilities: can be changed; is a namespace's.
const CHANGEABLE: u32 = 1 << 2;
const OF_NAMESPACE: u32 = 1 << 1;
/// SET FEATURES: to be kept over a reset.
const SAVE: u32 = 1 << 31;
/// Bit of the asynchronous event configuration for the temperature.
const TEMPERATURE_EVENTS: u32 = 1 << 1;

/// What a feature depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// I/O queues of each kind.
    pub queues: u16,
    /// Interrupt vectors.
    pub vectors: u16,
    /// There is a volatile write cache.
    pub cache: bool,
    /// I/O queues have been made.
    pub has_queues: bool,
}

/// What is to follow a SET FEATURES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The cache has been switched off: what is in it is to be written.
    Flush,
    /// The temperature may be beyond a threshold now.
    Temperature,
}

/// Current values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Features {
    arbitration: u32,
    /// Over and under.
    thresholds: [u16; 2],
    error_recovery: u32,
    cache: bool,
    coalescing: u32,
    /// Vectors that are not coalesced, by bit.
    not_coalesced: u128,
    atomicity: u32,
    events: u32,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            arbitration: 0,
            thresholds: [WARNING_TEMPERATURE, 0],
            error_recovery: 0,
            cache: true,
            coalescing: 0,
            not_coalesced: 0,
            atomicity: 0,
            events: 0,
        }
    }
}

impl Features {
    /// Writes are to go to the medium, as the host has switched the cache off.
    pub(super) fn writes_through(&self) -> bool {
        !self.cache
    }

    pub(super) fn temperature_is_critical(&self) -> bool {
        TEMPERATURE >= self.thresholds[0] || TEMPERATURE <= self.thresholds[1]
    }

    pub(super) fn wants_temperature_events(&self) -> bool {
        self.events & TEMPERATURE_EVENTS != 0
    }

    /// GET FEATURES: dword 0 of the completion.
    pub(super) fn get(&self, command: &Command, limits: Limits) -> Result<u32, Status> {
        let id = command.dword(10) as u8;
        check_exists(id, limits)?;
        match command.dword(10) >> 8 & 0b111 {
            select::CURRENT => self.value(id, command.dword(11), limits),
            // Nothing is saved, so what would be is the default.
            1 | 2 => Features::default().value(id, command.dword(11), limits),
            select::SUPPORTED => Ok(CHANGEABLE | if id == id::ERROR_RECOVERY { OF_NAMESPACE } else { 0 }),
            _ => Err(Status::INVALID_FIELD),
        }
    }

    fn value(&self, id: u8, dword11: u32, limits: Limits) -> Result<u32, Status> {
        Ok(match id {
            id::ARBITRATION => self.arbitration,
            id::TEMPERATURE_THRESHOLD => match threshold(dword11)? {
                Some(which) => self.thresholds[which].into(),
                None => 0,
            },
            id::ERROR_RECOVERY => self.error_recovery,
            id::VOLATILE_WRITE_CACHE => self.cache.into(),
            id::NUMBER_OF_QUEUES => queues(limits),
            id::INTERRUPT_COALESCING => self.coalescing,
            id::INTERRUPT_VECTOR => {
                let vector = vector(dword11, limits)?;
                (self.not_coalesced >> vector & 1) as u32 * (1 << 16) | u32::from(vector)
            }
            id::WRITE_ATOMICITY => self.atomicity,
            id::ASYNC_EVENTS => self.events,
            // The power state is 0.
            _ => 0,
        })
    }

    /// SET FEATURES: dword 0 of the completion, and what is to follow.
    pub(super) fn set(&mut self, command: &Command, limits: Limits) -> Result<(u32, Effect), Status> {
        let (id, value) = (command.dword(10) as u8, command.dword(11));
        check_exists(id, limits)?;
        if command.dword(10) & SAVE != 0 {
            return Err(Status::NOT_SAVEABLE);
        }
        if id != id::ERROR_RECOVERY && !matches!(command.namespace(), 0 | super::command::ALL_NAMESPACES) {
            return Err(Status::NOT_NAMESPACE_SPECIFIC);
        }
        match id {
            id::ARBITRATION => self.arbitration = value & 0xFFFF_FF07,
            id::POWER_MANAGEMENT if value & 0x1F == 0 => {}
            id::TEMPERATURE_THRESHOLD => {
                if let Some(which) = threshold(value)? {
                    self.thresholds[which] = value as u16;
                }
                return Ok((0, Effect::Temperature));
            }
            // Bit 16 would report reads of deallocated blocks.
            id::ERROR_RECOVERY if value & 1 << 16 == 0 => self.error_recovery = value & 0xFFFF,
            id::VOLATILE_WRITE_CACHE => {
                let was_on = std::mem::replace(&mut self.cache, value & 1 != 0);
                return Ok((0, if was_on && !self.cache { Effect::Flush } else { Effect::None }));
            }
            id::NUMBER_OF_QUEUES => return set_queues(value, limits).map(|queues| (queues, Effect::None)),
            id::INTERRUPT_COALESCING => self.coalescing = value & 0xFFFF,
            id::INTERRUPT_VECTOR => {
                let bit = 1 << vector(value, limits)?;
                self.not_coalesced = self.not_coalesced & !bit | if value & 1 << 16 != 0 { bit } else { 0 };
            }
            id::WRITE_ATOMICITY => self.atomicity = value & 1,
            id::ASYNC_EVENTS => self.events = value,
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok((0, Effect::None))
    }
}

fn check_exists(id: u8, limits: Limits) -> Result<(), Status> {
    let exists = match id {
        id::ARBITRATION | id::POWER_MANAGEMENT => true,
        id::VOLATILE_WRITE_CACHE => limits.cache,
        _ => (id::TEMPERATURE_THRESHOLD..=id::ASYNC_EVENTS).contains(&id),
    };
    if exists { Ok(()) } else { Err(Status::INVALID_FIELD) }
}

/// The composite temperature's threshold that is meant; `None` for a sensor that is not there, if that is allowed.
fn threshold(dword11: u32) -> Result<Option<usize>, Status> {
    let (sensor, which) = (dword11 >> 16 & 0xF, dword11 >> 20 & 0b11);
    match (sensor, which) {
        (0 | 0xF, 0 | 1) => Ok(Some(which as usize)),
        (1..=8, 0 | 1) => Ok(None),
        _ => Err(Status::INVALID_FIELD),
    }
}

fn vector(dword11: u32, limits: Limits) -> Result<u16, Status> {
    let vector = dword11 as u16;
    if vector < limits.vectors { Ok(vector) } else { Err(Status::INVALID_FIELD) }
}

/// The queues that there are, in both halves: each is one less.
fn queues(limits: Limits) -> u32 {
    u32::from(limits.queues - 1) << 16 | u32::from(limits.queues - 1)
}

fn set_queues(value: u32, limits: Limits) -> Result<u32, Status> {
    if limits.has_queues {
        return Err(Status::COMMAND_SEQUENCE);
    }
    if value & 0xFFFF == 0xFFFF || value >> 16 == 0xFFFF {
        return Err(Status::INVALID_FIELD);
    }
    // The host may be given more than it asks for, and uses what it likes.
    Ok(queues(limits))
}
