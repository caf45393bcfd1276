//! See [`bluenova_fuzz::split_lines`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bluenova_fuzz::split_lines(data));
