//! Gathers (AVX2): VPGATHERDD, VPGATHERDQ, VPGATHERQD, VPGATHERQQ, VGATHERDPS, VGATHERDPD, VGATHERQPS,
//! VGATHERQPD. SDM vol. 2, 2.3.12 and VPGATHERDD.
//!
//! These are not all or nothing. Elements are loaded from the lowest up, each in an access of its own; a fault
//! at one leaves the elements before it in the destination with their mask elements zero, so that the
//! instruction, run again, goes on where it stopped. They are microcode for that reason: an emitter's semantics
//! commit nothing before their last access that can fault.
//!
//! The manual leaves some of the state at a fault open. Here, as on Zen 4, the mask elements not reached yet keep
//! their value (are not extended from their sign) and nothing above the vector is cleared before the end. No
//! interrupt is taken between elements. Equal registers for destination, index and mask are #UD at decoding.

use super::{Elements, VEX, vector_len};
use crate::{
    arch::{Exception, Width},
    cpu::{Cpu, slot},
    decode::Insn,
    semantics::{Emitter, Helper, Row, microcode_form},
};
use iced_x86::Code;

/// Gathers elements of width `element` by indices of width `index`.
fn gather(cpu: &mut Cpu, i: &Insn, index: Width, element: Width) -> Result<(), Exception> {
    let (to, mask) = (i.reg[0], i.reg[2]);
    let count = vector_len(i) / index.bytes().max(element.bytes());
    for k in 0..count {
        if Elements::of(cpu, mask, element).selects(k) {
            let offset = address(cpu, i, index, k);
            let value = cpu.read_seg(i.segment(), offset, element)?;
            Elements::of(cpu, to, element).set(k, value);
        }
        Elements::of(cpu, mask, element).set(k, 0);
    }
    Elements::of(cpu, to, element).clear_from(count * element.bytes());
    Elements::of(cpu, mask, element).clear_from(0);
    Ok(())
}

/// Offset of element `k` in its segment.
fn address(cpu: &mut Cpu, i: &Insn, index: Width, k: u64) -> u64 {
    let base = cpu.regs[usize::from(i.base) % slot::COUNT];
    let index = index.sign_extend(Elements::of(cpu, i.index, index).get(k));
    base.wrapping_add(index << (i.scale & 3)).wrapping_add(i.disp) & i.asize.mask()
}

pub(super) fn dword_by_dword(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    gather(cpu, i, Width::W32, Width::W32)
}

pub(super) fn qword_by_dword(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    gather(cpu, i, Width::W32, Width::W64)
}

pub(super) fn dword_by_qword(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    gather(cpu, i, Width::W64, Width::W32)
}

pub(super) fn qword_by_qword(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    gather(cpu, i, Width::W64, Width::W64)
}

/// Rows of gathers.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let all: [(Helper, [Code; 4]); 4] = [
        (
            dword_by_dword,
            [
                Code::VEX_Vpgatherdd_xmm_vm32x_xmm,
                Code::VEX_Vpgatherdd_ymm_vm32y_ymm,
                Code::VEX_Vgatherdps_xmm_vm32x_xmm,
                Code::VEX_Vgatherdps_ymm_vm32y_ymm,
            ],
        ),
        (
            qword_by_dword,
            [
                Code::VEX_Vpgatherdq_xmm_vm32x_xmm,
                Code::VEX_Vpgatherdq_ymm_vm32x_ymm,
                Code::VEX_Vgatherdpd_xmm_vm32x_xmm,
                Code::VEX_Vgatherdpd_ymm_vm32x_ymm,
            ],
        ),
        (
            dword_by_qword,
            [
                Code::VEX_Vpgatherqd_xmm_vm64x_xmm,
                Code::VEX_Vpgatherqd_xmm_vm64y_xmm,
                Code::VEX_Vgatherqps_xmm_vm64x_xmm,
                Code::VEX_Vgatherqps_xmm_vm64y_xmm,
            ],
        ),
        (
            qword_by_qword,
            [
                Code::VEX_Vpgatherqq_xmm_vm64x_xmm,
                Code::VEX_Vpgatherqq_ymm_vm64y_ymm,
                Code::VEX_Vgatherqpd_xmm_vm64x_xmm,
                Code::VEX_Vgatherqpd_ymm_vm64y_ymm,
            ],
        ),
    ];
    all.into_iter().flat_map(|(run, codes)| codes.map(|code| microcode_form(code, run).with(VEX))).collect()
}
