//! AES-NI. SDM vol. 1, 12.13; FIPS 197. The state is in column order, byte 0 lowest.

use super::{
    elements::Elements,
    galois::{inverses, multiply},
    operation::{host_operations, lane_operations},
};

lane_operations! {
    Aeskeygenassist(_, b, imm) => aeskeygenassist(b, imm);
}

host_operations! {
    Aesenc = aesenc(a, b), aesenc(a, b);
    Aesenclast = aesenclast(a, b), aesenclast(a, b);
    Aesdec = aesdec(a, b), aesdec(a, b);
    Aesdeclast = aesdeclast(a, b), aesdeclast(a, b);
    Aesimc = aesimc(_, b), aesimc(b);
}

/// The S-box: the inverse in the field, then an affine map.
const fn s_box() -> [u8; 256] {
    let mut table = inverses();
    let mut k = 0;
    while k < 256 {
        let x = table[k];
        let affine = x ^ x.rotate_left(1) ^ x.rotate_left(2) ^ x.rotate_left(3) ^ x.rotate_left(4);
        table[k] = affine ^ 0x63;
        k += 1;
    }
    table
}

const fn inverse(table: &[u8; 256]) -> [u8; 256] {
    let mut inverted = [0; 256];
    let mut k = 0;
    while k < 256 {
        inverted[table[k] as usize] = k as u8;
        k += 1;
    }
    inverted
}

static S_BOX: [u8; 256] = s_box();
static INVERSE_S_BOX: [u8; 256] = inverse(&s_box());

/// SubBytes and ShiftRows: row r moves r columns left; inverted, right.
fn substitute_and_shift(state: u128, table: &[u8; 256], columns: usize) -> u128 {
    let state = <[u8; 16]>::of(state);
    std::array::from_fn::<u8, 16, _>(|k| table[usize::from(state[(k + 4 * columns * (k % 4)) % 16])]).lane()
}

/// Each column as a polynomial times the one with these coefficients.
fn mix_columns(state: u128, coefficients: [u8; 4]) -> u128 {
    let state = <[u8; 16]>::of(state);
    std::array::from_fn::<u8, 16, _>(|k| {
        let (column, row) = (k & !3, k & 3);
        (0..4).fold(0, |sum, from| sum ^ multiply(state[column + from], coefficients[(from + 4 - row) % 4]))
    })
    .lane()
}

fn aesenc(state: u128, key: u128) -> u128 {
    mix_columns(substitute_and_shift(state, &S_BOX, 1), [2, 3, 1, 1]) ^ key
}

fn aesenclast(state: u128, key: u128) -> u128 {
    substitute_and_shift(state, &S_BOX, 1) ^ key
}

fn aesdec(state: u128, key: u128) -> u128 {
    aesimc(substitute_and_shift(state, &INVERSE_S_BOX, 3)) ^ key
}

fn aesdeclast(state: u128, key: u128) -> u128 {
    substitute_and_shift(state, &INVERSE_S_BOX, 3) ^ key
}

fn aesimc(state: u128) -> u128 {
    mix_columns(state, [14, 11, 13, 9])
}

#[inline(never)]
fn aeskeygenassist(key: u128, round: u8) -> u128 {
    let key = <[u32; 4]>::of(key);
    let substituted = |word: u32| u32::from_le_bytes(word.to_le_bytes().map(|byte| S_BOX[usize::from(byte)]));
    let rotated = |word: u32| word.rotate_right(8) ^ u32::from(round);
    let (one, three) = (substituted(key[1]), substituted(key[3]));
    [one, rotated(one), three, rotated(three)].lane()
}
