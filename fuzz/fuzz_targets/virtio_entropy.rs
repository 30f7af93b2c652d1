//! See `emu_harness::fuzz::virtio_entropy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_harness::fuzz::virtio_entropy(data));
