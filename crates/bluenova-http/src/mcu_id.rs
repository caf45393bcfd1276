//! MCU IDs as text.

use std::fmt;

use serde::{Serialize, Serializer};

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
