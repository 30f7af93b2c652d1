//! VCVTPS2PH. SDM vol. 2, VCVTPS2PH.
//!
//! The conversion sets flags in MXCSR or raises #XM, and then the result is stored. A store that faults must find
//! nothing committed, and its fault comes before #XM on Zen 4 (measured; the manuals do not say).

use crate::{
    arch::Exception,
    cpu::Cpu,
    decode::{Insn, Kind},
    microcode::vector::{VEX, vector_len},
    mmu::Privilege,
    semantics::{Attr, Emitter, Row, microcode_form, vector::store_halves},
};
use iced_x86::Code;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    [Code::VEX_Vcvtps2ph_xmmm64_xmm_imm8, Code::VEX_Vcvtps2ph_xmmm128_ymm_imm8]
        .map(|code| microcode_form(code, convert).with(VEX | Attr::SIMD_FP))
        .into()
}

fn convert(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    if i.kind[0] == Kind::Mem {
        let len = vector_len(i) / 2;
        let linear = cpu.linear(i.segment(), cpu.effective_address(i), len, true)?;
        cpu.probe_write(linear, len, Privilege::Current)?;
    }
    cpu.with_emitter(|e| store_halves(e, i))
}
