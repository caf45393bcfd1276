//! Parser for the text console that BlueNova LiFePO4 batteries stream: from lines to one record
//! per interval.
//!
//! [`parse`] reads one line as a [`Line`]. [`Assembler`] turns the lines of a battery
//! into a [`PackRecord`](bluenova_record::PackRecord) per interval, [`Sampler`] into one per cycle
//! of the console. Where bytes come in pieces, as from a serial port or a file, [`LineSplitter`]
//! makes lines of them.
//!
//! There is no I/O here, no clock and no allocation; the crate is `no_std` without `alloc`.
//! A malformed line is an error of its own and never ends the stream. `src/line.rs` is the table of
//! all kinds of lines.
//!
//! # One line
//!
//! ```
//! use bluenova_console::{Line, parse};
//!
//! match parse("Vpack: 53017\r\n") {
//!     Ok(Line::PackVoltage(voltage)) => assert_eq!(voltage.volts(), 53.017),
//!     other => panic!("{other:?}"),
//! }
//! // A malformed value is never a wrong number: the error points at the byte.
//! let error = parse("Vpack: 53?17").unwrap_err();
//! assert_eq!(error.to_string(), "`Vpack: `: not a number at byte 7");
//! ```
//!
//! # A stream of bytes, and a record per interval
//!
//! ```
//! use bluenova_console::{Assembler, Interval, LineSplitter};
//! use time::{Duration, UtcDateTime};
//!
//! let mut splitter = LineSplitter::<256>::new();
//! let mut assembler = Assembler::new(Interval::from_seconds(10).unwrap());
//! let mut now = UtcDateTime::UNIX_EPOCH;
//! let mut records = vec![];
//!
//! for mut piece in [&b"MCU ID: 9F3C07B2\r\nSOC: 6"[..], b"3\r\nTemp: 24\r\n", b""] {
//!     records.extend(assembler.tick(now));
//!     while let Some(line) = splitter.next_line(&mut piece) {
//!         // A malformed line costs at most the field that it was for.
//!         _ = assembler.feed(line);
//!     }
//!     now += Duration::seconds(5);
//! }
//!
//! let record = records[0].as_ref().unwrap();
//! assert_eq!((record.mcu_id, record.soc, record.temp), (0x9F3C_07B2, Some(63), Some(24)));
//! ```
//!
//! `examples/console_to_csv.rs` makes a table of a console log.
//!
//! # Features
//!
//! `serde`, off by default: `Serialize` for [`Line`], both ways for `PackRecord`. It does without
//! `alloc`, too.
//!
//! # Rust version
//!
//! Rust 1.89 or later; a later minimum is a change of the minor version.
#![no_std]
#![forbid(unsafe_code)]

mod assemble;
mod draft;
mod error;
mod grammar;
mod index;
mod line;
mod number;
mod sample;
mod splitter;
mod usual;
mod value;

pub use assemble::{Assembler, Interval, NoOwner};
pub use error::{ErrorKind, ParseError, Salvage};
pub use index::{AdcChannel, CellNumber};
pub use line::{Line, parse};
pub use number::{Decimal, Millivolts};
pub use sample::Sampler;
pub use splitter::LineSplitter;
