//! What others may do with a machine that runs: the user by the control socket.

use super::{
    Machine,
    lifecycle::{Event, Happening, Lifecycle, Observer},
    run_state::{Holds, RunState},
};
use crate::console::flush_all;
use emu_devices::{
    acpi::Pm,
    virtio::{Balloon, Link},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// How long the end waits for each slow reader of the guest's output.
const FLUSH: Duration = Duration::from_millis(100);

/// A machine from outside. Nothing here waits for it.
#[derive(Clone)]
pub struct MachineHandle {
    lifecycle: Arc<Lifecycle>,
    pm: Arc<Mutex<Pm>>,
    balloon: Option<Link<Balloon>>,
    memory: u64,
    cpus: u32,
}

impl MachineHandle {
    pub(super) fn of(machine: &Machine) -> MachineHandle {
        MachineHandle {
            lifecycle: machine.board.lifecycle.clone(),
            pm: machine.board.chipset.pm.clone(),
            balloon: machine.board.chipset.virtio.balloon.clone(),
            memory: machine.board.config.memory,
            cpus: machine.board.config.cpus,
        }
    }

    /// Has `task` done while all processors stand. It is dropped undone if the machine ends before.
    pub fn while_standing(&self, task: impl FnOnce(&mut Machine) + Send + 'static) {
        self.lifecycle.submit(Box::new(task));
    }

    /// Stops it, until the user lets it [go on](Self::go_on).
    pub fn stop(&self) {
        self.lifecycle.hold(Holds::USER);
    }

    /// Lets it go on, if nothing but the user has held it.
    pub fn go_on(&self) {
        self.lifecycle.release(Holds::USER);
    }

    /// Presses the reset button.
    pub fn reset(&self) {
        self.lifecycle.request(Event::UserReset);
    }

    /// Presses the power button.
    pub fn press_power_button(&self) {
        self.pm.lock().press_power_button();
        self.lifecycle.tell(&Happening::PowerDown);
    }

    /// Ends it.
    pub fn quit(&self) {
        // A vCPU that waits for a slow terminal could not be stopped.
        flush_all(FLUSH);
        self.lifecycle.request(Event::Quit);
    }

    /// What it does.
    pub fn run_state(&self) -> RunState {
        self.lifecycle.run_state()
    }

    /// Its processors.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Asks the guest to make do with `memory` bytes. False: there is no balloon.
    pub fn set_balloon(&self, memory: u64) -> bool {
        let target = self.memory.saturating_sub(memory);
        let Some(link) = &self.balloon else { return false };
        link.with(|balloon, queues| balloon.set_target(target, queues));
        true
    }

    /// Bytes that the guest has besides what is in the balloon.
    pub fn balloon(&self) -> Option<u64> {
        let mut size = 0;
        self.balloon.as_ref()?.with(|balloon, _| size = balloon.size());
        Some(self.memory.saturating_sub(size))
    }

    /// Tells `observer` what happens from now on. The first one stays.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.lifecycle.observe(observer);
    }
}
