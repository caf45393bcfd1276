//! Reads what a damaged journal still holds, without SQLite.
//!
//! SQLite finds rows from the root of their table downwards: a bad byte there hides all of them,
//! one in the list of tables or in the header the whole file. But every row lies, on a page or two,
//! in a form that tells what it is. So all pages are looked at, each for itself, and a bad byte
//! costs the row that it is in.
//!
//! The form is that of <https://sqlite.org/fileformat2.html>. Nothing that is read is trusted: any
//! length and any number may be wrong.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bluenova_record::{COLUMNS, PackRecord};
use rusqlite::types::ValueRef;

use crate::SetAsideRow;
use crate::files::beside;
use crate::migrations::{APPLICATION_ID, PAGE_BYTES};
use crate::schema;
use crate::value;

const PAGE: usize = PAGE_BYTES as usize;

/// A leaf of a table begins with this byte.
const TABLE_LEAF: u8 = 0x0D;

/// The longest that a row can be: four bytes for each character of a message, and its columns.
const MOST_BYTES: usize = 16 << 10;

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE;

/// The pages of a database file as they are after the last transaction in its log.
pub(crate) struct Image {
    database: Option<File>,
    log: Option<(File, LogPages)>,
    pages: u32,
}

/// What an [`Image`] holds, in order; the rows themselves are read when they are wanted, since
/// there may be more than fit in memory.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) rows: Vec<Place>,
    /// What the outbox had delivered, if that can be told.
    pub(crate) delivered: Option<i64>,
    pub(crate) set_aside: Vec<SetAsideRow>,
}

/// Where a row is. They sort by sequence; of the same sequence, a row of `history` comes before
/// what is left of it in `recent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) sequence: i64,
    is_recent: bool,
    page: u32,
    cell: u16,
}

type Page = [u8; PAGE];

impl Image {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let database = open_if_there(path)?;
        let log = open_if_there(&beside(path, "-wal"))?;
        let log = log.map(|log| {
            let pages = LogPages::of(&log);
            (log, pages)
        });
        let bytes = database.as_ref().map_or(Ok(0), |file| file.metadata().map(|m| m.len()))?;
        let in_file = u32::try_from(bytes.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
        let in_log = log.as_ref().and_then(|(_, pages)| pages.places.keys().copied().max());
        Ok(Self { database, log, pages: in_file.max(in_log.unwrap_or(0)) })
    }

    /// Whether the header says that this is a journal.
    pub(crate) fn has_our_header(&self) -> bool {
        let header = self.page(1);
        header.starts_with(b"SQLite format 3\0") && header[68..72] == APPLICATION_ID.to_be_bytes()
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    pub(crate) fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        let mut progress = vec![];
        for number in 1..=self.pages {
            let page = self.page(number);
            for cell in 0..cells(&page) {
                let Some(row) = self.row(&page, cell) else { continue };
                let place = |sequence, is_recent| Place { sequence, is_recent, page: number, cell };
                match row.table() {
                    Some(Table::History(sequence)) => contents.rows.push(place(sequence, false)),
                    Some(Table::Recent(sequence)) => contents.rows.push(place(sequence, true)),
                    Some(Table::SetAside) => contents.set_aside.extend(row.set_aside()),
                    Some(Table::Progress { delivered }) => progress.push(delivered),
                    None => {}
                }
            }
        }
        contents.rows.sort_unstable();
        contents.rows.dedup_by(|later, kept| later.is_recent && later.sequence == kept.sequence);
        // If there are two, one of them is something else.
        if let [delivered] = progress[..] {
            let last = contents.rows.last().map_or(0, |place| place.sequence);
            contents.delivered = (0..=last).contains(&delivered).then_some(delivered);
        }
        contents
    }

    pub(crate) fn record(&self, place: Place) -> Option<PackRecord> {
        let row = self.row(&self.page(place.page), place.cell)?;
        let columns = if place.is_recent { 2 } else { 1 };
        row.record(columns)
    }

    /// Zeros, which mean nothing, where the disk does not give it.
    fn page(&self, number: u32) -> Page {
        let mut page = [0; PAGE];
        let in_log =
            self.log.as_ref().and_then(|(log, pages)| Some((log, *pages.places.get(&number)?)));
        let in_database = u64::from(number).saturating_sub(1) * PAGE as u64;
        let found = in_log.or(self.database.as_ref().map(|database| (database, in_database)));
        let is_read =
            found.is_some_and(|(file, place)| file.read_exact_at(&mut page, place).is_ok());
        if is_read { page } else { [0; PAGE] }
    }

    fn row(&self, page: &Page, cell: u16) -> Option<Row> {
        let mut rest = page.get(usize::from(pointer(page, cell)?)..)?;
        let bytes = usize::try_from(varint(&mut rest)?).ok().filter(|&n| n <= MOST_BYTES)?;
        let rowid = varint(&mut rest)?;
        let local = bytes_on_leaf(bytes);
        let mut payload = rest.get(..local)?.to_vec();
        let mut next = number(rest.get(local..).unwrap_or_default());
        while payload.len() < bytes {
            let page = self.page(next?);
            let missing = (bytes - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(&page[4..4 + missing]);
            next = number(&page);
        }
        Some(Row { rowid, payload })
    }
}

/// A row of some table.
struct Row {
    rowid: i64,
    payload: Vec<u8>,
}

enum Table {
    History(i64),
    Recent(i64),
    SetAside,
    Progress { delivered: i64 },
}

impl Row {
    /// To which of our tables it belongs, going by how many columns it has.
    fn table(&self) -> Option<Table> {
        const HISTORY: usize = COLUMNS.len() + 1;
        const RECENT: usize = COLUMNS.len() + 2;
        const SET_ASIDE: usize = COLUMNS.len() + 4;
        let values = self.values()?;
        // A column that is the row's number is not among its values.
        match (values.len(), values[..].first()?, values.get(1)?) {
            (HISTORY, ValueRef::Null, _) => Some(Table::History(self.rowid)),
            (RECENT, ValueRef::Null, &ValueRef::Integer(sequence)) => Some(Table::Recent(sequence)),
            (SET_ASIDE, ValueRef::Null, _) => Some(Table::SetAside),
            (2, ValueRef::Integer(_), &ValueRef::Integer(delivered)) => {
                Some(Table::Progress { delivered })
            }
            _ => None,
        }
    }

    /// The record in the columns from `first` on.
    fn record(&self, first: usize) -> Option<PackRecord> {
        let values = self.values()?;
        schema::read_record(|i| Some(value::shown(COLUMNS.get(i)?, *values.get(first + i)?))).0
    }

    fn set_aside(&self) -> Option<SetAsideRow> {
        let record = self.record(1)?;
        let values = self.values()?;
        let reason = |i: usize| values.get(COLUMNS.len() + 1 + i)?.as_str().ok();
        Some(SetAsideRow::new(record, reason))
    }

    /// `None` if the lengths of the values don't add up: then none of them is where it seems.
    fn values(&self) -> Option<Vec<ValueRef<'_>>> {
        let mut rest = &*self.payload;
        let header = usize::try_from(varint(&mut rest)?).ok()?;
        let mut body = self.payload.get(header..)?;
        let mut types = self.payload.get(self.payload.len() - rest.len()..header)?;
        let mut values = Vec::with_capacity(types.len());
        while !types.is_empty() {
            values.push(one_value(varint(&mut types)?, &mut body)?);
        }
        body.is_empty().then_some(values)
    }
}

fn one_value<'a>(serial_type: i64, body: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    let mut take = |bytes: usize| body.split_off(..bytes);
    Some(match serial_type {
        0 => ValueRef::Null,
        1..=4 => ValueRef::Integer(integer(take(serial_type as usize)?)),
        5 => ValueRef::Integer(integer(take(6)?)),
        6 => ValueRef::Integer(integer(take(8)?)),
        7 => ValueRef::Real(f64::from_be_bytes(take(8)?.try_into().ok()?)),
        8 => ValueRef::Integer(0),
        9 => ValueRef::Integer(1),
        12.. if serial_type % 2 == 0 => {
            ValueRef::Blob(take(usize::try_from((serial_type - 12) / 2).ok()?)?)
        }
        13.. => ValueRef::Text(take(usize::try_from((serial_type - 13) / 2).ok()?)?),
        _ => return None,
    })
}

/// How many rows a page says it has, if it is a leaf of a table.
fn cells(page: &Page) -> u16 {
    if page[0] == TABLE_LEAF { u16::from_be_bytes([page[3], page[4]]) } else { 0 }
}

fn pointer(page: &Page, cell: u16) -> Option<u16> {
    let place = 8 + 2 * usize::from(cell);
    Some(u16::from_be_bytes(page.get(place..place + 2)?.try_into().ok()?))
}

/// How many bytes of a row are on the leaf; the others are on pages of their own.
fn bytes_on_leaf(bytes: usize) -> usize {
    const MOST: usize = PAGE - 35;
    const LEAST: usize = (PAGE - 12) * 32 / 255 - 23;
    if bytes <= MOST {
        return bytes;
    }
    let filling = LEAST + (bytes - LEAST) % (PAGE - 4);
    if filling <= MOST { filling } else { LEAST }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |number, &byte| number << 8 | i64::from(byte))
}

/// Seven bits in each byte but the ninth, which has eight; the highest bit says that more follow.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0;
    for i in 0..9 {
        let byte = *rest.split_off_first()?;
        if i == 8 {
            return Some(number << 8 | i64::from(byte));
        }
        number = number << 7 | i64::from(byte & 0x7F);
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

/// Whether the log of the journal at `path` has transactions behind a frame that is damaged, where
/// SQLite would end.
///
/// That takes reading the log, a fraction of a second.
pub(crate) fn is_log_broken(path: &Path) -> bool {
    // What can't be read is for SQLite to complain about.
    let log = open_if_there(&beside(path, "-wal")).ok().flatten();
    log.is_some_and(|log| LogPages::of(&log).is_broken)
}

#[derive(Default)]
struct LogPages {
    /// Where the newest version of each page is.
    places: HashMap<u32, u64>,
    is_broken: bool,
}

impl LogPages {
    /// A frame's checksum goes on from the one before it, which is written there, so that each
    /// frame can be checked for itself, and those behind a damaged one still count.
    fn of(log: &File) -> Self {
        let mut pages = Self::default();
        let mut header = [0; LOG_HEADER];
        let mut frame = [0; FRAME];
        let first = LOG_HEADER as u64;
        let starts =
            log.read_exact_at(&mut header, 0).and_then(|()| log.read_exact_at(&mut frame, first));
        if starts.is_err() {
            return pages;
        }
        let big_endian = header[3] & 1 == 1;
        let mut before = pair(&header, 24);
        // Frames with another salt are left from before the log began anew.
        let mut is_whole = checksum([0, 0], &header[..24], big_endian) == before;
        let salt = if is_whole { pair(&header, 16) } else { pair(&frame, 8) };
        let mut transaction = HashMap::new();
        let mut place = first;
        while log.read_exact_at(&mut frame, place).is_ok() {
            let sum = checksum(before, &frame[..8], big_endian);
            let sum = checksum(sum, &frame[FRAME_HEADER..], big_endian);
            before = pair(&frame, 16);
            if pair(&frame, 8) == salt && sum == before {
                let [page, pages_if_last] = pair(&frame, 0);
                transaction.insert(page, place + FRAME_HEADER as u64);
                if pages_if_last != 0 {
                    pages.places.extend(transaction.drain());
                    pages.is_broken |= !is_whole;
                }
            } else {
                is_whole = false;
            }
            place += FRAME as u64;
        }
        pages
    }
}

/// The checksum of what `sum` is of, and then `bytes`.
fn checksum(mut sum: [u32; 2], bytes: &[u8], big_endian: bool) -> [u32; 2] {
    for i in (0..bytes.len()).step_by(8) {
        let words = pair(bytes, i).map(|word| if big_endian { word } else { word.swap_bytes() });
        sum[0] = sum[0].wrapping_add(words[0]).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(words[1]).wrapping_add(sum[0]);
    }
    sum
}

/// Two numbers of four bytes each, the highest first.
fn pair(bytes: &[u8], place: usize) -> [u32; 2] {
    [place, place + 4].map(|place| bytes.get(place..).and_then(number).unwrap_or(0))
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}
