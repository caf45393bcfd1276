//! Nothing is allocated: neither for a line, nor for a record, nor for an error. In a binary of its
//! own, since the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]
#![allow(unsafe_code, reason = "an allocator can't do without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
};

use bluenova_console::{Assembler, Interval, LineSplitter};
use time::{Duration, UtcDateTime};

struct Counting;

thread_local! {
    /// Of this thread: the test harness has others.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CYCLE: &str = "\
MCU ID: 9F3C07B2\r
--- PO PARAMS --- (i=3) rank 2\r
after assignRank() --> own rank = 2\r
CellCount: 16\r
C07) T: 21, V: 3311\r
C08) T: -1, V: 3311.5\r
C09) T: ??, V: 3311\r
C17) T: 21, V: 3311\r
Vpack: 53017\r
Current: -41.75\r
Temp: 24\r
Vc_max: 3338\r
Vc_min: 3293\r
SOC: 63 %\r
SOC: ??\r
SOC: 99999999999999999999\r
SOH: 97.25\r
Errors: \"Zelle 3 \u{FC}berhitzt, und noch so einiges mehr\"\r
System_State: NORMAL\r
Breaker: CLOSED\r
Charge State: DISCHARGE (3)\r
Vp_adc: 52996\r
DEBUG: ADC[2]: 2002 = 1613.5\r
INFO: BAD CRC\r
INFO: cellcomms parse FAIL\r
DEBUG: REJECT BAD 1\r
DEBUG: CALC PACK_CHARGE, STORE IN FLASH\r
Write EnergyOut: 812.5\r
Write EnergyOut: 123456789.123456789\r
noise\r
";

#[test]
fn nothing_is_allocated() {
    // The cycle with a byte in it that isn't UTF-8, in pieces that cut lines.
    let bytes = [CYCLE.as_bytes(), b"Errors: \"\xFF\"\r\n"].concat();
    let mut splitter = LineSplitter::<256>::new();
    let mut assembler = Assembler::new(Interval::from_seconds(10).unwrap());
    let mut now = UtcDateTime::UNIX_EPOCH;
    let (mut records, mut lines, mut errors) = (0, 0, 0);

    let before = ALLOCATIONS.get();
    for cycle in 0..1000 {
        for mut piece in bytes.chunks(cycle % 50 + 1) {
            while let Some(line) = splitter.next_line(&mut piece) {
                records += usize::from(black_box(assembler.tick(now)).is_some());
                lines += 1;
                errors += usize::from(black_box(assembler.feed(line)).is_err());
            }
        }
        if cycle % 100 == 99 {
            assembler.disconnected();
        }
        now += Duration::SECOND;
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!((records, lines, errors), (99, 31_000, 4_000));

    // It does count.
    drop(black_box(vec![1]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
