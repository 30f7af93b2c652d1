//! A case as a setup, and what an outcome says against it.

use super::{Case, Flag, FlagState, state::apply, values};
use crate::{Outcome, Region, Rights, Setup, interpreter::Interpreter};
use emu_core::{
    arch::Flags,
    decode::early::{self, Early},
    state::CpuState,
};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use std::collections::BTreeMap;

/// Where code begins if a case does not say.
pub const CODE: u64 = 0x1000;

impl Case {
    /// The setup that it describes. Code is at `code` if the case does not say where: [`CODE`], as its author
    /// thinks, or elsewhere if an executor has no memory there.
    pub fn setup(&self, code: u64) -> Setup {
        let mut state = Interpreter::new().state_in(self.mode, self.privilege, 0, &[]);
        state.general.rip = code;
        apply(&mut state, &self.before);
        let mut bytes = self.named_memory();
        bytes.values_mut().for_each(|byte| *byte = 0);
        extend(&mut bytes, &self.before.memory);
        let stop = Some(state.general.rip.wrapping_add(self.code.len() as u64));
        let mut setup = Setup {
            mode: self.mode,
            memory: Vec::new(),
            instructions: self.instructions().len() as u32,
            stop,
            state,
        };
        extend(&mut bytes, &[(setup.start(), self.code.clone())]);
        setup.memory = regions(&bytes, Rights { user: self.privilege == 3, ..Rights::ALL });
        setup
    }

    /// The instructions of its code, as its processor decodes them.
    pub fn instructions(&self) -> Vec<Instruction> {
        let Some(generation) = self.generation.filter(|generation| generation.is_16_bit()) else {
            let decoder = Decoder::new(self.mode.bitness(), &self.code, DecoderOptions::NONE);
            return decoder.into_iter().collect();
        };
        let mut all = Vec::new();
        let mut rest = self.code.as_slice();
        while let Early::Instruction(instruction) = early::decode(generation, rest, 0) {
            rest = &rest[instruction.len()..];
            all.push(instruction);
        }
        // What is undefined is one, and the last.
        if !rest.is_empty() {
            all.push(Instruction::default());
        }
        all
    }

    /// The bytes that it names, before or after.
    fn named_memory(&self) -> BTreeMap<u64, u8> {
        let mut memory = BTreeMap::new();
        extend(&mut memory, &self.before.memory);
        extend(&mut memory, &self.after.state.memory);
        memory
    }

    /// What `outcome`, of this case's `setup`, says that the case does not expect: as words of the corpus.
    pub fn mismatches(&self, setup: &Setup, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        if outcome.exception != self.after.exception {
            wrong.push(outcome.exception.map_or("no exception".into(), |e| e.to_string()));
        }
        let expected = self.expected(setup, outcome);
        let wanted = values(&expected);
        for (register, value) in values(&outcome.state) {
            let wanted = wanted.iter().find(|(other, _)| *other == register).map_or(0, |(_, value)| *value);
            if value != wanted {
                wrong.push(format!("{register}={value:x}"));
            }
        }
        wrong.extend(self.flag_mismatches(expected.general.rflags, outcome.state.general.rflags));
        let found = found_memory(setup, outcome);
        let named = self.named_memory().into_iter();
        let differs = named.filter_map(|(address, byte)| {
            found.get(&address).filter(|found| **found != byte).map(|found| (address, *found))
        });
        wrong.extend(differs.map(|(address, byte)| format!("[{address:x}]={byte:02x}")));
        wrong
    }

    fn expected(&self, setup: &Setup, outcome: &Outcome) -> CpuState {
        let mut expected = setup.state.clone();
        let start = expected.general.rip;
        let inside = start..start + self.code.len() as u64;
        let rip = outcome.state.general.rip;
        // One of several instructions may have faulted: which one is said by `rip`, if by anything.
        let faulted = outcome.exception.is_some() && inside.contains(&rip);
        expected.general.rip = if faulted { rip } else { inside.end };
        apply(&mut expected, &self.after.state);
        expected
    }

    fn flag_mismatches(&self, expected: Flags, found: Flags) -> Vec<String> {
        let undefined = |flag: Flag| self.after.state.flags.contains(&(flag, FlagState::Undefined));
        Flag::ALL
            .iter()
            // RF is the delivery's affair.
            .filter(|(flag, ..)| !undefined(*flag) && *flag != Flag::Rf)
            .filter(|(.., bit)| (expected.bits() ^ found.bits()) >> bit & 1 != 0)
            .map(|(_, name, bit)| format!("{}{name}", if found.bits() >> bit & 1 != 0 { "" } else { "!" }))
            .collect()
    }
}

fn extend(memory: &mut BTreeMap<u64, u8>, pieces: &[(u64, Vec<u8>)]) {
    for (address, bytes) in pieces {
        memory.extend(bytes.iter().enumerate().map(|(at, byte)| (address.wrapping_add(at as u64), *byte)));
    }
}

/// Bytes that follow each other are one region.
fn regions(memory: &BTreeMap<u64, u8>, rights: Rights) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for (address, byte) in memory {
        match regions.last_mut() {
            Some(last) if last.address + last.bytes.len() as u64 == *address => last.bytes.push(*byte),
            _ => regions.push(Region { address: *address, bytes: vec![*byte], rights }),
        }
    }
    regions
}

fn found_memory(setup: &Setup, outcome: &Outcome) -> BTreeMap<u64, u8> {
    let mut memory = BTreeMap::new();
    for (region, bytes) in setup.memory.iter().zip(&outcome.memory) {
        extend(&mut memory, &[(region.address, bytes.clone())]);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Executor, corpus::parse_line};

    fn run(line: &str) -> Vec<String> {
        let case = parse_line(line).unwrap();
        let setup = case.setup(CODE);
        let outcome = Executor::execute(&mut Interpreter::new(), &setup).unwrap();
        case.mismatches(&setup, &outcome)
    }

    #[test]
    fn what_a_case_says_right_is_no_mismatch() {
        let line = "64 | 48 01 03 | add [rbx],rax | rax=1 rbx=2000 [2000]=02 => [2000]=03 pf";
        assert_eq!(run(line), Vec::<String>::new());
    }

    #[test]
    fn what_it_says_wrong_is_told_as_it_was_found() {
        let line = "64 | 48 01 03 | add [rbx],rax | rax=1 rbx=2000 [2000]=02 => rax=2 [2000]=04 #UD";
        assert_eq!(run(line), ["no exception", "rax=1", "pf", "[2000]=03"]);
    }
}
