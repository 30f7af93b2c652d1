//! The IDE controller of a PIIX4: two channels of two drives, 8086:7111. PIIX4 datasheet (290562), chapters 5 and 11;
//! Programming Interface for Bus Master IDE Controller 1.0.
//!
//! Both channels are at their legacy ports and interrupts 14 and 15: this function knows no native mode. An ICH9 has
//! no function for parallel drives; this one is known to every operating system since there are bus masters, needs no
//! cable detection, and its drivers look for nothing else of its chip. It stands beside the other disk controller, as
//! function 1 of the south bridge.
//!
//! Left out: timings (they are kept, and change nothing), the write-only prefetch and posting of the data port, overlap
//! and queueing of parallel drives.

mod bus_master;
mod channel;
#[cfg(test)]
mod tests;
mod transfer;

pub use channel::ChannelState;

use super::ata::Drive;
use crate::pci::{
    Bar, BarKind, ConfigSpace, Endpoint, EndpointState, Identity, PciFunction, PciWires, command,
};
use channel::{Channel, reg};
use emu_core::{
    backend::BlockError,
    bus::{Device, IoError, IoResult, IrqLine, PortIo, Snapshot},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};
use transfer::Context;

/// Channels.
pub const CHANNELS: usize = 2;
/// Legacy ports: (region, first port, length). Command block and control block of either channel.
pub const LEGACY_PORTS: [(u8, u16, u16); 4] = [(0, 0x1F0, 8), (1, 0x3F6, 1), (2, 0x170, 8), (3, 0x376, 1)];
/// Legacy interrupts.
pub const LEGACY_IRQS: [u8; CHANNELS] = [14, 15];
/// The base address register of the bus masters, and their region.
pub const BMIBA: u8 = 4;

/// Configuration space.
mod config {
    /// Timing and decoding of channel 0 and 1.
    pub(super) const IDETIM: [usize; 2] = [0x40, 0x42];
    pub(super) const SIDETIM: usize = 0x44;
    pub(super) const UDMACTL: usize = 0x48;
    pub(super) const UDMATIM: usize = 0x4A;
    /// IDETIM: the legacy ports are decoded.
    pub(super) const DECODE: u32 = 1 << 15;
}

/// What the controller is connected to.
pub struct IdeWires {
    /// As a PCI function. Its INTA# is not used.
    pub pci: PciWires,
    /// The interrupts of the channels.
    pub irqs: [IrqLine; CHANNELS],
}

/// The controller.
pub struct Ide {
    endpoint: Endpoint,
    channels: [Channel; CHANNELS],
    me: Weak<Mutex<Ide>>,
}

/// The controller, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdeState {
    endpoint: EndpointState,
    channels: [ChannelState; CHANNELS],
}

/// Drives: those of channel 0, and those of channel 1.
pub type IdeDrives = [[Option<Drive>; 2]; CHANNELS];

impl Ide {
    /// A controller at power-on, with its ports decoded, as a firmware would leave it.
    pub fn new(wires: IdeWires, drives: IdeDrives) -> Self {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x7111,
            subsystem: (0, 0),
            revision: 1,
            class: 0x01_0180,
            multifunction: true,
        };
        let IdeWires { pci, irqs: [primary, secondary] } = wires;
        let mut endpoint = Endpoint::conventional(&identity, pci);
        let space = endpoint.config_mut();
        space.set_interrupt_pin(0);
        for register in config::IDETIM {
            space.define(register, 2, config::DECODE, 0xFFFF);
        }
        space.define(config::SIDETIM, 1, 0, 0xFF);
        space.define(config::UDMACTL, 1, 0, 0x0F);
        space.define(config::UDMATIM, 2, 0, 0x3333);
        let ports = bus_master::PORTS * CHANNELS as u16;
        endpoint.add_bar(BMIBA, Bar { kind: BarKind::Io, size: ports.into() });
        let [first, second] = drives;
        let channels = [Channel::new(first, primary), Channel::new(second, secondary)];
        Ide { endpoint, channels, me: Weak::new() }
    }

    /// Puts the controller behind its lock, which completions take. What was running when it was saved goes on.
    pub fn share(self) -> Arc<Mutex<Self>> {
        let Ide { endpoint, channels, me: _ } = self;
        let ide = Arc::new_cyclic(|me| Mutex::new(Ide { endpoint, channels, me: me.clone() }));
        ide.lock().resume_all();
        ide
    }

    /// A drive of a channel.
    pub fn drive_mut(&mut self, channel: usize, drive: usize) -> Option<&mut Drive> {
        self.channels.get_mut(channel)?.drives.get_mut(drive)?.as_mut()
    }

    fn context(&self, channel: usize) -> Context {
        Context { dma: self.endpoint.dma().cloned(), me: self.me.clone(), channel }
    }

    fn resume_all(&mut self) {
        for number in 0..CHANNELS {
            let context = self.context(number);
            self.channels[number].resume(&context);
            self.channels[number].drive_wire();
        }
    }

    /// The backend has answered.
    fn answered(
        &mut self,
        channel: usize,
        number: u64,
        result: Result<(), BlockError>,
        data: Option<Box<[u8]>>,
    ) {
        let context = self.context(channel);
        self.channels[channel].answered(number, result, data, &context);
        self.channels[channel].drive_wire();
    }

    /// Whether a channel's legacy ports are decoded.
    fn is_decoded(&self, channel: usize) -> bool {
        let space = self.endpoint.config();
        space.get(crate::pci::reg::COMMAND, 2) & command::IO != 0
            && space.get(config::IDETIM[channel], 2) & config::DECODE != 0
    }

    /// The channel of a legacy region, and whether it is the control block.
    fn legacy(&self, region: u8) -> IoResult<(usize, bool)> {
        let channel = usize::from(region / 2);
        if channel >= CHANNELS || !self.is_decoded(channel) {
            return Err(IoError::UnknownRegister);
        }
        Ok((channel, region % 2 == 1))
    }
}

/// The channel of a bus master register, and the offset in its registers.
fn bus_master_register(offset: u16) -> IoResult<(usize, u16)> {
    let channel = usize::from(offset / bus_master::PORTS);
    if channel < CHANNELS { Ok((channel, offset % bus_master::PORTS)) } else { Err(IoError::UnknownRegister) }
}

impl Device for Ide {
    fn name(&self) -> &'static str {
        "piix4-ide"
    }

    fn reset(&mut self) {
        self.endpoint.reset();
        self.channels.iter_mut().for_each(Channel::reset);
    }
}

impl PciFunction for Ide {
    fn config(&self) -> &ConfigSpace {
        self.endpoint.config()
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        self.endpoint.config_mut()
    }

    fn config_written(&mut self, _offset: u16, _size: u8) {
        self.endpoint.config_written();
        // A bus master that was started may begin now.
        for number in 0..CHANNELS {
            let context = self.context(number);
            self.channels[number].carry(&context);
            self.channels[number].drive_wire();
        }
    }
}

impl PortIo for Ide {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        if region == BMIBA {
            if size != 1 {
                return Err(IoError::Size);
            }
            let (channel, offset) = bus_master_register(offset)?;
            let channel = &self.channels[channel];
            return Ok(channel.bus_master.read(offset, channel.outstanding != 0).into());
        }
        let (channel, control) = self.legacy(region)?;
        match (control, offset) {
            (false, reg::DATA) => {
                let context = self.context(channel);
                Ok(self.channels[channel].read_data(size, &context))
            }
            _ if size != 1 => Err(IoError::Size),
            (false, reg::ERROR..=reg::STATUS) => Ok(self.channels[channel].read(offset).into()),
            (true, 0) => Ok(self.channels[channel].alternate_status().into()),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        if region == BMIBA {
            if size != 1 {
                return Err(IoError::Size);
            }
            let (number, offset) = bus_master_register(offset)?;
            let context = self.context(number);
            let channel = &mut self.channels[number];
            channel.bus_master.write(offset, value as u8);
            channel.carry(&context);
            channel.drive_wire();
            return Ok(());
        }
        let (number, control) = self.legacy(region)?;
        match (control, offset) {
            (false, reg::DATA) => {
                let context = self.context(number);
                self.channels[number].write_data(size, value, &context);
            }
            _ if size != 1 => return Err(IoError::Size),
            (false, reg::ERROR..=reg::STATUS) => {
                let context = self.context(number);
                self.channels[number].write(offset, value as u8, &context);
            }
            (true, 0) => self.channels[number].write_control(value as u8),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

impl Snapshot for Ide {
    type State = IdeState;
    type Args = (IdeWires, IdeDrives);

    fn save(&self) -> IdeState {
        let Ide { endpoint, channels, me: _ } = self;
        IdeState { endpoint: endpoint.save(), channels: channels.each_ref().map(Channel::save) }
    }

    /// [`share`](Ide::share) is to follow.
    fn restore((wires, drives): Self::Args, state: IdeState) -> Result<Self, String> {
        let IdeState { endpoint: saved, channels: [first_saved, second_saved] } = state;
        let Ide { endpoint, channels: [first, second], me } = Ide::new(wires, drives);
        let channels = [first.with_state(first_saved)?, second.with_state(second_saved)?];
        Ok(Ide { endpoint: endpoint.with_state(saved)?, channels, me })
    }
}
