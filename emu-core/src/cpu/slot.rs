//! Slots of the register file that instructions index: the general-purpose registers, and beside them the
//! values that addresses are made of, so that every flat address is the same sum.

/// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15 as encoded.
pub const RAX: usize = 0;
/// RCX.
pub const RCX: usize = 1;
/// RDX.
pub const RDX: usize = 2;
/// RBX.
pub const RBX: usize = 3;
/// RSP.
pub const RSP: usize = 4;
/// RBP.
pub const RBP: usize = 5;
/// RSI.
pub const RSI: usize = 6;
/// RDI.
pub const RDI: usize = 7;
/// Always zero: the base or index that an address does not have.
pub const ZERO: u8 = 16;
/// RIP of the first byte of the page that code is executing in.
pub const RIP_BASE: u8 = 17;
/// Base of segment `n` is slot `SEGMENT_BASE + n`.
pub const SEGMENT_BASE: u8 = 18;
/// Number of slots.
pub const COUNT: usize = 32;

/// Byte offset of AL, CL, DL, BL, SPL, ... (and all wider registers) by number.
pub const fn byte_offset(register: usize) -> u8 {
    (register * 8) as u8
}

/// Byte offset of AH, CH, DH, BH by number 0..4.
pub const fn high_byte_offset(register: usize) -> u8 {
    (register * 8 + 1) as u8
}
