use crate::{CellNumber, Millivolts};

/// A malformed value behind a known prefix.
///
/// It concerns one line only: go on with the next one.
///
/// ```
/// use bluenova_console::{ErrorKind, parse};
///
/// let error = parse("SOC: ??").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotANumber);
/// assert_eq!(error.offset(), 5);
/// assert_eq!(error.to_string(), "`SOC: `: not a number at byte 5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{prefix}`: {kind} at byte {offset}")]
pub struct ParseError {
    pub(crate) prefix: &'static str,
    pub(crate) kind: ErrorKind,
    pub(crate) offset: usize,
    pub(crate) salvage: Option<Salvage>,
}

impl ParseError {
    /// The prefix of the line, which gives its kind.
    pub const fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// What is wrong with the value.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Position of the fault in the line, in bytes.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The half of a cell's line that is fine nevertheless.
    pub const fn salvage(&self) -> Option<Salvage> {
        self.salvage
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The line ends where the value should begin.
    #[error("no value")]
    MissingValue,
    /// There are no digits, or they go on as those of no number that a battery writes.
    #[error("not a number")]
    NotANumber,
    /// The number is larger or smaller than the field can hold.
    #[error("number out of range")]
    OutOfRange,
    /// The text is not in quotes.
    #[error("missing quote")]
    MissingQuote,
    /// What separates this value from the next one is missing.
    #[error("second value missing")]
    MissingSeparator,
}

/// One half of a cell's line whose other half is malformed: bad input costs at most the field that
/// it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Salvage {
    /// The temperature.
    CellTemperature {
        /// Which cell.
        cell: CellNumber,
        /// Its temperature in °C.
        temperature: i16,
    },
    /// The voltage.
    CellVoltage {
        /// Which cell.
        cell: CellNumber,
        /// Its voltage.
        voltage: Millivolts,
    },
}
