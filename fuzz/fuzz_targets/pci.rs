//! See `emu_harness::fuzz::pci`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_harness::fuzz::pci(data));
