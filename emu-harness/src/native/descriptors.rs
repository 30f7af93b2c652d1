//! The child's local descriptor table.
//!
//! A case whose selectors name local descriptors has them where it says; for any other a descriptor is found
//! that is there already, or put where one is free.

use super::{
    kernel,
    shared::{Descriptor, Segment},
};

/// Descriptors below this number are those that cases name.
pub const NAMED: usize = 32;
/// Size of the table.
const SIZE: usize = 64;
/// Table indicator and privilege level of a selector: local, level 3.
const LOCAL: u16 = 7;

/// What the table holds.
pub struct Descriptors {
    entries: [Descriptor; SIZE],
    /// Which of those for any case is replaced next.
    next: usize,
}

impl Descriptors {
    /// An empty table.
    pub fn new() -> Self {
        Descriptors { entries: [Descriptor::default(); SIZE], next: NAMED }
    }

    /// Whether a case may have `selector` as it is.
    pub fn may_name(selector: u16) -> bool {
        selector & LOCAL == LOCAL && (1..NAMED).contains(&usize::from(selector >> 3))
    }

    /// The selector of a descriptor like that of `segment`, which may want a certain one; nothing if the kernel
    /// refuses.
    pub fn selector(&mut self, segment: &Segment) -> Option<u16> {
        let descriptor = segment.descriptor;
        if descriptor.flags == 0 {
            return Some(segment.given);
        }
        let number = if Self::may_name(segment.given) {
            usize::from(segment.given >> 3)
        } else if let Some(found) = self.entries[NAMED..].iter().position(|entry| *entry == descriptor) {
            NAMED + found
        } else {
            self.next = if self.next + 1 < SIZE { self.next + 1 } else { NAMED };
            self.next
        };
        if self.entries[number] != descriptor {
            let Descriptor { base, limit, flags } = descriptor;
            let user_desc = [number as u32, base, limit, flags];
            let arguments = [0x11, user_desc.as_ptr() as u64, size_of_val(&user_desc) as u64, 0, 0, 0];
            // SAFETY: the kernel reads the structure.
            if unsafe { kernel::call(libc::SYS_modify_ldt, arguments) } != 0 {
                return None;
            }
            self.entries[number] = descriptor;
        }
        Some((number as u16) << 3 | LOCAL)
    }
}
