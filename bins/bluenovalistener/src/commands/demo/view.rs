use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use bluenova_record::PackRecord;
use bluenova_status::{duration, stale_after};

use super::NAMES;
use crate::threads::Assembled;

/// Age beyond which a value is stale and no longer shown; a row comes every second.
const STALE: Duration = stale_after(Duration::from_secs(1));

/// The batteries on standard output: redrawn in place on a terminal, else printed line by line.
pub(super) struct View {
    batteries: [Shown; 2],
    started: Instant,
    terminal: bool,
    lines_to_redraw: usize,
}

#[derive(Default)]
struct Shown {
    rows: u64,
    latest: Option<(Instant, PackRecord)>,
}

impl View {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            batteries: Default::default(),
            started: Instant::now(),
            terminal,
            lines_to_redraw: 0,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.batteries.iter().map(|shown| shown.rows).sum()
    }

    /// Adds rows that were stored, and draws.
    pub(super) fn show(&mut self, rows: impl Iterator<Item = Assembled>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal {
            write!(out, "{CUT_LONG_LINES}")?;
        }
        if self.lines_to_redraw == 0 {
            writeln!(out, "\n{HEADING}{}", if self.terminal { ERASE_REST } else { "" })?;
        } else if self.terminal {
            write!(out, "\r\x1b[{}A", self.lines_to_redraw)?;
        }
        for Assembled { battery, record } in rows {
            let shown = &mut self.batteries[battery];
            shown.rows += 1;
            shown.latest = Some((Instant::now(), record));
            if !self.terminal {
                writeln!(out, "{}", line(NAMES[battery], shown, self.started))?;
            }
        }
        if self.terminal {
            for (name, shown) in NAMES.iter().zip(&self.batteries) {
                writeln!(out, "{}{ERASE_REST}", line(name, shown, self.started))?;
            }
            write!(out, "{WRAP_LONG_LINES}")?;
        }
        self.lines_to_redraw = self.batteries.len();
        out.flush()
    }
}

/// In a terminal that is narrower than the table each line takes one line all the same, or the
/// table would not be redrawn in its place.
const CUT_LONG_LINES: &str = "\x1b[?7l";
const WRAP_LONG_LINES: &str = "\x1b[?7h";

/// Erases what an earlier line has left, or the last character of one that was cut.
const ERASE_REST: &str = "\x1b[K";

const HEADING: &str =
    "battery     SOC    volts       amps    temp  cells, lowest to highest    rows";

fn line(name: &str, shown: &Shown, started: Instant) -> String {
    let record = match &shown.latest {
        None => {
            return format!("{name:<7}  waiting for data ({})", duration(started.elapsed()));
        }
        // A stale value is never shown as a current one.
        Some((at, _)) if at.elapsed() > STALE => {
            return format!(
                "{name:<7}  no data for {:<42} {:>7}",
                duration(at.elapsed()),
                shown.rows
            );
        }
        Some((_, record)) => record,
    };
    let cells = match (record.v_cell_min, record.v_cell_max) {
        (Some(min), Some(max)) => {
            format!("{min:.3} to {max:.3} V ({:.0} mV)", (max - min) * 1000.0)
        }
        _ => "-".to_owned(),
    };
    format!(
        "{name:<7}  {:>4} %  {:>6} V  {:>7} A  {:>3} °C  {cells:<25} {:>6}",
        or_dash(record.soc),
        or_dash(record.v_pack.map(|v| format!("{v:.2}"))),
        or_dash(record.i_pack.map(|i| format!("{i:+.2}"))),
        or_dash(record.temp),
        shown.rows
    )
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
