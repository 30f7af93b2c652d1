//! The host bridge: Q35 MCH, device 0, 8086:29C0. Q35 datasheet, chapter 5.

use super::{ConfigSpace, ConfigState, ECAM_BASE, Identity, PciFunction, touches};
use emu_core::bus::{Device, Snapshot};

/// Registers of device 0.
mod mch {
    pub(super) const PCIEXBAR: usize = 0x60;
    pub(super) const PAM0: usize = 0x90;
    pub(super) const PAM_LAST: usize = 0x96;
    pub(super) const SMRAM: usize = 0x9D;
    pub(super) const ESMRAMC: usize = 0x9E;
}

const PCIEXBAR_ENABLE: u32 = 1 << 0;
const PCIEXBAR_LENGTH: u32 = 3 << 1;

/// Called when the guest moves the memory-mapped configuration space: its new base and length, or `None` when it
/// is switched off. Called with the host bridge locked, perhaps from within the window: it has to note the
/// request and return.
pub type EcamMoved = Box<dyn Fn(Option<(u64, u64)>) + Send + Sync>;

/// The host bridge.
pub struct HostBridge {
    config: ConfigSpace,
    ecam_moved: EcamMoved,
}

impl HostBridge {
    /// The bridge at power-on, with its configuration window as firmware would leave it: on, at
    /// [`ECAM_BASE`].
    pub fn new(ecam_moved: EcamMoved) -> Self {
        let mut config = ConfigSpace::conventional(&Identity {
            vendor: 0x8086,
            device: 0x29C0,
            subsystem: (0, 0),
            revision: 0,
            class: 0x06_0000,
            multifunction: false,
        });
        config.define(mch::PCIEXBAR, 4, ECAM_BASE as u32 | PCIEXBAR_ENABLE, 0xF000_0007);
        config.define(mch::PCIEXBAR + 4, 4, 0, 0xF);
        for offset in mch::PAM0..=mch::PAM_LAST {
            config.define(offset, 1, 0, 0x33);
        }
        config.define(mch::SMRAM, 1, 0x02, 0x78);
        config.define(mch::ESMRAMC, 1, 0x38, 0x87);
        HostBridge { config, ecam_moved }
    }

    /// Base and length of the memory-mapped configuration space, if it is on.
    pub fn ecam(&self) -> Option<(u64, u64)> {
        let low = self.config.get(mch::PCIEXBAR, 4);
        let length = (256 << 20) >> ((low & PCIEXBAR_LENGTH) >> 1);
        let base = u64::from(self.config.get(mch::PCIEXBAR + 4, 4)) << 32 | u64::from(low & 0xF000_0000);
        (low & PCIEXBAR_ENABLE != 0).then_some((base, length))
    }
}

impl Device for HostBridge {
    fn name(&self) -> &'static str {
        "q35-mch"
    }

    fn reset(&mut self) {
        self.config.reset();
        (self.ecam_moved)(self.ecam());
    }
}

impl PciFunction for HostBridge {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u16, size: u8) {
        if touches(offset, size, mch::PCIEXBAR, 8) {
            (self.ecam_moved)(self.ecam());
        }
    }
}

impl Snapshot for HostBridge {
    type State = ConfigState;
    type Args = EcamMoved;

    fn save(&self) -> ConfigState {
        let HostBridge { config, ecam_moved: _ } = self;
        config.save()
    }

    fn restore(ecam_moved: EcamMoved, state: ConfigState) -> Result<Self, String> {
        let HostBridge { config, ecam_moved } = HostBridge::new(ecam_moved);
        let bridge = HostBridge { config: config.with_state(state)?, ecam_moved };
        (bridge.ecam_moved)(bridge.ecam());
        Ok(bridge)
    }
}
