//! See [`bluenova_fuzz::read_log`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bluenova_fuzz::read_log(data));
