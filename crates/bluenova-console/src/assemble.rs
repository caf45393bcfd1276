use core::num::NonZeroU32;

use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime};

use crate::{
    Line, ParseError,
    draft::Draft,
    line::{read, without_line_end},
};

/// Length of an interval: 1 to 86400 whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(NonZeroU32);

impl Interval {
    /// The longest interval, a day, in seconds.
    pub const MAX_SECONDS: u32 = 86_400;

    /// An interval of so many seconds; `None` if that is no interval.
    pub const fn from_seconds(seconds: u32) -> Option<Self> {
        match NonZeroU32::new(seconds) {
            Some(seconds) if seconds.get() <= Self::MAX_SECONDS => Some(Self(seconds)),
            _ => None,
        }
    }

    /// Its length in seconds.
    pub const fn seconds(self) -> u32 {
        self.0.get()
    }

    /// Its length.
    pub const fn duration(self) -> core::time::Duration {
        core::time::Duration::from_secs(self.seconds() as u64)
    }

    /// The end of the interval that `now` is in: the next multiple of its length in UTC.
    fn end_after(self, now: UtcDateTime) -> UtcDateTime {
        let length = i64::from(self.0.get());
        let left = length - now.unix_timestamp().rem_euclid(length);
        // Within a day of the end of the calendar there is no later multiple.
        now.replace_nanosecond(0)
            .ok()
            .and_then(|second| second.checked_add(Duration::seconds(left)))
            .unwrap_or(UtcDateTime::MAX)
    }
}

/// An interval with lines but without an MCU ID: none came on this connection, and a row without
/// an owner is useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no MCU ID seen on this connection")]
pub struct NoOwner;

/// Turns the lines of one battery into one [`PackRecord`] per interval.
///
/// - A record holds the latest value of each field seen in the interval, and `None` where none was
///   seen; the counters count within the interval.
/// - Energies keep their last value until the connection is lost, and so does the MCU ID. Nothing
///   else outlives its interval.
/// - Interval ends are the multiples of the interval in UTC. An interval in which no known line
///   came gives no record.
///
/// Time is passed in: call [`tick`](Self::tick) before every line, and once a second or so while
/// there is none.
///
/// ```
/// use bluenova_console::{Assembler, Interval};
/// use time::{Duration, UtcDateTime};
///
/// let start = UtcDateTime::UNIX_EPOCH;
/// let mut assembler = Assembler::new(Interval::from_seconds(10).unwrap());
///
/// assert_eq!(assembler.tick(start), None);
/// assembler.feed("MCU ID: 9F3C07B2").unwrap();
/// assembler.feed("SOC: 63").unwrap();
///
/// let record = assembler.tick(start + Duration::seconds(10)).unwrap().unwrap();
/// assert_eq!(record.mcu_id, 0x9F3C_07B2);
/// assert_eq!(record.soc, Some(63));
/// ```
#[derive(Clone, Debug)]
pub struct Assembler {
    interval: Interval,
    /// The interval under way; `None` before the first tick.
    under_way: Option<UnderWay>,
    draft: Draft,
    /// Record of an earlier connection in this interval.
    earlier: Option<PackRecord>,
    /// A second record of the same instant, of another battery at the same address.
    second: Option<PackRecord>,
}

/// An interval, in the form in which it is cheap to find that it hasn't ended.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    /// A clock that is before this was set back.
    earliest: UtcDateTime,
    end: UtcDateTime,
}

impl Assembler {
    /// An assembler for one battery.
    pub const fn new(interval: Interval) -> Self {
        Self { interval, under_way: None, draft: Draft::NEW, earlier: None, second: None }
    }

    /// MCU ID of the battery, once this connection has shown it.
    pub const fn owner(&self) -> Option<u32> {
        self.draft.owner
    }

    /// The record of the interval that has ended by `now`, if one has. Call it again until it
    /// returns `None`: when another battery has taken over the address there are two.
    ///
    /// Its time is the end of its interval, even where the clock has jumped. If the clock was
    /// set back to more than an interval before the one under way, that one ends at once; less than
    /// that makes it longer.
    ///
    /// # Errors
    /// The interval had lines, but no MCU ID came on this connection.
    #[inline]
    pub fn tick(&mut self, now: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        match self.under_way {
            Some(UnderWay { earliest, end })
                if self.second.is_none() && now < end && now >= earliest =>
            {
                None
            }
            _ => self.next_interval(now),
        }
    }

    /// The record of the interval under way, stamped with `now` (in whole microseconds, as the
    /// table holds it), for when the program ends: what comes later in this interval then has a
    /// row of its own.
    ///
    /// Take what [`tick`](Self::tick) has first, and call it again afterwards.
    ///
    /// # Errors
    /// The interval had lines, but no MCU ID came on this connection.
    pub fn finish(&mut self, now: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        let microseconds = now.microsecond();
        self.take_record(now.replace_microsecond(microseconds).unwrap_or(now))
    }

    /// Parses a line and puts its values into the record.
    ///
    /// # Errors
    /// The line is malformed. It has cost at most the field that it was for.
    #[inline]
    pub fn feed<'a>(&mut self, line: &'a str) -> Result<Line<'a>, ParseError> {
        read(without_line_end(line), Some(&mut self.draft))
    }

    /// The connection is lost: none of its values may look fresh on the next one.
    pub fn disconnected(&mut self) {
        let next = self.draft.of_next_connection();
        let draft = core::mem::replace(&mut self.draft, next);
        let (true, Some(mcu_id)) = (draft.has_lines, draft.owner) else { return };
        let record = PackRecord { mcu_id, ..draft.record };
        self.earlier = match self.earlier.take() {
            Some(earlier) if earlier.mcu_id == mcu_id => Some(merge(&earlier, record)),
            Some(earlier) => {
                self.second = self.under_way.map(|UnderWay { end, .. }| stamped(earlier, end));
                Some(record)
            }
            None => Some(record),
        };
    }

    #[cold]
    #[inline(never)]
    fn next_interval(&mut self, now: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        if let Some(record) = self.second.take() {
            return Some(Ok(record));
        }
        let end = self.interval.end_after(now);
        let length = Duration::seconds(i64::from(self.interval.seconds()));
        let earliest = end.saturating_sub(length * 2);
        let ended = self.under_way.replace(UnderWay { earliest, end })?;
        self.take_record(ended.end)
    }

    fn take_record(&mut self, stamp: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        let earlier = self.earlier.take().map(|earlier| stamped(earlier, stamp));
        let Some(record) = self.draft.take_record() else { return earlier.map(Ok) };
        let Some(mcu_id) = self.draft.owner else { return Some(earlier.ok_or(NoOwner)) };
        let record = PackRecord { insert_time_utc: stamp, mcu_id, ..record };
        match earlier {
            Some(earlier) if earlier.mcu_id == mcu_id => Some(Ok(merge(&earlier, record))),
            Some(earlier) => {
                self.second = Some(record);
                Some(Ok(earlier))
            }
            None => Some(Ok(record)),
        }
    }
}

fn stamped(mut record: PackRecord, stamp: UtcDateTime) -> PackRecord {
    record.insert_time_utc = stamp;
    record
}

/// One record of two connections to the same battery in the same interval.
fn merge(earlier: &PackRecord, later: PackRecord) -> PackRecord {
    let mut merged = later;
    merged.fill_from(earlier);
    merged.bad_crc = merged.bad_crc.saturating_add(earlier.bad_crc);
    merged.parse_fail = merged.parse_fail.saturating_add(earlier.parse_fail);
    merged.bad_vcell = merged.bad_vcell.saturating_add(earlier.bad_vcell);
    merged
}
