//! See [`bluenova_fuzz::websocket_stream`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bluenova_fuzz::websocket_stream(data));
