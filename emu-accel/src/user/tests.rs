//! Small programs of user code, with KVM and without: what a guest's kernel finds afterwards must be the same.

use super::*;
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Seg, Segment, Xcr0, attr},
    cpu_model::CpuModel,
    engine::{FewDevices, VcpuSignal, request},
    state::{CpuState, TableRegister},
};
use rstest::rstest;

const MEMORY: u64 = 4 << 20;
/// Pages, all mapped to themselves. The kernel's:
const ROOT: u64 = 0x1000;
const IDT: u64 = 0x6000;
const HANDLERS: u64 = 0x7000;
const TSS: u64 = 0x8000;
const KERNEL_STACK: u64 = 0xA000;
/// The user's: code, more code, data, data that cannot be written, nothing, data that was never used.
const CODE: u64 = 0x1_0000;
const SECOND: u64 = 0x1_1000;
const DATA: u64 = 0x1_2000;
const CONSTANT: u64 = 0x1_3000;
const NOTHING: u64 = 0x1_4000;
const FRESH: u64 = 0x1_5000;
/// Where SYSCALL goes, as a number of a handler.
const SYSCALL: u64 = 64;

/// A machine that stops its CPU when a handler says which it is.
struct Machine(Arc<VcpuSignal>);

impl FewDevices for Machine {
    fn port_write(&self, _: u16, _: u8, _: u32) {
        self.0.raise(request::STOP);
    }
    fn time_stamp_counter(&self) -> u64 {
        1000
    }
}

/// A CPU about to execute `code` in user mode, with a kernel whose handlers put their number into AL and stop.
fn cpu_with(code: &[u8]) -> Box<Cpu> {
    let ram = GuestMemory::new(MEMORY).unwrap();
    let put = |address: u64, words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        ram.write(address, &bytes).unwrap();
    };
    (0..3).for_each(|level| put(ROOT + level * 0x1000, &[(ROOT + (level + 1) * 0x1000) | 0x27]));
    for page in (0..0x2_0000).step_by(0x1000) {
        const NX: u64 = 1 << 63;
        let rights = match page {
            CODE | SECOND => 0x67,
            DATA => 0x67 | NX,
            CONSTANT => 0x65 | NX,
            NOTHING => 0,
            FRESH => 0x07 | NX,
            _ => 0x63,
        };
        put(ROOT + 0x3000 + page / 512, &[page | rights]);
    }
    for number in 0..=SYSCALL {
        let handler = HANDLERS + 16 * number;
        // mov al, number; out 0xf4, al; jmp $
        ram.write(handler, &[0xB0, number as u8, 0xE6, 0xF4, 0xEB, 0xFE]).unwrap();
        // INT3 and INT 80H's neighbours may be called by user code.
        put(IDT + 16 * number, &[handler & 0xFFFF | 0x10 << 16 | 0xEE00 << 32 | handler >> 16 << 48, 0]);
    }
    put(TSS + 4, &[KERNEL_STACK]);
    put(0x9000, &[0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF]);
    ram.write(CODE, code).unwrap();
    // add dword [rdi], 7; syscall
    ram.write(SECOND, &[0x83, 0x07, 0x07, 0x0F, 0x05]).unwrap();

    let memory = Arc::new(PhysicalMemory::new(ram));
    let signal: Arc<VcpuSignal> = Arc::default();
    let io = Arc::new(Machine(signal.clone()));
    let model: Arc<CpuModel> = Arc::new("x86-64-v3".parse().unwrap());
    let mut cpu = Cpu::new(0, model, memory, signal, io);
    cpu.load_state(&user_state());
    cpu
}

fn user_state() -> CpuState {
    let mut state = CpuState::reset(0);
    let segment = |selector, attr| Segment { selector, attr, limit: u32::MAX, base: 0, unusable: false };
    let data = attr::P | attr::S | attr::DPL | 3;
    state.segments.data = [segment(0, data); 6];
    state.segments.data[Seg::Cs as usize] = segment(0x33, data | attr::CODE | attr::L | attr::G);
    state.segments.data[Seg::Ss as usize] = segment(0x2B, data | attr::D | attr::G);
    state.segments.tr = Segment { limit: 0x67, base: TSS, ..segment(0x40, attr::P | 11) };
    state.segments.gdtr = TableRegister { base: 0x9000, limit: 31 };
    state.segments.idtr = TableRegister { base: IDT, limit: 16 * 65 - 1 };
    state.control.cr0 = Cr0::PE | Cr0::MP | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::PG;
    state.control.cr3 = ROOT;
    state.control.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::OSXSAVE | Cr4::FSGSBASE;
    state.control.efer = Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE;
    state.control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX;
    (state.msrs.star, state.msrs.lstar) = (0x0023_0010 << 32, HANDLERS + 16 * SYSCALL);
    state.general.gpr = std::array::from_fn(|n| n as u64);
    (state.general.gpr[4], state.general.gpr[7]) = (DATA + 0xF00, DATA);
    state.general.rip = CODE;
    state.general.rflags = Flags::FIXED | Flags::IF;
    state
}

/// What is left of it: state, and all of RAM.
fn left(cpu: &Cpu) -> (CpuState, Vec<u8>) {
    let mut ram = vec![0; MEMORY as usize];
    cpu.memory.ram().read(0, &mut ram).unwrap();
    (cpu.save_state(), ram)
}

/// KVM for a machine with `cpu`; `None` where there is none that executes user code.
fn hardware(cpu: &Cpu) -> Option<UserVcpu> {
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(reason) => {
            println!("skipped: {reason}");
            return None;
        }
    };
    if xcr0() != cpu.control.xcr0.bits() {
        println!("skipped: XCR0 of this host is {:#x}", xcr0());
        return None;
    }
    let machine = UserMachine::new(&kvm, cpu.memory.ram()).unwrap();
    Some(machine.vcpu(0).unwrap())
}

#[rstest]
#[case::a_sum(&[0x01, 0xC8, 0xFF, 0xC9, 0x75, 0xFA, 0x0F, 0x05], 64, 1)]
#[case::a_system_call(&[0x0F, 0x05], 64, 1)]
#[case::a_store(&[0x89, 0x07, 0x8B, 0x1F, 0x0F, 0x05], 64, 1)]
#[case::a_store_to_a_constant(&[0x89, 0x87, 0x00, 0x10, 0x00, 0x00], 14, 1)]
#[case::a_load_from_nowhere(&[0x8B, 0x87, 0x00, 0x20, 0x00, 0x00], 14, 1)]
#[case::a_load_from_the_kernel(&[0x8B, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00], 14, 1)]
#[case::a_load_from_beyond(&[0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8B, 0x00], 13, 1)]
#[case::a_jump_to_data(&[0xFF, 0xE7], 14, 1)]
#[case::first_use_of_a_page(&[0x89, 0x87, 0x00, 0x30, 0x00, 0x00, 0x0F, 0x05], 64, 2)]
#[case::int3(&[0x90, 0xCC, 0x0F, 0x05], 3, 1)]
#[case::int3_of_two_bytes(&[0x90, 0xCD, 0x03, 0x0F, 0x05], 3, 1)]
#[case::an_int(&[0xCD, 0x20], 32, 1)]
#[case::ud2_behind_an_int3_not_executed(&[0xEB, 0x01, 0xCC, 0x0F, 0x0B], 6, 1)]
#[case::a_privileged_instruction(&[0xF4], 13, 1)]
#[case::a_division_by_zero(&[0xF7, 0xF0], 0, 1)]
#[case::a_single_step(&[0x9C, 0x81, 0x0C, 0x24, 0x00, 0x01, 0x00, 0x00, 0x9D, 0x90, 0x0F, 0x05], 1, 1)]
#[case::the_base_of_fs(&[0xF3, 0x48, 0x0F, 0xAE, 0xD7, 0x64, 0x8B, 0x04, 0x25, 0, 0, 0, 0, 0x0F, 0x05], 64, 1)]
#[case::vectors(&[0xC5, 0xF9, 0x6E, 0xC1, 0xC4, 0xE2, 0x7D, 0x18, 0xC0, 0xC5, 0xFC, 0x58, 0xC8, 0x0F, 0x05], 64, 1)]
#[case::cpuid(&[0x31, 0xC0, 0x31, 0xC9, 0x0F, 0xA2, 0x0F, 0x05], 64, 0)]
#[case::rdtsc(&[0x0F, 0x31, 0x0F, 0x05], 64, 0)]
#[case::code_that_is_rewritten(&[
    0x48, 0x8D, 0xB7, 0x00, 0xF0, 0xFF, 0xFF, 0xFF, 0xC1, 0x83, 0xF9, 0x05, 0x77, 0x06, 0x80, 0x46, 0x02, 0x01, 0xFF, 0xE6, 0x0F, 0x05,
], 64, 2)]
fn the_kernel_finds_what_it_would_without_kvm(
    #[case] code: &[u8],
    #[case] vector: u8,
    #[case] at_least: u64,
) {
    let mut alone = cpu_with(code);
    assert_eq!(alone.run(), Stop::Requested);
    let mut cpu = cpu_with(code);
    let Some(mut hardware) = hardware(&cpu) else { return };
    // At every chance, however short the stretches.
    hardware.worth = Worth::eager();
    cpu.user_code.due = true;
    cpu.signal.poll_again();
    assert_eq!(hardware.run(&mut cpu), Stop::Requested);
    let ((state, ram), (expected, expected_ram)) = (left(&cpu), left(&alone));
    assert_eq!(state.general.gpr[0] as u8, vector);
    assert_eq!(state, expected);
    let differs = ram.iter().zip(&expected_ram).position(|(a, b)| a != b);
    assert_eq!(differs, None, "RAM differs there");
    let stretches = hardware.counts.stretches.load(Ordering::Relaxed);
    assert!(stretches >= at_least, "{stretches} stretches");
    let executed =
        hardware.counts.system_calls.load(Ordering::Relaxed) + hardware.counts.fills.load(Ordering::Relaxed);
    assert_eq!(executed > 0, at_least > 0, "whether KVM executed anything");
}

/// A translation that the kernel takes away is not used any more, nor is one that it changes.
#[test]
fn what_the_kernel_invalidates_is_forgotten() {
    // mov eax, [rdi]; syscall
    let mut cpu = cpu_with(&[0x8B, 0x07, 0x0F, 0x05]);
    let Some(mut hardware) = hardware(&cpu) else { return };
    hardware.worth = Worth::eager();
    let mut load = |cpu: &mut Cpu| {
        let mut state = cpu.save_state();
        (state.general.rip, state.general.gpr[0], state.general.gpr[7]) = (CODE, 0, DATA);
        state.general.rflags = user_state().general.rflags;
        state.segments = user_state().segments;
        cpu.cpl = 3;
        cpu.segments = state.segments;
        cpu.mode_changed();
        cpu.load_user_state(&state);
        let end = hardware.stretch(cpu).unwrap();
        assert!(matches!(end, End::Over | End::OneInstruction));
        (cpu.save_state().general.gpr[0], cpu.rip)
    };
    cpu.mmu.keep_beside(true);
    cpu.memory.ram().write(DATA, &0x1234_u32.to_le_bytes()).unwrap();
    cpu.memory.ram().write(SECOND, &0x5678_u32.to_le_bytes()).unwrap();
    assert_eq!(load(&mut cpu), (0x1234, CODE + 2));
    let entry = ROOT + 0x3000 + DATA / 512;
    // Another page in its place, seen once it is invalidated.
    cpu.memory.ram().write(entry, &(SECOND | 0x67 | 1 << 63).to_le_bytes()).unwrap();
    cpu.mmu.flush_page(DATA);
    assert_eq!(load(&mut cpu), (0x5678, CODE + 2));
    // Nothing in its place: the software CPU is to raise the fault.
    cpu.memory.ram().write(entry, &0_u64.to_le_bytes()).unwrap();
    cpu.mmu.flush_all();
    assert_eq!(load(&mut cpu), (0, CODE));
}

/// A request has a program that would never end come back.
#[test]
fn a_request_ends_a_stretch() {
    // jmp $
    let mut cpu = cpu_with(&[0xEB, 0xFE]);
    let Some(mut hardware) = hardware(&cpu) else { return };
    cpu.user_code.due = true;
    let signal = cpu.signal.clone();
    let asker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        signal.raise(request::STOP);
    });
    cpu.signal.poll_again();
    assert_eq!(hardware.run(&mut cpu), Stop::Requested);
    asker.join().unwrap();
    assert_eq!(cpu.rip, CODE);
    assert_eq!(hardware.counts.kicks.load(Ordering::Relaxed), 1);
    assert!(hardware.counts.nanos.load(Ordering::Relaxed) > 50_000_000);
}
