//! A CD-ROM drive: a packet device, whose packets are MMC commands.
//!
//! ATA/ATAPI-7 volume 1 (packets), MMC-5 (commands), SPC-3 (inquiry and sense). The medium is one data track of
//! 2048-byte blocks in one session: a CD up to 80 minutes of capacity, above that a DVD. The host can change it, which
//! the guest learns by a unit attention and by the media event.
//!
//! Left out: audio, raw sectors (READ CD gives user data alone), sub-channels, MODE SELECT, writing, region and copy
//! protection, DVD structures; feature descriptors are those of a drive that reads.

mod describe;
mod disc;
mod packet;
mod sense;
#[cfg(test)]
mod tests;

use super::ata::{
    Action, Cable, DriveIdentity, Ending, Plan, Taskfile, Transfer, Words, command, features, status,
};
use emu_core::backend::{BlockBackend, BlockError};
use sense::Sense;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of a block.
pub const BLOCK: u64 = 2048;
/// Interrupt reason: to the host, and command or status.
pub const INTERRUPT_REASON_STATUS: u16 = 0b11;

/// What GET EVENT STATUS NOTIFICATION tells of the medium. MMC-5, table 302.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum MediaEvent {
    #[default]
    None = 0,
    EjectRequest = 1,
    NewMedia = 2,
    MediaRemoval = 3,
}

/// A CD-ROM drive's registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdromState {
    sense: Sense,
    /// Sense of a unit attention that the host has not heard of.
    attention: Option<Sense>,
    event: MediaEvent,
    tray_open: bool,
    /// PREVENT is in force.
    locked: bool,
    transfer_mode: u8,
}

impl CdromState {
    const POWER_ON: CdromState = CdromState {
        sense: Sense::NONE,
        attention: Some(Sense::RESET),
        event: MediaEvent::None,
        tray_open: false,
        locked: false,
        transfer_mode: features::DEFAULT_MODE,
    };
}

/// A CD-ROM drive.
pub struct Cdrom {
    medium: Option<Arc<dyn BlockBackend>>,
    identity: DriveIdentity,
    cable: Cable,
    state: CdromState,
}

impl Cdrom {
    pub(super) fn new(medium: Option<Arc<dyn BlockBackend>>, identity: DriveIdentity, cable: Cable) -> Self {
        Cdrom { medium, identity, cable, state: CdromState::POWER_ON }
    }

    /// What is in the tray, open or not.
    pub(super) fn medium(&self) -> Option<Arc<dyn BlockBackend>> {
        self.medium.clone()
    }

    /// Somebody at the drive puts in another medium, or takes it out, and closes the tray. Prevention is for the button
    /// alone, and not against that.
    pub fn change_medium(&mut self, medium: Option<Arc<dyn BlockBackend>>) {
        self.state.event = if medium.is_some() { MediaEvent::NewMedia } else { MediaEvent::MediaRemoval };
        self.state.attention = Some(Sense::MEDIUM_CHANGED);
        self.state.tray_open = false;
        self.medium = medium;
    }

    /// Somebody presses the button of the drive: the tray opens, or the guest is asked while it prevents that.
    pub fn press_eject(&mut self) {
        if self.state.locked {
            self.state.event = MediaEvent::EjectRequest;
        } else {
            self.open_tray();
        }
    }

    fn open_tray(&mut self) {
        if !self.state.tray_open {
            self.state.tray_open = true;
            self.state.event = MediaEvent::MediaRemoval;
        }
    }

    fn close_tray(&mut self) {
        if self.state.tray_open {
            self.state.tray_open = false;
            if self.medium.is_some() {
                self.state.event = MediaEvent::NewMedia;
                self.state.attention = Some(Sense::MEDIUM_CHANGED);
            }
        }
    }

    /// Blocks of the medium that can be read; `None` if there is none.
    fn blocks(&self) -> Option<u32> {
        let medium = self.medium.as_ref().filter(|_| !self.state.tray_open)?;
        Some(u32::try_from(medium.geometry().len / BLOCK).unwrap_or(u32::MAX))
    }

    /// A command that is not of packets alone.
    pub(super) fn command(&mut self, taskfile: &Taskfile) -> Plan {
        let good = Ending::good(taskfile);
        let ending = match taskfile.command {
            command::PACKET => return self.packet_command(taskfile),
            command::IDENTIFY_PACKET_DEVICE => {
                let bytes = self.identify();
                return Plan { transfer: Transfer::Pio { block: bytes.len() }, action: Action::Send(bytes) };
            }
            command::SET_FEATURES => self.set_features(taskfile),
            command::IDLE | command::IDLE_IMMEDIATE | command::STANDBY | command::STANDBY_IMMEDIATE => good,
            command::CHECK_POWER_MODE => Ending { count: good.count & 0xFF00 | 0xFF, ..good },
            _ => Ending::aborted(taskfile),
        };
        Plan { transfer: Transfer::Pio { block: 0 }, action: Action::End(ending) }
    }

    fn packet_command(&self, taskfile: &Taskfile) -> Plan {
        const DMA: u16 = 1 << 0;
        const OVERLAPPED: u16 = 1 << 1;
        if taskfile.feature & OVERLAPPED != 0 {
            let action = Action::End(Ending::aborted(taskfile));
            return Plan { transfer: Transfer::Pio { block: 0 }, action };
        }
        let transfer = if taskfile.feature & DMA != 0 {
            Transfer::Dma
        } else {
            Transfer::Pio { block: byte_count_limit(taskfile) }
        };
        Plan { transfer, action: Action::Packet }
    }

    fn set_features(&mut self, taskfile: &Taskfile) -> Ending {
        use features::subcommand;
        match taskfile.feature as u8 {
            subcommand::SET_TRANSFER_MODE => {
                match features::transfer_mode(self.state.transfer_mode, taskfile.count as u8) {
                    Some(mode) => self.state.transfer_mode = mode,
                    None => return Ending::aborted(taskfile),
                }
                Ending::good(taskfile)
            }
            subcommand::KEEP_SETTINGS | subcommand::REVERT_SETTINGS => Ending::good(taskfile),
            _ => Ending::aborted(taskfile),
        }
    }

    /// The answer to IDENTIFY PACKET DEVICE. ATA8-ACS, 7.17.
    fn identify(&self) -> Vec<u8> {
        let mut words = Words::new();
        // A removable CD-ROM drive; DRQ within 50 us of PACKET; packets of 12 bytes.
        words.set(0, 0x85C0);
        words.set_identity(&self.identity);
        words.set(49, 0x0F00);
        words.set_transfer_modes(self.state.transfer_mode);
        words.set_cable(self.cable);
        words.set(80, 0x01F0);
        // PACKET, DEVICE RESET, power management, NOP; bit 14 of 83 and 84: these words say something.
        const SETS: u16 = 1 << 4 | 1 << 9 | 1 << 3 | 1 << 14;
        words.set(82, SETS);
        words.set(85, SETS);
        for word in [83, 84, 87] {
            words.set(word, 1 << 14);
        }
        words.into_bytes()
    }

    /// What the host hears when the packet has been carried out, or has failed in the host.
    pub(super) fn finish(&mut self, result: Result<(), BlockError>) -> Ending {
        match result {
            Ok(()) => self.succeed(),
            Err(BlockError::Range) => self.fail(Sense::OUT_OF_RANGE),
            Err(_) => self.fail(Sense::UNRECOVERED_READ_ERROR),
        }
    }

    fn succeed(&mut self) -> Ending {
        self.state.sense = Sense::NONE;
        self.packet_ending(0, 0)
    }

    fn fail(&mut self, sense: Sense) -> Ending {
        self.state.sense = sense;
        self.packet_ending(status::ERR, sense.error_register())
    }

    /// The byte count is left at zero, as nothing is carried any more.
    fn packet_ending(&self, status_bits: u8, error: u8) -> Ending {
        let status = status::DRDY | status::DSC | status_bits;
        Ending { status, error, count: INTERRUPT_REASON_STATUS, lba: [0; 6], device: 0 }
    }

    pub(super) fn hard_reset(&mut self) {
        let tray_open = self.state.tray_open;
        self.state = CdromState { tray_open, ..CdromState::POWER_ON };
    }

    pub(super) fn soft_reset(&mut self) {
        self.state.attention = Some(Sense::RESET);
        self.state.sense = Sense::NONE;
        self.state.locked = false;
    }

    pub(super) fn save(&self) -> CdromState {
        let Cdrom { medium: _, identity: _, cable: _, state } = self;
        state.clone()
    }

    pub(super) fn with_state(self, state: CdromState) -> Self {
        Cdrom { state, ..self }
    }
}

/// Bytes of a DRQ block, as the host limits it: even, and never none.
fn byte_count_limit(taskfile: &Taskfile) -> usize {
    let limit = u16::from_le_bytes([taskfile.lba[1], taskfile.lba[2]]);
    // Zero is answered as the most there is, as many drives do.
    usize::from(if limit < 2 { 0xFFFE } else { limit & !1 })
}
