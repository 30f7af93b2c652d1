//! What a PC's firmware does with PCI functions: windows for their base address registers, and the interrupt line that
//! an operating system without tables believes. PCI 3.0, 6.2.4 and 6.2.5.1.
//!
//! Windows go below 4 GiB as long as there is room, where every kernel reaches them; what does not fit keeps address 0
//! for the operating system to place. Bus mastering is left to drivers.

use super::{chipset::Chipset, layout::PCI_ISA_IRQS};
use emu_devices::pci::{self, FunctionAddress, command, reg};
use std::ops::Range;

/// Where I/O windows begin. Below are ports at fixed addresses.
const FIRST_IO_WINDOW: u64 = 0xC000;
const IO_END: u64 = 1 << 16;
/// Base address register bits: I/O space, 64-bit memory; and the bits of each kind that are no address.
const BAR_IO: u32 = 1 << 0;
const BAR_64: u32 = 1 << 2;
const BAR_IO_FLAGS: u32 = 0b11;
const BAR_MEMORY_FLAGS: u32 = 0b1111;
const BARS: u16 = 6;

/// Programs all functions of bus 0 after reset.
pub fn program(chipset: &Chipset) {
    let memory_end = pci::MEMORY_WINDOW_BASE + pci::MEMORY_WINDOW_LEN;
    let mut free = Free { memory: pci::MEMORY_WINDOW_BASE..memory_end, io: FIRST_IO_WINDOW..IO_END };
    for number in 0..=u8::MAX {
        let function = Function { chipset, address: FunctionAddress::from_number(number.into()) };
        if function.read(reg::VENDOR_ID, 2) != 0xFFFF {
            function.assign_windows(&mut free);
            function.set_interrupt_line();
        }
    }
    chipset.apply_relocations();
}

/// What no window has yet.
struct Free {
    memory: Range<u64>,
    io: Range<u64>,
}

/// A base address register.
struct Register {
    offset: usize,
    io: bool,
    wide: bool,
    size: u64,
}

struct Function<'a> {
    chipset: &'a Chipset,
    address: FunctionAddress,
}

impl Function<'_> {
    fn read(&self, offset: usize, size: u8) -> u32 {
        self.chipset.pci.config_read(self.address, offset as u16, size)
    }

    fn write(&self, offset: usize, size: u8, value: u32) {
        self.chipset.pci.config_write(self.address, offset as u16, size, value);
    }

    fn assign_windows(&self, free: &mut Free) {
        let mut decoded = 0;
        let mut index = 0;
        while index < BARS {
            let Some(register) = self.probe(reg::BAR0 + 4 * usize::from(index)) else {
                index += 1;
                continue;
            };
            index += if register.wide { 2 } else { 1 };
            let base = take(if register.io { &mut free.io } else { &mut free.memory }, register.size);
            self.write(register.offset, 4, base.unwrap_or(0) as u32);
            if register.wide {
                self.write(register.offset + 4, 4, 0);
            }
            match base {
                Some(_) => decoded |= if register.io { command::IO } else { command::MEMORY },
                None => log::info!("no room for a window of PCI function {}", self.address),
            }
        }
        if decoded != 0 {
            self.write(reg::COMMAND, 2, decoded);
        }
    }

    /// Finds out what the base address register at `offset` is; `None` if there is none.
    fn probe(&self, offset: usize) -> Option<Register> {
        self.write(offset, 4, u32::MAX);
        let mask = self.read(offset, 4);
        let io = mask & BAR_IO != 0;
        let wide = !io && mask & BAR_64 != 0;
        let mut address = u64::from(mask & !if io { BAR_IO_FLAGS } else { BAR_MEMORY_FLAGS });
        if wide {
            self.write(offset + 4, 4, u32::MAX);
            address |= u64::from(self.read(offset + 4, 4)) << 32;
        }
        // The lowest bit that can be written is the size.
        let size = address & address.wrapping_neg();
        (size != 0).then_some(Register { offset, io, wide, size })
    }

    /// Notes the ISA interrupt that the function's pin is routed to.
    fn set_interrupt_line(&self) {
        if let Some(pin) = (self.read(reg::INTERRUPT_PIN, 1) as u8).checked_sub(1) {
            let line = PCI_ISA_IRQS[pci::pirq(self.address.device(), pin)];
            self.write(reg::INTERRUPT_LINE, 1, line.into());
        }
    }
}

/// Takes an aligned window of `size` from the beginning of `free`, if it has one.
fn take(free: &mut Range<u64>, size: u64) -> Option<u64> {
    let base = free.start.checked_next_multiple_of(size)?;
    let end = base.checked_add(size).filter(|end| *end <= free.end)?;
    free.start = end;
    Some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_and_stay_inside() {
        let mut free = 0x1000..0x10_0000;
        assert_eq!(take(&mut free, 0x10), Some(0x1000));
        assert_eq!(take(&mut free, 0x4000), Some(0x4000));
        assert_eq!(take(&mut free, 0x10_0000), None);
        assert_eq!(take(&mut free, 1 << 63), None);
        assert_eq!(take(&mut free, 0x8_0000), Some(0x8_0000));
        assert_eq!((take(&mut free, 1), free), (None, 0x10_0000..0x10_0000));
    }
}
