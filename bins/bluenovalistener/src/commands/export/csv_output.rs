//! The CSV on its way to its output, with a header in front and a progress bar.

use std::io::{self, IsTerminal, Write};

use bluenova_archive::CsvWriter;
use bluenova_record::{Column, Value};
use indicatif::ProgressBar;

use super::{
    super::output::{AtSignal, Output},
    ExportError,
};
use crate::console;

/// Writes rows, behind a header that comes with the first of them: without a row, nothing is
/// written.
pub(super) struct CsvOutput {
    csv: CsvWriter<Output>,
    rows: u64,
    has_header: bool,
    /// Hidden unless the output is a file and standard error a terminal.
    bar: ProgressBar,
    /// Path of the file, as it was given; `None` for standard output.
    file: Option<String>,
}

impl CsvOutput {
    /// Opens what `-o` names. `total` is asked for the number of rows if a progress bar can be
    /// shown.
    ///
    /// # Errors
    /// The output can't be opened.
    pub(super) fn open(
        output: Option<&str>,
        columns: Vec<&'static Column>,
        total: impl FnOnce() -> Option<u64>,
    ) -> Result<Self, ExportError> {
        let file = output.filter(|path| *path != "-").map(str::to_owned);
        let output = Output::open(output, &mut AtSignal::default()).map_err(ExportError::Wrong)?;
        let bar = if file.is_some() && io::stderr().is_terminal() {
            total().map_or_else(ProgressBar::hidden, console::progress_bar)
        } else {
            ProgressBar::hidden()
        };
        let csv = CsvWriter::new(output, columns);
        Ok(Self { csv, rows: 0, has_header: false, bar, file })
    }

    /// Writes a row.
    pub(super) fn row(&mut self, values: &[Option<Value<'_>>]) -> Result<(), ExportError> {
        self.write(1, |csv| csv.row(values.iter().copied()))
    }

    /// Writes what is CSV already, and has so many rows.
    pub(super) fn text(&mut self, text: &[u8], rows: u64) -> Result<(), ExportError> {
        self.write(rows, |csv| csv.get_mut().write_all(text))
    }

    /// Finishes the output, unless it has no rows.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        self.bar.finish_and_clear();
        let output = self.csv.into_inner();
        let name = output.name().to_owned();
        output.finish().map_err(|source| ExportError::Write { output: name, source })?;
        if let Some(file) = self.file {
            console::print(&format!("{file}: {}\n", console::rows(self.rows)));
        }
        Ok(())
    }

    /// Rows that were written.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn write(
        &mut self,
        rows: u64,
        write: impl FnOnce(&mut CsvWriter<Output>) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        let header = if self.has_header { Ok(()) } else { self.csv.header() };
        self.has_header = true;
        if let Err(source) = header.and_then(|()| write(&mut self.csv)) {
            let output = self.csv.get_mut().name().to_owned();
            return Err(ExportError::Write { output, source });
        }
        self.rows += rows;
        self.bar.inc(rows);
        Ok(())
    }
}

/// Counts the rows of CSV that comes in pieces.
#[derive(Default)]
pub(super) struct RowCount {
    is_in_quotes: bool,
}

impl RowCount {
    /// The number of rows that end in a piece. A quote within quotes is doubled, and so opens them
    /// again at once.
    pub(super) fn add(&mut self, piece: &[u8]) -> u64 {
        let mut rows = 0;
        for byte in piece {
            match byte {
                b'"' => self.is_in_quotes = !self.is_in_quotes,
                b'\n' if !self.is_in_quotes => rows += 1,
                _ => {}
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_however_they_are_cut() {
        let text = b"1,\"a\nb\"\n2,\"\"\n3,\"\"\"\n\"\n\n";
        for cut in 0..text.len() {
            let (one, other) = text.split_at(cut);
            let mut count = RowCount::default();
            assert_eq!(count.add(one) + count.add(other), 4, "{cut}");
        }
    }
}
