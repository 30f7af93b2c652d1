//! The guest program: 32-bit protected mode without paging, as multiboot and PVH both start a kernel.

use iced_x86::{
    IcedError,
    code_asm::{
        CodeAssembler, CodeLabel, al, byte_ptr, dl, dword_ptr, dx, eax, ebp, ebx, ecx, edi, edx, esi, esp,
        ptr,
    },
};

/// Port of the isa-debug-exit device.
pub const DEBUG_EXIT_PORT: u16 = 0xF4;
/// What the program writes to [`DEBUG_EXIT_PORT`] when it was not started as its protocol says.
pub const WRONG_START: u8 = 0x7E;

pub(super) const COM1: u16 = 0x3F8;
/// 16550 line status register, and its bit that says that the transmitter takes a byte.
pub(super) const LSR: u16 = COM1 + 5;
pub(super) const THRE: u32 = 0x20;
const DEBUGCON: u16 = 0xE9;

const STACK_TOP: u32 = 0x9_0000;
/// Where the strings begin in the image, counted from its start; the code is shorter.
const STRINGS: usize = 0x400;

/// How the loader tells a kernel what it has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Multiboot 1: EAX holds a magic number, EBX points to the information.
    Multiboot,
    /// PVH: EBX points to `hvm_start_info`, which begins with a magic number.
    Pvh,
}

/// Offsets in what EBX points to, and in the module list.
struct Layout {
    name: &'static str,
    command_line: i32,
    module_count: i32,
    module_list: i32,
    module_command_line: i32,
}

impl Protocol {
    fn layout(self) -> Layout {
        match self {
            // Multiboot Specification 0.6.96, 3.3: cmdline, mods_count, mods_addr; start, end, string.
            Protocol::Multiboot => Layout {
                name: "multiboot",
                command_line: 16,
                module_count: 20,
                module_list: 24,
                module_command_line: 8,
            },
            // Xen, public/arch-x86/hvm/start_info.h: nr_modules, modlist_paddr, cmdline_paddr; paddr, size, cmdline.
            Protocol::Pvh => Layout {
                name: "pvh",
                command_line: 24,
                module_count: 12,
                module_list: 16,
                module_command_line: 16,
            },
        }
    }
}

/// Text that the program prints, placed behind its code.
struct Strings {
    base: u32,
    bytes: Vec<u8>,
}

impl Strings {
    fn address_of(&mut self, text: &str) -> u32 {
        let address = self.base + self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        address
    }
}

/// Assembles the program for `protocol`, to be loaded and entered at `address`.
pub fn assemble(protocol: Protocol, address: u32) -> Result<Vec<u8>, IcedError> {
    const MULTIBOOT_LOADER: u32 = 0x2BAD_B002;
    const PVH_START_INFO: u32 = 0x336E_C578;
    let layout = protocol.layout();
    let mut strings = Strings { base: address + STRINGS as u32, bytes: Vec::new() };
    let mut a = CodeAssembler::new(32)?;
    let (mut print, mut end, mut wrong) = (a.create_label(), a.create_label(), a.create_label());

    a.cld()?;
    a.mov(esp, STACK_TOP)?;
    a.mov(ebp, ebx)?;
    match protocol {
        Protocol::Multiboot => a.cmp(eax, MULTIBOOT_LOADER)?,
        Protocol::Pvh => a.cmp(dword_ptr(ebx), PVH_START_INFO)?,
    }
    a.jne(wrong)?;

    say(&mut a, &mut strings, print, &format!("started by {}\r\ncommand line: ", layout.name))?;
    a.mov(esi, dword_ptr(ebp + layout.command_line))?;
    a.call(print)?;
    say(&mut a, &mut strings, print, "\r\n")?;

    // EBX: sum of the module's bytes; zero without a module.
    a.xor(ebx, ebx)?;
    a.cmp(dword_ptr(ebp + layout.module_count), 1)?;
    a.jne(end)?;
    a.mov(edi, dword_ptr(ebp + layout.module_list))?;
    say(&mut a, &mut strings, print, "module: ")?;
    a.mov(esi, dword_ptr(edi + layout.module_command_line))?;
    a.call(print)?;
    say(&mut a, &mut strings, print, "\r\n")?;
    sum_module(&mut a, protocol)?;

    a.set_label(&mut end)?;
    a.mov(edx, u32::from(DEBUGCON))?;
    a.mov(al, u32::from(b'!'))?;
    a.out(dx, al)?;
    say(&mut a, &mut strings, print, "end\r\n")?;
    a.mov(eax, ebx)?;
    a.and(eax, 0x7F)?;
    exit(&mut a)?;

    a.set_label(&mut wrong)?;
    a.mov(eax, u32::from(WRONG_START))?;
    exit(&mut a)?;

    print_string(&mut a, &mut print)?;

    let mut image = a.assemble(address.into())?;
    assert!(image.len() <= STRINGS, "the code of {} bytes runs into the strings", image.len());
    image.resize(STRINGS, 0);
    image.extend_from_slice(&strings.bytes);
    Ok(image)
}

/// Assembles a program that loads an empty IDT and raises an interrupt: three faults, one upon the other.
pub fn triple_fault(address: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    a.mov(esp, STACK_TOP)?;
    a.push(0)?;
    a.push(0)?;
    a.lidt(ptr(esp))?;
    a.int3()?;
    exit(&mut a)?;
    a.assemble(address.into())
}

/// Adds up the bytes of the first module in the list at EDI, in EBX.
fn sum_module(a: &mut CodeAssembler, protocol: Protocol) -> Result<(), IcedError> {
    let (mut next, mut done) = (a.create_label(), a.create_label());
    a.mov(esi, dword_ptr(edi))?;
    a.mov(ecx, dword_ptr(edi + if protocol == Protocol::Multiboot { 4 } else { 8 }))?;
    if protocol == Protocol::Multiboot {
        // An end, not a size.
        a.sub(ecx, esi)?;
    }
    a.set_label(&mut next)?;
    a.jecxz(done)?;
    a.movzx(eax, byte_ptr(esi))?;
    a.add(ebx, eax)?;
    a.inc(esi)?;
    a.dec(ecx)?;
    a.jmp(next)?;
    a.set_label(&mut done)?;
    // A label needs an instruction to stand before.
    a.nop()
}

/// Prints `text`.
fn say(a: &mut CodeAssembler, strings: &mut Strings, print: CodeLabel, text: &str) -> Result<(), IcedError> {
    a.mov(esi, strings.address_of(text))?;
    a.call(print)
}

/// The routine `print`: prints the zero-terminated string at ESI on COM1, byte by byte when the UART takes one.
fn print_string(a: &mut CodeAssembler, print: &mut CodeLabel) -> Result<(), IcedError> {
    let (mut wait, mut done) = (a.create_label(), a.create_label());
    a.set_label(print)?;
    a.movzx(ecx, byte_ptr(esi))?;
    a.inc(esi)?;
    a.jecxz(done)?;
    a.mov(edx, u32::from(LSR))?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, THRE)?;
    a.je(wait)?;
    a.mov(dl, u32::from(COM1 & 0xFF))?;
    a.mov(eax, ecx)?;
    a.out(dx, al)?;
    a.jmp(*print)?;
    a.set_label(&mut done)?;
    a.ret()
}

/// Writes AL to the debug exit port; stops if the machine has none.
fn exit(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut stop = a.create_label();
    a.mov(edx, u32::from(DEBUG_EXIT_PORT))?;
    a.out(dx, al)?;
    a.cli()?;
    a.set_label(&mut stop)?;
    a.hlt()?;
    a.jmp(stop)
}
