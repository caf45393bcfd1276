//! Lines of a log -> what they say.

use bluenova_record::PackRecord;
use memchr::{memchr, memchr2_iter, memmem};
use time::{Duration, PlainDateTime};

use crate::{
    Damage, LogLine, Position, Stamp,
    block::{self, FIRST_LINE, OTHER_LINE, OtherLine},
    stamp::{LastStamp, begins_with_stamp},
    zone::offset,
};

/// MCU ID that the first listener had before one came: such a record was never inserted.
pub const NO_MCU_ID: u32 = u32::MAX;

/// Bytes of the first line of a record that are kept, which may be broken over several lines.
const RECORD_BYTES: usize = 64 * 1024;

/// Something that a log says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A record that the first listener inserted or was about to insert.
    Record(Box<LoggedRecord>),
    /// A line of the console, logged with `-r`.
    Console {
        /// When it came.
        stamp: Stamp,
        /// Name of the battery; empty with the first listener, which had one battery.
        battery: &'a [u8],
        /// The line, as the log has it.
        text: &'a [u8],
        /// Whether control characters in it are escaped, as ours are.
        is_escaped: bool,
    },
    /// A connection to this battery began or ended: what follows is of another one.
    Connection {
        /// When that was.
        stamp: Stamp,
        /// Name of the battery; empty with the first listener.
        battery: &'a [u8],
    },
    /// The listener was started.
    Started {
        /// When that was.
        stamp: Stamp,
    },
    /// The listener has ended, as ours says.
    Ended {
        /// When it said so, which is a little later.
        stamp: Stamp,
    },
    /// Something can't be read.
    Damage(Damage),
}

/// A record of the first listener.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedRecord {
    /// What can be read of it.
    pub record: PackRecord,
    /// Time of its first line.
    pub local: PlainDateTime,
    /// Where its first line stands.
    pub at: Position,
}

impl LoggedRecord {
    /// The offset of local time from UTC by which the record's time is that of its line; `None` if
    /// there is none, since one of the two is damaged.
    pub fn offset(&self) -> Option<Duration> {
        offset(self.local, self.record.insert_time_utc)
    }
}

/// Reads the lines of one listener's log, or of its rotated files in their order.
///
/// ```
/// use bluenova_archive::{Event, LogLine, LogParser};
///
/// let mut parser = LogParser::default();
/// let bytes = b"2026/11/26 20:57:58 RX: SOC: 60";
/// parser.feed(LogLine { number: 1, bytes, is_cut: false }, &mut |at, event| {
///     assert!(matches!(event, Event::Console { text: b"SOC: 60", .. }) && at.line == 1);
/// });
/// ```
#[derive(Debug, Default)]
pub struct LogParser {
    /// Number of the file that is read.
    file: usize,
    last_stamp: LastStamp,
    /// First line of a record, which may go on with the next lines.
    first: Option<FirstLine>,
    record: Option<OpenRecord>,
    /// The lines of a record whose first one can't be read are passed over.
    has_bad_key: bool,
    /// Time and battery of a console line, which may go on with the next lines.
    console: Option<(Stamp, Vec<u8>, bool)>,
}

#[derive(Debug)]
struct FirstLine {
    at: Position,
    local: PlainDateTime,
    text: Vec<u8>,
    is_cut: bool,
}

/// A record that lacks lines yet.
#[derive(Debug)]
struct OpenRecord {
    logged: LoggedRecord,
    lines: Vec<OtherLine>,
}

/// How far apart the lines of a record may be, which are logged one after the other.
const RECORD_TIME: Duration = Duration::seconds(3);

impl OpenRecord {
    /// Whether a line is the record's, which has each once and in their order.
    fn is_continued_by(&self, line: OtherLine, local: PlainDateTime) -> bool {
        let distance = (local - self.logged.local).abs();
        // Summer time may begin or end between the two.
        let is_near = distance.min((distance - Duration::HOUR).abs()) <= RECORD_TIME;
        is_near && self.lines.last().is_none_or(|last| *last < line)
    }
}

impl LogParser {
    /// Begins the file with that number in the series. A record that the file before it ends in
    /// goes on.
    pub fn begin_file(&mut self, file: usize) {
        self.file = file;
    }

    /// Reads a line; calls `event` with where it stands, or an earlier line, and with what it says.
    pub fn feed(&mut self, line: LogLine<'_>, event: &mut impl FnMut(Position, Event<'_>)) {
        let nuls = line.bytes.iter().take_while(|&&byte| byte == 0).count();
        let bytes = &line.bytes[nuls..];
        if nuls > 0 {
            event(self.at(line), Event::Damage(Damage::CutLine));
        }
        let Some((stamp, text)) = self.last_stamp.read(bytes) else {
            if nuls == 0 {
                self.go_on(line, event);
            }
            return;
        };
        self.end_first_line(event);
        self.console = None;
        // A line that was never finished may have the next one behind it.
        if let Some(at) = second_stamp(text) {
            let first = LogLine { bytes: &bytes[..bytes.len() - text.len() + at], ..line };
            self.stamped(stamp, &text[..at], LogLine { is_cut: true, ..first }, event);
            self.feed(LogLine { bytes: &text[at..], ..line }, event);
        } else {
            self.stamped(stamp, text, line, event);
        }
    }

    /// Ends the log: a record that lacks lines is as complete as it will be.
    pub fn finish(&mut self, event: &mut impl FnMut(Position, Event<'_>)) {
        self.end_first_line(event);
        self.end_record(event);
        self.console = None;
    }

    fn at(&self, line: LogLine<'_>) -> Position {
        Position { file: self.file, line: line.number }
    }

    /// A line with a time.
    fn stamped(
        &mut self,
        stamp: Stamp,
        text: &[u8],
        line: LogLine<'_>,
        event: &mut impl FnMut(Position, Event<'_>),
    ) {
        let local = match stamp {
            Stamp::Utc(_) => return self.ours(stamp, text, line, event),
            Stamp::Local(local) => local,
        };
        if let Some(text) = text.strip_prefix(b"RX: ") {
            self.console_line(stamp, (b"", text), false, line, event);
        } else if text.starts_with(FIRST_LINE) {
            self.end_record(event);
            let text = text.to_vec();
            self.first = Some(FirstLine { at: self.at(line), local, text, is_cut: line.is_cut });
        } else if text.starts_with(OTHER_LINE) {
            match block::which(text) {
                Some(which) => self.record_line(which, local, text, line, event),
                None if self.record.is_some() => {
                    event(self.at(line), Event::Damage(Damage::CutLine));
                }
                None => {}
            }
        } else if text.starts_with(b"Websocket connection established") {
            event(self.at(line), Event::Connection { stamp, battery: b"" });
        } else if memmem::find(text, b"successfully started").is_some() {
            event(self.at(line), Event::Started { stamp });
        }
    }

    /// A line of our own log: level and message.
    fn ours(
        &mut self,
        stamp: Stamp,
        text: &[u8],
        line: LogLine<'_>,
        event: &mut impl FnMut(Position, Event<'_>),
    ) {
        let Some(message) = text.get(6..) else { return };
        if let Some(at) = memmem::find(message, b": RX: ") {
            let (battery, text) = (&message[..at], &message[at + 6..]);
            self.console_line(stamp, (battery, text), true, line, event);
        } else if message.starts_with(b"bluenovalistener ") {
            event(self.at(line), Event::Started { stamp });
        } else if message == b"ended" || message.starts_with(b"ended: ") {
            event(self.at(line), Event::Ended { stamp });
        } else if let Some(at) = memmem::find(message, b": connect") {
            // `NAME: connected to …`, `NAME: connection lost …`
            event(self.at(line), Event::Connection { stamp, battery: &message[..at] });
        }
    }

    fn console_line(
        &mut self,
        stamp: Stamp,
        (battery, text): (&[u8], &[u8]),
        is_escaped: bool,
        line: LogLine<'_>,
        event: &mut impl FnMut(Position, Event<'_>),
    ) {
        // Half a number would be a wrong one.
        if line.is_cut || memchr(0, text).is_some() {
            event(self.at(line), Event::Damage(Damage::CutLine));
            return;
        }
        if !is_escaped {
            self.console = Some((stamp, battery.to_vec(), is_escaped));
        }
        event(self.at(line), Event::Console { stamp, battery, text, is_escaped });
    }

    /// A line without a time belongs to the one before it.
    fn go_on(&mut self, line: LogLine<'_>, event: &mut impl FnMut(Position, Event<'_>)) {
        if let Some(first) = &mut self.first {
            if first.text.len() + line.bytes.len() < RECORD_BYTES {
                first.text.push(b'\n');
                first.text.extend_from_slice(line.bytes);
            }
            first.is_cut |= line.is_cut;
        } else if let Some((stamp, battery, is_escaped)) = self.console.take()
            && !line.bytes.is_empty()
        {
            // A message of the battery with several lines.
            self.console_line(stamp, (&battery, line.bytes), is_escaped, line, event);
        }
    }

    fn end_first_line(&mut self, event: &mut impl FnMut(Position, Event<'_>)) {
        let Some(FirstLine { at, local, text, is_cut }) = self.first.take() else { return };
        let record = block::first_line(&text, is_cut, &mut |damage| {
            event(at, Event::Damage(damage));
        });
        self.has_bad_key = record.is_none();
        match record {
            Some(record) => {
                let logged = LoggedRecord { record, local, at };
                self.record = Some(OpenRecord { logged, lines: vec![] });
            }
            None => event(at, Event::Damage(Damage::RecordKey)),
        }
    }

    fn record_line(
        &mut self,
        which: OtherLine,
        local: PlainDateTime,
        text: &[u8],
        line: LogLine<'_>,
        event: &mut impl FnMut(Position, Event<'_>),
    ) {
        // Where lines are lost, this one may be of a later record.
        let open = self.record.as_mut().filter(|open| open.is_continued_by(which, local));
        let Some(open) = open else {
            if !self.has_bad_key {
                event(self.at(line), Event::Damage(Damage::RecordStart));
                self.has_bad_key = true;
            }
            return;
        };
        let at = Position { file: self.file, line: line.number };
        block::other_line(which, text, line.is_cut, &mut open.logged.record, &mut |damage| {
            event(at, Event::Damage(damage));
        });
        open.lines.push(which);
        if which == OtherLine::Temperatures {
            self.end_record(event);
        }
    }

    fn end_record(&mut self, event: &mut impl FnMut(Position, Event<'_>)) {
        let Some(OpenRecord { logged, lines }) = self.record.take() else { return };
        if lines.len() < 3 {
            event(logged.at, Event::Damage(Damage::RecordLines));
        }
        // Lines that come behind it are of another one.
        self.has_bad_key = false;
        event(logged.at, Event::Record(Box::new(logged)));
    }
}

/// Where another time of a line stands in a text.
fn second_stamp(text: &[u8]) -> Option<usize> {
    memchr2_iter(b'/', b'-', text)
        .filter_map(|at| at.checked_sub(4))
        .find(|&at| begins_with_stamp(&text[at..]))
}
