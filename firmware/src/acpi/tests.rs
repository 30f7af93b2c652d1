//! Tests of the whole set: every table is reachable from the RSDP, sums to zero and has the right fields.

use super::*;
use crate::layout::fixture;
use rstest::rstest;

const BASE: u64 = 0x7FE_0000;

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// The table at a physical address, as long as its header says.
fn table_at(tables: &AcpiTables, address: u64) -> &[u8] {
    let rest = &tables.bytes()[(address - tables.base()) as usize..];
    &rest[..u32_at(rest, 4) as usize]
}

/// All tables that the XSDT lists.
fn listed(tables: &AcpiTables) -> Vec<&[u8]> {
    let xsdt = table_at(tables, u64_at(tables.rsdp(), 24));
    xsdt[36..].chunks(8).map(|entry| table_at(tables, u64_at(entry, 0))).collect()
}

fn find<'a>(tables: &'a AcpiTables, signature: &[u8; 4]) -> &'a [u8] {
    listed(tables).into_iter().find(|table| &table[..4] == signature).unwrap()
}

#[rstest]
#[case(1)]
#[case(4)]
#[case(300)]
fn every_table_is_listed_and_sums_to_zero(#[case] cpus: u32) {
    let tables = AcpiTables::build(&fixture::machine(cpus), BASE);
    let signatures: Vec<_> = listed(&tables).iter().map(|table| table[..4].to_vec()).collect();
    assert_eq!(signatures, [b"FACP", b"APIC", b"HPET", b"MCFG"]);
    for table in listed(&tables) {
        assert_eq!(sum(table), 0, "{:?}", &table[..4]);
    }
    assert_eq!(sum(&tables.rsdp()[..20]), 0);
    assert_eq!(sum(tables.rsdp()), 0);
    assert_eq!(tables.bytes().len() as u64, AcpiTables::size(&fixture::machine(cpus)));
}

#[test]
fn rsdt_and_xsdt_list_the_same_tables() {
    let tables = AcpiTables::build(&fixture::machine(2), BASE);
    let rsdt = table_at(&tables, u32_at(tables.rsdp(), 16).into());
    let xsdt = table_at(&tables, u64_at(tables.rsdp(), 24));
    let short: Vec<u64> = rsdt[36..].chunks(4).map(|entry| u32_at(entry, 0).into()).collect();
    let long: Vec<u64> = xsdt[36..].chunks(8).map(|entry| u64_at(entry, 0)).collect();
    assert_eq!(short, long);
    assert_eq!(sum(rsdt), 0);
    assert_eq!(sum(xsdt), 0);
}

#[test]
fn fadt_names_the_fixed_hardware() {
    let tables = AcpiTables::build(&fixture::machine(1), BASE);
    let fadt = find(&tables, b"FACP");
    assert_eq!(fadt.len(), 276);
    assert_eq!(u32_at(fadt, 36), BASE as u32, "FACS first, on a page of its own");
    assert_eq!(&table_at(&tables, u32_at(fadt, 40).into())[..4], b"DSDT");
    assert_eq!(u64_at(fadt, 140), u64::from(u32_at(fadt, 40)), "X_DSDT");
    assert_eq!(u16::from_le_bytes([fadt[46], fadt[47]]), 9, "SCI_INT");
    assert_eq!((u32_at(fadt, 48), fadt[52], fadt[53]), (0xB2, 2, 3), "SMI_CMD");
    assert_eq!(u32_at(fadt, 56), 0x600, "PM1a_EVT_BLK");
    assert_eq!(u32_at(fadt, 64), 0x604, "PM1a_CNT_BLK");
    assert_eq!(u32_at(fadt, 76), 0x608, "PM_TMR_BLK");
    assert_eq!((u32_at(fadt, 80), fadt[92]), (0x620, 16), "GPE0_BLK");
    assert_eq!(u64_at(fadt, 120), 0xCF9, "RESET_REG");
    assert_eq!(fadt[128], 6, "RESET_VALUE");
    let flags = u32_at(fadt, 112);
    assert_eq!(flags & (1 << 4), 0, "the power button is a fixed feature");
    assert_ne!(flags & (1 << 10), 0, "the reset register is supported");
}

#[test]
fn facs_is_aligned_and_kept_apart_from_what_the_guest_may_reclaim() {
    let tables = AcpiTables::build(&fixture::machine(1), BASE);
    assert_eq!(&tables.bytes()[..4], b"FACS");
    assert_eq!(tables.nvs(), BASE..BASE + 0x1000);
    assert_eq!(tables.reclaimable().start, BASE + 0x1000);
    assert_eq!(tables.reclaimable().end % PAGE, 0);
}

/// The (type, contents) of each interrupt controller structure.
fn structures(madt: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &madt[44..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (this, next) = rest.split_at(rest[1].into());
        found.push((this[0], this[2..].to_vec()));
        rest = next;
    }
    found
}

#[test]
fn madt_has_the_isa_overrides_and_nmi() {
    let tables = AcpiTables::build(&fixture::machine(2), BASE);
    let found = structures(find(&tables, b"APIC"));
    assert_eq!(
        found,
        [
            (0, vec![0, 0, 1, 0, 0, 0]),
            (0, vec![1, 1, 1, 0, 0, 0]),
            (1, vec![0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]),
            (2, vec![0, 0, 2, 0, 0, 0, 0, 0]),
            (2, vec![0, 9, 9, 0, 0, 0, 0x0D, 0]),
            (4, vec![0xFF, 0, 0, 1]),
        ]
    );
}

#[test]
fn identifiers_above_254_are_x2apic_entries() {
    let tables = AcpiTables::build(&fixture::machine(257), BASE);
    let found = structures(find(&tables, b"APIC"));
    assert_eq!(found.iter().filter(|(kind, _)| *kind == 0).count(), 255);
    let x2apic: Vec<_> = found.iter().filter(|(kind, _)| *kind == 9).collect();
    assert_eq!(x2apic.len(), 2);
    assert_eq!(x2apic[0].1, [0, 0, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0xFF, 0, 0, 0]);
    assert_eq!(found.iter().filter(|(kind, _)| *kind == 0x0A).count(), 1);
}

#[test]
fn devices_that_are_absent_are_not_described() {
    let mut layout = fixture::machine(1);
    layout.hpet = None;
    layout.i8042 = false;
    layout.pvpanic = None;
    layout.serial_ports.clear();
    let tables = AcpiTables::build(&layout, BASE);
    assert!(listed(&tables).iter().all(|table| &table[..4] != b"HPET"));
    let dsdt = table_at(&tables, u32_at(find(&tables, b"FACP"), 40).into());
    for name in [b"KBD_", b"MOU_", b"PEVT", b"COM1", b"HPET"] {
        assert!(!dsdt.windows(4).any(|window| window == name));
    }
    assert!(dsdt.windows(4).any(|window| window == b"RTC_"));
    assert_eq!(find(&tables, b"FACP")[109] & 2, 0, "no 8042 in the boot flags");
}
