//! Which pages a damaged write-ahead log still holds.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::page::{Page, be_u32};
use super::{PAGE, open_if_there};
use crate::files::beside;

const HEADER: usize = 32;
/// What a log begins with; the last bit says how the checksums are made.
const MAGIC: u32 = 0x377F_0682;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE;

/// The whole frames of a log.
///
/// SQLite ends at the first damaged frame. But a frame's checksum goes on from the one before it,
/// which is written there, so that each frame can be checked for itself.
pub(super) struct DamagedLog {
    file: File,
    /// The newest version of each page in each [`LogPart`], oldest first.
    versions: HashMap<u32, Vec<(LogPart, u64)>>,
    is_broken: bool,
}

/// A part of the log between two places where frames are missing.
///
/// As each transaction writes whole pages, the newest pages of a part supersede older ones of the
/// same part, and of the database in the case of the first part. They do not supersede pages of
/// parts before it, since what was moved from those may have been moved to a page that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogPart(u32);

impl LogPart {
    /// The first one, along with the database.
    pub(super) const FIRST: Self = Self(0);

    /// The beginning of the transaction that is torn at the end of this part: SQLite alone has the
    /// pages before it.
    fn torn(self) -> Self {
        Self(self.0 | 1)
    }

    /// The part behind the missing frames, which begins in the middle of a transaction.
    fn next(self) -> Self {
        Self((self.0 | 1) + 1)
    }
}

impl DamagedLog {
    pub(super) fn new(file: File) -> Self {
        let mut log = Self { file, versions: HashMap::new(), is_broken: false };
        log.read();
        log
    }

    /// The parts that have a version of a page.
    pub(super) fn parts_of(&self, page: u32) -> impl Iterator<Item = LogPart> {
        self.versions.get(&page).into_iter().flatten().map(|&(part, _)| part)
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = u32> {
        self.versions.keys().copied()
    }

    /// A page as it was at the end of a part, and the part that has it; `None` if the database has
    /// it.
    pub(super) fn page(&self, number: u32, part: LogPart) -> Option<(LogPart, Page)> {
        let mut versions = self.versions.get(&number)?.iter().rev();
        let &(part, offset) = versions.find(|(of, _)| *of <= part)?;
        let mut page = [0; PAGE];
        self.file.read_exact_at(&mut page, offset).ok()?;
        Some((part, page))
    }

    fn read(&mut self) {
        let mut header = [0; HEADER];
        if self.file.read_exact_at(&mut header, 0).is_err() {
            return;
        }
        let mut before = pair(&header, 24);
        // Zeros have a checksum of zero, which is right.
        let has_header = pair(&header, 0)[0] & !1 == MAGIC
            && checksum([0, 0], &header[..24], is_big_endian(&header)) == before;
        let big_endian =
            if has_header { is_big_endian(&header) } else { cfg!(target_endian = "big") };
        // Frames with another salt are left from before the log began anew, and lie behind.
        let mut salt = has_header.then(|| pair(&header, 16));
        let mut part = LogPart::FIRST;
        // Frames of a transaction whose end is not seen yet.
        let mut transaction: Vec<(u32, LogPart, u64)> = vec![];
        let mut frame = [0; FRAME];
        let mut offset = HEADER as u64;
        while self.file.read_exact_at(&mut frame, offset).is_ok() {
            let sum = checksum(before, &frame[..8], big_endian);
            let sum = checksum(sum, &frame[FRAME_HEADER..], big_endian);
            before = pair(&frame, 16);
            let [page, pages_if_last] = pair(&frame, 0);
            let is_whole = page > 0 && sum == before;
            if is_whole && *salt.get_or_insert(pair(&frame, 8)) == pair(&frame, 8) {
                transaction.push((page, part, offset + FRAME_HEADER as u64));
                if pages_if_last != 0 {
                    self.is_broken |= part > LogPart::FIRST || !has_header;
                    self.add(transaction.drain(..));
                }
            } else {
                for (_, of, _) in transaction.iter_mut().filter(|(_, of, _)| *of == part) {
                    *of = part.torn();
                }
                part = part.next();
            }
            offset += FRAME as u64;
        }
    }

    fn add(&mut self, frames: impl Iterator<Item = (u32, LogPart, u64)>) {
        for (page, part, offset) in frames {
            let versions = self.versions.entry(page).or_default();
            versions.pop_if(|(last, _)| *last == part);
            versions.push((part, offset));
        }
    }
}

/// Whether the log of the journal at `path` has transactions behind a frame that is damaged, where
/// SQLite ends.
///
/// That takes reading the log, a fraction of a second.
pub(crate) fn is_log_broken(path: &Path) -> bool {
    // What can't be read is for SQLite to complain about.
    let file = open_if_there(&beside(path, "-wal")).ok().flatten();
    file.is_some_and(|file| DamagedLog::new(file).is_broken)
}

fn is_big_endian(header: &[u8; HEADER]) -> bool {
    header[3] & 1 == 1
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

/// Two numbers of four bytes each.
fn pair(bytes: &[u8], offset: usize) -> [u32; 2] {
    [offset, offset + 4].map(|offset| bytes.get(offset..).and_then(be_u32).unwrap_or(0))
}
