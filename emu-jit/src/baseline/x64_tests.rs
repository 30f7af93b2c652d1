//! What the assembler encodes, a decoder reads.

use super::x64::{A, Alu, Assembler, BitCount, CPU, Cc, Reg, Rm, STACK, Shift};
use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use rstest::rstest;

fn text(bytes: &[u8]) -> Vec<String> {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_branch_leading_zeros(false);
    let decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    let format = |instruction| {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        text
    };
    decoder.into_iter().map(format).collect()
}

#[rstest]
#[case(|a: &mut Assembler| a.copy(Reg(9), Reg(6)), "mov r9, rsi")]
#[case(|a: &mut Assembler| a.extend(0, Reg(6), Rm::Reg(Reg(7))), "movzx esi, dil")]
#[case(|a: &mut Assembler| a.extend(1, Reg(14), Rm::Mem(Reg(12), 0)), "movzx r14d, word [r12]")]
#[case(|a: &mut Assembler| a.extend(2, Reg(13), Rm::Mem(Reg(13), 0)), "mov r13d, [r13]")]
#[case(|a: &mut Assembler| a.extend(3, Reg(3), Rm::Mem(STACK, 0x80)), "mov rbx, [rsp+0x80]")]
#[case(|a: &mut Assembler| a.sign_extend(2, Reg(8), Reg(5)), "movsxd r8, ebp")]
#[case(|a: &mut Assembler| a.store(0, Rm::Mem(CPU, 1), Reg(6)), "mov [rdi+1], sil")]
#[case(|a: &mut Assembler| a.store(1, Rm::Mem(CPU, -1), Reg(8)), "mov [rdi-1], r8w")]
#[case(|a: &mut Assembler| a.store(0, Rm::Reg(Reg(5)), Reg(3)), "mov bpl, bl")]
#[case(|a: &mut Assembler| a.store_constant(3, Rm::Mem(CPU, 0x100), -2), "mov qword [rdi+0x100], 0xFFFFFFFFFFFFFFFE")]
#[case(|a: &mut Assembler| a.constant(Reg(8), 5), "mov r8d, 5")]
#[case(|a: &mut Assembler| a.constant(A, u64::MAX), "mov rax, 0xFFFFFFFFFFFFFFFF")]
#[case(|a: &mut Assembler| a.constant(Reg(15), 1 << 40), "mov r15, 0x10000000000")]
#[case(|a: &mut Assembler| a.alu(Alu::Xor, 3, A, Rm::Reg(Reg(10))), "xor rax, r10")]
#[case(|a: &mut Assembler| a.alu(Alu::Compare, 2, A, Rm::Index(Reg(5), Reg(9), 3, 0)), "cmp eax, [rbp+r9*8]")]
#[case(|a: &mut Assembler| a.alu_constant(Alu::Sub, 3, Rm::Reg(Reg(11)), 300), "sub r11, 0x12C")]
#[case(|a: &mut Assembler| a.alu_constant(Alu::Compare, 2, Rm::Mem(A, 0), 0), "cmp dword [rax], 0")]
#[case(|a: &mut Assembler| a.test_bit(Reg(9), 63), "bt r9, 0x3F")]
#[case(|a: &mut Assembler| a.multiply(2, Reg(9), Rm::Mem(STACK, 8)), "imul r9d, [rsp+8]")]
#[case(|a: &mut Assembler| a.multiply_wide(false, Rm::Reg(Reg(8))), "mul r8")]
#[case(|a: &mut Assembler| a.complement(3, Reg(8)), "not r8")]
#[case(|a: &mut Assembler| a.shift(Shift::Signed, 3, Reg(8), 7), "sar r8, 7")]
#[case(|a: &mut Assembler| a.shift_by(Shift::RotateLeft, 0, Reg(6)), "rol sil, cl")]
#[case(|a: &mut Assembler| a.shift_by(Shift::RotateLeft, 1, Reg(9)), "rol r9w, cl")]
#[case(|a: &mut Assembler| a.all_if_below(A), "sbb rax, rax")]
#[case(|a: &mut Assembler| a.reverse_bytes(2, Reg(9)), "bswap r9d")]
#[case(|a: &mut Assembler| a.count_bits(BitCount::LeadingZeros, Reg(9), Rm::Reg(Reg(3))), "lzcnt r9, rbx")]
#[case(|a: &mut Assembler| a.address(Reg(6), Rm::Index(Reg(13), Reg(3), 0, 0)), "lea rsi, [r13+rbx]")]
#[case(|a: &mut Assembler| a.copy_if(Cc::NotLess, Reg(6), Rm::Reg(A)), "cmovge rsi, rax")]
#[case(|a: &mut Assembler| a.jump_to(Rm::Mem(Reg(6), 0)), "jmp qword [rsi]")]
#[case(|a: &mut Assembler| a.call(Rm::Reg(A)), "call rax")]
#[case(|a: &mut Assembler| a.save(Reg(12)), "push r12")]
#[case(|a: &mut Assembler| a.restore(Reg(5)), "pop rbp")]
#[case(|a: &mut Assembler| a.load_vector(1, Rm::Mem(STACK, 0x20)), "movdqu xmm1, [rsp+0x20]")]
#[case(|a: &mut Assembler| a.store_vector(Rm::Mem(Reg(9), 0), 0), "movdqu [r9], xmm0")]
#[case(|a: &mut Assembler| a.vector(0xEF, 0, Rm::Reg(Reg(1))), "pxor xmm0, xmm1")]
fn one_instruction(#[case] make: fn(&mut Assembler), #[case] expected: &str) {
    let mut assembler = Assembler::default();
    make(&mut assembler);
    assert_eq!(text(&assembler.bytes), [expected]);
}

#[test]
fn branches_lead_to_their_labels() {
    let mut assembler = Assembler::default();
    let (back, ahead) = (assembler.label(), assembler.label());
    assembler.place(back);
    assembler.jump_if(Cc::Below, ahead);
    assembler.jump(back);
    assembler.place(ahead);
    assembler.link();
    assert_eq!(text(&assembler.bytes), ["jb near 0xB", "jmp 0"]);
}
