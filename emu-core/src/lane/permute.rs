//! Elements across lanes (AVX2): one lane of the result from both of the source. Broadcasts.

use super::{
    LaneOp3, LaneOperation3,
    elements::{Elements, build},
    operation::lane_operations,
};

lane_operations! {
    // The lane that a nibble of the immediate describes, of a source with `b` above `a`.
    Vpermq(a, b, imm) => {
        let element = |k: u8| if imm >> k & 2 != 0 { b } else { a } >> (64 * (imm >> k & 1));
        u128::from(element(0) as u64) | element(2) << 64
    };

    // Those of larger elements are PSHUFD and PUNPCKLQDQ.
    Vpbroadcastb(_, b, _) => [b as u8; 16].lane();
    Vpbroadcastw(_, b, _) => [b as u16; 8].lane();
}

/// VPERMD and VPERMPS: elements of the source with `b` above `a`, chosen by the elements of `c`.
pub struct Vpermd;

impl LaneOperation3 for Vpermd {
    const OP: LaneOp3 = LaneOp3::Vpermd;
    #[inline(always)]
    fn apply(a: u128, b: u128, c: u128, _: u8) -> u128 {
        let index = <[u32; 4]>::of(c);
        build::<u32, u32, 4, 4>(a, b, |a, b, k| {
            let from = if index[k] & 4 != 0 { b } else { a };
            from[(index[k] & 3) as usize]
        })
    }
}
