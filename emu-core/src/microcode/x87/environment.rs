//! FNSTENV, FLDENV, FNSAVE, FRSTOR: the environment in its four layouts. SDM vol. 1, 8.1.10, figures 8-9 to
//! 8-12.
//!
//! In real and virtual-8086 mode the pointers are stored as linear addresses made of selector and offset, so
//! loading them back leaves the selectors zero. Reserved upper halves of the 32-bit layouts read as ones, as
//! processors store them.

use super::{
    control::{control_word, initialize},
    soft::{Class, classify},
    stack::summarize,
    transfer::{extended_bytes, extended_from},
};
use crate::{arch::Exception, cpu::Cpu, decode::Insn, state::X87};

type Done = Result<(), Exception>;

/// Opcode bits.
const OPCODE: u32 = 0x7FF;

/// Which of the four figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Operand size 32: 28 bytes, not 14.
    pub wide: bool,
    /// Protected mode: selectors, not linear addresses.
    pub protected: bool,
}

impl Layout {
    /// Bytes.
    pub const fn len(self) -> usize {
        if self.wide { 28 } else { 14 }
    }

    const fn item(self) -> usize {
        self.len() / 7
    }
}

/// Environment and registers at the most.
const IMAGE: usize = 28 + 80;

impl X87 {
    /// The tag word in full. SDM vol. 1, 8.1.7.
    pub fn tags(&self) -> u16 {
        (0..8).fold(0, |tags, physical| {
            let tag = if self.valid >> physical & 1 == 0 {
                3
            } else {
                match classify(self.r[physical]) {
                    Class::Normal => 0,
                    Class::Zero => 1,
                    _ => 2,
                }
            };
            tags | tag << (2 * physical)
        })
    }

    /// Takes over which registers are empty; the other tags follow from the contents.
    pub fn set_tags(&mut self, tags: u16) {
        self.valid = (0..8).fold(0, |valid, n| valid | u8::from(tags >> (2 * n) & 3 != 3) << n);
    }

    /// The seven items of the environment, in order, without reserved bits.
    fn environment(&self, layout: Layout) -> [u32; 7] {
        let words = [self.fcw.into(), self.status().into(), self.tags().into()];
        let (fip, fdp) = (self.fip as u32, self.fdp as u32);
        let (fcs, fds, fop) = (u32::from(self.fcs), u32::from(self.fds), u32::from(self.fop) & OPCODE);
        let pointers = match layout {
            Layout { protected: true, wide: true } => [fip, fcs | fop << 16, fdp, fds],
            Layout { protected: true, wide: false } => [fip, fcs, fdp, fds],
            Layout { protected: false, .. } => {
                let (ip, dp) = (fip.wrapping_add(fcs << 4), fdp.wrapping_add(fds << 4));
                [ip & 0xFFFF, ip >> 16 << 12 | fop, dp & 0xFFFF, dp >> 16 << 12]
            }
        };
        [words[0], words[1], words[2], pointers[0], pointers[1], pointers[2], pointers[3]]
    }

    /// Takes over the seven items. The exception summary is left to the caller.
    fn set_environment(&mut self, layout: Layout, items: [u32; 7]) {
        let [control, status, tags, ip, code, dp, data] = items;
        self.fcw = control_word(control as u16);
        self.fsw = status as u16 & !0x3800;
        self.top = (status >> 11) as u8 & 7;
        self.set_tags(tags as u16);
        match layout {
            Layout { protected: true, .. } => {
                (self.fip, self.fdp) = (ip.into(), dp.into());
                (self.fcs, self.fds) = (code as u16, data as u16);
                self.fop = if layout.wide { (code >> 16 & OPCODE) as u16 } else { 0 };
            }
            Layout { protected: false, wide } => {
                let upper = if wide { 0x0FFF_F000 } else { 0xF000 };
                let linear = |low: u32, high: u32| u64::from(low & 0xFFFF | (high & upper) << 4);
                (self.fip, self.fdp) = (linear(ip, code), linear(dp, data));
                (self.fcs, self.fds) = (0, 0);
                self.fop = (code & OPCODE) as u16;
            }
        }
    }
}

/// Bits of each item of the 32-bit layouts that are reserved and read as ones.
const fn reserved(layout: Layout) -> [u32; 7] {
    const UPPER: u32 = 0xFFFF_0000;
    if layout.protected {
        [UPPER, UPPER, UPPER, 0, 0, 0, UPPER]
    } else {
        [UPPER, UPPER, UPPER, UPPER, 0, UPPER, 0]
    }
}

fn write_items(x87: &X87, layout: Layout, bytes: &mut [u8]) {
    let items = x87.environment(layout);
    for ((chunk, item), reserved) in bytes.chunks_exact_mut(layout.item()).zip(items).zip(reserved(layout)) {
        chunk.copy_from_slice(&(item | reserved).to_le_bytes()[..layout.item()]);
    }
}

fn read_items(layout: Layout, bytes: &[u8]) -> [u32; 7] {
    let mut items = [0; 7];
    for (item, chunk) in items.iter_mut().zip(bytes.chunks_exact(layout.item())) {
        *item = chunk.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
    }
    items
}

fn store_environment(cpu: &mut Cpu, i: &Insn, wide: bool) -> Done {
    let layout = Layout { wide, protected: cpu.mode.is_protected() };
    let mut bytes = [0; 28];
    let bytes = &mut bytes[..layout.len()];
    write_items(&cpu.x87, layout, bytes);
    cpu.write_operand_bytes(i, bytes)?;
    // All exceptions are masked afterwards, so none is pending.
    cpu.x87.fcw |= 0x3F;
    summarize(cpu);
    Ok(())
}

fn load_environment(cpu: &mut Cpu, i: &Insn, wide: bool) -> Done {
    let layout = Layout { wide, protected: cpu.mode.is_protected() };
    let mut bytes = [0; 28];
    let bytes = &mut bytes[..layout.len()];
    cpu.read_operand_bytes(i, bytes)?;
    take_environment(cpu, layout, read_items(layout, bytes));
    Ok(())
}

fn take_environment(cpu: &mut Cpu, layout: Layout, items: [u32; 7]) {
    let was_pending = cpu.x87.fsw & super::soft::status::ES;
    cpu.x87.set_environment(layout, items);
    // ES as it was, so that FERR# is seen to fall.
    cpu.x87.fsw = cpu.x87.fsw & !super::soft::status::ES | was_pending;
    summarize(cpu);
}

fn save(cpu: &mut Cpu, i: &Insn, wide: bool) -> Done {
    let layout = Layout { wide, protected: cpu.mode.is_protected() };
    let mut bytes = [0; IMAGE];
    let bytes = &mut bytes[..layout.len() + 80];
    let (environment, registers) = bytes.split_at_mut(layout.len());
    write_items(&cpu.x87, layout, environment);
    for (k, register) in registers.chunks_exact_mut(10).enumerate() {
        register.copy_from_slice(&extended_bytes(cpu.x87.st(k as u8)));
    }
    cpu.write_operand_bytes(i, bytes)?;
    initialize(cpu);
    Ok(())
}

fn restore(cpu: &mut Cpu, i: &Insn, wide: bool) -> Done {
    let layout = Layout { wide, protected: cpu.mode.is_protected() };
    let mut bytes = [0; IMAGE];
    let bytes = &mut bytes[..layout.len() + 80];
    cpu.read_operand_bytes(i, bytes)?;
    let (environment, registers) = bytes.split_at(layout.len());
    take_environment(cpu, layout, read_items(layout, environment));
    for (k, register) in registers.as_chunks::<10>().0.iter().enumerate() {
        let physical = (usize::from(cpu.x87.top) + k) & 7;
        cpu.x87.r[physical] = extended_from(register);
    }
    Ok(())
}

/// FNSTENV m14byte.
pub fn fnstenv_14(cpu: &mut Cpu, i: &Insn) -> Done {
    store_environment(cpu, i, false)
}
/// FNSTENV m28byte.
pub fn fnstenv_28(cpu: &mut Cpu, i: &Insn) -> Done {
    store_environment(cpu, i, true)
}
/// FLDENV m14byte.
pub fn fldenv_14(cpu: &mut Cpu, i: &Insn) -> Done {
    load_environment(cpu, i, false)
}
/// FLDENV m28byte.
pub fn fldenv_28(cpu: &mut Cpu, i: &Insn) -> Done {
    load_environment(cpu, i, true)
}
/// FNSAVE m94byte.
pub fn fnsave_94(cpu: &mut Cpu, i: &Insn) -> Done {
    save(cpu, i, false)
}
/// FNSAVE m108byte.
pub fn fnsave_108(cpu: &mut Cpu, i: &Insn) -> Done {
    save(cpu, i, true)
}
/// FRSTOR m94byte.
pub fn frstor_94(cpu: &mut Cpu, i: &Insn) -> Done {
    restore(cpu, i, false)
}
/// FRSTOR m108byte.
pub fn frstor_108(cpu: &mut Cpu, i: &Insn) -> Done {
    restore(cpu, i, true)
}
