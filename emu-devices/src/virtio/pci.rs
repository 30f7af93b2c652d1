//! The modern PCI transport: virtio 1.2, 4.1, with the life of a device of section 3.
//!
//! A notification locks the function, takes chains off the ring and hands them to the backend, all on the vCPU's thread
//! that has written it. Completions lock the function on the backend's thread. After each, [`settle`](VirtioPci::settle)
//! sends what interrupts are due, while the function is locked.
//!
//! A reset while a backend has memory of the driver's is not over until the backend is done: the status reads as before,
//! and nothing else works. RESET# of the whole machine does not wait; the machine waits for its backends then.

use super::{
    Queues, VirtioDevice,
    common::{Common, reg, register_at, status},
    feature, layout,
    ring::{NO_VECTOR, Ring, RingFeatures, RingState},
};
use crate::pci::{ConfigSpace, Endpoint, EndpointState, Identity, PciFunction, PciWires, touches};
use emu_core::bus::{Device, IoError, IoResult, MmioIo, Snapshot};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};

/// Vendor of all virtio devices, and the device ID of type 0.
const VENDOR: u16 = 0x1AF4;
const DEVICE_BASE: u16 = 0x1040;
const SUBSYSTEM: (u16, u16) = (VENDOR, 0x1100);
/// Bits of the interrupt status.
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// A virtio device on the PCI bus.
pub struct VirtioPci<D: VirtioDevice> {
    device: D,
    endpoint: Endpoint,
    queues: Queues,
    common: Common,
    isr: u8,
    /// A reset is not over.
    resetting: bool,
    /// Where the capability for access by configuration space is.
    access: usize,
}

/// A device, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioPciState<S> {
    device: S,
    endpoint: EndpointState,
    rings: Vec<RingState>,
    common: Common,
    isr: u8,
    resetting: bool,
}

/// A device's way to itself, for what it has to do when a backend calls.
pub struct Link<D: VirtioDevice>(Weak<Mutex<VirtioPci<D>>>);

impl<D: VirtioDevice> Clone for Link<D> {
    fn clone(&self) -> Self {
        Link(self.0.clone())
    }
}

impl<D: VirtioDevice> Link<D> {
    /// Locks the device, if there still is one, and does `work` with it; then sends the interrupts that are due. Not from
    /// within a call of the device.
    pub fn with(&self, work: impl FnOnce(&mut D, &mut Queues)) {
        if let Some(function) = self.0.upgrade() {
            let mut function = function.lock();
            let VirtioPci { device, queues, .. } = &mut *function;
            work(device, queues);
            function.settle();
        }
    }
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// The device at power-on. [`share`](Self::share) is to follow.
    pub fn new(device: D, wires: PciWires) -> Self {
        let identity = device.identity();
        let sizes = device.queue_sizes();
        let dma = wires.dma.clone();
        let mut endpoint = Endpoint::express(
            &Identity {
                vendor: VENDOR,
                device: DEVICE_BASE + identity.id,
                subsystem: SUBSYSTEM,
                revision: 1,
                class: identity.class,
                multifunction: false,
            },
            wires,
        );
        // One for each queue and one for the configuration.
        let vectors = (sizes.len() as u16 + 1).min(layout::MOST_VECTORS);
        let access = layout::declare(&mut endpoint, vectors);
        let queues = Queues::new(dma, &sizes);
        VirtioPci { device, endpoint, queues, common: Common::AT_RESET, isr: 0, resetting: false, access }
    }

    /// Puts the device behind its lock and gives it its link; a restored one goes on with its work.
    pub fn share(self) -> Arc<Mutex<Self>> {
        let function = Arc::new(Mutex::new(self));
        let link = Link(Arc::downgrade(&function));
        let mut device = function.lock();
        device.device.attach(link);
        device.notify_all();
        device.settle();
        drop(device);
        function
    }

    /// What the device is beyond its transport.
    pub fn device(&self) -> &D {
        &self.device
    }

    fn offered(&self) -> u64 {
        self.device.features() | feature::ALWAYS
    }

    // Interrupts.

    /// Does what is due after the device has been called: interrupts, DEVICE_NEEDS_RESET, the end of a reset.
    fn settle(&mut self) {
        while let Some(vector) = self.queues.next_interrupt() {
            self.interrupt(vector, ISR_QUEUE);
        }
        if std::mem::take(&mut self.queues.failed) {
            self.common.status |= status::NEEDS_RESET;
            self.queues.changed |= self.common.status & status::DRIVER_OK != 0;
        }
        if std::mem::take(&mut self.queues.changed) {
            self.common.generation = self.common.generation.wrapping_add(1);
            self.interrupt(self.common.config_vector, ISR_CONFIG);
        }
        if self.resetting && !self.device.is_busy() {
            self.finish_reset();
        }
    }

    fn interrupt(&mut self, vector: u16, cause: u8) {
        if self.endpoint.uses_msix() {
            if vector != NO_VECTOR {
                self.endpoint.send(vector);
            }
        } else {
            self.isr |= cause;
            self.endpoint.set_interrupt(true);
        }
    }

    /// Reading tells what it was and takes it back.
    fn read_isr(&mut self) -> u8 {
        self.endpoint.set_interrupt(false);
        std::mem::take(&mut self.isr)
    }

    // The device's life.

    fn write_status(&mut self, value: u8) {
        if self.resetting {
            return;
        }
        if value == 0 {
            self.resetting = true;
            self.stop();
            // It is over at once where nothing is under way.
            self.settle();
            return;
        }
        let old = self.common.status;
        let mut new = value & status::BY_DRIVER & !old;
        if new & status::FEATURES_OK != 0 && !self.accepts_features() {
            new &= !status::FEATURES_OK;
        }
        if (old | new) & status::FEATURES_OK == 0 {
            new &= !status::DRIVER_OK;
        }
        self.common.status = old | new;
        if new & status::DRIVER_OK != 0 && self.common.status & status::NEEDS_RESET == 0 {
            self.start();
        }
    }

    fn accepts_features(&self) -> bool {
        let features = self.common.driver_features;
        let known = features & !self.offered() == 0;
        known && features & feature::VERSION_1 != 0 && self.device.accepts(features)
    }

    fn ring_features(&self) -> RingFeatures {
        let features = self.common.driver_features;
        RingFeatures {
            event_idx: features & feature::EVENT_IDX != 0,
            indirect: features & feature::INDIRECT_DESC != 0,
        }
    }

    fn start(&mut self) {
        self.queues.features = self.ring_features();
        self.queues.running = true;
        self.device.start(self.common.driver_features);
        self.notify_all();
    }

    /// Lets the device look into all queues.
    fn notify_all(&mut self) {
        for queue in 0..self.queues.rings.len() {
            self.notify(queue as u16);
        }
    }

    fn notify(&mut self, queue: u16) {
        if self.queues.running && usize::from(queue) < self.queues.rings.len() {
            self.device.notified(queue, &mut self.queues);
            self.settle();
        }
    }

    /// Chains become void.
    fn stop(&mut self) {
        self.queues.reset();
        self.device.reset();
    }

    fn finish_reset(&mut self) {
        self.resetting = false;
        self.common = Common::AT_RESET;
        self.read_isr();
    }

    // Registers.

    fn selected(&mut self) -> Option<&mut Ring> {
        self.queues.rings.get_mut(usize::from(self.common.queue_select))
    }

    fn read_common(&self, register: (u64, u8)) -> u64 {
        let ring = self.queues.rings.get(usize::from(self.common.queue_select));
        self.common.get(register, self.offered(), ring, self.queues.rings.len())
    }

    fn write_common(&mut self, register: (u64, u8), value: u64) {
        match register {
            reg::DEVICE_STATUS => self.write_status(value as u8),
            _ if self.resetting => {}
            reg::DEVICE_FEATURE_SELECT => self.common.device_feature_select = value as u32,
            reg::DRIVER_FEATURE_SELECT => self.common.driver_feature_select = value as u32,
            reg::DRIVER_FEATURE if self.common.status & status::FEATURES_OK == 0 => {
                self.common.set_driver_features(value as u32);
            }
            reg::CONFIG_VECTOR => self.common.config_vector = self.vector(value as u16),
            reg::QUEUE_SELECT => self.common.queue_select = value as u16,
            reg::QUEUE_VECTOR => {
                let vector = self.vector(value as u16);
                if let Some(ring) = self.selected() {
                    ring.vector = vector;
                }
            }
            reg::QUEUE_ENABLE if value == 1 => self.enable_queue(),
            _ => self.write_queue(register, value),
        }
    }

    /// `vector`, if there is such a one: a driver reads back whether it has got it.
    fn vector(&self, vector: u16) -> u16 {
        if vector < self.endpoint.msix_vectors() { vector } else { NO_VECTOR }
    }

    fn enable_queue(&mut self) {
        let queue = self.common.queue_select;
        if self.selected().is_none_or(|ring| ring.enabled) {
            return;
        }
        if let Err(error) = self.queues.enable(queue) {
            log::debug!("{}: queue {queue}: {error}", self.name());
            self.queues.running = false;
            self.queues.failed = true;
            self.settle();
        } else {
            self.notify(queue);
        }
    }

    /// Registers of a queue, which change only until it is enabled.
    fn write_queue(&mut self, register: (u64, u8), value: u64) {
        let Some(ring) = self.selected().filter(|ring| !ring.enabled) else { return };
        match register {
            reg::QUEUE_SIZE => {
                let size = value as u16;
                if size.is_power_of_two() && size <= ring.most {
                    ring.size = size;
                }
            }
            reg::QUEUE_DESC => ring.descriptors = value,
            reg::QUEUE_DRIVER => ring.driver = value,
            reg::QUEUE_DEVICE => ring.device = value,
            _ => {}
        }
    }

    // The window.

    fn read_window(&mut self, offset: u64, size: u8) -> IoResult<u64> {
        if layout::COMMON.contains(&offset) {
            let register = register_at(offset).ok_or(IoError::UnknownRegister)?;
            let skipped = offset - register.0;
            if skipped + u64::from(size) > register.1.into() {
                return Err(IoError::Size);
            }
            Ok(self.read_common(register) >> (8 * skipped))
        } else if layout::ISR.contains(&offset) {
            if size > 1 { Err(IoError::Size) } else { Ok(self.read_isr().into()) }
        } else if layout::DEVICE.contains(&offset) {
            let mut bytes = [0; 8];
            let len = usize::from(size.min(8));
            self.device.read_config((offset - layout::DEVICE.start) as usize, &mut bytes[..len]);
            Ok(u64::from_le_bytes(bytes))
        } else if layout::NOTIFY.contains(&offset) {
            Ok(0)
        } else {
            Err(IoError::UnknownRegister)
        }
    }

    fn write_window(&mut self, offset: u64, size: u8, value: u64) -> IoResult {
        if layout::NOTIFY.contains(&offset) {
            self.notify(((offset - layout::NOTIFY.start) / layout::NOTIFY_STEP) as u16);
        } else if layout::COMMON.contains(&offset) {
            self.write_common_part(offset, size, value)?;
        } else if layout::DEVICE.contains(&offset) {
            if !self.resetting {
                let bytes = value.to_le_bytes();
                let at = (offset - layout::DEVICE.start) as usize;
                self.device.write_config(at, &bytes[..usize::from(size.min(8))]);
                self.settle();
            }
        } else if layout::ISR.contains(&offset) {
            return Err(IoError::Direction);
        } else {
            return Err(IoError::UnknownRegister);
        }
        Ok(())
    }

    /// Registers are written in their width; those of 64 bits also by halves.
    fn write_common_part(&mut self, offset: u64, size: u8, value: u64) -> IoResult {
        let register = register_at(offset).ok_or(IoError::UnknownRegister)?;
        if (offset, size) == register {
            self.write_common(register, value);
        } else if register.1 == 8 && size == 4 && offset.is_multiple_of(4) {
            let shift = 8 * (offset - register.0);
            let others = self.read_common(register) & !(0xFFFF_FFFF << shift);
            self.write_common(register, others | value << shift);
        } else {
            return Err(IoError::Size);
        }
        Ok(())
    }

    /// What the capability for access by configuration space points to: offset and width, if that makes sense.
    fn accessed(&self) -> Option<(u64, u8)> {
        let get = |offset, size| self.endpoint.config().get(self.access + offset, size);
        let (offset, len) = (get(layout::access::OFFSET, 4), get(layout::access::LENGTH, 4));
        let sense = get(layout::access::BAR, 1) == u32::from(layout::BAR)
            && matches!(len, 1 | 2 | 4)
            && offset.is_multiple_of(len);
        sense.then_some((offset.into(), len as u8))
    }
}

impl<D: VirtioDevice> Device for VirtioPci<D> {
    fn name(&self) -> &'static str {
        self.device.identity().name
    }

    fn reset(&mut self) {
        self.stop();
        self.finish_reset();
        self.endpoint.reset();
        self.queues.bus_master = false;
    }
}

impl<D: VirtioDevice> PciFunction for VirtioPci<D> {
    fn config(&self) -> &ConfigSpace {
        self.endpoint.config()
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        self.endpoint.config_mut()
    }

    fn config_will_be_read(&mut self, offset: u16, size: u8) {
        let data = self.access + layout::access::DATA;
        if touches(offset, size, data, 4)
            && let Some((offset, len)) = self.accessed()
            && let Ok(value) = self.read_window(offset, len)
        {
            self.endpoint.config_mut().set(data, 4, value as u32);
        }
    }

    fn config_written(&mut self, offset: u16, size: u8) {
        self.endpoint.config_written();
        let was_bus_master = self.queues.bus_master;
        self.queues.bus_master = self.endpoint.dma().is_some();
        if self.queues.bus_master && !was_bus_master {
            self.notify_all();
        }
        let data = self.access + layout::access::DATA;
        if touches(offset, size, data, 4)
            && let Some((offset, len)) = self.accessed()
        {
            let value = self.endpoint.config().get(data, len.into());
            // Where nothing is, the write is lost, as on the bus.
            let _lost = self.write_window(offset, len, value.into());
        }
    }
}

impl<D: VirtioDevice> MmioIo for VirtioPci<D> {
    fn mmio_read(&mut self, region: u8, offset: u64, size: u8) -> IoResult<u64> {
        match region {
            layout::BAR => self.read_window(offset, size),
            _ => self.endpoint.mmio_read(region, offset, size).unwrap_or(Err(IoError::UnknownRegister)),
        }
    }

    fn mmio_write(&mut self, region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        match region {
            layout::BAR => self.write_window(offset, size, value),
            _ => {
                let answer = self.endpoint.mmio_write(region, offset, size, value);
                answer.unwrap_or(Err(IoError::UnknownRegister))
            }
        }
    }
}

impl<D: VirtioDevice> Snapshot for VirtioPci<D> {
    type State = VirtioPciState<D::State>;
    type Args = (D, PciWires);

    fn save(&self) -> Self::State {
        let VirtioPci { device, endpoint, queues, common, isr, resetting, access: _ } = self;
        VirtioPciState {
            device: device.save(),
            endpoint: endpoint.save(),
            rings: queues.rings.iter().map(Ring::save).collect(),
            common: common.clone(),
            isr: *isr,
            resetting: *resetting,
        }
    }

    fn restore((device, wires): Self::Args, state: Self::State) -> Result<Self, String> {
        let VirtioPciState { device: own, endpoint: function, rings, common, isr, resetting } = state;
        let VirtioPci { device, endpoint, queues, access, .. } = VirtioPci::new(device, wires);
        let device = device.with_state(own)?;
        let endpoint = endpoint.with_state(function)?;
        let mut queues = queues.with_states(rings)?;
        let ready = status::DRIVER_OK | status::FEATURES_OK;
        queues.running = !resetting && common.status & (ready | status::NEEDS_RESET) == ready;
        queues.bus_master = endpoint.dma().is_some();
        let mut restored = VirtioPci { device, endpoint, queues, common, isr, resetting, access };
        restored.queues.features = restored.ring_features();
        Ok(restored)
    }
}
