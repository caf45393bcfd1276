use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_console::{Assembler, Interval, Line, NoOwner, ParseError};
use bluenova_http::RateLimit;
use bluenova_record::{Escaped, PackRecord, Timestamp, first_chars};
use bluenova_status::{BatteryStatus, Shared};
use bluenova_websocket::{Connection, Deadlines, Dial, MESSAGE_LIMIT, TICK};
use log::{info, warn};
use time::UtcDateTime;

use super::{
    InsightSource, RecorderInput, clock_is_set, connection_log::ConnectionLog,
    insights::SampleFeed, owner_log::OwnerLog,
};
use crate::settings::Battery;

/// Back-off between two dials in seconds; the last one stays.
const BACK_OFF: [u64; 12] = [1, 1, 2, 2, 3, 3, 5, 5, 10, 10, 30, 60];

/// Time after which a battery that sends no text is redialled, even if it answers pings: it sends
/// about 45 lines a second.
const SILENCE: Duration = Duration::from_secs(40);

/// Least time between two messages about malformed lines: thousands may come in a second.
const MALFORMED_EVERY: Duration = Duration::from_secs(60);

/// Number of characters of a malformed line that are logged.
const MALFORMED_CHARS: usize = 100;

/// A record, and the number of its battery.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) battery: usize,
    pub(crate) record: PackRecord,
}

/// Where that goes what a battery says.
pub(crate) struct BatteryOutputs {
    pub(crate) recorder: RecorderInput,
    pub(crate) insights: InsightSource,
    pub(crate) status: Shared<BatteryStatus>,
}

/// The recorder thread, which receives the records, has ended.
#[derive(Debug, thiserror::Error)]
#[error("the recorder thread has ended")]
pub(crate) struct RecorderGone;

/// Listens to one battery until it is stopped: dials, reads, parses, assembles, and sends one
/// record per interval.
pub(crate) struct BatteryThread {
    battery: Battery,
    number: usize,
    raw: bool,
    assembler: Assembler,
    samples: SampleFeed,
    recorder: RecorderInput,
    stop: Arc<AtomicBool>,
    status: Shared<BatteryStatus>,
    connection_log: ConnectionLog,
    malformed: RateLimit<()>,
    malformed_unlogged: u64,
    waits_for_clock: bool,
    owner_log: OwnerLog,
    /// Length from which on a connection has lasted: that of an interval, but a minute at most.
    lasting: Duration,
}

/// Length of a connection that has lasted, however long the interval is.
const LASTING: Duration = Duration::from_secs(60);

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connection(#[from] bluenova_websocket::Error),
    #[error("the battery has sent no text for {} s", SILENCE.as_secs())]
    Silence,
}

impl BatteryThread {
    pub(crate) fn new(
        number: usize,
        battery: &Battery,
        interval: Interval,
        raw: bool,
        outputs: BatteryOutputs,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let BatteryOutputs { recorder, insights, status } = outputs;
        let length = interval.duration();
        Self {
            battery: battery.clone(),
            number,
            raw,
            assembler: Assembler::new(interval),
            samples: SampleFeed::new(number, length, insights, status.clone()),
            stop,
            connection_log: ConnectionLog::new(battery.clone(), status.clone(), recorder.clone()),
            recorder,
            status,
            malformed: RateLimit::new(MALFORMED_EVERY),
            malformed_unlogged: 0,
            waits_for_clock: false,
            owner_log: OwnerLog::begin(),
            lasting: LASTING.min(length),
        }
    }

    /// Boxed, since each copy of it on the stack costs each thread another page or two.
    ///
    /// # Errors
    /// The recorder thread has ended.
    pub(crate) fn run(mut self: Box<Self>) -> Result<(), RecorderGone> {
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

    /// Dials once; `None` if it is to stop.
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

    /// Reads until the connection ends; returns whether it has lasted, and delivered a line.
    fn read_lines(&mut self, mut connection: Connection) -> Result<bool, RecorderGone> {
        self.connection_log.connected();
        self.owner_log = OwnerLog::begin();
        self.samples.connected(UtcDateTime::now());
        let connected = Instant::now();
        let mut got_lines = false;
        let mut clock_is_set = self.tick()?;
        // Reading the clock for every message would cost more than parsing it.
        let (mut got_text, mut last_text) = (true, Instant::now());
        let lost = loop {
            if self.stopping() {
                connection.close();
                break None;
            }
            let came = match connection.advance() {
                Ok(came) => came,
                Err(error) => break Some(Lost::Connection(error)),
            };
            // All messages of one read have the same time: they are 8 KiB at most, which takes
            // milliseconds to work off.
            if connection.waited() {
                clock_is_set = self.tick()?;
                self.samples.tick(UtcDateTime::now(), !got_text);
                self.connection_log.lasts();
                self.log_skipped(connection.take_skipped());
            }
            if came {
                for line in connection.text().lines() {
                    self.line(line, clock_is_set);
                }
                (got_lines, got_text) = (true, true);
            } else if mem::take(&mut got_text) {
                last_text = Instant::now();
            } else if last_text.elapsed() >= SILENCE {
                break Some(Lost::Silence);
            }
        };
        // The interval under way stays with the assembler, for the next connection or the end.
        if let Some(lost) = lost {
            let is_silence = matches!(lost, Lost::Silence);
            self.connection_log.lost(&lost, is_silence.then_some(last_text));
            self.assembler.disconnected();
            self.owner_log.disconnected();
        }
        // A battery that hangs up again and again is dialled less and less often.
        Ok(got_lines && connected.elapsed() >= self.lasting)
    }

    fn line(&mut self, line: &str, clock_is_set: bool) {
        if self.raw {
            info!("{}: RX: {}", self.battery.name, Escaped(line));
        }
        if !clock_is_set {
            return;
        }
        self.owner_log.line_came();
        let line_or_error = self.assembler.feed(line);
        if let Ok(line) = &line_or_error {
            self.samples.line(line, self.assembler.owner());
        }
        match line_or_error {
            Ok(Line::McuId(id)) => {
                // The assembler's, since the line's may be garbled.
                let owner = self.assembler.owner();
                if let Some(owner) = owner {
                    self.status.update(|status| status.mcu_id_announced(owner));
                    self.connection_log.identified(owner);
                }
                self.owner_log.check_owner(&self.battery.name, id, owner);
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
            more => {
                warn!("{name}: malformed line \"{line}\": {error}; {more} more since the last one");
            }
        }
    }

    fn log_skipped(&mut self, messages: u64) {
        if messages > 0 {
            self.status.update(|status| status.malformed_lines += messages);
            if self.malformed.is_due((), Instant::now()) {
                let name = &self.battery.name;
                warn!("{name}: a message longer than {MESSAGE_LIMIT} bytes was skipped");
            } else {
                self.malformed_unlogged += messages;
            }
        }
    }

    /// Sends the records that are due; returns whether the clock is set at all.
    fn tick(&mut self) -> Result<bool, RecorderGone> {
        let now = UtcDateTime::now();
        if !clock_is_set(now) {
            if !mem::replace(&mut self.waits_for_clock, true) {
                let name = &self.battery.name;
                let now = Timestamp(now.truncate_to_second());
                warn!("{name}: the clock says {now} UTC; nothing is recorded until it is set");
            }
            return Ok(false);
        }
        if mem::take(&mut self.waits_for_clock) {
            info!("{}: the clock is set; recording", self.battery.name);
        }
        while let Some(result) = self.assembler.tick(now) {
            self.send(result)?;
        }
        if self.owner_log.log_missing(&self.battery.name, self.assembler.owner()) {
            self.connection_log.has_no_mcu_id();
        }
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
                self.samples.row_came(&record);
                let assembled = Assembled { battery: self.number, record };
                self.recorder.send(assembled)
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
