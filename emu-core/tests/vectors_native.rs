//! Every vector row against the processor that the test runs on: the same bytes, the same registers, memory and
//! MXCSR, on the interpreter and natively.
#![cfg(target_arch = "x86_64")]

use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Segment, Xcr0},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::NoDevices,
    memory::{GuestMemory, PhysicalMemory},
    semantics::{
        Attr, Key, Run, Table,
        effects::Effects,
        vector::{Meaning, Rows, list},
    },
};
use iced_x86::{
    Code, CpuidFeature, Encoder, Instruction, MemoryOperand, OpCodeOperandKind, OpKind, Register,
};
use rstest::rstest;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::{
    arch::{asm, is_x86_feature_detected},
    mem::offset_of,
    ops::Range,
    sync::Arc,
};

/// The registers that the instructions of this test name, and the memory that they reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
struct Registers {
    vector: [[u128; 2]; 4],
    memory: [u128; 2],
    mm: [u64; 2],
    /// RAX, RCX, RDX.
    gpr: [u64; 3],
    rflags: u64,
    mxcsr: u64,
}

/// `code` after loads of the vector registers from the state at R11 and before stores to it: whole YMM
/// registers where the host has them.
fn between_moves(code: &[u8]) -> Vec<u8> {
    let (load, store, first) = match is_x86_feature_detected!("avx") {
        true => (Code::VEX_Vmovaps_ymm_ymmm256, Code::VEX_Vmovaps_ymmm256_ymm, Register::YMM0),
        false => (Code::Movaps_xmm_xmmm128, Code::Movaps_xmmm128_xmm, Register::XMM0),
    };
    let at = |n: u32| MemoryOperand::with_base_displ(Register::R11, 32 * i64::from(n));
    let mut encoder = Encoder::new(64);
    for n in 0..4 {
        encoder.encode(&Instruction::with2(load, first + n, at(n)).unwrap(), 0).unwrap();
    }
    let mut bytes = encoder.take_buffer();
    bytes.extend_from_slice(code);
    encoder.set_buffer(bytes);
    for n in 0..4 {
        encoder.encode(&Instruction::with2(store, at(n), first + n).unwrap(), 0).unwrap();
    }
    encoder.take_buffer()
}

/// A page of code on the host.
struct Native(*mut std::ffi::c_void);

impl Native {
    fn new(code: &[u8]) -> Self {
        let code = between_moves(code);
        let prot = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
        // SAFETY: a new mapping, of which the code and a RET fill less than a page.
        unsafe {
            let page = mmap_anonymous(std::ptr::null_mut(), 4096, prot, MapFlags::PRIVATE).unwrap();
            std::ptr::copy_nonoverlapping(code.as_ptr(), page.cast(), code.len());
            page.cast::<u8>().add(code.len()).write(0xC3);
            Native(page)
        }
    }

    fn run(&self, state: &mut Registers) {
        // SAFETY: the code is one instruction on the registers loaded here and on memory at RDI, and a RET.
        // All floating-point exceptions are masked. MXCSR and the x87's tags are as before afterwards.
        unsafe {
            asm!(
                "sub rsp, 16",
                "stmxcsr [rsp]",
                "ldmxcsr [r11 + {mxcsr}]",
                "movq mm0, [r11 + {mm}]",
                "movq mm1, [r11 + {mm} + 8]",
                "mov rax, [r11 + {gpr}]",
                "mov rcx, [r11 + {gpr} + 8]",
                "mov rdx, [r11 + {gpr} + 16]",
                "push qword ptr [r11 + {rflags}]",
                "popfq",
                "call r10",
                "pushfq",
                "pop qword ptr [r11 + {rflags}]",
                "stmxcsr [r11 + {mxcsr}]",
                "ldmxcsr [rsp]",
                "movq [r11 + {mm}], mm0",
                "movq [r11 + {mm} + 8], mm1",
                "emms",
                "mov [r11 + {gpr}], rax",
                "mov [r11 + {gpr} + 8], rcx",
                "mov [r11 + {gpr} + 16], rdx",
                "add rsp, 16",
                mm = const offset_of!(Registers, mm),
                gpr = const offset_of!(Registers, gpr),
                rflags = const offset_of!(Registers, rflags),
                mxcsr = const offset_of!(Registers, mxcsr),
                in("r10") self.0,
                in("r11") &raw mut *state,
                in("rdi") &raw mut state.memory,
                clobber_abi("sysv64"),
            );
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { munmap(self.0, 4096).unwrap() };
    }
}

const CODE: u64 = 0x10_0000;
const DATA: u64 = 0x11_0000;

/// A CPU in 64-bit mode at CPL 0, the first 16 MiB mapped to themselves.
fn long_mode() -> Box<Cpu> {
    let ram = GuestMemory::new(16 << 20).unwrap();
    ram.write(0x1000, &0x2003u64.to_le_bytes()).unwrap();
    ram.write(0x2000, &0x3003u64.to_le_bytes()).unwrap();
    for n in 0..8u64 {
        ram.write(0x3000 + 8 * n, &(n << 21 | 0x83).to_le_bytes()).unwrap();
    }
    let model = Arc::new(CpuModel::named("max").unwrap());
    let mut cpu =
        Cpu::new(0, model, Arc::new(PhysicalMemory::new(ram)), Arc::default(), Arc::new(NoDevices::new()));
    let mut state = cpu.save_state();
    state.control.cr0 = Cr0::PE | Cr0::PG | Cr0::ET | Cr0::NE | Cr0::WP;
    state.control.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::OSXSAVE;
    state.control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX;
    state.control.efer = Efer::LME | Efer::LMA;
    state.control.cr3 = 0x1000;
    state.segments.data =
        [Segment { selector: 0x10, attr: 0xC093, limit: u32::MAX, base: 0, unusable: false }; 6];
    state.segments.data[1] = Segment { selector: 8, attr: 0xA09B, limit: u32::MAX, base: 0, unusable: false };
    cpu.load_state(&state);
    cpu
}

/// Runs the instruction at `code` on the interpreter. Whether it was executed, and not an exception delivered.
fn interpret(cpu: &mut Cpu, code: Range<u64>, state: &mut Registers) -> bool {
    cpu.simd.vector[..4].copy_from_slice(&state.vector);
    for (n, mm) in state.mm.iter().enumerate() {
        cpu.x87.r[n].significand = *mm;
    }
    cpu.regs[..3].copy_from_slice(&state.gpr);
    cpu.regs[7] = DATA;
    cpu.set_rflags(Flags::from_bits_truncate(state.rflags as u32));
    cpu.load_mxcsr(state.mxcsr as u32);
    let ram = cpu.memory.clone();
    for (n, lane) in state.memory.iter().enumerate() {
        ram.ram().write(DATA + 16 * n as u64, &lane.to_le_bytes()).unwrap();
    }
    cpu.rip = code.start;
    cpu.step();
    state.vector.copy_from_slice(&cpu.simd.vector[..4]);
    for (n, mm) in state.mm.iter_mut().enumerate() {
        *mm = cpu.x87.r[n].significand;
    }
    state.gpr.copy_from_slice(&cpu.regs[..3]);
    state.rflags = cpu.rflags().bits().into();
    state.mxcsr = cpu.simd.mxcsr.into();
    for (n, lane) in state.memory.iter_mut().enumerate() {
        let mut bytes = [0; 16];
        ram.ram().read(DATA + 16 * n as u64, &mut bytes).unwrap();
        *lane = u128::from_le_bytes(bytes);
    }
    cpu.rip == code.end
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn single(&mut self) -> u32 {
        let sign = ((self.next() & 1) as u32) << 31;
        let edges = [
            0,
            1,
            0x7F_FFFF,
            0x80_0000,
            0x80_0001,
            0x3F80_0000,
            0x3F00_0000,
            0x3F00_0001,
            0x3FC0_0000,
            0x4020_0000,
            0x4F00_0000,
            0x4EFF_FFFF,
            0x5F00_0000,
            0x7F7F_FFFF,
            0x7F80_0000,
            0x7F80_0001,
            0x7FC0_0000,
            0x7FC0_1234,
            0x3DCC_CCCD,
            0x4B00_0001,
            0x3EFF_FFFF,
        ];
        match self.below(4) {
            0 => self.next() as u32,
            1 => sign | (0x3F00_0000 + self.below(0x0800_0000) as u32),
            _ => sign | edges[self.below(edges.len())],
        }
    }

    fn double(&mut self) -> u64 {
        let sign = (self.next() & 1) << 63;
        let edges = [
            0,
            1,
            0xF_FFFF_FFFF_FFFF,
            0x10_0000_0000_0000,
            0x3FF0_0000_0000_0000,
            0x3FE0_0000_0000_0000,
            0x3FF8_0000_0000_0000,
            0x4004_0000_0000_0000,
            0x41DF_FFFF_FFC0_0000,
            0x41E0_0000_0000_0000,
            0x41DF_FFFF_FFE0_0000,
            0x43E0_0000_0000_0000,
            0x47EF_FFFF_E000_0000,
            0x47EF_FFFF_F000_0000,
            0x3810_0000_0000_0000,
            0x36A0_0000_0000_0000,
            0x3690_0000_0000_0000,
            0x7FEF_FFFF_FFFF_FFFF,
            0x7FF0_0000_0000_0000,
            0x7FF0_0000_0000_0001,
            0x7FF8_0000_0000_0000,
            0x7FF8_0000_0000_4321,
            0x3FB9_9999_9999_999A,
            0x380F_FFFF_FFFF_FFFF,
        ];
        match self.below(4) {
            0 => self.next(),
            1 => sign | (0x3FE0_0000_0000_0000 + (self.next() & 0x01FF_FFFF_FFFF_FFFF)),
            _ => sign | edges[self.below(edges.len())],
        }
    }

    fn lane(&mut self) -> u128 {
        match self.below(6) {
            0 | 1 => (0..4).fold(0, |lane, _| lane << 32 | u128::from(self.single())),
            2 | 3 => (0..2).fold(0, |lane, _| lane << 64 | u128::from(self.double())),
            // Few different bytes: equal ones, zeros, extremes.
            4 => (0..16).fold(0, |lane, _| {
                let byte = [0, 0x41, 0x42, 0x7F, 0x80, 0xFF][self.below(6)];
                lane << 8 | u128::from(byte as u8)
            }),
            _ => u128::from(self.next()) << 64 | u128::from(self.next()),
        }
    }

    fn registers(&mut self) -> Registers {
        let mut gpr = || if self.below(2) == 0 { self.next() } else { (self.below(40) as i64 - 20) as u64 };
        let gpr = [gpr(), gpr(), gpr()];
        let mut lane = || if self.below(8) == 0 { self.below(70) as u128 } else { self.lane() };
        let (vector, memory) = ([(); 4].map(|()| [lane(), lane()]), [lane(), lane()]);
        let arithmetic = Flags::ARITHMETIC.bits();
        let rounding = if self.below(2) == 0 { 0 } else { (self.next() & 3) << 13 };
        let small = if self.below(3) == 0 { self.next() & 0x8040 } else { 0 };
        Registers {
            vector,
            memory,
            mm: [self.lane() as u64, self.lane() as u64],
            gpr,
            rflags: (self.next() as u32 & arithmetic | 2).into(),
            mxcsr: 0x1F80 | rounding | small,
        }
    }
}

/// All codes that have rows.
fn codes() -> Vec<Code> {
    struct Codes(Vec<Code>);
    impl Rows for Codes {
        fn add<M: Meaning>(&mut self, code: Code, _: Attr) {
            self.0.push(code);
        }
    }
    let mut codes = Codes(Vec::new());
    list(&mut codes);
    // Gathers and masked moves are microcode.
    let table = Table::<Effects>::new();
    codes.0.extend(table.rows().iter().filter_map(|row| match (row.key, row.run) {
        (Key::Code(code), Run::Microcode(_)) if row.attr.contains(Attr::AVX) => Some(code),
        _ => None,
    }));
    codes.0
}

/// What the index elements of `code`, if it is a gather, are kept to: offsets within the memory of this test.
fn index_mask(code: Code) -> Option<u128> {
    use OpCodeOperandKind as Kind;
    let fill = |element: u128, bits: u32| (0..128 / bits).fold(0, |mask, k| mask | element << (bits * k));
    code.op_code().op_kinds().iter().find_map(|kind| match kind {
        Kind::mem_vsib32x | Kind::mem_vsib32y => Some(fill(0xF, 32)),
        Kind::mem_vsib64x | Kind::mem_vsib64y => Some(fill(0xF, 64)),
        _ => None,
    })
}

/// Whether the host has what `code` needs.
fn host_has(code: Code) -> bool {
    code.cpuid_features().iter().all(|feature| match feature {
        CpuidFeature::SSE3 => is_x86_feature_detected!("sse3"),
        CpuidFeature::SSSE3 => is_x86_feature_detected!("ssse3"),
        CpuidFeature::SSE4_1 => is_x86_feature_detected!("sse4.1"),
        CpuidFeature::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        CpuidFeature::AES => is_x86_feature_detected!("aes"),
        CpuidFeature::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        CpuidFeature::SHA => is_x86_feature_detected!("sha"),
        CpuidFeature::AVX => is_x86_feature_detected!("avx"),
        CpuidFeature::AVX2 => is_x86_feature_detected!("avx2"),
        CpuidFeature::FMA => is_x86_feature_detected!("fma"),
        CpuidFeature::F16C => is_x86_feature_detected!("f16c"),
        CpuidFeature::GFNI => is_x86_feature_detected!("gfni"),
        CpuidFeature::VAES => is_x86_feature_detected!("vaes"),
        CpuidFeature::VPCLMULQDQ => is_x86_feature_detected!("vpclmulqdq"),
        _ => true,
    })
}

/// `code` on registers, or with the operand that may be in memory at \[RDI\]. `None`: it has no such form.
fn instruction(code: Code, memory: bool, imm: u8) -> Option<Instruction> {
    use OpCodeOperandKind as Kind;
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut used_memory = false;
    for (n, kind) in code.op_code().op_kinds().iter().enumerate() {
        let n = n as u32;
        let register = |numbered: [Register; 3]| numbered[n as usize];
        let xmm = [Register::XMM1, Register::XMM2, Register::XMM0, Register::XMM3][n as usize % 4];
        let ymm = [Register::YMM1, Register::YMM2, Register::YMM0, Register::YMM3][n as usize % 4];
        let mm = [Register::MM0, Register::MM1, Register::MM0];
        let choice = match kind {
            Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 | Kind::xmm_is5 => xmm,
            Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 | Kind::ymm_is5 => ymm,
            Kind::mm_reg | Kind::mm_rm => register(mm),
            Kind::r32_reg | Kind::r32_rm => register([Register::EAX, Register::ECX, Register::EDX]),
            Kind::r64_reg | Kind::r64_rm => register([Register::RAX, Register::RCX, Register::RDX]),
            Kind::imm8 => {
                instruction.set_op_kind(n, OpKind::Immediate8);
                instruction.set_immediate8(imm);
                continue;
            }
            Kind::seg_rDI => {
                instruction.set_op_kind(n, OpKind::MemorySegRDI);
                used_memory = true;
                continue;
            }
            _ if memory => {
                instruction.set_op_kind(n, OpKind::Memory);
                instruction.set_memory_base(Register::RDI);
                match kind {
                    Kind::mem_vsib32x | Kind::mem_vsib64x => instruction.set_memory_index(Register::XMM3),
                    Kind::mem_vsib32y | Kind::mem_vsib64y => instruction.set_memory_index(Register::YMM3),
                    _ => {}
                }
                used_memory = true;
                continue;
            }
            Kind::xmm_or_mem => xmm,
            Kind::ymm_or_mem => ymm,
            Kind::mm_or_mem => register(mm),
            Kind::r8_or_mem => register([Register::AL, Register::CL, Register::DL]),
            Kind::r16_or_mem => register([Register::AX, Register::CX, Register::DX]),
            Kind::r32_or_mem => register([Register::EAX, Register::ECX, Register::EDX]),
            Kind::r64_or_mem => register([Register::RAX, Register::RCX, Register::RDX]),
            Kind::mem | Kind::mem_vsib32x | Kind::mem_vsib32y | Kind::mem_vsib64x | Kind::mem_vsib64y => {
                return None;
            }
            other => panic!("{code:?}: operand kind {other:?}"),
        };
        instruction.set_op_kind(n, OpKind::Register);
        instruction.set_op_register(n, choice);
    }
    (used_memory == memory).then_some(instruction)
}

/// Runs `code` in one form on both, often.
fn compare(code: Code, memory: bool, rounds: u64) {
    let immediates: Vec<u8> = match code.op_code().op_kinds().contains(&OpCodeOperandKind::imm8) {
        true => (0..=255).collect(),
        false => vec![0],
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ code as u64);
    let mut cpu = long_mode();
    for imm in &immediates {
        let Some(instruction) = instruction(code, memory, *imm) else { return };
        let mut encoder = Encoder::new(64);
        // REX.B and the like take no harm from a rip of zero: no operand is RIP-relative.
        let len = encoder.encode(&instruction, 0).unwrap_or_else(|error| panic!("{code:?}: {error}"));
        let bytes = encoder.take_buffer();
        let native = Native::new(&bytes);
        let at = CODE + 0x10 * u64::from(*imm);
        cpu.memory.ram().write(at, &bytes).unwrap();
        for _ in 0..rounds.div_ceil(immediates.len() as u64).max(8) {
            let mut before = random.registers();
            if let Some(mask) = index_mask(code) {
                before.vector[3] = before.vector[3].map(|lane| lane & mask);
            }
            let (mut here, mut there) = (before, before);
            native.run(&mut here);
            here.rflags = here.rflags & u64::from(Flags::ARITHMETIC.bits()) | 2;
            let done = interpret(&mut cpu, at..at + len as u64, &mut there);
            assert!(done, "{code:?} memory {memory} imm {imm:#x} raised {:?} on {before:x?}", cpu.raised);
            assert_eq!(
                there, here,
                "{code:?} memory {memory} imm {imm:#x} on {before:#x?}: {there:#x?} instead of {here:#x?}"
            );
        }
    }
}

#[rstest]
fn every_row_does_what_the_host_does(#[values(false, true)] memory: bool) {
    for code in codes().into_iter().filter(|&code| host_has(code)) {
        compare(code, memory, 500);
    }
}
