//! Reads the corpus.

use super::{Case, Exception, Flag, FlagState, Mode, Outcome, Register, State};
use emu_core::cpu_model::Generation;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has not the four parts.
    #[error("not of the form `mode | bytes | disassembly | before => after`")]
    Shape,
    /// The mode, or its privilege level, is none.
    #[error("no such mode: {0}")]
    Mode(String),
    /// The processor is none of those before CPUID.
    #[error("no such processor: {0}")]
    Processor(String),
    /// A processor before CPUID in another mode than real mode.
    #[error("a processor before CPUID has real mode alone here")]
    EarlyMode,
    /// The instruction's bytes, or those of memory, are not hexadecimal.
    #[error("not bytes in hexadecimal: {0}")]
    Bytes(String),
    /// A word of a state is nothing known.
    #[error("neither a register, a flag, memory nor an exception: {0}")]
    Word(String),
    /// A value is not hexadecimal, or wider than its register.
    #[error("not a value for {register}: {value}")]
    Value {
        /// The register.
        register: Register,
        /// What was written.
        value: String,
    },
    /// Something is said twice.
    #[error("said twice: {0}")]
    Twice(String),
    /// An exception or an undefined flag among what is set before.
    #[error("only what is expected can be: {0}")]
    OnlyAfter(String),
}

/// Reads a whole file. Lines that are empty or begin with `#` are skipped. An error comes with its line's number.
pub fn parse(text: &str) -> Result<Vec<Case>, (usize, ParseError)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(index, line)| parse_line(line).map_err(|error| (index + 1, error)))
        .collect()
}

/// Reads one case.
pub fn parse_line(line: &str) -> Result<Case, ParseError> {
    let mut parts = line.splitn(4, '|').map(str::trim);
    let mut part = || parts.next().ok_or(ParseError::Shape);
    let (mode, code, disassembly, states) = (part()?, part()?, part()?, part()?);
    let (before, after) = states.split_once("=>").ok_or(ParseError::Shape)?;
    let (mode, generation) = match mode.split_once('@') {
        Some((mode, processor)) => (mode, Some(parse_processor(processor)?)),
        None => (mode, None),
    };
    let (mode, privilege) = parse_mode(mode)?;
    if generation.is_some() && mode != Mode::Real {
        return Err(ParseError::EarlyMode);
    }
    let (before, exception) = parse_state(before)?;
    if let Some(exception) = exception {
        return Err(ParseError::OnlyAfter(exception.to_string()));
    }
    if before.flags.iter().any(|(_, state)| *state == FlagState::Undefined) {
        return Err(ParseError::OnlyAfter("an undefined flag".into()));
    }
    let (state, exception) = parse_state(after)?;
    Ok(Case {
        mode,
        privilege,
        generation,
        code: parse_bytes(code)?,
        disassembly: disassembly.to_owned(),
        before,
        after: Outcome { exception, state },
    })
}

/// What stands behind `@`: `8086`, `80386`.
fn parse_processor(text: &str) -> Result<Generation, ParseError> {
    let found = Generation::EARLY.into_iter().find(|generation| generation.name() == text);
    found.ok_or_else(|| ParseError::Processor(text.to_owned()))
}

/// `64`, or `64/3` with a privilege level other than the mode's usual one.
fn parse_mode(text: &str) -> Result<(Mode, u8), ParseError> {
    let unknown = || ParseError::Mode(text.to_owned());
    let (name, privilege) = match text.split_once('/') {
        Some((name, level)) => {
            (name, Some(level.parse().ok().filter(|level| *level <= 3).ok_or_else(unknown)?))
        }
        None => (text, None),
    };
    let (mode, _) = Mode::ALL.into_iter().find(|(_, mode)| *mode == name).ok_or_else(unknown)?;
    match (mode, privilege) {
        (Mode::Real, Some(1..)) | (Mode::V86, Some(0..=2)) => Err(unknown()),
        (Mode::V86, _) => Ok((mode, 3)),
        (_, privilege) => Ok((mode, privilege.unwrap_or(0))),
    }
}

/// Pairs of hexadecimal digits; blanks between pairs do not matter.
fn parse_bytes(text: &str) -> Result<Vec<u8>, ParseError> {
    let malformed = || ParseError::Bytes(text.to_owned());
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        if !word.is_ascii() || word.len() % 2 != 0 {
            return Err(malformed());
        }
        for at in (0..word.len()).step_by(2) {
            bytes.push(parse_hex(&word[at..at + 2]).ok_or_else(malformed)? as u8);
        }
    }
    if bytes.is_empty() { Err(malformed()) } else { Ok(bytes) }
}

fn parse_state(text: &str) -> Result<(State, Option<Exception>), ParseError> {
    let mut state = State::default();
    let mut exception = None;
    for word in text.split_whitespace() {
        let known = if let Some(raised) = Exception::parse(word) {
            exception.replace(raised).is_none()
        } else if let Some((flag, value)) = parse_flag(word) {
            let first = state.flags.iter().all(|(other, _)| *other != flag);
            state.flags.push((flag, value));
            first
        } else {
            parse_assignment(word, &mut state)?
        };
        if !known {
            return Err(ParseError::Twice(word.to_owned()));
        }
    }
    Ok((state, exception))
}

/// `cf`, `!cf`, `?cf`.
fn parse_flag(word: &str) -> Option<(Flag, FlagState)> {
    let (name, state) = match word.as_bytes().first()? {
        b'!' => (&word[1..], FlagState::Clear),
        b'?' => (&word[1..], FlagState::Undefined),
        _ => (word, FlagState::Set),
    };
    Flag::named(name).map(|flag| (flag, state))
}

/// `name=value` or `[address]=bytes`. Returns whether it is the first for its place.
fn parse_assignment(word: &str, state: &mut State) -> Result<bool, ParseError> {
    let unknown = || ParseError::Word(word.to_owned());
    let (place, value) = word.split_once('=').ok_or_else(unknown)?;
    if let Some(address) = place.strip_prefix('[').and_then(|place| place.strip_suffix(']')) {
        let address =
            parse_hex(address).and_then(|address| u64::try_from(address).ok()).ok_or_else(unknown)?;
        let first = state.memory.iter().all(|(other, _)| *other != address);
        state.memory.push((address, parse_bytes(value)?));
        return Ok(first);
    }
    if let Some(low) = whole_ymm(place) {
        return push_ymm(low, value, state);
    }
    let register = Register::named(place).ok_or_else(unknown)?;
    let fits = |value: &u128| register.bits() == u128::BITS || value >> register.bits() == 0;
    let value = parse_hex(value)
        .filter(fits)
        .ok_or_else(|| ParseError::Value { register, value: value.to_owned() })?;
    let first = state.registers.iter().all(|(other, _)| *other != register);
    state.registers.push((register, value));
    Ok(first)
}

/// The number of a whole YMM register.
fn whole_ymm(name: &str) -> Option<u8> {
    match Register::named(name.strip_prefix('y').map(|rest| format!("x{rest}"))?.as_str())? {
        Register::Xmm(number) => Some(number),
        _ => None,
    }
}

/// A whole YMM register is the XMM register and the half above it.
fn push_ymm(number: u8, value: &str, state: &mut State) -> Result<bool, ParseError> {
    let wrong = || ParseError::Value { register: Register::YmmHigh(number), value: value.to_owned() };
    let digits = value.replace('_', "");
    if !digits.is_ascii() {
        return Err(wrong());
    }
    let (high, low) = digits.split_at(digits.len().saturating_sub(32));
    let high = if high.is_empty() { Some(0) } else { parse_hex(high) }.ok_or_else(wrong)?;
    let low = parse_hex(low).ok_or_else(wrong)?;
    let halves = [(Register::Xmm(number), low), (Register::YmmHigh(number), high)];
    let first = state.registers.iter().all(|(other, _)| halves.iter().all(|(half, _)| half != other));
    state.registers.extend(halves);
    Ok(first)
}

/// Hexadecimal digits and nothing else: no sign, no prefix. `_` may group them.
fn parse_hex(text: &str) -> Option<u128> {
    let digits = text.replace('_', "");
    // The standard parser takes a plus sign.
    digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| u128::from_str_radix(&digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::Mnemonic;
    use rstest::rstest;

    const ADD: &str =
        "64 | 48 01 d8 | add rax,rbx | rax=1 rbx=ffffffff_ffffffff cf => rax=0 cf pf af zf !sf !of";

    #[test]
    fn an_arithmetic_case_has_registers_and_flags() {
        let case = parse_line(ADD).unwrap();
        assert_eq!((case.mode, case.privilege), (Mode::Long64, 0));
        assert_eq!(case.code, [0x48, 0x01, 0xD8]);
        assert_eq!(case.disassembly, "add rax,rbx");
        assert_eq!(
            case.before.registers,
            [(Register::General(0), 1), (Register::General(3), u64::MAX.into())]
        );
        assert_eq!(case.before.flags, [(Flag::Cf, FlagState::Set)]);
        assert_eq!(case.after.exception, None);
        assert_eq!(case.after.state.flags[4..], [(Flag::Sf, FlagState::Clear), (Flag::Of, FlagState::Clear)]);
    }

    #[test]
    fn a_case_may_be_about_an_early_processor() {
        let line = "real@8086 | d2 30 | sal byte [bx+si],cl | rcx=1 =>";
        let case = parse_line(line).unwrap();
        assert_eq!((case.mode, case.generation), (Mode::Real, Some(Generation::I8086)));
        assert_eq!(case.to_string(), line);
        assert_eq!(case.instructions()[0].mnemonic(), Mnemonic::Sal);
    }

    #[test]
    fn a_faulting_case_has_its_exception_and_cr2() {
        let case = parse_line("p32/3 | 8b 03 | mov eax,[ebx] | rbx=dead0000 => #PF(4) cr2=dead0000").unwrap();
        assert_eq!((case.mode, case.privilege), (Mode::Protected32, 3));
        assert_eq!(case.after.exception, Some(Exception { vector: 14, error_code: Some(4) }));
        assert_eq!(case.after.state.registers, [(Register::Control(2), 0xDEAD_0000)]);
    }

    #[test]
    fn memory_is_bytes_in_the_order_of_their_addresses() {
        let case =
            parse_line("64 | 01 03 | add [rbx],eax | rbx=2000 [2000]=78563412 => [2000]=78563412").unwrap();
        assert_eq!(case.before.memory, [(0x2000, vec![0x78, 0x56, 0x34, 0x12])]);
    }

    #[test]
    fn a_whole_ymm_register_is_its_two_halves() {
        let line = "64 | 90 | nop | ymm1=1_00000000000000000000000000000002 ymm2=5 => ymm3.high=7";
        let case = parse_line(line).unwrap();
        let halves = |n, low, high| [(Register::Xmm(n), low), (Register::YmmHigh(n), high)];
        assert_eq!(case.before.registers, [halves(1, 2, 1), halves(2, 5, 0)].concat());
        assert_eq!(case.after.state.registers, [(Register::YmmHigh(3), 7)]);
    }

    #[test]
    fn an_undefined_flag_may_be_anything_after() {
        let case = parse_line("real | 27 | daa | => ?of").unwrap();
        assert_eq!(case.after.state.flags, [(Flag::Of, FlagState::Undefined)]);
    }

    #[test]
    fn a_bar_in_the_states_belongs_to_no_other_part() {
        assert_eq!(parse_line("64 | 90 | nop | => rax=1 | x"), Err(ParseError::Word("|".into())));
    }

    #[rstest]
    #[case("64 | 90 | nop", ParseError::Shape)]
    #[case("64 | 90 | nop | rax=1", ParseError::Shape)]
    #[case("65 | 90 | nop | =>", ParseError::Mode("65".into()))]
    #[case("64/4 | 90 | nop | =>", ParseError::Mode("64/4".into()))]
    #[case("real/3 | 90 | nop | =>", ParseError::Mode("real/3".into()))]
    #[case("v86/0 | 90 | nop | =>", ParseError::Mode("v86/0".into()))]
    #[case("real@8087 | 90 | nop | =>", ParseError::Processor("8087".into()))]
    #[case("p16@80286 | 90 | nop | =>", ParseError::EarlyMode)]
    #[case("64 | 9 | nop | =>", ParseError::Bytes("9".into()))]
    #[case("64 | +9 | nop | =>", ParseError::Bytes("+9".into()))]
    #[case("64 |  | nop | =>", ParseError::Bytes(String::new()))]
    #[case("64 | 90 | nop | eax=1 =>", ParseError::Word("eax=1".into()))]
    #[case("64 | 90 | nop | rax =>", ParseError::Word("rax".into()))]
    #[case("64 | 90 | nop | msr:10=1 =>", ParseError::Word("msr:10=1".into()))]
    #[case("64 | 90 | nop | [x]=00 =>", ParseError::Word("[x]=00".into()))]
    #[case("64 | 90 | nop | rax=1 rax=2 =>", ParseError::Twice("rax=2".into()))]
    #[case("64 | 90 | nop | => cf !cf", ParseError::Twice("!cf".into()))]
    #[case("64 | 90 | nop | xmm1=1 ymm1=2 =>", ParseError::Twice("ymm1=2".into()))]
    #[case("64 | 90 | nop | => #UD #UD", ParseError::Twice("#UD".into()))]
    #[case("64 | 90 | nop | #UD =>", ParseError::OnlyAfter("#UD".into()))]
    #[case("64 | 90 | nop | ?cf =>", ParseError::OnlyAfter("an undefined flag".into()))]
    #[case("64 | 90 | nop | cs=12345 =>", ParseError::Value { register: Register::Selector(1), value: "12345".into() })]
    #[case("64 | 90 | nop | rax=-1 =>", ParseError::Value { register: Register::General(0), value: "-1".into() })]
    fn a_mistake_is_told_as_what_it_is(#[case] line: &str, #[case] error: ParseError) {
        assert_eq!(parse_line(line), Err(error));
    }

    #[test]
    fn a_file_has_comments_and_errors_have_line_numbers() {
        let text = format!("# arithmetic\n\n{ADD}\n64 | zz | nop | =>\n");
        assert_eq!(parse(&text), Err((4, ParseError::Bytes("zz".into()))));
        assert_eq!(parse(&format!("# x\n{ADD}\n")).unwrap().len(), 1);
    }

    #[test]
    fn the_example_in_the_description_is_read() {
        let description = include_str!("../../../tests/corpus/README.md");
        let examples = description.split("```").nth(1).unwrap();
        assert!(parse(examples).unwrap().len() >= 5);
    }
}
