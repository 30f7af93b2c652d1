//! Debian's kernels with the translator.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip};
use rstest::rstest;
use xtask::guests::{Guest, Variant};

#[rstest]
#[case::at_once(Guest::LinuxCloud, "1,20000000", "256M", "1")]
#[case::with_much_that_is_hot(Guest::LinuxCloud, "30,300000", "256M", "1")]
#[case::with_little_room_for_code(Guest::LinuxCloud, "30,200000", "1M", "1")]
#[case::on_two_processors(Guest::LinuxCloud, "30,300000", "256M", "2")]
#[case::in_32_bits(Guest::Linux686, "30,300000", "256M", "1")]
fn a_kernel_boots_and_passes_its_checks(
    #[case] guest: Guest,
    #[case] thresholds: &str,
    #[case] cache: &str,
    #[case] cpus: &str,
) {
    let Some(files) = guest_or_skip(guest) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check))
        .option("--engine", "jit")
        .option("--jit-thresholds", thresholds)
        .option("--jit-cache", cache)
        .option("--cpus", cpus)
        .option("--memory", "512M")
        .start();

    guest.expect("emu-guest: done failures=0", PATIENCE);
    guest.finish(0, PATIENCE);
}

/// What a stressed translator tells at its end.
#[derive(Debug)]
struct Told {
    regions: u64,
    hot: u64,
    looks: u64,
    clearances: u64,
    released: u64,
    written: u64,
}

impl Told {
    /// From what an emulator has said with the log of `emu_jit`.
    fn by(said: &str) -> Self {
        let before = |word: &str| -> u64 {
            let words: Vec<&str> =
                said.split([' ', '(', ')', '\r', '\n']).filter(|word| !word.is_empty()).collect();
            let at = words.windows(2).position(|pair| pair[1].starts_with(word));
            at.and_then(|at| words[at].parse().ok()).unwrap_or_default()
        };
        Told {
            regions: before("regions"),
            hot: before("hot"),
            looks: before("looks"),
            clearances: before("clearances"),
            released: said
                .split(", ")
                .find_map(|part| part.split(" regions released").next()?.parse().ok())
                .unwrap_or_default(),
            written: before("times"),
        }
    }
}

/// Everything is translated at once, for either tier; code is given up, or taken for written, all the time. The kernel
/// does not notice, and the translator tells that it was so.
#[rstest]
#[case::translating_everything_warm("warm", "1", |told: &Told| told.regions > 30_000 && told.hot == 0)]
#[case::translating_everything_hot("hot", "1", |told: &Told| told.hot > 200 && told.regions == told.hot)]
#[case::giving_up_code("evict", "1", |told: &Told| {
    told.regions > 30_000 && told.looks > 500 && told.clearances > 500 && told.released > 20_000
})]
#[case::giving_up_code_of_two_processors("evict", "2", |told: &Told| told.looks > 500 && told.released > 20_000)]
#[case::taking_code_for_written("invalidate", "1", |told: &Told| told.written > 3_000)]
#[case::taking_code_of_two_processors_for_written("invalidate", "2", |told: &Told| told.written > 3_000)]
fn a_kernel_does_not_notice_stress(
    #[case] stress: &str,
    #[case] cpus: &str,
    #[case] has_happened: fn(&Told) -> bool,
) {
    let Some(files) = guest_or_skip(Guest::LinuxCloud) else { return };
    let _host = beside_others();
    let mut guest = Emulator::linux(&files.kernel(), &files.initrd(Variant::Check))
        .option("--engine", "jit")
        .option("--jit-stress", stress)
        .option("--log", "emu_jit=debug")
        .option("--cpus", cpus)
        .option("--memory", "512M")
        .start();

    guest.expect("emu-guest: done failures=0", PATIENCE);
    let told = Told::by(&guest.finish(0, PATIENCE));
    assert!(has_happened(&told), "{told:?}");
}
