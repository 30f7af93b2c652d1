//! See `emu_harness::fuzz::rtl8139`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_harness::fuzz::rtl8139(data));
