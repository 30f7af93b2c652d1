//! Reading and writing a sandbox's registers and memory.

use super::{Error, Mode, Part, Register, Sandbox, Value, space, space::Translation};
use emu_core::{
    arch::{Flags, Seg, Segment, Width, Xcr0},
    mmu::Access,
    state::Extended,
};

impl Sandbox<'_> {
    /// What a register of up to 64 bits holds. `register` is a [`Register`] or a name.
    pub fn reg<R>(&mut self, register: R) -> Result<u64, Error>
    where
        R: TryInto<Register>,
        Error: From<R::Error>,
    {
        let register = register.try_into()?;
        match register.bits() {
            bits @ 65.. => Err(Error::Wide { register: register.to_string(), bits }),
            _ => Ok(self.value_of(register)?.low as u64),
        }
    }

    /// Sets a register; `register` is a [`Register`] or a name.
    ///
    /// ```
    /// # use emu_harness::sandbox::{Mode, Sandbox};
    /// # let mut sandbox = Sandbox::new(Mode::Long64)?;
    /// sandbox.set_reg("eax", 7u32)?;
    /// sandbox.set_reg("ymm3", [1, 2])?;
    /// sandbox.set_reg("zf", 1u32)?;
    /// assert_eq!(sandbox.reg("rax")?, 7);
    /// assert_eq!(sandbox.read_register("xmm3")?.low, 1);
    /// # Ok::<(), emu_harness::sandbox::Error>(())
    /// ```
    pub fn set_reg<R>(&mut self, register: R, value: impl Into<Value>) -> Result<(), Error>
    where
        R: TryInto<Register>,
        Error: From<R::Error>,
    {
        let (register, value) = (register.try_into()?, value.into());
        if !value.fits(register.bits()) {
            let bits = register.bits();
            return Err(Error::Width { register: register.to_string(), bits, value: value.low });
        }
        match register {
            Register::General(..) | Register::Rip => self.write_general(register, value.low as u64),
            Register::Flags | Register::Flag(_) => self.write_flags(register, value.low as u32),
            Register::Xmm(_) | Register::Ymm(_) | Register::Mxcsr => self.write_vector(register, value),
            Register::Mm(_) | Register::St(_) | Register::Fcw | Register::Fsw | Register::Ftw => {
                self.write_x87(register, value.low);
            }
            Register::Selector(_) | Register::Base(_) | Register::Limit(_) | Register::Attributes(_) => {
                self.write_segment(register, value.low as u64);
            }
            _ => self
                .write_system(register, value.low as u64)
                .ok_or(Error::Refused { register: register.to_string(), value: value.low })?,
        }
        Ok(())
    }

    /// What a register of any width holds.
    pub fn read_register<R>(&mut self, register: R) -> Result<Value, Error>
    where
        R: TryInto<Register>,
        Error: From<R::Error>,
    {
        self.value_of(register.try_into()?)
    }

    fn value_of(&mut self, register: Register) -> Result<Value, Error> {
        let cpu = &mut self.cpu;
        let x87 = &cpu.x87;
        let top = |i: u8| x87.r[usize::from((x87.top + i) & 7)];
        let seg = |n: u8| &cpu.segments.data[usize::from(n) % 6];
        let low: u128 = match register {
            Register::General(n, Part::High8) => u128::from(cpu.regs[usize::from(n & 3)] >> 8 & 0xFF),
            Register::General(n, part) => u128::from(cpu.gpr(width(part), n.into())),
            Register::Rip => cpu.rip.into(),
            Register::Flags => cpu.rflags().bits().into(),
            Register::Flag(bit) => {
                let mask = if bit == 12 { 3 } else { 1 };
                (cpu.rflags().bits() >> (bit & 31) & mask).into()
            }
            Register::Selector(n) => seg(n).selector.into(),
            Register::Base(n) => seg(n).base.into(),
            Register::Limit(n) => seg(n).limit.into(),
            Register::Attributes(n) => seg(n).attr.into(),
            Register::Control(0) => cpu.control.cr0.bits().into(),
            Register::Control(2) => cpu.control.cr2.into(),
            Register::Control(3) => cpu.control.cr3.into(),
            Register::Control(4) => cpu.control.cr4.bits().into(),
            Register::Control(_) => cpu.io.task_priority(cpu.id).into(),
            Register::Debug(6) => cpu.control.dr6.into(),
            Register::Debug(7) => cpu.control.dr7.into(),
            Register::Debug(n) => cpu.control.dr[usize::from(n & 3)].into(),
            Register::Xcr0 => cpu.control.xcr0.bits().into(),
            Register::Cpl => cpu.cpl.into(),
            Register::Xmm(n) => cpu.simd.vector[usize::from(n & 15)][0],
            Register::Ymm(n) => return Ok(cpu.simd.vector[usize::from(n & 15)].into()),
            Register::Mxcsr => cpu.simd.mxcsr.into(),
            Register::Mm(n) => x87.r[usize::from(n & 7)].significand.into(),
            Register::St(n) => u128::from(top(n).sign_exponent) << 64 | u128::from(top(n).significand),
            Register::Fcw => x87.fcw.into(),
            Register::Fsw => x87.status().into(),
            Register::Ftw => x87.valid.into(),
            Register::GdtrBase => cpu.segments.gdtr.base.into(),
            Register::GdtrLimit => cpu.segments.gdtr.limit.into(),
            Register::IdtrBase => cpu.segments.idtr.base.into(),
            Register::IdtrLimit => cpu.segments.idtr.limit.into(),
            Register::Msr(number) => {
                let refused = Error::Refused { register: register.to_string(), value: 0 };
                cpu.read_msr(number).ok_or(refused)?.into()
            }
        };
        Ok(low.into())
    }

    fn write_general(&mut self, register: Register, value: u64) {
        let cpu = &mut self.cpu;
        match register {
            Register::General(n, Part::High8) => {
                let whole = &mut cpu.regs[usize::from(n & 3)];
                *whole = *whole & !0xFF00 | value << 8;
            }
            Register::General(n, part) => cpu.set_gpr(width(part), n.into(), value),
            _ => cpu.rip = value,
        }
    }

    fn write_flags(&mut self, register: Register, value: u32) {
        let flags = match register {
            Register::Flag(bit) => {
                let mask = if bit == 12 { 3 } else { 1 } << bit;
                self.cpu.rflags().bits() & !mask | value << bit
            }
            _ => value,
        };
        self.cpu.set_rflags(Flags::from_bits_truncate(flags));
    }

    fn write_vector(&mut self, register: Register, value: Value) {
        match register {
            Register::Xmm(n) => self.cpu.simd.vector[usize::from(n & 15)][0] = value.low,
            Register::Ymm(n) => self.cpu.simd.vector[usize::from(n & 15)] = [value.low, value.high],
            _ => self.cpu.load_mxcsr(value.low as u32),
        }
    }

    fn write_x87(&mut self, register: Register, value: u128) {
        let x87 = &mut self.cpu.x87;
        match register {
            Register::Mm(n) => {
                x87.r[usize::from(n & 7)] = Extended { significand: value as u64, sign_exponent: 0xFFFF };
            }
            Register::St(n) => {
                let physical = (x87.top + n) & 7;
                x87.r[usize::from(physical)] =
                    Extended { significand: value as u64, sign_exponent: (value >> 64) as u16 };
                x87.valid |= 1 << physical;
            }
            Register::Fcw => x87.fcw = value as u16,
            Register::Fsw => (x87.fsw, x87.top) = (value as u16 & !0x3800, (value >> 11) as u8 & 7),
            _ => x87.valid = value as u8,
        }
    }

    fn write_segment(&mut self, register: Register, value: u64) {
        let (Register::Selector(n) | Register::Base(n) | Register::Limit(n) | Register::Attributes(n)) =
            register
        else {
            return;
        };
        let seg = Seg::ALL[usize::from(n) % 6];
        let old = *self.cpu.seg(seg);
        let new = match register {
            Register::Selector(_) if self.cpu.mode.is_real_or_vm86() => {
                Segment { selector: value as u16, base: value << 4, ..old }
            }
            Register::Selector(_) => Segment { selector: value as u16, ..old },
            Register::Base(_) => Segment { base: value, ..old },
            Register::Limit(_) => Segment { limit: value as u32, ..old },
            _ => Segment { attr: value as u16, unusable: false, ..old },
        };
        self.cpu.set_seg(seg, new);
    }

    /// `None`: the processor would not take the value.
    fn write_system(&mut self, register: Register, value: u64) -> Option<()> {
        let cpu = &mut self.cpu;
        match register {
            Register::Control(0) => cpu.write_cr0(value).ok()?,
            Register::Control(2) => cpu.control.cr2 = value,
            Register::Control(3) => cpu.write_cr3(value).ok()?,
            Register::Control(4) => cpu.write_cr4(value).ok()?,
            Register::Control(_) if value <= 15 => cpu.io.set_task_priority(cpu.id, value as u8),
            Register::Debug(6) => cpu.control.dr6 = value,
            Register::Debug(7) => cpu.control.dr7 = value,
            Register::Debug(n) => cpu.control.dr[usize::from(n & 3)] = value,
            Register::Xcr0 => {
                cpu.control.xcr0 = Xcr0::from_bits(value).filter(|new| cpu.model.xcr0().contains(*new))?;
                cpu.mode_changed();
            }
            Register::GdtrBase => cpu.segments.gdtr.base = value,
            Register::GdtrLimit => cpu.segments.gdtr.limit = value as u16,
            Register::IdtrBase => cpu.segments.idtr.base = value,
            Register::IdtrLimit => cpu.segments.idtr.limit = value as u16,
            Register::Msr(number) => cpu.write_msr(number, value)?,
            _ => return None,
        }
        if matches!(register, Register::Debug(_)) {
            emu_core::microcode::debug::breakpoints_changed(cpu);
        }
        Some(())
    }

    /// Reads memory at a linear address, whatever its permissions are.
    ///
    /// Under page tables that are not the sandbox's own it is read as the CPU would at privilege level 0,
    /// which sets accessed bits. Devices are not asked.
    pub fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < bytes.len() {
            let (physical, len) = self.piece(address, done, bytes.len(), Access::Read)?;
            self.cpu.memory.ram().read(physical, &mut bytes[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    /// Writes memory at a linear address, whatever its permissions are. Code that was decoded from there is
    /// forgotten; hooks are not called.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < bytes.len() {
            let (physical, len) = self.piece(address, done, bytes.len(), Access::Write)?;
            space::write_physical(&mut self.cpu, physical, &bytes[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    /// Reads a little-endian number of 8 bytes.
    pub fn read_u64(&mut self, address: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.read_memory(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a little-endian number of 4 bytes.
    pub fn read_u32(&mut self, address: u64) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.read_memory(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a little-endian number of 8 bytes.
    pub fn write_u64(&mut self, address: u64, value: u64) -> Result<(), Error> {
        self.write_memory(address, &value.to_le_bytes())
    }

    /// Writes a little-endian number of 4 bytes.
    pub fn write_u32(&mut self, address: u64, value: u32) -> Result<(), Error> {
        self.write_memory(address, &value.to_le_bytes())
    }

    /// Reads physical memory.
    pub fn read_physical(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        Ok(self.cpu.memory.ram().read(address, bytes)?)
    }

    /// Writes physical memory; code that was decoded from there is forgotten.
    pub fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let left = (space::PAGE - (at & (space::PAGE - 1))) as usize;
            let (page, more) = rest.split_at(left.min(rest.len()));
            space::write_physical(&mut self.cpu, at, page)?;
            (at, rest) = (at + page.len() as u64, more);
        }
        // It may have been a page table.
        self.cpu.mmu.flush_all();
        Ok(())
    }

    /// Pushes a value as wide as the mode's stack entries: a return address, an argument.
    pub fn push(&mut self, value: u64) -> Result<(), Error> {
        let (size, pointer) = match self.mode {
            Mode::Long64 => (8, Width::W64),
            Mode::Protected32 | Mode::Compatibility32 => (4, Width::W32),
            _ => (2, Width::W16),
        };
        let sp = self.cpu.gpr(pointer, 4).wrapping_sub(size) & pointer.mask();
        let base = if self.mode == Mode::Long64 { 0 } else { self.cpu.seg(Seg::Ss).base };
        self.write_memory(base.wrapping_add(sp), &value.to_le_bytes()[..size as usize])?;
        self.cpu.set_gpr(pointer, 4, sp);
        Ok(())
    }

    /// Physical address of byte `done` of an access at `address`, and how many bytes lie in its page.
    fn piece(
        &mut self,
        address: u64,
        done: usize,
        len: usize,
        access: Access,
    ) -> Result<(u64, usize), Error> {
        let linear = address.wrapping_add(done as u64);
        let own = match self.space.translation {
            Translation::Physical => false,
            Translation::Own { root, .. } => self.cpu.control.cr3 == root,
        };
        let physical = if own {
            self.space.physical(linear)
        } else {
            self.cpu.mmu.walk(linear, access, false).ok().map(|found| found.physical)
        };
        let physical = physical.ok_or(Error::NotMapped(linear))?;
        let left = (space::PAGE - (linear & (space::PAGE - 1))) as usize;
        Ok((physical, left.min(len - done)))
    }
}

fn width(part: Part) -> Width {
    match part {
        Part::Whole => Width::W64,
        Part::Low32 => Width::W32,
        Part::Low16 => Width::W16,
        Part::Low8 | Part::High8 => Width::W8,
    }
}
