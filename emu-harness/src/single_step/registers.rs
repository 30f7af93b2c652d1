//! A set of register values, each of which may be missing.

/// A register of a test. The 16-bit formats fill the lower halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the registers' names")]
pub enum Register {
    Cr0,
    Cr3,
    Eax,
    Ebx,
    Ecx,
    Edx,
    Esi,
    Edi,
    Ebp,
    Esp,
    Cs,
    Ds,
    Es,
    Fs,
    Gs,
    Ss,
    Eip,
    Eflags,
    Dr6,
    Dr7,
}

use Register::{
    Cr0, Cr3, Cs, Dr6, Dr7, Ds, Eax, Ebp, Ebx, Ecx, Edi, Edx, Eflags, Eip, Es, Esi, Esp, Fs, Gs, Ss,
};

impl Register {
    /// All, in the order of the format with 32 bits.
    pub const ALL: [Register; 20] =
        [Cr0, Cr3, Eax, Ebx, Ecx, Edx, Esi, Edi, Ebp, Esp, Cs, Ds, Es, Fs, Gs, Ss, Eip, Eflags, Dr6, Dr7];
    /// Those of 16 bits with their names, in the order of that format.
    pub const WORDS: [(Register, &'static str); 14] = [
        (Eax, "ax"),
        (Ebx, "bx"),
        (Ecx, "cx"),
        (Edx, "dx"),
        (Cs, "cs"),
        (Ss, "ss"),
        (Ds, "ds"),
        (Es, "es"),
        (Esp, "sp"),
        (Ebp, "bp"),
        (Esi, "si"),
        (Edi, "di"),
        (Eip, "ip"),
        (Eflags, "flags"),
    ];

    /// The register called `name` in either format.
    pub fn named(name: &str) -> Option<Register> {
        let word = Self::WORDS.iter().find(|(_, word)| *word == name).map(|(register, _)| *register);
        word.or_else(|| Self::ALL.into_iter().find(|register| register.name() == name))
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}

/// Values of registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    present: u32,
    values: [u32; Register::ALL.len()],
}

impl Registers {
    /// The value of `register`, if it is there.
    pub fn get(&self, register: Register) -> Option<u32> {
        (self.present >> register as u8 & 1 != 0).then(|| self.values[register as usize])
    }

    /// Puts `value` into `register`.
    pub fn set(&mut self, register: Register, value: u32) {
        self.present |= 1 << register as u8;
        self.values[register as usize] = value;
    }

    /// The value of `register`, zero if it is not there.
    pub fn value(&self, register: Register) -> u32 {
        self.values[register as usize]
    }
}
