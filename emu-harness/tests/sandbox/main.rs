//! What a sandbox must do, seen from outside: guests are assembled here, run, and looked at.

mod context;
mod devices;
mod kernel;
mod modes;
mod program;

use emu_harness::sandbox::{Mode, Prot, Sandbox};
use iced_x86::{IcedError, code_asm::CodeAssembler};

/// Where code is.
const CODE: u64 = 0x1_0000;
/// Data.
const DATA: u64 = 0x2_0000;
/// Top of the stack.
const STACK: u64 = 0x4000;

/// The bytes of a program at `address`.
fn assemble(
    bitness: u32,
    address: u64,
    build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bitness).unwrap();
    build(&mut assembler).unwrap();
    assembler.assemble(address).unwrap()
}

/// Code, data and a stack mapped, and a program at [`CODE`].
fn prepare(
    sandbox: &mut Sandbox<'_>,
    bitness: u32,
    build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) {
    sandbox.map(CODE, 0x2000, Prot::RX).unwrap();
    sandbox.map(DATA, 0x2000, Prot::RW).unwrap();
    sandbox.map(STACK - 0x2000, 0x2000, Prot::RW).unwrap();
    sandbox.write_memory(CODE, &assemble(bitness, CODE, build)).unwrap();
    sandbox.set_reg("rsp", STACK).unwrap();
    sandbox.set_reg("rip", CODE).unwrap();
}

/// 64-bit code at privilege level 3.
fn user<'h>(build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Sandbox<'h> {
    let mut sandbox = Sandbox::builder(Mode::Long64).privilege(3).build().unwrap();
    prepare(&mut sandbox, 64, build);
    sandbox
}

/// 64-bit code at privilege level 0, with descriptor tables.
fn kernel<'h>(build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Sandbox<'h> {
    let mut sandbox = Sandbox::new(Mode::Long64).unwrap();
    prepare(&mut sandbox, 64, build);
    sandbox.install_tables(0x5000).unwrap();
    sandbox
}
