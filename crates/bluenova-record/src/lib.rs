//! One row of a BlueNova battery, and the table of its columns.
//!
//! [`PackRecord`] is what is known of one battery at the end of one interval. [`COLUMNS`] is the
//! one list of what a record consists of: name, SQL type, unit, and how to get and set the value.
//! Every sink makes its schema, its insert and its read from that list, so that a column is added
//! in one place.
//!
//! [`Timestamp`], [`Rfc3339`], [`McuId`], [`ErrorChain`] and [`Escaped`] are how all crates put
//! times, MCU IDs, errors and foreign text for people and programs to read. [`errors_in`],
//! [`not_closed`] and the methods of the record say what its texts mean.
//!
//! There is no I/O here, no clock and no allocation; the crate is `no_std`. With feature `serde`
//! a record can be serialized and read back; its time then is RFC 3339 text.
//!
//! ```
//! use bluenova_record::{COLUMNS, PackRecord, Value};
//! use time::UtcDateTime;
//!
//! let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0x9F3C_07B2);
//! record.v_pack = Some(53.017);
//!
//! let column = COLUMNS.iter().find(|column| column.name == "v_pack").unwrap();
//! assert_eq!(column.sql.to_string(), "REAL");
//! assert_eq!(column.unit, "V");
//! assert_eq!(column.get(&record), Some(Value::Real(53.017)));
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod columns;
mod mcu_id;
mod meaning;
mod rfc3339;
mod text;
mod words;

pub use columns::{COLUMNS, Column, CreateTable, SqlType, TABLE, TIME_INDEX, Value, WrongType};
pub use mcu_id::McuId;
pub use meaning::{CHARGING_AMPS, errors_in, not_closed};
pub use rfc3339::Rfc3339;
pub use text::Text;
use time::UtcDateTime;
pub use words::{ErrorChain, Escaped, Timestamp, first_chars};

/// Cells that the table has columns for: the common model has 16 in series.
pub const CELLS: usize = 16;

/// Channels of the battery's analogue-digital converter that the table has columns for.
pub const ADC_CHANNELS: usize = 5;

/// What is known of one battery at the end of one interval: one row of `battery_pack`.
///
/// The fields bear the names of their columns. `None` means that the battery did not report the
/// value in the interval (SQL `NULL`). A row is identified by
/// ([`insert_time_utc`](Self::insert_time_utc), [`mcu_id`](Self::mcu_id)).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct PackRecord {
    /// End of the interval. Sinks keep microseconds.
    #[cfg_attr(feature = "serde", serde(with = "rfc3339::with_serde"))]
    pub insert_time_utc: UtcDateTime,
    /// Serial number of the battery's controller: who this battery is.
    pub mcu_id: u32,
    /// Number of units in the bank.
    pub n_units: Option<i16>,
    /// This unit's rank in the bank.
    pub unit_rank: Option<i16>,
    /// Number of cells in series.
    pub cell_count: Option<i16>,
    /// Cell voltages in volts; cell 01 is at index 0.
    pub cell_v: [Option<f32>; CELLS],
    /// Cell temperatures in °C; cell 01 is at index 0.
    pub cell_t: [Option<i16>; CELLS],
    /// Pack voltage in volts.
    pub v_pack: Option<f32>,
    /// Pack current in amperes; positive charges, negative discharges.
    pub i_pack: Option<f32>,
    /// Pack temperature in °C.
    pub temp: Option<i16>,
    /// Lowest cell voltage in volts.
    pub v_cell_min: Option<f32>,
    /// Highest cell voltage in volts.
    pub v_cell_max: Option<f32>,
    /// State of charge in percent.
    pub soc: Option<i16>,
    /// State of health in percent.
    pub health: Option<f32>,
    /// Errors in the firmware's words.
    pub errors: Option<Text<32>>,
    /// System state in the firmware's words.
    pub system_state: Option<Text<32>>,
    /// State of the breaker in the firmware's words.
    pub breaker: Option<Text<32>>,
    /// Charge state in the firmware's words.
    pub charge_state: Option<Text<16>>,
    /// Energy charged so far, in the unit in which the firmware reports it.
    pub energy_in: Option<f32>,
    /// Energy discharged so far, in the unit in which the firmware reports it.
    pub energy_out: Option<f32>,
    /// Pack voltage in volts, as the analogue-digital converter sees it.
    pub adc_vp: Option<f32>,
    /// Channels of the analogue-digital converter, in volts.
    pub adc: [Option<f32>; ADC_CHANNELS],
    /// Bad frames on the cell bus in this interval.
    pub bad_crc: i16,
    /// Unparsable frames on the cell bus in this interval.
    pub parse_fail: i16,
    /// Cell readings that the firmware rejected in this interval.
    pub bad_vcell: i16,
}

impl PackRecord {
    /// A record in which nothing is known but whose and when.
    pub const fn new(insert_time_utc: UtcDateTime, mcu_id: u32) -> Self {
        Self {
            insert_time_utc,
            mcu_id,
            n_units: None,
            unit_rank: None,
            cell_count: None,
            cell_v: [None; CELLS],
            cell_t: [None; CELLS],
            v_pack: None,
            i_pack: None,
            temp: None,
            v_cell_min: None,
            v_cell_max: None,
            soc: None,
            health: None,
            errors: None,
            system_state: None,
            breaker: None,
            charge_state: None,
            energy_in: None,
            energy_out: None,
            adc_vp: None,
            adc: [None; ADC_CHANNELS],
            bad_crc: 0,
            parse_fail: 0,
            bad_vcell: 0,
        }
    }
    /// Takes each value that this record lacks from `other`, one of the same battery and time.
    /// The counters stay.
    ///
    /// ```
    /// use bluenova_record::PackRecord;
    /// use time::UtcDateTime;
    ///
    /// let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
    /// let mut other = record.clone();
    /// (record.soc, other.soc, other.temp) = (Some(63), Some(62), Some(24));
    ///
    /// record.fill_from(&other);
    /// assert_eq!((record.soc, record.temp), (Some(63), Some(24)));
    /// ```
    pub fn fill_from(&mut self, other: &Self) {
        for column in &COLUMNS {
            if column.get(self).is_none() {
                // A value always goes back into the column that it came from.
                let _ = column.set(self, column.get(other));
            }
        }
    }
}
