//! Runs the tests of a file and tells what differs.

use super::{
    Difference, Exception, Processor, Register, Set, Test, differences, machine::Machine, undefined,
};
use emu_core::memory::MemoryError;

/// What came of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that did not, for a reason that is known.
    pub explained: Vec<Explained>,
    /// Tests that failed.
    pub failed: Vec<Failure>,
    /// Physical addresses that are not zero after all tests, though no test says that anything is written
    /// there; the first few.
    pub stray: Vec<u32>,
}

impl Report {
    /// No test failed, and nothing was written astray.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.stray.is_empty()
    }
}

/// Tests that fail because the model knowingly does something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What.
    pub difference: &'static Difference,
    /// How many tests.
    pub tests: usize,
}

/// One test that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its number in the file.
    pub index: u32,
    /// The instruction, disassembled.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What differs: `register or address: expected, got`, in hexadecimal.
    pub differences: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.index, self.name)?;
        let bytes: Vec<_> = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, " ({}): {}", bytes.join(" "), self.differences.join("; "))
    }
}

/// Runs all tests of `set`.
///
/// # Errors
/// The host has no memory for the machine.
pub fn run(set: &Set) -> Result<Report, MemoryError> {
    let mut machine = Machine::new(set.processor)?;
    let mut report = Report::default();
    for test in &set.tests {
        machine.set(&test.initial);
        machine.step();
        let differences = compare(&machine, set, test);
        for &(address, _) in test.initial.ram.iter().chain(&test.last.ram) {
            machine.write(address, 0);
        }
        match differences::explain(test, set.processor) {
            _ if differences.is_empty() => report.passed += 1,
            Some(difference) => count(&mut report.explained, difference),
            None => report.failed.push(Failure {
                index: test.index,
                name: test.name.clone(),
                bytes: test.bytes.clone(),
                differences,
            }),
        }
    }
    // What a test that failed wrote elsewhere is its own affair.
    if report.failed.is_empty() && report.explained.is_empty() {
        report.stray = machine.remains(16);
    }
    Ok(report)
}

fn count(explained: &mut Vec<Explained>, difference: &'static Difference) {
    match explained.iter_mut().find(|explained| explained.difference == difference) {
        Some(explained) => explained.tests += 1,
        None => explained.push(Explained { difference, tests: 1 }),
    }
}

fn compare(machine: &Machine, set: &Set, test: &Test) -> Vec<String> {
    let mut differences = Vec::new();
    let flags_mask = flags_mask(set, test);
    for register in Register::ALL {
        let Some(expected) = expected(set.processor, test, register) else { continue };
        let mut got = machine.register(register);
        if register == Register::Eip {
            if set.processor.ends_in_halt() && !machine.is_halted() {
                got = got.wrapping_add(1);
            }
            if set.processor != Processor::I80386 {
                got &= 0xFFFF;
            }
        }
        let mask = [set.masks, test.initial.masks, test.last.masks]
            .iter()
            .filter_map(|masks| masks.get(register))
            .fold(if register == Register::Eflags { flags_mask } else { u32::MAX }, |mask, more| mask & more);
        if (got ^ expected) & mask != 0 {
            differences.push(format!("{}: {:x}, got {:x}", register.name(), expected & mask, got & mask));
        }
    }
    let pushed_flags = pushed_flags(set.processor, test);
    for (address, expected) in memory(test) {
        let mask = match pushed_flags.map(|flags| address.wrapping_sub(flags)) {
            Some(at @ (0 | 1)) => (flags_mask >> (8 * at)) as u8,
            _ => 0xFF,
        };
        let got = machine.read(address);
        if (got ^ expected) & mask != 0 {
            differences.push(format!("[{address:x}]: {expected:x}, got {got:x}"));
        }
    }
    differences
}

/// What `register` must be after the test, if the test knows it.
fn expected(processor: Processor, test: &Test, register: Register) -> Option<u32> {
    // What is loaded for the test is more than FLAGS holds in real mode.
    const REAL_FLAGS: u32 = 0x0FFF;
    if let Some(value) = test.last.registers.get(register) {
        return Some(value);
    }
    let value = test.initial.registers.get(register)?;
    let is_286 = matches!(processor, Processor::I80186 | Processor::I80286);
    Some(if is_286 && register == Register::Eflags { value & REAL_FLAGS } else { value })
}

/// The bytes of RAM that a test names, with what they must be afterwards.
fn memory(test: &Test) -> impl Iterator<Item = (u32, u8)> {
    let last = &test.last.ram;
    let unchanged =
        test.initial.ram.iter().filter(|(address, _)| last.iter().all(|(other, _)| other != address));
    last.iter().chain(unchanged).copied()
}

fn flags_mask(set: &Set, test: &Test) -> u32 {
    let (opcode, reg) = test.form(set.processor);
    let metadata = set.metadata.as_ref().and_then(|metadata| metadata.flags_mask(opcode, reg));
    metadata.unwrap_or_else(|| undefined::defined_flags(set.processor, opcode, reg))
}

/// Where the flags were pushed that an instruction leaves undefined before it enters a handler. The older files
/// do not tell, and the others tell the address of the bus cycle: one too low if the stack is odd.
fn pushed_flags(processor: Processor, test: &Test) -> Option<u32> {
    let pushed = test.on_last_stack(4);
    match test.exception {
        Some(Exception { flags_address, .. }) => {
            Some(pushed.filter(|pushed| pushed.abs_diff(flags_address) <= 1).unwrap_or(flags_address))
        }
        None => {
            let before = test.initial.registers.value(Register::Esp);
            let moved = before.wrapping_sub(test.last.registers.get(Register::Esp)?) & 0xFFFF;
            pushed.filter(|_| moved == 6 && processor == Processor::I8086).map(|pushed| pushed & 0xF_FFFF)
        }
    }
}
