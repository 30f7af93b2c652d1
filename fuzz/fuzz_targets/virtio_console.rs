//! See `emu_harness::fuzz::virtio_console`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_harness::fuzz::virtio_console(data));
