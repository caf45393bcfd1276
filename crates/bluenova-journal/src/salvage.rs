//! Reads what a damaged journal still holds, without SQLite.
//!
//! SQLite finds rows from the root of their table downwards: a bad byte there hides all of them,
//! one in the list of tables or in the header the whole file, one in the write-ahead log all
//! transactions behind it. But every row lies, on a page or two, in a form that shows what it is.
//! So all pages are looked at, each for itself, and a bad byte costs the row that it is in.
//!
//! What SQLite alone would find is never lost: where a page of the log is missing, the pages as
//! they were before it are looked at, too.

mod log;
mod page;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bluenova_record::{COLUMNS, PackRecord};
use rusqlite::types::ValueRef;

use self::log::{DamagedLog, LogPart};
use self::page::{Page, StoredRow};
use crate::SetAsideRow;
use crate::events::{self, Event};
use crate::files::beside;
use crate::migrations::{APPLICATION_ID, PAGE_BYTES};
use crate::schema;
use crate::statistics::{self, StoredDay, StoredInsight, StoredStatistics};
use crate::value;

pub(crate) use self::log::is_log_broken;

const PAGE: usize = PAGE_BYTES as usize;

/// The pages of a damaged database file, and of its log.
pub(crate) struct DamagedJournal {
    database: Option<File>,
    log: Option<DamagedLog>,
    pages: u32,
}

/// What a [`DamagedJournal`] holds, in order; the rows themselves are read later, since there may
/// be more than fit in memory.
#[derive(Default)]
pub(crate) struct SalvagedContents {
    pub(crate) rows: Vec<RowLocation>,
    /// The outbox's cursor, if it is known.
    pub(crate) delivered: Option<i64>,
    pub(crate) set_aside: Vec<SetAsideRow>,
    pub(crate) events: Vec<Event>,
    pub(crate) statistics: StoredStatistics,
}

/// Where a version of a row is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLocation {
    pub(crate) sequence: i64,
    is_recent: bool,
    part: LogPart,
    page: u32,
    cell: u16,
}

/// The table of a row, going by how many columns it has and what is in them.
enum TableOfRow {
    History(i64),
    Recent(i64),
    SetAside,
    Event,
    Insight,
    Day,
    Progress { delivered: i64 },
}

impl DamagedJournal {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let database = open_if_there(path)?;
        let log = open_if_there(&beside(path, "-wal"))?.map(DamagedLog::new);
        let bytes = database.as_ref().map_or(Ok(0), |file| file.metadata().map(|m| m.len()))?;
        let in_file = u32::try_from(bytes.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
        let in_log = log.iter().flat_map(DamagedLog::pages).max().unwrap_or(0);
        Ok(Self { database, log, pages: in_file.max(in_log) })
    }

    /// Whether the header says that this is a journal.
    pub(crate) fn has_our_header(&self) -> bool {
        self.parts_of(1).filter_map(|part| self.page(1, part)).any(|(_, header)| {
            header.starts_with(b"SQLite format 3\0")
                && header[68..72] == APPLICATION_ID.to_be_bytes()
        })
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    pub(crate) fn contents(&self) -> SalvagedContents {
        let mut contents = SalvagedContents::default();
        let mut progress = vec![];
        let (mut set_aside, mut events) = (vec![], vec![]);
        for (page, part, cell, row) in (1..=self.pages).flat_map(|page| self.rows_of(page)) {
            let location =
                |sequence, is_recent| RowLocation { sequence, is_recent, part, page, cell };
            match table_of(&row) {
                Some(TableOfRow::History(sequence)) => {
                    contents.rows.push(location(sequence, false));
                }
                Some(TableOfRow::Recent(sequence)) => contents.rows.push(location(sequence, true)),
                Some(TableOfRow::SetAside) => {
                    set_aside.extend(Some((row.rowid, part)).zip(set_aside_row(&row)));
                }
                Some(TableOfRow::Event) => {
                    events.extend(Some((row.rowid, part)).zip(event(&row)));
                }
                Some(TableOfRow::Insight) => contents.statistics.insights.extend(insight(&row)),
                Some(TableOfRow::Day) => contents.statistics.days.extend(day(&row)),
                Some(TableOfRow::Progress { delivered }) => progress.push((page, part, delivered)),
                None => {}
            }
        }
        // The newest version first; and a row of `history` before what is left of it in a slot.
        contents.rows.sort_by_key(|row| (row.sequence, std::cmp::Reverse(row.part), row.is_recent));
        set_aside.sort_by_key(|(order, _)| *order);
        contents.set_aside = set_aside.into_iter().map(|(_, row)| row).collect();
        events.sort_by_key(|(order, _)| *order);
        contents.events = events.into_iter().map(|(_, event)| event).collect();
        // There is one row of it on one page: if there are two, one of them is something else.
        let is_one_row = progress.is_sorted_by(|a, b| a.0 == b.0 && a.1 < b.1);
        if let (Some(&(.., delivered)), true) = (progress.last(), is_one_row) {
            let last = contents.rows.last().map_or(0, |row| row.sequence);
            contents.delivered = (0..=last).contains(&delivered).then_some(delivered);
        }
        contents
    }

    /// The record in the newest of these versions of a row that is legible.
    ///
    /// There may be two where a number was damaged and became that of another row.
    pub(crate) fn newest(&self, versions: &[RowLocation]) -> Vec<PackRecord> {
        let age = |version: &RowLocation| (version.part, version.is_recent);
        let records = |same_age: &[RowLocation]| -> Vec<_> {
            same_age.iter().filter_map(|&location| self.record(location)).collect()
        };
        let by_age = versions.chunk_by(|a, b| age(a) == age(b));
        by_age.map(records).find(|records| !records.is_empty()).unwrap_or_default()
    }

    /// The record in this version of a row.
    pub(crate) fn record(&self, location: RowLocation) -> Option<PackRecord> {
        let (part, page) = self.page(location.page, location.part)?;
        let row = self.row(&page, part, location.cell)?;
        record(&row, if location.is_recent { 2 } else { 1 })
    }

    /// All versions of all rows that a page ever had, as far as they count.
    fn rows_of(&self, page: u32) -> impl Iterator<Item = (u32, LogPart, u16, StoredRow)> {
        let versions =
            self.parts_of(page).filter_map(move |part| Some((part, self.page(page, part)?)));
        versions.flat_map(move |(part, (_, content))| {
            (0..page::cells(&content))
                .filter_map(move |cell| Some((page, part, cell, self.row(&content, part, cell)?)))
        })
    }

    /// The parts of the log that have a version of a page; the database belongs to the first one.
    fn parts_of(&self, page: u32) -> impl Iterator<Item = LogPart> {
        let in_log = self.log.iter().flat_map(move |log| log.parts_of(page));
        std::iter::once(LogPart::FIRST).chain(in_log.filter(|part| *part != LogPart::FIRST))
    }

    /// A page as it was at the end of a part, and the part that has it; `None` where the disk does
    /// not give it.
    fn page(&self, number: u32, part: LogPart) -> Option<(LogPart, Page)> {
        if let Some(in_log) = self.log.as_ref().and_then(|log| log.page(number, part)) {
            return Some(in_log);
        }
        let mut page = [0; PAGE];
        let offset = u64::from(number).saturating_sub(1) * PAGE as u64;
        self.database.as_ref()?.read_exact_at(&mut page, offset).ok()?;
        Some((LogPart::FIRST, page))
    }

    /// `None`, too, if the row continues on a page that may have been another one by then, since
    /// frames are missing in between.
    fn row(&self, page: &Page, part: LogPart, cell: u16) -> Option<StoredRow> {
        StoredRow::read(page, cell, |number| {
            self.page(number, part).filter(|(of, _)| *of == part).map(|(_, page)| page)
        })
    }
}

fn table_of(row: &StoredRow) -> Option<TableOfRow> {
    const HISTORY: usize = COLUMNS.len() + 1;
    const RECENT: usize = COLUMNS.len() + 2;
    const SET_ASIDE: usize = COLUMNS.len() + 5;
    const EVENT: usize = 7;
    const INSIGHT: usize = 3;
    const DAY: usize = 5;
    // As versions before 3 wrote it.
    const SET_ASIDE_BEFORE: usize = COLUMNS.len() + 4;
    let values = row.values()?;
    // A column that is the row's number is not among its values.
    match (values.len(), values[..].first()?, values.get(1)?) {
        (HISTORY, ValueRef::Null, _) => Some(TableOfRow::History(row.rowid)),
        (RECENT, ValueRef::Null, &ValueRef::Integer(sequence)) => {
            Some(TableOfRow::Recent(sequence))
        }
        (SET_ASIDE | SET_ASIDE_BEFORE, ValueRef::Null, _) => Some(TableOfRow::SetAside),
        (EVENT, ValueRef::Null, &ValueRef::Text(_)) => Some(TableOfRow::Event),
        (INSIGHT, ValueRef::Null, &ValueRef::Text(_)) => Some(TableOfRow::Insight),
        (DAY, ValueRef::Null, &ValueRef::Integer(_)) => Some(TableOfRow::Day),
        (2, ValueRef::Integer(_), &ValueRef::Integer(delivered)) => {
            Some(TableOfRow::Progress { delivered })
        }
        _ => None,
    }
}

/// The record in the columns from `first` on.
fn record(row: &StoredRow, first: usize) -> Option<PackRecord> {
    let values = row.values()?;
    let value = |i: usize| Some(value::shown(COLUMNS.get(i)?, *values.get(first + i)?));
    schema::read_record(value).0
}

fn set_aside_row(row: &StoredRow) -> Option<SetAsideRow> {
    let values = row.values()?;
    let reason = |i: usize| values.get(COLUMNS.len() + 1 + i)?.as_str().ok();
    let is_retried = values.get(COLUMNS.len() + 4) == Some(&ValueRef::Integer(1));
    Some(SetAsideRow { is_retried, ..SetAsideRow::new(record(row, 1)?, reason) })
}

fn event(row: &StoredRow) -> Option<Event> {
    let values = row.values()?;
    events::read_event(|i| values.get(i + 1).copied())
}

fn insight(row: &StoredRow) -> Option<StoredInsight> {
    let values = row.values()?;
    let mcu_id = u32::try_from(row.rowid).ok()?;
    statistics::read_insight(mcu_id, |i| values.get(i + 1).copied())
}

fn day(row: &StoredRow) -> Option<StoredDay> {
    let values = row.values()?;
    statistics::read_day(|i| values.get(i + 1).copied())
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}
