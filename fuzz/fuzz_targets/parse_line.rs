//! See [`bluenova_fuzz::parse_line`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bluenova_fuzz::parse_line(data));
