use std::io::{self, Read};

use bluenova_archive::{Event, LocalClock, LogLines, LogParser, RecordTimes, Replay, Replayed};
use bluenova_console::Interval;
use bluenova_record::{COLUMNS, PackRecord, Value};
use time::PlainDateTime;

/// A log. The first byte sets how many bytes are read at a time.
///
/// - However the bytes come, the same is read.
/// - Cut at a line end into two files, the log says the same, unless a line was broken there.
/// - Every value of a record fits its column, and every record that console lines make has an
///   owner.
pub fn read_log(data: &[u8]) {
    let Some((&size, log)) = data.split_first() else { return };
    let whole = events(&[log], usize::MAX);
    assert_eq!(events(&[log], usize::from(size) + 1), whole, "in pieces");
    let mut line_ends =
        log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    if let Some(at) = line_ends.nth(usize::from(size) % 8)
        && !holds_library_message(log)
    {
        let (first, second) = log.split_at(at + 1);
        assert_eq!(events(&[first, second], usize::MAX), whole, "in two files");
    }
    for record in records(log) {
        check(&record);
    }
}

/// A line that such a message breaks can't go on in the next file.
fn holds_library_message(log: &[u8]) -> bool {
    log.contains(&b'[')
}

/// What the files say, in words.
fn events(files: &[&[u8]], size: usize) -> Vec<String> {
    let mut events = vec![];
    let mut note = |event: Event<'_>| {
        events.push(match event {
            Event::Record(logged) => format!("{:?} {:?}", logged.local, logged.record),
            event => format!("{event:?}"),
        });
    };
    let mut parser = LogParser::default();
    for (n, file) in files.iter().enumerate() {
        parser.begin_file(n);
        let mut lines = LogLines::new(Pieces { rest: file, size });
        while let Some(line) = lines.next_line().expect("memory is readable") {
            parser.feed(line, &mut |_, event| note(event));
        }
    }
    parser.finish(&mut |_, event| note(event));
    events
}

/// The records of a log, and those that its console lines make.
fn records(log: &[u8]) -> Vec<PackRecord> {
    let mut records = vec![];
    let mut times = RecordTimes::default();
    let mut parser = LogParser::default();
    let mut lines = LogLines::new(log);
    while let Some(line) = lines.next_line().expect("memory is readable") {
        parser.feed(line, &mut |_, event| {
            if let Event::Record(logged) = event {
                records.push(logged.record.clone());
                times.check(*logged, &mut |_, _| {});
            }
        });
    }
    let offsets = times.finish(&mut |_, _| {});
    let mut clock = LocalClock::new(offsets, |local: PlainDateTime| [local.as_utc(); 2]);
    let mut replay = Replay::new(Interval::from_seconds(10).expect("an interval"));
    let mut parser = LogParser::default();
    let mut lines = LogLines::new(log);
    let mut record = |replayed: Replayed| {
        if let Replayed::Record(record) = replayed {
            records.push(*record);
        }
    };
    while let Some(line) = lines.next_line().expect("memory is readable") {
        parser.feed(line, &mut |at, event| match event {
            Event::Console { stamp, battery, text, is_escaped } => {
                let time = clock.utc(at, stamp);
                replay.feed(battery, time, text, is_escaped, &mut record);
            }
            Event::Connection { stamp, battery } => {
                replay.disconnected(battery, clock.utc(at, stamp), &mut record);
            }
            Event::Ended { stamp } => replay.ended(clock.utc(at, stamp), &mut record),
            Event::Started { stamp } => replay.restarted(clock.utc(at, stamp), &mut record),
            _ => {}
        });
    }
    replay.finish(&mut record);
    records
}

fn check(record: &PackRecord) {
    for column in &COLUMNS {
        match column.get(record) {
            Some(Value::Real(number)) => assert!(number.is_finite(), "{}", column.name),
            Some(Value::Text(text)) => assert!(!text.contains('\0'), "{}", column.name),
            _ => {}
        }
    }
}

/// A file that is read some bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(self.rest.len()).min(into.len());
        let (piece, rest) = self.rest.split_at(size);
        into[..size].copy_from_slice(piece);
        self.rest = rest;
        Ok(size)
    }
}
