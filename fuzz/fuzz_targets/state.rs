//! See `emu_harness::fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_harness::fuzz::state(data));
