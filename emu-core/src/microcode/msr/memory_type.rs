//! MTRRs and the PAT. SDM vol. 3, 12.11 and 12.12.
//!
//! They are storage with checks: all memory of this machine is coherent, whatever type software gives it.

use super::within;
use crate::{
    arch::msr::{
        IA32_MTRR_DEF_TYPE, IA32_MTRR_FIX4K_C0000, IA32_MTRR_FIX4K_F8000, IA32_MTRR_FIX16K_80000,
        IA32_MTRR_FIX16K_A0000, IA32_MTRR_FIX64K_00000, IA32_MTRR_PHYSBASE0, IA32_MTRRCAP, IA32_PAT,
    },
    cpu::Cpu,
    cpu_model::Feature,
};

/// Pairs of variable-range registers.
const VARIABLE: u32 = 8;
const LAST_PHYSMASK: u32 = IA32_MTRR_PHYSBASE0 + 2 * VARIABLE - 1;
/// Eight variable ranges, fixed ranges, write-combining.
const MTRRCAP: u64 = VARIABLE as u64 | 1 << 8 | 1 << 10;
/// Enable and fixed-range enable of IA32_MTRR_DEF_TYPE.
const DEF_TYPE_ENABLES: u64 = 1 << 10 | 1 << 11;
/// Valid of a mask register.
const PHYSMASK_VALID: u64 = 1 << 11;

/// UC, WC, WT, WP, WB.
fn is_type(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

/// Number of a fixed-range register in the order of addresses.
fn fixed(number: u32) -> Option<usize> {
    let index = match number {
        IA32_MTRR_FIX64K_00000 => 0,
        IA32_MTRR_FIX16K_80000 | IA32_MTRR_FIX16K_A0000 => number - IA32_MTRR_FIX16K_80000 + 1,
        IA32_MTRR_FIX4K_C0000..=IA32_MTRR_FIX4K_F8000 => number - IA32_MTRR_FIX4K_C0000 + 3,
        _ => return None,
    };
    Some(index as usize)
}

/// Reads an MTRR or the PAT.
pub fn read(cpu: &Cpu, number: u32) -> Option<u64> {
    if number == IA32_PAT {
        return cpu.model.has(Feature::Pat).then_some(cpu.msrs.pat);
    }
    cpu.model.has(Feature::Mtrr).then_some(())?;
    match number {
        IA32_MTRRCAP => Some(MTRRCAP),
        IA32_MTRR_DEF_TYPE => Some(cpu.msrs.mtrr_def_type),
        IA32_MTRR_PHYSBASE0..=LAST_PHYSMASK => {
            let offset = number - IA32_MTRR_PHYSBASE0;
            let pair = (offset / 2) as usize;
            Some(if offset.is_multiple_of(2) {
                cpu.msrs.mtrr_physbase[pair]
            } else {
                cpu.msrs.mtrr_physmask[pair]
            })
        }
        _ => fixed(number).map(|index| cpu.msrs.mtrr_fixed[index]),
    }
}

/// Writes one.
pub fn write(cpu: &mut Cpu, number: u32, value: u64) -> Option<()> {
    let all_types = |also: u8| value.to_le_bytes().into_iter().all(|kind| is_type(kind) || kind == also);
    if number == IA32_PAT {
        // 7 is UC-.
        (cpu.model.has(Feature::Pat) && all_types(7)).then_some(())?;
        cpu.msrs.pat = value;
        return Some(());
    }
    cpu.model.has(Feature::Mtrr).then_some(())?;
    let address = !0 >> (64 - cpu.model.physical_address_bits()) & !0xFFF;
    match number {
        IA32_MTRR_DEF_TYPE => {
            within(value, DEF_TYPE_ENABLES | 0xFF)?;
            is_type(value as u8).then_some(())?;
            cpu.msrs.mtrr_def_type = value;
        }
        IA32_MTRR_PHYSBASE0..=LAST_PHYSMASK => {
            let offset = number - IA32_MTRR_PHYSBASE0;
            let pair = (offset / 2) as usize;
            if offset.is_multiple_of(2) {
                within(value, address | 0xFF)?;
                is_type(value as u8).then_some(())?;
                cpu.msrs.mtrr_physbase[pair] = value;
            } else {
                within(value, address | PHYSMASK_VALID)?;
                cpu.msrs.mtrr_physmask[pair] = value;
            }
        }
        _ => {
            let index = fixed(number)?;
            all_types(0).then_some(())?;
            cpu.msrs.mtrr_fixed[index] = value;
        }
    }
    Some(())
}
