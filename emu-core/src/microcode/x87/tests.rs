//! The instructions on a CPU: memory images byte by byte, pending exceptions, the noting of pointers. What the
//! host can judge is in [`super::native`].

use super::{IMAGES, NOT_WAITING, WAITING, check_pending, control, soft, soft::status};
use crate::{
    arch::{Cr0, Exception, Seg, Segment, attr},
    cpu::{Cpu, slot},
    cpu_model::CpuModel,
    decode::{Insn, Kind, lower},
    engine::{FewDevices, VcpuSignal},
    memory::{GuestMemory, PhysicalMemory},
    semantics::{Attr, Helper},
};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Where instructions are put.
const CODE: u64 = 0x2000;
/// What EDX points at.
pub const DATA: u64 = 0x3000;

/// A machine of which only FERR# and IGNNE# matter.
#[derive(Default)]
struct Pins {
    ferr: AtomicBool,
    ignne: AtomicBool,
}

impl FewDevices for Pins {
    fn set_ferr(&self, asserted: bool) -> bool {
        self.ferr.store(asserted, Ordering::Relaxed);
        self.ignne.load(Ordering::Relaxed)
    }
}

/// A CPU with code and data, and the pins it drives.
pub struct Bench {
    pub cpu: Box<Cpu>,
    pins: Arc<Pins>,
}

unsafe extern "C-unwind" fn never(_: &mut Cpu, _: *const Insn) -> u32 {
    0
}

/// The routine for a form, as the opcode table finds it.
fn routine(code: Code) -> Option<Helper> {
    let image = IMAGES.iter().find(|row| row.0 == code).map(|row| row.1);
    let by_mnemonic = || {
        let extra: [(Mnemonic, Helper); 2] =
            [(Mnemonic::Wait, control::wait), (Mnemonic::Emms, control::emms)];
        let rows = WAITING.iter().chain(NOT_WAITING).chain(&extra);
        rows.clone().find(|row| row.0 == code.mnemonic()).map(|row| row.1)
    };
    image.or_else(by_mnemonic)
}

impl Bench {
    /// Flat 32-bit protected mode with CR0.NE set, after FNINIT.
    pub fn protected() -> Self {
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(1 << 20).expect("a megabyte")));
        let pins = Arc::new(Pins::default());
        let mut cpu = Cpu::new(
            0,
            Arc::new(CpuModel::named("max").expect("a model")),
            memory,
            Arc::new(VcpuSignal::default()),
            pins.clone(),
        );
        cpu.control.cr0 = Cr0::PE | Cr0::NE | Cr0::ET;
        let rights = attr::P | attr::S | attr::WRITABLE | attr::ACCESSED | attr::D | attr::G;
        let data = Segment { selector: 0x10, attr: rights, limit: u32::MAX, base: 0, unusable: false };
        for seg in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            cpu.set_seg(seg, data);
        }
        cpu.set_seg(Seg::Cs, Segment { selector: 0x08, attr: rights | attr::CODE, ..data });
        Self::ready(cpu, pins)
    }

    /// Real mode, DS = 0x123.
    fn real() -> Self {
        let mut bench = Self::protected();
        bench.cpu.control.cr0 = Cr0::ET;
        bench.cpu.set_seg(Seg::Cs, Segment::real(0x0100));
        bench.cpu.set_seg(Seg::Ds, Segment::real(0x0123));
        bench
    }

    fn ready(mut cpu: Box<Cpu>, pins: Arc<Pins>) -> Self {
        cpu.regs[slot::RDX] = DATA;
        control::initialize(&mut cpu);
        Bench { cpu, pins }
    }

    /// `bytes` as the CPU's mode decodes them, and their form.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<(Code, Insn)> {
        let bitness = self.cpu.mode.bitness();
        let instruction: Instruction = Decoder::with_ip(bitness, bytes, 0, DecoderOptions::NONE).decode();
        let template = Insn {
            handler: never,
            imm: 0,
            disp: 0,
            row: 0,
            off: 0,
            base: 0,
            index: 0,
            scale: 0,
            seg: 0,
            kind: [Kind::None; 4],
            reg: [0; 4],
            width: [crate::arch::Width::W32; 2],
            asize: crate::arch::Width::W32,
            len: 0,
            flags: 0,
            mem_size: 0,
            imm2: 0,
        };
        self.cpu.regs[usize::from(slot::RIP_BASE)] = CODE;
        let base = self.cpu.seg(Seg::Cs).base;
        self.cpu.memory.ram().write(base + CODE, bytes).expect("code is in RAM");
        let i = lower(&instruction, Attr::empty(), self.cpu.mode, &template);
        (instruction.code() != Code::INVALID).then(|| (instruction.code(), i))
    }

    /// Executes one instruction without waiting for pending exceptions.
    pub fn run(&mut self, bytes: &[u8]) -> Result<(), Exception> {
        let (code, i) = self.decode(bytes).expect("a valid encoding");
        let routine = routine(code).unwrap_or_else(|| panic!("{code:?} has no row"));
        routine(&mut self.cpu, &i)
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.cpu.memory.ram().write(address, bytes).expect("data is in RAM");
    }

    pub fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.cpu.memory.ram().read(address, &mut bytes).expect("data is in RAM");
        bytes
    }

    fn ferr(&self) -> bool {
        self.pins.ferr.load(Ordering::Relaxed)
    }

    /// Divides one by zero with ZE unmasked.
    fn divide_by_zero(&mut self) {
        self.cpu.x87.fcw = 0x37B;
        for bytes in [&[0xD9, 0xE8], &[0xD9, 0xEE], &[0xDE, 0xF9]] {
            self.run(bytes).expect("x87 errors are deferred");
        }
    }
}

/// A state in which every field of the environment shows.
fn marked(cpu: &mut Cpu) {
    let x87 = &mut cpu.x87;
    (x87.fcw, x87.fsw, x87.top, x87.valid) = (0x127F, 0x4521, 5, 0b1110_0001);
    x87.r[0] = soft::ONE;
    x87.r[5] = soft::zero(true);
    x87.r[6] = soft::INDEFINITE;
    x87.r[7] = soft::ONE;
    (x87.fip, x87.fcs, x87.fdp, x87.fds, x87.fop) = (0x1_2345, 0x1B, 0x6_789A, 0x2B, 0x5AB);
}

// Registers 7..0: valid, special, zero, empty x 4, valid.
const TAGS: u16 = 0b00_10_01_11_11_11_11_00;

#[test]
fn the_protected_32_bit_environment_has_the_manuals_layout() {
    let mut bench = Bench::protected();
    marked(&mut bench.cpu);

    bench.run(&[0xD9, 0x32]).unwrap();

    let expected = [
        0xFFFF_127F,
        0xFFFF_6D21,
        0xFFFF_0000 | u32::from(TAGS),
        0x1_2345,
        0x5AB_001B,
        0x6_789A,
        0xFFFF_002B,
    ];
    assert_eq!(
        bench.read::<28>(DATA).to_vec(),
        expected.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()
    );
}

#[test]
fn the_protected_16_bit_environment_has_the_manuals_layout() {
    let mut bench = Bench::protected();
    marked(&mut bench.cpu);

    bench.run(&[0x66, 0xD9, 0x32]).unwrap();

    let expected = [0x127F, 0x6D21, TAGS, 0x2345, 0x1B, 0x789A, 0x2B];
    assert_eq!(
        bench.read::<14>(DATA).to_vec(),
        expected.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()
    );
}

#[test]
fn the_real_mode_16_bit_environment_holds_linear_addresses() {
    let mut bench = Bench::real();
    marked(&mut bench.cpu);
    (bench.cpu.x87.fip, bench.cpu.x87.fcs) = (0x2345, 0x1000);
    (bench.cpu.x87.fdp, bench.cpu.x87.fds) = (0x789A, 0x6000);

    // FNSTENV [0x200]
    bench.run(&[0xD9, 0x36, 0x00, 0x02]).unwrap();

    let expected = [0x127F, 0x6D21, TAGS, 0x2345, 0x15AB, 0x789A, 0x6000];
    assert_eq!(
        bench.read::<14>(0x1230 + 0x200).to_vec(),
        expected.iter().flat_map(|x: &u16| x.to_le_bytes()).collect::<Vec<_>>()
    );
}

#[test]
fn the_real_mode_32_bit_environment_holds_linear_addresses() {
    let mut bench = Bench::real();
    marked(&mut bench.cpu);
    (bench.cpu.x87.fip, bench.cpu.x87.fcs) = (0x2345, 0x1000);
    (bench.cpu.x87.fdp, bench.cpu.x87.fds) = (0x789A, 0x6000);

    bench.run(&[0x66, 0xD9, 0x36, 0x00, 0x02]).unwrap();

    let expected: [u32; 7] = [
        0xFFFF_127F,
        0xFFFF_6D21,
        0xFFFF_0000 | u32::from(TAGS),
        0xFFFF_2345,
        0x0000_15AB,
        0xFFFF_789A,
        0x0000_6000,
    ];
    assert_eq!(
        bench.read::<28>(0x1230 + 0x200).to_vec(),
        expected.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()
    );
}

#[rstest::rstest]
#[case::wide(&[0xDD, 0x32], &[0xDD, 0x22])]
#[case::narrow(&[0x66, 0xDD, 0x32], &[0x66, 0xDD, 0x22])]
fn saving_initialises_and_restoring_brings_everything_back(#[case] save: &[u8], #[case] restore: &[u8]) {
    let mut bench = Bench::protected();
    marked(&mut bench.cpu);
    bench.cpu.x87.fip &= 0xFFFF;
    bench.cpu.x87.fdp &= 0xFFFF;
    let before = bench.cpu.x87;

    bench.run(save).unwrap();
    let between = bench.cpu.x87;
    bench.cpu.x87.r = Default::default();
    bench.run(restore).unwrap();

    assert_eq!((between.fcw, between.fsw, between.top, between.valid), (0x37F, 0, 0, 0));
    let opcode = if save.len() == 2 { before.fop } else { 0 };
    assert_eq!(bench.cpu.x87, crate::state::X87 { fop: opcode, ..before });
}

#[test]
fn storing_the_environment_masks_everything() {
    let mut bench = Bench::protected();
    bench.divide_by_zero();

    bench.run(&[0xD9, 0x32]).unwrap();

    assert_eq!(bench.read::<6>(DATA)[4..], [0x84, 0xB0], "the image still shows the pending exception");
    assert_eq!((bench.cpu.x87.fcw, check_pending(&mut bench.cpu)), (0x37F, Ok(())));
}

#[test]
fn an_unmasked_exception_keeps_the_operands_and_is_pending() {
    let mut bench = Bench::protected();

    bench.divide_by_zero();

    let x87 = &bench.cpu.x87;
    assert_eq!((x87.st(0), x87.st(1), x87.top), (soft::zero(false), soft::ONE, 6));
    assert_eq!(x87.fsw & (status::ZE | status::ES | status::B), status::ZE | status::ES | status::B);
    assert_eq!((x87.fip, x87.fcs, x87.fop), (CODE, 8, 0x6F9));
    assert_eq!(check_pending(&mut bench.cpu), Err(Exception::MF));
    assert_eq!(bench.run(&[0x9B]), Err(Exception::MF), "WAIT");
    assert!(!bench.ferr());
}

#[test]
fn the_opcode_is_found_behind_prefixes() {
    let mut bench = Bench::protected();
    bench.cpu.x87.fcw = 0x37E;
    bench.cpu.set_seg(Seg::Fs, *bench.cpu.seg(Seg::Ds));

    // FS: FADD m32fp [EDX], the stack empty
    bench.run(&[0x64, 0xD8, 0x02]).unwrap();

    assert_eq!((bench.cpu.x87.fop, bench.cpu.x87.fdp), (0x002, DATA));
}

#[rstest::rstest]
#[case::fnclex(&[0xDB, 0xE2])]
#[case::fninit(&[0xDB, 0xE3])]
#[case::fnsave(&[0xDD, 0x32])]
#[case::fnstenv(&[0xD9, 0x32])]
fn without_ne_the_error_pin_follows_the_summary(#[case] clearing: &[u8]) {
    let mut bench = Bench::protected();
    bench.cpu.control.cr0.remove(Cr0::NE);

    bench.divide_by_zero();
    let asserted = bench.ferr();
    let frozen = check_pending(&mut bench.cpu);
    bench.run(clearing).unwrap();

    assert_eq!((asserted, frozen), (true, Err(Exception::Restart)));
    assert_eq!((bench.ferr(), check_pending(&mut bench.cpu)), (false, Ok(())));
}

#[test]
fn without_ne_the_ignore_pin_lets_a_waiting_instruction_run() {
    let mut bench = Bench::protected();
    bench.cpu.control.cr0.remove(Cr0::NE);
    bench.divide_by_zero();
    bench.pins.ignne.store(true, Ordering::Relaxed);

    // FLD1
    let ran = bench.run(&[0xD9, 0xE8]);

    assert_eq!((ran, bench.cpu.x87.st(0)), (Ok(()), soft::ONE));
    assert_eq!(bench.cpu.x87.fsw & status::ES, status::ES, "the error stands");
}

#[rstest::rstest]
#[case::fadd(&[0xD8, 0xC1], false)]
#[case::emms(&[0x0F, 0x77], false)]
#[case::wait(&[0x9B], false)]
#[case::fnstcw(&[0xD9, 0x3A], true)]
fn the_interpreter_freezes_waiting_instructions_while_an_error_is_pending(
    #[case] bytes: &[u8],
    #[case] runs: bool,
) {
    let mut bench = Bench::protected();
    bench.cpu.control.cr0.remove(Cr0::NE);
    bench.divide_by_zero();
    bench.write(CODE, bytes);
    bench.cpu.rip = CODE;

    bench.cpu.step();
    let frozen_at = bench.cpu.rip;
    bench.cpu.x87.fsw = 0;
    bench.cpu.rip = CODE;
    bench.cpu.step();

    assert_eq!(frozen_at, if runs { CODE + bytes.len() as u64 } else { CODE });
    assert_eq!(bench.cpu.rip, CODE + bytes.len() as u64);
}

#[test]
fn unmasking_a_flag_that_is_set_makes_it_pending() {
    let mut bench = Bench::protected();
    bench.cpu.x87.fsw = status::PE;
    bench.write(DATA, &0x35Fu16.to_le_bytes());

    bench.run(&[0xD9, 0x2A]).unwrap();

    assert_eq!(check_pending(&mut bench.cpu), Err(Exception::MF));
}

#[rstest::rstest]
#[case(Cr0::empty(), Ok(()))]
#[case(Cr0::TS, Ok(()))]
#[case(Cr0::MP, Ok(()))]
#[case(Cr0::EM, Ok(()))]
#[case(Cr0::TS.union(Cr0::MP), Err(Exception::NM))]
fn wait_obeys_ts_only_with_mp(#[case] bits: Cr0, #[case] expected: Result<(), Exception>) {
    let mut bench = Bench::protected();
    bench.cpu.control.cr0 |= bits;
    bench.cpu.mode_changed();

    assert_eq!(bench.run(&[0x9B]), expected);
}

#[test]
fn a_fault_on_the_operand_changes_nothing() {
    let mut bench = Bench::protected();
    bench.run(&[0xD9, 0xE8]).unwrap();
    let data = *bench.cpu.seg(Seg::Ds);
    bench.cpu.set_seg(Seg::Ds, Segment { limit: 0xFFF, ..data });
    let before = bench.cpu.x87;

    for bytes in
        [[0xD9, 0x1A], [0xD9, 0x02], [0xDB, 0x3A], [0xD8, 0x02], [0xDF, 0x32], [0xDD, 0x32], [0xDD, 0x22]]
    {
        assert_eq!(bench.run(&bytes), Err(Exception::GP0), "{bytes:x?}");
        assert_eq!(bench.cpu.x87, before, "{bytes:x?}");
    }
}

#[test]
fn mmx_makes_all_registers_valid_and_emms_empty() {
    let mut bench = Bench::protected();
    bench.cpu.x87.top = 3;

    bench.cpu.x87.enter_mmx();
    let entered = (bench.cpu.x87.top, bench.cpu.x87.tags());
    bench.run(&[0x0F, 0x77]).unwrap();

    assert_eq!(entered.0, 0);
    assert_eq!(entered.1, 0x5555);
    assert_eq!(bench.cpu.x87.tags(), 0xFFFF);
}

#[test]
fn every_form_that_decodes_has_a_row() {
    let mut bench = Bench::protected();
    for opcode in 0xD8..=0xDF {
        for modrm in (0x02..0x40).step_by(8).chain(0xC0..=0xFF) {
            if let Some((code, _)) = bench.decode(&[opcode, modrm]) {
                assert!(routine(code).is_some(), "{code:?}");
            }
        }
    }
}
