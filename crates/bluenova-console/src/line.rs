use core::fmt;

use bluenova_record::{ADC_CHANNELS, CELLS};

use crate::{Decimal, Millivolts};

/// One line of the console.
///
/// `Display` prints the wire form: parsing what was printed gives the line back, for every line
/// that [`parse`](crate::parse) returns. So the wire form is the one to store and to read back; with
/// the feature `serde` a line can be serialized for programs that don't know it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Line<'a> {
    /// `MCU ID: 9F3C07B2`
    ///
    /// Serial number of the controller, hexadecimal, 32 bits: who this battery is.
    McuId(u32),
    /// `--- PO PARAMS --- (i=3`
    ///
    /// Number of units in the bank.
    UnitCount(i16),
    /// `after assignRank() --> own rank = 2`
    ///
    /// This unit's rank in the bank.
    UnitRank(i16),
    /// `CellCount: 16`
    ///
    /// Cells in series.
    CellCount(i16),
    /// `C07) T: 21, V: 3311`
    ///
    /// One cell's temperature and voltage.
    Cell {
        /// Which cell.
        cell: CellNumber,
        /// Its temperature in °C.
        temperature: i16,
        /// Its voltage.
        voltage: Millivolts,
    },
    /// `Vpack: 53017`
    ///
    /// Pack voltage.
    PackVoltage(Millivolts),
    /// `Current: -41.75`
    ///
    /// Pack current in amperes; positive charges, negative discharges.
    PackCurrent(Decimal),
    /// `Temp: 24`
    ///
    /// Pack temperature in °C.
    PackTemperature(i16),
    /// `Vc_max: 3338`
    ///
    /// Highest cell voltage.
    CellVoltageMax(Millivolts),
    /// `Vc_min: 3293`
    ///
    /// Lowest cell voltage.
    CellVoltageMin(Millivolts),
    /// `SOC: 63`
    ///
    /// State of charge in percent.
    StateOfCharge(i16),
    /// `SOH: 97.25`
    ///
    /// State of health in percent.
    StateOfHealth(Decimal),
    /// `Errors: "NONE"`
    ///
    /// The text between the quotes.
    Errors(&'a str),
    /// `System_State: NORMAL`
    ///
    /// The rest of the line.
    SystemState(&'a str),
    /// `Breaker: CLOSED`
    ///
    /// The rest of the line.
    Breaker(&'a str),
    /// `Charge State: DISCHARGE (3)`
    ///
    /// The first word behind the prefix.
    ChargeState(&'a str),
    /// `Vp_adc: 52996`
    ///
    /// Pack voltage as the analogue-digital converter sees it.
    AdcPackVoltage(Millivolts),
    /// `DEBUG: ADC[2]: 2002 = 1613.5`
    ///
    /// One channel of the analogue-digital converter.
    Adc {
        /// Which channel.
        channel: AdcChannel,
        /// What the converter counted.
        raw: i32,
        /// What that is as a voltage.
        voltage: Millivolts,
    },
    /// `INFO: BAD CRC`
    ///
    /// One bad frame on the cell bus.
    BadCrc,
    /// `INFO: cellcomms parse FAIL`
    ///
    /// One unparsable frame on the cell bus.
    CellFrameUnparsable,
    /// `DEBUG: REJECT BAD `
    ///
    /// One cell reading that the firmware rejected.
    CellReadingRejected,
    /// `DEBUG: CALC PACK_CHARGE, STORE IN FLASH`
    ///
    /// Announces the two energy lines.
    EnergyAnnounced,
    /// `Write EnergyOut: 812.5`
    ///
    /// The first one behind the announcement is the energy out, the second one the energy in: the
    /// firmware prints the same label for both. Others mean nothing. Unit as the firmware has it.
    EnergyWritten(Decimal),
    /// Any other line: noise, normal and frequent.
    Other(&'a str),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::McuId(id) => write!(f, "{}{id:08X}", prefix::MCU_ID),
            Self::UnitCount(n) => write!(f, "{}{n}", prefix::UNIT_COUNT),
            Self::UnitRank(n) => write!(f, "{}{n}", prefix::UNIT_RANK),
            Self::CellCount(n) => write!(f, "{}{n}", prefix::CELL_COUNT),
            Self::Cell { cell, temperature, voltage } => write!(
                f,
                "{}{cell}{}{temperature}{}{voltage}",
                prefix::CELL,
                infix::CELL_TEMPERATURE,
                infix::CELL_VOLTAGE
            ),
            Self::PackVoltage(v) => write!(f, "{}{v}", prefix::PACK_VOLTAGE),
            Self::PackCurrent(i) => write!(f, "{}{i}", prefix::PACK_CURRENT),
            Self::PackTemperature(t) => write!(f, "{}{t}", prefix::PACK_TEMPERATURE),
            Self::CellVoltageMax(v) => write!(f, "{}{v}", prefix::CELL_VOLTAGE_MAX),
            Self::CellVoltageMin(v) => write!(f, "{}{v}", prefix::CELL_VOLTAGE_MIN),
            Self::StateOfCharge(n) => write!(f, "{}{n}", prefix::STATE_OF_CHARGE),
            Self::StateOfHealth(n) => write!(f, "{}{n}", prefix::STATE_OF_HEALTH),
            Self::Errors(text) => write!(f, "{}\"{text}\"", prefix::ERRORS),
            Self::SystemState(text) => write!(f, "{}{text}", prefix::SYSTEM_STATE),
            Self::Breaker(text) => write!(f, "{}{text}", prefix::BREAKER),
            Self::ChargeState(word) => write!(f, "{}{word}", prefix::CHARGE_STATE),
            Self::AdcPackVoltage(v) => write!(f, "{}{v}", prefix::ADC_PACK_VOLTAGE),
            Self::Adc { channel, raw, voltage } => write!(
                f,
                "{}{channel}{}{raw}{}{voltage}",
                prefix::ADC,
                infix::ADC_RAW,
                infix::ADC_VOLTAGE
            ),
            Self::BadCrc => f.write_str(prefix::BAD_CRC),
            Self::CellFrameUnparsable => f.write_str(prefix::CELL_FRAME_UNPARSABLE),
            Self::CellReadingRejected => f.write_str(prefix::CELL_READING_REJECTED),
            Self::EnergyAnnounced => f.write_str(prefix::ENERGY_ANNOUNCED),
            Self::EnergyWritten(n) => write!(f, "{}{n}", prefix::ENERGY_WRITTEN),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// What stands at the very start of a line, to the letter.
pub(crate) mod prefix {
    pub(crate) const MCU_ID: &str = "MCU ID: ";
    pub(crate) const UNIT_COUNT: &str = "--- PO PARAMS --- (i=";
    pub(crate) const UNIT_RANK: &str = "after assignRank() --> own rank = ";
    pub(crate) const CELL_COUNT: &str = "CellCount: ";
    pub(crate) const CELL: &str = "C";
    pub(crate) const PACK_VOLTAGE: &str = "Vpack: ";
    pub(crate) const PACK_CURRENT: &str = "Current: ";
    pub(crate) const PACK_TEMPERATURE: &str = "Temp: ";
    pub(crate) const CELL_VOLTAGE_MAX: &str = "Vc_max: ";
    pub(crate) const CELL_VOLTAGE_MIN: &str = "Vc_min: ";
    pub(crate) const STATE_OF_CHARGE: &str = "SOC: ";
    pub(crate) const STATE_OF_HEALTH: &str = "SOH: ";
    pub(crate) const ERRORS: &str = "Errors: ";
    pub(crate) const SYSTEM_STATE: &str = "System_State: ";
    pub(crate) const BREAKER: &str = "Breaker: ";
    pub(crate) const CHARGE_STATE: &str = "Charge State: ";
    pub(crate) const ADC_PACK_VOLTAGE: &str = "Vp_adc: ";
    pub(crate) const ADC: &str = "DEBUG: ADC[";
    pub(crate) const BAD_CRC: &str = "INFO: BAD CRC";
    pub(crate) const CELL_FRAME_UNPARSABLE: &str = "INFO: cellcomms parse FAIL";
    pub(crate) const CELL_READING_REJECTED: &str = "DEBUG: REJECT BAD ";
    pub(crate) const ENERGY_ANNOUNCED: &str = "DEBUG: CALC PACK_CHARGE, STORE IN FLASH";
    pub(crate) const ENERGY_WRITTEN: &str = "Write EnergyOut: ";
}

/// What stands between the values of a line that has several.
pub(crate) mod infix {
    pub(crate) const CELL_TEMPERATURE: &str = ") T: ";
    pub(crate) const CELL_VOLTAGE: &str = ", V: ";
    pub(crate) const ADC_RAW: &str = "]: ";
    pub(crate) const ADC_VOLTAGE: &str = " = ";
}

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

    /// Where the cell stands in [`PackRecord::cell_v`](bluenova_record::PackRecord::cell_v).
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

    /// Where the channel stands in [`PackRecord::adc`](bluenova_record::PackRecord::adc).
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for AdcChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
