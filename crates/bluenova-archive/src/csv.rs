//! Rows as CSV, as PostgreSQL's `\copy … TO … WITH (FORMAT csv, HEADER)` writes them.

use std::fmt;
use std::io::{self, Write};

use bluenova_record::{COLUMNS, Column, Rfc3339, Value, first_chars};

/// Characters of a name that an error repeats at most.
const REPEATED: usize = 60;

/// From here on `f32`s are so far apart that a decimal of few digits may lie halfway between two.
const FAR_APART: f32 = 33_554_432.0;

/// Digits after the first one of which every `f32` is certain.
const MOST_DECIMALS: usize = 8;

/// Writes rows as CSV (RFC 4180) with a header.
///
/// Values are to the letter those of PostgreSQL's `\copy`: lines end with a line feed, `NULL` is
/// empty and an empty text is `""`, numbers have a point and the fewest digits that are certain.
/// Times alone are RFC 3339, in UTC.
///
/// ```
/// use bluenova_archive::{CsvWriter, columns};
/// use bluenova_record::PackRecord;
/// use time::UtcDateTime;
///
/// let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0x9F3C_07B2);
/// record.v_pack = Some(53.017);
///
/// let mut csv = CsvWriter::new(vec![], columns("insert_time_utc,v_pack,soc").unwrap());
/// csv.header()?;
/// csv.record(&record)?;
/// let text = String::from_utf8(csv.into_inner()).unwrap();
/// assert_eq!(text, "insert_time_utc,v_pack,soc\n1970-01-01T00:00:00Z,53.017,\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct CsvWriter<W> {
    out: W,
    columns: Vec<&'static Column>,
    /// The row that is being put together.
    line: String,
}

impl<W: Write> CsvWriter<W> {
    /// A writer of rows with these columns. Each row is one write, so `out` should have a buffer.
    pub fn new(out: W, columns: Vec<&'static Column>) -> Self {
        Self { out, columns, line: String::new() }
    }

    /// Writes the names of the columns.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn header(&mut self) -> io::Result<()> {
        let names: Vec<_> = self.columns.iter().map(|column| column.name).collect();
        writeln!(self.out, "{}", names.join(","))
    }

    /// Writes a row that has these values in the columns; `None` is `NULL`.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn row<'a>(
        &mut self,
        values: impl IntoIterator<Item = Option<Value<'a>>>,
    ) -> io::Result<()> {
        let is_alone = self.columns.len() == 1;
        self.line.clear();
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.line.push(',');
            }
            if let Some(value) = value {
                push(&mut self.line, value, is_alone);
            }
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    /// Writes a record's values in the columns.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn record(&mut self, record: &bluenova_record::PackRecord) -> io::Result<()> {
        let columns = std::mem::take(&mut self.columns);
        let result = self.row(columns.iter().map(|column| column.get(record)));
        self.columns = columns;
        result
    }

    /// What the rows are written to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// What the rows were written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// The columns of a list of names with commas between them, in its order.
///
/// # Errors
/// A name is none of [`COLUMNS`], or is there twice.
pub fn columns(names: &str) -> Result<Vec<&'static Column>, ColumnsError> {
    let mut columns: Vec<&'static Column> = vec![];
    for name in names.split(',').map(str::trim) {
        // The first listener's schema has them in capitals.
        let column = COLUMNS.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        let column = column.ok_or_else(|| ColumnsError::Unknown(shortened(name)))?;
        if columns.iter().any(|earlier| earlier.name == column.name) {
            return Err(ColumnsError::Twice(shortened(name)));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// What is wrong with a list of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnsError {
    /// There is no column of that name, whose beginning this is.
    Unknown(String),
    /// That column is in the list twice.
    Twice(String),
}

impl fmt::Display for ColumnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
                write!(f, "there is no column {name:?}; the columns are {}", names.join(", "))
            }
            Self::Twice(name) => write!(f, "column {name} is given twice"),
        }
    }
}

impl std::error::Error for ColumnsError {}

fn shortened(name: &str) -> String {
    let start = first_chars(name, REPEATED);
    if start.len() == name.len() { start.to_owned() } else { format!("{start}…") }
}

fn push(line: &mut String, value: Value<'_>, is_alone: bool) {
    use fmt::Write as _;

    // Writing into a string never fails.
    let _ = match value {
        Value::Timestamp(time) => write!(line, "{}", Rfc3339(time)),
        Value::BigInt(number) => write!(line, "{number}"),
        Value::SmallInt(number) => write!(line, "{number}"),
        Value::Real(number) => write!(line, "{}", Real(number)),
        Value::Text(text) => {
            push_text(line, text, is_alone);
            Ok(())
        }
    };
}

/// As PostgreSQL's `CopyAttributeOutCSV` has it: an empty text is quoted, since `NULL` is empty; so
/// is what ended the data for the servers of old, where it stands alone in its line.
fn push_text(line: &mut String, text: &str, is_alone: bool) {
    let is_quoted =
        text.is_empty() || text.contains([',', '"', '\n', '\r']) || is_alone && text == "\\.";
    if !is_quoted {
        return line.push_str(text);
    }
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

/// A `REAL` as PostgreSQL prints it since version 12, in the fewest digits that are certain.
struct Real(f32);

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        if number.is_nan() {
            return f.write_str("NaN");
        }
        if number.is_infinite() {
            return f.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
        let text = digits(number);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, size) = match exponent.strip_prefix('-') {
            Some(size) => ('-', size),
            None => ('+', exponent),
        };
        match exponent.parse() {
            // Those limits are PostgreSQL's, and C's.
            Ok(exponent @ -4..6) => {
                let decimals = decimals(mantissa).saturating_add_signed(-exponent);
                write!(f, "{number:.decimals$}")
            }
            _ => write!(f, "{mantissa}e{sign}{size:0>2}"),
        }
    }
}

/// The fewest digits that are certain, as in `1.5e-7`.
///
/// In two ways PostgreSQL has it otherwise than Rust. Of two decimals that are equally near to the
/// number, it takes the even one, which Rust does only where the number of digits is given. And a
/// decimal halfway between two numbers isn't certain, though it is read as the even one of them.
fn digits(number: f32) -> String {
    let shortest = format!("{number:e}");
    let count = shortest.split('e').next().map_or(0, decimals);
    let rounded = format!("{number:.count$e}");
    if number.abs() < FAR_APART || !is_halfway(&rounded, number) {
        return rounded;
    }
    let mut longer = (count + 1..=MOST_DECIMALS).map(|count| format!("{number:.count$e}"));
    longer.find(|text| text.parse() == Ok(number) && !is_halfway(text, number)).unwrap_or(rounded)
}

/// Number of digits behind the point.
fn decimals(mantissa: &str) -> usize {
    mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

/// Whether a decimal lies in the middle between a number and the next one of either side. An `f64`
/// holds that exactly.
fn is_halfway(text: &str, number: f32) -> bool {
    let middle = |next: f32| f64::midpoint(number.into(), next.into());
    let is_middle =
        |decimal: f64| decimal == middle(number.next_up()) || decimal == middle(number.next_down());
    text.parse().is_ok_and(is_middle)
}

#[cfg(test)]
mod tests {
    use bluenova_record::{PackRecord, Text};
    use time::{Duration, UtcDateTime};

    use super::*;

    #[track_caller]
    fn check(value: Value<'_>, expected: &str) {
        let mut csv = CsvWriter::new(vec![], columns("soc,temp").unwrap());
        csv.row([Some(value), None]).unwrap();
        let line = String::from_utf8(csv.into_inner()).unwrap();
        assert_eq!(line, format!("{expected},\n"), "{value:?}");
    }

    #[test]
    fn texts_are_quoted_where_that_is_needed() {
        for (text, expected) in [
            ("NONE", "NONE"),
            ("", "\"\""),
            (" a ", " a "),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
            ("a\r", "\"a\r\""),
            ("'ü\t;", "'ü\t;"),
            ("\\.", "\\."),
        ] {
            check(Value::Text(text), expected);
        }
    }

    #[test]
    fn a_mark_that_ended_data_once_is_quoted_alone() {
        let mut csv = CsvWriter::new(vec![], columns("errors").unwrap());
        csv.row([Some(Value::Text("\\."))]).unwrap();
        csv.row([None]).unwrap();
        assert_eq!(csv.into_inner(), b"\"\\.\"\n\n");
    }

    /// What PostgreSQL 15 printed.
    #[test]
    fn numbers_are_those_of_postgresql() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (53.017, "53.017"),
            (-41.75, "-41.75"),
            (0.0001, "0.0001"),
            (0.000_099, "9.9e-05"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (f32::MAX, "3.4028235e+38"),
            (f32::MIN_POSITIVE, "1.1754944e-38"),
            (f32::from_bits(1), "1e-45"),
            // Rust prints 3.355445e7, which is as near to the next number.
            (33_554_448.0, "3.3554448e+07"),
            // It is 34148.0625; Rust prints 34148.063.
            (34_148.063, "34148.062"),
            (f32::NAN, "NaN"),
            (f32::INFINITY, "Infinity"),
            (f32::NEG_INFINITY, "-Infinity"),
        ] {
            check(Value::Real(number), expected);
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let time = UtcDateTime::UNIX_EPOCH + Duration::microseconds(1_500_000);
        check(Value::Timestamp(time), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn a_record_has_its_values_in_the_given_order() {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, u32::MAX);
        record.temp = Some(-3);
        record.errors = Some(Text::new(""));
        let mut csv = CsvWriter::new(vec![], columns("mcu_id,errors,temp,soc,bad_crc").unwrap());
        csv.header().unwrap();
        csv.record(&record).unwrap();
        csv.record(&record).unwrap();
        let row = "4294967295,\"\",-3,,0\n";
        let expected = format!("mcu_id,errors,temp,soc,bad_crc\n{row}{row}");
        assert_eq!(String::from_utf8(csv.into_inner()).unwrap(), expected);
    }

    #[test]
    fn lists_of_columns_are_checked() {
        let names = |list| columns(list).map(|found| found.iter().map(|it| it.name).collect());
        assert_eq!(names("soc, v_pack"), Ok(vec!["soc", "v_pack"]));
        assert_eq!(names("SOC,Cell_01_V"), Ok(vec!["soc", "cell_01_v"]));
        for (list, expected) in [
            (
                "soc,volts",
                "there is no column \"volts\"; the columns are insert_time_utc, mcu_id, ",
            ),
            ("", "there is no column \"\"; the columns are "),
            ("soc,temp,SOC", "column SOC is given twice"),
        ] {
            let error = names(list).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = names(&"x".repeat(10_000)).unwrap_err().to_string();
        assert!(error.len() < 2000, "{}", error.len());
    }
}
