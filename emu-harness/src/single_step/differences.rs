//! Where the CPU models knowingly do other than a recorded processor: form by form, with the reason. A test that
//! fails and is of such a form counts as explained; one that passes counts as passed.

use super::{Processor, Register, Test};

/// One difference.
#[derive(Debug)]
pub struct Difference {
    /// The processor.
    pub processor: Processor,
    /// The forms, in words.
    pub forms: &'static str,
    /// What the processor does that the model does not, and why.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
    matches: fn(&Test, Processor) -> bool,
}

impl PartialEq for Difference {
    fn eq(&self, other: &Difference) -> bool {
        (self.processor, self.forms) == (other.processor, other.forms)
    }
}

impl Eq for Difference {}

/// All of them.
pub static TABLE: [Difference; 4] = [
    Difference {
        processor: Processor::I8086,
        forms: "LEA, LES, LDS, and far CALL and JMP, of a register",
        what: "the address is the one that the bus unit computed last, which no program can see; here nothing happens",
        source: "SingleStepTests 8086, README, per-instruction notes (8D, C4, C5), which leave these out",
        matches: |test, processor| {
            let (opcode, reg) = test.form(processor);
            let modrm = modrm(test, processor);
            modrm >= 0xC0 && (matches!(opcode, 0x8D | 0xC4 | 0xC5) || opcode == 0xFF && matches!(reg, 3 | 5))
        },
    },
    Difference {
        processor: Processor::I8086,
        forms: "FE /2 to /7",
        what: "CALL, JMP and PUSH of a byte move half a word; here they move a word",
        source: "SingleStepTests 8086, README, per-instruction notes (FE), which leave these out",
        matches: |test, processor| matches!(test.form(processor), (0xFE, 2..)),
    },
    Difference {
        processor: Processor::I8086,
        forms: "any instruction of which bytes lie beyond offset FFFF",
        what: "IP wraps inside the instruction; here its remaining bytes are those behind the segment",
        source: "80386 Programmer's Reference, 14.7, item 8: a change that all later processors share",
        matches: |test, _| test.initial.registers.value(Register::Eip) as usize + test.bytes.len() > 0x1_0000,
    },
    Difference {
        processor: Processor::I80286,
        forms: "an exception whose recorded frame has SS where CS is pushed",
        what: "a faulty recording: the same instruction pushes CS in all others, and nothing returns to such a frame",
        source: "the recordings: two of some 12,000 frames of FF.3 and CD (tests 1141 and 2044); their bus cycles show it too",
        matches: |test, _| {
            let (Some(_), Some(address)) = (test.exception, test.on_last_stack(2)) else { return false };
            let byte =
                |at: u32| test.last.ram.iter().find(|(address, _)| *address == at).map(|(_, byte)| *byte);
            let (Some(low), Some(high)) = (byte(address), byte(address + 1)) else { return false };
            let pushed = u32::from(u16::from_le_bytes([low, high]));
            let registers = &test.initial.registers;
            pushed == registers.value(Register::Ss) && pushed != registers.value(Register::Cs)
        },
    },
];

/// What follows the opcode.
fn modrm(test: &Test, processor: Processor) -> u8 {
    let opcode = test.form(processor).0 as u8;
    let at = test.bytes.iter().position(|&byte| byte == opcode).unwrap_or(0);
    test.bytes.get(at + 1).copied().unwrap_or(0)
}

/// The difference that `test` of `processor` shows, if it is one of these.
pub fn explain(test: &Test, processor: Processor) -> Option<&'static Difference> {
    TABLE.iter().find(|difference| difference.processor == processor && (difference.matches)(test, processor))
}
