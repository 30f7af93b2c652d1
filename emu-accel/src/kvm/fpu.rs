//! x87, MMX, SSE and AVX state, to the XSAVE area that KVM takes and back. SDM vol. 1, 13.4.
//!
//! KVM_SET_FPU is not used: some KVMs leave XSTATE_BV clear with it, and the guest then sees initial state. The
//! area has the 64-bit form of the x87 pointers, which has no selectors.

use emu_core::state::{Extended, Simd, X87};
use kvm_bindings::kvm_xsave;

/// Offsets in the area.
const FCW: usize = 0;
const FSW: usize = 2;
const FTW: usize = 4;
const FOP: usize = 6;
const FIP: usize = 8;
const FDP: usize = 16;
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;
const XSTATE_BV: usize = 512;
/// Upper halves of YMM in the standard form; CPUID.0DH.2 says so on every processor that has them.
const YMM_HIGH: usize = 576;
/// State components: x87, SSE, AVX.
const X87_SSE: u64 = 0b011;
const AVX: u64 = 0b100;
/// TOP in the status word.
const TOP_SHIFT: u16 = 11;
const TOP: u16 = 7 << TOP_SHIFT;
/// Longest part of the area that is used.
const USED: usize = YMM_HIGH + 256;

/// To KVM's area. The part that is not used stays as `old` has it.
pub(super) fn to_area(x87: &X87, simd: &Simd, old: &kvm_xsave) -> kvm_xsave {
    let mut area = Area::read(old);
    area.put(FCW, &x87.fcw.to_le_bytes());
    area.put(FSW, &x87.status().to_le_bytes());
    area.put(FTW, &[x87.valid, 0]);
    area.put(FOP, &x87.fop.to_le_bytes());
    area.put(FIP, &x87.fip.to_le_bytes());
    area.put(FDP, &x87.fdp.to_le_bytes());
    area.put(MXCSR, &simd.mxcsr.to_le_bytes());
    for place in 0..8 {
        let value = x87.r[(usize::from(x87.top) + place) % 8];
        area.put(ST + 16 * place, &value.significand.to_le_bytes());
        area.put(ST + 16 * place + 8, &value.sign_exponent.to_le_bytes());
    }
    for (number, [low, high]) in simd.vector.iter().enumerate() {
        area.put(XMM + 16 * number, &low.to_le_bytes());
        area.put(YMM_HIGH + 16 * number, &high.to_le_bytes());
    }
    let wide = simd.vector.iter().any(|[_, high]| *high != 0);
    let present = area.u64(XSTATE_BV) & !AVX | X87_SSE | if wide { AVX } else { 0 };
    area.put(XSTATE_BV, &present.to_le_bytes());
    area.write(old)
}

/// From KVM's area. The selectors of the x87 pointers stay as they are.
pub(super) fn from_area(from: &kvm_xsave, x87: &mut X87, simd: &mut Simd) {
    let area = Area::read(from);
    let present = area.u64(XSTATE_BV);
    let status = area.u16(FSW);
    let top = (status & TOP) >> TOP_SHIFT;
    (x87.fcw, x87.fsw, x87.top) = (area.u16(FCW), status & !TOP, top as u8);
    (x87.valid, x87.fop) = (area.0[FTW], area.u16(FOP));
    (x87.fip, x87.fdp) = (area.u64(FIP), area.u64(FDP));
    for place in 0..8 {
        let at = ST + 16 * place;
        let value = Extended { significand: area.u64(at), sign_exponent: area.u16(at + 8) };
        x87.r[(usize::from(top) + place) % 8] = value;
    }
    simd.mxcsr = area.u64(MXCSR) as u32;
    simd.vector = std::array::from_fn(|number| {
        let high = if present & AVX != 0 { area.u128(YMM_HIGH + 16 * number) } else { 0 };
        [area.u128(XMM + 16 * number), high]
    });
}

/// The area's bytes.
struct Area([u8; USED]);

impl Area {
    fn read(from: &kvm_xsave) -> Self {
        let mut bytes = [0; USED];
        for (place, word) in bytes.chunks_exact_mut(4).zip(&from.region) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Area(bytes)
    }

    fn write(&self, old: &kvm_xsave) -> kvm_xsave {
        let mut area = kvm_xsave { region: old.region, ..kvm_xsave::default() };
        for (word, place) in area.region.iter_mut().zip(self.0.chunks_exact(4)) {
            *word = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
        }
        area
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn u128(&self, at: usize) -> u128 {
        u128::from(self.u64(at)) | u128::from(self.u64(at + 8)) << 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_as_it_went_with_and_without_upper_halves() {
        let value = |n: usize| Extended { significand: 1 << 63 | n as u64, sign_exponent: 0x3FFF + n as u16 };
        let x87 = X87 {
            r: std::array::from_fn(value),
            fcw: 0x37F,
            fsw: 0x4700 & !TOP,
            top: 5,
            valid: 0xE3,
            fop: 0x123,
            fip: 0x1_2345_6789,
            fdp: 0x99,
            ..X87::reset()
        };
        for high in [0, 7] {
            simd.mxcsr = area.u64(MXCSR) as u32;
            simd.vector = std::array::from_fn(|n| [n as u128 + (1 << 100), high]);
            let simd = Simd { vector, mxcsr: 0x1F80 };
            let area = to_area(&x87, &simd, &kvm_xsave::default());
            let mut back = (X87::reset(), Simd { vector: [[1; 2]; 16], mxcsr: 0 });
            from_area(&area, &mut back.0, &mut back.1);
            assert_eq!(back, (x87, simd));
        }
    }
}
