//! Console lines of a log -> records.

use std::borrow::Cow;

use bluenova_console::{Assembler, Interval, NoOwner, Sampler};
use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime};

use crate::Damage;

/// What comes of console lines.
#[derive(Clone, Debug, PartialEq)]
pub enum Replayed {
    /// The record of an interval.
    Record(Box<PackRecord>),
    /// The values of a cycle of the console, if samples are [asked for](Replay::with_samples).
    Sample(Box<PackRecord>),
    /// An interval had lines, but no MCU ID came on its connection.
    NoOwner,
    /// A line can't be used, or not all of it.
    Damage(Damage),
}

/// Turns the console lines of a log into records, as a listener would have done when they came.
///
/// A line that is far from the one before it is held until the next one: if that is back where the
/// log was, the time of the line was damaged.
#[derive(Debug)]
pub struct Replay {
    interval: Interval,
    has_samples: bool,
    batteries: Vec<Battery>,
}

/// How far a line may be from the one before it without being held.
const NEAR: Duration = Duration::seconds(5);

/// Time without a line in which a cycle of the console surely ends, whether the log has times in
/// milliseconds or in seconds.
const PAUSE: Duration = Duration::seconds(2);

/// A battery of the log.
#[derive(Debug)]
struct Battery {
    name: Vec<u8>,
    assembler: Assembler,
    sampler: Option<Sampler>,
    /// When its last line came.
    last: UtcDateTime,
    held: Option<HeldLine>,
}

/// A line that is far from the one before it.
#[derive(Debug)]
struct HeldLine {
    time: UtcDateTime,
    text: String,
}

impl Replay {
    /// A replay into intervals of that length.
    pub fn new(interval: Interval) -> Self {
        Self { interval, has_samples: false, batteries: vec![] }
    }

    /// The same, with samples beside the records.
    pub fn with_samples(self) -> Self {
        Self { has_samples: true, ..self }
    }

    /// Reads a line of the battery `name`, which came at `time`; calls `out` with what comes of it
    /// and of the lines before it.
    pub fn feed(
        &mut self,
        name: &[u8],
        time: UtcDateTime,
        text: &[u8],
        is_escaped: bool,
        out: &mut impl FnMut(Replayed),
    ) {
        let battery = self.battery(name, time);
        battery.decide_on_held(time, out);
        let text = String::from_utf8_lossy(text);
        let text = if is_escaped { unescaped(text) } else { text };
        if (time - battery.last).abs() > NEAR {
            battery.held = Some(HeldLine { time, text: text.into_owned() });
        } else {
            battery.line(time, &text, out);
        }
    }

    /// A connection to the battery `name` began or ended; calls `out` as [`feed`](Self::feed) does.
    pub fn disconnected(&mut self, name: &[u8], time: UtcDateTime, out: &mut impl FnMut(Replayed)) {
        if let Some(battery) = self.batteries.iter_mut().find(|battery| battery.is_named(name)) {
            battery.disconnected(time, out);
        }
    }

    /// The listener was started anew: all connections have ended.
    pub fn restarted(&mut self, time: UtcDateTime, out: &mut impl FnMut(Replayed)) {
        for battery in &mut self.batteries {
            battery.disconnected(time, out);
        }
    }

    /// The listener has ended: calls `out` with the records of the intervals under way. One that
    /// had not ended by then is stamped with the time of its last line, much as the listener did.
    pub fn ended(&mut self, time: UtcDateTime, out: &mut impl FnMut(Replayed)) {
        for mut battery in self.batteries.drain(..) {
            battery.decide_on_held(time, out);
            let last = battery.last;
            battery.tick(time, out);
            if let Some(result) = battery.assembler.finish(last) {
                out(result.into());
            }
            battery.tick(time, out);
        }
    }

    /// Ends the log, behind which the listener went on: calls `out` with the records of the
    /// intervals under way.
    pub fn finish(&mut self, out: &mut impl FnMut(Replayed)) {
        let length = Duration::seconds(self.interval.seconds().into());
        for mut battery in self.batteries.drain(..) {
            battery.decide_on_held(UtcDateTime::MAX, out);
            battery.tick(battery.last.saturating_add(length), out);
        }
    }

    fn battery(&mut self, name: &[u8], time: UtcDateTime) -> &mut Battery {
        let at = self.batteries.iter().position(|battery| battery.is_named(name));
        let at = at.unwrap_or_else(|| {
            let assembler = Assembler::new(self.interval);
            let sampler = self.has_samples.then(Sampler::new);
            let name = name.to_vec();
            self.batteries.push(Battery { name, assembler, sampler, last: time, held: None });
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

    /// Reads the line that is held, if the log goes on behind it.
    fn decide_on_held(&mut self, next: UtcDateTime, out: &mut impl FnMut(Replayed)) {
        let Some(HeldLine { time, text }) = self.held.take() else { return };
        let earliest = self.last.saturating_sub(NEAR);
        let goes_on_here = time >= earliest && next >= time.saturating_sub(NEAR);
        if next >= earliest && !goes_on_here {
            out(Replayed::Damage(Damage::LineTime));
        } else {
            self.line(time, &text, out);
        }
    }

    fn line(&mut self, time: UtcDateTime, text: &str, out: &mut impl FnMut(Replayed)) {
        if time - self.last >= PAUSE
            && let Some(sampler) = &mut self.sampler
            && let Some(sample) = sampler.pause(self.assembler.owner())
        {
            out(Replayed::Sample(Box::new(sample)));
        }
        self.tick(time, out);
        match (self.assembler.feed(text), &mut self.sampler) {
            (Ok(line), Some(sampler)) => {
                if let Some(sample) = sampler.take(&line, self.assembler.owner(), time) {
                    out(Replayed::Sample(Box::new(sample)));
                }
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                out(Replayed::Damage(Damage::ConsoleLine(error.prefix(), error.kind())));
            }
        }
    }

    fn tick(&mut self, time: UtcDateTime, out: &mut impl FnMut(Replayed)) {
        self.last = time;
        while let Some(result) = self.assembler.tick(time) {
            out(result.into());
        }
    }

    fn disconnected(&mut self, time: UtcDateTime, out: &mut impl FnMut(Replayed)) {
        self.decide_on_held(time, out);
        self.tick(time, out);
        self.assembler.disconnected();
        self.sampler = self.sampler.take().map(|_| Sampler::new());
    }
}

impl From<Result<PackRecord, NoOwner>> for Replayed {
    fn from(result: Result<PackRecord, NoOwner>) -> Self {
        result.map_or(Self::NoOwner, |record| Self::Record(Box::new(record)))
    }
}

/// Takes back what [`Escaped`](bluenova_record::Escaped) does. A backslash that the battery itself
/// sent looks the same; no such line has been seen.
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
