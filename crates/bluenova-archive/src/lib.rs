//! Old logs of BlueNova batteries in, CSV out.
//!
//! [`CsvWriter`] writes rows as CSV, with the [`columns`] that were asked for.
#![forbid(unsafe_code)]

mod csv;

pub use csv::{ColumnsError, CsvWriter, columns};
