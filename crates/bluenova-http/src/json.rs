//! How the JSON has identities and times.

use std::fmt;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// An MCU ID as the batteries write it: eight hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct McuId(pub(crate) u32);

impl fmt::Display for McuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}", self.0)
    }
}

impl Serialize for McuId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time as RFC 3339 text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utc(pub(crate) UtcDateTime);

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0).map_err(S::Error::custom)?)
    }
}

pub(crate) fn rfc3339(time: UtcDateTime) -> Result<String, time::error::Format> {
    time.format(&Rfc3339)
}
