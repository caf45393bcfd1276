//! How the value of a column is stored in SQLite and read back.

use bluenova_record::{Column, SqlType, Timestamp, Value};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use time::{Date, Month, Time, UtcDateTime};

/// Up to here an integer takes three bytes at most, and a number of three decimals is the only one
/// with its `f32`.
const MOST_THOUSANDTHS: u64 = 8_388_607;

/// A column's value on its way into SQLite.
pub(crate) struct StoredValue<'a>(pub(crate) Option<Value<'a>>);

impl ToSql for StoredValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            None => ToSqlOutput::Owned(Owned::Null),
            Some(Value::Timestamp(time)) => {
                ToSqlOutput::Owned(Owned::Text(Timestamp(time).to_string()))
            }
            Some(Value::BigInt(number)) => ToSqlOutput::Owned(Owned::Integer(number)),
            Some(Value::SmallInt(number)) => ToSqlOutput::Owned(Owned::Integer(number.into())),
            Some(Value::Real(number)) => ToSqlOutput::Owned(real(number)),
            Some(Value::Text(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// A `REAL` as an integer of thousandths where that is the same, else as the `f64` that prints as
/// the `f32` does. SQLite has no NaN and makes it `NULL`.
fn real(number: f32) -> Owned {
    // Both casts round or saturate, and the comparison shows it: -0.0 differs from 0, too.
    let thousandths = (f64::from(number) * 1000.0).round() as i64;
    let back = (thousandths as f64 / 1000.0) as f32;
    if thousandths.unsigned_abs() <= MOST_THOUSANDTHS && back.to_bits() == number.to_bits() {
        return Owned::Integer(thousandths);
    }
    Owned::Real(number.to_string().parse().unwrap_or(f64::from(number)))
}

/// The expression that makes a `REAL` again of what [`StoredValue`] made of it.
pub(crate) fn real_expression(column: &str) -> String {
    format!("CASE typeof({column}) WHEN 'integer' THEN {column} / 1000.0 ELSE {column} END")
}

/// What [`real_expression`] makes of an integer.
pub(crate) fn thousandths(number: i64) -> f64 {
    number as f64 / 1000.0
}

/// What [`real_expression`] makes of a value that was read without SQLite.
pub(crate) fn shown<'a>(column: &Column, stored: ValueRef<'a>) -> ValueRef<'a> {
    match (column.sql, stored) {
        (SqlType::Real, ValueRef::Integer(number)) => ValueRef::Real(thousandths(number)),
        _ => stored,
    }
}

/// What came back for `column` from the view; `None` if nothing that was ever put there.
pub(crate) fn read<'a>(column: &Column, value: ValueRef<'a>) -> Option<Option<Value<'a>>> {
    match (column.sql, value) {
        (_, ValueRef::Null) => return Some(None),
        (SqlType::Timestamp, ValueRef::Text(text)) => parse_time(text).map(Value::Timestamp),
        (SqlType::BigInt, ValueRef::Integer(number)) => Some(Value::BigInt(number)),
        (SqlType::SmallInt, ValueRef::Integer(number)) => {
            number.try_into().ok().map(Value::SmallInt)
        }
        (SqlType::Real, ValueRef::Real(number)) => Some(Value::Real(number as f32)),
        (SqlType::Varchar(_), ValueRef::Text(text)) => {
            std::str::from_utf8(text).ok().map(Value::Text)
        }
        _ => None,
    }
    .map(Some)
}

/// Reads a [`Timestamp`]'s text.
pub(crate) fn parse_time(text: &[u8]) -> Option<UtcDateTime> {
    let text = std::str::from_utf8(text).ok()?;
    let (date, clock) = text.split_once(' ')?;
    // From the right, since a year may have a sign of its own.
    let mut date = date.rsplitn(3, '-');
    let day = date.next()?.parse().ok()?;
    let month = Month::try_from(date.next()?.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(date.next()?.parse().ok()?, month, day).ok()?;

    let (clock, micro) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(str::parse);
    let mut part = || clock.next()?.ok();
    let time = Time::from_hms_micro(part()?, part()?, part()?, micro.parse().ok()?).ok()?;
    Some(UtcDateTime::new(date, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, micros: i64) -> UtcDateTime {
        UtcDateTime::from_unix_timestamp(seconds).unwrap() + time::Duration::microseconds(micros)
    }

    #[test]
    fn times_are_text_that_sorts() {
        let table = [
            (UtcDateTime::MIN, "-9999-01-01 00:00:00"),
            (time(-62_167_219_200, 0), "0000-01-01 00:00:00"),
            (time(0, 0), "1970-01-01 00:00:00"),
            (time(1_767_225_600, 0), "2026-01-01 00:00:00"),
            (time(1_767_225_600, 1), "2026-01-01 00:00:00.000001"),
            (time(1_767_225_600, 120_000), "2026-01-01 00:00:00.120000"),
            (time(1_767_225_601, 0), "2026-01-01 00:00:01"),
        ];
        for (time, text) in table {
            assert_eq!(Timestamp(time).to_string(), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
        }
        assert!(table.iter().skip(1).is_sorted_by(|a, b| a.1 < b.1));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "2026-01-01", "2026-13-01 00:00:00", "2026-01-01 24:00:00", "now now"] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_time(b"2026-01-01 00:00:0\xFF"), None);
    }

    #[test]
    fn reals_are_thousandths_where_that_loses_nothing() {
        for (number, stored) in [
            (0.0, Owned::Integer(0)),
            (-0.0, Owned::Real(-0.0)),
            (3.311, Owned::Integer(3311)),
            (-41.75, Owned::Integer(-41_750)),
            (1.6135, Owned::Real(1.6135)),
            (8388.607, Owned::Integer(8_388_607)),
            (8388.608, Owned::Real(8388.608)),
            (f32::MAX, Owned::Real(3.4028235e38)),
            (f32::INFINITY, Owned::Real(f64::INFINITY)),
        ] {
            let real = real(number);
            assert_eq!(format!("{real:?}"), format!("{stored:?}"), "{number}");
        }
    }
}
