//! Masked moves: VPMASKMOVD, VPMASKMOVQ, VMASKMOVPS, VMASKMOVPD. SDM vol. 2, VMASKMOV and VPMASKMOV.
//!
//! Elements not selected read as zero and are not written. All that is selected is checked before any of it is
//! committed. No alignment is asked for, but by alignment checking.

use super::{Elements, VEX, vector_len};
use crate::{
    arch::{Exception, Width},
    cpu::Cpu,
    decode::Insn,
    mmu::Privilege,
    semantics::{Emitter, Helper, Row, microcode_form},
};
use iced_x86::Code;

/// Up to eight elements.
const MOST: usize = 8;

/// Offset of element `k` of the memory operand.
fn offset(cpu: &Cpu, i: &Insn, w: Width, k: u64) -> u64 {
    cpu.effective_address(i).wrapping_add(k * w.bytes()) & i.asize.mask()
}

fn load(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let mut values = [0; MOST];
    for (k, value) in (0..vector_len(i) / w.bytes()).zip(&mut values) {
        if Elements::of(cpu, i.reg[1], w).selects(k) {
            let offset = offset(cpu, i, w, k);
            *value = cpu.read_seg(i.segment(), offset, w)?;
        }
    }
    let mut to = Elements::of(cpu, i.reg[0], w);
    to.clear_from(0);
    for (k, value) in (0..32 / w.bytes()).zip(values) {
        to.set(k, value);
    }
    Ok(())
}

fn store(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let count = vector_len(i) / w.bytes();
    let mut places = [None; MOST];
    for (k, place) in (0..count).zip(&mut places) {
        if Elements::of(cpu, i.reg[1], w).selects(k) {
            let linear = cpu.linear(i.segment(), offset(cpu, i, w, k), w.bytes(), true)?;
            cpu.probe_write(linear, w.bytes(), Privilege::Current)?;
            *place = Some(linear);
        }
    }
    for (k, place) in (0..count).zip(places) {
        let Some(linear) = place else { continue };
        let value = Elements::of(cpu, i.reg[2], w).get(k);
        cpu.write_linear(linear, w, value, Privilege::Current)?;
    }
    Ok(())
}

pub(super) fn load_dwords(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    load(cpu, i, Width::W32)
}

pub(super) fn load_qwords(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    load(cpu, i, Width::W64)
}

pub(super) fn store_dwords(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    store(cpu, i, Width::W32)
}

pub(super) fn store_qwords(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    store(cpu, i, Width::W64)
}

/// Rows of masked moves.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let all: [(Helper, [Code; 4]); 4] = [
        (
            load_dwords,
            [
                Code::VEX_Vpmaskmovd_xmm_xmm_m128,
                Code::VEX_Vpmaskmovd_ymm_ymm_m256,
                Code::VEX_Vmaskmovps_xmm_xmm_m128,
                Code::VEX_Vmaskmovps_ymm_ymm_m256,
            ],
        ),
        (
            load_qwords,
            [
                Code::VEX_Vpmaskmovq_xmm_xmm_m128,
                Code::VEX_Vpmaskmovq_ymm_ymm_m256,
                Code::VEX_Vmaskmovpd_xmm_xmm_m128,
                Code::VEX_Vmaskmovpd_ymm_ymm_m256,
            ],
        ),
        (
            store_dwords,
            [
                Code::VEX_Vpmaskmovd_m128_xmm_xmm,
                Code::VEX_Vpmaskmovd_m256_ymm_ymm,
                Code::VEX_Vmaskmovps_m128_xmm_xmm,
                Code::VEX_Vmaskmovps_m256_ymm_ymm,
            ],
        ),
        (
            store_qwords,
            [
                Code::VEX_Vpmaskmovq_m128_xmm_xmm,
                Code::VEX_Vpmaskmovq_m256_ymm_ymm,
                Code::VEX_Vmaskmovpd_m128_xmm_xmm,
                Code::VEX_Vmaskmovpd_m256_ymm_ymm,
            ],
        ),
    ];
    all.into_iter().flat_map(|(run, codes)| codes.map(|code| microcode_form(code, run).with(VEX))).collect()
}
