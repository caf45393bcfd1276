//! See Cargo.toml.

#![no_std]

use core::panic::PanicInfo;

use bluenova_console::{Assembler, Interval, LineSplitter};
use time::UtcDateTime;

/// All of the parser, reachable from C: a function without a caller would not be linked.
///
/// Returns the state of charge in `piece`, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn state_of_charge(piece: &[u8; 64]) -> i16 {
    let Some(interval) = Interval::from_seconds(1) else { return -1 };
    let mut assembler = Assembler::new(interval);
    let mut splitter = LineSplitter::<64>::new();
    let mut piece = &piece[..];
    while let Some(line) = splitter.next_line(&mut piece) {
        // A malformed line costs the field that it was for.
        _ = assembler.feed(line);
    }
    let record = assembler.finish(UtcDateTime::UNIX_EPOCH);
    record.and_then(Result::ok).and_then(|record| record.soc).unwrap_or(-1)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
