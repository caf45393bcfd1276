//! One thread per battery: dial, read, parse, assemble, and send a record per interval.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_console::{Assembler, Interval, Line, NoOwner, ParseError};
use bluenova_record::PackRecord;
use bluenova_websocket::{Connection, Deadlines, Dial, TICK};
use log::{info, warn};
use time::UtcDateTime;

use crate::{link::Link, settings::Battery, status::BatteryNotes, text};

/// Pauses between two dials in seconds; the last one stays.
const REDIAL_PAUSES: [u64; 12] = [1, 1, 2, 2, 3, 3, 5, 5, 10, 10, 30, 60];

/// A battery that says nothing for so long is redialled, even if it answers pings: it has about 45
/// lines a second to say.
const SILENCE: Duration = Duration::from_secs(40);

/// How long a battery may take to say who it is before that is worth a word. It does so once a
/// second or so.
const NAMELESS: Duration = Duration::from_secs(3);

/// How often malformed lines are mentioned: they may come thousands a second.
const MALFORMED_EVERY: Duration = Duration::from_secs(60);

/// 2021-01-01T00:00:00Z. A clock before that has plainly not been set.
const CLOCK_IS_SET: i64 = 1_609_459_200;

/// A record, and which of the batteries it is of.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) battery: usize,
    pub(crate) record: PackRecord,
}

/// What receives the records has gone.
#[derive(Debug, thiserror::Error)]
#[error("the recorder has gone")]
pub(crate) struct RecorderGone;

/// Listens to one battery until it is told to stop.
pub(crate) struct BatteryThread {
    battery: Battery,
    index: usize,
    raw: bool,
    assembler: Assembler,
    records: Sender<Assembled>,
    stop: Arc<AtomicBool>,
    notes: Arc<BatteryNotes>,
    link: Link,
    malformed: Malformed,
    waits_for_clock: bool,
    /// When this connection, or the last one, was made.
    connected: Instant,
    /// What went wrong on this connection, and what of it was said.
    lacks_owner: bool,
    said_no_owner: bool,
    said_other_owner: bool,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connection(#[from] bluenova_websocket::Error),
    #[error("it has said nothing for {} s", SILENCE.as_secs())]
    SaysNothing,
}

impl BatteryThread {
    pub(crate) fn new(
        index: usize,
        battery: &Battery,
        interval: Interval,
        raw: bool,
        records: Sender<Assembled>,
        stop: Arc<AtomicBool>,
        notes: Arc<BatteryNotes>,
    ) -> Self {
        Self {
            battery: battery.clone(),
            index,
            raw,
            assembler: Assembler::new(interval),
            records,
            stop,
            link: Link::new(Arc::clone(&notes)),
            notes,
            malformed: Malformed::default(),
            lacks_owner: false,
            said_no_owner: false,
            said_other_owner: false,
            waits_for_clock: false,
            connected: Instant::now(),
        }
    }

    /// # Errors
    /// Nobody receives the records any more.
    pub(crate) fn run(mut self) -> Result<(), RecorderGone> {
        let mut pauses = 0;
        while !self.stopping() {
            match self.dial()? {
                Some(Ok(connection)) => {
                    if self.read_lines(connection)? {
                        pauses = 0;
                    }
                }
                Some(Err(error)) => self.link.failed(&self.battery.name, &error),
                None => break,
            }
            self.pause(Duration::from_secs(REDIAL_PAUSES[pauses]))?;
            pauses = (pauses + 1).min(REDIAL_PAUSES.len() - 1);
        }
        self.finish()
    }

    /// `None`: the program is to stop.
    fn dial(
        &mut self,
    ) -> Result<Option<Result<Connection, bluenova_websocket::Error>>, RecorderGone> {
        self.notes.dialled();
        let mut dial = match Dial::start(&self.battery.address, Deadlines::default()) {
            Ok(dial) => dial,
            Err(error) => return Ok(Some(Err(error))),
        };
        while !self.stopping() {
            if let Some(result) = dial.wait(TICK) {
                return Ok(Some(result));
            }
            self.tick()?;
        }
        Ok(None)
    }

    /// Reads until the connection is over; tells whether it has delivered a line.
    fn read_lines(&mut self, mut connection: Connection) -> Result<bool, RecorderGone> {
        self.link.connected(&self.battery);
        self.connected = Instant::now();
        (self.lacks_owner, self.said_no_owner, self.said_other_owner) = (false, false, false);
        let mut delivered = false;
        let mut clock_is_set = self.tick()?;
        // Reading the clock for every message would cost more than parsing it.
        let (mut spoke, mut last_spoke) = (true, Instant::now());
        let lost = loop {
            if self.stopping() {
                connection.close();
                break None;
            }
            let came = match connection.advance() {
                Ok(came) => came,
                Err(error) => break Some(Lost::Connection(error)),
            };
            // Messages that came together are of one moment. Working them off takes milliseconds at
            // most: there are 8 KiB of them.
            if connection.waited() {
                clock_is_set = self.tick()?;
                self.link.lasts(&self.battery.name);
            }
            if came {
                for line in connection.text().lines() {
                    self.line(line, clock_is_set);
                }
                (delivered, spoke) = (true, true);
            } else if mem::take(&mut spoke) {
                last_spoke = Instant::now();
            } else if last_spoke.elapsed() >= SILENCE {
                break Some(Lost::SaysNothing);
            }
        };
        // The interval under way stays with the assembler, for the next connection or the end.
        if let Some(lost) = lost {
            self.link.lost(&self.battery.name, &lost);
            self.assembler.disconnected();
        }
        Ok(delivered)
    }

    fn line(&mut self, line: &str, clock_is_set: bool) {
        if self.raw {
            info!("{}: RX: {}", self.battery.name, text::escaped(line));
        }
        if !clock_is_set {
            return;
        }
        match self.assembler.feed(line) {
            Ok(Line::McuId(id)) => self.check_owner(id),
            Ok(_) => {}
            Err(error) => {
                self.notes.malformed_line();
                self.malformed.note(&self.battery.name, line, error);
            }
        }
    }

    fn check_owner(&mut self, id: u32) {
        let Some(owner) = self.assembler.owner().filter(|owner| *owner != id) else { return };
        if !self.said_other_owner {
            self.said_other_owner = true;
            let name = &self.battery.name;
            warn!("{name}: says MCU ID {id:08X} after {owner:08X}; garbled, if it isn't repeated");
        }
    }

    /// Sends on what is due; tells whether the clock is set at all.
    fn tick(&mut self) -> Result<bool, RecorderGone> {
        let now = UtcDateTime::now();
        if !clock_is_set(now) {
            if !self.waits_for_clock {
                self.waits_for_clock = true;
                warn!(
                    "{}: the clock says {now}; nothing is recorded until it is set",
                    self.battery.name
                );
            }
            return Ok(false);
        }
        if self.waits_for_clock {
            self.waits_for_clock = false;
            info!("{}: the clock is set; recording", self.battery.name);
        }
        while let Some(result) = self.assembler.tick(now) {
            self.send(result)?;
        }
        self.mention_missing_owner();
        Ok(true)
    }

    /// Sends the interval under way, stamped with this moment: the rest of it, after a restart,
    /// has a row of its own.
    fn finish(&mut self) -> Result<(), RecorderGone> {
        if self.tick()? {
            if let Some(result) = self.assembler.finish(UtcDateTime::now()) {
                self.send(result)?;
            }
            self.tick()?;
        }
        Ok(())
    }

    fn send(&mut self, result: Result<PackRecord, NoOwner>) -> Result<(), RecorderGone> {
        match result {
            Ok(record) => {
                let assembled = Assembled { battery: self.index, record };
                self.records.send(assembled).map_err(|_| RecorderGone)
            }
            Err(NoOwner) => {
                self.lacks_owner = true;
                Ok(())
            }
        }
    }

    /// Says, once in a connection's life, that rows have to do without their owner.
    fn mention_missing_owner(&mut self) {
        if self.lacks_owner && !self.said_no_owner && self.connected.elapsed() >= NAMELESS {
            self.said_no_owner = true;
            // It may have come meanwhile.
            if self.assembler.owner().is_none() {
                warn!("{}: {NoOwner}; no row is stored without", self.battery.name);
            }
        }
    }

    fn pause(&mut self, length: Duration) -> Result<(), RecorderGone> {
        let end = Instant::now() + length;
        while !self.stopping() && Instant::now() < end {
            self.tick()?;
            thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Whether this can be the real time.
pub(crate) fn clock_is_set(now: UtcDateTime) -> bool {
    now.unix_timestamp() >= CLOCK_IS_SET
}

/// Malformed lines, mentioned now and then.
#[derive(Default)]
struct Malformed {
    mentioned: Option<Instant>,
    unmentioned: u64,
}

impl Malformed {
    fn note(&mut self, name: &str, line: &str, error: ParseError) {
        if self.mentioned.is_some_and(|at| at.elapsed() < MALFORMED_EVERY) {
            self.unmentioned += 1;
            return;
        }
        let line = text::escaped(text::start(line, 100));
        match self.unmentioned {
            0 => warn!("{name}: malformed line \"{line}\": {error}"),
            more => warn!("{name}: malformed line \"{line}\": {error}; {more} more before it"),
        }
        *self = Self { mentioned: Some(Instant::now()), unmentioned: 0 };
    }
}
