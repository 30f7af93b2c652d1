//! What other threads ask of a vCPU, served between instructions in the order of SDM vol. 3, 6.9.

use super::run::Stop;
use crate::{
    arch::Flags,
    cpu::Cpu,
    engine::request,
    memory::MemoryEvent,
    microcode::{activity, interrupt, smm},
    state::Activity,
};

impl Cpu {
    /// Serves what can be served now. What cannot (an interrupt with IF clear) stays requested and is looked
    /// at again when the state that holds it back changes.
    pub(super) fn serve_requests(&mut self) -> Option<Stop> {
        self.signal.acknowledge_attention();
        let requests = self.signal.requests();
        if let Some(stop) = self.serve_machine(requests) {
            return Some(stop);
        }
        if !self.events.in_smm && self.signal.take(request::INIT) != 0 {
            activity::init(self);
        }
        if self.events.activity == Activity::WaitForStartup {
            if self.signal.take(request::STARTUP) != 0 {
                let vector = self.signal.startup_vector();
                activity::startup(self, vector);
            }
            return None;
        }
        // A start-up IPI to a CPU that does not wait for one is lost.
        self.signal.clear(request::STARTUP);
        if self.events.shadow {
            // Looked at again after the next instruction.
            return None;
        }
        self.serve_interrupts(requests);
        None
    }

    /// Serves what is no event of the guest's, and is due whatever the CPU executes next, or if it executes nothing.
    pub(super) fn serve_machine(&mut self, requests: u32) -> Option<Stop> {
        if requests & request::MEMORY != 0 {
            self.serve_memory_events();
        }
        if requests & request::TRANSLATED != 0 {
            self.signal.clear(request::TRANSLATED);
            self.attach_ready();
            self.release_regions();
        }
        if requests & request::STOP != 0 {
            self.signal.clear(request::STOP);
            return Some(Stop::Requested);
        }
        None
    }

    fn serve_interrupts(&mut self, requests: u32) {
        if requests & request::SMI != 0 && !self.events.in_smm {
            self.signal.clear(request::SMI);
            return smm::enter_smm(self);
        }
        if requests & request::NMI != 0 && !self.events.nmi_blocked {
            self.signal.clear(request::NMI);
            self.wake();
            interrupt::deliver_nmi(self);
            return self.signal.poll_again_if_waiting();
        }
        if requests & request::INTERRUPT != 0
            && self.eflags.contains(Flags::IF)
            && self.events.activity != Activity::Shutdown
            && let Some(vector) = self.io.clone().acknowledge_interrupt(self.id)
        {
            self.wake();
            self.user_code_interrupted();
            interrupt::deliver_interrupt(self, vector);
        }
    }

    fn wake(&mut self) {
        self.events.activity = Activity::Active;
    }

    fn serve_memory_events(&mut self) {
        let memory = self.memory.clone();
        for event in memory.code().take_events(self.id) {
            match event {
                MemoryEvent::CodePage(page) => {
                    if self.mmu.protect_from_writes(page) {
                        // It may have been written since the other CPU decoded it.
                        memory.code().tell_others(self.id, MemoryEvent::CodeWritten(page, u32::MAX));
                    }
                }
                MemoryEvent::CodeWritten(page, granules) => {
                    self.mmu.code_changes(page);
                    self.blocks.invalidate(page, granules, &mut self.hot);
                }
                MemoryEvent::FlushTlb => self.mmu.flush_all(),
            }
        }
    }
}
