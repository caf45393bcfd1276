//! Parser for the text console that BlueNova LiFePO4 batteries stream: from lines to one record
//! per interval.
//!
//! [`parse`] tells what one line says, as a [`Line`]. [`Assembler`] turns the lines of a battery
//! into a [`PackRecord`](bluenova_record::PackRecord) per interval.
//!
//! There is no I/O here, no clock and no allocation; the crate is `no_std`. A malformed line is an
//! error of its own and never ends the stream.
//!
//! ```
//! use bluenova_console::{Line, parse};
//!
//! match parse("Vpack: 53017\r\n") {
//!     Ok(Line::PackVoltage(voltage)) => assert_eq!(voltage.volts(), 53.017),
//!     other => panic!("{other:?}"),
//! }
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod assemble;
mod digits;
mod error;
mod line;
mod number;
mod parse;

pub use assemble::{Assembler, Interval, NoOwner};
pub use error::{ErrorKind, ParseError, Salvage};
pub use line::{AdcChannel, CellNumber, Line};
pub use number::{Decimal, Millivolts};
pub use parse::parse;
