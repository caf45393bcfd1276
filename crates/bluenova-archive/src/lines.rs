//! Bytes of a log file -> lines, without what the library below the first listener wrote between.

use std::{
    io::{self, ErrorKind, Read},
    mem,
};

use memchr::{memchr, memchr_iter};

use crate::stamp::{begins_with_stamp, fits};

/// Longest line in bytes; what is behind that is skipped.
const LONGEST: usize = 64 * 1024;

/// Size of the buffer.
const BUFFER: usize = 256 * 1024;

/// A line of a log file, without its line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Its number in the file, counted from 1.
    pub number: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether its end is missing: the file ends, or the line is too long.
    pub is_cut: bool,
}

/// Splits a log file into lines.
///
/// Messages of the first listener's library (`[2026/11/27 03:58:11:1234] N: LWS: …`) are left out.
/// They went into the same file by another way, and may have broken a line in two: the halves are
/// joined.
///
/// ```
/// use bluenova_archive::LogLines;
///
/// let log = "2026/11/27 03:57:58 RX: SO[2026/11/27 03:57:58:0042] N: LWS: 4.3\nC: 60\n";
/// let mut lines = LogLines::new(log.as_bytes());
/// assert_eq!(lines.next_line()?.unwrap().bytes, b"2026/11/27 03:57:58 RX: SOC: 60");
/// assert_eq!(lines.next_line()?, None);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct LogLines<R> {
    file: R,
    buffer: Vec<u8>,
    /// What is read and not handed out yet.
    start: usize,
    end: usize,
    has_ended: bool,
    /// Number of lines that were taken from the buffer.
    number: u64,
    /// First part of a line that a message of the library broke, and the line's number.
    broken: Option<(u64, Vec<u8>)>,
    /// The broken line that was handed out last.
    joined: Vec<u8>,
}

/// A line in the buffer.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    is_cut: bool,
}

impl<R: Read> LogLines<R> {
    /// The lines of a file, which needs no buffer of its own.
    pub fn new(file: R) -> Self {
        Self {
            file,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            has_ended: false,
            number: 0,
            broken: None,
            joined: vec![],
        }
    }

    /// The next line; `None` at the end of the file.
    ///
    /// # Errors
    /// The file can't be read any further. All lines before that have been returned.
    pub fn next_line(&mut self) -> io::Result<Option<LogLine<'_>>> {
        loop {
            let Some((found, next)) = self.find()? else {
                let broken = self.broken.take();
                return Ok(broken.map(|broken| self.join(broken, &[], true)));
            };
            let line = &self.buffer[found.start..found.end];
            if self.broken.is_some()
                && begins_with_stamp(line)
                && let Some(broken) = self.broken.take()
            {
                // The rest of the broken line is lost; this line stays in the buffer.
                return Ok(Some(self.join(broken, &[], true)));
            }
            self.number += 1;
            let number = self.number;
            match library_message(line) {
                Some(0) => self.start = next,
                Some(at) => {
                    let (_, broken) = self.broken.get_or_insert_with(|| (number, vec![]));
                    if broken.len() < LONGEST {
                        broken.extend_from_slice(&line[..at]);
                    }
                    self.start = next;
                }
                None => {
                    self.start = next;
                    let Some(broken) = self.broken.take() else {
                        let bytes = &self.buffer[found.start..found.end];
                        return Ok(Some(LogLine { number, bytes, is_cut: found.is_cut }));
                    };
                    let rest = self.buffer[found.start..found.end].to_vec();
                    return Ok(Some(self.join(broken, &rest, found.is_cut)));
                }
            }
        }
    }

    fn join(
        &mut self,
        (number, mut bytes): (u64, Vec<u8>),
        rest: &[u8],
        is_cut: bool,
    ) -> LogLine<'_> {
        bytes.extend_from_slice(rest);
        self.joined = bytes;
        LogLine { number, bytes: &self.joined, is_cut }
    }

    /// The line at the start of the buffer, and where the next one begins.
    fn find(&mut self) -> io::Result<Option<(Found, usize)>> {
        let mut looked_at = 0;
        loop {
            // Of NUL bytes in front of a line, which a crash may leave by the megabyte, one is
            // kept as a sign of that.
            let text = &self.buffer[self.start..self.end];
            let nuls = text.iter().take_while(|&&byte| byte == 0).count();
            if nuls > 1 {
                (self.start, looked_at) = (self.start + nuls - 1, 0);
            }
            let text = &self.buffer[self.start..self.end];
            if let Some(at) = memchr(b'\n', &text[looked_at..]) {
                let length = looked_at + at;
                let end = self.start + length.min(LONGEST);
                let found = Found { start: self.start, end, is_cut: length > LONGEST };
                return Ok(Some((found, self.start + length + 1)));
            }
            if text.len() > LONGEST {
                return self.skip_long_line().map(Some);
            }
            looked_at = text.len();
            if self.has_ended {
                let found = Found { start: self.start, end: self.end, is_cut: true };
                return Ok((looked_at > 0).then_some((found, self.end)));
            }
            self.fill()?;
        }
    }

    /// Keeps the start of a line that is too long, and reads to its end.
    fn skip_long_line(&mut self) -> io::Result<(Found, usize)> {
        let mut start = self.buffer[self.start..self.start + LONGEST].to_vec();
        let behind = loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.start..self.end]) {
                break self.start + at + 1;
            }
            self.start = self.end;
            if self.has_ended {
                break self.end;
            }
            self.fill()?;
        };
        // Put it in front of what is behind the line.
        start.extend_from_slice(&self.buffer[behind..self.end]);
        self.end = start.len();
        self.start = 0;
        self.buffer.resize(self.end.max(BUFFER), 0);
        self.buffer[..start.len()].copy_from_slice(&start);
        Ok((Found { start: 0, end: LONGEST, is_cut: true }, LONGEST))
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= mem::take(&mut self.start);
        }
        loop {
            match self.file.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.has_ended = count == 0;
                    self.end += count;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// How messages of the library begin, by its version; `0` is any digit.
const LIBRARY: [&[u8]; 2] = [b"[0000/00/00 00:00:00:0000] ", b"[0000000000:0000] "];

/// Where a message of the library begins.
fn library_message(line: &[u8]) -> Option<usize> {
    memchr_iter(b'[', line).find(|&at| LIBRARY.iter().any(|form| fits(&line[at..], form)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "[2026/11/27 03:58:11:0042] N: LWS: something\n";

    /// Lines of a log that comes in pieces of any size.
    fn lines(log: &[u8]) -> Vec<(u64, Vec<u8>, bool)> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let size = self.1.min(self.0.len()).min(into.len());
                let (piece, rest) = self.0.split_at(size);
                into[..size].copy_from_slice(piece);
                self.0 = rest;
                Ok(size)
            }
        }
        let read = |size| {
            let mut reader = LogLines::new(Pieces(log, size));
            let mut all = vec![];
            while let Some(line) = reader.next_line().unwrap() {
                all.push((line.number, line.bytes.to_vec(), line.is_cut));
            }
            all
        };
        let all = read(usize::MAX);
        assert!(read(7) == all, "pieces of 7 bytes make other lines");
        all
    }

    #[track_caller]
    fn check(log: &str, expected: &[(u64, &str, bool)]) {
        let expected: Vec<_> =
            expected.iter().map(|(n, text, cut)| (*n, text.as_bytes().to_vec(), *cut)).collect();
        assert_eq!(lines(log.as_bytes()), expected);
    }

    #[test]
    fn lines_have_numbers_and_the_last_one_may_be_cut() {
        check("", &[]);
        check("a\n\nb", &[(1, "a", false), (2, "", false), (3, "b", true)]);
    }

    #[test]
    fn messages_of_the_library_are_left_out_and_broken_lines_joined() {
        check(&format!("a\n{MESSAGE}b\n"), &[(1, "a", false), (3, "b", false)]);
        check(&format!("a{MESSAGE}{MESSAGE}b\nc\n"), &[(1, "ab", false), (4, "c", false)]);
        check(&format!("a{MESSAGE}b{MESSAGE}c\n"), &[(1, "abc", false)]);
        check(&format!("a{MESSAGE}"), &[(1, "a", true)]);
        check("a[1574834567:0042] NOTICE: x\nb\n", &[(1, "ab", false)]);
        // The line that was broken was never finished.
        let next = "2026/11/27 03:58:11 RX: SOC: 60";
        check(&format!("a{MESSAGE}{next}\n"), &[(1, "a", true), (2, next, false)]);
        // That is none.
        check("DEBUG: ADC[0]: 1000\n", &[(1, "DEBUG: ADC[0]: 1000", false)]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_skipped() {
        for length in [LONGEST, BUFFER - 1, BUFFER, 3 * BUFFER + 5] {
            let mut log = vec![b'x'; length];
            log.extend_from_slice(b"\nnext\nlast");
            let found = lines(&log);
            assert_eq!(found.len(), 3);
            assert_eq!((found[0].1.len(), found[0].2), (LONGEST, length > LONGEST), "{length}");
            assert_eq!(found[1], (2, b"next".to_vec(), false));
            assert_eq!(found[2], (3, b"last".to_vec(), true));
        }
    }
}
