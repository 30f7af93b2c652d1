//! Small files of tests, written by [`Writer`], read and run; and what every opcode of the old processors does.

use super::{Exception, Processor, Register, Registers, State, Test, files, load, moo, run};
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// Writes the binary format.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn chunk(mut self, kind: &[u8; 4], payload: &[u8]) -> Self {
        self.0.extend(kind);
        self.0.extend((payload.len() as u32).to_le_bytes());
        self.0.extend(payload);
        self
    }

    fn counted(self, kind: &[u8; 4], payload: &[u8]) -> Self {
        let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
        bytes.extend(payload);
        self.chunk(kind, &bytes)
    }

    fn words(self, kind: &[u8; 4], registers: &Registers) -> Self {
        let mut present = 0u16;
        let mut values = Vec::new();
        for (bit, (register, _)) in Register::WORDS.into_iter().enumerate() {
            if let Some(value) = registers.get(register) {
                present |= 1 << bit;
                values.extend((value as u16).to_le_bytes());
            }
        }
        self.chunk(kind, &[&present.to_le_bytes()[..], &values].concat())
    }

    fn state(self, kind: &[u8; 4], state: &State) -> Self {
        let mut ram = (state.ram.len() as u32).to_le_bytes().to_vec();
        for (address, byte) in &state.ram {
            ram.extend(address.to_le_bytes());
            ram.push(*byte);
        }
        let inner = Writer::default().words(b"REGS", &state.registers).chunk(b"QUEU", &[0; 4]);
        self.chunk(kind, &inner.chunk(b"RAM ", &ram).0)
    }

    fn test(self, test: &Test) -> Self {
        let mut inner = Writer(test.index.to_le_bytes().to_vec())
            .counted(b"NAME", test.name.as_bytes())
            .counted(b"BYTS", &test.bytes)
            .state(b"INIT", &test.initial)
            .state(b"FINA", &test.last)
            .chunk(b"CYCL", &[0; 4]);
        if let Some(Exception { vector, flags_address }) = test.exception {
            inner = inner.chunk(b"EXCP", &[&[vector][..], &flags_address.to_le_bytes()].concat());
        }
        if let Some(hash) = test.hash {
            inner = inner.chunk(b"HASH", &hash);
        }
        self.chunk(b"TEST", &inner.0)
    }

    fn file(id: &[u8; 4], tests: &[Test]) -> Vec<u8> {
        let header = [&[1, 1, 0, 0][..], &(tests.len() as u32).to_le_bytes(), id].concat();
        let file = Writer::default().chunk(b"MOO ", &header).chunk(b"WHAT", &[1, 2, 3]);
        tests.iter().fold(file, Writer::test).0
    }
}

fn registers(values: &[(Register, u32)]) -> Registers {
    let mut registers = Registers::default();
    for (register, _) in Register::WORDS {
        registers.set(register, 0);
    }
    registers.set(Register::Cs, 0x1000);
    registers.set(Register::Ss, 0x2000);
    registers.set(Register::Esp, 0x100);
    registers.set(Register::Ds, 0x3000);
    registers.set(Register::Es, 0x4000);
    registers.set(Register::Eflags, 2);
    for &(register, value) in values {
        registers.set(register, value);
    }
    registers
}

/// A test of `bytes` at 1000:0000 with the registers `values` changed, which expects nothing yet.
fn test_of(bytes: &[u8], values: &[(Register, u32)]) -> Test {
    let at = registers(values).value(Register::Eip) + 0x1_0000;
    let code = bytes.iter().enumerate().map(|(offset, &byte)| (at + offset as u32, byte));
    let initial = State { registers: registers(values), ram: code.collect(), ..State::default() };
    Test { name: "a test".into(), bytes: bytes.to_vec(), initial, ..Test::default() }
}

fn expecting(mut test: Test, values: &[(Register, u32)], ram: &[(u32, u8)]) -> Test {
    for &(register, value) in values {
        test.last.registers.set(register, value);
    }
    test.last.ram.extend(ram);
    test
}

use Register::{Eax, Ecx, Edi, Eflags, Eip, Esi, Esp};

/// `ADD AL, 1` and a HLT.
fn add() -> Test {
    expecting(test_of(&[0x04, 0x01, 0xF4], &[(Eax, 0x12FE)]), &[(Eax, 0x12FF), (Eip, 3), (Eflags, 0x86)], &[])
}

#[test]
fn a_binary_file_is_read_zipped_or_not_and_its_tests_run() {
    let folder = tempfile::tempdir().unwrap();
    let hash = [0xAB; 20];
    let tests = [add(), Test { index: 1, hash: Some(hash), ..add() }];
    let bytes = Writer::file(b"C286", &tests);
    std::fs::write(folder.path().join("04.MOO"), &bytes).unwrap();
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(&bytes).unwrap();
    std::fs::write(folder.path().join("05.MOO.gz"), zipped.finish().unwrap()).unwrap();
    std::fs::write(folder.path().join("revocation_list.txt"), format!("# bad\n{}\n", "ab".repeat(20)))
        .unwrap();

    let found = files(folder.path()).unwrap();
    assert_eq!(found.len(), 2);
    for path in found {
        let set = load(&path).unwrap();
        assert_eq!((set.processor, set.tests.len(), set.revoked), (Processor::I80286, 1, 1));
        assert_eq!(set.tests[0], tests[0]);
        let report = run(&set).unwrap();
        assert!(report.is_good() && report.passed == 1, "{report:?}");
    }
}

#[test]
fn the_text_form_takes_processor_and_masks_from_its_metadata() {
    let folder = tempfile::tempdir().unwrap();
    // AAM 16 of 34, with CF wrong.
    let test = r#"[{"name": "aam", "bytes": [212, 16], "cycles": [[0, "--"]],
        "initial": {"regs": {"ax": 52, "cs": 4096, "ip": 0, "flags": 61442, "bx": 0, "cx": 0, "dx": 0, "ss": 0,
        "ds": 0, "es": 0, "sp": 0, "bp": 0, "si": 0, "di": 0}, "ram": [[65536, 212], [65537, 16]]},
        "final": {"regs": {"ax": 772, "ip": 2, "flags": 61443}, "ram": []}}]"#;
    let path = folder.path().join("D4.json");
    std::fs::write(&path, test).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("needs a metadata.json"));
    let metadata = |mask| {
        format!(r#"{{"cpu": "8086", "opcodes": {{"D4": {{"status": "normal", "flags-mask": {mask}}}}}}}"#)
    };
    for (mask, passes) in [(0xFFFE, true), (0xFFFF, false)] {
        std::fs::write(folder.path().join("metadata.json"), metadata(mask)).unwrap();
        let report = run(&load(&path).unwrap()).unwrap();
        assert_eq!(report.is_good(), passes, "{report:?}");
    }
}

#[test]
fn a_wrong_expectation_and_a_stray_write_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.moo");
    let wrong = expecting(add(), &[(Eax, 0x1200)], &[(0x1_0002, 0xF5)]);
    std::fs::write(&path, Writer::file(b"C286", &[wrong])).unwrap();
    let report = run(&load(&path).unwrap()).unwrap();
    assert_eq!(report.failed[0].differences, ["eax: 1200, got 12ff", "[10002]: f5, got f4"]);

    // MOV [1234], AL
    let stray = expecting(test_of(&[0xA2, 0x34, 0x12, 0xF4], &[(Eax, 0x55)]), &[(Eip, 4)], &[]);
    std::fs::write(&path, Writer::file(b"C286", &[stray])).unwrap();
    let report = run(&load(&path).unwrap()).unwrap();
    assert_eq!((report.passed, report.stray.as_slice(), report.is_good()), (1, &[0x3_1234][..], false));
}

#[test]
fn undefined_flags_are_masked_where_they_were_pushed_on_an_odd_stack_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("F6.6.MOO");
    // DIV CL by zero; all arithmetic flags are undefined, and were recorded as ones.
    let flags = |sp: u32| [(0x2_0000 + sp - 2, 0xD7), (0x2_0000 + sp - 1, 0x08)];
    for (sp, told) in [(0x100, 0x2_00FE), (0x101, 0x2_00FE)] {
        let values = [(Esp, sp - 6), (Register::Cs, 0), (Eip, 1), (Eflags, 2)];
        let mut test = expecting(test_of(&[0xF6, 0xF1, 0xF4], &[(Esp, sp)]), &values, &flags(sp));
        test.last.ram.extend([(0x2_0000 + sp - 4, 0x00), (0x2_0000 + sp - 3, 0x10)]);
        test.exception = Some(Exception { vector: 0, flags_address: told });
        std::fs::write(&path, Writer::file(b"C286", &[test])).unwrap();
        let report = run(&load(&path).unwrap()).unwrap();
        assert!(report.is_good() && report.passed == 1, "{report:?}");
    }
}

#[rstest::rstest]
#[case(b"", "does not begin")]
#[case(b"MOO \x0C\0\0\0\x01\x01\0\0\0\0\0\0V20 ", "no CPU model for tests of \"V20 \"")]
#[case(b"MOO \x0C\0\0\0\x01\x01\0\0\x01\0\0\0C286TEST\xFF\0\0\0", "\"TEST\" ends too early")]
fn what_is_wrong_with_a_file_is_told(#[case] bytes: &[u8], #[case] message: &str) {
    let error = moo::parse(bytes).err().unwrap().to_string();
    assert!(error.contains(message), "{error}");
}

/// A machine after one step of `bytes`.
fn step(processor: Processor, bytes: &[u8], values: &[(Register, u32)]) -> super::machine::Machine {
    let mut machine = super::machine::Machine::new(processor).unwrap();
    machine.set(&test_of(bytes, values).initial);
    machine.step();
    machine
}

/// The values of `registers` after one step.
fn after<const N: usize>(
    processor: Processor,
    bytes: &[u8],
    values: &[(Register, u32)],
    registers: [Register; N],
) -> [u32; N] {
    let machine = step(processor, bytes, values);
    registers.map(|register| machine.register(register))
}

#[test]
fn every_byte_means_something_to_the_8086() {
    let mut machine = super::machine::Machine::new(Processor::I8086).unwrap();
    for opcode in 0..=0xFF {
        for modrm in 0..=0xFF {
            let mut test = test_of(&[opcode, modrm, 0x11, 0x22, 0x33], &[(Ecx, 1), (Eip, 0x100)]);
            // The handlers of interrupts 6 and 13.
            test.initial.ram.extend([
                (6 * 4 + 2, 0xEE),
                (6 * 4 + 3, 0xEE),
                (13 * 4 + 2, 0xEE),
                (13 * 4 + 3, 0xEE),
            ]);
            machine.set(&test.initial);
            machine.step();
            let faulted = machine.register(Register::Cs) == 0xEEEE && opcode != 0xCD;
            assert!(!faulted, "{opcode:02x} {modrm:02x}");
        }
    }
}

#[rstest::rstest]
// JO, as 70.
#[case(&[0x60, 0x10], &[(Eflags, 0x802)], [0, 0x12, 0x100])]
// RET, as C3; RET imm16, as C2; SP wraps.
#[case(&[0xC1], &[(Esp, 0xFFFF)], [0, 0, 1])]
#[case(&[0xC0, 0x02, 0x00], &[], [0, 0, 0x104])]
// SETMO AL; MOV AX, SS as 8C /6; PUSH SP pushes the new SP (POP takes it off again below).
#[case(&[0xD0, 0xF0], &[], [0xFF, 2, 0x100])]
#[case(&[0x8C, 0xF0], &[], [0x2000, 2, 0x100])]
// SHL AX, CL by 32; IDIV CL after REP.
#[case(&[0xD3, 0xE0], &[(Eax, 1), (Ecx, 32)], [0, 2, 0x100])]
#[case(&[0xF3, 0xF6, 0xF9], &[(Eax, 7), (Ecx, 2)], [0x01FD, 3, 0x100])]
// LOCK before anything, and F1 is LOCK too.
#[case(&[0xF1, 0xF0, 0x40], &[], [1, 3, 0x100])]
fn the_8086_by_its_aliases(
    #[case] bytes: &[u8],
    #[case] values: &[(Register, u32)],
    #[case] expected: [u32; 3],
) {
    assert_eq!(after(Processor::I8086, bytes, values, [Eax, Eip, Esp]), expected);
}

#[test]
fn a_word_at_the_end_of_a_segment_wraps_on_the_8086_and_faults_on_the_80286() {
    // MOV [BX], AX
    let values = [(Eax, 0xBBAA), (Register::Ebx, 0xFFFF)];
    let machine = step(Processor::I8086, &[0x89, 0x07], &values);
    assert_eq!([0x3_FFFF, 0x3_0000, 0x4_0000].map(|address| machine.read(address)), [0xAA, 0xBB, 0]);
    let machine = step(Processor::I80286, &[0x89, 0x07], &values);
    assert_eq!((machine.register(Esp), machine.read(0x3_FFFF)), (0xFA, 0));
}

#[test]
fn a_failed_division_returns_behind_itself_on_the_8086_only() {
    for (processor, ip) in [(Processor::I8086, 2), (Processor::I80286, 0)] {
        // DIV CL by zero.
        let machine = step(processor, &[0xF6, 0xF1], &[]);
        assert_eq!((machine.register(Esp), machine.read(0x2_00FA)), (0xFA, ip), "{processor:?}");
    }
    // IDIV CL to -128: not on the 8086.
    let values = [(Eax, 0xFF80), (Ecx, 1)];
    assert_eq!(after(Processor::I8086, &[0xF6, 0xF9], &values, [Esp]), [0xFA]);
    assert_eq!(after(Processor::I80286, &[0xF6, 0xF9], &values, [Esp, Eax]), [0x100, 0x80]);
}

#[rstest::rstest]
#[case::word_before_the_end(&[0xF3, 0xA5], 0xFFFD, 0x10, [0, 1, 0x12])]
#[case::store(&[0xF3, 0xA5], 0x10, 0xFFFF, [0, 0x12, 1])]
#[case::first_access_of_cmps(&[0xF3, 0xA7], 0x10, 0xFFFF, [2, 0x10, 1])]
#[case::second_access_of_cmps(&[0xF3, 0xA7], 0xFFFF, 0x10, [1, 1, 0x12])]
#[case::without_repetition(&[0xAB], 0x10, 0xFFFF, [2, 0x10, 1])]
fn a_string_instruction_of_the_80286_has_moved_on_when_it_faults(
    #[case] bytes: &[u8],
    #[case] source: u32,
    #[case] destination: u32,
    #[case] expected: [u32; 3],
) {
    let values = [(Ecx, 2), (Esi, source), (Edi, destination)];
    let machine = step(Processor::I80286, bytes, &values);
    assert_eq!([Ecx, Esi, Edi].map(|register| machine.register(register)), expected);
    assert_eq!(machine.register(Esp), 0xFA);
}

#[rstest::rstest]
#[case::ten_bytes(&[0x26, 0x26, 0x26, 0x26, 0x81, 0x06, 0x00, 0x10, 0x01, 0x00], false)]
#[case::eleven_bytes(&[0x26, 0x26, 0x26, 0x26, 0x26, 0x81, 0x06, 0x00, 0x10, 0x01, 0x00], true)]
#[case::beyond_the_segment(&[0x26, 0x26, 0x26, 0x26, 0x81, 0x06, 0x00, 0x10, 0x01], true)]
fn the_80286_faults_at_what_is_too_long(#[case] bytes: &[u8], #[case] faults: bool) {
    let ip = if bytes.len() == 9 { 0xFFF7 } else { 0 };
    let sp = after(Processor::I80286, bytes, &[(Eip, ip)], [Esp])[0];
    assert_eq!(sp, if faults { 0xFA } else { 0x100 });
}

#[test]
fn the_80286_knows_what_it_does_not_know() {
    let is_undefined = |bytes: &[u8]| after(Processor::I80286, bytes, &[], [Esp])[0] == 0xFA;
    for bytes in [
        &[0x63, 0xC0][..],
        &[0x66, 0x90],
        &[0x64, 0x90],
        &[0x8C, 0xE0],
        &[0x8E, 0xC8],
        &[0x8F, 0xC8],
        &[0xC6, 0xC8, 0],
        &[0xC4, 0xC0],
        &[0x62, 0xC0],
        &[0x8D, 0xC0],
        &[0xFE, 0xD0],
        &[0xFF, 0xD8],
        &[0xFF, 0xF8],
        &[0x0F, 0x02, 0xC0],
        &[0x0F, 0x20, 0xC0],
        &[0x0F, 0xA2],
    ] {
        assert!(is_undefined(bytes), "{bytes:02x?}");
    }
    for bytes in [
        &[0xD6][..],
        &[0x9B],
        &[0xD9, 0xE8],
        &[0xF0, 0x90],
        &[0xF3, 0x90],
        &[0xD0, 0xF0],
        &[0x0F, 0x01, 0xE0],
        &[0x0F, 0x06],
        &[0x82, 0xC0, 1],
    ] {
        assert!(!is_undefined(bytes), "{bytes:02x?}");
    }
}

#[test]
fn stores_that_fault_leave_what_the_80286_leaves() {
    // POP [BX]: SP has moved. PUSHA: nothing is stored if not all can be.
    assert_eq!(after(Processor::I80286, &[0x8F, 0x07], &[(Register::Ebx, 0xFFFF)], [Esp]), [0xFC]);
    let machine = step(Processor::I80286, &[0x60], &[(Register::Ebx, 0x5555), (Esp, 0xB)]);
    assert_eq!((machine.register(Esp), machine.read(0x2_0003)), (5, 0));
    assert_eq!(after(Processor::I80286, &[0x54, 0x58], &[], [Esp]), [0xFE]);
}

#[test]
fn flags_above_the_eleventh_are_ones_on_the_8086_and_zeros_on_the_80286() {
    for (processor, high) in [(Processor::I8086, 0xF0), (Processor::I80286, 0x00)] {
        // PUSHF
        let machine = step(processor, &[0x9C], &[(Eflags, 0x7002)]);
        assert_eq!(machine.read(0x2_00FF), high, "{processor:?}");
    }
}
