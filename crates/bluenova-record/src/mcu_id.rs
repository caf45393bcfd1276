//! MCU IDs as text.

use core::fmt;

/// An MCU ID as the batteries write it: eight hexadecimal digits.
///
/// ```
/// use bluenova_record::McuId;
///
/// assert_eq!(McuId(0x9F3C_07B2).to_string(), "9F3C07B2");
/// assert_eq!(McuId::parse("9f3c07b2"), Some(McuId(0x9F3C_07B2)));
/// assert_eq!(McuId::parse("+7"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct McuId(pub u32);

impl McuId {
    /// The MCU ID that has these 1 to 8 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        // Without the sign that numbers may have.
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self)
    }
}

impl fmt::Display for McuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}", self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for McuId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
