#![allow(missing_docs)]
use crate::{arch::Exception, cpu::Cpu};
pub fn deliver_exception(_: &mut Cpu, _: Exception) {}
pub fn deliver_interrupt(_: &mut Cpu, _: u8) {}
pub fn deliver_nmi(_: &mut Cpu) {}
pub fn init(_: &mut Cpu) {}
pub fn startup(_: &mut Cpu, _: u8) {}
pub fn instruction_breakpoint(_: &mut Cpu) -> Option<Exception> { None }
pub fn has_execution_breakpoints(_: &Cpu) -> bool { false }
pub fn debug_trap_after(_: &mut Cpu, _: bool) {}
