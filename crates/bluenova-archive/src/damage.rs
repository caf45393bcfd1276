use std::fmt;

use bluenova_console::ErrorKind;

/// What can't be read in a log. It has cost at most the value, the line or the record that it is
/// about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A line of the console, or of a record, lacks its end or holds NUL bytes.
    CutLine,
    /// Time or MCU ID of a record can't be read, so that the record is left out.
    RecordKey,
    /// The time of a record doesn't agree with that of its line, so that the record is left out.
    RecordTime,
    /// No other record of the log has the MCU ID of this one, so that it is left out.
    RecordOwner,
    /// Lines of a record without its first one, which has time and MCU ID.
    RecordStart,
    /// A record lacks one of the three lines behind its first one.
    RecordLines,
    /// A value of a record, with its name in the log.
    Value(&'static str),
    /// The time of a console line is far from its neighbours', so that it is left out.
    LineTime,
    /// A malformed line of the console: its prefix, and what is wrong with it.
    ConsoleLine(&'static str, ErrorKind),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutLine => f.write_str("a line is cut off or overwritten"),
            Self::RecordKey => f.write_str("time or MCU ID of a record can't be read"),
            Self::RecordTime => f.write_str("the time of a record isn't that of its line"),
            Self::RecordOwner => f.write_str("no other record has the MCU ID of a record"),
            Self::RecordStart => f.write_str("the first line of a record is missing"),
            Self::RecordLines => f.write_str("a record lacks one of its four lines"),
            Self::Value(name) => write!(f, "a value of a record can't be read: {name}"),
            Self::LineTime => f.write_str("the time of a line is far from its neighbours'"),
            Self::ConsoleLine(prefix, kind) => {
                write!(f, "a line of the console is malformed: `{prefix}`: {kind}")
            }
        }
    }
}
