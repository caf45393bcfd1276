use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use bluenova_record::{PackRecord, first_chars};
use bluenova_status::{duration, stale_after};
use console_size::Term;

use super::NAMES;
use crate::threads::Assembled;

/// Age beyond which a value is stale and no longer shown; a row comes every second.
const STALE: Duration = stale_after(Duration::from_secs(1));

/// The batteries on standard output: redrawn in place on a terminal, else printed line by line.
pub(super) struct View {
    batteries: [Shown; 2],
    started: Instant,
    /// `None` unless standard output is a terminal.
    terminal: Option<Terminal>,
    has_heading: bool,
}

/// What a terminal shows of the batteries.
#[derive(Default)]
struct Terminal {
    /// Its rows and columns when the table was drawn last.
    size: Option<(u16, u16)>,
    lines_to_redraw: usize,
}

#[derive(Default)]
struct Shown {
    rows: u64,
    latest: Option<(Instant, PackRecord)>,
}

impl View {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal().then(Terminal::default);
        Self {
            batteries: Default::default(),
            started: Instant::now(),
            terminal,
            has_heading: false,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.batteries.iter().map(|shown| shown.rows).sum()
    }

    /// Adds rows that were stored, and draws.
    pub(super) fn show(&mut self, rows: impl Iterator<Item = Assembled>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal.is_none() && !self.has_heading {
            writeln!(out, "\n{}", heading(ALL))?;
            self.has_heading = true;
        }
        for Assembled { battery, record } in rows {
            let shown = &mut self.batteries[battery];
            shown.rows += 1;
            shown.latest = Some((Instant::now(), record));
            if self.terminal.is_none() {
                writeln!(out, "{}", line(NAMES[battery], shown, self.started, ALL))?;
            }
        }
        if let Some(terminal) = &mut self.terminal {
            let size = Term::stdout().size_checked();
            let columns = size.map_or(ALL, |(_, columns)| fitting(columns.into()));
            let mut lines = vec![heading(columns)];
            for (name, shown) in NAMES.iter().zip(&self.batteries) {
                lines.push(line(name, shown, self.started, columns));
            }
            terminal.draw(&mut out, size, lines)?;
        }
        out.flush()
    }
}

impl Terminal {
    /// Draws the heading and the lines of the batteries in the place of those before: as much of
    /// them as there is room for, since what scrolls away can't be redrawn.
    fn draw(
        &mut self,
        out: &mut impl Write,
        size: Option<(u16, u16)>,
        mut lines: Vec<String>,
    ) -> io::Result<()> {
        if let Some((rows, columns)) = size {
            // The cursor stands on a line of its own below.
            let room = usize::from(rows).saturating_sub(1).max(1);
            if lines.len() > room {
                lines.remove(0);
            }
            lines.truncate(room);
            for line in &mut lines {
                line.truncate(first_chars(line, columns.into()).len());
            }
        }
        if self.lines_to_redraw == 0 {
            writeln!(out)?;
        } else if self.size == size {
            write!(out, "\r\x1b[{}A", self.lines_to_redraw)?;
        } else {
            // The terminal has wrapped lines anew: nobody can say where the table is.
            write!(out, "{ERASE_ALL}")?;
        }
        write!(out, "{CUT_LONG_LINES}")?;
        for line in &lines {
            writeln!(out, "{line}{ERASE_REST}")?;
        }
        (self.size, self.lines_to_redraw) = (size, lines.len());
        write!(out, "{WRAP_LONG_LINES}")
    }
}

/// Whatever a terminal takes for the width of a character, each line takes one line, or the table
/// would not be redrawn in its place.
const CUT_LONG_LINES: &str = "\x1b[?7l";
const WRAP_LONG_LINES: &str = "\x1b[?7h";

/// Erases what an earlier line has left, or the last character of one that was cut.
const ERASE_REST: &str = "\x1b[K";

/// Erases the screen, and goes to its upper left corner.
const ERASE_ALL: &str = "\x1b[2J\x1b[H";

/// A column of the table.
struct Column {
    heading: &'static str,
    width: usize,
    /// Whether it is set at its right edge.
    is_number: bool,
    /// Number of columns that are more important: they stay longer when a terminal is narrow.
    rank: usize,
    text: fn(&Shown, &PackRecord) -> Option<String>,
}

/// Number of columns behind the name.
const ALL: usize = COLUMNS.len();

/// The columns behind the name, in their order.
const COLUMNS: [Column; 6] = [
    Column {
        heading: "SOC",
        width: 6,
        is_number: true,
        rank: 0,
        text: |_, record| record.soc.map(|percent| format!("{percent} %")),
    },
    Column {
        heading: "volts",
        width: 8,
        is_number: true,
        rank: 2,
        text: |_, record| record.v_pack.map(|volts| format!("{volts:.2} V")),
    },
    Column {
        heading: "amps",
        width: 9,
        is_number: true,
        rank: 1,
        text: |_, record| record.i_pack.map(|amps| format!("{amps:+.2} A")),
    },
    Column {
        heading: "temp",
        width: 6,
        is_number: true,
        rank: 3,
        text: |_, record| record.temp.map(|celsius| format!("{celsius} °C")),
    },
    Column {
        heading: "cells, lowest to highest",
        width: 25,
        is_number: false,
        rank: 4,
        text: |_, record| {
            let (low, high) = (record.v_cell_min?, record.v_cell_max?);
            Some(format!("{low:.3} to {high:.3} V ({:.0} mV)", (high - low) * 1000.0))
        },
    },
    Column {
        heading: "rows",
        width: 6,
        is_number: true,
        rank: 5,
        text: |shown, _| Some(shown.rows.to_string()),
    },
];

/// Widths of the name, and of the gap before each other column.
const NAME: usize = 7;
const GAP: usize = 2;

/// How many of the most important columns fit beside the name.
fn fitting(columns: usize) -> usize {
    let width_of = |count| {
        let shown = COLUMNS.iter().filter(|column| column.rank < count);
        NAME + shown.map(|column| GAP + column.width).sum::<usize>()
    };
    (0..=ALL).rev().find(|count| width_of(*count) <= columns).unwrap_or_default()
}

/// A line with the most important `count` columns.
fn table_line(name: &str, count: usize, text: impl Fn(&Column) -> String) -> String {
    let mut line = format!("{name:<NAME$}");
    for column in COLUMNS.iter().filter(|column| column.rank < count) {
        let (text, width) = (text(column), column.width);
        line += &match column.is_number {
            true => format!("{:GAP$}{text:>width$}", ""),
            false => format!("{:GAP$}{text:<width$}", ""),
        };
    }
    line
}

fn heading(count: usize) -> String {
    table_line("battery", count, |column| column.heading.to_owned())
}

fn line(name: &str, shown: &Shown, started: Instant, count: usize) -> String {
    match &shown.latest {
        None => format!("{name:<NAME$}  waiting for data ({})", duration(started.elapsed())),
        // A stale value is never shown as a current one.
        Some((at, _)) if at.elapsed() > STALE => {
            format!("{name:<NAME$}  no data for {:<42} {:>7}", duration(at.elapsed()), shown.rows)
        }
        Some((_, record)) => table_line(name, count, |column| {
            (column.text)(shown, record).unwrap_or_else(|| "-".to_owned())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(size: (u16, u16), times: usize) -> String {
        let (mut terminal, mut out) = (Terminal::default(), vec![]);
        for _ in 0..times {
            let lines = vec![heading(fitting(size.1.into())), "north".repeat(20), "south".into()];
            terminal.draw(&mut out, Some(size), lines).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_most_important_columns_stay_in_a_narrow_terminal() {
        for (columns, expected) in [
            (10, "battery"),
            (30, "battery     SOC       amps"),
            (40, "battery     SOC     volts       amps"),
            (50, "battery     SOC     volts       amps    temp"),
        ] {
            assert_eq!(heading(fitting(columns)), expected, "{columns}");
        }
        assert_eq!((fitting(78), fitting(80), fitting(0)), (5, 6, 0));
    }

    #[test]
    fn no_line_is_longer_and_no_table_higher_than_the_terminal() {
        for (rows, lines) in [(24, 3), (4, 3), (3, 2), (2, 1), (1, 1), (0, 1)] {
            let shown = drawn((rows, 30), 2);
            let visible = shown.replace(CUT_LONG_LINES, "").replace(WRAP_LONG_LINES, "");
            let visible = visible.replace(ERASE_REST, "");
            assert_eq!(visible.matches(&format!("\r\x1b[{lines}A")).count(), 1, "{rows} {shown:?}");
            assert_eq!(visible.lines().count(), 1 + 2 * lines, "{rows} {shown:?}");
            let longest =
                visible.lines().map(|line| line.trim_start_matches("\r\x1b[3A").len()).max();
            assert!(longest.unwrap() <= 30 + 5, "{shown:?}");
        }
    }

    #[test]
    fn a_terminal_of_another_size_is_drawn_anew() {
        let (mut terminal, mut out) = (Terminal::default(), vec![]);
        for columns in [80, 80, 30] {
            out.clear();
            terminal.draw(&mut out, Some((24, columns)), vec!["north".into()]).unwrap();
        }
        assert!(out.starts_with(ERASE_ALL.as_bytes()));
    }
}
