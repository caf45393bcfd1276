//! A connection to the table with deadlines: it is made on a thread of its own, and is given up
//! where it doesn't answer in time.
//!
//! The thread is there because nothing else ends a statement in time. The `postgres` crate has no
//! deadline for one. TCP's keepalives and time-outs end no connection whose server, or proxy, is
//! frozen, for its system still acknowledges every byte. The server's own limits are of no use
//! where the server is what hangs.
//!
//! One thread makes all connections, one after the other, unless one of them is given up along with
//! its thread. An allocator assigns threads to its arenas, and each arena keeps what was freed in
//! it: with a thread per connection, memory grew by the buffers of a batch with many an outage.

use std::{
    collections::HashSet,
    io, mem,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{
    Error, Retry, Settings,
    error::{CHECKING, CONNECTING, Cause, INSERTING, PROBING},
    host::Host,
    insert::{Inserted, Inserter},
    table::IfMissing,
};

/// How long a [`Sink`](crate::Sink) waits before it gives a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For everything until rows can be delivered: name lookup, connect, encryption, password,
    /// table. The default is enough for six round trips over a line that takes 5 s for each.
    pub connect: Duration,
    /// For one transaction, or one probe. The default is more than the server's limit for a
    /// statement (30 s), so that a server that is merely slow answers in time.
    pub deliver: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(30), deliver: Duration::from_secs(40) }
    }
}

/// A pooler lets clients in by itself, and makes them wait for a session of the server.
const POOL_IS_USED_UP: &str = "the session has begun, but no statement is answered; if a pooler is \
                               in between, raise its pool_size, or set pool_mode = transaction";

/// Connections that were given up and may hang at a time.
pub(crate) const MAX_STUCK: usize = 3;

/// A connection that is made when it is needed.
///
/// One that doesn't answer in time is given up: its thread ends once its server answers after all
/// or its line breaks, and commits nothing more. After an error it is closed, unless the error
/// is about a row.
pub(crate) struct Connection {
    settings: Settings,
    deadlines: Deadlines,
    if_missing: IfMissing,
    /// `None`: none was needed yet, or the last one was given up.
    worker: Option<Worker>,
    given_up: Vec<GivenUp>,
    warnings: Vec<String>,
    /// All warnings that were ever taken.
    handed_out: HashSet<String>,
}

/// The thread of one connection at a time, which does one job at a time.
struct Worker {
    /// The hosts to connect to; only where it isn't connected.
    connects: Sender<Vec<Host>>,
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    /// Cancel flag: set when the connection is given up.
    cancelled: Arc<AtomicBool>,
    /// The host to which the thread is connected, or is about to connect.
    host: Option<Host>,
    /// Whether there is a session on that host.
    has_begun: bool,
    /// Whether it can do jobs.
    is_connected: bool,
    thread: JoinHandle<()>,
}

type Job = Arc<dyn Fn(&mut Inserter) -> Result<Inserted, Error> + Send + Sync>;

enum Answer {
    /// The thread is about to connect to that host, and may hang there.
    Trying(Host),
    /// The thread has a session, and looks at the table next.
    Begun,
    Warning(String),
    /// The thread is connected, or has done its job, and is ready for the next one.
    Ready(Result<Inserted, Error>),
    /// The same, but the connection is closed, and the thread is ready for the next one.
    Closed(Result<Inserted, Error>),
}

/// What is left of a worker that did not answer in time.
struct GivenUp {
    thread: JoinHandle<()>,
    /// The host on which it hangs.
    host: Option<Host>,
    was_connecting: bool,
}

impl Connection {
    pub(crate) fn new(settings: Settings, deadlines: Deadlines, if_missing: IfMissing) -> Self {
        Self {
            settings,
            deadlines,
            if_missing,
            worker: None,
            given_up: vec![],
            warnings: vec![],
            handed_out: HashSet::new(),
        }
    }

    /// Connects, if it isn't connected.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        if self.is_connected() {
            return Ok(());
        }
        self.given_up.retain(|given_up| !given_up.thread.is_finished());
        let hosts = self.hosts();
        if hosts.is_empty() {
            return Err(self.error(CONNECTING, Cause::Stuck(self.given_up.len())));
        }
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.settings.clone(), self.if_missing)
                .map_err(|e| self.error(CONNECTING, Cause::NoThread(e)))?,
        };
        worker.connect(hosts);
        self.wait(worker, CONNECTING, self.deadlines.connect).map(|_| ())
    }

    /// Inserts the rows of a range, as [`Inserter::insert`] does.
    pub(crate) fn insert(
        &mut self,
        rows: &Arc<[PackRecord]>,
        range: Range<usize>,
    ) -> Result<Inserted, Error> {
        let rows = Arc::clone(rows);
        let insert = move |inserter: &mut Inserter| {
            inserter.insert(rows.get(range.clone()).unwrap_or_default())
        };
        self.run(INSERTING, &(Arc::new(insert) as Job))
    }

    /// Looks for rows, as [`Inserter::find_missing`] does.
    pub(crate) fn find_missing(&mut self, rows: &Arc<[PackRecord]>) -> Result<Inserted, Error> {
        let rows = Arc::clone(rows);
        let find = move |inserter: &mut Inserter| inserter.find_missing(&rows);
        self.run(CHECKING, &(Arc::new(find) as Job))
    }

    /// Probes a row, as [`Inserter::probe`] does.
    pub(crate) fn probe(&mut self, record: &PackRecord) -> Result<(), Error> {
        let record = record.clone();
        let probe =
            move |inserter: &mut Inserter| inserter.probe(&record).map(|()| Inserted::default());
        self.run(PROBING, &(Arc::new(probe) as Job)).map(|_| ())
    }

    /// Looks up times of rows, as [`Inserter::times`] does.
    pub(crate) fn times(
        &mut self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, Error> {
        self.ask(move |inserter| inserter.times(mcu_id, &times))
    }

    /// Asks for advice, as [`Inserter::index_advice`] does.
    pub(crate) fn index_advice(&mut self) -> Result<Option<String>, Error> {
        self.ask(Inserter::index_advice)
    }

    /// Asks something about the table.
    fn ask<T: Default + Send + 'static>(
        &mut self,
        question: impl Fn(&mut Inserter) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let (found, answer) = mpsc::channel();
        let look_up = move |inserter: &mut Inserter| {
            // Where the answer came too late, nobody receives it.
            let _ = found.send(question(inserter)?);
            Ok(Inserted::default())
        };
        self.run(CHECKING, &(Arc::new(look_up) as Job))?;
        Ok(answer.try_iter().last().unwrap_or_default())
    }

    /// Adds a warning for people, unless the same one waits already.
    pub(crate) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        let warnings = mem::take(&mut self.warnings);
        self.handed_out.extend(warnings.iter().cloned());
        warnings
    }

    /// Number of connections that were given up and still hang.
    pub(crate) fn stuck(&self) -> usize {
        self.given_up.iter().filter(|given_up| !given_up.thread.is_finished()).count()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.is_connected)
    }

    /// Does a job. Where a pooler, a proxy or the server has ended the session since the last one,
    /// it connects again, once, and repeats no warning: that is how they treat idle sessions.
    fn run(&mut self, doing: &'static str, job: &Job) -> Result<Inserted, Error> {
        match self.run_once(doing, job) {
            Err(error) if error.is_ended_session() => {
                let result = self.run_once(doing, job);
                self.warnings.retain(|warning| !self.handed_out.contains(warning));
                result
            }
            result => result,
        }
    }

    fn run_once(&mut self, doing: &'static str, job: &Job) -> Result<Inserted, Error> {
        self.connect()?;
        let Some(worker) = self.worker.take() else {
            return Err(self.error(doing, Cause::ThreadDied));
        };
        // A thread that has died doesn't answer either.
        let _ = worker.jobs.send(Arc::clone(job));
        self.wait(worker, doing, self.deadlines.deliver)
    }

    /// Waits for an answer, and keeps the worker unless it is given up.
    fn wait(
        &mut self,
        mut worker: Worker,
        doing: &'static str,
        limit: Duration,
    ) -> Result<Inserted, Error> {
        let start = Instant::now();
        loop {
            match worker.answers.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(Answer::Trying(host)) => {
                    worker.host = Some(host);
                    worker.has_begun = false;
                }
                Ok(Answer::Begun) => worker.has_begun = true,
                Ok(Answer::Warning(warning)) => self.warn(warning),
                Ok(Answer::Ready(result)) => {
                    worker.is_connected = true;
                    self.worker = Some(worker);
                    return result;
                }
                Ok(Answer::Closed(result)) => {
                    worker.is_connected = false;
                    self.worker = Some(worker);
                    return result;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let waits_for_pool = doing == CONNECTING && worker.has_begun;
                    self.given_up.push(worker.give_up(doing == CONNECTING));
                    let remedy = waits_for_pool.then(|| POOL_IS_USED_UP.to_owned());
                    return Err(self.error(doing, Cause::NoAnswer(limit)).with_remedy(remedy));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = worker.thread.join();
                    return Err(self.error(doing, Cause::ThreadDied));
                }
            }
        }
    }

    /// The hosts to try, in that order. Those on which a connect hangs come last, for the attempt
    /// would take all the time of the others; where too many connections hang, hosts with one that
    /// hangs are left out. A host that was merely slow to deliver keeps its turn, for the next one
    /// may be a replica that only reads.
    fn hosts(&self) -> Vec<Host> {
        let mut hosts = self.settings.hosts().to_vec();
        if self.given_up.len() >= MAX_STUCK {
            hosts.retain(|host| !self.given_up.iter().any(|given_up| given_up.hangs_on(host)));
        }
        hosts.sort_by_key(|host| {
            self.given_up.iter().any(|given_up| given_up.was_connecting && given_up.hangs_on(host))
        });
        hosts
    }

    fn error(&self, doing: &'static str, cause: Cause) -> Error {
        Error::new(doing, &self.settings.to_string(), cause)
    }
}

impl Worker {
    /// Starts the thread.
    fn start(settings: Settings, if_missing: IfMissing) -> io::Result<Self> {
        let (connects, new_connects) = mpsc::channel::<Vec<Host>>();
        let (jobs, new_jobs) = mpsc::channel();
        let (new_answers, answers) = mpsc::channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        let thread = thread::Builder::new().name("postgres".to_owned()).spawn(move || {
            for hosts in new_connects {
                work(&settings, &hosts, if_missing, Arc::clone(&flag), &new_jobs, &new_answers);
            }
        })?;
        Ok(Self {
            connects,
            jobs,
            answers,
            cancelled,
            host: None,
            has_begun: false,
            is_connected: false,
            thread,
        })
    }

    /// Has the thread connect to one of `hosts`.
    fn connect(&mut self, hosts: Vec<Host>) {
        self.host = hosts.first().cloned();
        self.has_begun = false;
        // A thread that has died doesn't answer either.
        let _ = self.connects.send(hosts);
    }

    fn give_up(self, was_connecting: bool) -> GivenUp {
        self.cancelled.store(true, Ordering::Release);
        GivenUp { thread: self.thread, host: self.host, was_connecting }
    }
}

impl GivenUp {
    fn hangs_on(&self, host: &Host) -> bool {
        self.host.as_ref() == Some(host)
    }
}

/// Connects and does jobs, until the connection is closed or its owner drops it.
fn work(
    settings: &Settings,
    hosts: &[Host],
    if_missing: IfMissing,
    cancelled: Arc<AtomicBool>,
    jobs: &Receiver<Job>,
    answers: &Sender<Answer>,
) {
    // The answers of a connection that was given up have no receiver.
    let is_trying = |host: &Host| answers.send(Answer::Trying(host.clone())).is_ok();
    let begun = || drop(answers.send(Answer::Begun));
    let mut inserter =
        match Inserter::connect(settings, hosts, if_missing, cancelled, is_trying, begun) {
            Ok((inserter, warnings)) => {
                for warning in warnings {
                    let _ = answers.send(Answer::Warning(warning));
                }
                inserter
            }
            Err(error) => {
                let _ = answers.send(Answer::Closed(Err(error)));
                return;
            }
        };
    let mut result = Ok(Inserted::default());
    loop {
        if inserter.is_closed() || result.as_ref().is_err_and(|e: &Error| e.retry() != Retry::Row) {
            // Before the answer: closing the connection may hang too, and the deadline covers it.
            drop(inserter);
            let _ = answers.send(Answer::Closed(result));
            return;
        }
        if answers.send(Answer::Ready(result)).is_err() {
            return;
        }
        let Ok(job) = jobs.recv() else { return };
        result = job(&mut inserter);
    }
}
