//! Entry points for fuzzing: images whose headers and tables the input changes, and what can be done with them. An image is
//! refused, or read and written as something, without a panic, without waiting for ever, without taking the host's memory.

mod foreign;
mod input;
mod qcow2;

pub use foreign::foreign;
pub use qcow2::qcow2;

use emu_core::backend::{BlockBackend, BlockError, BlockRequest, Data, Operation};
use std::sync::mpsc;

/// Asks a disk for something, and waits.
fn ask(disk: &dyn BlockBackend, operation: Operation) -> (Result<(), BlockError>, Option<Data>) {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result, data| sender.send((result, data)).expect("somebody waits"));
    disk.submit(BlockRequest { operation, done });
    receiver.recv().expect("every request is answered")
}

/// What is at `offset`, if it can be read.
fn read(disk: &dyn BlockBackend, offset: u64, len: usize) -> Option<Vec<u8>> {
    let data = Data::Device(vec![0xEE; len].into());
    match ask(disk, Operation::Read { offset, data }) {
        (Ok(()), Some(Data::Device(bytes))) => Some(bytes.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::foreign(foreign, 400)]
    #[case::qcow2(qcow2, 200)]
    fn any_changes_do_no_harm(#[case] target: fn(&[u8]), #[case] count: u64) {
        // Numbers that look random: SplitMix64.
        let mut state = 0x1357_9BDF_u64;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ z >> 31
        };
        for _ in 0..count {
            let data: Vec<u8> = (0..next() % 100).map(|_| next() as u8).collect();
            target(&data);
        }
    }

    /// Without a change, images are what they were made to be.
    #[rstest]
    fn the_images_that_are_changed_make_sense(#[values(0, 1, 2, 3, 4, 5, 6)] choice: u8) {
        foreign(&[choice, 0]);
        for flags in [0, 1] {
            let work: Vec<u8> = (0..200).map(|at| (at * 37 + u32::from(choice)) as u8).collect();
            qcow2(&[&[choice, 0, flags][..], &work].concat());
        }
    }
}
