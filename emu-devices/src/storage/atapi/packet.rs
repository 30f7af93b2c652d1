//! The MMC commands: which packet asks for what. MMC-5, chapter 6; SPC-3, chapter 6.

use super::{Action, BLOCK, Cdrom, MediaEvent, describe, disc, sense::Sense};

/// Operation codes.
pub(super) mod code {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const INQUIRY: u8 = 0x12;
    pub const START_STOP_UNIT: u8 = 0x1B;
    pub const PREVENT_ALLOW: u8 = 0x1E;
    pub const READ_CAPACITY: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const SEEK_10: u8 = 0x2B;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4A;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const READ_TRACK_INFORMATION: u8 = 0x52;
    pub const MODE_SENSE_10: u8 = 0x5A;
    pub const READ_12: u8 = 0xA8;
    pub const SET_CD_SPEED: u8 = 0xBB;
    pub const MECHANISM_STATUS: u8 = 0xBD;
    pub const READ_CD: u8 = 0xBE;
}

/// Blocks that one READ 12 or READ CD carries at most; its count would allow 8 TiB.
const MOST_BLOCKS: u32 = 1 << 16;

fn be16(packet: &[u8; 12], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn be32(packet: &[u8; 12], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// As much of an answer as the host has room for.
fn answer(mut bytes: Vec<u8>, room: usize) -> Result<Action, Sense> {
    bytes.truncate(room);
    Ok(Action::Send(bytes))
}

impl Cdrom {
    /// Takes a packet.
    pub(in crate::storage) fn packet(&mut self, packet: &[u8; 12]) -> Action {
        match self.carry_out(packet) {
            // Nothing to carry: over at once.
            Ok(Action::Send(bytes)) if bytes.is_empty() => Action::End(self.succeed()),
            Ok(Action::Read { len: 0, .. }) => Action::End(self.succeed()),
            Ok(action) => action,
            Err(sense) => Action::End(self.fail(sense)),
        }
    }

    fn carry_out(&mut self, packet: &[u8; 12]) -> Result<Action, Sense> {
        match packet[0] {
            // These neither hear of a unit attention nor need a medium.
            code::INQUIRY => return self.inquiry(packet),
            code::REQUEST_SENSE => return self.request_sense(packet),
            code::GET_CONFIGURATION => {
                let (start, kind) = (be16(packet, 2), packet[1] & 0b11);
                let bytes = describe::configuration(self.blocks(), self.state.locked, start, kind);
                return answer(bytes, be16(packet, 7).into());
            }
            code::GET_EVENT_STATUS => return self.event_status(packet),
            _ => {}
        }
        if let Some(attention) = self.state.attention.take() {
            return Err(attention);
        }
        match packet[0] {
            code::TEST_UNIT_READY => self.ready().and_then(|_| answer(Vec::new(), 0)),
            code::START_STOP_UNIT => self.start_stop(packet),
            code::PREVENT_ALLOW => {
                self.state.locked = packet[4] & 1 != 0;
                answer(Vec::new(), 0)
            }
            code::READ_CAPACITY => {
                let last = self.ready()?.saturating_sub(1);
                let bytes = [last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat();
                answer(bytes, usize::MAX)
            }
            code::READ_10 => self.read(be32(packet, 2), be16(packet, 7).into()),
            code::READ_12 => self.read(be32(packet, 2), be32(packet, 6)),
            code::READ_CD => self.read_cd(packet),
            code::SEEK_10 if be32(packet, 2) >= self.ready()? => Err(Sense::OUT_OF_RANGE),
            code::SEEK_10 | code::SET_CD_SPEED => answer(Vec::new(), 0),
            code::READ_TOC => self.read_toc(packet),
            code::READ_DISC_INFORMATION if packet[1] & 0b111 == 0 => {
                self.ready()?;
                answer(disc::information(), be16(packet, 7).into())
            }
            code::READ_TRACK_INFORMATION => {
                let blocks = self.ready()?;
                let bytes = disc::track_information(packet[1] & 0b11, be32(packet, 2), blocks);
                answer(bytes.ok_or(Sense::INVALID_FIELD)?, be16(packet, 7).into())
            }
            code::MODE_SENSE_10 => self.mode_sense(packet),
            code::MECHANISM_STATUS => {
                let door = if self.state.tray_open { 1 << 4 } else { 0 };
                answer(vec![0, door, 0, 0, 0, 0, 0, 0], be16(packet, 8).into())
            }
            code::READ_DISC_INFORMATION => Err(Sense::INVALID_FIELD),
            _ => Err(Sense::INVALID_OPERATION_CODE),
        }
    }

    /// The medium's blocks, or why it cannot be read.
    fn ready(&self) -> Result<u32, Sense> {
        let open = self.state.tray_open;
        let absent = if open { Sense::NO_MEDIUM_TRAY_OPEN } else { Sense::NO_MEDIUM_TRAY_CLOSED };
        self.blocks().ok_or(absent)
    }

    fn inquiry(&self, packet: &[u8; 12]) -> Result<Action, Sense> {
        const VITAL_PRODUCT_DATA: u8 = 1 << 0;
        if packet[1] & VITAL_PRODUCT_DATA != 0 || packet[2] != 0 {
            return Err(Sense::INVALID_FIELD);
        }
        answer(describe::inquiry(&self.identity), be16(packet, 3).into())
    }

    fn request_sense(&mut self, packet: &[u8; 12]) -> Result<Action, Sense> {
        let pending = std::mem::replace(&mut self.state.sense, Sense::NONE);
        let sense =
            if pending == Sense::NONE { self.state.attention.take().unwrap_or(Sense::NONE) } else { pending };
        answer(sense.bytes(), packet[4].into())
    }

    fn event_status(&mut self, packet: &[u8; 12]) -> Result<Action, Sense> {
        const POLLED: u8 = 1 << 0;
        const MEDIA: u8 = 4;
        if packet[1] & POLLED == 0 {
            return Err(Sense::INVALID_FIELD);
        }
        let room = usize::from(be16(packet, 7));
        if packet[4] & 1 << MEDIA == 0 {
            // No event available, and the classes that there are.
            return answer(vec![0, 2, 0x80, 1 << MEDIA], room);
        }
        // The event is over once the host has room to hear of it.
        let event = if room > 4 { std::mem::take(&mut self.state.event) } else { MediaEvent::None };
        let present = if self.medium.is_some() && !self.state.tray_open { 0b10 } else { 0 };
        let door = u8::from(self.state.tray_open);
        answer(vec![0, 6, MEDIA, 1 << MEDIA, event as u8, present | door, 0, 0], room)
    }

    fn start_stop(&mut self, packet: &[u8; 12]) -> Result<Action, Sense> {
        const START: u8 = 1 << 0;
        const LOEJ: u8 = 1 << 1;
        const POWER_CONDITION: u8 = 0xF0;
        let operation = packet[4];
        if operation & POWER_CONDITION == 0 && operation & LOEJ != 0 {
            if operation & START != 0 {
                self.close_tray();
            } else if self.state.locked {
                return Err(Sense::REMOVAL_PREVENTED);
            } else {
                self.open_tray();
            }
        }
        answer(Vec::new(), 0)
    }

    fn read(&self, first: u32, count: u32) -> Result<Action, Sense> {
        let blocks = self.ready()?;
        if count > MOST_BLOCKS {
            return Err(Sense::INVALID_FIELD);
        }
        if first.checked_add(count).is_none_or(|end| end > blocks) {
            return Err(Sense::OUT_OF_RANGE);
        }
        Ok(Action::Read { offset: u64::from(first) * BLOCK, len: count as usize * BLOCK as usize })
    }

    fn read_cd(&self, packet: &[u8; 12]) -> Result<Action, Sense> {
        const USER_DATA: u8 = 0x10;
        let (first, count) = (be32(packet, 2), be32(packet, 5) & 0xFF_FFFF);
        match packet[9] & 0xF8 {
            USER_DATA => self.read(first, count),
            // Nothing is to be carried: it only looks whether that could be read.
            0 => self.read(first, count).and_then(|_| answer(Vec::new(), 0)),
            _ => Err(Sense::INVALID_FIELD),
        }
    }

    fn read_toc(&self, packet: &[u8; 12]) -> Result<Action, Sense> {
        let blocks = self.ready()?;
        let msf = packet[1] & 0b10 != 0;
        // Old hosts put the format into the control byte.
        let format = match packet[2] & 0xF {
            0 => packet[9] >> 6,
            format => format,
        };
        let toc = disc::toc(format, packet[6], msf, blocks).ok_or(Sense::INVALID_FIELD)?;
        answer(toc, be16(packet, 7).into())
    }

    fn mode_sense(&self, packet: &[u8; 12]) -> Result<Action, Sense> {
        const SAVED: u8 = 3;
        let (control, page) = (packet[2] >> 6, packet[2] & 0x3F);
        if control == SAVED {
            return Err(Sense::SAVING_NOT_SUPPORTED);
        }
        let changeable = control == 1;
        let pages = describe::mode_pages(page, changeable, self.state.locked).ok_or(Sense::INVALID_FIELD)?;
        let mut bytes = vec![0; 8];
        bytes[..2].copy_from_slice(&(pages.len() as u16 + 6).to_be_bytes());
        bytes.extend(pages);
        answer(bytes, be16(packet, 7).into())
    }
}
