//! See `emu_net::fuzz::packets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| emu_net::fuzz::packets(data));
