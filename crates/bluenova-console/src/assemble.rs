use core::num::NonZeroU32;

use bluenova_record::{COLUMNS, PackRecord, Text};
use time::{Duration, UtcDateTime};

use crate::{
    Line, ParseError, Salvage,
    line::prefix,
    parse::{Take, any_line, usual_line, without_line_end},
};

/// How long an interval is: 1 to 86400 whole seconds.
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

/// An interval ended for which it isn't known whose it is: no MCU ID came on this connection, and
/// a row without an owner is useless.
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
/// Time is passed in: call [`tick`](Self::tick) before every line and now and then when there is
/// none.
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
    /// What this connection has said in this interval.
    draft: Draft,
    /// Whose connection it is.
    owner: Option<u32>,
    /// Another MCU ID, seen last on this connection.
    doubt: Option<u32>,
    energy: Energy,
    /// What an earlier connection has said in this interval.
    held: Option<PackRecord>,
    /// A second record of the same instant, of another battery at the same address.
    also: Option<PackRecord>,
}

/// An interval, in the form in which it is cheap to find that it hasn't ended.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    /// A clock that is before this was set back.
    earliest: UtcDateTime,
    end: UtcDateTime,
}

#[derive(Clone, Debug)]
struct Draft {
    /// Its stamp and owner mean nothing before they are set at the end.
    record: PackRecord,
    seen: bool,
}

impl Draft {
    const EMPTY: Self = Self { record: PackRecord::new(UtcDateTime::UNIX_EPOCH, 0), seen: false };
}

/// The energies of this connection, and which of them comes next.
#[derive(Clone, Debug, Default)]
struct Energy {
    out: Option<f32>,
    r#in: Option<f32>,
    next: NextEnergy,
}

#[derive(Clone, Copy, Debug, Default)]
enum NextEnergy {
    #[default]
    Unannounced,
    Out,
    In,
}

impl Assembler {
    /// An assembler for one battery.
    pub const fn new(interval: Interval) -> Self {
        Self {
            interval,
            under_way: None,
            draft: Draft::EMPTY,
            owner: None,
            doubt: None,
            energy: Energy { out: None, r#in: None, next: NextEnergy::Unannounced },
            held: None,
            also: None,
        }
    }

    /// Whose connection it is, as far as is known.
    pub const fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// The record of the interval that has ended by `now`, if one has. Call it again until it
    /// returns `None`: when another battery has taken over the address there are two.
    ///
    /// The record bears the end of its interval, even where the clock has jumped. If the clock was
    /// set back to more than an interval before the one under way, that one ends at once; less than
    /// that makes it longer.
    ///
    /// # Errors
    /// An interval had lines, but it isn't known whose.
    #[inline]
    pub fn tick(&mut self, now: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        match self.under_way {
            Some(UnderWay { earliest, end })
                if self.also.is_none() && now < end && now >= earliest =>
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
    /// The interval had lines, but it isn't known whose.
    pub fn finish(&mut self, now: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        let microseconds = now.microsecond();
        self.take_record(now.replace_microsecond(microseconds).unwrap_or(now))
    }

    /// Parses a line and takes what it says.
    ///
    /// # Errors
    /// The line is malformed. It has cost at most the field that it was for.
    #[inline]
    pub fn feed<'a>(&mut self, line: &'a str) -> Result<Line<'a>, ParseError> {
        let line = without_line_end(line);
        match usual_line(line) {
            Some(known) => {
                self.apply(&known);
                Ok(known)
            }
            None => self.feed_any(line),
        }
    }

    /// Apart from the usual line, so that this one doesn't have to make room for what any other line
    /// needs.
    #[inline(never)]
    fn feed_any<'a>(&mut self, line: &'a str) -> Result<Line<'a>, ParseError> {
        let parsed = any_line(line, self);
        if let Err(error) = &parsed {
            self.salvage(error);
        }
        parsed
    }

    /// The connection is lost: what was known of it must not look fresh on the next one.
    pub fn disconnected(&mut self) {
        let draft = core::mem::replace(&mut self.draft, Draft::EMPTY);
        if let (true, Some(owner)) = (draft.seen, self.owner) {
            let record = PackRecord { mcu_id: owner, ..draft.record };
            self.held = match self.held.take() {
                Some(held) if held.mcu_id == owner => Some(merge(held, &record)),
                Some(held) => {
                    self.also = self.under_way.map(|UnderWay { end, .. }| stamped(held, end));
                    Some(record)
                }
                None => Some(record),
            };
        }
        self.owner = None;
        self.doubt = None;
        self.energy = Energy::default();
    }

    #[cold]
    #[inline(never)]
    fn next_interval(&mut self, now: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        if let Some(record) = self.also.take() {
            return Some(Ok(record));
        }
        let end = self.interval.end_after(now);
        let length = Duration::seconds(i64::from(self.interval.seconds()));
        let earliest = end.saturating_sub(length * 2);
        let ended = self.under_way.replace(UnderWay { earliest, end })?;
        self.take_record(ended.end)
    }

    fn take_record(&mut self, stamp: UtcDateTime) -> Option<Result<PackRecord, NoOwner>> {
        let held = self.held.take().map(|held| stamped(held, stamp));
        let draft = core::mem::replace(&mut self.draft, Draft::EMPTY);
        if !draft.seen {
            return held.map(Ok);
        }
        let Some(mcu_id) = self.owner else { return Some(held.ok_or(NoOwner)) };
        let record = PackRecord {
            insert_time_utc: stamp,
            mcu_id,
            energy_out: draft.record.energy_out.or(self.energy.out),
            energy_in: draft.record.energy_in.or(self.energy.r#in),
            ..draft.record
        };
        match held {
            Some(held) if held.mcu_id == mcu_id => Some(Ok(merge(held, &record))),
            Some(held) => {
                self.also = Some(record);
                Some(Ok(held))
            }
            None => Some(Ok(record)),
        }
    }

    #[inline(always)]
    fn apply(&mut self, line: &Line<'_>) {
        let record = &mut self.draft.record;
        match *line {
            Line::Other(_) => return,
            Line::McuId(id) => self.identify(id),
            Line::UnitCount(n) => record.n_units = Some(n),
            Line::UnitRank(n) => record.unit_rank = Some(n),
            Line::CellCount(n) => record.cell_count = Some(n),
            Line::Cell { cell, temperature, voltage } => {
                record.cell_t[cell.index()] = Some(temperature);
                record.cell_v[cell.index()] = Some(voltage.volts());
            }
            Line::PackVoltage(v) => record.v_pack = Some(v.volts()),
            Line::PackCurrent(i) => record.i_pack = Some(i.to_f32()),
            Line::PackTemperature(t) => record.temp = Some(t),
            Line::CellVoltageMax(v) => record.v_cell_max = Some(v.volts()),
            Line::CellVoltageMin(v) => record.v_cell_min = Some(v.volts()),
            Line::StateOfCharge(n) => record.soc = Some(n),
            Line::StateOfHealth(n) => record.health = Some(n.to_f32()),
            Line::Errors(text) => keep(&mut record.errors, text),
            Line::SystemState(text) => keep(&mut record.system_state, text),
            Line::Breaker(text) => keep(&mut record.breaker, text),
            Line::ChargeState(word) => keep(&mut record.charge_state, word),
            Line::AdcPackVoltage(v) => record.adc_vp = Some(v.volts()),
            Line::Adc { channel, voltage, .. } => {
                record.adc[channel.index()] = Some(voltage.volts());
            }
            // A count that the column can't hold stays at the largest that it can.
            Line::BadCrc => record.bad_crc = record.bad_crc.saturating_add(1),
            Line::CellFrameUnparsable => record.parse_fail = record.parse_fail.saturating_add(1),
            Line::CellReadingRejected => record.bad_vcell = record.bad_vcell.saturating_add(1),
            Line::EnergyAnnounced => self.energy.next = NextEnergy::Out,
            Line::EnergyWritten(n) => self.energy_written(Some(n.to_f32())),
        }
        self.draft.seen = true;
    }

    /// The ID cannot change within a connection, so that another one is a garbled one. But it may
    /// have been the first one that was garbled: of two that differ the one counts that comes twice
    /// running.
    fn identify(&mut self, id: u32) {
        let known = self.owner.is_none_or(|owner| owner == id);
        if known || self.doubt == Some(id) {
            self.owner = Some(id);
            self.doubt = None;
        } else {
            self.doubt = Some(id);
        }
    }

    /// `None` is a malformed line: it is the one that was due all the same.
    fn energy_written(&mut self, energy: Option<f32>) {
        let Energy { out, r#in, next } = &mut self.energy;
        let record = &mut self.draft.record;
        match next {
            NextEnergy::Unannounced => {}
            NextEnergy::Out => {
                *next = NextEnergy::In;
                *out = energy.or(*out);
                record.energy_out = energy.or(record.energy_out);
            }
            NextEnergy::In => {
                *next = NextEnergy::Unannounced;
                *r#in = energy.or(*r#in);
                record.energy_in = energy.or(record.energy_in);
            }
        }
    }

    #[cold]
    fn salvage(&mut self, error: &ParseError) {
        let record = &mut self.draft.record;
        match error.salvage() {
            Some(Salvage::CellTemperature { cell, temperature }) => {
                record.cell_t[cell.index()] = Some(temperature);
            }
            Some(Salvage::CellVoltage { cell, voltage }) => {
                record.cell_v[cell.index()] = Some(voltage.volts());
            }
            None if error.prefix() == prefix::ENERGY_WRITTEN => self.energy_written(None),
            None => {}
        }
        self.draft.seen = true;
    }
}

impl Take for Assembler {
    #[inline(always)]
    fn take(&mut self, line: &Line<'_>) {
        self.apply(line);
    }
}

/// A battery says the same word many times in an interval.
#[inline(always)]
fn keep<const CHARS: usize>(field: &mut Option<Text<CHARS>>, text: &str) {
    #[cold]
    #[inline(never)]
    fn put<const CHARS: usize>(field: &mut Option<Text<CHARS>>, text: &str) {
        *field = Some(Text::new(text));
    }

    if field.as_ref().is_none_or(|kept| kept.as_str() != text) {
        put(field, text);
    }
}

fn stamped(mut record: PackRecord, stamp: UtcDateTime) -> PackRecord {
    record.insert_time_utc = stamp;
    record
}

/// One record of what two connections to the same battery have said in the same interval.
fn merge(earlier: PackRecord, later: &PackRecord) -> PackRecord {
    let mut merged = later.clone();
    for column in COLUMNS.iter().filter(|column| column.get(later).is_none()) {
        // A value always goes back into the column that it came from.
        let _ = column.set(&mut merged, column.get(&earlier));
    }
    merged.bad_crc = merged.bad_crc.saturating_add(earlier.bad_crc);
    merged.parse_fail = merged.parse_fail.saturating_add(earlier.parse_fail);
    merged.bad_vcell = merged.bad_vcell.saturating_add(earlier.bad_vcell);
    merged
}
