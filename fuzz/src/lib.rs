//! The properties that the fuzz targets check, one function per target.
//!
//! A function takes bytes as the fuzzer makes them and panics where a property doesn't hold. The
//! targets in `fuzz_targets/` hand it what libFuzzer invents; `tests/replay.rs` hands it the files
//! of `seeds/` and `regressions/`, in plain `cargo test`.
#![forbid(unsafe_code)]

mod assemble;
mod frames;
mod lines;
mod log;
mod mqtt;
mod record;
mod websocket;

pub use assemble::assemble;
pub use lines::{parse_line, split_lines};
pub use log::read_log;
pub use mqtt::mqtt_session;
pub use record::record_roundtrip;
pub use websocket::websocket_stream;
