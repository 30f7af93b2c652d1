//! The common configuration registers: virtio 1.2, 4.1.4.3. What they say of a queue is the ring's; what writing them
//! does is the transport's.

use super::ring::Ring;
use serde::{Deserialize, Serialize};

/// Offsets and widths in bytes.
pub(super) mod reg {
    pub(in crate::virtio) const DEVICE_FEATURE_SELECT: (u64, u8) = (0x00, 4);
    pub(in crate::virtio) const DEVICE_FEATURE: (u64, u8) = (0x04, 4);
    pub(in crate::virtio) const DRIVER_FEATURE_SELECT: (u64, u8) = (0x08, 4);
    pub(in crate::virtio) const DRIVER_FEATURE: (u64, u8) = (0x0C, 4);
    pub(in crate::virtio) const CONFIG_VECTOR: (u64, u8) = (0x10, 2);
    pub(in crate::virtio) const NUM_QUEUES: (u64, u8) = (0x12, 2);
    pub(in crate::virtio) const DEVICE_STATUS: (u64, u8) = (0x14, 1);
    pub(in crate::virtio) const CONFIG_GENERATION: (u64, u8) = (0x15, 1);
    pub(in crate::virtio) const QUEUE_SELECT: (u64, u8) = (0x16, 2);
    pub(in crate::virtio) const QUEUE_SIZE: (u64, u8) = (0x18, 2);
    pub(in crate::virtio) const QUEUE_VECTOR: (u64, u8) = (0x1A, 2);
    pub(in crate::virtio) const QUEUE_ENABLE: (u64, u8) = (0x1C, 2);
    pub(in crate::virtio) const QUEUE_NOTIFY_OFF: (u64, u8) = (0x1E, 2);
    pub(in crate::virtio) const QUEUE_DESC: (u64, u8) = (0x20, 8);
    pub(in crate::virtio) const QUEUE_DRIVER: (u64, u8) = (0x28, 8);
    pub(in crate::virtio) const QUEUE_DEVICE: (u64, u8) = (0x30, 8);
    /// All of them, by offset.
    pub(super) const ALL: [(u64, u8); 16] = [
        DEVICE_FEATURE_SELECT,
        DEVICE_FEATURE,
        DRIVER_FEATURE_SELECT,
        DRIVER_FEATURE,
        CONFIG_VECTOR,
        NUM_QUEUES,
        DEVICE_STATUS,
        CONFIG_GENERATION,
        QUEUE_SELECT,
        QUEUE_SIZE,
        QUEUE_VECTOR,
        QUEUE_ENABLE,
        QUEUE_NOTIFY_OFF,
        QUEUE_DESC,
        QUEUE_DRIVER,
        QUEUE_DEVICE,
    ];
}

/// Bits of the device status: 2.1.
pub(super) mod status {
    pub(in crate::virtio) const ACKNOWLEDGE: u8 = 1;
    pub(in crate::virtio) const DRIVER: u8 = 2;
    pub(in crate::virtio) const DRIVER_OK: u8 = 4;
    pub(in crate::virtio) const FEATURES_OK: u8 = 8;
    pub(in crate::virtio) const NEEDS_RESET: u8 = 64;
    pub(in crate::virtio) const FAILED: u8 = 128;
    /// What a driver may set.
    pub(in crate::virtio) const BY_DRIVER: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
}

/// The registers that are no queue's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Common {
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    pub(super) driver_features: u64,
    pub(super) config_vector: u16,
    pub(super) status: u8,
    pub(super) generation: u8,
    pub(super) queue_select: u16,
}

impl Common {
    pub(super) const AT_RESET: Common = Common {
        device_feature_select: 0,
        driver_feature_select: 0,
        driver_features: 0,
        config_vector: super::ring::NO_VECTOR,
        status: 0,
        generation: 0,
        queue_select: 0,
    };

    /// The half of `features` that `select` names.
    fn half(features: u64, select: u32) -> u64 {
        if select < 2 { features >> (32 * select) & 0xFFFF_FFFF } else { 0 }
    }

    /// Sets the half of the driver's features that is selected.
    pub(super) fn set_driver_features(&mut self, half: u32) {
        if self.driver_feature_select < 2 {
            let shift = 32 * self.driver_feature_select;
            let others = self.driver_features & !(0xFFFF_FFFF << shift);
            self.driver_features = others | u64::from(half) << shift;
        }
    }

    /// What a register holds. `ring` is the selected queue, if there is one.
    pub(super) fn get(&self, register: (u64, u8), features: u64, ring: Option<&Ring>, queues: usize) -> u64 {
        let of_ring = |value: fn(&Ring) -> u64| ring.map_or(0, value);
        match register {
            reg::DEVICE_FEATURE_SELECT => self.device_feature_select.into(),
            reg::DEVICE_FEATURE => Self::half(features, self.device_feature_select),
            reg::DRIVER_FEATURE_SELECT => self.driver_feature_select.into(),
            reg::DRIVER_FEATURE => Self::half(self.driver_features, self.driver_feature_select),
            reg::CONFIG_VECTOR => self.config_vector.into(),
            reg::NUM_QUEUES => queues as u64,
            reg::DEVICE_STATUS => self.status.into(),
            reg::CONFIG_GENERATION => self.generation.into(),
            reg::QUEUE_SELECT => self.queue_select.into(),
            reg::QUEUE_SIZE => of_ring(|ring| ring.size.into()),
            reg::QUEUE_VECTOR => of_ring(|ring| ring.vector.into()),
            reg::QUEUE_ENABLE => of_ring(|ring| ring.enabled.into()),
            reg::QUEUE_NOTIFY_OFF => ring.map_or(0, |_| self.queue_select.into()),
            reg::QUEUE_DESC => of_ring(|ring| ring.descriptors),
            reg::QUEUE_DRIVER => of_ring(|ring| ring.driver),
            reg::QUEUE_DEVICE => of_ring(|ring| ring.device),
            _ => 0,
        }
    }
}

/// The register in which `offset` is.
pub(super) fn register_at(offset: u64) -> Option<(u64, u8)> {
    let after = reg::ALL.partition_point(|(start, _)| *start <= offset);
    let register = reg::ALL[..after].last().copied()?;
    (offset < register.0 + u64::from(register.1)).then_some(register)
}
