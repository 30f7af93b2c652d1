//! See `emu_harness::fuzz::e1000`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_harness::fuzz::e1000(data));
