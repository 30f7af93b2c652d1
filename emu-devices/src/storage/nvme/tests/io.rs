//! NVM commands, their order and their interrupts.

use super::*;
use emu_core::backend::BlockError;
use rstest::rstest;

#[test]
fn blocks_are_read_and_written() {
    let mut bench = Bench::running();
    assert_eq!(bench.io(blocks(2, 3, 2)), 0);
    assert_eq!(bench.bytes(DATA, 1024), [[3; 512], [4; 512]].concat());
    bench.dma.write(DATA, &[0xAB; 512]).unwrap();
    assert_eq!(bench.io(blocks(1, 127, 1)), 0);
    assert_eq!(bench.disk.content.lock()[127 * 512..], [0xAB; 512]);
    assert_eq!(*bench.disk.done.lock(), ["read 1536 1024", "write 65024 512"]);
}

#[test]
fn each_command_ends_when_the_disk_is_done_with_it() {
    let mut bench = Bench::running();
    let ids = bench.submit(1, &[blocks(2, 0, 1), blocks(2, 1, 1), blocks(2, 2, 1)]);
    assert!(bench.look(1).is_empty());
    bench.disk.finish(2);
    bench.disk.finish(0);
    let ended: Vec<u16> = bench.reap(1).iter().map(|entry| entry.id).collect();
    assert_eq!(ended, [ids[2], ids[0]]);
    bench.disk.finish(0);
    assert_eq!(bench.reap(1)[0].id, ids[1]);
}

#[test]
fn what_is_at_hand_is_read_before_the_doorbell_is_written() {
    let mut bench = Bench::running();
    *bench.disk.at_hand.lock() = true;
    let ids = bench.submit(1, &[blocks(2, 3, 1), blocks(1, 8, 1), blocks(2, 5, 1)]);
    let ended: Vec<(u16, u16)> = bench.look(1).iter().map(|entry| (entry.id, entry.status)).collect();
    assert_eq!(ended, [(ids[0], 0), (ids[2], 0)], "reads, and not the write between them");
    assert_eq!(bench.sent(), [1], "one interrupt for both");
    assert_eq!(bench.bytes(DATA, 512), [5; 512]);
    bench.disk.finish_all();
    assert_eq!(bench.reap(1)[0].id, ids[1]);
}

#[test]
fn few_reads_are_done_while_the_doorbell_is_written() {
    let mut bench = Bench::running();
    bench.make_queues(2, 64);
    *bench.disk.at_hand.lock() = true;
    let mut ids = bench.submit(2, &[blocks(2, 1, 1); 20]);
    assert_eq!((bench.look(2).len(), bench.disk.waiting()), (4, 16));
    bench.disk.finish_all();
    ids.drain(..4);
    assert_eq!(bench.reap(2).iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
    bench.submit(2, &[blocks(2, 1, 1)]);
    assert_eq!(bench.reap(2).len(), 1, "the next doorbell counts anew");
}

#[test]
fn a_host_that_is_at_work_is_not_interrupted_again() {
    let mut bench = Bench::running();
    bench.submit(1, &[blocks(2, 0, 1), blocks(2, 1, 1), blocks(2, 2, 1)]);
    bench.disk.finish(0);
    assert_eq!(bench.sent(), [1]);
    bench.disk.finish(0);
    assert!(bench.sent().is_empty(), "it has not taken the first");
    assert_eq!(bench.look(1).len(), 2);
    bench.disk.finish(0);
    let pair = bench.pairs[1];
    bench.write(pair.doorbell(true), pair.head);
    assert_eq!(bench.sent(), [1], "the third came after it looked");
    assert_eq!(bench.reap(1).len(), 1);
    assert!(bench.sent().is_empty());
}

#[test]
fn without_messages_the_wire_is_high_while_entries_are_there() {
    let mut bench = Bench::enabled();
    bench.make_queues(1, 8);
    assert!(!bench.wire.level(0));
    bench.submit(1, &[blocks(2, 0, 1)]);
    bench.disk.finish_all();
    assert!(bench.wire.level(0));
    bench.write(0x0C, 1);
    assert!(!bench.wire.level(0), "masked");
    bench.write(0x10, 1);
    assert!(bench.wire.level(0));
    bench.reap(1);
    assert!(!bench.wire.level(0));
}

#[test]
fn queues_wrap_and_phases_change() {
    let mut bench = Bench::running();
    for round in 0..50 {
        let first = round % 100;
        assert_eq!(bench.io(blocks(2, first, 1)), 0);
        assert_eq!(bench.bytes(DATA, 1), [first as u8]);
    }
}

#[test]
fn a_full_completion_queue_holds_back_without_losing_anything() {
    let mut bench = Bench::running();
    let mut ended = Vec::new();
    let mut ids = bench.submit(1, &[blocks(2, 0, 1); 7]);
    bench.disk.finish_all();
    ids.extend(bench.submit(1, &[blocks(2, 0, 1); 7]));
    assert_eq!(bench.disk.waiting(), 0, "nothing is taken while there is no room for its end");
    for _ in 0..3 {
        ended.extend(bench.reap(1).iter().map(|entry| entry.id));
        bench.disk.finish_all();
    }
    assert_eq!(ended, ids);
}

#[test]
fn completions_wait_for_room() {
    let mut bench = Bench::running();
    let mut ids = bench.submit(1, &[blocks(2, 0, 1); 7]);
    ids.extend(bench.submit(1, &[blocks(2, 0, 1); 7]));
    assert_eq!(bench.disk.waiting(), 14);
    bench.disk.finish_all();
    let mut ended: Vec<u16> = bench.reap(1).iter().map(|entry| entry.id).collect();
    assert_eq!(ended.len(), 7);
    ended.extend(bench.reap(1).iter().map(|entry| entry.id));
    assert_eq!(ended, ids);
}

#[test]
fn writes_reach_the_medium_when_the_host_wants_it() {
    const FUA: u32 = 1 << 30;
    let mut bench = Bench::running();
    let mut forced = blocks(1, 0, 1);
    forced[12] |= FUA;
    assert_eq!(bench.io(forced), 0);
    let mut zeroes = blocks(8, 0, 3);
    zeroes[12] |= FUA | 1 << 25;
    assert_eq!(bench.io(zeroes), 0);
    assert_eq!(bench.io(command(0, &[(1, u32::MAX)])), 0);
    assert_eq!(*bench.disk.done.lock(), ["write 0 512 through", "zero 0 1536 unmap", "flush", "flush"]);
}

#[test]
fn without_its_cache_the_disk_is_written_through() {
    let mut bench = Bench::running();
    bench.submit(0, &[command(9, &[(10, 6)])]);
    assert!(bench.look(0).is_empty(), "what is in the cache is written first");
    bench.disk.finish_all();
    assert_eq!(bench.reap(0)[0].status, 0);
    assert_eq!(bench.io(blocks(1, 0, 1)), 0);
    assert_eq!(*bench.disk.done.lock(), ["flush", "write 0 512 through"]);
}

#[test]
fn compare_tells_equal_from_different() {
    let mut bench = Bench::running();
    bench.dma.write(DATA, &[[5; 512], [6; 512]].concat()).unwrap();
    assert_eq!(bench.io(blocks(5, 5, 2)), 0);
    bench.dma.write(DATA + 1023, &[7]).unwrap();
    assert_eq!(bench.io(blocks(5, 5, 2)), 0x285);
}

#[test]
fn more_compares_than_memory_is_for_wait_in_their_queue() {
    let mut bench = Bench::running();
    bench.make_queues(2, 64);
    bench.dma.write(DATA, &[1; 512]).unwrap();
    bench.submit(2, &[blocks(5, 1, 1); 40]);
    assert_eq!(bench.disk.waiting(), outstanding::MOST_COMPARES);
    bench.disk.finish_all();
    let entries = bench.reap(2);
    assert_eq!((entries.len(), entries.iter().any(|entry| entry.status != 0)), (40, false));
}

#[test]
fn ranges_are_deallocated_in_turn() {
    let mut bench = Bench::running();
    let range =
        |first: u64, blocks: u32| [[0; 4].as_slice(), &blocks.to_le_bytes(), &first.to_le_bytes()].concat();
    bench.dma.write(DATA, &[range(1, 2), range(9, 0), range(126, 2)].concat()).unwrap();
    let deallocate = command(9, &[(1, 1), (6, DATA as u32), (10, 2), (11, 4)]);
    assert_eq!(bench.io(deallocate), 0);
    assert_eq!(*bench.disk.done.lock(), ["discard 512 1024", "discard 64512 1024"]);
    bench.dma.write(DATA, &range(127, 2)).unwrap();
    assert_eq!(bench.io(deallocate), 0x80, "beyond the end");
    assert_eq!(bench.disk.done.lock().len(), 2);
    *bench.disk.error.lock() = Some(BlockError::Unsupported);
    bench.dma.write(DATA, &range(1, 1)).unwrap();
    assert_eq!(bench.io(deallocate), 0, "a hint");
}

#[rstest]
#[case::past_the_end(blocks(2, 127, 2), 0x80)]
#[case::far_past_the_end(command(1, &[(1, 1), (10, u32::MAX), (11, u32::MAX)]), 0x80)]
#[case::no_namespace(command(2, &[(6, DATA as u32)]), 0x0B)]
#[case::read_of_all_namespaces(command(2, &[(1, u32::MAX), (6, DATA as u32)]), 0x0B)]
#[case::other_namespace(command(0, &[(1, 2)]), 0x0B)]
#[case::unknown(command(0x42, &[(1, 1)]), 0x01)]
#[case::fused(command(2, &[(0, 1 << 8), (1, 1), (6, DATA as u32)]), 0x02)]
#[case::scatter_gather(command(2, &[(0, 1 << 14), (1, 1), (6, DATA as u32)]), 0x02)]
#[case::no_memory(command(2, &[(1, 1), (6, 0xF000_0000)]), 0x04)]
#[case::odd_memory(command(2, &[(1, 1), (6, DATA as u32 + 2)]), 0x13)]
fn malformed_commands_are_refused(#[case] words: [u32; 16], #[case] status: u16) {
    let mut bench = Bench::running();
    assert_eq!(bench.io(words), status);
    assert!(bench.disk.done.lock().is_empty());
    assert_eq!(bench.io(blocks(2, 0, 1)), 0, "the queue goes on");
}

#[rstest]
#[case(2, BlockError::Host, 0x281)]
#[case(1, BlockError::Host, 0x280)]
#[case(5, BlockError::Host, 0x281)]
#[case(0, BlockError::Host, 0x06)]
#[case(1, BlockError::ReadOnly, 0x20)]
#[case(2, BlockError::Range, 0x80)]
fn failures_of_the_disk_have_a_status(#[case] opcode: u8, #[case] error: BlockError, #[case] status: u16) {
    let mut bench = Bench::running();
    *bench.disk.error.lock() = Some(error);
    assert_eq!(bench.io(blocks(opcode, 0, 1)), status);
}

#[test]
fn a_disk_that_may_only_be_read_is_write_protected() {
    let mut bench = Bench::running();
    bench.disk.geometry.lock().read_only = true;
    for opcode in [1, 8] {
        assert_eq!(bench.io(blocks(opcode, 0, 1)), 0x20);
    }
    assert_eq!(bench.io(blocks(2, 0, 1)), 0);
}

#[test]
fn commands_beyond_the_limit_are_left_in_their_queues() {
    let mut bench = Bench::running();
    for number in 1..=QUEUES {
        let create = |opcode, base: u32, word| {
            command(opcode, &[(6, base), (10, 1023 << 16 | u32::from(number)), (11, word)])
        };
        let base = 0x20_0000 + u32::from(number) * 0x4_0000;
        if number > 1 {
            assert_eq!(bench.admin(create(5, base, 3)).status, 0);
            assert_eq!(bench.admin(create(1, base + 0x1_0000, u32::from(number) << 16 | 1)).status, 0);
            for at in 0..1024 {
                let bytes: Vec<u8> = blocks(2, 0, 1).iter().flat_map(|word| word.to_le_bytes()).collect();
                bench.dma.write(u64::from(base) + 0x1_0000 + 64 * at, &bytes).unwrap();
            }
            bench.write(0x1000 + 8 * u64::from(number), 1023);
        }
    }
    assert_eq!(bench.disk.waiting(), outstanding::MOST_OUTSTANDING);
    bench.disk.finish_all();
    assert_eq!(bench.disk.done.lock().len(), 3 * 1023);
}
