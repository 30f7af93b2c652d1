//! Making a sandbox: mode, privilege, CPU model, memory, paging.

use super::{
    Delivery, Error, Mode, Sandbox, hooks::Hooks, io::Devices, space::Space, space::Translation, tables,
};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Seg, Segment},
    cpu::Cpu,
    cpu_model::{CpuModel, Feature},
    engine::VcpuSignal,
    memory::{GuestMemory, PhysicalMemory},
    state::{CpuState, TableRegister, X87},
};
use std::sync::Arc;

/// Physical memory if nothing is said. It is reserved, not used.
const MEMORY: u64 = 256 << 20;

/// Who translates linear addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// The sandbox: page tables of its own, kept to what is mapped. The default where the mode can have
    /// paging; what is mapped is addressed by linear addresses of any value.
    Own,
    /// Nobody: linear addresses are physical, and what is mapped is parts of RAM. The default in real mode;
    /// not possible in IA-32e mode.
    Off,
    /// The caller, by page tables at this physical address (CR3) in the mode's format: 4 levels in IA-32e
    /// mode, 32-bit tables elsewhere. What is mapped is physical memory, page tables need not be. They may be
    /// written with [`Sandbox::write_physical`].
    Tables(u64),
}

/// See [`Sandbox::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    mode: Mode,
    privilege: Option<u8>,
    model: String,
    memory: u64,
    paging: Option<Paging>,
    delivery: Delivery,
}

impl Builder {
    pub(super) fn new(mode: Mode) -> Self {
        Builder {
            mode,
            privilege: None,
            model: "max".to_owned(),
            memory: MEMORY,
            paging: None,
            delivery: Delivery::ToCaller,
        }
    }

    /// Privilege level, 0 to 3. Real mode has 0 and virtual-8086 mode 3; elsewhere the default is 0.
    pub fn privilege(self, level: u8) -> Self {
        Builder { privilege: Some(level), ..self }
    }

    /// CPU model, as `emu run --cpu` has it: `x86-64-v2`, `max,-avx`. The default is `max`.
    pub fn model(self, model: &str) -> Self {
        Builder { model: model.to_owned(), ..self }
    }

    /// Bytes of physical memory, a multiple of 4 KiB and at least 1 MiB; the default is 256 MiB, of which the
    /// host gives what is touched.
    pub fn memory(self, bytes: u64) -> Self {
        Builder { memory: bytes, ..self }
    }

    /// Who translates addresses.
    pub fn paging(self, paging: Paging) -> Self {
        Builder { paging: Some(paging), ..self }
    }

    /// Who gets exceptions that no hook takes.
    pub fn delivery(self, delivery: Delivery) -> Self {
        Builder { delivery, ..self }
    }

    /// The sandbox: nothing mapped, general-purpose registers zero, interrupts disabled, FPU and vector units
    /// as an operating system gives them to a program.
    pub fn build<'h>(self) -> Result<Sandbox<'h>, Error> {
        let privilege = self.level()?;
        let paging = self.translation()?;
        let model: Arc<CpuModel> = Arc::new(self.model.parse()?);
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(self.memory)?));
        let levels = match paging {
            Paging::Own if is_long(self.mode) => 4,
            Paging::Own => 3,
            Paging::Off | Paging::Tables(_) => 0,
        };
        let space = Space::new(memory.clone(), levels)?;
        let signal = Arc::new(VcpuSignal::default());
        let devices = Arc::new(Devices::new(signal.clone()));
        let mut cpu = Cpu::new(0, model, memory, signal, devices.clone());
        cpu.load_state(&initial(self.mode, privilege, paging, &space, &cpu.model));
        cpu.observe.events = true;
        Ok(Sandbox {
            mode: self.mode,
            cpu,
            space,
            devices,
            hooks: Hooks::default(),
            delivery: self.delivery,
            ends: Vec::new(),
            seen: None,
            undelivered: None,
            stopping: false,
            tables: None,
        })
    }

    fn level(&self) -> Result<u8, Error> {
        let (usual, all, possible) = match self.mode {
            Mode::Real => (0, 0..=0, "0"),
            Mode::V86 => (3, 3..=3, "3"),
            _ => (0, 0..=3, "0 to 3"),
        };
        let given = self.privilege.unwrap_or(usual);
        if all.contains(&given) {
            Ok(given)
        } else {
            Err(Error::Privilege { mode: name(self.mode), given, possible })
        }
    }

    fn translation(&self) -> Result<Paging, Error> {
        let refused = |given, possible| Err(Error::Paging { mode: name(self.mode), given, possible });
        match (self.mode, self.paging) {
            (Mode::Real, None) => Ok(Paging::Off),
            (_, None) => Ok(Paging::Own),
            (Mode::Real, Some(Paging::Own | Paging::Tables(_))) => refused("paging", "Paging::Off"),
            (mode, Some(Paging::Off)) if is_long(mode) => {
                refused("paging off", "Paging::Own or Paging::Tables")
            }
            (_, Some(paging)) => Ok(paging),
        }
    }
}

/// What messages call a mode.
fn name(mode: Mode) -> &'static str {
    Mode::ALL.iter().find(|(known, _)| *known == mode).map_or("?", |(_, name)| name)
}

pub(super) fn is_long(mode: Mode) -> bool {
    matches!(mode, Mode::Long64 | Mode::Compatibility32 | Mode::Compatibility16)
}

fn initial(mode: Mode, privilege: u8, paging: Paging, space: &Space, model: &CpuModel) -> CpuState {
    let mut state = CpuState::reset(0);
    state.general.gpr = [0; 16];
    state.general.rip = 0;
    state.general.rflags = if mode == Mode::V86 { Flags::FIXED | Flags::VM } else { Flags::FIXED };
    state.x87 = X87 { fcw: 0x37F, valid: 0, ..X87::reset() };
    let control = &mut state.control;
    control.cr0 = Cr0::ET | Cr0::NE | Cr0::MP;
    control.cr4 = Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    if model.has(Feature::Xsave) {
        control.cr4 |= Cr4::OSXSAVE;
        control.xcr0 = model.xcr0();
    }
    if mode != Mode::Real {
        control.cr0 |= Cr0::PE | Cr0::WP;
    }
    if is_long(mode) {
        control.cr4 |= Cr4::PAE;
        control.efer = Efer::LME | Efer::LMA | Efer::SCE | Efer::NXE;
    }
    match (paging, space.translation) {
        (Paging::Tables(root), _) => {
            control.cr0 |= Cr0::PG;
            control.cr3 = root;
        }
        (_, Translation::Own { root, .. }) => {
            control.cr0 |= Cr0::PG;
            control.cr4 |= Cr4::PAE;
            control.efer |= Efer::NXE;
            control.cr3 = root;
            control.pdpte = space.pdpte();
        }
        (_, Translation::Physical) => {}
    }
    let none = TableRegister { base: 0, limit: 0 };
    (state.segments.gdtr, state.segments.idtr) = (none, none);
    if mode == Mode::Real {
        state.segments.idtr.limit = 0x3FF;
    }
    state.segments.ldtr.unusable = true;
    state.segments.tr.limit = 0;
    state.segments.data = segments(mode, privilege);
    state
}

/// Flat segments from address 0, as large as the mode's addresses, with the selectors of the descriptor tables
/// that [`Sandbox::install_tables`] makes.
fn segments(mode: Mode, level: u8) -> [Segment; 6] {
    let dpl = u16::from(level) << 5;
    let (code, data, limit) = match mode {
        Mode::Real => (0x93, 0x93, 0xFFFF),
        Mode::V86 => (0xF3, 0xF3, 0xFFFF),
        Mode::Protected16 | Mode::Compatibility16 => (0x9B | dpl, 0x93 | dpl, 0xFFFF),
        Mode::Protected32 | Mode::Compatibility32 => (0xC09B | dpl, 0xC093 | dpl, u32::MAX),
        Mode::Long64 => (0xA09B | dpl, 0xC093 | dpl, u32::MAX),
    };
    let (cs, ds) = match mode {
        Mode::Real | Mode::V86 => (0, 0),
        _ => (tables::code_selector(level), tables::data_selector(level)),
    };
    let segment = |selector, attr| Segment { selector, attr, limit, base: 0, unusable: false };
    let mut all = [segment(ds, data); 6];
    all[Seg::Cs as usize] = segment(cs, code);
    all
}
