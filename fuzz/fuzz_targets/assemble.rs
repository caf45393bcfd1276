//! See [`bluenova_fuzz::assemble`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bluenova_fuzz::assemble(data));
