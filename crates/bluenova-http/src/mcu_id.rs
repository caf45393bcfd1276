//! MCU IDs as text.

use std::fmt;

use serde::{Serialize, Serializer};

/// An MCU ID as the batteries write it: eight hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct McuId(pub(crate) u32);

/// The MCU ID that has these 1 to 8 hexadecimal digits.
pub(crate) fn parse(text: &str) -> Option<u32> {
    // Without the sign that numbers may have.
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

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
