#![allow(missing_docs)]
pub fn enter(_: &mut crate::cpu::Cpu) {}
