//! Where commands have their data.

use super::*;
use proptest::prelude::*;
use rstest::rstest;

const LIST: u64 = 0x8_0000;

/// Reads `count` blocks by these entries; returns the status.
fn read(bench: &mut Bench, first: u64, second: u64, count: u32) -> u16 {
    bench.io(command(
        2,
        &[
            (1, 1),
            (6, first as u32),
            (7, (first >> 32) as u32),
            (8, second as u32),
            (9, (second >> 32) as u32),
            (12, count - 1),
        ],
    ))
}

fn write_list(bench: &Bench, at: u64, entries: &[u64]) {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    bench.dma.write(at, &bytes).unwrap();
}

#[test]
fn the_second_entry_is_the_second_page() {
    let mut bench = Bench::running();
    assert_eq!(read(&mut bench, DATA + 0xC00, DATA + 0x4000, 8), 0);
    assert_eq!(bench.bytes(DATA + 0xC00, 1024), [[0; 512], [1; 512]].concat());
    assert_eq!(bench.bytes(DATA + 0x4A00, 512), [7; 512]);
}

#[test]
fn lists_begin_anywhere_and_chain_at_the_end_of_a_page() {
    let mut bench = Bench::running();
    // 12 pages; the first list has room for three entries, of which the last leads to the next.
    write_list(&bench, LIST + 0xFE8, &[DATA + 0x2000, DATA + 0x3000, LIST + 0x4000]);
    let rest: Vec<u64> = (0..10).map(|page| DATA + 0x1_0000 + 0x2000 * page).collect();
    write_list(&bench, LIST + 0x4000, &rest);
    assert_eq!(read(&mut bench, DATA + 0x200, LIST + 0xFE8, 12 * 8), 0);
    assert_eq!(bench.bytes(DATA + 0x200, 2), [0, 0]);
    // The first page has seven blocks, each other eight.
    assert_eq!((bench.bytes(DATA + 0x2000, 1), bench.bytes(DATA + 0x3FFF, 1)), (vec![7], vec![22]));
    for (index, page) in rest.iter().enumerate() {
        let expected = 23 + 8 * index as u8;
        assert_eq!(bench.bytes(*page, 1), [if index == 9 { 95 } else { expected }], "page {index}");
    }
}

#[test]
fn the_last_entry_of_a_page_is_data_if_nothing_follows() {
    let mut bench = Bench::running();
    write_list(&bench, LIST + 0xFF0, &[DATA + 0x5000, DATA + 0x9000]);
    assert_eq!(read(&mut bench, DATA, LIST + 0xFF0, 24), 0);
    assert_eq!((bench.bytes(DATA + 0x5000, 1), bench.bytes(DATA + 0x9000, 1)), (vec![8], vec![16]));
}

#[rstest]
#[case::second_page_with_offset(DATA, DATA + 0x1004, 16, 0x13)]
#[case::odd_list(DATA, LIST + 4, 24, 0x13)]
#[case::list_that_is_no_memory(DATA, 0xF000_0000, 24, 0x04)]
#[case::list_at_the_end_of_everything(DATA, u64::MAX - 7, 24, 0x04)]
#[case::data_at_the_end_of_everything(u64::MAX - 0xFFF, LIST, 9, 0x04)]
#[case::entry_with_offset(DATA, LIST + 0x100, 24, 0x13)]
#[case::entry_that_is_no_memory(DATA, LIST + 0x200, 24, 0x04)]
fn places_without_sense_are_refused(
    #[case] first: u64,
    #[case] second: u64,
    #[case] count: u32,
    #[case] status: u16,
) {
    let mut bench = Bench::running();
    write_list(&bench, LIST + 0x100, &[DATA + 0x1000, DATA + 0x2010]);
    write_list(&bench, LIST + 0x200, &[DATA + 0x1000, 0xA_0000]);
    assert_eq!(read(&mut bench, first, second, count), status);
}

#[test]
fn transfers_have_a_largest_length() {
    let mut bench = Bench::with_disk(Disk::new(4 << 20));
    bench.enable();
    bench.make_queues(1, 8);
    assert_eq!(read(&mut bench, DATA, LIST, 2049), 0x02);
    let pages: Vec<u64> = (1..256).map(|page| DATA + 0x1000 * page).collect();
    write_list(&bench, LIST, &pages);
    assert_eq!(read(&mut bench, DATA, LIST, 2048), 0);
    assert_eq!(bench.bytes(DATA + (1 << 20) - 1, 1), [(2047 % 256) as u8]);
}

proptest! {
    /// Whatever the list, the same bytes arrive as in a walk of its entries one by one.
    #[test]
    fn data_goes_where_the_list_says(
        offset in (0_u64..1024).prop_map(|words| 4 * words),
        blocks in 1_u32..128,
        list_entry in 490_u64..512,
        shuffled in Just((1..17_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut bench = Bench::running();
        let len = u64::from(blocks) * 512;
        let pages = (offset + len).div_ceil(4096) as usize;
        let page = |number: usize| DATA + 0x1000 * shuffled[number - 1];
        let rest: Vec<u64> = (1..pages).map(page).collect();
        let room = 512 - list_entry as usize;
        let second = match rest.len() {
            0 => 0xDEAD_BEE0,
            1 => rest[0],
            few if few <= room => {
                write_list(&bench, LIST + 8 * list_entry, &rest);
                LIST + 8 * list_entry
            }
            _ => {
                let (here, there) = rest.split_at(room - 1);
                write_list(&bench, LIST + 8 * list_entry, &[here, &[LIST + 0x3000]].concat());
                write_list(&bench, LIST + 0x3000, there);
                LIST + 8 * list_entry
            }
        };
        prop_assert_eq!(read(&mut bench, DATA + offset, second, blocks), 0);
        let mut found = Vec::new();
        for number in 0..pages {
            let (at, begin) = if number == 0 { (DATA, offset) } else { (page(number), 0) };
            let want = (4096 - begin).min(len - found.len() as u64);
            found.extend(bench.bytes(at + begin, want as usize));
        }
        prop_assert!(found == bench.disk.content.lock()[..len as usize]);
    }
}
