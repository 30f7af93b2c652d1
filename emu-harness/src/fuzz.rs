//! What the fuzz targets do with the bytes they are given (`fuzz/fuzz_targets`): each function must return,
//! whatever the bytes are. A panic is a finding. The same functions run on a bounded sequence of made-up inputs
//! in the tests.

mod ata;
mod cards;
mod devices;
mod nvme;
mod pci;
mod virtio;

pub use ata::{ahci, ide};
pub use cards::{e1000, rtl8139, virtio_net};
pub use nvme::nvme;
pub use pci::pci;
pub use virtio::{virtio_9p, virtio_balloon, virtio_block, virtio_console, virtio_entropy, virtio_vsock};

use crate::{
    corpus::{Case, Mode, parse},
    interpreter::Interpreter,
};
use emu_core::{
    arch::{Exception, Width},
    mmu::Privilege,
    state::CpuState,
};
use iced_x86::{Decoder, DecoderOptions};

/// Where code is put: instructions reach from one page into the next.
const CODE: u64 = 0x1FC0;
const PAGES: [u64; 2] = [0x1000, 0x2000];
/// Instructions executed of each input.
const STEPS: usize = 32;
/// Longest instruction.
const MAX_BYTES: usize = 15;

/// Bytes as one instruction in the mode that the first byte chooses. What our decoder takes for its length is
/// what iced-x86 does, and executing it comes to an end.
pub fn decoder(data: &[u8]) {
    let Some((mode, code)) = data.split_first() else { return };
    let (mode, _) = Mode::ALL[usize::from(*mode) % Mode::ALL.len()];
    let mut interpreter = loaded(mode, code);
    check_length(&mut interpreter, mode);
    // An exception is as good as any other end.
    let _end = interpreter.execute();
}

/// Blocks decoded, written into, and decoded again: the first byte chooses the mode, pairs of the others write
/// bytes or begin at places of the code. What is found is always what the bytes are now.
pub fn blocks(data: &[u8]) {
    let Some((mode, operations)) = data.split_first() else { return };
    let (mode, _) = Mode::ALL[usize::from(*mode) % Mode::ALL.len()];
    let mut interpreter = loaded(mode, operations);
    let origin = interpreter.cpu.save_state().segments.data[1].base;
    for pair in operations.chunks_exact(2).take(256) {
        let at = CODE + u64::from(pair[0] & 0x7F);
        if pair[0] & 0x80 != 0 {
            let written =
                interpreter.cpu.write_linear(origin + at, Width::W8, pair[1].into(), Privilege::System);
            assert!(written.is_ok(), "the pages of code can be written");
        } else {
            interpreter.cpu.rip = at;
            check_length(&mut interpreter, mode);
        }
    }
}

/// A saved state with digits of its text replaced, and code to execute from it: every state that can be read can
/// be loaded and executed from.
pub fn state(data: &[u8]) {
    let (changes, code) = data.split_at(data.len() / 2);
    let mut interpreter = loaded(Mode::Long64, code);
    let saved = interpreter.cpu.save_state();
    let mut text = serde_json::to_vec(&saved).expect("a state has a text");
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % text.len();
        if text[at].is_ascii_digit() {
            text[at] = b'0' + change[2] % 10;
        }
    }
    let Ok(changed) = serde_json::from_slice::<CpuState>(&text) else { return };
    interpreter.cpu.load_state(&changed);
    for _ in 0..STEPS {
        // Exceptions are not delivered: execution goes on where it was, with another instruction if there is one.
        if interpreter.cpu.execute_one().is_err() {
            break;
        }
    }
    let again = interpreter.cpu.save_state();
    interpreter.cpu.load_state(&again);
    assert_eq!(interpreter.cpu.save_state(), again, "a saved state loads as it is");
}

/// A file of the corpus. What can be read is executed.
pub fn corpus(data: &[u8]) {
    let Ok(cases) = std::str::from_utf8(data).map_err(drop).and_then(|text| parse(text).map_err(drop)) else {
        return;
    };
    for Case { mode, code, .. } in cases.iter().take(16) {
        let _end = loaded(*mode, code).execute();
    }
}

/// An interpreter about to execute `code`; registers point at it.
fn loaded(mode: Mode, code: &[u8]) -> Interpreter {
    let mut interpreter = Interpreter::new();
    let mut state = interpreter.state_in(mode, if mode == Mode::V86 { 3 } else { 0 }, 0, &PAGES);
    state.general.rip = CODE;
    state.general.gpr = [PAGES[0] + 0x800; 16];
    interpreter.write(CODE, &code[..code.len().min(0x400)]);
    interpreter.cpu.load_state(&state);
    interpreter
}

/// The instruction at RIP has the length that iced-x86 gives it.
fn check_length(interpreter: &mut Interpreter, mode: Mode) {
    let cpu = &mut interpreter.cpu;
    let linear = cpu.save_state().segments.data[1].base + cpu.rip;
    let found = match cpu.look_up() {
        Ok(found) => found,
        // Beyond the pages that are there.
        Err(Exception::Page(..)) => return,
        Err(other) => panic!("{other:?} when code was looked up"),
    };
    // SAFETY: the entry of a block that was just looked up; nothing has been executed or written since.
    let (len, offset) = unsafe { ((*found.entry).len, (*found.entry).off) };
    assert_eq!(u64::from(offset), linear & 0xFFF);
    let bytes = interpreter.read(linear, MAX_BYTES);
    let mut decoder =
        Decoder::new(mode.bitness(), &bytes, interpreter.cpu.model.decoder_options() | DecoderOptions::NONE);
    let instruction = decoder.decode();
    if !instruction.is_invalid() {
        assert_eq!(usize::from(len), instruction.len(), "{bytes:02x?} in {mode:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encodings::Random;
    use rstest::rstest;

    /// Inputs that begin with real instructions as often as not.
    fn smoke(target: fn(&[u8]), seed: u64, count: usize) {
        let mut random = Random::new(seed);
        for _ in 0..count {
            let len = random.below(96) as usize;
            let mut data: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
            for byte in &mut data {
                // Prefixes and two-byte opcodes are what random bytes have too few of.
                if random.below(4) == 0 {
                    *byte = random.pick(&[0x0F, 0x66, 0xF2, 0xF3, 0x48, 0xC5, 0xC4, 0xF0, 0x67, 0x2E, 0x38]);
                }
            }
            target(&data);
        }
    }

    /// Inputs of a guest's length. Half of them have many small numbers.
    fn guests(target: fn(&[u8]), seed: u64, count: usize) {
        let mut random = Random::new(seed);
        for round in 0..count {
            let small = round % 2 == 0;
            let byte = |random: &mut Random| match random.bits() as u8 {
                byte if small && byte & 1 == 0 => byte >> 4,
                byte => byte,
            };
            let data: Vec<u8> = (0..random.below(1500)).map(|_| byte(&mut random)).collect();
            target(&data);
        }
    }

    #[rstest]
    #[case::ahci(ahci, 1500)]
    #[case::ide(ide, 1500)]
    #[case::nvme(nvme, 1500)]
    #[case::pci(pci, 1500)]
    #[case::virtio_block(virtio_block, 1500)]
    #[case::virtio_console(virtio_console, 1500)]
    #[case::virtio_entropy(virtio_entropy, 1500)]
    #[case::virtio_balloon(virtio_balloon, 1500)]
    #[case::virtio_vsock(virtio_vsock, 1500)]
    #[case::virtio_9p(virtio_9p, 300)]
    fn a_device_outlives_any_guest(#[case] target: fn(&[u8]), #[case] count: usize) {
        guests(target, 0x579B_DF13, count);
    }

    #[test]
    fn any_bytes_decode() {
        smoke(decoder, 0x1357_9BDF, 1500);
    }

    #[test]
    fn blocks_follow_the_bytes_they_are_made_of() {
        smoke(blocks, 0x2468_ACE1, 600);
    }

    #[test]
    fn any_state_that_can_be_read_can_be_executed() {
        smoke(state, 0x3579_BDF1, 1500);
    }

    #[test]
    fn any_text_is_a_corpus_or_none() {
        let lines = include_str!("../../tests/corpus/branch.txt");
        let mut random = Random::new(0x468A_CE13);
        for _ in 0..400 {
            let mut text = lines.as_bytes()[..2000].to_vec();
            for _ in 0..4 {
                let at = random.below(text.len() as u64) as usize;
                text[at] = random.pick(b" |=>#[]?!/0af_x\n\xFF");
            }
            corpus(&text);
        }
    }
}
