//! Vector lanes: 16 bytes each, in slots of the stack frame. Hot vector code does not stay here for long.
//!
//! Floating point is left to the interpreter: it needs the guest's MXCSR looked at.

use super::{Faults, Recorder};
use crate::baseline::ir::{Op, V};
use emu_core::{
    decode::Insn,
    lane::{Element, FpOperation, FpOperation3, LaneOperation, LaneOperation3, LanePrimitive},
    region::{fill::Wanted, layout},
    semantics::Vectors,
};

/// Slots for lanes.
pub const LANES: u8 = 24;

/// Applies an operation on lanes in memory.
unsafe extern "C" fn apply<O: LaneOperation>(r: *mut u128, a: *const u128, b: *const u128, imm: u64) {
    // SAFETY: translated code gives addresses of lanes in its frame, which need not be aligned.
    unsafe { r.write_unaligned(O::apply(a.read_unaligned(), b.read_unaligned(), imm as u8)) };
}

unsafe extern "C" fn apply3<O: LaneOperation3>(
    r: *mut u128,
    a: *const u128,
    b: *const u128,
    c: *const u128,
    imm: u64,
) {
    // SAFETY: as in `apply`.
    unsafe {
        r.write_unaligned(O::apply(a.read_unaligned(), b.read_unaligned(), c.read_unaligned(), imm as u8));
    }
}

/// Opcode of the host's operation, in the map 66 0F.
fn opcode(primitive: LanePrimitive) -> Option<u8> {
    use Element as E;
    use LanePrimitive as P;
    Some(match primitive {
        P::Add(E::I8) => 0xFC,
        P::Add(E::I16) => 0xFD,
        P::Add(E::I32) => 0xFE,
        P::Add(E::I64) => 0xD4,
        P::Sub(E::I8) => 0xF8,
        P::Sub(E::I16) => 0xF9,
        P::Sub(E::I32) => 0xFA,
        P::Sub(E::I64) => 0xFB,
        P::Equal(E::I8) => 0x74,
        P::Equal(E::I16) => 0x75,
        P::Equal(E::I32) => 0x76,
        P::GreaterSigned(E::I8) => 0x64,
        P::GreaterSigned(E::I16) => 0x65,
        P::GreaterSigned(E::I32) => 0x66,
        P::MinUnsigned(E::I8) => 0xDA,
        P::MaxUnsigned(E::I8) => 0xDE,
        P::MinSigned(E::I16) => 0xEA,
        P::MaxSigned(E::I16) => 0xEE,
        P::MulLow(E::I16) => 0xD5,
        P::And => 0xDB,
        P::AndNot => 0xDF,
        P::Or => 0xEB,
        P::Xor => 0xEF,
        _ => return None,
    })
}

impl Recorder {
    pub(crate) fn lane(&mut self) -> u8 {
        if self.lanes == LANES {
            self.refuse();
            return 0;
        }
        self.lanes += 1;
        self.lanes - 1
    }

    pub(super) fn vector_lane(&mut self, register: u8, lane: usize) -> u8 {
        let (to, at) = (self.lane(), vector(register, lane));
        self.push(Op::LaneGet(to, at), 0);
        to
    }

    pub(super) fn set_vector_lane(&mut self, register: u8, lane: usize, value: u8) {
        self.push(Op::LaneSet(vector(register, lane), value), 0);
    }

    pub(super) fn read_lanes<const N: usize>(&mut self, i: &Insn) -> Result<[u8; N], Faults> {
        let host = self.lanes_at::<N>(i, false)?;
        Ok(std::array::from_fn(|n| {
            let to = self.lane();
            self.push(Op::LaneRead(to, host, 16 * n as i16), 0);
            to
        }))
    }

    pub(super) fn write_lanes<const N: usize>(&mut self, i: &Insn, lanes: [u8; N]) -> Result<(), Faults> {
        let host = self.lanes_at::<N>(i, true)?;
        for (n, lane) in lanes.into_iter().enumerate() {
            self.push(Op::LaneWrite(host, 16 * n as i16, lane), 0);
        }
        Ok(())
    }

    /// Host address of `N` lanes at the memory operand.
    fn lanes_at<const N: usize>(&mut self, i: &Insn, write: bool) -> Result<V, Faults> {
        let linear = self.operand_linear(i, 0);
        self.check_alignment(i, linear, 16 * N as u64)?;
        Ok(self.push(Op::Host(linear, Wanted::one(16 * N as u8, write)), 64))
    }
}

/// Where a lane of a vector register is in the CPU.
fn vector(register: u8, lane: usize) -> u32 {
    (layout::VECTOR + 32 * usize::from(register & 15) + 16 * (lane & 1)) as u32
}

impl Vectors for Recorder {
    fn lane_from(&mut self, low: V, high: V) -> u8 {
        let to = self.lane();
        self.push(Op::LaneFrom(to, low, high), 0);
        to
    }
    fn lane_low(&mut self, a: u8) -> V {
        self.push(Op::LaneHalf(a, false), 64)
    }
    fn lane_high(&mut self, a: u8) -> V {
        self.push(Op::LaneHalf(a, true), 64)
    }
    fn lane_op<O: LaneOperation>(&mut self, a: u8, b: u8, imm: u8) -> u8 {
        let to = self.lane();
        let op = match O::OP.primitive().and_then(opcode) {
            Some(opcode) => Op::LaneVector(to, opcode, a, b),
            None => {
                self.lane_calls = true;
                Op::LaneCall(apply::<O> as *const () as usize, [to, a, b, u8::MAX], imm)
            }
        };
        self.push(op, 0);
        to
    }
    fn lane_op3<O: LaneOperation3>(&mut self, a: u8, b: u8, c: u8, imm: u8) -> u8 {
        let to = self.lane();
        self.lane_calls = true;
        self.push(Op::LaneCall(apply3::<O> as *const () as usize, [to, a, b, c], imm), 0);
        to
    }
    fn fp_lanes<O: FpOperation, const N: usize>(
        &mut self,
        _: [u8; N],
        _: [u8; N],
        _: u8,
    ) -> Result<[u8; N], Faults> {
        Err(Faults)
    }
    fn fp_lanes3<O: FpOperation3, const N: usize>(
        &mut self,
        _: [u8; N],
        _: [u8; N],
        _: [u8; N],
    ) -> Result<[u8; N], Faults> {
        Err(Faults)
    }
    fn check_x87(&mut self) -> Result<(), Faults> {
        Err(Faults)
    }
}
