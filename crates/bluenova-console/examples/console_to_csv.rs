//! Makes a table of a console log: reads the log from the standard input, prints CSV.
//!
//! ```text
//! cargo run -p bluenova-console --example console_to_csv -- 10 < console.log > battery.csv
//! ```
//!
//! The argument is the interval in seconds, 10 without it. A line may begin with its time in RFC
//! 3339 and a blank. Lines without a time follow the one before at 45 a second, as a battery sends
//! them; a log without any begins in 1970.

use std::{
    error::Error,
    io::{self, BufRead, Write},
};

use bluenova_console::{Assembler, Interval, LineSplitter, NoOwner};
use bluenova_record::{COLUMNS, PackRecord, Value};
use time::{Duration, UtcDateTime, format_description::well_known::Rfc3339};

const LINE: Duration = Duration::nanoseconds(1_000_000_000 / 45);

#[cfg_attr(test, allow(dead_code, reason = "the test calls what main does"))]
fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |seconds| seconds.parse())?;
    let interval = Interval::from_seconds(seconds).ok_or("an interval is 1 to 86400 seconds")?;
    convert(interval, io::stdin().lock(), io::BufWriter::new(io::stdout().lock()))?;
    Ok(())
}

/// Reads a console log and writes a row for each interval of it.
pub(crate) fn convert(
    interval: Interval,
    mut log: impl BufRead,
    mut csv: impl Write,
) -> io::Result<()> {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    writeln!(csv, "{}", names.join(","))?;

    let mut splitter = LineSplitter::<256>::new();
    let mut reader = Reader { assembler: Assembler::new(interval), now: UtcDateTime::UNIX_EPOCH };
    loop {
        let mut piece = log.fill_buf()?;
        let size = piece.len();
        if size == 0 {
            break;
        }
        while let Some(line) = splitter.next_line(&mut piece) {
            reader.line(line, &mut csv)?;
        }
        log.consume(size);
    }
    if let Some(line) = splitter.rest() {
        reader.line(line, &mut csv)?;
    }
    let last = reader.assembler.finish(reader.now);
    last.map_or(Ok(()), |record| print(record, &mut csv))
}

struct Reader {
    assembler: Assembler,
    now: UtcDateTime,
}

impl Reader {
    fn line(&mut self, line: &str, csv: &mut impl Write) -> io::Result<()> {
        let stamped = line.split_once(' ').and_then(|(time, line)| {
            let time = UtcDateTime::parse(time, &Rfc3339).ok()?;
            Some((time, line))
        });
        let (time, line) = stamped.unwrap_or((self.now.saturating_add(LINE), line));
        self.now = time;
        while let Some(record) = self.assembler.tick(self.now) {
            print(record, csv)?;
        }
        if let Err(error) = self.assembler.feed(line) {
            eprintln!("{line:?}: {error}");
        }
        Ok(())
    }
}

fn print(record: Result<PackRecord, NoOwner>, csv: &mut impl Write) -> io::Result<()> {
    // These lines came before any MCU ID.
    let Ok(record) = record else { return Ok(()) };
    for (n, column) in COLUMNS.iter().enumerate() {
        if n > 0 {
            csv.write_all(b",")?;
        }
        match column.get(&record) {
            None => {}
            Some(Value::Timestamp(time)) => {
                csv.write_all(time.format(&Rfc3339).map_err(io::Error::other)?.as_bytes())?;
            }
            Some(Value::BigInt(number)) => write!(csv, "{number}")?,
            Some(Value::SmallInt(number)) => write!(csv, "{number}")?,
            Some(Value::Real(number)) => write!(csv, "{number}")?,
            Some(Value::Text(text)) => write!(csv, "\"{}\"", text.replace('"', "\"\""))?,
        }
    }
    csv.write_all(b"\n")
}
