//! `/api/batteries/{battery}/rows.csv`, `/api/rows.csv`: rows as CSV, as many as there are.

use std::{
    io,
    ops::{ControlFlow, Range},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bluenova_archive::{CsvWriter, columns};
use bluenova_journal::{Reader, RowSelection};
use bluenova_record::{COLUMNS, Column, ErrorChain, McuId, Rfc3339};
use bluenova_status::Status;
use time::UtcDateTime;

use crate::HistoryError;
use crate::answer_thread::AnswerThread;
use crate::history::times;
use crate::query::Query;
use crate::serve::{Piece, Response};

pub(crate) const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

const PARAMETERS: [&str; 3] = ["from", "to", "columns"];

/// Rows that are read at a time, some 150 KB of CSV: few enough that the writer of the journal,
/// whose log grows meanwhile, has it back soon.
const PIECE: usize = 500;

/// Maximum number of downloads under way.
const MAX_DOWNLOADS: usize = 4;

/// The thread that reads rows for downloads, piece by piece, and the number of downloads.
pub(crate) struct Downloads {
    pub(crate) thread: AnswerThread,
    count: AtomicUsize,
}

impl Downloads {
    /// Starts the thread, which ends when the value is dropped.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { thread: AnswerThread::start("csv")?, count: AtomicUsize::new(0) }))
    }

    /// Begins a download, which ends when the value is dropped; `None`: too many are under way.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Download> {
        // A count that guards nothing needs no ordering.
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let download = Download(Arc::clone(self));
        (before < MAX_DOWNLOADS).then_some(download)
    }
}

/// A download that is under way.
pub(crate) struct Download(Arc<Downloads>);

impl Drop for Download {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The response that `query` asks for, with the first rows from `journal`. The client gets the
/// others piece by piece, each of which takes the journal for a moment only.
///
/// Parameters are `from` and `to`, RFC 3339 times, by default the last 24 h; and `columns`, names
/// of columns with commas between them, by default all.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub(crate) fn response(
    journal: &Reader,
    batteries: Vec<u32>,
    query: &[(String, String)],
    status: &Status,
    download: Download,
) -> Result<Response, HistoryError> {
    let query = Query::new(query, &PARAMETERS)?;
    let times = times(query, status.now)?;
    let columns = match query.get("columns") {
        Some(names) => {
            columns(names).map_err(|error| HistoryError::query("columns", error.to_string()))?
        }
        None => COLUMNS.iter().collect(),
    };
    let disposition = format!("attachment; filename=\"{}\"", file_name(status, &batteries, &times));
    let mut rows = Rows {
        selection: RowSelection { times, batteries, after: None },
        columns,
        is_begun: false,
        is_at_end: false,
    };
    let first = rows.next(journal)?.unwrap_or_default();
    let response = Response::new(200, CONTENT_TYPE, first).with("Content-Disposition", disposition);
    let path = status.storage.journal.clone();
    let mut rows = Some(rows);
    Ok(response.followed_by(move || {
        let next = rows.take().and_then(|rows| {
            let path = path.clone();
            download.0.thread.run(move || next_piece(rows, path))
        });
        // No row is left where the thread had no place for it, either.
        let Some((next, piece)) = next else { return Piece::Broken };
        rows = Some(next);
        piece
    }))
}

/// Name for the file: that of the battery and its MCU ID, or how many they are; and the times.
fn file_name(status: &Status, batteries: &[u32], times: &Range<UtcDateTime>) -> String {
    let of_what = match batteries {
        [mcu_id] => name_and_id(status, *mcu_id),
        several => format!("{}-batteries", several.len()),
    };
    let time = |time: UtcDateTime| {
        let text = Rfc3339(time.truncate_to_second()).to_string();
        text.replace(['-', ':'], "")
    };
    format!("{of_what}-{}-{}.csv", time(times.start), time(times.end))
}

/// A battery's part of a file name. No file system and no header has difficulties with it.
pub(crate) fn name_and_id(status: &Status, mcu_id: u32) -> String {
    let battery = status.batteries.iter().find(|it| it.mcu_id() == Some(mcu_id));
    let name = battery.map_or("bluenova", |battery| &battery.name);
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    format!("{}-{}", name.chars().filter(is_plain).collect::<String>(), McuId(mcu_id))
}

/// The rows of a download that the client has not got yet.
struct Rows {
    selection: RowSelection,
    columns: Vec<&'static Column>,
    is_begun: bool,
    is_at_end: bool,
}

impl Rows {
    /// The next rows as CSV, the first ones with a header; `None`: there are none.
    fn next(&mut self, journal: &Reader) -> Result<Option<Vec<u8>>, bluenova_journal::Error> {
        if self.is_at_end {
            return Ok(None);
        }
        let mut csv = CsvWriter::new(vec![], self.columns.clone());
        let (mut count, mut last) = (0, self.selection.after);
        // Writing into memory never fails.
        if !self.is_begun {
            let _ = csv.header();
        }
        journal.rows(&self.selection, &self.columns, |time, mcu_id, values| {
            let _ = csv.row(values.iter().copied());
            last = Some((time, mcu_id));
            count += 1;
            if count == PIECE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.is_begun = true;
        self.is_at_end = count < PIECE;
        self.selection.after = last;
        Ok(Some(csv.into_inner()))
    }
}

/// Opens the journal anew for each piece: one that is kept stays with its file when another one
/// takes the place of that.
fn next_piece(mut rows: Rows, journal: PathBuf) -> (Rows, Piece) {
    let piece = match Reader::open(journal).and_then(|journal| rows.next(&journal)) {
        Ok(Some(bytes)) => Piece::More(bytes),
        Ok(None) => Piece::End,
        Err(error) => {
            // Clients could fill a log with it, and the problems of the journal show elsewhere.
            log::debug!("a download of rows breaks off: {}", ErrorChain(&error));
            Piece::Broken
        }
    };
    (rows, piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_few_downloads_at_a_time() {
        let downloads = Downloads::start().unwrap();
        let mut begun: Vec<_> = (0..MAX_DOWNLOADS).map(|_| downloads.begin().unwrap()).collect();
        for _ in 0..3 {
            assert!(downloads.begin().is_none());
        }
        begun.pop();
        assert!(downloads.begin().is_some());
        begun.clear();
        assert_eq!(downloads.count.load(Ordering::Relaxed), 0);
    }
}
