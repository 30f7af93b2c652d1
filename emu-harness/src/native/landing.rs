//! Where a breakpoint instruction may stand that ends a case of one instruction.
//!
//! A single-step trap costs a virtual machine many times what a breakpoint does: hypervisors intercept the one and
//! not the other. So if an instruction can only go on at the next one, and does not touch the page where that
//! is, the child puts INT3 there instead of setting the trap flag.

use super::shared::PAGE;
use crate::{Setup, corpus::Mode};
use emu_core::arch::{Seg, attr};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

/// A repeated instruction with a higher count might reach the page of the code.
const MAX_REPEATED: u64 = 256;

/// Linear address for the breakpoint, if `setup` can have one.
pub fn place(setup: &Setup) -> Option<u64> {
    if setup.instructions != 1 {
        return None;
    }
    let rip = setup.state.general.rip;
    let start = linear(setup, Seg::Cs as usize, rip);
    let region = setup
        .memory
        .iter()
        .find(|region| start.checked_sub(region.address).is_some_and(|at| at < region.bytes.len() as u64))?;
    if region.rights.write || !region.rights.execute {
        return None;
    }
    let code = &region.bytes[(start - region.address) as usize..];
    let options = DecoderOptions::AMD;
    let mut decoder = Decoder::with_ip(setup.mode.bitness(), code, rip, options);
    let instruction = decoder.decode();
    let next = start.wrapping_add(instruction.len() as u64);
    let plain = !instruction.is_invalid()
        && instruction.flow_control() == FlowControl::Next
        && within_segment(setup, instruction.next_ip())
        && next & (PAGE - 1) != 0
        && region.address & !(PAGE - 1) <= next
        && !touches(setup, &instruction, next & !(PAGE - 1));
    plain.then_some(next)
}

/// Whether code at `rip` is within the limit of CS, and does not wrap around.
fn within_segment(setup: &Setup, rip: u64) -> bool {
    setup.mode == Mode::Long64 || rip <= setup.state.segments.data[Seg::Cs as usize].limit.into()
}

/// Whether the instruction may access the page at `page`, as far as its operands tell.
fn touches(setup: &Setup, instruction: &Instruction, page: u64) -> bool {
    let gpr = &setup.state.general.gpr;
    let near = |linear: u64| linear.wrapping_add(PAGE).wrapping_sub(page) < 3 * PAGE;
    if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
        let mask = u64::MAX >> (64 - setup.mode.bitness().max(32));
        if instruction.is_string_instruction() && gpr[1] & mask > MAX_REPEATED {
            return true;
        }
    }
    if instruction.is_vsib() {
        return true;
    }
    let register = |register: Register, _, _| value(setup, register);
    let explicit = (0..instruction.op_count()).filter(|k| !is_plain(instruction.op_kind(*k)));
    let mut accessed = explicit.map(|k| instruction.virtual_address(k, 0, register));
    // Whatever else is accessed lies at one of the pointers that instructions use by themselves.
    let implicit = [(4, Seg::Ss), (5, Seg::Ss), (6, Seg::Ds), (7, Seg::Es), (7, Seg::Ds)];
    accessed.any(|address| address.is_none_or(near))
        || implicit.iter().any(|(number, segment)| near(linear(setup, *segment as usize, gpr[*number])))
}

fn is_plain(kind: OpKind) -> bool {
    !matches!(
        kind,
        OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}

/// The value of a register of an address, or the base of a segment.
fn value(setup: &Setup, register: Register) -> Option<u64> {
    let state = &setup.state;
    if register.is_segment_register() {
        return Some(linear(setup, register.number(), 0));
    }
    if register.is_ip() {
        return Some(state.general.rip);
    }
    let whole = state.general.gpr.get(register.full_register().number())?;
    Some(match register.size() {
        1 => whole & 0xFF,
        2 => whole & 0xFFFF,
        4 => whole & 0xFFFF_FFFF,
        _ => *whole,
    })
}

/// Linear address of an offset in a segment.
fn linear(setup: &Setup, segment: usize, offset: u64) -> u64 {
    let data = &setup.state.segments.data;
    if setup.mode == Mode::Long64 {
        let based = segment == Seg::Fs as usize || segment == Seg::Gs as usize;
        return offset.wrapping_add(if based { data[segment].base } else { 0 });
    }
    let mask = if data[segment].attr & attr::D == 0 { 0xFFFF } else { 0xFFFF_FFFF };
    (offset & mask).wrapping_add(data[segment].base) & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Region, Rights, interpreter::Interpreter};
    use rstest::rstest;

    const CODE: u64 = 0x1_0000;

    fn setup(code: &[u8]) -> Setup {
        let mut state = Interpreter::new().state_in(Mode::Long64, 3, 0, &[]);
        (state.general.rip, state.general.gpr[4]) = (CODE, 0x2_0000);
        let rights = Rights { write: false, ..Rights::ALL };
        Setup {
            mode: Mode::Long64,
            state,
            memory: vec![Region { address: CODE, bytes: code.to_vec(), rights }],
            instructions: 1,
            stop: None,
        }
    }

    #[rstest]
    #[case::register(&[0x48, 0x01, 0xD8], Some(CODE + 3))]
    #[case::memory(&[0x48, 0x01, 0x03], Some(CODE + 3))]
    #[case::own_page(&[0x8A, 0x05, 0, 0, 0, 0], None)]
    #[case::branch(&[0xEB, 0x10], None)]
    #[case::conditional(&[0x74, 0x10], None)]
    #[case::undefined(&[0x0F, 0x0B], None)]
    #[case::system_call(&[0x0F, 0x05], None)]
    fn only_what_goes_on_at_the_next_instruction_has_a_breakpoint(
        #[case] code: &[u8],
        #[case] expected: Option<u64>,
    ) {
        assert_eq!(place(&setup(code)), expected);
    }

    #[test]
    fn a_pointer_to_the_code_or_a_writable_page_needs_the_trap_flag() {
        let mut near = setup(&[0x48, 0x01, 0x03]);
        near.state.general.gpr[3] = CODE + 0x800;
        let mut writable = setup(&[0x90]);
        writable.memory[0].rights.write = true;
        assert_eq!((place(&near), place(&writable)), (None, None));
    }
}
