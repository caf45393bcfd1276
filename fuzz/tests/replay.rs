//! Replays the seeds, and every find that was ever made, without a fuzzer.

use std::{fs, path::Path};

/// Runs `target` over the files that are kept for it. A file that makes it panic is the last one
/// in the output.
fn replay(name: &str, target: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for directory in ["seeds", "regressions"] {
        let directory = root.join(directory).join(name);
        // Not every target has regressions.
        for file in fs::read_dir(&directory).into_iter().flatten() {
            let path = file.expect("the directory is readable").path();
            println!("{}", path.display());
            target(&fs::read(&path).expect("the file is readable"));
            files += 1;
        }
    }
    assert!(files > 0, "no seeds for {name}");
    target(b"");
}

#[test]
fn parse_line() {
    replay("parse_line", bluenova_fuzz::parse_line);
}

#[test]
fn split_lines() {
    replay("split_lines", bluenova_fuzz::split_lines);
}

#[test]
fn assemble() {
    replay("assemble", bluenova_fuzz::assemble);
}

#[test]
fn websocket_stream() {
    replay("websocket_stream", bluenova_fuzz::websocket_stream);
}

#[test]
fn mqtt_session() {
    replay("mqtt_session", bluenova_fuzz::mqtt_session);
}

#[test]
fn record_roundtrip() {
    replay("record_roundtrip", bluenova_fuzz::record_roundtrip);
}

#[test]
fn read_log() {
    replay("read_log", bluenova_fuzz::read_log);
}
