//! Admin commands.

use super::*;
use rstest::rstest;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end_matches([' ', '\0'])
}

#[test]
fn the_controller_and_its_namespace_say_what_they_are() {
    let mut bench = Bench::enabled();
    assert_eq!(bench.admin(command(6, &[(6, DATA as u32), (10, 1)])).status, 0);
    let data = bench.bytes(DATA, 4096);
    assert_eq!((text(&data[4..24]), text(&data[24..64])), ("S1", "emu NVMe"));
    assert!(text(&data[768..1024]).starts_with("nqn.2014-08.org.nvmexpress:uuid:"));
    assert_eq!((data[111], data[512], data[513], data[525] & 1), (1, 0x66, 0x44, 1));
    assert_eq!(data[520], 0b1_1101, "compare, deallocate, zeroes, select");

    assert_eq!(bench.admin(command(6, &[(1, 1), (6, DATA as u32)])).status, 0);
    let data = bench.bytes(DATA, 4096);
    assert_eq!((data[0..8].to_vec(), data[130], data[64]), (128_u64.to_le_bytes().to_vec(), 9, 7));
    let (nguid, eui64) = (data[104..120].to_vec(), data[120..128].to_vec());

    assert_eq!(bench.admin(command(6, &[(1, 1), (6, DATA as u32), (10, 3)])).status, 0);
    let data = bench.bytes(DATA, 4096);
    assert_eq!((&data[..4], &data[4..12]), (&[1, 8, 0, 0][..], &eui64[..]));
    assert_eq!((&data[12..16], &data[16..32], data[33]), (&[2, 16, 0, 0][..], &nguid[..], 0));

    for (after, expected) in [(0, 1), (1, 0)] {
        assert_eq!(bench.admin(command(6, &[(1, after), (6, DATA as u32), (10, 2)])).status, 0);
        assert_eq!(bench.bytes(DATA, 4), [expected, 0, 0, 0]);
    }
}

#[rstest]
#[case::identify_no_namespace(command(6, &[(6, DATA as u32)]), 0x0B)]
#[case::identify_unknown(command(6, &[(6, DATA as u32), (10, 0x55)]), 0x02)]
#[case::identify_into_nothing(command(6, &[(6, 0xF000_0000), (10, 1)]), 0x04)]
#[case::unknown(command(0x7F, &[]), 0x01)]
#[case::queue_zero(command(5, &[(10, 7 << 16), (11, 1)]), 0x101)]
#[case::queue_beyond(command(5, &[(10, 7 << 16 | 5), (11, 1)]), 0x101)]
#[case::queue_twice(command(5, &[(10, 7 << 16 | 1), (11, 1)]), 0x101)]
#[case::queue_of_one(command(5, &[(10, 2), (11, 1)]), 0x102)]
#[case::queue_too_long(command(5, &[(10, 1024 << 16 | 2), (11, 1)]), 0x102)]
#[case::queue_in_pieces(command(5, &[(10, 7 << 16 | 2)]), 0x02)]
#[case::queue_with_offset(command(5, &[(6, 8), (10, 7 << 16 | 2), (11, 1)]), 0x13)]
#[case::no_such_vector(command(5, &[(10, 7 << 16 | 2), (11, 5 << 16 | 3)]), 0x108)]
#[case::no_completion_queue(command(1, &[(10, 7 << 16 | 2), (11, 2 << 16 | 1)]), 0x100)]
#[case::admin_completion_queue(command(1, &[(10, 7 << 16 | 2), (11, 1)]), 0x101)]
#[case::completion_queue_in_use(command(4, &[(10, 1)]), 0x10C)]
#[case::delete_no_completion_queue(command(4, &[(10, 2)]), 0x101)]
#[case::delete_admin_queue(command(0, &[(10, 0)]), 0x101)]
#[case::delete_far_queue(command(0, &[(10, 0xFFFF)]), 0x101)]
#[case::unknown_log(command(2, &[(1, u32::MAX), (6, DATA as u32), (10, 0x7F)]), 0x109)]
#[case::log_beyond(command(2, &[(1, u32::MAX), (6, DATA as u32), (10, 2), (12, 516)]), 0x02)]
#[case::endless_log(command(2, &[(1, u32::MAX), (6, DATA as u32), (10, 0xFFFF_0002), (11, 0xFFFF)]), 0x02)]
#[case::unknown_feature(command(10, &[(10, 0x7F)]), 0x02)]
#[case::feature_to_save(command(9, &[(10, 1 << 31 | 1)]), 0x10D)]
#[case::feature_of_a_namespace(command(9, &[(1, 1), (10, 1)]), 0x10F)]
#[case::queues_after_queues(command(9, &[(10, 7)]), 0x0C)]
#[case::vector_of_a_feature(command(9, &[(10, 9), (11, 99)]), 0x02)]
fn malformed_commands_are_refused(#[case] words: [u32; 16], #[case] status: u16) {
    let mut bench = Bench::running();
    assert_eq!(bench.admin(words).status, status);
}

#[rstest]
#[case::arbitration(1, 0x0403_0207, 0x0403_0207)]
#[case::threshold(4, 300, 300)]
#[case::low_threshold(4, 1 << 20 | 200, 200)]
#[case::coalescing(8, 0x0A05, 0x0A05)]
#[case::vector(9, 1 << 16 | 2, 1 << 16 | 2)]
#[case::atomicity(10, 1, 1)]
#[case::events(11, 0x2FF, 0x2FF)]
fn features_keep_what_they_are_set_to(#[case] id: u32, #[case] set: u32, #[case] kept: u32) {
    let mut bench = Bench::running();
    let select = if id == 4 || id == 9 { set & !0xFFFF | if id == 9 { 2 } else { 0 } } else { 0 };
    let default = bench.admin(command(10, &[(10, 1 << 8 | id), (11, select)])).result;
    assert_eq!(bench.admin(command(9, &[(10, id), (11, set)])).status, 0);
    assert_eq!(bench.admin(command(10, &[(10, id), (11, select)])).result, kept);
    assert_eq!(bench.admin(command(10, &[(10, 1 << 8 | id), (11, select)])).result, default);
    assert_eq!(bench.admin(command(10, &[(10, 3 << 8 | id), (11, select)])).result, 4, "changeable");
}

#[test]
fn the_host_learns_how_many_queues_there_are() {
    let mut bench = Bench::enabled();
    assert_eq!(bench.admin(command(9, &[(10, 7), (11, 0x001F_001F)])).result, 0x0003_0003);
}

#[test]
fn wrong_doorbells_are_told_and_logged() {
    let mut bench = Bench::running();
    let ids = bench.submit(0, &[command(12, &[]); 3]);
    assert!(bench.look(0).is_empty());
    bench.write(0x1000 + 8 * 3, 1);
    let told = bench.reap(0);
    assert_eq!(told, [Entry { result: 0x1_0000, id: ids[0], status: 0 }]);
    bench.write(0x1008, 8);
    assert_eq!(bench.look(0), [], "until the host has read the log");
    assert_eq!(
        bench.submit(0, &[command(2, &[(1, u32::MAX), (6, DATA as u32), (10, 127 << 16 | 1)])]).len(),
        1
    );
    let entries = bench.reap(0);
    assert_eq!(entries.iter().find(|entry| entry.id == ids[1]).unwrap().result, 0x1_0100);
    assert_eq!(bench.bytes(DATA, 10), [2, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], "the second error");
    bench.write(0x100C, 3);
    assert_eq!(bench.look(0), [], "heads ahead of tails are wrong too, and masked");
}

#[test]
fn event_requests_have_a_limit_and_can_be_aborted() {
    let mut bench = Bench::running();
    let ids = bench.submit(0, &[command(12, &[]); 5]);
    assert_eq!(bench.reap(0), [Entry { result: 0, id: ids[4], status: 0x105 }]);
    bench.submit(0, &[command(8, &[(10, u32::from(ids[1]) << 16)])]);
    let entries = bench.reap(0);
    assert_eq!(entries[0], Entry { result: 0, id: ids[1], status: 0x07 });
    assert_eq!((entries[1].result, entries[1].status), (0, 0));
    assert_eq!(bench.admin(command(8, &[(10, 0x1234_0001)])).result, 1, "not aborted");
}

#[test]
fn health_counts_and_warns() {
    let mut bench = Bench::running();
    bench.submit(0, &[command(12, &[])]);
    for _ in 0..3 {
        assert_eq!(bench.io(blocks(2, 0, 1)), 0);
    }
    assert_eq!(bench.io(blocks(2, 128, 1)), 0x80);
    assert_eq!(bench.admin(command(9, &[(10, 11), (11, 2)])).status, 0);
    bench.submit(0, &[command(9, &[(10, 4), (11, 300)])]);
    let entries = bench.reap(0);
    assert!(entries.iter().any(|entry| entry.result == 0x2_0101), "{entries:x?}");
    assert_eq!(bench.admin(command(2, &[(1, u32::MAX), (6, DATA as u32), (10, 127 << 16 | 2)])).status, 0);
    let page = bench.bytes(DATA, 512);
    assert_eq!((page[0], page[32], page[64], page[80], page[176]), (2, 1, 3, 0, 1));
}
