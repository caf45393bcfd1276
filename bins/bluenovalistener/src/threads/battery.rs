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
use bluenova_http::{BatteryStatus, RateLimit, Shared};
use bluenova_record::{Escaped, PackRecord, first_chars};
use bluenova_websocket::{Connection, Deadlines, Dial, TICK};
use log::{info, warn};
use time::UtcDateTime;

use super::{connection_log::ConnectionLog, owner_log::OwnerLog};
use crate::settings::Battery;

/// Back-off between two dials in seconds; the last one stays.
const BACK_OFF: [u64; 12] = [1, 1, 2, 2, 3, 3, 5, 5, 10, 10, 30, 60];

/// A battery that says nothing for so long is redialled, even if it answers pings: it says about 45
/// lines a second.
const SILENCE: Duration = Duration::from_secs(40);

/// How often malformed lines are logged: they may come thousands a second.
const MALFORMED_EVERY: Duration = Duration::from_secs(60);

/// Characters of a malformed line in the log.
const MALFORMED_CHARS: usize = 100;

/// 2021-01-01T00:00:00Z: a clock before that has not been set.
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

/// Listens to one battery until the program stops: dials, reads, parses, assembles, and sends one
/// record per interval.
pub(crate) struct BatteryThread {
    battery: Battery,
    index: usize,
    raw: bool,
    assembler: Assembler,
    records: Sender<Assembled>,
    stop: Arc<AtomicBool>,
    status: Shared<BatteryStatus>,
    connection_log: ConnectionLog,
    malformed: RateLimit<()>,
    malformed_unlogged: u64,
    waits_for_clock: bool,
    owner_log: OwnerLog,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connection(#[from] bluenova_websocket::Error),
    #[error("it has said nothing for {} s", SILENCE.as_secs())]
    Silence,
}

impl BatteryThread {
    pub(crate) fn new(
        index: usize,
        battery: &Battery,
        interval: Interval,
        raw: bool,
        records: Sender<Assembled>,
        stop: Arc<AtomicBool>,
        status: Shared<BatteryStatus>,
    ) -> Self {
        Self {
            battery: battery.clone(),
            index,
            raw,
            assembler: Assembler::new(interval),
            records,
            stop,
            connection_log: ConnectionLog::new(battery.clone(), status.clone()),
            status,
            malformed: RateLimit::new(MALFORMED_EVERY),
            malformed_unlogged: 0,
            waits_for_clock: false,
            owner_log: OwnerLog::begin(),
        }
    }

    /// # Errors
    /// Nobody receives the records any more.
    pub(crate) fn run(mut self) -> Result<(), RecorderGone> {
        let mut attempt = 0;
        while !self.stopping() {
            match self.dial()? {
                Some(Ok(connection)) => {
                    if self.read_lines(connection)? {
                        attempt = 0;
                    }
                }
                Some(Err(error)) => self.connection_log.failed(&error),
                None => break,
            }
            self.back_off(Duration::from_secs(BACK_OFF[attempt]))?;
            attempt = (attempt + 1).min(BACK_OFF.len() - 1);
        }
        self.finish()
    }

    /// `None`: the program is to stop.
    fn dial(
        &mut self,
    ) -> Result<Option<Result<Connection, bluenova_websocket::Error>>, RecorderGone> {
        self.status.update(|status| status.dials += 1);
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

    /// Reads until the connection is over; returns whether it has delivered a line.
    fn read_lines(&mut self, mut connection: Connection) -> Result<bool, RecorderGone> {
        self.connection_log.connected();
        self.owner_log = OwnerLog::begin();
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
                self.connection_log.lasts();
            }
            if came {
                for line in connection.text().lines() {
                    self.line(line, clock_is_set);
                }
                (delivered, spoke) = (true, true);
            } else if mem::take(&mut spoke) {
                last_spoke = Instant::now();
            } else if last_spoke.elapsed() >= SILENCE {
                break Some(Lost::Silence);
            }
        };
        // The interval under way stays with the assembler, for the next connection or the end.
        if let Some(lost) = lost {
            self.connection_log.lost(&lost);
            self.assembler.disconnected();
        }
        Ok(delivered)
    }

    fn line(&mut self, line: &str, clock_is_set: bool) {
        if self.raw {
            info!("{}: RX: {}", self.battery.name, Escaped(line));
        }
        if !clock_is_set {
            return;
        }
        match self.assembler.feed(line) {
            Ok(Line::McuId(id)) => {
                self.owner_log.said(&self.battery.name, id, self.assembler.owner());
            }
            Ok(_) => {}
            Err(error) => self.log_malformed(line, error),
        }
    }

    fn log_malformed(&mut self, line: &str, error: ParseError) {
        self.status.update(|status| status.malformed_lines += 1);
        if !self.malformed.is_due((), Instant::now()) {
            self.malformed_unlogged += 1;
            return;
        }
        let name = &self.battery.name;
        let line = Escaped(first_chars(line, MALFORMED_CHARS));
        match mem::take(&mut self.malformed_unlogged) {
            0 => warn!("{name}: malformed line \"{line}\": {error}"),
            more => warn!("{name}: malformed line \"{line}\": {error}; {more} more before it"),
        }
    }

    /// Sends the records that are due; returns whether the clock is set at all.
    fn tick(&mut self) -> Result<bool, RecorderGone> {
        let now = UtcDateTime::now();
        if !clock_is_set(now) {
            if !mem::replace(&mut self.waits_for_clock, true) {
                let name = &self.battery.name;
                warn!("{name}: the clock says {now}; nothing is recorded until it is set");
            }
            return Ok(false);
        }
        if mem::take(&mut self.waits_for_clock) {
            info!("{}: the clock is set; recording", self.battery.name);
        }
        while let Some(result) = self.assembler.tick(now) {
            self.send(result)?;
        }
        self.owner_log.log_missing(&self.battery.name, self.assembler.owner());
        Ok(true)
    }

    /// Sends the interval under way, stamped with this moment: the rest of it, after a restart, has
    /// a row of its own.
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
                self.owner_log.is_missing = true;
                Ok(())
            }
        }
    }

    fn back_off(&mut self, length: Duration) -> Result<(), RecorderGone> {
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
