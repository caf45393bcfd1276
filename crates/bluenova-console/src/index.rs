use core::fmt;

use bluenova_record::{ADC_CHANNELS, CELLS};

/// Number of a cell, 1 to 16 as on the console; `Display` has two digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CellNumber(u8);

impl CellNumber {
    /// Cell `number`, counted from 1; `None` for one that the table has no column for.
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number as usize <= CELLS { Some(Self(number)) } else { None }
    }

    /// The number, counted from 1.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Index of the cell in [`PackRecord::cell_v`](bluenova_record::PackRecord::cell_v).
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }
}

impl fmt::Display for CellNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// A channel of the analogue-digital converter, 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AdcChannel(u8);

impl AdcChannel {
    /// Channel `number`; `None` for one that the table has no column for.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < ADC_CHANNELS { Some(Self(number)) } else { None }
    }

    /// The number, counted from 0.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Index of the channel in [`PackRecord::adc`](bluenova_record::PackRecord::adc).
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for AdcChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
