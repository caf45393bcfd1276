//! Console lines of a log -> records.

use std::borrow::Cow;

use bluenova_console::{Assembler, Interval, NoOwner, ParseError};
use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime};

/// Turns the console lines of a log into records, as a listener would have done when they came.
#[derive(Debug)]
pub struct Replay {
    interval: Interval,
    batteries: Vec<Battery>,
}

/// A battery of the log.
#[derive(Debug)]
struct Battery {
    name: Vec<u8>,
    assembler: Assembler,
    /// When its last line came.
    last: UtcDateTime,
}

impl Replay {
    /// A replay into intervals of that length.
    pub fn new(interval: Interval) -> Self {
        Self { interval, batteries: vec![] }
    }

    /// Reads a line of the battery `name`, which came at `time`; calls `record` with the records
    /// that were due before it.
    ///
    /// # Errors
    /// The line is malformed. It has cost at most the field that it was for.
    pub fn feed(
        &mut self,
        name: &[u8],
        time: UtcDateTime,
        text: &[u8],
        is_escaped: bool,
        record: &mut impl FnMut(Result<PackRecord, NoOwner>),
    ) -> Result<(), ParseError> {
        let battery = self.battery(name, time);
        battery.tick(time, record);
        let text = String::from_utf8_lossy(text);
        let text = if is_escaped { unescaped(text) } else { text };
        battery.assembler.feed(&text).map(|_| ())
    }

    /// A connection to the battery `name` began or ended; calls `record` as [`feed`](Self::feed)
    /// does.
    pub fn disconnected(
        &mut self,
        name: &[u8],
        time: UtcDateTime,
        record: &mut impl FnMut(Result<PackRecord, NoOwner>),
    ) {
        if let Some(battery) = self.batteries.iter_mut().find(|battery| battery.is_named(name)) {
            battery.disconnected(time, record);
        }
    }

    /// The listener was started anew: all connections have ended.
    pub fn restarted(
        &mut self,
        time: UtcDateTime,
        record: &mut impl FnMut(Result<PackRecord, NoOwner>),
    ) {
        for battery in &mut self.batteries {
            battery.disconnected(time, record);
        }
    }

    /// The listener has ended: calls `record` with the records of the intervals under way. One that
    /// had not ended by then is stamped with the time of its last line, much as the listener did.
    pub fn ended(
        &mut self,
        time: UtcDateTime,
        record: &mut impl FnMut(Result<PackRecord, NoOwner>),
    ) {
        for mut battery in self.batteries.drain(..) {
            let last = battery.last;
            battery.tick(time, record);
            if let Some(result) = battery.assembler.finish(last) {
                record(result);
            }
            battery.tick(time, record);
        }
    }

    /// Ends the log, behind which the listener went on: calls `record` with the records of the
    /// intervals under way.
    pub fn finish(&mut self, record: &mut impl FnMut(Result<PackRecord, NoOwner>)) {
        let length = Duration::seconds(self.interval.seconds().into());
        for mut battery in self.batteries.drain(..) {
            battery.tick(battery.last.saturating_add(length), record);
        }
    }

    fn battery(&mut self, name: &[u8], time: UtcDateTime) -> &mut Battery {
        let at = self.batteries.iter().position(|battery| battery.is_named(name));
        let at = at.unwrap_or_else(|| {
            let assembler = Assembler::new(self.interval);
            self.batteries.push(Battery { name: name.to_vec(), assembler, last: time });
            self.batteries.len() - 1
        });
        &mut self.batteries[at]
    }
}

impl Battery {
    /// Comparing names that are empty, as the first listener's are, takes as long as all the rest:
    /// nothing lies where their bytes would be.
    fn is_named(&self, name: &[u8]) -> bool {
        if name.is_empty() { self.name.is_empty() } else { self.name == name }
    }

    fn tick(&mut self, time: UtcDateTime, record: &mut impl FnMut(Result<PackRecord, NoOwner>)) {
        self.last = time;
        while let Some(result) = self.assembler.tick(time) {
            record(result);
        }
    }

    fn disconnected(
        &mut self,
        time: UtcDateTime,
        record: &mut impl FnMut(Result<PackRecord, NoOwner>),
    ) {
        self.tick(time, record);
        self.assembler.disconnected();
    }
}

/// Takes back what [`Escaped`](bluenova_record::Escaped) does. A backslash that the battery itself
/// sent can't be told from one of these; none is known.
fn unescaped(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (c, length) = match escape.as_bytes().first() {
            Some(b'r') => ('\r', 1),
            Some(b'n') => ('\n', 1),
            Some(b't') => ('\t', 1),
            _ => code_point(escape).unwrap_or(('\\', 0)),
        };
        plain.push(c);
        rest = &escape[length..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The character of `u{1b}`, and the length of that.
fn code_point(escape: &str) -> Option<(char, usize)> {
    let (digits, _) = escape.strip_prefix("u{")?.split_once('}')?;
    let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
    Some((c, digits.len() + 3))
}
