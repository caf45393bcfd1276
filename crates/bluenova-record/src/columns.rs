use core::fmt;

use time::UtcDateTime;

use crate::{PackRecord, Text};

/// Name of the table, as the first listener had it.
pub const TABLE: &str = "battery_pack";

/// Name of the index on `insert_time_utc` and `mcu_id`. The first listener had one on the time
/// alone.
pub const TIME_INDEX: &str = "battery_pack_time";

/// A column of `battery_pack`.
#[derive(Debug)]
pub struct Column {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Its type in PostgreSQL.
    pub sql: SqlType,
    /// Unit of its values: `V`, `A`, `°C`, `%`, `UTC`, `1` for counts, `as reported` where the
    /// firmware doesn't say, empty for words, names and numbers of things.
    pub unit: &'static str,
    /// Meaning of its values, in English.
    pub meaning: &'static str,
    get: fn(&PackRecord) -> Option<Value<'_>>,
    set: fn(&mut PackRecord, Option<Value<'_>>) -> Result<(), WrongType>,
}

impl Column {
    /// The value in this column of `record`; `None` is `NULL`.
    pub fn get<'a>(&self, record: &'a PackRecord) -> Option<Value<'a>> {
        (self.get)(record)
    }

    /// Puts `value` into this column of `record`, for sinks that read rows back.
    ///
    /// # Errors
    /// Where the column can't hold such a value; the record stays as it was.
    pub fn set(&self, record: &mut PackRecord, value: Option<Value<'_>>) -> Result<(), WrongType> {
        (self.set)(record, value)
    }

    /// Whether the column may hold `NULL`: all may but the two that identify a row and the
    /// counters.
    pub fn is_nullable(&self) -> bool {
        (self.get)(&EMPTY).is_none()
    }
}

/// A value that a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `TIMESTAMP`, always UTC.
    Timestamp(UtcDateTime),
    /// `BIGINT`
    BigInt(i64),
    /// `SMALLINT`
    SmallInt(i16),
    /// `REAL`
    Real(f32),
    /// `VARCHAR`
    Text(&'a str),
}

/// The type of a column in PostgreSQL; `Display` prints it in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlType {
    /// `TIMESTAMP` without time zone, holding UTC.
    Timestamp,
    /// `BIGINT`
    BigInt,
    /// `SMALLINT`
    SmallInt,
    /// `REAL`
    Real,
    /// `VARCHAR` of that many characters.
    Varchar(usize),
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Real => f.write_str("REAL"),
            Self::Varchar(chars) => write!(f, "VARCHAR({chars})"),
        }
    }
}

/// A column was given a value that it can't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType {
    /// The type of the column.
    pub expected: SqlType,
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a value for a column of type {}", self.expected)
    }
}

impl core::error::Error for WrongType {}

/// Prints the statement that creates the table, as the first listener's users typed it.
///
/// ```
/// let sql = bluenova_record::CreateTable.to_string();
/// assert!(sql.starts_with("CREATE TABLE battery_pack (\n    insert_time_utc TIMESTAMP,\n"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CreateTable;

impl fmt::Display for CreateTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE TABLE {TABLE} (")?;
        for (i, column) in COLUMNS.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}\n    {:<15} {}", column.name, column.sql)?;
        }
        f.write_str("\n)")
    }
}

static EMPTY: PackRecord = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0);

/// How a field of [`PackRecord`] goes into a column and comes back.
trait Field {
    const SQL: SqlType;

    fn value(&self) -> Option<Value<'_>>;

    /// `None` where the type doesn't fit.
    fn read(value: Option<Value<'_>>) -> Option<Self>
    where
        Self: Sized;
}

impl Field for UtcDateTime {
    const SQL: SqlType = SqlType::Timestamp;

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::Timestamp(*self))
    }

    fn read(value: Option<Value<'_>>) -> Option<Self> {
        if let Some(Value::Timestamp(time)) = value { Some(time) } else { None }
    }
}

impl Field for u32 {
    const SQL: SqlType = SqlType::BigInt;

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::BigInt(i64::from(*self)))
    }

    fn read(value: Option<Value<'_>>) -> Option<Self> {
        if let Some(Value::BigInt(number)) = value { number.try_into().ok() } else { None }
    }
}

impl Field for i16 {
    const SQL: SqlType = SqlType::SmallInt;

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::SmallInt(*self))
    }

    fn read(value: Option<Value<'_>>) -> Option<Self> {
        if let Some(Value::SmallInt(number)) = value { Some(number) } else { None }
    }
}

impl Field for Option<i16> {
    const SQL: SqlType = SqlType::SmallInt;

    fn value(&self) -> Option<Value<'_>> {
        self.map(Value::SmallInt)
    }

    fn read(value: Option<Value<'_>>) -> Option<Self> {
        if value.is_none() { Some(None) } else { i16::read(value).map(Some) }
    }
}

impl Field for Option<f32> {
    const SQL: SqlType = SqlType::Real;

    fn value(&self) -> Option<Value<'_>> {
        self.map(Value::Real)
    }

    fn read(value: Option<Value<'_>>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Real(number)) => Some(Some(number)),
            Some(_) => None,
        }
    }
}

impl<const CHARS: usize> Field for Option<Text<CHARS>> {
    const SQL: SqlType = SqlType::Varchar(CHARS);

    fn value(&self) -> Option<Value<'_>> {
        self.as_ref().map(|text| Value::Text(text))
    }

    fn read(value: Option<Value<'_>>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Text(text)) => Some(Some(Text::new(text))),
            Some(_) => None,
        }
    }
}

const fn sql_type_of<F: Field>(_: fn(&PackRecord) -> &F) -> SqlType {
    F::SQL
}

fn put<F: Field>(field: &mut F, value: Option<Value<'_>>) -> Result<(), WrongType> {
    *field = F::read(value).ok_or(WrongType { expected: F::SQL })?;
    Ok(())
}

macro_rules! columns {
    ($($name:ident = $field:ident $([$index:literal])?, $unit:literal, $meaning:literal;)*) => {
        [$(Column {
            name: stringify!($name),
            sql: sql_type_of(|record| &record.$field$([$index])?),
            unit: $unit,
            meaning: $meaning,
            get: |record| record.$field$([$index])?.value(),
            set: |record, value| put(&mut record.$field$([$index])?, value),
        }),*]
    };
}

/// Every column of `battery_pack`, in the order of the table.
///
/// The source of names, types and order is the first listener's README: people have years of rows
/// and Grafana panels on that table.
#[rustfmt::skip]
pub static COLUMNS: [Column; 59] = columns! {
    insert_time_utc = insert_time_utc, "UTC"        , "end of the interval";
    mcu_id          = mcu_id         , ""           , "serial number of the controller";
    n_units         = n_units        , ""           , "units in the bank";
    unit_rank       = unit_rank      , ""           , "rank of this unit in the bank";
    cell_count      = cell_count     , ""           , "cells in series";
    cell_01_v       = cell_v[0]      , "V"          , "voltage of cell 01";
    cell_02_v       = cell_v[1]      , "V"          , "voltage of cell 02";
    cell_03_v       = cell_v[2]      , "V"          , "voltage of cell 03";
    cell_04_v       = cell_v[3]      , "V"          , "voltage of cell 04";
    cell_05_v       = cell_v[4]      , "V"          , "voltage of cell 05";
    cell_06_v       = cell_v[5]      , "V"          , "voltage of cell 06";
    cell_07_v       = cell_v[6]      , "V"          , "voltage of cell 07";
    cell_08_v       = cell_v[7]      , "V"          , "voltage of cell 08";
    cell_09_v       = cell_v[8]      , "V"          , "voltage of cell 09";
    cell_10_v       = cell_v[9]      , "V"          , "voltage of cell 10";
    cell_11_v       = cell_v[10]     , "V"          , "voltage of cell 11";
    cell_12_v       = cell_v[11]     , "V"          , "voltage of cell 12";
    cell_13_v       = cell_v[12]     , "V"          , "voltage of cell 13";
    cell_14_v       = cell_v[13]     , "V"          , "voltage of cell 14";
    cell_15_v       = cell_v[14]     , "V"          , "voltage of cell 15";
    cell_16_v       = cell_v[15]     , "V"          , "voltage of cell 16";
    cell_01_t       = cell_t[0]      , "°C"         , "temperature of cell 01";
    cell_02_t       = cell_t[1]      , "°C"         , "temperature of cell 02";
    cell_03_t       = cell_t[2]      , "°C"         , "temperature of cell 03";
    cell_04_t       = cell_t[3]      , "°C"         , "temperature of cell 04";
    cell_05_t       = cell_t[4]      , "°C"         , "temperature of cell 05";
    cell_06_t       = cell_t[5]      , "°C"         , "temperature of cell 06";
    cell_07_t       = cell_t[6]      , "°C"         , "temperature of cell 07";
    cell_08_t       = cell_t[7]      , "°C"         , "temperature of cell 08";
    cell_09_t       = cell_t[8]      , "°C"         , "temperature of cell 09";
    cell_10_t       = cell_t[9]      , "°C"         , "temperature of cell 10";
    cell_11_t       = cell_t[10]     , "°C"         , "temperature of cell 11";
    cell_12_t       = cell_t[11]     , "°C"         , "temperature of cell 12";
    cell_13_t       = cell_t[12]     , "°C"         , "temperature of cell 13";
    cell_14_t       = cell_t[13]     , "°C"         , "temperature of cell 14";
    cell_15_t       = cell_t[14]     , "°C"         , "temperature of cell 15";
    cell_16_t       = cell_t[15]     , "°C"         , "temperature of cell 16";
    v_pack          = v_pack         , "V"          , "pack voltage";
    i_pack          = i_pack         , "A"          , "pack current, positive when charging";
    temp            = temp           , "°C"         , "pack temperature";
    v_cell_min      = v_cell_min     , "V"          , "lowest cell voltage";
    v_cell_max      = v_cell_max     , "V"          , "highest cell voltage";
    soc             = soc            , "%"          , "state of charge";
    health          = health         , "%"          , "state of health";
    errors          = errors         , ""           , "errors in the words of the firmware";
    system_state    = system_state   , ""           , "system state in the words of the firmware";
    breaker         = breaker        , ""           , "state of the breaker";
    charge_state    = charge_state   , ""           , "charge state in the words of the firmware";
    energy_in       = energy_in      , "as reported", "energy charged so far";
    energy_out      = energy_out     , "as reported", "energy discharged so far";
    adc_vp          = adc_vp         , "V"          , "pack voltage as the ADC sees it";
    adc_0           = adc[0]         , "V"          , "channel 0 of the ADC";
    adc_1           = adc[1]         , "V"          , "channel 1 of the ADC";
    adc_2           = adc[2]         , "V"          , "channel 2 of the ADC";
    adc_3           = adc[3]         , "V"          , "channel 3 of the ADC";
    adc_4           = adc[4]         , "V"          , "channel 4 of the ADC";
    bad_crc         = bad_crc        , "1"          , "bad frames on the cell bus in the interval";
    parse_fail      = parse_fail     , "1"          , "unparsable cell bus frames in the interval";
    bad_vcell       = bad_vcell      , "1"          , "cell values that the firmware rejected";
};
