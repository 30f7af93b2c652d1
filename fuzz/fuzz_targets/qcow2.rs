//! See `emu_disk::fuzz::qcow2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_disk::fuzz::qcow2(data));
