//! Small programs that run translated.

use super::machine::{CODE, DATA, FINISH, begin, cpu, memory};
use crate::{Jit, Options};
use emu_core::{
    cpu::Cpu,
    engine::VcpuSignal,
    region::{BlockKey, Eviction, Region, Source, Thresholds, Translator},
};
use std::{hint::black_box, sync::Arc};

/// Runs the program at `rip` to its end.
fn run(cpu: &mut Cpu, rip: u64) {
    begin(cpu, true, rip);
    let ended = (0..1000).any(|_| cpu.run_slice(1000).is_some());
    assert!(ended, "the program does not come to an end");
}

#[test]
fn an_instruction_across_two_pages_follows_what_is_written_to_the_second() {
    // mov edi,3; (again:) mov ecx,1000; nops; (next:) add eax,1 with its last two bytes in the second page
    let mut code = vec![0xBF, 3, 0, 0, 0, 0xB9, 0xE8, 3, 0, 0];
    code.extend([0x90; 19]);
    code.extend([0x05, 1, 0, 0, 0]);
    // dec ecx; jnz next; inc byte [the first byte of the second page]; dec edi; jnz again
    code.extend([0xFF, 0xC9, 0x75, 0xF7, 0xFE, 0x05, 0xF4, 0xFF, 0xFF, 0xFF, 0xFF, 0xCF, 0x75, 0xD5]);
    code.extend(FINISH);
    let rip = CODE + 0xFE0;
    let memory = memory();
    memory.ram().write(rip, &code).unwrap();
    let mut cpu = cpu(0, true, memory);
    let thresholds = Thresholds { warm: 1, hot: 1 };
    let jit = Jit::new(Options { threads: 0, cache: 1 << 20, thresholds, ..Options::default() }).unwrap();
    cpu.set_translator(Arc::new(jit));
    run(&mut cpu, rip);
    let expected = DATA + 1000 * (1 + 0x1_0001 + 0x2_0001);
    assert_eq!(cpu.save_state().general.gpr[0], expected);
}

#[test]
fn regions_that_lead_to_each_other_follow_what_is_written_to_one_of_them() {
    // mov edi,3; (again:) mov ecx,2000; (next:) call the next page; add ebx,eax; dec ecx; jnz next
    let mut code =
        vec![0xBF, 3, 0, 0, 0, 0xB9, 0xD0, 7, 0, 0, 0xE8, 0xF1, 0x0F, 0, 0, 0x01, 0xC3, 0xFF, 0xC9];
    // inc byte [the constant 1 there]; dec edi; jnz again
    code.extend([0x75, 0xF5, 0xFE, 0x05, 0xF0, 0x0F, 0, 0, 0xFF, 0xCF, 0x75, 0xE6]);
    code.extend(FINISH);
    // jmp there; (there:) test cl,7; jz even; mov eax,1; ret; (even:) mov eax,2; ret
    let mut called = vec![0xEB, 3, 0x90, 0x90, 0x90, 0xF6, 0xC1, 7, 0x74, 6, 0xB8, 1, 0, 0, 0, 0xC3];
    called.extend([0xB8, 2, 0, 0, 0, 0xC3]);
    for hot in [Thresholds::NEVER, 1000] {
        let memory = memory();
        memory.ram().write(CODE, &code).unwrap();
        memory.ram().write(CODE + 0x1000, &called).unwrap();
        let mut cpu = cpu(0, true, memory);
        let thresholds = Thresholds { warm: 1, hot };
        let options = Options { threads: 0, cache: 1 << 20, thresholds, ..Options::default() };
        cpu.set_translator(Arc::new(Jit::new(options).unwrap()));
        run(&mut cpu, CODE);
        let expected = DATA + 1750 * (1 + 2 + 3) + 3 * 250 * 2;
        assert_eq!(cpu.save_state().general.gpr[3], expected, "hot after {hot}");
    }
}

#[test]
fn pages_that_a_region_remembers_are_those_of_its_accesses() {
    // mov ecx,40000; (next:) mov [rdi],rcx; add rax,[rsi+rdx*8-8]; add [rbx],al; push rax; pop rbp; add rdi,61
    let mut code = vec![0xB9, 0x40, 0x9C, 0, 0, 0x48, 0x89, 0x0F, 0x48, 0x03, 0x44, 0xD6, 0xF8, 0x00, 0x03];
    code.extend([0x50, 0x5D, 0x48, 0x83, 0xC7, 61]);
    // lea edx,[rax+rbp]; and edx,0x3FFF; lea ebx,[rdi+0x7FF]; and ebx,0x3FFFFF; or ebx,0x200000; dec ecx; jnz next
    code.extend([0x8D, 0x14, 0x28, 0x81, 0xE2, 0xFF, 0x3F, 0, 0, 0x8D, 0x9F, 0xFF, 0x07, 0, 0]);
    code.extend([0x81, 0xE3, 0xFF, 0xFF, 0x3F, 0, 0x81, 0xCB, 0, 0, 0x20, 0, 0xFF, 0xC9, 0x75, 0xD1]);
    code.extend(FINISH);
    let [expected, warm, hot] = [None, Some((1, Thresholds::NEVER)), Some((1, 0))].map(|thresholds| {
        let memory = memory();
        memory.ram().write(CODE, &code).unwrap();
        let mut cpu = cpu(0, true, memory.clone());
        if let Some((warm, hot)) = thresholds {
            let thresholds = Thresholds { warm, hot };
            let options = Options { threads: 0, cache: 1 << 20, thresholds, ..Options::default() };
            cpu.set_translator(Arc::new(Jit::new(options).unwrap()));
        }
        run(&mut cpu, CODE);
        let mut data = vec![0; 4 << 20];
        memory.ram().read(DATA, &mut data).unwrap();
        assert!(cpu.no_page.is_clean());
        (cpu.save_state().general.gpr, data)
    });
    assert!(expected == warm && expected == hot, "{:x?} {:x?} {:x?}", expected.0, warm.0, hot.0);
}

/// Translates nothing, but computes with the host's floating point.
#[derive(Debug)]
struct Computing;

impl Translator for Computing {
    fn request(&self, _: usize, _: &Arc<VcpuSignal>, _: Source) -> bool {
        black_box(black_box(1.0f32) / black_box(3.0));
        true
    }
    fn take_ready(&self, _: usize) -> Vec<Arc<Region>> {
        Vec::new()
    }
    fn find(&self, _: BlockKey) -> Option<Arc<Region>> {
        None
    }
    fn thresholds(&self) -> Thresholds {
        Thresholds { warm: 1, hot: 1 }
    }
    fn eviction(&self) -> Eviction {
        Eviction::default()
    }
    fn released(&self) {}
}

#[test]
fn who_translates_leaves_the_flags_of_the_guest_alone() {
    // mov ecx,100; (next:) dec ecx; jnz next
    let code = [&[0xB9, 100, 0, 0, 0, 0xFF, 0xC9, 0x75, 0xFC], &FINISH[..]].concat();
    let memory = memory();
    memory.ram().write(CODE, &code).unwrap();
    let mut cpu = cpu(0, true, memory);
    cpu.set_translator(Arc::new(Computing));
    run(&mut cpu, CODE);
    assert_eq!(cpu.save_state().simd.mxcsr, 0x1F80, "nothing inexact has been computed");
}
