//! Whole runs of the guest that is built in.

use super::*;
use rstest::rstest;

fn trial(engines: [Engine; 2], instructions: u64) -> Trial {
    Trial { config: MachineConfig::default(), engines, instructions, until: None, plant: None }
}

#[rstest]
#[case([Engine::Jit, Engine::Interp], u64::MAX)]
#[case([Engine::Jit, Engine::Jit], u64::MAX)]
#[case([Engine::Steps, Engine::Interp], 3_000_000)]
fn the_embedded_guest_does_the_same_on_all_engines(#[case] engines: [Engine; 2], #[case] instructions: u64) {
    let comparison = compare(&trial(engines, instructions), |_| {}).unwrap();
    assert!(comparison.difference.is_none(), "{}", comparison.difference.unwrap());
    let printed = String::from_utf8_lossy(&comparison.printed).into_owned();
    if instructions == u64::MAX {
        assert_eq!(comparison.end, Some(End::Asleep));
        assert!(printed.contains("million instructions per second"), "{printed}");
    } else {
        assert_eq!(comparison.last.executed, instructions);
        assert!(printed.contains("Long mode"), "{printed}");
    }
}

#[rstest]
#[case(1)]
#[case(49_999)]
#[case(50_000)]
#[case(50_001)]
#[case(1_234_567)]
fn what_is_planted_is_found_at_its_instruction(
    #[case] number: u64,
    #[values([Engine::Jit, Engine::Interp], [Engine::Interp, Engine::Jit])] engines: [Engine; 2],
) {
    let planted = Trial { plant: Some(number), ..trial(engines, 2_000_000) };
    let difference = compare(&planted, |_| {}).unwrap().difference.expect("it was planted");
    let text = difference.to_string();
    assert_eq!(difference.instruction(), Some(number), "{text}");
    assert!(text.contains("\n  dr3  0"), "{text}");
}

#[test]
fn it_is_enough_when_the_guest_has_printed_what_it_should() {
    let until = Trial { until: Some("Protected mode".into()), ..trial([Engine::Interp; 2], u64::MAX) };
    let comparison = compare(&until, |_| {}).unwrap();
    assert_eq!((comparison.last.executed / BATCH, comparison.end), (1, None));
}

#[test]
fn a_byte_of_memory_is_a_difference() {
    let pair = Pair::start(&trial([Engine::Interp; 2], 1000)).unwrap();
    let [first, second] = pair.both(Order::Batch(1000)).unwrap();
    assert_eq!(first.standings, second.standings);
    assert!(pair.differing_pages().is_empty());
    let last = (128 << 20) - 1;
    pair.memories()[1].ram().write(last, &[1]).unwrap();
    assert_eq!(pair.differing_pages(), [last - 0xFFF]);
    let (address, [first, second]) = pair.differing_page(last - 0xFFF).expect("it differs");
    assert_eq!((address, first[0xFFF], second[0xFFF]), (last - 0xFFF, 0, 1));
}
