//! Asking for translations: of what is entered often, and of regions that are passed through so often that they are
//! worth a better one.

use super::Instance;
use crate::{
    cpu::{Cpu, slot},
    decode::Insn,
    interp::blocks,
    region::{Source, Tier, Translator},
};

/// Entries after asking before it is asked again.
const PATIENCE: u64 = 1 << 20;

/// What a region executes, as [`layout`](crate::region::layout) counts, before it is asked for again if there was too much
/// to do.
const AGAIN: i64 = 1 << 20;

impl Cpu {
    /// The counter of entry `i` has come to zero.
    #[cold]
    pub(super) fn warm_up(&mut self, i: *const Insn) {
        let Some(translator) = self.hot.translator.clone() else { return };
        // SAFETY: an entry of a block in the arena.
        let (page, looked) = unsafe { ((*i).disp, (*i).imm2) };
        let key = blocks::key(page, self.mode);
        let known = translator.find(key).is_some_and(|region| self.attach(&region));
        if known {
            return;
        }
        let left = match looked {
            0 => u64::from(translator.thresholds().warm),
            _ => PATIENCE,
        };
        let first = if translator.thresholds().hot == 0 { Tier::Hot } else { Tier::Warm };
        // SAFETY: as above; nothing else refers to it now.
        unsafe {
            let entry = &mut *i.cast_mut();
            (entry.imm, entry.imm2) = (left.max(1), 1);
        }
        if looked != 0
            && let Some(source) = self.source(key, self.regs[usize::from(slot::RIP_BASE)], first)
        {
            self.ask(&*translator, source);
        }
    }

    /// The region of `instance`, entered with RIP base `base`, has executed so much that a better one is asked for.
    #[cold]
    pub(super) fn heat_up(&mut self, instance: &mut Instance, base: u64) {
        let Some(translator) = self.hot.translator.clone() else { return };
        instance.door.left = i64::MAX;
        if instance.region.tier == Tier::Hot {
            return;
        }
        let (key, _) = instance.region.blocks[0];
        if let Some(source) = self.source(key, base, Tier::Hot)
            && !self.ask(&*translator, source)
        {
            instance.door.left = AGAIN;
        }
    }

    /// Asks for a translation, and begins to use what is there. False: it has to be asked for again.
    pub(super) fn ask(&mut self, translator: &dyn Translator, source: Source) -> bool {
        // Who translates at once computes with the host's MXCSR, in which the guest's flags are.
        self.sync_mxcsr();
        let taken = translator.request(self.id, &self.signal.clone(), source);
        self.enter_mxcsr();
        self.attach_ready();
        taken
    }
}
