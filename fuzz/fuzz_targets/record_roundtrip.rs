//! See [`bluenova_fuzz::record_roundtrip`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bluenova_fuzz::record_roundtrip(data));
