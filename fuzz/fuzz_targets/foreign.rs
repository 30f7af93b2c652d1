//! See `emu_disk::fuzz::foreign`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_disk::fuzz::foreign(data));
