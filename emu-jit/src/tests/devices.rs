//! Devices and counts: a region is left behind the instruction whose access asks for something, and a run of so many
//! instructions ends where it should, however long regions are.

use super::machine::{self, CODE, DATA};
use crate::{Jit, Options};
use emu_core::{
    cpu::{Cpu, slot},
    cpu_model::CpuModel,
    engine::{FewDevices, VcpuSignal, request},
    interp::Pause,
    region::{Thresholds, Tier},
};
use rstest::rstest;
use std::sync::Arc;

/// Memory of a device: the VGA window.
const DEVICE: u64 = 0xA_0000;

/// Asks the CPU to stop whenever it accesses a device.
struct Stopping(Arc<VcpuSignal>);

impl FewDevices for Stopping {
    fn port_read(&self, _: u16, _: u8) -> u32 {
        self.0.raise(request::STOP);
        0
    }
    fn port_write(&self, _: u16, _: u8, _: u32) {
        self.0.raise(request::STOP);
    }
    fn mmio_read(&self, _: u64, _: u8) -> u64 {
        self.0.raise(request::STOP);
        0
    }
    fn mmio_write(&self, _: u64, _: u8, _: u64) {
        self.0.raise(request::STOP);
    }
}

/// A CPU about to run `code`, translated for `tier` as soon as it is executed again, or by the interpreter.
fn cpu(tier: Option<Tier>, code: &[u8]) -> Box<Cpu> {
    let memory = machine::memory();
    memory.ram().write(CODE, code).unwrap();
    let signal = Arc::<VcpuSignal>::default();
    let model = Arc::new(CpuModel::named("max").unwrap());
    let mut cpu = Cpu::new(0, model, memory, signal.clone(), Arc::new(Stopping(signal)));
    if let Some(tier) = tier {
        let hot = if tier == Tier::Hot { 0 } else { Thresholds::NEVER };
        let thresholds = Thresholds { warm: 1, hot };
        let options = Options { threads: 0, cache: 1 << 20, thresholds, ..Options::default() };
        cpu.set_translator(Arc::new(Jit::new(options).unwrap()));
    }
    machine::begin(&mut cpu, true, CODE);
    cpu
}

#[rstest]
#[case::store(&[0x88, 0x03])]
#[case::load(&[0x8A, 0x03])]
#[case::update(&[0x48, 0x01, 0x03])]
#[case::vector_store(&[0x0F, 0x11, 0x03])]
#[case::push(&[0x54])]
#[case::string(&[0xAA])]
#[case::port_write(&[0xE6, 0x80])]
#[case::port_read(&[0xE4, 0x80])]
fn nothing_is_executed_behind_an_access_that_asks_for_something(
    #[case] access: &[u8],
    #[values(None, Some(Tier::Warm), Some(Tier::Hot))] tier: Option<Tier>,
) {
    // again: inc ecx; (the access); inc ecx; inc ecx; mov esp, ebx; mov edi, ebx; jmp again
    let rest = [0xFF, 0xC1, 0xFF, 0xC1, 0x89, 0xDC, 0x89, 0xDF, 0xEB, 0xF4 - access.len() as u8];
    let mut cpu = cpu(tier, &[&[0xFF, 0xC1], access, &rest].concat());
    cpu.regs[slot::RCX] = 0;
    for register in [slot::RBX, slot::RSP, slot::RDI] {
        cpu.regs[register] = DEVICE + 0x100;
    }
    for round in 0..200 {
        assert_eq!(cpu.run_observed(1000, false), Pause::Requested);
        let behind = CODE + 2 + access.len() as u64;
        assert_eq!((cpu.rip, cpu.regs[slot::RCX]), (behind, 1 + 3 * round), "round {round}");
    }
}

#[rstest]
fn a_limit_is_exact_in_regions_that_are_longer(
    #[values(Tier::Warm, Tier::Hot)] tier: Tier,
    #[values(1, 49, 90, 130, 1003)] limit: u64,
) {
    // again: 100 times inc ecx, in four blocks, between which jz goes to the next; test cl, cl; jnz again; jmp again
    let part = [[0xFF, 0xC1].repeat(25), vec![0x74, 0]].concat();
    let mut code = part.repeat(4);
    let back = |code: &[u8]| -(code.len() as i32 + 4);
    code.extend([0x84, 0xC9]);
    code.extend([0x0F, 0x85]);
    code.extend((back(&code)).to_le_bytes());
    code.push(0xE9);
    code.extend((-(code.len() as i32 + 4)).to_le_bytes());
    let mut cpu = cpu(Some(tier), &code);
    assert_eq!(cpu.run_observed(100_000, false), Pause::Limit);
    for round in 1..200 {
        assert_eq!(cpu.run_observed(limit, false), Pause::Limit);
        assert_eq!(cpu.executed, 100_000 + round * limit);
    }
    assert_ne!(cpu.regs[slot::RCX], DATA);
}
