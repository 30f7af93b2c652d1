//! What a test runs on: the interpreter with all of its address space as RAM, which is zero between tests.

use super::{Processor, Register, Registers, State};
use emu_core::{
    arch::{Cr0, Exception, Flags, Seg, Segment},
    cpu::Cpu,
    cpu_model::CpuModel,
    engine::{FewDevices, VcpuSignal},
    memory::{GuestMemory, MemoryError, PhysicalMemory},
    microcode::interrupt::deliver_exception,
    state::{Activity, CpuState, TableRegister},
};
use std::sync::Arc;

/// Size of RAM: what 24 address lines reach.
const RAM: u64 = 16 << 20;
/// Bits of FLAGS that exist in real mode; of EFLAGS those that the 80386 has too.
const REAL_FLAGS: u32 = 0x0FD5;
const FLAGS_386: u32 = 0x3_7FD5;

/// Every port reads as ones. Where a PC has its video memory there is RAM.
struct Ram(Arc<PhysicalMemory>);

impl FewDevices for Ram {
    fn mmio_read(&self, address: u64, size: u8) -> u64 {
        let mut bytes = [0; 8];
        match self.0.ram().read(address, &mut bytes[..usize::from(size)]) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => u64::MAX >> (64 - 8 * u32::from(size)),
        }
    }
    fn mmio_write(&self, address: u64, size: u8, value: u64) {
        // Beyond RAM there is nothing to write to.
        let _beyond = self.0.ram().write(address, &value.to_le_bytes()[..usize::from(size)]);
    }
}

/// See the module.
pub struct Machine {
    processor: Processor,
    cpu: Box<Cpu>,
    reset: CpuState,
}

impl Machine {
    /// One with a CPU like `processor`.
    pub fn new(processor: Processor) -> Result<Self, MemoryError> {
        let model = CpuModel::early(processor.generation());
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(RAM)?));
        // Twenty address lines.
        memory.set_a20(processor != Processor::I8086);
        let io = Arc::new(Ram(memory.clone()));
        let cpu = Cpu::new(0, Arc::new(model), memory, Arc::new(VcpuSignal::default()), io);
        let mut reset = CpuState::reset(0);
        reset.control.cr0 = Cr0::empty();
        reset.segments.idtr = TableRegister { base: 0, limit: 0x3FF };
        Ok(Machine { processor, cpu, reset })
    }

    /// Puts the registers and RAM of a test in.
    pub fn set(&mut self, initial: &State) {
        for &(address, byte) in &initial.ram {
            self.write(address, byte);
        }
        self.cpu.blocks.flush();
        let state = self.state(&initial.registers);
        self.cpu.load_state(&state);
    }

    fn state(&self, registers: &Registers) -> CpuState {
        let mut state = self.reset.clone();
        let value = |register| u64::from(registers.value(register));
        use Register::{Eax, Ebp, Ebx, Ecx, Edi, Edx, Esi, Esp};
        for (number, register) in [Eax, Ecx, Edx, Ebx, Esp, Ebp, Esi, Edi].into_iter().enumerate() {
            state.general.gpr[number] = value(register);
        }
        state.general.rip = value(Register::Eip);
        let mask = if self.processor == Processor::I80386 { FLAGS_386 } else { REAL_FLAGS };
        state.general.rflags =
            Flags::from_bits_truncate(registers.value(Register::Eflags) & mask) | Flags::FIXED;
        for (seg, register) in SEGMENTS {
            state.segments.data[seg as usize] = Segment::real(registers.value(register) as u16);
        }
        if let Some(cr0) = registers.get(Register::Cr0) {
            state.control.cr0 = Cr0::from_bits_truncate(cr0.into());
        }
        state.control.cr3 = value(Register::Cr3);
        if let (Some(dr6), Some(dr7)) = (registers.get(Register::Dr6), registers.get(Register::Dr7)) {
            (state.control.dr6, state.control.dr7) = (dr6.into(), dr7.into());
        }
        state
    }

    /// Runs one instruction, all of its repetitions, and follows an exception to its handler.
    pub fn step(&mut self) {
        loop {
            match self.cpu.execute_one() {
                Err(Exception::Restart) => {}
                Err(exception) => return deliver_exception(&mut self.cpu, exception),
                Ok(()) => return,
            }
        }
    }

    /// Whether the instruction was HLT.
    pub fn is_halted(&self) -> bool {
        self.cpu.events.activity == Activity::Halted
    }

    /// The value of `register`, as the recorded processor shows it.
    pub fn register(&self, register: Register) -> u32 {
        use Register::{Cr0, Cr3, Dr6, Dr7, Eax, Ebp, Ebx, Ecx, Edi, Edx, Eflags, Eip, Esi, Esp};
        let cpu = &self.cpu;
        let gpr = |number: usize| cpu.regs[number] as u32;
        match register {
            Eax => gpr(0),
            Ecx => gpr(1),
            Edx => gpr(2),
            Ebx => gpr(3),
            Esp => gpr(4),
            Ebp => gpr(5),
            Esi => gpr(6),
            Edi => gpr(7),
            Eip => cpu.rip as u32,
            Eflags if self.processor == Processor::I8086 => cpu.rflags().bits() | 0xF000,
            Eflags => cpu.rflags().bits(),
            Cr0 => cpu.control.cr0.bits() as u32,
            Cr3 => cpu.control.cr3 as u32,
            Dr6 => cpu.control.dr6 as u32,
            Dr7 => cpu.control.dr7 as u32,
            _ => {
                let seg = SEGMENTS.iter().find(|(_, name)| *name == register);
                seg.map_or(0, |(seg, _)| cpu.seg(*seg).selector.into())
            }
        }
    }

    /// The byte of RAM at `address`; zero beyond it.
    pub fn read(&self, address: u32) -> u8 {
        let mut byte = [0];
        match self.cpu.memory.ram().read(self.cpu.memory.gate(address.into()), &mut byte) {
            Ok(()) => byte[0],
            Err(_) => 0,
        }
    }

    /// Writes the byte of RAM at `address`; beyond it nothing.
    pub fn write(&mut self, address: u32, byte: u8) {
        let memory = &self.cpu.memory;
        let _beyond = memory.ram().write(memory.gate(address.into()), &[byte]);
    }

    /// Addresses of bytes that are not zero, at most `most`.
    pub fn remains(&self, most: usize) -> Vec<u32> {
        let mut found = Vec::new();
        let mut page = [0; 4096];
        for start in (0..RAM).step_by(page.len()) {
            if self.cpu.memory.ram().read(start, &mut page).is_err() || page == [0; 4096] {
                continue;
            }
            let bytes = page.iter().enumerate().filter(|(_, byte)| **byte != 0);
            found.extend(bytes.map(|(at, _)| start as u32 + at as u32));
            if found.len() >= most {
                found.truncate(most);
                break;
            }
        }
        found
    }
}

const SEGMENTS: [(Seg, Register); 6] = [
    (Seg::Es, Register::Es),
    (Seg::Cs, Register::Cs),
    (Seg::Ss, Register::Ss),
    (Seg::Ds, Register::Ds),
    (Seg::Fs, Register::Fs),
    (Seg::Gs, Register::Gs),
];
